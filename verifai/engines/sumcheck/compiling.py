"""compile: model, specification and calibration data → pinned integer circuit. The same three give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.counting import PinnedCount
from verifai.domain.digest import Sha256, sha256
from verifai.domain.fidelity import Fidelity
from verifai.domain.progress import Progress
from verifai.domain.statement import Role, Visibility, WeightVisibility
from verifai.engines.capabilities import Prediction
from verifai.engines.fidelity import reference_measure
from verifai.engines.interface import CompiledCircuit, CompileRequest
from verifai.engines.sumcheck.boundary import check_names
from verifai.engines.sumcheck.build_folder import write_build
from verifai.engines.sumcheck.building import bindings, build_circuit, in_batches, options_of, suite_of, weights_identity
from verifai.engines.sumcheck.circuit.codec import circuit_digest, decode, encode
from verifai.engines.sumcheck.circuit.counting import check_counting
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.fidelity import measure
from verifai.engines.sumcheck.lock_section import LockSection, PinnedTensor, expect_suite, parse_section
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.lowering.mismatches import count_mismatches
from verifai.engines.sumcheck.planning.memory import registration_memory_bytes
from verifai.engines.sumcheck.planning.plan import require_verifiable
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.planning.price import price_of_relation, price_with_openings
from verifai.engines.sumcheck.ports import Ports, ports_of
from verifai.engines.sumcheck.protocol.relations import Kind
from verifai.engines.sumcheck.quantise.ranges import samples_of
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.secrets.store import (
    keep_registration,
    make_weights_secret,
    registration,
    secrets_folder,
    weights_ledger,
    weights_seed,
)
from verifai.engines.sumcheck.tensors import stored_tensors
from verifai.engines.sumcheck.tuning import TUNED_FIELDS, Sample, Tuned, Tuner, committed_cells
from verifai.errors import EvidenceRejected, ResourceExhausted, UnsupportedModel, UsageError
from verifai.execution.allocation import keep_freed_memory
from verifai.execution.child import Limits
from verifai.execution.memory import peak_rss_bytes
from verifai.execution.watched import within
from verifai.onnx_graph.model import OnnxModel

if TYPE_CHECKING:
    from verifai.engines.sumcheck.prover.prove import ProvingKey


def compile_circuit(request: CompileRequest) -> CompiledCircuit:
    """Calibrate, lower, measure, write the build files.

    Raises:
        UsageError: ``privacy-unsupported``, ``bad-spec``, ``bad-lock``. UnsupportedModel: an operator or a bound.
        ResourceExhausted, DeadlineExceeded: the budget's memory or time.
    """
    limits = _limits(request)
    found, seconds = within(limits, lambda: _lower(request))
    if request.spec.weights is not WeightVisibility.PUBLIC:
        _ensure_kernels(request.progress)  # once per installation, so in no circuit's time limit
    return within(limits, lambda: _pin(request, found, seconds))


def _limits(request: CompileRequest) -> Limits:
    return Limits(request.spec.budget.memory_bytes, None, request.spec.budget.setup_seconds)


def _lower(request: CompileRequest) -> tuple[Tuned, dict[str, float]]:
    """The circuit, and the seconds that finding it took."""
    began = perf_counter()
    bindings(request.spec)
    samples = samples_of(request.calibration, request.model)
    found = _search(request, samples) if request.locked is None else _reproduce(request, request.locked, samples)
    seconds = {"tune" if request.locked is None else "lower": perf_counter() - began}
    mismatches = count_mismatches(request.model, found.lowered, samples)
    if mismatches.cells:
        request.progress.note(mismatches.sentence())
    return found, seconds


def _pin(request: CompileRequest, found: Tuned, seconds: dict[str, float]) -> CompiledCircuit:
    options, fidelity = found.options, found.fidelity
    # Searched and measured as one inference; a batch runs the same integers.
    lowered = _in_batches(request, found)
    require_readable(lowered.circuit)
    require_registrable(lowered.circuit)
    require_registration_memory(lowered.circuit, request.spec.budget.memory_bytes)
    began = perf_counter()
    identity = _identity(request, lowered)
    if request.spec.weights is not WeightVisibility.PUBLIC:
        seconds["setup"] = perf_counter() - began  # committing to the weights
    section = pin(request.model, request.spec, lowered, options, fidelity, identity)
    write_build(request.build_dir, lowered)
    return CompiledCircuit(
        section=section.to_toml(),
        fidelity=fidelity,
        seconds=seconds,
        peak_rss_bytes=peak_rss_bytes(),
        key_bytes=len(lowered.blob),
        tried=found.tried,
    )


def predict(request: CompileRequest) -> Prediction:
    """What :func:`compile_circuit` would find. Raises as it does."""
    return within(_limits(request), lambda: _predict(request))


def _predict(request: CompileRequest) -> Prediction:
    bindings(request.spec)
    found = _search(request, samples_of(request.calibration, request.model))
    bits = {name: int(getattr(found.options, name)) for name in TUNED_FIELDS}
    lowered = _in_batches(request, found)
    require_readable(lowered.circuit)
    require_registrable(lowered.circuit)
    return Prediction(found.fidelity, committed_cells(lowered), bits, len(found.tried))


def _in_batches(request: CompileRequest, found: Tuned) -> Lowered:
    """For as many inferences as are pinned, or asked for; counting right answers, where that is."""
    spec = request.spec
    batch, counts = spec.batch or 0, spec.count_right
    if request.locked is not None:
        pinned = parse_section(request.locked)
        counts = pinned.count_right is not None
        batch = pinned.batch if pinned.count_right is None else pinned.count_right.items
    return in_batches(found.lowered, request.model, suite_of(spec), batch, counts=counts)


def _search(request: CompileRequest, samples: Sequence[Sample]) -> Tuned:
    """The cheapest circuit that meets the floor."""
    keep_freed_memory()
    options = options_of(request.spec)
    check_names(options, request.model)
    given = frozenset(request.spec.options.get("sumcheck", {}))
    suite = suite_of(request.spec)
    return Tuner(request.model, request.spec, samples, options, given, suite, request.progress, request.pad).run()


def _reproduce(request: CompileRequest, locked: Mapping[str, Any], samples: Sequence[Sample]) -> Tuned:
    """The pinned circuit, lowered again with the pinned scales and measured again."""
    pinned = parse_section(locked)
    expect_suite(pinned)
    scales = {**pinned.scales, **pinned.options.boundary}
    request.progress.phase("lower")
    tensors, weights = bindings(request.spec), request.spec.weights
    lowered = build_circuit(request.model, tensors, weights, scales, pinned.options, suite_of(request.spec))
    reference = reference_measure(request.spec.task, request.model, samples, request.pad)
    return Tuned(pinned.options, scales, lowered, measure(request.model, lowered, samples, reference, request.progress), ())


def _ensure_kernels(progress: Progress) -> None:
    from verifai.engines.sumcheck.prover.kernel_step import ensure_kernels  # loads Numba, which public weights do without

    ensure_kernels(progress)


def require_readable(circuit: Circuit) -> None:
    """Refuse, before anything is committed, a circuit with more parts than a reader takes.

    Raises:
        UnsupportedModel: ``sumcheck-too-large``.
    """
    try:
        decode(encode(circuit))
    except EvidenceRejected as problem:
        message = f"no verifier would read its circuit: {problem.message}"
        hint = "Split the model: `verifai split --help`; or hide less of it."
        raise UnsupportedModel("sumcheck-too-large", message, hint=hint) from None


def require_registrable(circuit: Circuit) -> None:
    """Refuse, before a root is made, hidden weights of which no proof that they keep their bounds could be made or verified.

    Raises:
        UsageError: ``privacy-unsupported``, when there are none. UnsupportedModel: ``sumcheck-too-large``.
    """
    if not circuit.opening_budget:
        return
    if not circuit.weights:
        hint = 'Write visibility = "public" below [weights].'
        raise UsageError("privacy-unsupported", "the model has no weights that could be private", where="weights", hint=hint)
    try:
        layout = plan_relation(Kind.REGISTRATION, circuit).layout
    except (UnsupportedModel, EvidenceRejected) as problem:
        message = f"the hidden weights are too many for the proof that they keep their bounds: {problem.message}"
        hint = "Split the model: `verifai split --help`; or hide less of it."
        raise UnsupportedModel("sumcheck-too-large", message, where=problem.where or "weights", hint=hint) from None
    require_verifiable(price_with_openings(price_of_relation(Kind.REGISTRATION, circuit), layout))


def require_registration_memory(circuit: Circuit, limit: int | None) -> None:
    """Refuse, before a root is made, hidden weights whose registration would take more memory than the budget has.

    Raises:
        ResourceExhausted: ``estimate-over-budget``.
    """
    needed = registration_memory_bytes(circuit) if circuit.opening_budget else 0
    if limit is not None and needed > limit:
        message = (
            f"to show that the hidden weights keep their bounds takes about {needed / 2**20:,.0f} MiB, "
            f"{limit / 2**20:,.0f} MiB are allowed"
        )
        raise ResourceExhausted("estimate-over-budget", message, hint="Raise memory in [budget] of circuit.toml.")


def _identity(request: CompileRequest, lowered: Lowered) -> Sha256:
    """The weights' identity: the digest of public weights, the root of committed ones.

    Without a lock, private weights get a new root, with a seed and a ledger of its own. With a lock, the root is computed again
    from the pinned root's seed, for the caller to compare.
    """
    if request.spec.weights is WeightVisibility.PUBLIC:
        return Sha256(weights_identity(lowered))
    from verifai.engines.sumcheck.prover.prove import prepare

    if request.spec.weights is WeightVisibility.COMMITTED:
        key = prepare(lowered.circuit, lowered.weights)
        _keep_tree(request, lowered, key)
        return Sha256(key.identity)
    folder = secrets_folder(request)
    pinned = None if request.locked is None else parse_section(request.locked).weights_sha256
    seed = os.urandom(32) if pinned is None else weights_seed(folder, pinned)
    key = prepare(lowered.circuit, lowered.weights, os.cpu_count() or 1, weights_seed=seed)
    root = Sha256(key.identity)
    _keep_tree(request, lowered, key)
    if pinned is not None:
        weights_ledger(folder, pinned)  # raises now if it is missing: the root could not be opened
        if root == pinned and registration(folder, root) is None:
            register_root(folder, key, request.progress)
        return root
    make_weights_secret(folder, root, seed, lowered.circuit.opening_budget)
    register_root(folder, key, request.progress)
    request.progress.note(
        f"The private weights are bound by a new root, good for {lowered.circuit.opening_budget} openings. Its seed and ledger "
        f"are in {folder}: never publish them, never restore an older copy, never use a copy elsewhere."
    )
    return root


def _keep_tree(request: CompileRequest, lowered: Lowered, key: ProvingKey) -> None:
    """Beside circuit and weights, so that no proof encodes long weights for their tree again."""
    from verifai.engines.sumcheck.prover.commitment import is_remade
    from verifai.engines.sumcheck.prover.kept_tree import TREE_FILE, KeptTree

    if key.committed is not None and is_remade(key.committed.plan.shape):
        tree = KeptTree(request.build_dir / TREE_FILE, key.digest, sha256(lowered.blob), key.identity)
        tree.write(key.committed.layers)


def register_root(folder: Path, key: ProvingKey, progress: Progress) -> None:
    """Prove that the weights under a new root keep the circuit's bounds, by one opening. Store the proof beside the seed."""
    from verifai.engines.sumcheck.payload.weight_roots import encode_registration
    from verifai.engines.sumcheck.prover.relations import prove_registration

    root = Sha256(key.identity)
    number = weights_ledger(folder, root).reserve("registration")
    proof = prove_registration(key, number, threads=os.cpu_count() or 1, progress=progress)
    keep_registration(folder, root, encode_registration(number, proof))


def pin(
    model: OnnxModel, spec: CircuitSpec, lowered: Lowered, options: QuantiserOptions, fidelity: Fidelity, identity: Sha256
) -> LockSection:
    """The lock section of a lowered model."""
    data = encode(lowered.circuit)
    ports = ports_of(model, lowered.circuit, counts=spec.count_right)
    sides = ((Role.INPUT, ports.inputs), (Role.OUTPUT, ports.outputs))
    listed = [(role, one) for role, side in sides for one in side]
    stored = stored_tensors(lowered.circuit, [one.dtype for _, one in listed])
    return LockSection(
        suite=lowered.circuit.suite,
        circuit_sha256=Sha256(circuit_digest(data)),
        weights=spec.weights,
        weights_sha256=identity,
        opening_budget=lowered.circuit.opening_budget,
        batch=lowered.circuit.batch,
        soundness_millibits=min(step.millibits for step in lowered.circuit.soundness),
        tensors=tuple(
            PinnedTensor(role, one.name, one.shape, spec.tensors.get(one.name, Visibility.PUBLIC), held)
            for (role, one), held in zip(listed, stored, strict=True)
        ),
        options=options,
        scales=lowered.scales,
        fidelity=fidelity,
        count_right=_pinned_count(lowered.circuit, ports) if spec.count_right else None,
    )


def _pinned_count(circuit: Circuit, ports: Ports) -> PinnedCount:
    labels = ports.inputs[-1].shape
    found = check_counting(circuit, labels[0])
    return PinnedCount(found.items, ports.outputs[found.answer].name, found.classes, labels[1:])
