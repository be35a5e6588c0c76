"""Provers that cheat where levels take the place of the openings' combinations are refused, in both suites.

The same run without a cheat is verified first, with two levels, as small circuits have none of their own accord.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_cheats import Cheat
from tests.support.sumcheck_examples import Sketch
from tests.support.sumcheck_levels import SHORT, force_levels
from tests.support.sumcheck_scripted import verify_scripted
from tests.support.sumcheck_zk_forging import cheat_when_committing
from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.planning import plan
from verifai.engines.sumcheck.planning.size import proof_bytes
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.batching import row_weights
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.relations import Kind, OpenedRoot
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.protocol.transcript import HashCoins, Transcript
from verifai.engines.sumcheck.prover import levels as proving
from verifai.engines.sumcheck.prover import opening, opening_hiding
from verifai.engines.sumcheck.prover import relations as relating
from verifai.engines.sumcheck.prover.arrays import vector
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.prover.commitment import extension_values
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.verifier.relations import verify_relation
from verifai.engines.sumcheck.verifier.verify import verify
from verifai.errors import EvidenceRejected

LIE = (5, 1)


@pytest.fixture(autouse=True, params=[INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
def suite(request, monkeypatch):
    monkeypatch.setattr(Sketch, "suite", request.param)
    force_levels(monkeypatch, *SHORT)
    return request.param


@pytest.fixture
def cheat():
    """Three combinations (witness and weights, input, output) over two levels; its honest twin holds."""
    made = Cheat(*examples.mlp(hashed_input=True, hashed_output=True, committed=True))
    assert len(made.key.layout.levels) == 2 and len(made.key.layout.groups()) == 3
    return made


def _changed(values, *changes):
    for index, change in changes:
        values[index] = field.add(values[index], change)
    return values


# --- another vector below ---


def _other_combination(monkeypatch, which, change):
    """The prover goes on with another u in place of combination ``which``: all that follows fits it."""
    for module in (opening, opening_hiding):
        honest = module.combine

        def combine(*given, honest=honest, **more):
            groups = honest(*given, **more)
            u = change(extension_values(groups[which].u), groups[which])
            groups[which] = replace(groups[which], u=vector(u))
            return groups

        monkeypatch.setattr(module, "combine", combine)


@pytest.mark.parametrize("which", [0, 1, 2])
@pytest.mark.parametrize("place", [0, 7, -1])
def test_another_combination_in_the_first_level(cheat, which, place, monkeypatch):
    _other_combination(monkeypatch, which, lambda u, group: _changed(u, (place, LIE)))
    assert cheat.refused().stopped == "level:2"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_another_combination_that_has_the_claimed_value(cheat, which, monkeypatch):
    """Only its code word at the opened positions speaks against it."""

    def change(u, group):
        eq = ax.eq_table(group.asked[0].point)
        other = field.scale(field.product(field.product(LIE, eq[1]), field.inverse(eq[2])), -1)
        assert field.add(field.product(LIE, eq[1]), field.product(other, eq[2])) == field.ZERO
        return _changed(u, (1, LIE), (2, other))

    _other_combination(monkeypatch, which, change)
    assert cheat.refused().stopped == "level:2"


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("consistent", [True, False])
def test_a_level_that_commits_to_another_vector(cheat, number, consistent, monkeypatch):
    """``consistent``: the rounds go on with what is committed; else with the true vector."""
    honest = proving.commit_level

    def commit_level(level, full, threads):
        if level.shape.label == f"level:{number}":
            other = full if consistent else full.copy()
            other[0, 3] = (int(other[0, 3]) + 1) % P
            return honest(level, other, threads)
        return honest(level, full, threads)

    monkeypatch.setattr(proving, "commit_level", commit_level)
    assert cheat.refused().stopped == "level:2"


def test_one_vector_for_two_combinations(cheat, monkeypatch):
    """Blocks exchanged: every combination lies where another belongs."""
    honest = proving.commit_level

    def commit_level(level, full, threads):
        if len(level.blocks) == 3:
            a, b = (level.blocks[i] for i in (1, 2))
            size = min(a.length, b.length)
            first = full[:, a.offset : a.offset + size].copy()
            full[:, a.offset : a.offset + size] = full[:, b.offset : b.offset + size]
            full[:, b.offset : b.offset + size] = first
        return honest(level, full, threads)

    monkeypatch.setattr(proving, "commit_level", commit_level)
    assert cheat.refused().stopped == "level:2"


# --- folds, rounds, challenges ---


@pytest.mark.parametrize("number", [1, 2])
def test_a_wrong_fold(cheat, number, monkeypatch):
    """The rows of a level combined by other weights than eq of the level's own point."""
    honest = proving.stored_weights

    def stored_weights(level, point):
        right = level.shape.label != f"level:{number}"
        return honest(level, point if right else [field.add(point[0], field.ONE), *point[1:]])

    monkeypatch.setattr(proving, "stored_weights", stored_weights)
    assert cheat.refused().stopped == "level:2"


def test_the_components_of_rows_mixed_up(cheat, monkeypatch):
    honest = proving.stored_weights
    monkeypatch.setattr(proving, "stored_weights", lambda level, point: honest(level, point)[::-1])
    assert cheat.refused().stopped == "level:2"


@pytest.mark.parametrize("label", ["level.mix", "level.point"])
def test_coefficients_that_the_prover_chose_beforehand(cheat, label, monkeypatch):
    honest = ProverChannel.challenge

    def challenge(self, name):
        value = honest(self, name)
        return (2, 1) if name == label else value

    monkeypatch.setattr(ProverChannel, "challenge", challenge)
    assert cheat.refused().code == "proof-invalid"


@pytest.mark.parametrize("late", ["level.root", "level.columns"])
def test_a_root_or_columns_that_are_fixed_after_the_challenge_that_follows_them(cheat, late):
    """A prover that sees the positions (or γ) first could commit to what only fits there; the verifier draws others."""
    held, honest = [], Transcript.absorb

    def absorb(self, label, data):
        if label == late:
            held.append(data)
            return
        honest(self, label, data)
        if held and label == ("positions" if late == "level.root" else "challenge"):
            honest(self, late, held.pop())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transcript, "absorb", absorb)
        proven = cheat.prove()
        assert not held
    with pytest.raises(EvidenceRejected) as caught:
        verify(*cheat.given(), proven.statement, proven.proof)
    assert caught.value.code == "proof-invalid"


@pytest.mark.parametrize("at", ["openings.positions0", "openings.positions2", "level.positions"])
def test_positions_repeated(cheat, at, monkeypatch):
    """One position shown again in place of another."""
    honest = proving._positions

    def positions(channel, group):
        found = honest(channel, group)
        return [*found[:-1], found[0]] if group.positions == at else found

    monkeypatch.setattr(proving, "_positions", positions)
    refusal = cheat.refused()
    assert refusal.code == "proof-invalid" and refusal.stopped in ("x", "io:" + cheat.circuit.tensors[-1].name, "level:1")


# --- levels left out, exchanged, repeated ---


def _parts(cheat):
    proven = cheat.prove(b"one")
    return proven, proofs.decode(proven.proof, cheat.key.layout.commitments())


def _refused(cheat, proven, proof):
    data = proof if isinstance(proof, bytes) else proofs.encode(proof)
    assert data != proven.proof
    with pytest.raises(EvidenceRejected) as caught:
        verify(*cheat.given(), proven.statement, data)
    return caught.value.code


@pytest.mark.parametrize("kept", [slice(0, 0), slice(0, 1), slice(1, 2)], ids=["none", "the first", "the second"])
def test_levels_left_out(cheat, kept, monkeypatch):
    """A proof that is consistent by itself, with fewer levels than the circuit plans."""
    cheat.given()
    layout = cheat.key.layout
    force_levels(monkeypatch, *SHORT[kept])
    fewer = plan.plan_levels([group[0].shape.degree for group in layout.groups()])
    assert len(fewer) == len(SHORT[kept])
    cheat.key = replace(cheat.key, layout=replace(layout, levels=fewer))
    proven = cheat.prove(b"one")
    force_levels(monkeypatch, *SHORT)
    missing = proof_bytes(cheat.circuit, layout) - len(proven.proof)
    filled = proven.proof + bytes(missing) if missing > 0 else proven.proof[:missing]
    for data in (proven.proof, filled):
        with pytest.raises(EvidenceRejected) as caught:
            verify(*cheat.given(), proven.statement, data)
        assert caught.value.code in ("proof-malformed", "proof-invalid")


def test_roots_openings_and_messages_of_levels_exchanged(cheat):
    proven, proof = _parts(cheat)
    *front, first, second = proof.openings
    assert len(first.cap) == len(second.cap)
    exchanged = [
        (*front, replace(first, cap=second.cap), replace(second, cap=first.cap)),
        (*front, replace(first, cap=second.cap), second),
        (*front, first, replace(second, cap=first.cap)),
        (*front, replace(first, cap=first.cap[::-1]), second),
    ]
    for openings in exchanged:
        assert _refused(cheat, proven, replace(proof, openings=openings)) == "proof-invalid"
    for openings in ((*front, second, first), (*front, first, first), (*front, second, second)):
        assert _refused(cheat, proven, replace(proof, openings=openings)) in ("proof-malformed", "proof-invalid")
    other = cheat.prove(b"two")
    later = proofs.decode(other.proof, cheat.key.layout.commitments())
    assert later.openings[-2] != first and later.openings[-1] != second
    for openings in ((*front, later.openings[-2], second), (*front, first, later.openings[-1]), (*front, *later.openings[-2:])):
        assert _refused(cheat, proven, replace(proof, openings=openings)) == "proof-invalid"


def test_the_last_message_cut_short_or_filled_up(cheat):
    proven, proof = _parts(cheat)
    count = cheat.key.layout.levels[-1].shape.degree
    assert cheat.channel.labels[-1] == ("openings.combination", count)
    for kept in (1, count // 2, count - 1):
        assert _refused(cheat, proven, replace(proof, messages=proof.messages[: kept - count])) == "proof-malformed"
        zeros = (field.ZERO,) * (count - kept)
        assert _refused(cheat, proven, replace(proof, messages=(*proof.messages[: kept - count], *zeros))) == "proof-invalid"
    assert _refused(cheat, proven, replace(proof, messages=(*proof.messages, field.ZERO))) == "proof-malformed"
    assert _refused(cheat, proven, replace(proof, messages=proof.messages[:-count])) == "proof-malformed"


# --- what the claims read ---


def test_entries_that_no_claim_reads_may_be_anything_and_change_nothing(cheat, suite, monkeypatch):
    """Above a block's K coefficients, within rows that are stored: the same statement is proven, whatever lies there."""
    honest, free = proving.commit_level, []

    def commit_level(level, full, threads):
        size = level.shape.message
        used = {block.offset + j for block in level.blocks for j in range(block.length)}
        mine = [row * size + j for row in level.stored for j in range(size) if row * size + j not in used]
        free.extend(mine)
        full[0, mine] = np.arange(1, len(mine) + 1, dtype=np.uint64)
        return honest(level, full, threads)

    monkeypatch.setattr(proving, "commit_level", commit_level)
    assert cheat.verify().circuit == cheat.circuit
    assert bool(free) == suite.zero_knowledge


def test_a_combination_longer_than_k_finds_no_room_above_it(cheat, suite, monkeypatch):
    """A row of degree K, and the combination's coefficient number K put into the level, where nothing reads it."""
    if not suite.zero_knowledge:
        shape = cheat.key.layout.witness.shape
        assert shape.degree == shape.message  # K = 2^k here: there is no entry above it
        return
    degree = cheat.key.layout.witness.shape.degree
    cheat_when_committing(monkeypatch, "witness", lambda plan, rows: None, wider={(2, degree): 7})
    honest, combine, seen = proving.commit_level, opening_hiding.combine, {}

    def combining(groups, z, mix, blind=field.ZERO, more=()):
        seen["weight"] = row_weights(groups[0][0].plan, z, 0, blind)[2]
        return combine(groups, z, mix, blind, more)

    def commit_level(level, full, threads):
        if len(level.blocks) == 3:
            coefficient = field.scale(seen["weight"], 7)
            full[:, level.blocks[0].offset + degree] = coefficient
        return honest(level, full, threads)

    monkeypatch.setattr(opening_hiding, "combine", combining)
    monkeypatch.setattr(proving, "commit_level", commit_level)
    assert cheat.refused().stopped == "level:2"


# --- order ---


class _Heard(HashCoins):
    """What enters the verifier's transcript, by label."""

    def __init__(self):
        super().__init__()
        self.labels = []

    def absorb(self, data):
        label = data[1 : 1 + data[0]].decode()
        body = data[9 + data[0] :]
        self.labels.append(f"{label}:{body.decode()}" if label in ("challenge", "positions") else label)
        super().absorb(data)


def test_the_verifier_draws_nothing_before_what_it_is_to_keep_is_fixed(cheat):
    proven, heard = cheat.prove(), _Heard()
    trusted, weights = cheat.given()
    verify_scripted(trusted, weights, proven.statement, proven.proof, heard)
    labels = heard.labels[heard.labels.index("challenge:openings.mix") + 1 :]
    labels = [label for label in labels if label != "challenge:openings.blind"]
    first, second = trusted.layout.levels
    rounds = ["level.round", "challenge:level.point"]
    assert labels == [
        "level.root",
        *(f"positions:openings.positions{group}" for group in range(3)),
        "level.columns",
        "challenge:level.mix",
        *rounds * first.log_cells,
        "level.root",
        "positions:level.positions",
        "level.columns",
        "challenge:level.mix",
        *rounds * second.log_cells,
        "openings.combination",
        "positions:level.positions",
    ]


def test_the_verifier_takes_no_number_of_a_level_from_the_proof(cheat):
    """All shapes are the layout's, and a layout's levels are the circuit's."""
    trusted, _ = cheat.given()
    assert trusted.circuit.commitments[-2:] == tuple(level.shape for level in trusted.layout.levels)
    assert all(isinstance(shape, CommitmentShape) and not shape.hiding for shape in trusted.circuit.commitments[-2:])


# --- proofs about weights alone ---


def test_registrations_and_links_over_levels(suite, monkeypatch):
    if not suite.zero_knowledge:
        return  # nothing is hidden, so there is nothing to register
    from tests.tamper.test_zk_weights import model

    circuit, weights = model.__wrapped__()
    keys = [prepare(circuit, weights, weights_seed=bytes([number]) * 32) for number in (1, 2)]
    assert len(keys[0].layout.levels) == 2
    roots = [OpenedRoot(key.committed.root, 0) for key in keys]
    registration = relating.prove_registration(keys[0], 0)
    verify_relation(Kind.REGISTRATION, circuit, keys[0].digest, roots[:1], registration)
    link = relating.prove_link(keys[0], 0, keys[1], 0)
    verify_relation(Kind.LINK, circuit, keys[0].digest, roots, link)
    for data, kind, named in ((registration, Kind.REGISTRATION, roots[:1]), (link, Kind.LINK, roots)):
        for at in (len(data) - 1, len(data) - 700, len(data) // 2):
            changed = data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]
            with pytest.raises(EvidenceRejected):
                verify_relation(kind, circuit, keys[0].digest, named, changed)
    honest = proving.stored_weights
    monkeypatch.setattr(proving, "stored_weights", lambda level, point: honest(level, point[::-1]))
    with pytest.raises(EvidenceRejected):
        verify_relation(Kind.LINK, circuit, keys[0].digest, roots, relating.prove_link(keys[0], 1, keys[1], 1))
