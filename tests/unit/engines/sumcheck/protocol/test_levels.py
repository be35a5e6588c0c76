"""Levels: arrangement of combinations, linear claims against brute force, prices, and forging rates of a toy code."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from tests.support.sumcheck_levels import SHORT, force_levels
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.planning import levels as planner
from verifai.engines.sumcheck.planning import plan as plans
from verifai.engines.sumcheck.planning.size import proof_bytes
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field, soundness
from verifai.engines.sumcheck.protocol.batching import powers_of
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.levels import (
    Block,
    Level,
    PointClaim,
    PowerClaim,
    SpanClaim,
    arrange,
    level_rounds,
    rows_in_use,
    stored_weights,
    weight_at,
)
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover import levels as proving
from verifai.engines.sumcheck.prover.arrays import vector
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.prover.commitment import encode as encode_rows
from verifai.engines.sumcheck.prover.commitment import merkle_layers
from verifai.engines.sumcheck.prover.kernels import add_powers
from verifai.engines.sumcheck.prover.levels import Combination, prove_combinations
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.verifier.levels import Group, Shown, check_combinations
from verifai.engines.sumcheck.verifier.proof_channel import ProofChannel
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import EvidenceRejected

PICK = random.Random(14)


def element():
    return (PICK.randrange(P), PICK.randrange(1, P))


def elements(count):
    return [element() for _ in range(count)]


def extension(weights, point):
    """The multilinear extension of a vector, by its definition."""
    return field.dot(weights, ax.eq_table(point))


# --- arrangement ---


@pytest.mark.parametrize("lengths", [(64,), (1, 1, 1), (33, 1179, 5), (8, 8), (100, 7, 64, 65), (1,)])
def test_blocks_are_aligned_and_apart_and_every_coefficient_is_in_a_stored_row(lengths):
    blocks, log_cells = arrange(lengths)
    assert [block.length for block in blocks] == list(lengths)
    taken = [set(range(block.offset, block.offset + (1 << block.log_size))) for block in blocks]
    assert len(set.union(*taken)) == sum(map(len, taken))
    assert all(block.offset % (1 << block.log_size) == 0 for block in blocks)
    assert max(set.union(*taken)) < 1 << log_cells
    for log_message in range(log_cells + 1):
        rows = rows_in_use(blocks, log_message)
        used = {(block.offset + j) >> log_message for block in blocks for j in range(block.length)}
        assert list(rows) == sorted(used)


# --- linear claims ---


@pytest.mark.parametrize(("log_size", "length"), [(0, 1), (3, 8), (3, 5), (4, 9), (5, 31), (5, 17), (6, 64)])
def test_the_extension_of_a_code_words_weights_reads_the_coefficients_and_none_above(log_size, length):
    for base in (1, 2, P - 1, PICK.randrange(P), field.root_of_unity(log_size)):
        weights = [(pow(base, j, P), 0) for j in range(length)] + [field.ZERO] * ((1 << log_size) - length)
        point = elements(log_size)
        assert PowerClaim(base, field.ZERO).at(point, length) == extension(weights, point)


def test_the_extensions_of_values_and_spans_are_those_of_their_weights():
    for log_size, inner in ((4, 4), (5, 3), (6, 0)):
        point, scale, claimed = elements(log_size), element(), elements(inner)
        weights = [field.product(scale, one) for one in ax.eq_table(claimed)]
        full = weights + [field.ZERO] * ((1 << log_size) - len(weights))
        claim = PointClaim(tuple(claimed), field.ZERO, scale)
        assert claim.at(point, 1 << log_size) == extension(full, point)
        u = elements(1 << log_size)
        assert claim.of(u) == field.dot(full, u)
        span = SpanClaim(3, tuple(elements(5)), field.ZERO)
        full = [field.ZERO] * 3 + list(span.coefficients) + [field.ZERO] * ((1 << log_size) - 8)
        assert span.at(point, 1 << log_size) == extension(full, point)
        assert span.of(u) == field.dot(full, u)


def test_both_sides_make_the_same_weights_of_a_level():
    blocks, log_cells = arrange((11, 37, 4))
    stored = rows_in_use(blocks, 3)
    level = Level(CommitmentShape("", 2 * len(stored), 8, 8, 64, 4, 0), log_cells, blocks, stored)
    shapes = [CommitmentShape("", 0, 8, length, 256, 5, 0) for length in (11, 37, 4)]
    asked = [(PointClaim(tuple(elements(k)), field.ZERO, element()),) for k in (3, 5, 2)]
    asked[0] += (SpanClaim(8, tuple(elements(3)), field.ZERO),)
    shown = [PICK.sample(range(256), 5) for _ in shapes]
    mix, point = element(), elements(log_cells)
    groups = [Combination(shape, None, (), one, "") for shape, one in zip(shapes, asked, strict=True)]
    made = proving._weights(level, groups, shown, mix)
    claims = [
        [*one, *(PowerClaim(pow(field.root_of_unity(8), int(f"{q:08b}"[::-1], 2), P), field.ZERO) for q in places)]
        for one, places in zip(asked, shown, strict=True)
    ]
    powers = [field.ONE]
    while len(powers) < sum(map(len, claims)):
        powers.append(field.product(powers[-1], mix))
    cells = list(zip(*made.tolist(), strict=True))
    assert weight_at(level, claims, powers, point) == extension(cells, point)
    used = {block.offset + j for block in blocks for j in range(block.length)}
    assert all(cell == field.ZERO for j, cell in enumerate(cells) if j not in used)


@pytest.mark.parametrize("count", [1, 3, 255, 256, 257, 1000])
def test_sums_of_powers_are_those_of_pythons_integers(count):
    points, weights = [1, P - 1, 2**32 + 1, PICK.randrange(P)], elements(4)
    start = elements(count)
    target = vector(start)
    add_powers(target[0], target[1], np.array(points, dtype=np.uint64), vector(weights))
    for j in {0, count // 2, count - 1}:
        expected = field.total([start[j], *(field.scale(w, pow(x, j, P)) for x, w in zip(points, weights, strict=True))])
        assert (int(target[0, j]), int(target[1, j])) == expected


# --- choice, sizes, errors ---


@pytest.mark.parametrize("log_size", [6, 10, 12, 13, 17, 20])
def test_levels_are_chosen_where_they_pay_and_every_step_of_them_has_a_hundred_bits(log_size):
    found = planner.plan_levels([1 << log_size])
    assert bool(found) == (log_size > 11)
    lengths = [1 << log_size, *(level.shape.message for level in found)]
    assert lengths == sorted(lengths, reverse=True)
    for level, above in zip(found, lengths, strict=False):
        assert level.log_cells == above.bit_length() - 1 and level.shape.degree == level.shape.message
        assert level.shape.rows == 2 * len(level.stored)
        assert soundness.queries_needed(level.shape.degree, level.shape.length) == level.shape.queries
    steps = planner.level_steps(found, 150)
    assert len(steps) == 4 * len(found) == len({label for label, *_ in steps})
    assert all(soundness.millibits(*bound) >= 100_000 for _, *bound in steps)


def test_the_table_of_a_circuit_with_levels_is_made_of_the_derived_numerators(monkeypatch):
    force_levels(monkeypatch, *SHORT)
    monkeypatch.setattr(Sketch, "suite", ZERO_KNOWLEDGE)
    circuit, _ = examples.mlp(hashed_input=True, committed=True)
    layout = plans.plan(circuit)
    first, second = layout.levels
    groups = layout.groups()
    claims = sum(1 + group[0].shape.queries for group in groups) + 1  # the mask region
    derived = {
        "claims of level 1": claims,
        "claims of level 2": 1 + first.shape.queries,
        "rounds of level 1": 2,
        "rounds of level 2": 2,
        "proximity of level 1": first.log_rows * first.shape.length,
        "proximity of level 2": second.log_rows * second.shape.length,
    }
    found = {step.label: step.millibits for step in circuit.soundness}
    assert {label: soundness.millibits(numerator, P * P - P) for label, numerator in derived.items()}.items() <= found.items()
    for number, level in enumerate(layout.levels, 1):
        expected = soundness.query_error(level.shape.degree, level.shape.length, level.shape.queries)
        assert found[f"queries of level {number}"] == soundness.millibits(*expected)
    assert circuit.commitments[-2:] == (first.shape, second.shape)


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda one: one.name)
@pytest.mark.parametrize("levels", [(), SHORT[:1], SHORT], ids=len)
def test_a_proofs_length_is_foretold_and_the_proof_holds(suite, levels, monkeypatch):
    monkeypatch.setattr(Sketch, "suite", suite)
    force_levels(monkeypatch, *levels)
    makers = [lambda: examples.mlp(hashed_input=True, hashed_output=True, committed=True), examples.products]
    for make in makers:
        circuit, weights = make()
        key = prepare(circuit, weights)
        assert len(key.layout.levels) == len(levels)
        proven = prove(key, run(circuit, weights, examples.random_input(circuit)), opening_number=0)
        assert len(proven.proof) == proof_bytes(circuit, key.layout)
        data = encode(circuit)
        trusted = trust_circuit(data, circuit_digest(data))
        blob = encode_weights(circuit, [cells.reshape(-1).tolist() for cells in weights])
        assert verify(trusted, trust_weights(trusted, key.identity, blob), proven.statement, proven.proof)


# --- forging rates: a level whose word is far from its code, or near to another code word ---

QUERIES, LENGTH = 4, 64


class _Above:
    """A tree above the level, honest: one row, so that the combination is the row itself."""

    def __init__(self, u):
        self.rows = vector(u)
        self.codeword = encode_rows(self.rows, 6, len(u))
        self.layers = merkle_layers(self.codeword)

    def open(self, positions):
        return proving.open_columns(_SHAPE, self.codeword, self.layers, positions, 1)


_SHAPE = CommitmentShape("above", 2, 32, 32, 64, 3, 0)
_BLOCKS, _CELLS = arrange((32,))
_LEVEL = Level(CommitmentShape("level:1", 8, 8, 8, LENGTH, QUERIES, 0), _CELLS, _BLOCKS, rows_in_use(_BLOCKS, 3))


def _accepted(trial, u, value, point, level=_LEVEL):
    """Prove ⟨u, eq(point)⟩ = value and u's code word through one level, and verify."""
    tree = _Above(u)
    transcripts = [Transcript(), Transcript()]
    for transcript in transcripts:
        transcript.absorb("trial", trial.to_bytes(4, "little"))
    prover = ProverChannel(transcripts[0])
    group = Combination(_SHAPE, vector(u), (tree,), (PointClaim(point, field.ZERO),), "above")
    above, below = prove_combinations(prover, [group], [level])
    shown = Shown("above", above, [field.ONE, (0, 1)])
    channel = ProofChannel(transcripts[1], prover.messages)
    try:
        check_combinations(channel, [Group(_SHAPE, (shown,), (PointClaim(point, value),), "above")], [level], [below])
        channel.finish()
    except EvidenceRejected:
        return False
    return True


def test_a_level_convinces_of_true_values_and_of_no_false_one():
    for trial in range(20):
        u, point = elements(32), tuple(elements(5))
        value = extension(u, point)
        assert _accepted(trial, u, value, point)
        assert not _accepted(trial, u, field.add(value, field.ONE), point)


@pytest.mark.parametrize("row", [0, 7])
def test_a_level_that_is_far_from_its_code_passes_as_often_as_the_bound_and_no_more(row, monkeypatch):
    """Another row's code word beyond the first ``agreement`` positions: as much as can be wrong and still be shown true."""
    honest, share, trials = proving.encode, soundness.agreement(8, LENGTH), 600
    noise = np.random.default_rng(3).integers(0, P, 8, dtype=np.uint64)

    def encode_partly(rows, log_n, degree, threads=1):
        codeword = honest(rows, log_n, degree, threads)
        other = rows.copy()
        other[row] = noise
        codeword[share:] = honest(other, log_n, degree, threads)[share:]
        return codeword

    monkeypatch.setattr(proving, "encode", encode_partly)
    u, won = elements(32), 0
    for trial in range(trials):
        point = tuple(elements(5))
        won += _accepted(trial, u, extension(u, point), point)
    numerator, denominator = soundness.query_error(8, LENGTH, QUERIES)
    bound = trials * numerator / denominator
    print(f"{won} of {trials} accepted, the bound says {bound:.1f}")
    assert abs(won - bound) <= 4 * math.sqrt(bound)
    strong = replace(_LEVEL, shape=replace(_LEVEL.shape, queries=40))
    assert not any(_accepted(trial, u, extension(u, p), p, strong) for trial in range(50) for p in [tuple(elements(5))])


def test_another_combination_below_passes_as_often_as_its_code_word_agrees(monkeypatch):
    """The level commits to u plus a polynomial with 31 roots among the 64 elements, which has the value 0 at the point."""
    u, trials, won = elements(32), 300, 0
    roots = [pow(field.root_of_unity(6), i, P) for i in range(31)]
    other = [1]
    for root in roots:
        other = [(a - root * b) % P for a, b in zip([0, *other], [*other, 0], strict=True)]
    honest = proving.commit_level

    def commit_level(level, full, threads):
        full[:] = vector([field.add(a, (b, 0)) for a, b in zip(u, other, strict=True)])
        return honest(level, full, threads)

    monkeypatch.setattr(proving, "commit_level", commit_level)
    for trial in range(trials):
        point = tuple(elements(5))
        # A point at which the other polynomial's coefficients add up to 0: solve for the last coordinate.
        halves = [extension([(c, 0) for c in part], point[:-1]) for part in (other[::2], other[1::2])]
        slope = field.sub(halves[1], halves[0])
        point = (*point[:-1], field.product(field.scale(halves[0], -1), field.inverse(slope)))
        assert extension([(c, 0) for c in other], point) == field.ZERO
        won += _accepted(trial, u, extension(u, point), point)
    bound = trials * math.comb(31, 3) / math.comb(64, 3)
    print(f"{won} of {trials} accepted, agreement allows for {bound:.1f}")
    assert abs(won - bound) <= 4 * math.sqrt(bound)
    assert soundness.agreement(32, 64) >= 31


TOY_PRIME = 2**13 - 1
"""7 has no square root modulo this prime, so the toy extension is a field too."""


class _Liar:
    """Proves a false batch of linear claims about U: if γ does not help, every round adds an error with two roots."""

    def __init__(self, pick, u, weights, claim):
        self._pick, self.arrays, self._claim = pick, [u, weights], claim
        self._error = None

    def receive(self, label, count):
        halves = [(one[: len(one) // 2], one[len(one) // 2 :]) for one in self.arrays]
        (u0, u1), (w0, w1) = halves
        slopes = [[field.sub(b, a) for a, b in zip(*pair, strict=True)] for pair in halves]
        constant, leading = field.dot(u0, w0), field.dot(slopes[0], slopes[1])
        wrong = field.sub(self._claim, field.add(constant, field.dot(u1, w1)))
        self._error = _with_two_roots(self._pick, wrong) if wrong != field.ZERO else [field.ZERO] * 3
        sent = [field.add(constant, self._error[0]), field.add(leading, self._error[2])]
        middle = field.sub(self._claim, field.add(field.add(sent[0], sent[0]), sent[1]))
        self._polynomial = [sent[0], middle, sent[1]]
        return [Claim(one) for one in sent]

    def challenge(self, label):
        r = (self._pick.randrange(1, TOY_PRIME), 0)
        square = field.product(r, r)
        self._claim = field.dot(self._polynomial, [field.ONE, r, square])
        for which, one in enumerate(self.arrays):
            low, high = one[: len(one) // 2], one[len(one) // 2 :]
            self.arrays[which] = [field.add(a, field.product(r, field.sub(b, a))) for a, b in zip(low, high, strict=True)]
        return r


def _with_two_roots(pick, total):
    """A polynomial of degree 2 over the toy field, with two roots in it, whose values at 0 and 1 add up to ``total``."""
    while True:
        s, t = pick.randrange(1, TOY_PRIME), pick.randrange(1, TOY_PRIME)
        shape = [s * t, -(s + t), 1]
        at = (2 * shape[0] + shape[1] + shape[2]) % TOY_PRIME
        if at:
            factor = field.scale(total, pow(at, -1, TOY_PRIME))
            return [field.scale(factor, one % TOY_PRIME) for one in shape]


@pytest.mark.parametrize("count", [2, 12])
def test_forging_a_level_s_claims_over_a_toy_field_succeeds_as_often_as_the_bound_and_no_more(count, monkeypatch):
    """One of ``count`` linear claims is as false as can be: γ has count − 1 roots. Then two roots per round."""
    for module in (field, ax):
        monkeypatch.setattr(module, "P", TOY_PRIME)
    pick, trials, won = random.Random(5), 4_000, 0
    blocks, cells = arrange((8,))
    level = Level(CommitmentShape("level:1", 8, 2, 2, 8, 1, 0), cells, blocks, rows_in_use(blocks, 1))
    errors = [1]  # Π (γ − i), lowest coefficient first
    for root in range(1, count):
        errors = [(a - root * b) % TOY_PRIME for a, b in zip([0, *errors], [*errors, 0], strict=True)]
    for _ in range(trials):
        u = [(pick.randrange(TOY_PRIME), pick.randrange(TOY_PRIME)) for _ in range(8)]
        points = [tuple((pick.randrange(TOY_PRIME), 0) for _ in range(3)) for _ in range(count)]
        said = [field.add(extension(u, point), (e, 0)) for point, e in zip(points, errors, strict=True)]
        claims = [PointClaim(point, value) for point, value in zip(points, said, strict=True)]
        powers = powers_of((pick.randrange(1, TOY_PRIME), 0), count)
        tables = [ax.eq_table(point) for point in points]
        weights = [field.dot([table[j] for table in tables], powers) for j in range(8)]
        target = field.dot(said, powers)
        liar = _Liar(pick, u, weights, target)
        end, point = level_rounds(liar, level, target)
        assert liar.arrays[1] == [weight_at(level, [claims], powers, point)]
        won += end == field.product(liar.arrays[0][0], liar.arrays[1][0])
    bound = trials * (count - 1 + 2 * cells) / (TOY_PRIME - 1)
    assert won <= bound + 4 * math.sqrt(bound)
    assert won >= bound / 2 - 4 * math.sqrt(bound)


def test_blocks_of_one_coefficient_and_of_a_whole_row():
    assert Block(0, 1).log_size == 0 and Block(8, 8).log_size == 3
    level = Level(CommitmentShape("", 4, 4, 4, 32, 2, 0), 3, (Block(0, 5),), (0, 1))
    weights = stored_weights(level, [(3, 1), (5, 1), (6, 1)])
    assert len(weights) == 4 and weights[1] == field.product(weights[0], (0, 1))
