"""Challenges depend on everything said before, in order, and are uniform; messages enter in one way only."""

from __future__ import annotations

import hashlib

import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_scripted import prove_heard
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.transcript import HashCoins, Stream, Transcript
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.prover.witness import Witness
from verifai.engines.sumcheck.verifier.proof_channel import ProofChannel
from verifai.errors import EvidenceRejected


class Script:
    """Coins that record what is absorbed; seeds are scripted, or the real hash."""

    def __init__(self, seed=None):
        self.items, self._seed, self._real = [], seed, HashCoins()

    def absorb(self, data):
        self.items.append(data)
        self._real.absorb(data)

    def seed(self):
        return self._seed if self._seed is not None else self._real.seed()


def _challenge(*items):
    transcript = Transcript()
    for label, data in items:
        transcript.absorb(label, data)
    return transcript.challenge("x")


def test_moving_a_byte_between_items_labels_or_positions_changes_the_challenge():
    variants = [
        [("a", b"bc")],
        [("ab", b"c")],
        [("a", b"b"), ("c", b"")],
        [("a", b"b"), ("", b"c")],
        [("a", b"bc"), ("", b"")],
        [("a", b""), ("a", b"bc")],
        [],
    ]
    assert len({_challenge(*items) for items in variants}) == len(variants)


def test_the_label_and_the_number_of_a_challenge_separate_it_from_others():
    assert Transcript().challenge("a") != Transcript().challenge("b")
    transcript = Transcript()
    assert transcript.challenge("a") != transcript.challenge("a")


def test_an_item_is_length_label_length_bytes():
    script = Script()
    transcript = Transcript(script)
    transcript.absorb("ab", b"xyz")
    transcript.send("m", [(1, 2)])
    item = b"\2ab" + (3).to_bytes(8, "little") + b"xyz"
    message = b"\1m" + (16).to_bytes(8, "little") + (1).to_bytes(8, "little") + (2).to_bytes(8, "little")
    assert script.items == [item, message]


def test_words_that_are_not_below_p_are_drawn_again():
    seed = b"s"
    stream = Stream(seed)
    words = []
    for counter in range(3):
        block = hashlib.sha256(seed + counter.to_bytes(8, "little")).digest()
        words += [int.from_bytes(block[i : i + 8], "little") for i in (0, 8, 16, 24)]
    assert [stream.word() for _ in range(12)] == words

    class High(Stream):
        def __init__(self):
            self.queue = [P, 2**64 - 1, P + 5, 7, P - 1]

        def word(self):
            return self.queue.pop(0)

    high = High()
    assert (high.base(), high.base()) == (7, P - 1)


def test_challenges_outside_the_base_field_have_a_second_component():
    class Zeros(Stream):
        def __init__(self):
            self.queue = [5, 0, 0, 9]

        def word(self):
            return self.queue.pop(0)

    zeros = Zeros()
    assert zeros.outside_base() == (5, 9)


def test_positions_are_distinct_and_in_range():
    transcript = Transcript()
    for bits, count in ((5, 32), (10, 200)):
        positions = transcript.positions("q", bits, count)
        assert len(set(positions)) == count and min(positions) >= 0 and max(positions) < 1 << bits
    with pytest.raises(ValueError, match="distinct"):
        transcript.positions("q", 3, 9)


def test_a_channel_refuses_to_run_dry_and_to_leave_messages_behind():
    channel = ProofChannel(Transcript(), [(1, 1), (2, 2)])
    channel.receive("a", 1)
    with pytest.raises(EvidenceRejected):
        channel.finish()
    with pytest.raises(EvidenceRejected):
        channel.receive("b", 2)


def test_everything_is_said_in_the_order_that_soundness_needs():
    """Suite, circuit, weights, statement, witness root; then α, β; …; values v, λ, all combinations, positions."""
    circuit, weights = examples.mlp(hashed_input=True, committed=True)
    trace = run(circuit, weights, examples.random_input(circuit))
    key, script = prepare(circuit, weights), Script()
    prove_heard(key, Witness(circuit, key.layout, trace.tensors, trace.columns), b"c", coins=script)
    labels = []
    for item in script.items:
        label = item[1 : 1 + item[0]].decode()
        data = item[1 + item[0] + 8 :]
        labels.append(f"{label}:{data.decode()}" if label in ("challenge", "positions") else label)
    head = ["suite", "circuit", "weights.root", "statement.flags", "statement.opening_number"]
    tensors = ["statement.tensor", "statement.root", "statement.tensor", "statement.cells"]
    first = [
        *head,
        *tensors,
        "statement.context",
        "witness.root",
        "challenge:lookups.alpha",
        "challenge:lookups.beta",
        "lookups.root",
    ]
    assert labels[: len(first)] == first
    tail = ["openings.values", "challenge:openings.mix", "openings.combination", "openings.combination"]
    assert labels[-6:] == [*tail, "positions:openings.positions0", "positions:openings.positions1"]
    assert labels.index("challenge:openings.alpha") > max(i for i, label in enumerate(labels) if label.startswith("matmul"))
    assert labels.count("witness.root") == 1


def test_scripted_coins_drive_prover_and_verifier_alike():
    circuit, weights = examples.mlp()
    trace = run(circuit, weights, examples.random_input(circuit))
    key = prepare(circuit, weights)
    proofs = [
        prove_heard(key, Witness(circuit, key.layout, trace.tensors, trace.columns), coins=Script(seed))[0].proof
        for seed in (b"1" * 32, b"1" * 32, b"2" * 32, None)
    ]
    assert proofs[0] == proofs[1] and len({*proofs}) == 3
