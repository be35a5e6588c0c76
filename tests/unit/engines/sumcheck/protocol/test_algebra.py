"""The algebra against brute force: functionals, sumchecks, fractions, and how operations carry functionals."""

from __future__ import annotations

import itertools
import random
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Tensor, padded_shape
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field, geometry
from verifai.engines.sumcheck.protocol.buses import RANGE, Bus, Group, LookupBlock, TableBlock
from verifai.engines.sumcheck.protocol.claim import Claim, public
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.layout import Column
from verifai.engines.sumcheck.protocol.lookups import LeafSum, check_layers
from verifai.engines.sumcheck.protocol.storage import pieces_of, stored, whole
from verifai.engines.sumcheck.protocol.sumcheck import eq_rounds, product_rounds
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover import functionals
from verifai.engines.sumcheck.prover.arrays import element, to_field, vector
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.prover.lookups import Block, build_leaves, prove_layers
from verifai.engines.sumcheck.prover.party import interpolate
from verifai.engines.sumcheck.verifier.proof_channel import ProofChannel
from verifai.errors import EvidenceRejected

randoms = st.randoms(use_true_random=False)


def _ext(pick):
    return (pick.randrange(P), pick.randrange(P))


def _point(pick, count):
    return tuple(_ext(pick) for _ in range(count))


def _axis(pick, bits):
    kind = pick.randrange(3)
    if kind == 0:
        return ax.Eq(_point(pick, bits))
    if kind == 1:
        return ax.Dense(tuple(_ext(pick) for _ in range(1 << bits)))
    pieces = pieces_of(pick.randrange(1, (1 << bits) + 1))
    return ax.Pieces(bits, tuple(ax.Segment(piece.start, _ext(pick), _point(pick, piece.log)) for piece in pieces))


def _functional(pick, bits):
    return tuple(_axis(pick, b) for b in bits)


def _apply(axes, cells):
    """The definition: Σ cells·Π axis entries."""
    dense = [axis.dense() for axis in axes]
    result = field.ZERO
    for index in np.ndindex(*cells.shape):
        weight = field.ONE
        for entries, i in zip(dense, index, strict=True):
            weight = field.product(weight, entries[i])
        result = field.add(result, field.scale(weight, int(cells[index])))
    return result


@settings(max_examples=60, deadline=None)
@given(randoms, st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_functionals_mean_the_same_everywhere(pick, shape):
    bits = [(size - 1).bit_length() for size in shape]
    axes = _functional(pick, bits)
    cells = np.array([pick.randrange(-300, 300) for _ in range(prod(shape))]).reshape(shape)
    full = np.zeros(padded_shape(tuple(shape)), dtype=np.int64)
    box = tuple(slice(0, size) for size in shape)
    full[box] = cells
    expected = _apply(axes, full)
    assert ax.evaluate(axes, shape, cells.reshape(-1).tolist()) == expected
    assert functionals.evaluate(axes, to_field(full.reshape(-1))) == expected
    mask, kept = np.zeros_like(full), np.zeros_like(full)
    mask[box] = 1
    kept[tuple(slice(0, size) for size in stored(tuple(shape)).box)] = 1
    assert ax.true_total(axes, shape) == _apply(axes, mask)
    assert ax.stored_total(axes, shape) == _apply(axes, kept)
    assert ax.padding_total(axes, shape) == _apply(axes, kept - mask)
    weights = np.zeros((2, full.size), dtype=np.uint64)
    functionals.spread(weights, Column(whole(bits), (0,)), axes, field.ONE)
    point = _point(pick, sum(bits))
    table = ax.eq_table(point)
    assert field.dot([element(*weights[:, i]) for i in range(full.size)], table) == ax.weight_at(axes, point)


@settings(max_examples=60, deadline=None)
@given(randoms, st.integers(0, 5))
def test_eq_vectors_sum_up_and_extend_as_their_entries_do(pick, bits):
    axis = ax.Eq(_point(pick, bits))
    entries = axis.dense()
    assert field.total(entries) == axis.total()
    for count in range(len(entries) + 1):
        assert axis.first(count) == field.total(entries[:count])
    for index, entry in enumerate(entries):
        assert ax.eq_index(index, axis.point) == entry
    point = _point(pick, bits)
    assert axis.at(point) == ax.Dense(tuple(entries)).at(point)
    assert ax.integer_extension(point) == field.total(field.scale(e, i) for i, e in enumerate(ax.eq_table(point)))


@settings(max_examples=60, deadline=None)
@given(
    randoms, st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3)
)
def test_windows_carry_functionals_back_over_true_cells_only(pick, size, kernel, stride, dilation, before, after):
    out_size = (size + before + after - dilation * (kernel - 1) - 1) // stride + 1
    if out_size < 1:
        return
    axis = _functional(pick, [(out_size - 1).bit_length()])[0]
    weights = [_ext(pick) for _ in range(kernel)]
    bits = (size - 1).bit_length()
    found = geometry.window_axis(axis, (out_size, size), bits, stride, dilation, before, weights)
    for i in range(1 << bits):
        expected = field.ZERO
        for o, u in itertools.product(range(out_size), range(kernel)):
            if i < size and o * stride + u * dilation - before == i:
                expected = field.add(expected, field.product(axis.dense()[o], weights[u]))
        assert found.values[i] == expected


def test_pieces_of_a_view_are_functionals_of_their_sources():
    pick = random.Random(1)
    source = Tensor("s", (3, 4), -9, 9)
    cells = np.zeros((4, 4), dtype=np.int64)
    cells[:3] = np.arange(12).reshape(3, 4) - 5
    none = ops.NONE
    identity = ops.Piece(0, (0, 1), ((0, 1, 2), (0, 1, 2, 3)), (none, none))
    kept = _functional(pick, [2, 2])
    assert geometry.piece_axes(identity, kept, source) == kept
    cases = [
        (ops.Piece(0, (1, 0), ((0, 1, 2, 3), (0, 1, 2)), (none, none)), (4, 3), lambda: cells[:3].T),
        (
            ops.Piece(0, (0, 1), ((2, 0, none), (1, none)), (none, none)),
            (3, 2),
            lambda: np.array([[6 - 2, 0], [1 - 5, 0], [0, 0]]),
        ),
        (
            ops.Piece(0, (none, 1), ((0, 0, none), (3, 2, 1, 0)), (1, none)),
            (3, 4),
            lambda: np.array([cells[1][::-1]] * 2 + [[0] * 4]),
        ),
    ]
    for piece, shape, expected in cases:
        full = np.zeros(padded_shape(shape), dtype=np.int64)
        full[: shape[0], : shape[1]] = expected()
        axes = _functional(pick, [(size - 1).bit_length() for size in shape])
        assert _apply(geometry.piece_axes(piece, axes, source), cells) == _apply(axes, full)
        covered = np.zeros(full.shape, dtype=np.int64)
        for index in np.ndindex(*shape):
            covered[index] = all(piece.indices[a][i] != none for a, i in enumerate(index))
        assert geometry.piece_total(piece, axes) == _apply(axes, covered)


def _relabelling(source_shape, out_shape):
    pick = random.Random(2)
    source = Tensor("s", source_shape, -9, 9)
    bits = [(size - 1).bit_length() for size in out_shape]
    cells = np.arange(prod(source.padded)).reshape(source.padded)
    evaluation = ax.point_axes(_point(pick, sum(bits)), bits)
    dense = tuple(ax.Dense(tuple(_ext(pick) for _ in range(1 << b))) for b in bits)
    return source, cells, cells.reshape([1 << b for b in bits]), evaluation, dense


_RELABELS = [((2, 3, 1, 5), (2, 3, 5)), ((8, 4), (2, 4, 4)), ((1, 7), (7, 1)), ((3,), (1, 1, 3)), ((16,), (4, 2, 2))]


@pytest.mark.parametrize(("source_shape", "out_shape"), _RELABELS)
def test_relabelling_keeps_or_merges_any_vectors(source_shape, out_shape):
    source, cells, out, evaluation, dense = _relabelling(source_shape, out_shape)
    for axes in (evaluation, dense, (*evaluation[:1], *dense[1:]), (*dense[:1], *evaluation[1:])):
        assert _apply(geometry.relabelled(axes, source), cells) == _apply(axes, out)


@pytest.mark.parametrize(("source_shape", "out_shape"), [((2, 2, 8), (4, 8)), ((4, 2, 2), (16,)), ((2, 8, 3), (16, 3))])
def test_relabelling_cuts_eq_vectors_and_leaves_others_to_a_sumcheck(source_shape, out_shape):
    source, cells, out, evaluation, dense = _relabelling(source_shape, out_shape)
    for axes in (evaluation, (*evaluation[:1], *dense[1:])):
        assert _apply(geometry.relabelled(axes, source), cells) == _apply(axes, out)
    assert geometry.relabelled(dense, source) is None


@pytest.mark.parametrize("axes_summed", [1, 2, 3])
def test_row_sums_carry_functionals_to_every_summed_cell(axes_summed):
    pick = random.Random(3)
    source = Tensor("s", (3, 2, 5), -9, 9)
    cells = np.zeros((4, 2, 8), dtype=np.int64)
    cells[:3, :, :5] = np.arange(30).reshape(3, 2, 5) - 7
    op = ops.RowSum(0, ops.NONE, 1, 1, axes_summed)
    rows = source.shape[: 3 - axes_summed] or (1,)
    sums = np.zeros(padded_shape(rows), dtype=np.int64)
    sums[tuple(slice(0, size) for size in rows)] = cells[:3].sum(axis=tuple(range(3 - axes_summed, 3))).reshape(rows)
    axes = _functional(pick, [(size - 1).bit_length() for size in rows])
    assert _apply(geometry.row_sum_axes(op, axes, source), cells) == _apply(axes, sums)


# --- sumchecks ---


def _polynomial_value(tables, degree_mask, point):
    result = field.ONE
    for table in tables:
        result = field.product(result, field.dot(table, ax.eq_table(point)))
    return result


def _bound(table, r):
    half = len(table) // 2
    return [
        field.add(low, field.product(r, field.sub(high, low))) for low, high in zip(table[:half], table[half:], strict=True)
    ]


@pytest.mark.parametrize("rounds", [0, 1, 3, 6, 10])
def test_product_rounds_end_at_the_product_of_extensions(rounds):
    pick = random.Random(rounds)
    left, right = ([_ext(pick) for _ in range(1 << rounds)] for _ in range(2))
    claim = field.dot(left, right)
    prover = ProverChannel(Transcript())
    f, g = list(left), list(right)
    for _ in range(rounds):
        half = len(f) // 2
        h0 = field.dot(f[:half], g[:half])
        slopes = [[field.sub(b, a) for a, b in zip(t[:half], t[half:], strict=True)] for t in (f, g)]
        prover.send("t.round", [h0, field.dot(*slopes)])
        r = prover.challenge("t.point")
        f, g = _bound(f, r), _bound(g, r)
    verifier = ProofChannel(Transcript(), prover.messages)
    end, point = product_rounds(verifier, "t", Claim(claim), rounds)
    assert end.value == _polynomial_value((left, right), None, point)
    wrong = ProofChannel(Transcript(), prover.messages)
    end, point = product_rounds(wrong, "t", Claim(field.add(claim, field.ONE)), rounds)
    assert end.value != _polynomial_value((left, right), None, point)


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_eq_rounds_end_at_the_product_without_its_eq_factor(degree, rounds):
    pick = random.Random(10 * degree + rounds)
    tables = [[_ext(pick) for _ in range(1 << rounds)] for _ in range(degree)]
    anchor = _point(pick, rounds)
    claim = field.ZERO
    for i, weight in enumerate(ax.eq_table(anchor)):
        term = weight
        for table in tables:
            term = field.product(term, table[i])
        claim = field.add(claim, term)
    prover = ProverChannel(Transcript())
    live = [list(table) for table in tables]
    for step in range(rounds):
        rest = ax.eq_table(anchor[step + 1 :])
        samples = []
        for x in range(degree + 1):
            bound = [_bound(table, (x, 0)) for table in live]
            total = field.ZERO
            for i, weight in enumerate(rest):
                term = weight
                for table in bound:
                    term = field.product(term, table[i])
                total = field.add(total, term)
            samples.append(total)
        coefficients = interpolate(samples)
        prover.send("t.round", [coefficients[0], *coefficients[2:]])
        r = prover.challenge("t.point")
        live = [_bound(table, r) for table in live]
    verifier = ProofChannel(Transcript(), prover.messages)
    end, point = eq_rounds(verifier, "t", Claim(claim), anchor, degree)
    assert end.value == _polynomial_value(tables, None, point)


# --- fractions ---


def _fractions_hold(values, bits, counts, log_lookups):
    """Run both sides of the lookup argument for one range table; the verifier's leaves come from the same columns."""
    table = TableBlock(RANGE, bits, bits, 1 << log_lookups if log_lookups >= bits else 0)
    group = Group(whole((log_lookups,)), 0, (0 if log_lookups >= bits else 1 << bits,))
    lookup = LookupBlock(0, 0, 0, group, 0)
    leaves = (1 << bits) + (1 << log_lookups)
    bus = Bus((table,), ((lookup,),), {}, (leaves - 1).bit_length(), 2, leaves)
    alpha, beta = (3, 5), (7, 11)
    columns = to_field(np.array(values, dtype=np.int64)), to_field(np.array(counts, dtype=np.int64))
    rows = (to_field(np.arange(1 << bits)),)
    negative = to_field(-np.array(counts, dtype=np.int64))
    blocks = [Block(0, log_lookups, group.addresses[0], (columns[0],), None), Block(0, bits, table.offset, rows, negative)]
    prover = ProverChannel(Transcript())
    prove_layers(prover, build_leaves(bus, blocks, alpha, beta))
    verifier = ProofChannel(Transcript(), prover.messages)
    try:
        found = check_layers(verifier, bus.log_leaves)
        total = LeafSum(bus, found, alpha, beta)

        def at(column, log_size):
            point = total.local_point(log_size)
            return public(functionals.evaluate(ax.point_axes(point, (log_size,)), column))

        total.lookup(lookup, (at(columns[0], log_lookups),))
        total.table(0, table, (at(rows[0], bits),), at(columns[1], bits))
        total.finish()
        verifier.finish()
    except EvidenceRejected:
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_fractions_cancel_exactly_when_the_multisets_agree(data):
    bits, log_lookups = data.draw(st.integers(1, 4)), data.draw(st.integers(0, 5))
    values = data.draw(st.lists(st.integers(-1, 1 << bits), min_size=1 << log_lookups, max_size=1 << log_lookups))
    exact = np.bincount([v for v in values if 0 <= v < 1 << bits], minlength=1 << bits)
    inside = all(0 <= v < 1 << bits for v in values)
    assert _fractions_hold(values, bits, exact, log_lookups) == inside
    moved = exact.copy()
    moved[data.draw(st.integers(0, (1 << bits) - 1))] += data.draw(st.sampled_from([-1, 1, 2]))
    assert not _fractions_hold(values, bits, moved, log_lookups)


def test_a_field_element_outside_the_table_cannot_be_paid_for_with_any_multiplicities():
    for fraction in (pow(2, -1, P), P - 1, 4):
        values = [0, 1, 2, 3]
        counts = [1, 1, 1, 1]
        assert _fractions_hold(values, 2, counts, 2)
        values[2] = int(np.uint64(fraction).astype(np.int64))
        for count in ([1, 1, 0, 1], [1, 1, 1, 1], [2, 1, 0, 1]):
            assert not _fractions_hold(values, 2, count, 2)


def test_interpolation_finds_the_coefficients():
    pick = random.Random(8)
    for degree in range(1, 6):
        coefficients = [_ext(pick) for _ in range(degree + 1)]
        samples = [field.total(field.scale(c, x**k) for k, c in enumerate(coefficients)) for x in range(degree + 1)]
        assert interpolate(samples) == coefficients
    assert element(*vector([(1, 2), (3, 4)])[:, 1]) == (3, 4)


@settings(max_examples=60, deadline=None)
@given(randoms, st.integers(0, 4), st.integers(0, 3), st.booleans())
def test_a_groups_axis_is_the_product_of_both_vectors(pick, inner, groups, degenerate):
    axis = _axis(pick, inner + groups)
    top = _point(pick, groups)
    if degenerate and groups and isinstance(axis, ax.Eq):  # coordinates 0 and 1: no entry is left, and no closed form either
        axis, top = ax.Eq((field.ZERO, *axis.point[1:])), (field.ONE, *top[1:])
    chosen = ax.eq_table(top)
    expected = [field.product(entry, chosen[i >> inner]) for i, entry in enumerate(axis.dense())]
    found = geometry.group_axis(axis, top)
    assert found.dense() == expected
    assert found.bits == axis.bits
    assert element(*functionals.axis_vector(found)[:, -1]) == expected[-1]
    point = _point(pick, inner + groups)
    assert found.at(point) == ax.Dense(tuple(expected)).at(point)


@settings(max_examples=60, deadline=None)
@given(randoms, st.lists(st.lists(st.integers(-1, 5), min_size=1, max_size=6), min_size=1, max_size=3))
def test_a_piece_counts_the_cells_that_it_covers(pick, rows):
    indices = tuple(tuple(ops.NONE if one < 0 else one for one in row) for row in rows)
    axes = _functional(pick, [(len(row) - 1).bit_length() for row in rows])
    piece = ops.Piece(0, (ops.NONE,) * len(rows), indices, (0,))
    covered = np.array([1])
    for axis, row in zip(axes, indices, strict=True):
        own = np.zeros(1 << axis.bits, dtype=np.int64)
        own[: len(row)] = [index != ops.NONE for index in row]
        covered = np.multiply.outer(covered, own)
    assert geometry.piece_total(piece, axes) == _apply(axes, covered[0])
