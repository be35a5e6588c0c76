"""Every hot loop against Python integers, on arrays of edge values (0, 1, p − 1, p − 2, 2^32 ± 1, …) in all their pairs.

An overflow, a missing reduction or a result of p or p + 1 shows on such values and hides among random ones.
"""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import eq_table
from verifai.engines.sumcheck.protocol.buses import Bus, TableBlock
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover import kernels, lookup_kernels, parallel
from verifai.engines.sumcheck.prover.arrays import embed, scalars, to_field, vector
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.prover.lookups import Block, Layer, build_leaves, prove_layers
from verifai.engines.sumcheck.prover.prove import prepare, prove

BASE = [0, 1, 2, 2**32 - 1, 2**32, 2**32 + 1, P - 2**32, P - 2, P - 1]
EDGES = [0, 1, 2**32 - 1, 2**32 + 1, P - 2**32, P - 1]
PAIRS = list(itertools.product(EDGES, EDGES))
SCALARS = [(0, 0), (1, 0), (P - 1, P - 1), (2**32 - 1, P - 2**32), (0, P - 1)]


def _shuffled(seed: int, size: int = 64) -> list[tuple[int, int]]:
    """Edge pairs in another order each time, so that over the seeds everything meets everything."""
    order = random.Random(seed)
    return [order.choice(PAIRS) for _ in range(size)]


def _base(seed: int, size: int = 64) -> list[int]:
    order = random.Random(seed)
    return [order.choice(BASE) for _ in range(size)]


def _u64(values):
    return np.array(values, dtype=np.uint64)


def _pairs(array):
    return list(zip(*array.tolist(), strict=True))


def _sum(values):
    return field.total(list(values))


def _canonical(array):
    assert bool((array < np.uint64(P)).all())
    return _pairs(array)


SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_folds_bind_the_first_variable(seed):
    values, half = _shuffled(seed), 32
    for r in SCALARS:
        wanted = [
            field.add(low, field.product(r, field.sub(high, low)))
            for low, high in zip(values[:half], values[half:], strict=True)
        ]
        assert _canonical(parallel.fold(vector(values), *scalars(r))) == wanted
    base = _base(seed)
    for r in SCALARS:
        wanted = [field.add((low, 0), field.scale(r, high - low)) for low, high in zip(base[:half], base[half:], strict=True)]
        assert _canonical(parallel.fold_base(_u64(base), *scalars(r))) == wanted
    assert _canonical(kernels.halve_sum(vector(values))) == [
        field.add(low, high) for low, high in zip(values[:half], values[half:], strict=True)
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_sums_of_products(seed):
    left, right, base = _shuffled(seed), _shuffled(seed + 100), _base(seed)
    products = [field.product(x, y) for x, y in zip(left, right, strict=True)]
    assert tuple(map(int, kernels.dot(vector(left), vector(right)))) == _sum(products)
    scaled = [field.scale(y, x) for x, y in zip(base, right, strict=True)]
    assert tuple(map(int, kernels.dot_base(_u64(base), vector(right)))) == _sum(scaled)


@pytest.mark.parametrize("seed", SEEDS)
def test_combinations_of_rows_and_columns(seed):
    rows, columns = 4, 16
    matrix = [_base(seed * 10 + i, columns) for i in range(rows)]
    matrix_ext = [_shuffled(seed * 10 + i, columns) for i in range(rows)]
    down, across = _shuffled(seed + 1, rows), _shuffled(seed + 2, columns)
    by_rows = [_sum(field.scale(w, row[j]) for w, row in zip(down, matrix, strict=True)) for j in range(columns)]
    assert _canonical(kernels.combine_rows(vector(down), _u64(matrix))) == by_rows
    by_columns = [_sum(field.scale(w, x) for w, x in zip(across, row, strict=True)) for row in matrix]
    assert _canonical(kernels.combine_columns(_u64(matrix), vector(across))) == by_columns
    first, second = (_u64([[x[c] for x in row] for row in matrix_ext]) for c in range(2))
    by_columns = [_sum(field.product(w, x) for w, x in zip(across, row, strict=True)) for row in matrix_ext]
    assert _canonical(kernels.combine_columns_ext(first, second, vector(across))) == by_columns


@pytest.mark.parametrize("seed", SEEDS)
def test_outer_products_and_scaling(seed):
    left, right, start = _shuffled(seed, 4), _shuffled(seed + 1, 8), _shuffled(seed + 2, 32)
    left[seed % 4] = (0, 0)
    wanted = [field.product(x, y) for x in left for y in right]
    assert _canonical(kernels.outer(vector(left), vector(right))) == wanted
    target = vector(start)
    kernels.outer_add(target[0], target[1], vector(left), vector(right))
    assert _canonical(target) == [field.add(s, w) for s, w in zip(start, wanted, strict=True)]
    for s in SCALARS:
        assert _canonical(kernels.scaled(vector(right), *scalars(s))) == [field.product(x, s) for x in right]
        assert kernels.scale_base(_u64(_base(seed)), np.uint64(s[0])).tolist() == [x * s[0] % P for x in _base(seed)]
        added = parallel.add_scaled(vector(start), vector(start[::-1]), *scalars(s))
        assert _canonical(added) == [field.add(x, field.product(y, s)) for x, y in zip(start, start[::-1], strict=True)]


def test_eq_of_edge_points():
    for point in ([(P - 1, P - 1)] * 3, [(0, 1), (1, 0), (2**32, P - 2**32)], [(2**32 - 1, 0)] * 4, []):
        array = np.array(point, dtype=np.uint64).reshape(len(point), 2)
        assert _canonical(kernels.eq_table(array)) == eq_table(point)


def _at(values, x):
    """Every pair of a vector's halves at X = x."""
    half = len(values) // 2
    return [
        field.add(low, field.scale(field.sub(high, low), x)) for low, high in zip(values[:half], values[half:], strict=True)
    ]


def _product_sum(*vectors):
    result = []
    for cells in zip(*vectors, strict=True):
        value = field.ONE
        for cell in cells:
            value = field.product(value, cell)
        result.append(value)
    return _sum(result)


def _evaluate(coefficients, x):
    value = field.ZERO
    for coefficient in reversed(coefficients):
        value = field.add(field.scale(value, x), coefficient)
    return value


@pytest.mark.parametrize("seed", SEEDS)
def test_rounds_send_the_coefficients_of_their_polynomials(seed):
    """Missing linear coefficients follow from p(0) + p(1); the polynomial then has every value that the sum has."""
    w, f, g = (_shuffled(seed + offset) for offset in (0, 40, 80))
    words = [int(x) for x in parallel.product_round(vector(f), vector(g))]
    a, c = (words[0], words[1]), (words[2], words[3])
    one = _product_sum(_at(f, 1), _at(g, 1))
    linear = field.sub(field.sub(one, a), c)
    for x in (0, 1, 2, 5, P - 1):
        assert _evaluate([a, linear, c], x) == _product_sum(_at(f, x), _at(g, x))
    words = [int(x) for x in kernels.weighted_round(vector(w), vector(f), vector(g))]
    a, c, d = ((words[i], words[i + 1]) for i in (0, 2, 4))
    one = _product_sum(_at(w, 1), _at(f, 1), _at(g, 1))
    linear = field.sub(field.sub(field.sub(one, a), c), d)
    for x in (0, 1, 2, 5, P - 1):
        assert _evaluate([a, linear, c, d], x) == _product_sum(_at(w, x), _at(f, x), _at(g, x))
    base = _base(seed)
    assert [int(x) for x in parallel.product_round_base(_u64(base), vector(g))] == [
        int(x) for x in parallel.product_round(embed(_u64(base)), vector(g))
    ]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_zero_check_rounds(count):
    eq, factors = _shuffled(count, 32), [_shuffled(count * 10 + i) for i in range(count)]
    array = np.stack([vector(one) for one in factors])
    for x in range(count + 2):
        wanted = _product_sum(eq, *(_at(one, x) for one in factors))
        assert tuple(map(int, kernels.factors_round(vector(eq), array, x))) == wanted


@pytest.mark.parametrize("seed", SEEDS)
def test_layers_and_rounds_of_fractions(seed):
    size = 16
    p, q = ([[_shuffled(seed * 7 + 2 * side + part, size) for side in range(2)] for part in range(2)] for _ in range(2))
    p, q = p[0], q[1]
    as_array = [np.stack([vector(side) for side in one]) for one in (p, q)]
    low_p, high_p, low_q, high_q = parallel.fraction_layer(*as_array[0], *as_array[1])
    top = [field.add(field.product(a, d), field.product(b, c)) for a, b, c, d in zip(p[0], p[1], q[0], q[1], strict=True)]
    bottom = [field.product(c, d) for c, d in zip(q[0], q[1], strict=True)]
    assert _canonical(low_p) + _canonical(high_p) == top
    assert _canonical(low_q) + _canonical(high_q) == bottom
    eq = _shuffled(seed, size // 2)
    words = [int(x) for x in parallel.fraction_round(vector(eq), *(vector(one) for one in (p[0], q[1], q[0], p[1])))]

    def inner(x):
        return field.add(_product_sum(eq, _at(p[0], x), _at(q[1], x)), _product_sum(eq, _at(q[0], x), _at(p[1], x)))

    a, c = (words[0], words[1]), (words[2], words[3])
    linear = field.sub(field.sub(inner(1), a), c)
    for x in (0, 1, 2, P - 1):
        assert _evaluate([a, linear, c], x) == inner(x)


@pytest.mark.parametrize("beta", SCALARS)
def test_fingerprints(beta):
    first, second, constant = _base(1), _base(2), (P - 1, 2**32 - 1)
    out = np.empty((2, len(first)), dtype=np.uint64)
    lookup_kernels.fingerprints(out[0], out[1], _u64(constant), _u64(first), _u64(second), *scalars(beta))
    wanted = [field.sub(field.sub(constant, (x, 0)), field.scale(beta, y)) for x, y in zip(first, second, strict=True)]
    assert _canonical(out) == wanted
    lookup_kernels.fingerprints_single(out[0], out[1], _u64(constant), _u64(first))
    assert _canonical(out) == [field.sub(constant, (x, 0)) for x in first]
    # Signed integers enter as they are.
    signed = [np.array([(x + by) % 2**64 - 2**63 for x in _base(by % 7)], dtype=np.int64) for by in (0, 2**63)]
    lookup_kernels.fingerprints(out[0], out[1], _u64(constant), *signed, *scalars(beta))
    pairs = zip(*(one.tolist() for one in signed), strict=True)
    assert _canonical(out) == [field.sub(field.sub(constant, (x % P, 0)), field.scale(beta, y)) for x, y in pairs]
    lookup_kernels.fingerprints_single(out[0], out[1], _u64(constant), signed[0])
    assert _canonical(out) == [field.sub(constant, (x % P, 0)) for x in signed[0].tolist()]


@pytest.mark.parametrize("count", [3, 8])
def test_an_encoded_block_is_the_rows_at_the_coset(count):
    size, rows = 8, 3
    root = pow(7, (P - 1) // size, P)
    columns = [_base(10 + j, rows) for j in range(count)]
    twiddles = _u64([pow(root, j, P) for j in range(size // 2)])
    for shift in (1, P - 1, 2**32 + 1):
        out = np.zeros((size, 1 + rows), dtype=np.uint64)
        kernels.encode_block(_u64(columns), twiddles, np.uint64(shift), out, 1)
        for q in range(size):
            at = shift * pow(root, int(f"{q:03b}"[::-1], 2), P) % P
            wanted = [sum(columns[j][i] * pow(at, j, P) for j in range(count)) % P for i in range(rows)]
            assert out[q, 1:].tolist() == wanted


def test_integers_enter_canonically():
    values = [0, 1, -1, 2**62, -(2**62), 2**63 - 1, -(2**63)]
    assert to_field(np.array(values, dtype=np.int64)).tolist() == [v % P for v in values]


@pytest.mark.parametrize("threads", [2, 3])
def test_ranges_of_any_number_of_threads_give_the_same_cells_and_sums(threads, monkeypatch):
    p, q, r, s = (vector(_shuffled(seed, 128)) for seed in range(4))
    base, eq = _u64(_base(1, 128)), vector(_shuffled(9))

    def everything():
        return [
            parallel.fold(p, *scalars(SCALARS[2])).tolist(),
            parallel.fold_base(base, *scalars(SCALARS[3])).tolist(),
            parallel.product_round(p, q),
            parallel.product_round_base(base, q),
            [one.tolist() for one in parallel.fraction_layer(p, q, r, s)],
            [one.tolist() for one in parallel.fraction_layer(base, base[:77], r, s[:, :77].copy())],
            parallel.add_scaled(p, q, *scalars(SCALARS[3])).tolist(),
            parallel.fraction_round(eq, p, q, r, s),
        ]

    alone = everything()
    monkeypatch.setattr(parallel, "LARGE", 2)
    with parallel.workers(threads):
        assert everything() == alone
    assert everything() == alone


def _messages(leaves):
    channel = ProverChannel(Transcript())
    prove_layers(channel, leaves)
    return channel.messages


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(
    ("half", "used"),
    [(1, 1), (2, 1), (2, 2), (4, 3), *((64, used) for used in (1, 2, 15, 16, 17, 31, 32, 33, 37, 63, 64)), (1 << 13, 5001)],
)
def test_filler_that_is_not_stored_gives_the_messages_of_filler_that_is(half, used, threads, monkeypatch):
    """The high half's filler is 0, 1, an odd number of leaves, or all but one; it meets the ends of blocks and of halves."""
    p0, p1 = _u64(_base(half, half)), _u64(_base(used, used))
    q0, q1 = vector(_shuffled(1, half)), vector(_shuffled(2, used))
    filler = half - used
    full_p = [embed(p0), np.concatenate([embed(p1), np.zeros((2, filler), dtype=np.uint64)], axis=1)]
    full_q1 = np.concatenate([q1, vector([field.ONE] * filler)], axis=1) if filler else q1.copy()
    stored = _messages(Layer(*full_p, q0.copy(), full_q1))
    monkeypatch.setattr(parallel, "LARGE", 2)
    with parallel.workers(threads):
        assert _messages(Layer(p0, p1, q0, q1)) == stored


def test_leaves_that_are_mostly_filler_are_a_mistake():
    bus = Bus((TableBlock("range", 1, 1, 0),), (), {}, 2, 2, 2)
    block = Block(0, 1, 0, (_u64([0, 1]),), _u64([0, 0]))
    with pytest.raises(ValueError, match="filler"):
        build_leaves(bus, [block], (1, 2), (3, 4))


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 64, 129])
def test_sums_of_products_of_any_length(count):
    """Vector registers take several terms at once; the rest is added alone. The largest words meet in the sums."""
    for left, right in ((_shuffled(3, count), _shuffled(4, count)), ([(P - 1, P - 1)] * count, [(P - 1, P - 1)] * count)):
        assert tuple(map(int, kernels.dot(vector(left), vector(right)))) == field.dot(left, right)
        base = _u64([x for x, _ in left])
        wanted = field.total(field.scale(y, int(x)) for x, y in zip(base, right, strict=True))
        assert tuple(map(int, kernels.dot_base(base, vector(right)))) == wanted


def test_a_whole_proof_is_the_same_on_two_threads(monkeypatch):
    circuit, weights = examples.cnn(committed=True)
    key, trace = prepare(circuit, weights), run(circuit, weights, examples.random_input(circuit))
    alone = prove(key, trace, threads=1)
    monkeypatch.setattr(parallel, "LARGE", 2)
    assert prove(key, trace, threads=2) == alone
