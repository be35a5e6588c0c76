"""Proving: commit to the witness, then run the script that the verifier runs too (:mod:`..protocol.script`)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.progress import SILENT, Progress
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Circuit, Visibility
from verifai.engines.sumcheck.circuit.weights import weights_digest
from verifai.engines.sumcheck.interpreter.run import Trace
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.interpreter.weights import encode_arrays
from verifai.engines.sumcheck.planning import plan as planner
from verifai.engines.sumcheck.protocol.buses import Bus, LookupBlock
from verifai.engines.sumcheck.protocol.layout import Key, Layout
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.proof import Opening, Proof
from verifai.engines.sumcheck.protocol.proof import encode as encode_proof
from verifai.engines.sumcheck.protocol.script import check_lookups, check_operations, start_transcript
from verifai.engines.sumcheck.protocol.statement import HashedTensor, PrivateTensor, PublicTensor, StatedTensor, Statement
from verifai.engines.sumcheck.protocol.suite import SEED_BYTES
from verifai.engines.sumcheck.protocol.transcript import HashCoins, Transcript
from verifai.engines.sumcheck.prover.arrays import to_field
from verifai.engines.sumcheck.prover.channel import HidingProverChannel, ProverChannel
from verifai.engines.sumcheck.prover.coins import Coins, SecretCoins, proof_key, tensor_seed
from verifai.engines.sumcheck.prover.commitment import (
    CommittedMatrix,
    commit,
    commit_hiding,
    commitment_coins,
    is_remade,
)
from verifai.engines.sumcheck.prover.kept_tree import KeptTree
from verifai.engines.sumcheck.prover.kernels import U64
from verifai.engines.sumcheck.prover.lookups import Block, Member
from verifai.engines.sumcheck.prover.opening import prove_openings
from verifai.engines.sumcheck.prover.opening_hiding import prove_hidden_openings
from verifai.engines.sumcheck.prover.padded_weights import PaddedWeights
from verifai.engines.sumcheck.prover.pads import draw_pads
from verifai.engines.sumcheck.prover.parallel import workers
from verifai.engines.sumcheck.prover.party import ProverParty
from verifai.engines.sumcheck.prover.stored_cells import pieces_in
from verifai.engines.sumcheck.prover.tables import BusTables, bus_tables
from verifai.engines.sumcheck.prover.witness import Witness
from verifai.errors import UsageError
from verifai.execution.allocation import keep_freed_memory

Randomness = Callable[[int], bytes]
"""Random bytes: where a zero-knowledge proof gets its coins. The integrity-only suite draws none."""


@dataclass(frozen=True, slots=True)
class TensorOpening:
    """What opens a hashed tensor's hiding commitment: 32 secret bytes, and which opening of the root this proof makes.

    Seed and tensor together give the same root again, so a party that knows seed and root can test a guess of the tensor.
    Each number is used once per root: the proof that takes the tensor as input uses another number than the one that made it.
    """

    seed: bytes = field(repr=False)
    number: int


@dataclass(frozen=True)
class ProvingKey:
    """A circuit and its weights, ready to prove many inferences. Not secret by construction, but it contains the weights.

    Attributes:
        identity: digest of the public weights' blob, or root of the committed ones, in hex.
        tables: of the bus, as arrays.
    """

    circuit: Circuit
    digest: str
    layout: Layout
    weights: PaddedWeights
    committed: CommittedMatrix | None
    identity: str
    tables: BusTables


@dataclass(frozen=True)
class ProvenStatement:
    """A proof and what it claims.

    Attributes:
        secrets: by hashed tensor, what opens its root again; empty in the integrity-only suite. Never to be published.
    """

    statement: Statement
    proof: bytes
    secrets: Mapping[int, TensorOpening] = field(default_factory=dict)


def prepare(
    circuit: Circuit,
    weights: Sequence[NDArray[Any]],
    threads: int = 1,
    *,
    weights_seed: bytes | None = None,
    tree: KeptTree | None = None,
) -> ProvingKey:
    """Pad the weights and, where the circuit commits them, commit.

    Args:
        circuit: planned (:func:`..planning.plan.planned`). weights: per weight, its true cells, any integer dtype.
        weights_seed: 32 secret bytes that the hiding commitment to weights is made from; the same seed, the same root. Without
            it a fresh one is drawn, and the root is good for this key alone.
        tree: where the tree over a long code word of the weights is kept, or is to be kept.

    Raises:
        UsageError: ``circuit-not-planned``. UnsupportedModel: as the planner. EvidenceRejected: ``weights-malformed``.
    """
    keep_freed_memory()
    layout = planner.plan(circuit)
    if circuit.commitments != layout.commitments() or circuit.soundness != layout.soundness:
        raise UsageError(
            "circuit-not-planned",
            "the circuit does not carry its commitments and errors",
            hint="The plan is another version's, or none: compile the circuit again; see `verifai compile --help`.",
        )
    blob = encode_arrays(circuit, [np.asarray(cells) for cells in weights])
    arrays = PaddedWeights(circuit.weights, weights)
    committed = None
    identity = weights_digest(blob)
    del blob
    if layout.weights is not None:
        columns, plan = arrays.columns(), layout.weights
        make: Callable[..., CommittedMatrix] = partial(commit, plan, columns, threads=threads)
        if circuit.zero_knowledge:
            own = commitment_coins(plan, columns, weights_seed if weights_seed else os.urandom(SEED_BYTES))
            make = partial(commit_hiding, plan, columns, own, "weights", threads=threads)
        committed = make() if tree is None or not is_remade(plan.shape) else tree.committed(plan.shape.length, make)
        identity = committed.root.hex()
    digest, tables = circuit_digest(encode(circuit)), bus_tables(circuit, layout.bus)
    return ProvingKey(circuit, digest, layout, arrays, committed, identity, tables)


def prove(
    key: ProvingKey,
    trace: Trace,
    context: bytes = b"",
    *,
    opening_number: int | None = None,
    secrets: Mapping[int, TensorOpening] | None = None,
    items: int | None = None,
    rng: Randomness = os.urandom,
    progress: Progress = SILENT,
    threads: int = 1,
) -> ProvenStatement:
    """Prove one run. The statement shows public tensors' cells and hashed tensors' roots.

    Commits and proves in one call: a committed witness is never given a second sequence of challenges.

    Args:
        opening_number: of the hiding commitment to weights, required where there is one; never used before
            (:mod:`..secrets.opening_ledger`).
        secrets: by hashed tensor, how to make its hiding root; fresh ones where none is given. Integrity-only roots need none.
        items: of a batch, how many of its items count; by default all. The run's others must repeat the last one that counts.

    Raises:
        ValueError: an opening number is missing, or beyond the budget.
    """
    witness = Witness(key.circuit, key.layout, trace.tensors, trace.columns, key.tables)
    with workers(threads):
        return commit_and_prove(
            key,
            witness,
            context,
            opening_number=opening_number,
            secrets=secrets,
            items=items,
            rng=rng,
            progress=progress,
            threads=threads,
        )


def commit_and_prove(
    key: ProvingKey,
    witness: Witness,
    context: bytes = b"",
    *,
    opening_number: int | None = None,
    secrets: Mapping[int, TensorOpening] | None = None,
    items: int | None = None,
    rng: Randomness = os.urandom,
    progress: Progress = SILENT,
    threads: int = 1,
) -> ProvenStatement:
    """:func:`prove` for a witness that is made already."""
    progress.phase("commit", 2)
    bound = bind(key, witness, context, opening_number=opening_number, secrets=secrets, items=items, rng=rng, threads=threads)
    own_coins = draw_coins(key, bound, rng)
    transcript = start_transcript(key.digest, key.circuit, key.identity, bound.statement)
    progress.advance()
    session, openings = interact(key, witness, bound, transcript, own_coins, progress, threads)
    proof = encode_proof(Proof(session.matrix.root, openings, tuple(session.channel.messages)))
    return ProvenStatement(bound.statement, proof, bound.secrets)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a proof is about, once it is fixed.

    Attributes:
        columns: of the witness, not yet committed. hashed: commitments to the hashed tensors.
        secrets: by hashed tensor; empty in the integrity-only suite.
    """

    statement: Statement
    columns: Mapping[Key, U64]
    hashed: Mapping[int, CommittedMatrix]
    secrets: Mapping[int, TensorOpening]


def bind(
    key: ProvingKey,
    witness: Witness,
    context: bytes,
    *,
    opening_number: int | None,
    secrets: Mapping[int, TensorOpening] | None,
    items: int | None = None,
    rng: Randomness,
    threads: int,
) -> Bound:
    """Commit the hashed tensors and fix the statement. Raises ValueError as :func:`prove`."""
    number = _opening_number(key.circuit, opening_number)
    witness.counts = witness.multiplicities()
    columns = witness.columns()
    known = dict(secrets or {})
    if key.circuit.zero_knowledge:
        known = {**_fresh_secrets(key, witness, columns, context, number, rng), **known}
    counted = key.circuit.batch if items is None else items
    hashed = {
        tensor: _commit_tensor(key, witness.cells(tensor, masked=True), tensor, threads, known.get(tensor))
        for tensor in key.layout.hashed
    }
    statement = Statement(tuple(_state(key.circuit, witness, hashed)), context, number, counted)
    kept = {tensor: known[tensor] for tensor in key.layout.hashed} if key.circuit.zero_knowledge else {}
    return Bound(statement, columns, hashed, kept)


def draw_coins(key: ProvingKey, bound: Bound, rng: Randomness) -> Coins | None:
    """The coins of this proof alone; None in the integrity-only suite."""
    if not key.circuit.zero_knowledge:
        return None
    return SecretCoins(proof_key(rng(SEED_BYTES), values_digest(bound.columns), _fingerprint(key, bound.statement)))


def interact(
    key: ProvingKey,
    witness: Witness,
    bound: Bound,
    transcript: Transcript,
    own_coins: Coins | None,
    progress: Progress,
    threads: int,
) -> tuple[ProverSession, tuple[Opening, ...]]:
    """Commit the witness and run the script over ``transcript``, which holds what is fixed before the witness.

    Args:
        own_coins: required where the suite hides; never used for another proof.
    """
    session = begin_session(key.layout, transcript, bound.columns, own_coins, threads)
    make_blocks = partial(lookup_blocks, key.circuit, key.layout.bus, witness)
    party = ProverParty(session.channel, witness, key.weights, make_blocks, progress, bound.columns)
    progress.phase("lookups")
    check_lookups(party, key.layout.bus)
    progress.phase("operations", len(key.circuit.ops))
    check_operations(party)
    progress.phase("openings")
    witness.forget()
    joint = [session.matrix]
    if key.committed is not None:
        joint.append(key.committed.for_opening(bound.statement.opening_number))
    return session, session.open([joint, *([one] for one in bound.hashed.values())], party.openings)


@dataclass(frozen=True, slots=True)
class ProverSession:
    """A proof in progress, after the commitment to its witness.

    Attributes:
        channel: to send messages by. matrix: the commitment. open: makes the openings of groups of commitments, for all claims.
    """

    channel: ProverChannel
    matrix: CommittedMatrix
    open: Callable[[Sequence[Sequence[CommittedMatrix]], Sequence[OpeningClaim]], tuple[Opening, ...]]


def begin_session(
    layout: Layout, transcript: Transcript, columns: Mapping[Key, U64], own_coins: Coins | None, threads: int
) -> ProverSession:
    """Commit the witness, with pads where the suite hides, and open the channel."""
    if layout.pads is None or own_coins is None:
        matrix = commit(layout.witness, columns, threads)
        transcript.absorb("witness.root", matrix.root)
        channel = ProverChannel(transcript)
        return ProverSession(channel, matrix, partial(prove_openings, channel, levels=layout.levels, threads=threads))
    pads = draw_pads(layout.pads, own_coins)
    matrix = commit_hiding(layout.witness, {**columns, **pads.committed()}, own_coins, "witness", threads=threads)
    transcript.absorb("witness.root", matrix.root)
    hiding = HidingProverChannel(transcript, layout.pads, pads.values)
    opening = partial(prove_hidden_openings, hiding, levels=layout.levels, threads=threads, triples=pads.columns)
    return ProverSession(hiding, matrix, opening)


def _opening_number(circuit: Circuit, given: int | None) -> int:
    """The opening number of the weights. Where there is a budget, the caller has to choose: there is no default."""
    if circuit.opening_budget == 0:
        return 0
    if given is None or not 0 <= given < circuit.opening_budget:
        raise ValueError(f"opening number {given} is not one of {circuit.opening_budget}")
    return given


def _fresh_secrets(
    key: ProvingKey, witness: Witness, columns: Mapping[Key, U64], context: bytes, number: int, rng: Randomness
) -> dict[int, TensorOpening]:
    """New seeds, for hashed tensors that come without a secret; this proof makes opening number 0 of their roots."""
    if not key.layout.hashed:
        return {}
    cells = {("tensor", tensor, 0): witness.cells(tensor, masked=True) for tensor in key.layout.hashed}
    values = values_digest({**columns, **cells})
    unbound = Statement(tuple(_state(key.circuit, witness, None)), context, number, key.circuit.batch)
    facts, entropy = _fingerprint(key, unbound), rng(SEED_BYTES)
    return {tensor: TensorOpening(tensor_seed(entropy, values, facts, tensor), 0) for tensor in key.layout.hashed}


def values_digest(columns: Mapping[Key, U64]) -> bytes:
    """Of all committed values."""
    total = sha256()
    for cells in columns.values():
        total.update(np.ascontiguousarray(cells).data)
    return total.digest()


def _fingerprint(key: ProvingKey, statement: Statement) -> bytes:
    """A digest of everything that is fixed before the witness."""
    recorded = HashCoins()
    start_transcript(key.digest, key.circuit, key.identity, statement, recorded)
    return recorded.seed()


def tensor_root(key: ProvingKey, tensor: int, cells: NDArray[Any], secret: TensorOpening | None = None) -> bytes:
    """The root that a statement shows for a hashed tensor with these true cells (centred integers)."""
    described = key.circuit.tensors[tensor]
    full = np.zeros(described.padded, dtype=np.int64)
    full[tuple(slice(0, size) for size in described.shape)] = np.asarray(cells, dtype=np.int64).reshape(described.shape)
    return _commit_tensor(key, to_field(full.reshape(-1)), tensor, 1, secret).root


def _commit_tensor(key: ProvingKey, cells: U64, tensor: int, threads: int, secret: TensorOpening | None) -> CommittedMatrix:
    plan, columns = key.layout.hashed[tensor], {("tensor", tensor, 0): cells}
    if secret is None:
        return commit(plan, columns, threads)
    own = commitment_coins(plan, columns, secret.seed)
    return commit_hiding(plan, columns, own, "tensor", number=secret.number, threads=threads)


def _state(circuit: Circuit, witness: Witness, hashed: Mapping[int, CommittedMatrix] | None) -> list[StatedTensor]:
    """The statement's tensors; without ``hashed``, roots are left out."""
    stated: list[StatedTensor] = []
    for port in circuit.inputs + circuit.outputs:
        if port.visibility is Visibility.HASHED:
            bound = None if hashed is None else hashed[port.tensor]
            stated.append(HashedTensor(bytes(32)) if bound is None else HashedTensor(bound.root, bound.number))
        elif port.visibility is Visibility.PRIVATE:
            stated.append(PrivateTensor())
        else:
            cells = witness.tensors[port.tensor].reshape(circuit.tensors[port.tensor].padded)[witness.box(port.tensor)]
            stated.append(PublicTensor(tuple(cells.reshape(-1).tolist())))
    return stated


def lookup_blocks(circuit: Circuit, bus: Bus, witness: Witness, counts: dict[int, U64]) -> list[Block]:
    """The leaves of every block. Columns are the witness's own integers wherever it has them."""
    result: list[Block] = []
    for number, blocks in enumerate(bus.by_operation):
        for block, row in zip(blocks, witness.rows(number) if blocks else [], strict=True):
            result += pieces_of_lookup(block, row)
    for tensor, blocks in bus.by_tensor.items():
        for block, integers in zip(blocks, witness.tensor_rows(tensor), strict=True):
            result += pieces_of_lookup(block, integers)
    for index, (table, columns) in enumerate(zip(bus.tables, witness.tables(), strict=True)):
        negative = to_field(-counts[index].astype(np.int64))
        result.append(Block(index, table.log_size, table.offset, columns, negative, sum=table.sum))
    return result


def pieces_of_lookup(lookup: LookupBlock, row: Sequence[U64 | Ints]) -> Iterator[Block]:
    """The leaves of one lookup, piece by piece; ``row``: its columns in padded cells."""
    group = lookup.group
    columns = zip(*(pieces_in(group.storage, column) for column in row), strict=True)
    member = Member(lookup.member, group.log_members, group.storage.log_rest)
    for piece, address, parts in zip(group.storage.pieces, group.addresses, columns, strict=True):
        cells = tuple(np.ascontiguousarray(part).reshape(-1) for part in parts)
        yield Block(lookup.table, group.log_block(piece), address, cells, None, member, group.sum)
