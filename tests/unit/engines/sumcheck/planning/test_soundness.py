"""Error bounds are what counting says, and forging succeeds no more often than they allow."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import infer
from verifai.engines.sumcheck.circuit.check import MAX_LOG_CELLS
from verifai.engines.sumcheck.circuit.program import Circuit, CommitmentShape, Tensor, WeightVisibility
from verifai.engines.sumcheck.planning import plan as planner
from verifai.engines.sumcheck.planning.rehearsal import rehearse
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import buses, field, soundness
from verifai.engines.sumcheck.protocol.batching import evaluate_code
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.layout import Column, Commitment
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.proof import log_length
from verifai.engines.sumcheck.protocol.storage import whole
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE, commitment_root
from verifai.engines.sumcheck.protocol.sumcheck import eq_rounds, product_rounds
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover import functionals
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.prover.commitment import CommittedMatrix, commit, encode, merkle_layers, stored_rows
from verifai.engines.sumcheck.prover.opening import prove_openings
from verifai.engines.sumcheck.verifier.opening import Opened, check_openings
from verifai.engines.sumcheck.verifier.proof_channel import ProofChannel
from verifai.errors import EvidenceRejected, UnsupportedModel


def test_query_counts_are_the_published_ones():
    assert [soundness.queries_needed(1 << 16 - r, 1 << 16) for r in (2, 3, 4)] == [148, 121, 110]
    assert soundness.queries_needed(64, 512) == 103
    assert soundness.queries_needed(2048, 16384) == 120


@pytest.mark.parametrize(("degree", "length"), [(4, 32), (8, 32), (7, 31), (1, 8)])
def test_query_errors_are_ratios_of_binomials(degree, length):
    good = soundness.agreement(degree, length)
    for queries in range(1, length):
        expected = Fraction(math.comb(good, queries), math.comb(length, queries))
        numerator, denominator = soundness.query_error(degree, length, queries)
        if expected:
            assert Fraction(numerator, denominator) == expected
        else:
            assert numerator == 1


def test_no_false_word_of_a_small_code_agrees_at_more_positions_than_the_bound_says():
    """All words of a toy code: whatever is committed, a false combination agrees at most ``agreement`` times."""
    prime, length, degree = 5, 4, 2
    words = [tuple((a + b * x) % prime for x in range(length)) for a in range(prime) for b in range(prime)]
    radius = (length - degree) // 2
    worst = 0
    for number in range(prime**length):
        word = [number // prime**i % prime for i in range(length)]
        agreements = sorted((sum(x == y for x, y in zip(word, w, strict=True)) for w in words), reverse=True)
        near = length - agreements[0] <= radius
        worst = max(worst, agreements[1] if near else agreements[0])
    assert worst <= soundness.agreement(degree, length)


def test_millibits_never_exceed_the_logarithm_and_come_close():
    pick = random.Random(4)
    for _ in range(300):
        denominator = pick.randrange(2, 1 << pick.randrange(2, 300))
        numerator = pick.randrange(1, denominator)
        exact = 1000 * (math.log2(denominator) - math.log2(numerator))
        found = soundness.millibits(numerator, denominator)
        assert exact - 2 < found <= exact + 1e-6


def test_every_step_of_every_example_has_a_hundred_bits_and_is_in_the_circuit():
    for circuit, _ in (examples.mlp(hashed_input=True, hashed_output=True, committed=True), examples.cnn()):
        plan = planner.plan(circuit)
        assert circuit.soundness == plan.soundness
        labels = [step.label for step in circuit.soundness]
        assert len(set(labels)) == len(labels) >= 10
        assert min(step.millibits for step in circuit.soundness) >= 100_000


def test_a_plan_below_a_hundred_bits_is_refused(monkeypatch):
    circuit, _ = examples.mlp()
    monkeypatch.setattr(soundness, "query_error", lambda degree, length, queries: (1, 2**99))
    with pytest.raises(UnsupportedModel) as caught:
        planner.plan(circuit)
    assert caught.value.code == "sumcheck-too-large"


def test_no_sum_of_an_operation_has_a_higher_degree_than_the_table_counts():
    """docs/engine/protocol.md, section "Soundness": a round sends as many elements as its polynomial's degree."""
    circuits = [examples.mlp(), examples.cnn(), examples.products(), examples.cnn(committed=True)]
    sent = {
        label: count
        for circuit, _ in circuits
        for label, count in rehearse(circuit, planner.plan(circuit))
        if label.endswith(".round")
    }
    assert sent == {"matmul.round": 2, "conv.round": 2, "max.round": 4, "product.round": 3, "deferred.round": 3}
    assert max(sent.values()) + 1 == soundness.ROUND_DEGREE  # four taps, and eq


def test_no_window_has_more_taps_than_the_table_counts():
    window = ops.WindowMax(0, 1, (5, 1), (1, 1), (1, 1), (0, 0, 0, 0))
    tensors = (Tensor("x", (1, 1, 8, 8), 0, 255), Tensor("y", (1, 1, 4, 8), 0, 255))
    circuit = Circuit("sumcheck/2", tensors, (), (), (window,), (), (), WeightVisibility.PUBLIC)
    with pytest.raises(EvidenceRejected, match="four taps"):
        infer(circuit, window)


def test_no_random_point_has_more_coordinates_than_the_table_counts():
    assert MAX_LOG_CELLS <= soundness.POINT_VARIABLES


def test_the_table_is_made_of_the_derived_numerators():
    circuit, _ = examples.cnn()
    layout = planner.plan(circuit)
    leaves = 1 << layout.bus.log_leaves
    derived = {
        "lookups: fractions": leaves * (2 + 2),
        "lookups: layers": 4,
        "lookups: rounds": 2,
        "operations: points": 32,
        "operations: rounds": 5,
        "batching of claims": 1 << 16,
        "final rounds": 2,
        "proximity": layout.witness.log_rows * layout.witness.shape.length,
    }
    found = {step.label: step.millibits for step in layout.soundness}
    assert {label: soundness.millibits(numerator, P * P - P) for label, numerator in derived.items()}.items() <= found.items()
    assert set(found) - set(derived) == {"queries", "hash"}


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
@pytest.mark.parametrize("count", [7, 8, 15, 16, 21])
def test_leaves_that_would_be_too_many_if_rounded_up_are_counted(count, suite):
    """docs/engine/protocol.md, "Fractions": filler has denominator 1, so the degree follows the blocks' own leaves."""
    layout = planner.plan(examples.many_lookups(count, suite))
    bus = layout.bus
    assert bus.leaves == _packed(bus) and bus.log_leaves == (bus.leaves - 1).bit_length()
    rounded = (2 + 2) << bus.log_leaves
    assert (count < 8) == (rounded <= soundness.FIELD_SIZE >> 100) == (bus.log_leaves <= 25)
    wanted = soundness.millibits(rounded if count < 8 else (2 + 1) * bus.leaves, soundness.FIELD_SIZE)
    (found,) = (step.millibits for step in layout.soundness if step.label == "lookups: fractions")
    assert found == wanted >= 100_000


def test_lookups_beyond_what_one_sum_may_have_are_several():
    """The limit is that of one sum of 100 bits; a lookup more, and there are two, of half as many each."""
    layout = planner.plan(examples.many_lookups(22))
    assert buses.MOST_LEAVES == (P * P - P >> 100) // 3 == 89_478_485 < layout.bus.leaves
    assert len(layout.bus.sums) == 2 and max(layout.bus.sums) <= layout.bus.leaves * 6 // 10
    assert layout.soundness[0].millibits == soundness.millibits(3 * max(layout.bus.sums), P * P - P) > 100_000


def test_one_tensor_of_lookups_beyond_the_field_is_refused():
    with pytest.raises(UnsupportedModel, match=r"bits in one step") as refused:
        examples.many_lookups(2, rows=11000)
    assert refused.value.code == "sumcheck-too-large" and refused.value.where == "lookups: fractions"


@pytest.mark.parametrize("seed", range(4))
def test_a_row_of_no_table_is_lost_for_no_more_challenges_than_leaves_are_counted_for(seed, monkeypatch):
    """G(α, β) of every kind of false witness over a toy field, at all challenges; counts are the prover's choice."""
    prime, pick = 61, random.Random(seed)
    monkeypatch.setattr(soundness, "FIELD_SIZE", 0)  # as where rounding up is too weak
    tables = [(0, 3, 7), (0, 4, 7), (1, 3, 7), (1, 3, 7)]  # (table, columns): one row twice in a table, and in two tables
    for copies in (1, 2, 3):
        false = pick.choice([(0, 3, 8), (0, 5, 7), (1, 4, 7), (0, prime - 1, 0)])
        looked_up = [false] * copies + [pick.choice(tables) for _ in range(2)]
        leaves = [(1, row) for row in looked_up] + [(pick.randrange(prime), row) for row in tables]
        found = _zeros(leaves, prime)
        log_leaves = (len(leaves) - 1).bit_length()
        assert found <= soundness.fractions_numerator(len(leaves), log_leaves, 2) * prime < prime**2
    honest = [(1, tables[0]), (1, tables[0]), (1, tables[2]), (-2, tables[0]), (0, tables[1]), (3, tables[2]), (-4, tables[3])]
    assert _zeros(honest, prime) == prime**2
    assert (
        _zeros([(1, (0, 5, 7))] * 7 + [(-7, (0, 3, 7))], 7) == 49
    )  # as many lookups as the field has elements: N < p is needed


def _zeros(leaves, prime):
    """At how many (α, β) the root's numerator is 0: fractions added one to the other, as the tree's nodes are."""
    found = 0
    for alpha, beta in itertools.product(range(prime), repeat=2):
        numerator, denominator = 0, 1  # filler
        for count, (table, first, second) in leaves:
            other = alpha + (table + 1) * beta**2 - first - beta * second
            numerator, denominator = (numerator * other + count * denominator) % prime, denominator * other % prime
        found += numerator == 0
    return found


def _packed(bus):
    """The leaves of all blocks, which must lie side by side from leaf 0 on."""
    blocks = {(table.offset, 1 << table.log_size) for table in bus.tables}
    for lookups in (*bus.by_operation, *bus.by_tensor.values()):
        for one in lookups:
            pieces = zip(one.group.storage.pieces, one.group.addresses, strict=True)
            blocks |= {(address, 1 << one.group.log_block(piece)) for piece, address in pieces}
    end = 0
    for address, size in sorted(blocks):
        assert address == end and address % size == 0
        end += size
    return end


# --- forging rates ---


class _Toy:
    """Challenges from F_p of a toy prime; the prover's messages are its own choice, so nothing needs hashing."""

    def __init__(self, pick, messages):
        self._pick, self._messages, self.said = pick, messages, []

    def receive(self, label, count):
        return [Claim(value) for value in self._messages(self.said)]

    def challenge(self, label):
        self.said.append((self._pick.randrange(1, field.P), 0))
        return self.said[-1]


TOY_PRIME = 2**13 - 1
"""7 has no square root modulo this prime, so that the toy extension is a field too."""


@pytest.fixture
def toy_field(monkeypatch):
    assert pow(7, (TOY_PRIME - 1) // 2, TOY_PRIME) == TOY_PRIME - 1
    monkeypatch.setattr(field, "P", TOY_PRIME)


def _forge(pick, rounds, anchor):
    """The best liar against a claim of 1 for the zero polynomial: every round has as many roots as its degree allows.

    Once a challenge hits a root, the claim is true (0) and the liar goes on with zeros.
    """
    state = {"claim": 1}

    def messages(said):
        claim = state["claim"]
        if said:
            r = said[-1][0]
            value = sum(c * pow(r, k, TOY_PRIME) for k, c in enumerate(state["polynomial"])) % TOY_PRIME
            state["claim"] = claim = value
        if claim == 0:
            state["polynomial"] = [0, 0, 0]
            return [(0, 0), (0, 0)]
        while True:
            s, t = pick.randrange(TOY_PRIME), pick.randrange(TOY_PRIME)
            shape = [s * t % TOY_PRIME, -(s + t) % TOY_PRIME, 1]
            a = 1 if anchor is None else anchor[len(said)][0]
            low = shape[0] if anchor is None else (1 - a) * shape[0]
            total = (low + (1 if anchor is None else a) * sum(shape)) % TOY_PRIME
            if total:
                break
        factor = claim * pow(total, -1, TOY_PRIME) % TOY_PRIME
        state["polynomial"] = [c * factor % TOY_PRIME for c in shape]
        return [(state["polynomial"][0], 0), (state["polynomial"][2], 0)]

    channel = _Toy(pick, messages)
    if anchor is None:
        end, _ = product_rounds(channel, "toy", Claim(field.ONE), rounds)
    else:
        end, _ = eq_rounds(channel, "toy", Claim(field.ONE), anchor, 2)
    return end.value == field.ZERO


@pytest.mark.parametrize("weighted", [False, True])
def test_forging_a_sumcheck_over_a_toy_field_succeeds_as_often_as_the_bound_and_no_more(toy_field, weighted):
    pick, rounds, trials = random.Random(1), 8, 12_000
    won = 0
    for _ in range(trials):
        anchor = [(pick.randrange(2, TOY_PRIME), 0) for _ in range(rounds)] if weighted else None
        won += _forge(pick, rounds, anchor)
    bound = trials * 2 * rounds / (TOY_PRIME - 1)
    assert won <= bound + 4 * math.sqrt(bound)
    assert won >= bound / 2 - 4 * math.sqrt(bound)  # the liar is a strong one, so the measurement means something


def _toy_commitment(queries):
    shape = CommitmentShape("x", 4, 8, 8, 64, queries, 0)
    return Commitment(shape, 6, 4, {("tensor", 0, 0): Column(whole((5,)), (32,))})


def _half_corrupted(plan, cells, row, delta):
    """The last rows encode ``cells`` on one half of the positions, and ``cells`` + delta in one row on the other half."""
    columns = {("tensor", 0, 0): cells}
    honest = commit(plan, columns)
    changed = cells.copy()
    start = row * plan.shape.message
    changed[start : start + plan.shape.message] = delta
    padded = np.zeros(1 << plan.log_cells, dtype=np.uint64)
    padded[32:] = changed
    other = encode(stored_rows(plan, padded), log_length(plan.shape), plan.shape.degree)
    codeword = honest.codeword.copy()
    codeword[: plan.shape.length // 2] = other[: plan.shape.length // 2]
    layers = merkle_layers(codeword)
    root = commitment_root(plan.shape, plan.log_cells, layers[-1])
    return CommittedMatrix(plan, padded, codeword, layers, root)


def test_forging_an_opening_with_few_queries_succeeds_no_more_often_than_the_bound():
    pick, queries, trials, won = np.random.default_rng(2), 4, 400, 0
    plan = _toy_commitment(queries)
    cells = pick.integers(0, P, 32, dtype=np.uint64)
    forged = _half_corrupted(plan, cells, 1, pick.integers(0, P, 8, dtype=np.uint64))
    for trial in range(trials):
        point = tuple(zip(*pick.integers(1, P, (2, 5), dtype=np.uint64).tolist(), strict=True))
        axes = ax.point_axes(point, (5,))
        claims = [OpeningClaim(("tensor", 0, 0), axes, Claim(functionals.evaluate(axes, forged.cells[32:])))]
        transcripts = [Transcript() for _ in range(2)]
        for transcript in transcripts:
            transcript.absorb("trial", trial.to_bytes(4, "little"))
        prover = ProverChannel(transcripts[0])
        opening = prove_openings(prover, [[forged]], claims)[0]
        try:
            check_openings(
                ProofChannel(transcripts[1], prover.messages), [[Opened(plan, forged.root, opening)]], claims, (), ()
            )
            won += 1
        except EvidenceRejected:
            pass
    numerator, denominator = soundness.query_error(8, 64, queries)
    bound = trials * numerator / denominator
    assert won <= bound + 4 * math.sqrt(bound)
    assert won >= trials / 2**queries / 3  # half of the positions speak for the forger


# --- the commitment ---


def test_code_words_are_evaluations_of_rows_in_coefficient_form():
    pick = random.Random(6)
    rows = np.array([[pick.randrange(P) for _ in range(8)] for _ in range(3)], dtype=np.uint64)
    codeword = encode(rows, 6, 8)
    omega = field.root_of_unity(6)
    for position in range(64):
        x = pow(omega, int(f"{position:06b}"[::-1], 2), P)
        for i in range(3):
            assert int(codeword[position, 1 + i]) == sum(int(c) * pow(x, j, P) for j, c in enumerate(rows[i])) % P
    assert np.array_equal(encode(rows, 6, 8, threads=2), codeword)
    u = [(pick.randrange(P), pick.randrange(P)) for _ in range(8)]
    for position, value in zip(range(64), evaluate_code(u, 6, range(64)), strict=True):
        x = pow(omega, int(f"{position:06b}"[::-1], 2), P)
        assert value == field.total(field.scale(c, pow(x, j, P)) for j, c in enumerate(u))


def test_longer_rows_than_messages_evaluate_with_zero_coefficients_above():
    """K > C is where a hiding suite puts its coins; this suite leaves them 0."""
    rows = np.arange(1, 9, dtype=np.uint64).reshape(1, 8)
    wide = np.concatenate([rows, np.zeros((1, 8), dtype=np.uint64)], axis=1)
    assert np.array_equal(encode(rows, 6, 16), encode(wide, 6, 16))
    assert not np.array_equal(np.sort(encode(rows, 6, 16)[:, 1]), np.sort(encode(rows, 5, 8)[:, 1]))


def test_roots_bind_every_part_of_the_shape_but_not_the_label():
    shape = CommitmentShape("x", 6, 8, 8, 64, 20, 2)
    merkle = bytes(32)
    base = commitment_root(shape, 6, merkle)
    for name in ("rows", "message", "degree", "length", "reserved_rows"):
        assert commitment_root(replace(shape, **{name: getattr(shape, name) + 1}), 6, merkle) != base
    assert commitment_root(shape, 7, merkle) != base
    assert commitment_root(shape, 6, bytes(31) + b"\1") != base
    assert commitment_root(replace(shape, label="io:a"), 6, merkle) == base


def test_columns_never_overlap_and_rows_that_hold_nothing_are_not_stored():
    for circuit, _ in (examples.mlp(hashed_input=True, committed=True), examples.cnn(committed=True), examples.cnn()):
        for commitment in planner.plan(circuit).rooted():
            blocks = [block for column in commitment.columns.values() for _, block in column.blocks()]
            taken = sorted((block.start, block.stop) for block in blocks)
            assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(taken))
            assert all(start % (stop - start) == 0 for start, stop in taken)
            assert 0 <= taken[0][0] - commitment.first_row * commitment.shape.message < commitment.shape.message
            assert taken[-1][1] <= 1 << commitment.log_cells
            assert commitment.shape.rows == len(commitment.value_rows())
