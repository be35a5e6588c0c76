"""Proving: commit, then talk. The order of everything said is the verifier's (:mod:`..verifier.verify`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.progress import SILENT, Progress
from verifai.engines.sumcheck import circuit_ops as ops
from verifai.engines.sumcheck.circuit import Circuit, Visibility, WeightVisibility
from verifai.engines.sumcheck.circuit_codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit_weights import encode_weights, weights_digest
from verifai.engines.sumcheck.interpreter import Trace
from verifai.engines.sumcheck.prover.arrays import to_field
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.prover.commitment import CommittedMatrix, commit
from verifai.engines.sumcheck.prover.kernels import U64
from verifai.engines.sumcheck.prover.lookups import Block, build_leaves, prove_layers
from verifai.engines.sumcheck.prover.opening import prove_openings
from verifai.engines.sumcheck.prover.parallel import workers
from verifai.engines.sumcheck.prover.party import ProverParty, padded_weight
from verifai.engines.sumcheck.prover.witness import Witness, field_row
from verifai.engines.sumcheck.verifier import layout as layouts
from verifai.engines.sumcheck.verifier.axes import point_axes
from verifai.engines.sumcheck.verifier.buses import RANGE, Bus, table_values
from verifai.engines.sumcheck.verifier.field import Ext
from verifai.engines.sumcheck.verifier.layout import Layout
from verifai.engines.sumcheck.verifier.operations import (
    check_operation,
    lookup_rows,
    reduce_claim,
    tensor_rows,
    truncated_axes,
)
from verifai.engines.sumcheck.verifier.party import OpeningClaim
from verifai.engines.sumcheck.verifier.proof import Proof
from verifai.engines.sumcheck.verifier.proof import encode as encode_proof
from verifai.engines.sumcheck.verifier.statement import HashedTensor, PublicTensor, StatedTensor, Statement
from verifai.engines.sumcheck.verifier.transcript import Coins
from verifai.engines.sumcheck.verifier.verify import start_transcript
from verifai.errors import UsageError

Randomness = Callable[[int], bytes]
"""Random bytes for blinding. This suite blinds nothing and draws none; the parameter is where a hiding suite gets its coins."""


@dataclass(frozen=True)
class ProvingKey:
    """A circuit and its weights, ready to prove many inferences. Not secret by construction, but it contains the weights.

    Attributes:
        identity: digest of the public weights' blob, or root of the committed ones, in hex.
    """

    circuit: Circuit
    digest: str
    layout: Layout
    weights: tuple[U64, ...]
    committed: CommittedMatrix | None
    identity: str


@dataclass(frozen=True)
class ProvenStatement:
    """A proof and what it claims."""

    statement: Statement
    proof: bytes


def prepare(circuit: Circuit, weights: Sequence[NDArray[Any]], threads: int = 1) -> ProvingKey:
    """Pad the weights and, where the circuit commits them, commit.

    Args:
        circuit: planned (:func:`..verifier.layout.planned`). weights: per weight, its true cells, any integer dtype.

    Raises:
        UsageError: ``circuit-not-planned``. UnsupportedModel: as the planner. EvidenceRejected: ``weights-malformed``.
    """
    layout = layouts.plan(circuit)
    if circuit.commitments != layout.commitments() or circuit.soundness != layout.soundness:
        raise UsageError(
            "circuit-not-planned", "the circuit does not carry its commitments and errors", hint="Call planned() first."
        )
    blob = encode_weights(circuit, [np.asarray(cells).reshape(-1).tolist() for cells in weights])
    arrays = tuple(padded_weight(weight, np.asarray(cells)) for weight, cells in zip(circuit.weights, weights, strict=True))
    committed = None
    identity: str = weights_digest(blob)
    if layout.weights is not None:
        committed = commit(layout.weights, {("weight", i, 0): cells.reshape(-1) for i, cells in enumerate(arrays)}, threads)
        identity = committed.root.hex()
    return ProvingKey(circuit, circuit_digest(encode(circuit)), layout, arrays, committed, identity)


def prove(
    key: ProvingKey,
    trace: Trace,
    context: bytes = b"",
    *,
    rng: Randomness | None = None,
    progress: Progress = SILENT,
    threads: int = 1,
) -> ProvenStatement:
    """Prove one run. The statement shows public tensors' cells and hashed tensors' roots.

    Commits and proves in one call: a committed witness is never given a second sequence of challenges.
    """
    witness = Witness(key.circuit, key.layout, trace.tensors, trace.columns)
    with workers(threads):
        return commit_and_prove(key, witness, context, rng=rng, progress=progress, threads=threads)


def commit_and_prove(
    key: ProvingKey,
    witness: Witness,
    context: bytes = b"",
    *,
    rng: Randomness | None = None,
    coins: Coins | None = None,
    progress: Progress = SILENT,
    threads: int = 1,
    listener: Callable[[ProverChannel], None] | None = None,
) -> ProvenStatement:
    """Commit ``witness`` and prove. ``coins`` and ``listener``, who sees the finished channel, are for tests."""
    progress.phase("commit", 2)
    hashed = {tensor: _commit_tensor(key, witness.cells(tensor, masked=True), tensor, threads) for tensor in key.layout.hashed}
    statement = Statement(tuple(_state(key.circuit, witness, hashed)), context)
    transcript = start_transcript(key.digest, key.circuit, key.identity, statement, coins)
    progress.advance()
    matrix = commit(key.layout.witness, witness.columns(), threads)
    transcript.absorb("witness.root", matrix.root)
    channel = ProverChannel(transcript)
    public = key.circuit.weight_visibility is WeightVisibility.PUBLIC
    party = ProverParty(channel, witness, key.weights, public)
    progress.phase("lookups")
    _prove_lookups(party, key.layout, witness)
    progress.phase("operations", len(key.circuit.ops))
    _prove_operations(party, progress)
    progress.phase("openings")
    joint = [matrix] if key.committed is None else [matrix, key.committed]
    openings = prove_openings(channel, [joint, *([one] for one in hashed.values())], party.openings)
    if listener is not None:
        listener(channel)
    return ProvenStatement(statement, encode_proof(Proof(matrix.root, openings, tuple(channel.messages))))


def tensor_root(key: ProvingKey, tensor: int, cells: NDArray[Any]) -> bytes:
    """The root that a statement shows for a hashed tensor with these true cells (centred integers)."""
    described = key.circuit.tensors[tensor]
    full = np.zeros(described.padded, dtype=np.int64)
    full[tuple(slice(0, size) for size in described.shape)] = np.asarray(cells, dtype=np.int64).reshape(described.shape)
    return _commit_tensor(key, to_field(full.reshape(-1)), tensor, 1).root


def _commit_tensor(key: ProvingKey, cells: U64, tensor: int, threads: int) -> CommittedMatrix:
    return commit(key.layout.hashed[tensor], {("tensor", tensor, 0): cells}, threads)


def _state(circuit: Circuit, witness: Witness, hashed: dict[int, CommittedMatrix]) -> list[StatedTensor]:
    stated: list[StatedTensor] = []
    for port in circuit.inputs + circuit.outputs:
        if port.visibility is Visibility.HASHED:
            stated.append(HashedTensor(hashed[port.tensor].root))
        else:
            cells = witness.tensors[port.tensor].reshape(circuit.tensors[port.tensor].padded)[witness.box(port.tensor)]
            stated.append(PublicTensor(tuple(cells.reshape(-1).tolist())))
    return stated


def _prove_lookups(party: ProverParty, layout: Layout, witness: Witness) -> None:
    """The mirror image of the verifier's ``check_lookups``."""
    circuit, bus, channel = party.circuit, layout.bus, party.channel
    counts = {index: to_field(values) for index, values in witness.multiplicities().items()}
    alpha, beta = channel.challenge("lookups.alpha"), channel.challenge("lookups.beta")
    point = prove_layers(channel, *build_leaves(bus, _blocks(circuit, bus, witness, counts), alpha, beta))
    for number, blocks in enumerate(bus.by_operation):
        if blocks:
            lookup_rows(party, number, partial(_local, point))
    for tensor in layout.hashed:
        blocks = bus.by_tensor[tensor]
        local = _local(point, blocks[0].log_size)
        _, stored = tensor_rows(party, tensor, local, len(blocks))
        party.openings.append(OpeningClaim(("tensor", tensor, 0), truncated_axes(circuit.tensors[tensor], local), stored))
    for index, table in enumerate(bus.tables):
        axes = point_axes(_local(point, table.log_size), (table.log_size,))
        party.committed(("count", index, 0), counts[index], axes, "lookups.count")


def _local(point: tuple[Ext, ...], log_size: int) -> tuple[Ext, ...]:
    return point[len(point) - log_size :]


def _blocks(circuit: Circuit, bus: Bus, witness: Witness, counts: dict[int, U64]) -> list[Block]:
    result = []
    for number, blocks in enumerate(bus.by_operation):
        for block, row in zip(blocks, witness.rows(number) if blocks else [], strict=True):
            result.append(Block(block.table, block.log_size, block.offset, field_row(row), None))
    for tensor, blocks in bus.by_tensor.items():
        for block, integers in zip(blocks, witness.tensor_rows(tensor), strict=True):
            result.append(Block(block.table, block.log_size, block.offset, field_row(integers), None))
    for index, table in enumerate(bus.tables):
        arguments = np.arange(1 << table.log_size, dtype=np.int64)
        columns: tuple[U64, ...] = (to_field(arguments),)
        if table.kind != RANGE:
            low, values = table_values(circuit, table)
            columns = (to_field(arguments + low), to_field(np.array(values, dtype=np.int64)))
        negative = to_field(-counts[index].astype(np.int64))
        result.append(Block(index, table.log_size, table.offset, columns, negative))
    return result


def _prove_operations(party: ProverParty, progress: Progress) -> None:
    """The mirror image of the verifier's ``check_operations``."""
    for number in range(len(party.circuit.ops) - 1, -1, -1):
        op = party.circuit.ops[number]
        check_operation(party, number)
        if not isinstance(op, ops.HELD_OUTPUT):
            for claim in party.pending[op.out]:
                reduce_claim(party, number, claim.axes, claim.value)
        progress.advance()
