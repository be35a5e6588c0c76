"""The interpreter computes what the definitions say, for any shapes and parameters; padding holds the declared fill."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.slow_interpreter import evaluate, flat, in_order
from tests.support.sumcheck_circuits import ABSENT, clamp_table, single, start, with_op
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, Table, padded_shape
from verifai.engines.sumcheck.interpreter.run import Trace, run
from verifai.errors import EvidenceRejected, InputRejected

small = settings(max_examples=60, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)


def random_cells(rng: random.Random, shape: tuple[int, ...], low: int, high: int) -> Any:
    values = [rng.choice((low, high, rng.randint(low, high))) for _ in range(int(np.prod(shape)))]
    return np.array(values, np.int64).reshape(shape)


def check_against_definition(circuit: Circuit, weights: list[Any], seed: int) -> Trace:
    """Run on random inputs; compare every tensor with the slow reference, padding with the fill."""
    rng = random.Random(seed)
    tensors = [circuit.tensors[port.tensor] for port in circuit.inputs]
    inputs = [random_cells(rng, t.shape, t.low, t.high) for t in tensors]
    trace = run(circuit, weights, inputs)
    expected = evaluate(
        circuit,
        [in_order(w.shape, w.reshape(-1).tolist()) for w in weights],
        [in_order(x.shape, x.reshape(-1).tolist()) for x in inputs],
    )
    for number, tensor in enumerate(circuit.tensors):
        assert trace.true(number).reshape(-1).tolist() == flat(expected[number]), tensor.name
        padded = trace.tensors[number]
        assert padded.shape == padded_shape(tensor.shape)
        outside = np.ones(padded.shape, bool)
        outside[tuple(slice(0, size) for size in tensor.shape)] = False
        assert set(padded[outside].tolist()) <= {tensor.fill}
    return trace


@small
@given(
    seeds,
    st.lists(st.integers(1, 4), max_size=2),
    st.lists(st.integers(1, 5), min_size=1, max_size=3),
    st.integers(1, 5),
    st.booleans(),
)
def test_matmul_sums_over_the_last_axes(seed: int, rows: list[int], inner: list[int], outputs: int, bias: bool) -> None:
    rng = random.Random(seed)
    weights = [random_cells(rng, (outputs, *inner), -300, 300)] + ([random_cells(rng, (outputs,), -9999, 9999)] if bias else [])
    circuit = single(
        lambda out: ops.MatMul(0, 0, 1 if bias else ABSENT, out, len(inner)), [((*rows, *inner), -128, 127)], weights
    )
    check_against_definition(circuit, weights, seed)


@st.composite
def windows(draw: st.DrawFn, max_kernel: int = 3) -> dict[str, Any]:
    kernel = draw(st.tuples(st.integers(1, max_kernel), st.integers(1, max_kernel)))
    return {
        "kernel": kernel,
        "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "dilation": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "pads": draw(st.tuples(*(st.integers(0, 3) for _ in range(4)))),
        "size": draw(st.tuples(st.integers(1, 7), st.integers(1, 7))),
        "batch": draw(st.integers(1, 2)),
    }


def build_or_refuse(make: Any, *arguments: Any) -> Circuit | None:
    try:
        return single(make, *arguments)
    except EvidenceRejected:
        return None


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seeds, windows(), st.sampled_from([1, 2, 4]), st.integers(1, 3), st.booleans(), st.booleans())
def test_convolution_with_stride_dilation_pads_and_groups(
    seed: int, w: dict[str, Any], groups: int, width: int, bias: bool, wide: bool
) -> None:
    rng = random.Random(seed)
    inner = outer = width if groups == 1 else 1 << (width - 1)
    bound = 1 << 46 if wide else 300  # beyond 2^53 the sums leave float64
    weights = [random_cells(rng, (groups * outer, inner, *w["kernel"]), -bound, bound)]
    weights += [random_cells(rng, (groups * outer,), -9999, 9999)] if bias else []
    circuit = build_or_refuse(
        lambda out: ops.Conv(0, 0, 1 if bias else ABSENT, out, w["stride"], w["dilation"], w["pads"], groups),
        [((w["batch"], groups * inner, *w["size"]), -128, 127)],
        weights,
    )
    if circuit is not None:
        check_against_definition(circuit, weights, seed)


@settings(max_examples=120, deadline=None, derandomize=True)
@given(seeds, windows(2))
def test_window_sum_and_window_max(seed: int, w: dict[str, Any]) -> None:
    shape = (w["batch"], 3, *w["size"])
    total = build_or_refuse(lambda out: ops.WindowSum(0, out, -7, w["kernel"], w["stride"], w["pads"]), [(shape, -100, 27)])
    if total is not None:
        check_against_definition(total, [], seed)
    largest = build_or_refuse(
        lambda out: ops.WindowMax(0, out, w["kernel"], w["stride"], w["dilation"], w["pads"]), [(shape, -100, -3)]
    )
    if largest is not None:
        trace = check_against_definition(largest, [], seed)
        # Taps outside are the least value, not 0: all cells here are negative.
        assert trace.true(1).max() < 0


@small
@given(seeds, st.lists(st.integers(1, 3), max_size=2), st.integers(1, 4), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_batched_matmul(seed: int, lead: list[int], i: int, k: int, j: int, wide: bool) -> None:
    high = 1 << 26 if wide else 127
    circuit = single(
        lambda out: ops.BatchedMatMul(0, 1, out, -3), [((*lead, i, k), -high, high), ((*lead, k, j), -high, high - 1)]
    )
    check_against_definition(circuit, [], seed)


@small
@given(seeds, st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_products_sums_and_combinations(seed: int, dims: list[int]) -> None:
    shape = tuple(dims)
    two = [(shape, -128, 127), (shape, 0, 255)]
    check_against_definition(single(lambda out: ops.Mul(0, 1, out, 5), two), [], seed)
    check_against_definition(single(lambda out: ops.Mul(0, 0, out, 5), two[:1]), [], seed)
    check_against_definition(single(lambda out: ops.LinearCombination((1, 0), (4096, -77), 13, out), two), [], seed)
    for axes in range(1, len(shape) + 1):
        for factor, used in ((ABSENT, two[:1]), (0, two[:1]), (1, two)):
            check_against_definition(single(lambda out, f=factor, a=axes: ops.RowSum(0, f, out, -2, a), used), [], seed)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(seeds, st.integers(0, 20), st.integers(2, 10), st.integers(1, 40), st.booleans())
def test_requant_rounds_half_up_and_saturates(seed: int, shift: int, width: int, magnitude: int, split_limbs: bool) -> None:
    high = 1 << magnitude
    limbs = (shift // 2, shift - shift // 2) if split_limbs and shift > 1 else (shift,) if shift else ()
    if any(bits > 16 for bits in limbs):
        return
    table = Table("t", -(1 << (width - 1)), tuple((7 * t * t - 3 * t) % 1000 - 500 for t in range(1 << width)))
    circuit = start([((2, 3), -high, high)], tables=[table])
    t_range = [(z + (1 << shift >> 1)) >> shift for z in (-high, high)]
    saturate = t_range[0] < table.low or t_range[1] > table.high
    try:
        circuit = with_op(circuit, ops.Requant(0, 1, 0, shift, limbs, saturate))
    except EvidenceRejected as problem:
        assert "split" in problem.message  # too far beyond the table
        return
    trace = check_against_definition(circuit, [], seed)
    z = trace.tensors[0]
    remainder = np.zeros_like(z)
    offset = 0
    for number, bits in enumerate(limbs):
        limb = trace.columns[0, f"rem{number}"]
        assert limb.min() >= 0 and limb.max() < 1 << bits
        remainder, offset = remainder + (limb << offset), offset + bits
    t = (z + (1 << shift >> 1) - remainder) >> shift
    assert ((t << shift) + remainder == z + (1 << shift >> 1)).all()  # on padding cells too
    if saturate:
        h, low_part, sigma, kappa, u = (trace.columns[0, name] for name in ("h", "l", "sigma", "kappa", "u"))
        assert (t == (h << (width - 1)) + low_part).all() and low_part.min() >= 0 and low_part.max() < 1 << (width - 1)
        assert (u == sigma * t + kappa).all() and u.min() >= table.low and u.max() <= table.high


@pytest.mark.parametrize(("z", "t"), [(4, 1), (3, 0), (-4, 0), (-5, -1), (12, 2), (11, 1), (-12, -1), (-13, -2)])
def test_ties_round_up(z: int, t: int) -> None:
    circuit = single(
        lambda out: ops.Requant(0, out, 0, 3, (3,), False), [((1,), -100, 100)], tables=[clamp_table(8, -128, 127)]
    )
    assert run(circuit, [], [np.array([z])]).true(1).tolist() == [t]


@small
@given(seeds, st.lists(st.integers(1, 3), max_size=2), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_row_maximum_with_its_exponentials(seed: int, rows: list[int], size: int, width: int, with_exp: bool) -> None:
    values = (*(1000 >> i for i in range((1 << width) - 1)), 0) if with_exp else (0,) * (1 << width)
    circuit = single(
        lambda out: ops.RowMax(0, out, out + 1 if with_exp else ABSENT, 0, (1 << width) - 1 < 30),
        [((*rows, size), -10, 20)],
        tables=[Table("e", 0, values)],
    )
    trace = check_against_definition(circuit, [], seed)
    g = trace.columns[0, "g"][tuple(slice(0, n) for n in (*rows, size))]
    assert (g.sum(axis=-1) >= 1).all() and (g == (trace.true(0) == trace.true(0).max(axis=-1, keepdims=True))).all()


@small
@given(seeds, st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_argmax_takes_the_lowest_of_equal_maxima(seed: int, dims: list[int]) -> None:
    check_against_definition(single(lambda out: ops.ArgMax(0, out), [(tuple(dims), 0, 1)]), [], seed)


@pytest.mark.parametrize("q", [1, 2, 3, 2**14, 2**15 - 1, 2**15, 2**15 + 1, 2**29, 2**30 - 1, 12345, 999999937])
def test_reciprocal_is_the_defined_floor(q: int) -> None:
    trace = check_against_definition(single(lambda out: ops.Recip(0, out), [((3,), q, q)]), [], 0)
    cells = {name: int(trace.columns[0, name][0]) for name in ("e", "pow", "qe", "R", "rho")}
    assert cells["pow"] == 2 ** cells["e"] and cells["qe"] == q * cells["pow"] and 2**29 <= cells["qe"] < 2**30
    assert cells["R"] * cells["qe"] + cells["rho"] == 2**46 and 0 <= cells["rho"] < cells["qe"]
    assert 0 <= cells["R"] - 2**16 < 2**17
    padding = {name: int(trace.columns[0, name][3]) for name in cells}
    assert padding == {"e": 29, "pow": 2**29, "qe": 2**29, "R": 2**17, "rho": 0}


@pytest.mark.parametrize("v", [0, 1, 2, 3, 4, 2**52, (2**26 + 1) ** 2 - 1, (2**30 - 1) ** 2, (2**30 - 1) ** 2 - 1, 2**60 - 1])
def test_square_root_is_exact(v: int) -> None:
    check_against_definition(single(lambda out: ops.Isqrt(0, out), [((3,), v, v)]), [], 0)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(0, 2**60 - 1))
def test_square_root_of_anything(v: int) -> None:
    check_against_definition(single(lambda out: ops.Isqrt(0, out), [((1,), v, v)]), [], 0)


def test_views_pick_what_their_indices_say() -> None:
    none = ops.NONE
    transpose_slice = ops.Piece(0, (1, 0, none), ((3, 1, none), (0, 0, 2), (0, 0)), (none, none))
    other = ops.Piece(1, (none, none, none), ((none, none, 0), (0, 0, 0), (0, 0)), (1,))
    circuit = single(lambda out: ops.View((transpose_slice, other), 0, out), [((3, 4), -9, 9), ((2,), 5, 8)], shape=(3, 3, 2))
    check_against_definition(circuit, [], 1)


def test_gather_and_relabel() -> None:
    check_against_definition(
        single(lambda out: ops.Gather(0, out, (5, 0, ops.NONE, 2), -4), [((2, 3), -9, 9)], shape=(2, 2)), [], 1
    )
    check_against_definition(single(lambda out: ops.Relabel(0, out), [((3, 1, 4), -9, 9)], shape=(1, 12)), [], 1)


def test_an_input_outside_its_range_or_shape_is_refused() -> None:
    circuit = single(lambda out: ops.ArgMax(0, out), [((2, 2), -3, 3)])
    with pytest.raises(InputRejected) as refused:
        run(circuit, [], [np.array([[0, 0], [0, 4]])])
    assert refused.value.code == "input-out-of-range" and refused.value.where == "x0"
    for wrong in (np.zeros((2, 3), np.int64), np.zeros((2, 2))):
        with pytest.raises(InputRejected) as refused:
            run(circuit, [], [wrong])
        assert refused.value.code == "input-shape"
    with pytest.raises(InputRejected):
        run(circuit, [], [])
