"""The prover of what is proven about committed weights alone: :mod:`..verifier.relations`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256

import numpy as np

from verifai.domain.progress import SILENT, Progress
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.proof import Proof, encode
from verifai.engines.sumcheck.protocol.relations import Kind, OpenedRoot, RelationPlan, begin, check_relation
from verifai.engines.sumcheck.protocol.script import check_lookups
from verifai.engines.sumcheck.protocol.suite import SEED_BYTES
from verifai.engines.sumcheck.protocol.transcript import HashCoins
from verifai.engines.sumcheck.prover.coins import SecretCoins, proof_key
from verifai.engines.sumcheck.prover.commitment import CommittedMatrix
from verifai.engines.sumcheck.prover.party import ProverParty
from verifai.engines.sumcheck.prover.prove import ProvingKey, Randomness, begin_session, lookup_blocks, values_digest
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
    plan = plan_relation(kind, key.circuit)
    layout = plan.layout
    witness = Witness(plan.circuit, layout, _parts(plan, key) if kind is Kind.REGISTRATION else [], {})
    witness.counts = witness.multiplicities()
    columns = witness.columns()
    roots = [OpenedRoot(matrix.root, matrix.number) for matrix in opened]
    facts = HashCoins()
    begin(kind, key.circuit, key.digest, roots, context, facts)
    secret = sha256(values_digest(columns) + values_digest(key.weights.columns())).digest()
    own = SecretCoins(proof_key(rng(SEED_BYTES), secret, facts.seed()))
    transcript = begin(kind, key.circuit, key.digest, roots, context)
    session = begin_session(layout, transcript, columns, own, threads)
    party = ProverParty(session.channel, witness, key.weights, partial(lookup_blocks, plan.circuit, layout.bus, witness))
    if kind is Kind.REGISTRATION:
        check_lookups(party, layout.bus)
    check_relation(kind, party, key.circuit.weights, plan.parts)
    openings = session.open([[session.matrix], *([matrix] for matrix in _relabelled(plan, opened))], party.openings)
    return encode(Proof(session.matrix.root, openings, tuple(session.channel.messages)))


def _relabelled(plan: RelationPlan, opened: Sequence[CommittedMatrix]) -> list[CommittedMatrix]:
    """The commitments under the names that the plan has for their columns."""
    return [replace(matrix, plan=named) for matrix, named in zip(opened, plan.weights, strict=True)]


def _parts(plan: RelationPlan, key: ProvingKey) -> list[Ints]:
    """Padded cells of all limbs, in the order of the plan's tensors."""
    found: dict[int, Ints] = {}
    for weight, cells, mine in zip(key.circuit.weights, key.weights, plan.parts, strict=True):
        signed = np.where(cells > np.uint64(P // 2), cells - np.uint64(P), cells).astype(np.int64).reshape(weight.padded)
        for tensors, values in ((mine.positive, np.maximum(signed, 0)), (mine.negative, np.maximum(-signed, 0))):
            _limbs(plan, tensors, values, found)
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
