"""compile: model, specification and calibration data → pinned integer circuit. The same three give the same bytes."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.digest import Sha256
from verifai.domain.progress import Progress
from verifai.domain.record import Record
from verifai.domain.statement import EngineName, Role, WeightVisibility
from verifai.engines.interface import CompiledCircuit, CompileRequest, Fidelity
from verifai.engines.sumcheck import circuit as ir
from verifai.engines.sumcheck.boundary import check_names
from verifai.engines.sumcheck.circuit_codec import circuit_digest, encode
from verifai.engines.sumcheck.engine_memory import peak_rss_bytes
from verifai.engines.sumcheck.engine_secrets import (
    keep_registration,
    make_weights_secret,
    registration,
    secrets_folder,
    weights_ledger,
    weights_seed,
)
from verifai.engines.sumcheck.engine_tensors import centred
from verifai.engines.sumcheck.interpreter import run
from verifai.engines.sumcheck.lock_section import LockSection, PinnedTensor, expect_suite, parse_section
from verifai.engines.sumcheck.lowering import Lowered, lower
from verifai.engines.sumcheck.lowering_select import INTEGERS
from verifai.engines.sumcheck.payload.bindings import BINDINGS, weight_binding
from verifai.engines.sumcheck.payload.files import CIRCUIT_FILE, WEIGHTS_FILE
from verifai.engines.sumcheck.privacy import privacy_support
from verifai.engines.sumcheck.quantise import QuantiserOptions, Scale, choose_scales, parse_options
from verifai.engines.sumcheck.quantise_import import count_mismatches
from verifai.engines.sumcheck.verifier.suite import INTEGRITY, ZERO_KNOWLEDGE, Suite
from verifai.errors import UsageError
from verifai.execution.files import write_atomic
from verifai.onnx_graph.model import OnnxModel

if TYPE_CHECKING:
    from verifai.engines.sumcheck.prover.prove import ProvingKey


def bindings(spec: CircuitSpec) -> dict[str, ir.Visibility]:
    """How each named tensor is bound.

    Raises:
        UsageError: code ``privacy-unsupported``.
    """
    privacy_support(spec).require(EngineName.SUMCHECK)
    return {name: BINDINGS[visibility] for name, visibility in spec.tensors.items()}


def suite_of(spec: CircuitSpec) -> Suite:
    """The suite that gives what the specification asks for."""
    return ZERO_KNOWLEDGE if spec.zero_knowledge else INTEGRITY


def options_of(spec: CircuitSpec) -> QuantiserOptions:
    """``[engine.sumcheck]`` of ``circuit.toml``. Raises UsageError (``bad-spec``)."""
    table = spec.options.get("sumcheck", {})
    return parse_options(Record(table, "circuit.toml: [engine.sumcheck]", error=UsageError, code="bad-spec"))


def build_circuit(
    model: OnnxModel,
    spec_tensors: Mapping[str, ir.Visibility],
    weights: WeightVisibility,
    scales: Mapping[str, Scale],
    split: bool,
    exact: Collection[str] = (),
    suite: Suite = INTEGRITY,
    opening_budget: int | None = None,
) -> Lowered:
    """Lower, plan the proof, complete the circuit, and hold every committed column to the lister. Raises UnsupportedModel."""
    from verifai.engines.sumcheck.lister import audit
    from verifai.engines.sumcheck.planning.plan import DEFAULT_BUDGET, planned

    budget = (opening_budget or DEFAULT_BUDGET) if weights is WeightVisibility.PRIVATE else 0
    lowered = lower(
        model,
        scales,
        tensors=spec_tensors,
        weights=weight_binding(weights),
        split=split,
        exact=exact,
        suite=suite,
        opening_budget=budget,
    )
    complete = replace(lowered, circuit=planned(lowered.circuit, suite, budget))
    audit(complete.circuit)
    return complete


def weights_identity(lowered: Lowered) -> str:
    """Digest of public weights, root of committed ones, in hex."""
    from verifai.engines.sumcheck.prover.prove import prepare

    return prepare(lowered.circuit, lowered.weights).identity


def compile_circuit(request: CompileRequest) -> CompiledCircuit:
    """Calibrate, lower, measure, write the build files.

    Raises:
        UsageError: ``privacy-unsupported``, ``bad-spec``, ``bad-lock``. UnsupportedModel: an operator or a bound.
    """
    from verifai.engines.sumcheck.quantise_ranges import calibrate, samples_of

    began = perf_counter()
    seconds: dict[str, float] = {}
    tensors = bindings(request.spec)
    samples = samples_of(request.calibration, request.model)
    if request.locked is None:
        options = options_of(request.spec)
        check_names(options, request.model)
        request.progress.phase("calibrate", len(samples))
        ranges = calibrate(
            request.model, samples, options.method, percentile=options.percentile, levels=(1 << options.activation_bits) - 1
        )
        names = [{tensor.name for tensor in side} for side in (request.model.inputs, request.model.outputs)]
        integers = {tensor.name for tensor in request.model.inputs if tensor.dtype in INTEGERS}
        chosen = choose_scales(ranges, names[0], names[1], options, integers)
        scales: Mapping[str, Scale] = {**chosen, **options.boundary}
    else:
        pinned = parse_section(request.locked)
        expect_suite(pinned)
        options, scales = pinned.options, {**pinned.scales, **pinned.options.boundary}
    seconds["calibrate"] = perf_counter() - began
    request.progress.phase("lower")
    began = perf_counter()
    suite = suite_of(request.spec)
    lowered = build_circuit(
        request.model,
        tensors,
        request.spec.weights,
        scales,
        options.split,
        options.boundary,
        suite,
        options.opening_budget,
    )
    seconds["lower"] = perf_counter() - began
    began = perf_counter()
    fidelity = measure(request.model, lowered, samples, request.spec.classes, request.progress)
    seconds["fidelity"] = perf_counter() - began
    mismatches = count_mismatches(request.model, lowered, samples)
    if mismatches.cells:
        request.progress.note(mismatches.sentence())
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
    )


def _identity(request: CompileRequest, lowered: Lowered) -> Sha256:
    """The weights' identity. Private ones get a new root with its own seed and ledger, or the pinned one's, from its seed."""
    if request.spec.weights is not WeightVisibility.PRIVATE:
        return Sha256(weights_identity(lowered))
    from verifai.engines.sumcheck.prover.prove import prepare

    folder = secrets_folder(request)
    pinned = None if request.locked is None else parse_section(request.locked).weights_sha256
    seed = os.urandom(32) if pinned is None else weights_seed(folder, pinned)
    key = prepare(lowered.circuit, lowered.weights, weights_seed=seed)
    root = Sha256(key.identity)
    if pinned is not None:
        weights_ledger(folder, pinned)  # a root without its ledger is dead; better to know it now
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


def register_root(folder: Path, key: ProvingKey, progress: Progress) -> None:
    """Prove, with one opening, that the weights under a new root keep the circuit's bounds; keep the proof beside the seed."""
    from verifai.engines.sumcheck.engine_roots import encode_registration
    from verifai.engines.sumcheck.prover.relations import prove_registration

    root = Sha256(key.identity)
    number = weights_ledger(folder, root).reserve("registration")
    keep_registration(folder, root, encode_registration(number, prove_registration(key, number, progress=progress)))


def pin(
    model: OnnxModel, spec: CircuitSpec, lowered: Lowered, options: QuantiserOptions, fidelity: Fidelity, identity: Sha256
) -> LockSection:
    """The lock section of a lowered model."""
    data = encode(lowered.circuit)
    sides = ((Role.INPUT, model.inputs), (Role.OUTPUT, model.outputs))
    return LockSection(
        suite=lowered.circuit.suite,
        circuit_sha256=circuit_digest(data),
        weights=spec.weights,
        weights_sha256=identity,
        opening_budget=lowered.circuit.opening_budget,
        soundness_millibits=min(step.millibits for step in lowered.circuit.soundness),
        tensors=tuple(PinnedTensor(role, t.name, t.shape, spec.tensors[t.name]) for role, side in sides for t in side),
        options=options,
        scales=lowered.scales,
        fidelity=fidelity,
    )


def write_build(folder: Path, lowered: Lowered) -> None:
    """Circuit and weights, readable by the owner alone, and ignored by git: weights may be confidential."""
    write_atomic(folder / ".gitignore", b"*\n")
    write_atomic(folder / CIRCUIT_FILE, encode(lowered.circuit), mode=0o600)
    write_atomic(folder / WEIGHTS_FILE, lowered.blob, mode=0o600)


def saturated_inputs(model: OnnxModel, circuit: ir.Circuit, sample: Mapping[str, NDArray[Any]]) -> list[NDArray[np.int64]]:
    """A calibration sample's integers, clamped to the inputs' ranges."""
    found = []
    for spec, port in zip(model.inputs, circuit.inputs, strict=True):
        tensor = circuit.tensors[port.tensor]
        steps = centred(spec.name, sample[spec.name], Fraction(*tensor.scale), tensor.zero_point)
        found.append(np.clip(steps, tensor.low, tensor.high).reshape(tensor.shape))
    return found


def measure(
    model: OnnxModel, lowered: Lowered, samples: Sequence[Mapping[str, NDArray[Any]]], classes: bool, progress: Progress
) -> Fidelity:
    """The circuit against onnxruntime: arg-max agreement of every output, absolute errors, the worst sample."""
    from verifai.onnx_graph.reference import Reference

    reference = Reference(model)
    progress.phase("fidelity", len(samples))
    worst, worst_sample, total, cells, matches = -1.0, 0, 0.0, 0, 0
    for number, sample in enumerate(samples):
        expected = reference.run(sample)
        trace = run(lowered.circuit, lowered.weights, saturated_inputs(model, lowered.circuit, sample))
        agree, largest = True, 0.0
        for spec, port, values in zip(model.outputs, lowered.circuit.outputs, trace.outputs(), strict=True):
            tensor = lowered.circuit.tensors[port.tensor]
            step = float(Fraction(*tensor.scale))
            wanted = np.asarray(expected[spec.name], np.float64).reshape(-1)
            if np.asarray(expected[spec.name]).dtype.kind in "iu":
                wanted = (wanted - tensor.zero_point) * step
            found = values.reshape(-1) * step
            errors = np.abs(found - wanted)
            largest = max(largest, float(errors.max()))
            total, cells = total + float(errors.sum()), cells + errors.size
            agree = agree and int(found.argmax()) == int(wanted.argmax())
        matches += agree
        if largest > worst:
            worst, worst_sample = largest, number
        progress.advance()
    return Fidelity(len(samples), matches if classes else None, worst, total / cells, worst_sample)
