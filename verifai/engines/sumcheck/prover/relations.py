"""The prover of what is proven about committed weights alone: :mod:`..verifier.relations`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256

import numpy as np

from verifai.domain.progress import SILENT, Progress
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol.buses import Bus
from verifai.engines.sumcheck.protocol.field import Ext, P
from verifai.engines.sumcheck.protocol.lookups import Leaves
from verifai.engines.sumcheck.protocol.proof import Proof, encode
from verifai.engines.sumcheck.protocol.relations import Kind, OpenedRoot, RelationPlan, begin, check_relation
from verifai.engines.sumcheck.protocol.suite import SEED_BYTES
from verifai.engines.sumcheck.protocol.transcript import HashCoins
from verifai.engines.sumcheck.prover.arrays import to_field
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.prover.coins import SecretCoins, proof_key
from verifai.engines.sumcheck.prover.commitment import CommittedMatrix
from verifai.engines.sumcheck.prover.lookups import Block, build_leaves, prove_layers
from verifai.engines.sumcheck.prover.padded_weights import PaddedWeights
from verifai.engines.sumcheck.prover.parallel import workers
from verifai.engines.sumcheck.prover.party import ProverParty
from verifai.engines.sumcheck.prover.prove import (
    ProvingKey,
    Randomness,
    begin_session,
    lookup_blocks,
    pieces_of_lookup,
    values_digest,
)
from verifai.engines.sumcheck.prover.stored_cells import stored_part
from verifai.engines.sumcheck.prover.witness import Witness


def prove_registration(
    key: ProvingKey,
    number: int,
    context: bytes = b"",
    *,
    rng: Randomness = os.urandom,
    threads: int = 1,
    progress: Progress = SILENT,
) -> bytes:
    """Prove that the weights of ``key`` keep the circuit's bounds, by opening ``number`` of their root."""
    return _prove(Kind.REGISTRATION, key, [_opened(key, number)], context, rng, threads, progress)


def prove_link(
    key: ProvingKey,
    number: int,
    epoch: ProvingKey,
    epoch_number: int,
    context: bytes = b"",
    *,
    rng: Randomness = os.urandom,
    threads: int = 1,
    progress: Progress = SILENT,
) -> bytes:
    """Prove that two roots, ``key``'s and ``epoch``'s, commit to equal weights; it takes one opening of each."""
    return _prove(Kind.LINK, key, [_opened(key, number), _opened(epoch, epoch_number)], context, rng, threads, progress)


def _opened(key: ProvingKey, number: int) -> CommittedMatrix:
    if key.committed is None or key.committed.masked is None:
        raise ValueError("the key's circuit hides no weights")
    return key.committed.for_opening(number)


def _prove(
    kind: Kind,
    key: ProvingKey,
    opened: Sequence[CommittedMatrix],
    context: bytes,
    rng: Randomness,
    threads: int,
    progress: Progress,
) -> bytes:
    progress.phase(kind.value)
    with workers(threads):
        return _proven(kind, key, opened, context, rng, threads)


def _proven(
    kind: Kind, key: ProvingKey, opened: Sequence[CommittedMatrix], context: bytes, rng: Randomness, threads: int
) -> bytes:
    plan = plan_relation(kind, key.circuit)
    layout = plan.layout
    witness = Witness(plan.circuit, layout, _parts(plan, key) if kind is Kind.REGISTRATION else [], {})
    witness.counts = witness.multiplicities()
    counts = {**witness.counts, **ranged_counts(plan, key.weights, len(witness.counts))}
    columns = {**witness.columns(), **{("count", number, 0): to_field(one) for number, one in counts.items()}}
    roots = [OpenedRoot(matrix.root, matrix.number) for matrix in opened]
    facts = HashCoins()
    begin(kind, key.circuit, key.digest, roots, context, facts)
    secret = sha256(values_digest(columns) + values_digest(key.weights.columns())).digest()
    own = SecretCoins(proof_key(rng(SEED_BYTES), secret, facts.seed()))
    transcript = begin(kind, key.circuit, key.digest, roots, context)
    session = begin_session(layout, transcript, columns, own, threads)
    party = RelationParty(session.channel, witness, plan, key.weights, counts)
    check_relation(kind, party, key.circuit.weights, plan.parts, layout.bus, plan.sums)
    openings = session.open([[session.matrix], *([matrix] for matrix in _relabelled(plan, opened))], party.openings)
    return encode(Proof(session.matrix.root, openings, tuple(session.channel.messages)))


class RelationParty(ProverParty):
    """The prover's party, which also knows the sums of fractions over weights' own cells."""

    def __init__(
        self, channel: ProverChannel, witness: Witness, plan: RelationPlan, weights: PaddedWeights, counts: Mapping[int, Ints]
    ) -> None:
        super().__init__(channel, witness, weights, partial(lookup_blocks, plan.circuit, plan.layout.bus, witness))
        self._plan = plan
        self._counts = {number: to_field(one) for number, one in counts.items()}

    def fractions(self, bus: Bus, alpha: Ext, beta: Ext) -> Leaves:
        """Leaves and layers; the leaves of one sum are gone before those of the next are made."""
        if bus not in self._plan.sums:
            return super().fractions(bus, alpha, beta)
        return prove_layers(self.channel, build_leaves(bus, self._ranged(bus), alpha, beta))

    def _ranged(self, bus: Bus) -> list[Block]:
        """The leaves of a sum."""
        first = len(self._plan.layout.bus.tables)
        for one in self._plan.sums[: self._plan.sums.index(bus)]:
            first += len(one.tables)
        blocks = list[Block]()
        for owner, (lookup,) in bus.by_tensor.items():
            blocks += pieces_of_lookup(lookup, (self._weights[owner],))
        for number, table in enumerate(bus.tables):
            rows = np.arange(1 << table.log_size, dtype=np.int64) - (1 << table.index)
            rows[0] = 0
            negative = to_field(-self._counts[first + number].astype(np.int64))
            blocks.append(Block(number, table.log_size, table.offset, (rows,), negative))
        return blocks


def ranged_counts(plan: RelationPlan, weights: PaddedWeights, first: int) -> dict[int, Ints]:
    """How often each row is looked up, for all tables of all sums; cells outside their range count nowhere."""
    counts = dict[int, Ints]()
    for bus in plan.sums:
        for table in bus.tables:
            counts[first + bus.tables.index(table)] = np.zeros(1 << table.log_size, dtype=np.int64)
        for owner, (lookup,) in bus.by_tensor.items():
            table = bus.tables[lookup.table]
            size, half = 1 << table.log_size, np.uint64(1 << table.index)
            index = stored_part(lookup.group.storage, weights[owner]) + half  # of negative cells: w + p + 2^k
            index = np.where(index >= np.uint64(P), index - np.uint64(P), index)
            index = index[(index > 0) & (index < size)]
            counts[first + lookup.table] += np.bincount(index.astype(np.int64), minlength=size)
        first += len(bus.tables)
    return counts


def _relabelled(plan: RelationPlan, opened: Sequence[CommittedMatrix]) -> list[CommittedMatrix]:
    """The commitments under the names that the plan has for their columns."""
    return [replace(matrix, plan=named) for matrix, named in zip(opened, plan.weights, strict=True)]


def _parts(plan: RelationPlan, key: ProvingKey) -> list[Ints]:
    """Padded cells of all limbs, in the order of the plan's tensors."""
    found: dict[int, Ints] = {}
    for number, (weight, mine) in enumerate(zip(key.circuit.weights, plan.parts, strict=True)):
        if mine.ranged:
            continue
        cells = key.weights[number]
        signed = np.where(cells > np.uint64(P // 2), cells - np.uint64(P), cells).astype(np.int64).reshape(weight.padded)
        for tensors, values in ((mine.positive, np.maximum(signed, 0)), (mine.negative, np.maximum(-signed, 0))):
            _limbs(plan, tensors, values, found)
        if not mine.normed:
            continue
        used = np.abs(signed).reshape(weight.padded[0], -1).sum(axis=1)
        slack = np.zeros(weight.padded[0], dtype=np.int64)
        slack[: weight.shape[0]] = weight.row_l1 - used[: weight.shape[0]]
        _limbs(plan, mine.slack, slack, found)
    return [found[number] for number in range(len(plan.circuit.tensors))]


def _limbs(plan: RelationPlan, tensors: Sequence[int], values: Ints, found: dict[int, Ints]) -> None:
    rest = values.copy()
    for tensor in tensors:
        bits = plan.circuit.tensors[tensor].high.bit_length()
        found[tensor] = rest & ((1 << bits) - 1)
        rest = rest >> bits
