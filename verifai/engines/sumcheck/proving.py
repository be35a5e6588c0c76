"""prove: one sample becomes circuit, statement and proof, verified by the standard-library verifier before it leaves."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import NamedTuple

from verifai.domain.digest import Sha256, sha256
from verifai.domain.statement import WeightVisibility
from verifai.domain.tensor import TensorSpec
from verifai.engines.capabilities import Rehearsal
from verifai.engines.interface import EngineProof, ProveRequest, Tensors, TensorSecret
from verifai.engines.sumcheck.build_folder import read_build, stale
from verifai.engines.sumcheck.circuit.counting import alike
from verifai.engines.sumcheck.circuit.program import Circuit, Visibility
from verifai.engines.sumcheck.clamping import clamped_finding, count_clamped, read_ranges
from verifai.engines.sumcheck.interpreter.run import Trace, run
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.lock_section import LockSection, expect_suite, parse_section
from verifai.engines.sumcheck.lowering.clamps import Uncut
from verifai.engines.sumcheck.payload.files import CIRCUIT_FILE, PROOF_FILE, STATEMENT_FILE, WEIGHTS_FILE
from verifai.engines.sumcheck.payload.statement import domain_statement, encode_statement
from verifai.engines.sumcheck.planning.memory import peak_memory_bytes
from verifai.engines.sumcheck.planning.plan import plan
from verifai.engines.sumcheck.planning.size import proof_bytes
from verifai.engines.sumcheck.ports import Ports, ports_of
from verifai.engines.sumcheck.protocol.statement import HashedTensor
from verifai.engines.sumcheck.prover import prove as prover
from verifai.engines.sumcheck.prover.jit import cache_notes
from verifai.engines.sumcheck.prover.kept_tree import TREE_FILE, KeptTree
from verifai.engines.sumcheck.prover.kernel_step import compile_time, ensure_kernels
from verifai.engines.sumcheck.saturation import saturated_outputs
from verifai.engines.sumcheck.secrets.store import reserve_tensor, root_files, secrets_folder, usable_root, weights_seed
from verifai.engines.sumcheck.tensors import circuit_inputs, items_of, real_outputs
from verifai.engines.sumcheck.verifying import check_payload
from verifai.errors import EvidenceRejected, InputRejected, InternalError, ResourceExhausted, UsageError
from verifai.execution.child import Limits
from verifai.execution.memory import peak_rss_bytes
from verifai.execution.watched import within


def prove(request: ProveRequest) -> EngineProof:
    """Prove one sample, then verify the proof.

    Raises:
        InputRejected: an input outside the circuit's range. UsageError: ``stale-build``, ``bad-lock``, ``engine-version``.
        ResourceExhausted, DeadlineExceeded: the budget's memory or time; what was reserved of a ledger stays spent.
    """
    limits = Limits(request.budget.memory_bytes, None, request.budget.prove_seconds)
    ready = within(limits, lambda: _checked(request))
    ensure_kernels(request.progress)  # once per installation, so in no proof's time limit
    return within(limits, lambda: _prove(request, ready))


class _Root(NamedTuple):
    """The root that a proof opens. ``files``: what the payload shows of it; ``number``: the opening; spent by ``take``."""

    root: Sha256
    files: Mapping[str, bytes]
    take: Callable[[], int]


def _root(request: ProveRequest, section: LockSection) -> _Root:
    """The root of the opening that was reserved for this proof, else the one whose ledger has openings left."""
    folder, opening = secrets_folder(request), request.opening
    if opening is not None:
        return _Root(opening.root, root_files(folder, section.weights_sha256, opening.root), lambda: opening.number)
    usable = usable_root(folder, section.weights_sha256)
    return _Root(usable.root, usable.files, lambda: usable.reserve(1)[0])


class _Ready(NamedTuple):
    """What a proof is made of, checked.

    ``data``: the encoded circuit; ``items``: of a batch, how many count, else 0; ``ports``: the circuit's inputs and outputs.
    """

    section: LockSection
    data: bytes
    circuit: Circuit
    blob: bytes
    inputs: Sequence[Ints]
    ranges: tuple[Uncut, ...] | None
    items: int
    ports: Ports


def _taken(request: ProveRequest, circuit: Circuit, ports: Ports) -> Sequence[TensorSpec]:
    """The tensors that the circuit takes, of a batch, with a first axis of as many items as are given."""
    if not circuit.batch:
        return ports.inputs
    for spec in request.model.inputs:
        if spec.name in request.inputs and request.inputs[spec.name].ndim == 0:
            raise InputRejected("input-shape", "a number without a first axis was given for a batch", where=spec.name)
    items = items_of(circuit, request.inputs)
    return [TensorSpec(spec.name, spec.dtype, (items, *spec.shape)) for spec in request.model.inputs]


def _checked(request: ProveRequest) -> _Ready:
    from verifai.onnx_graph.reference import check_tensors

    section = parse_section(request.section)
    expect_suite(section)
    data, circuit, blob = read_build(request.build_dir, section)
    ports = ports_of(request.model, circuit, counts=section.count_right is not None)
    check_tensors(request.inputs, _taken(request, circuit, ports))
    ranges = read_ranges(request.build_dir, section.circuit_sha256)
    inputs = circuit_inputs(circuit, [tensor.name for tensor in ports.inputs], request.inputs, section.scales)
    items = items_of(circuit, request.inputs)
    _require_filler(circuit, items)
    return _Ready(section, data, circuit, blob, inputs, ranges, items, ports)


def _require_filler(circuit: Circuit, items: int) -> None:
    """Raise InputRejected (``input-shape``) where filler might not repeat the last item, as a statement has it.

    Equal inputs have equal outputs at every place, unless the circuit, which ``compile`` did not make, chooses by the place.
    """
    if items < circuit.batch and not all(alike(op, circuit.batch) for op in circuit.ops):
        raise InputRejected(
            "input-shape",
            f"{items:,} samples; this circuit treats samples by their place, so it takes {circuit.batch:,} at once, not fewer",
            where="inputs",
            hint=f"Give {circuit.batch:,} samples, or make the circuit again with `verifai compile`.",
        )


def _prove(request: ProveRequest, ready: _Ready) -> EngineProof:
    section, data, circuit, blob, _, ranges, items, ports = ready
    began = perf_counter()
    with compile_time() as compiling:
        root, trace, proven = _proven(request, ready)
    seconds = perf_counter() - began - compiling.seconds
    for note in cache_notes():
        request.progress.note(note)
    files = {CIRCUIT_FILE: data, STATEMENT_FILE: encode_statement(circuit, proven.statement), PROOF_FILE: proven.proof}
    if section.weights is WeightVisibility.PUBLIC:
        files[WEIGHTS_FILE] = blob
    if root is not None:
        files |= root.files
    request.progress.phase("verify")
    try:
        checked = check_payload(section, files)
    except EvidenceRejected as problem:
        raise InternalError("bug", f"the prover's own proof does not hold: {problem}", where=problem.where) from problem
    count = section.count_right
    clamped = None if ranges is None else count_clamped(circuit, trace, ranges, items if count is None else count.items)
    model = Sha256(request.model.sha256)
    statement = domain_statement(circuit, section, checked.verified.statement, model, checked.roots)
    return EngineProof(
        files=files,
        statement=statement,
        seconds=seconds,
        peak_rss_bytes=peak_rss_bytes(),
        outputs=_outputs(ready, trace),
        secrets=_output_secrets(ports, circuit, proven),
        findings=(
            *saturated_outputs(section, circuit, checked.verified.statement),
            *(() if clamped is None else clamped_finding(clamped)),
        ),
        clamped_cells=None if clamped is None else clamped.bound,
    )


def _outputs(ready: _Ready, trace: Trace) -> Tensors:
    """What the circuit puts out, by name; of a batch, the items that count."""
    outputs = real_outputs(ready.circuit, ready.ports.outputs, trace.outputs(), ready.section.scales)
    return {name: values[: ready.items] for name, values in outputs.items()} if ready.items else outputs


def _proven(request: ProveRequest, ready: _Ready) -> tuple[_Root | None, Trace, prover.ProvenStatement]:
    """Run the circuit and prove the trace; with the root that an opening was spent of, where the weights are private."""
    section, data, circuit, blob, inputs, _, items, _ = ready
    from verifai.engines.sumcheck.prover.key_cache import KEYS

    _require_memory(circuit, request.budget.memory_bytes)
    request.progress.phase("run")
    weights, trace = _traced(request, ready)
    request.check_outputs(_outputs(ready, trace))
    threads = request.threads or os.cpu_count() or 1
    hidden = section.weights is WeightVisibility.PRIVATE
    root = _root(request, section) if hidden else None
    seed = weights_seed(secrets_folder(request), root.root) if root is not None else None
    identity = section.weights_sha256 if root is None else root.root
    tree = KeptTree(request.build_dir / TREE_FILE, section.circuit_sha256, sha256(blob), identity)
    make = partial(prover.prepare, circuit, weights, threads, weights_seed=seed, tree=tree)
    key = KEYS.get(section.circuit_sha256, f"{sha256(blob)} {identity}", make)
    del weights, make  # which are int64 here, and in the key in fewer bytes
    if key.identity != identity:
        raise stale("the built weights are not the pinned ones", request.build_dir, str(request.build_dir / WEIGHTS_FILE))
    shown = blob if section.weights is WeightVisibility.PUBLIC else b""
    request.require_space(_evidence_bytes(circuit, len(data) + len(shown), {} if root is None else root.files))
    handed = _input_secrets(request, key, inputs)
    # Reserved on disk before anything is computed with it: a crash from here on loses the number.
    number = root.take() if root is not None else None
    proven = prover.prove(
        key,
        trace,
        (request.context if request.generation is None else request.generation.bound(request.context)).encode("utf-8"),
        opening_number=number,
        secrets=handed,
        items=items,
        progress=request.progress,
        threads=threads,
    )
    return root, trace, proven


def _traced(request: ProveRequest, ready: _Ready) -> tuple[Sequence[Ints], Trace]:
    """The weights, and the circuit run on the request's inputs."""
    from verifai.engines.sumcheck.interpreter.weights import decode_arrays

    try:
        weights = decode_arrays(ready.circuit, ready.blob)
    except EvidenceRejected as problem:
        raise stale(problem.message, request.build_dir, str(request.build_dir / WEIGHTS_FILE)) from None
    return weights, run(ready.circuit, weights, ready.inputs)


def rehearse(request: ProveRequest) -> Rehearsal:
    """Run the circuit as ``prove`` would, without a proof.

    Raises:
        InputRejected, UsageError: as :func:`prove`.
    """
    ready = _checked(request)
    section, circuit, items = ready.section, ready.circuit, ready.items
    _, trace = _traced(request, ready)
    put_out = trace.outputs()
    count = section.count_right
    counted = items if count is None else count.items
    clamped = None if ready.ranges is None else count_clamped(circuit, trace, ready.ranges, counted)
    cells = {}
    for spec, port, array in zip(ready.ports.outputs, circuit.outputs, put_out, strict=True):
        shown = array.reshape(circuit.batch, *spec.shape)[:items] if items else array
        zero_point = circuit.tensors[port.tensor].zero_point
        cells[spec.name] = tuple(cell + zero_point for cell in shown.reshape(-1).tolist())
    files = {CIRCUIT_FILE: ready.data}
    if section.weights is WeightVisibility.PUBLIC:
        files[WEIGHTS_FILE] = ready.blob
    if section.weights is WeightVisibility.PRIVATE and request.opening is not None:
        files |= root_files(secrets_folder(request), section.weights_sha256, request.opening.root)
    return Rehearsal(
        files=files,
        cells=cells,
        outputs=_outputs(ready, trace),
        clamped_cells=None if clamped is None else clamped.bound,
        findings=() if clamped is None else clamped_finding(clamped),
    )


def _require_memory(circuit: Circuit, limit: int | None) -> None:
    """Refuse what would take more than the limit, before any work; the limit is watched as well."""
    needed = peak_memory_bytes(circuit)
    if limit is not None and needed > limit:
        message = f"about {needed / 2**20:,.0f} MiB needed, {limit / 2**20:,.0f} MiB allowed"
        raise ResourceExhausted("estimate-over-budget", message, hint="Raise --max-memory, or memory in [budget].")


def _evidence_bytes(circuit: Circuit, known: int, more: Mapping[str, bytes]) -> int:
    """About how much a proof of ``circuit`` will take on a disk, rather too much than too little."""
    stated = sum(circuit.tensors[port.tensor].size for port in (*circuit.inputs, *circuit.outputs))
    return known + sum(map(len, more.values())) + 16 * stated + proof_bytes(circuit, plan(circuit)) * 5 // 4


def _input_secrets(request: ProveRequest, key: prover.ProvingKey, inputs: Sequence[Ints]) -> dict[int, prover.TensorOpening]:
    """Opening numbers for tensors received from other provers. Each seed must give the root that came with it."""
    circuit = key.circuit
    names = {spec.name: at for at, spec in enumerate(request.model.inputs)}
    found = {}
    for name, secret in request.input_secrets.items():
        at = names.get(name)
        if at is None or circuit.inputs[at].visibility is not Visibility.HASHED or not circuit.zero_knowledge:
            raise UsageError("tensor-secret-unused", "no hashed input of a zero-knowledge circuit has this name", where=name)
        tensor = circuit.inputs[at].tensor
        if prover.tensor_root(key, tensor, inputs[at], prover.TensorOpening(secret.seed, 0)).hex() != secret.root:
            message = "the tensor and its seed do not make the root that came with them"
            raise InputRejected("tensor-root-mismatch", message, where=name, hint="Ask its maker for tensor and seed again.")
        found[tensor] = secret
    # Only now, when all of them are known to be good: each number is spent for good.
    folder = secrets_folder(request) if found else None
    return {
        tensor: prover.TensorOpening(secret.seed, reserve_tensor(folder, secret))
        for tensor, secret in found.items()
        if folder is not None
    }


def _output_secrets(ports: Ports, circuit: Circuit, proven: prover.ProvenStatement) -> dict[str, TensorSecret]:
    """The secrets of hashed outputs, which the prover that takes them as inputs needs."""
    stated = proven.statement.tensors[len(circuit.inputs) :]
    return {
        spec.name: TensorSecret(one.root.hex(), proven.secrets[port.tensor].seed, one.number)
        for spec, port, one in zip(ports.outputs, circuit.outputs, stated, strict=True)
        if isinstance(one, HashedTensor) and port.tensor in proven.secrets
    }
