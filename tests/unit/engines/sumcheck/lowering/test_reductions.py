"""Least cells, sums of magnitudes and squares, products; sums and means of several values; constant parts of a Concat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import FINE, built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from tests.support.sumcheck_models import lowered
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel

f = np.float32
# ruff: noqa: E501 - one case per line reads as a table
FORMS: dict[str, tuple[tuple[int, ...], dict[str, Any], dict[str, Any]]] = {
    "of rows": ((3, 1), {}, {"axis": [1]}),
    "of columns, without the axis": ((4,), {"keepdims": 0}, {"axis": [0]}),
    "of all": ((), {"keepdims": 0}, {}),
    "of the last but one": ((1, 4), {}, {"axis": [-2]}),
}
KINDS = {
    "ReduceMin": 1.0,
    "ReduceL1": 1.0,
    "ReduceL2": 1.0,
    "ReduceSumSquare": 1.5,
    "ReduceSum": 1.0,
    "ReduceMean": 1.0,
    "ReduceMax": 1.0,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_reduction_is_what_onnxruntime_computes(kind: str, form: str) -> None:
    out, attributes, constants = FORMS[form]
    source = net((3, 4), out, n(kind, "x", *constants, **attributes), **constants)
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= KINDS[kind]
    assert supported(source)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_and_equal_cells(kind: str) -> None:
    source = net((3, 4), (3, 1), n(kind, "x", "axis"), axis=[1])
    rows = [np.zeros((3, 4)), np.ones((3, 4)), -np.ones((3, 4)), np.array([[1, 0, 0, 0], [0, 0, 0, -1], [1, -1, 1, -1]])]
    feeds = [{"x": cells.astype(f)} for cells in rows]
    made = built(source, feeds)
    for feed in feeds:
        ((found, expected, step),) = outputs(source, made, feed)
        assert np.abs(found - expected).max() <= step


PRODUCTS: dict[str, OnnxModel] = {
    "of two": net((5, 2), (5, 1), n("ReduceProd", "x", "axis"), axis=[1]),
    "of three": net((5, 3), (5,), n("ReduceProd", "x", "axis", keepdims=0), axis=[1]),
    "of one": net((5, 1), (5, 1), n("ReduceProd", "x", "axis"), axis=[1]),
    "of all": net((2, 2), (), n("ReduceProd", "x", keepdims=0)),
    "of gathered pairs": net((4, 3), (4, 1), n("Gather", "x", "pair", out="g", axis=1), n("ReduceProd", "g", "axis"), pair=[0, 2], axis=[1]),
}  # fmt: skip


@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_is_rounded_once(name: str) -> None:
    source = PRODUCTS[name]
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 1
    assert supported(source)


def test_a_product_of_too_many_cells_is_refused() -> None:
    source = net((2, 9), (2, 1), n("ReduceProd", "x", "axis"), axis=[1])
    with pytest.raises(UnsupportedModel) as caught:
        lowered(source, feeds_of(source), FINE)
    assert caught.value.code == "operator-unsupported" and "product of 9" in caught.value.message


COLUMNS = {f"c{i}{j}": [i, j] for i in range(3) for j in range(i, 3)}
POLYNOMIAL = net(
    (2, 3), (2, 10),
    *(n("Gather", "x", name, out=f"g{name}", axis=1) for name in COLUMNS),
    *(n("ReduceProd", f"g{name}", "axis", out=f"p{name}") for name in COLUMNS),
    n("Concat", "one", "x", *(f"p{name}" for name in COLUMNS), axis=1),
    one=np.ones((2, 1), f), axis=[1], **COLUMNS,
)  # fmt: skip


def test_a_polynomial_of_columns_is_one_product() -> None:
    """PolynomialFeatures of degree 2: 1, the columns, and the products of two."""
    feeds = feeds_of(POLYNOMIAL)
    made = built(POLYNOMIAL, feeds)
    assert [type(op).__name__ for op in made.circuit.ops].count("Mul") == 1
    assert worst_steps(POLYNOMIAL, made, feeds) <= 1.5
    assert supported(POLYNOMIAL)


WEIGHTS = np.array([[1e-6, 1, 100], [0.25, 1e-4, 4]], f)
CENTRES = np.array([[0, 0.5, 3], [0.001, 0.4, 2]], f)
GAUSSIAN = net(
    (1, 3), (1, 2), n("Reshape", "x", "row", out="r"), n("Sub", "r", "m", out="c"), n("Pow", "c", "two", out="s"), n("Div", "s", "v", out="d"),
    n("ReduceSum", "d", "axis", keepdims=0), row=[1, 1, 3], m=CENTRES[None], two=f(2), v=WEIGHTS[None], axis=[2],
)  # fmt: skip


def test_squares_over_variances_of_all_sizes_keep_their_precision() -> None:
    """Gaussian naive Bayes: a variance of 10^-6 beside one of 100. Columns of one scale, so the widest rules the input's step."""
    random = np.random.default_rng(0)
    feeds = [{"x": random.uniform([[-1e-3, 0, 1]], [[1e-3, 1, 4]]).astype(f)} for _ in range(20)]
    made = built(GAUSSIAN, feeds)
    # (x − m)²/v up to about 100 with 12 bits: the value before its square has 12 bits for its own range, ±10.
    assert worst_steps(GAUSSIAN, made, feeds) <= 12
    assert supported(GAUSSIAN)


SEVERAL: dict[str, tuple[OnnxModel, float]] = {
    "a sum of three and a number": (net((2, 3), (2, 3), n("Tanh", "x", out="t"), n("Relu", "x", out="r"), n("Sum", "x", "t", "c", "r"), c=f(0.3)), 2.0),
    "a sum with a constant row": (net((2, 3), (2, 3), n("Relu", "x", out="r"), n("Sum", "x", "c", "r"), c=np.array([1, -2, 3], f)), 1.5),
    "a mean of three": (net((2, 3), (2, 3), n("Tanh", "x", out="t"), n("Relu", "x", out="r"), n("Mean", "x", "t", "r")), 1.5),
    "a sum that broadcasts": (net((2, 3), (2, 3), n("ReduceMax", "x", "axis", out="m"), n("Sum", "x", "m"), axis=[1]), 1.5),
    "a sum of one": (net((2, 3), (2, 3), n("Sum", "x")), 0.6),
    "the first of the least": (net((4, 5), (4, 1), n("ArgMin", "x", axis=1, out="i"), n("Cast", "i", to=1)), 0.6),
    "the last of the least": (net((4, 5), (4, 1), n("ArgMin", "x", axis=1, select_last_index=1, out="i"), n("Cast", "i", to=1)), 0.6),
    "a layer plus a layer's row sums": (
        net((1, 4), (1, 1), n("Gemm", "x", "w", out="a"), n("MatMul", "x", "v", out="m"), n("ReduceSum", "m", "axis", out="s"), n("Add", "a", "s"), w=np.arange(4, dtype=f).reshape(4, 1), v=np.ones((4, 3), f), axis=[1]),
        1.5,
    ),
    "a constant part in front": (net((2, 3), (2, 4), n("Concat", "c", "x", axis=1), c=np.array([[1], [-1]], f)), 1.0),
    "a constant part between": (net((2, 3), (2, 8), n("Tanh", "x", out="t"), n("Concat", "x", "c", "t", axis=1), c=np.full((2, 2), 0.25, f)), 1.0),
    "constant rows": (net((2, 3), (4, 3), n("Concat", "x", "c", axis=0), c=np.arange(6, dtype=f).reshape(2, 3) / 6), 1.0),
    "a constant part of zeros": (net((1, 2, 2, 2), (1, 3, 2, 2), n("Concat", "x", "c", axis=1), c=np.zeros((1, 1, 2, 2), f)), 1.0),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_several_values_together(name: str) -> None:
    source, tolerance = SEVERAL[name]
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= tolerance
    assert supported(source)


def test_the_least_of_equal_cells_is_the_first_or_the_last() -> None:
    for name, wanted in (("the first of the least", 0), ("the last of the least", 4)):
        source, _ = SEVERAL[name]
        feeds = [{"x": np.ones((4, 5), f)}, *feeds_of(source)]
        ((found, _, _),) = outputs(source, built(source, feeds), feeds[0])
        assert (np.rint(found) == wanted).all()


def test_a_large_picture_padded_and_joined_with_itself() -> None:
    """More than 8192 cells whose last axis has size 1: NumPy's unravel_index is wrong there."""
    nodes = (n("Slice", "x", "s", "e", "ax", out="c"), n("Pad", "c", "p", out="q"), n("Concat", "q", "x", axis=3))
    source = net((1, 100, 120, 1), (1, 100, 120, 2), *nodes, s=[20], e=[120], ax=[2], p=[0, 0, 0, 0, 0, 0, 20, 0])
    feeds = feeds_of(source, count=2)
    assert worst_steps(source, built(source, feeds), feeds) <= 0.6


@pytest.mark.parametrize(
    "source",
    [PRODUCTS["of three"], POLYNOMIAL, GAUSSIAN, SEVERAL["a constant part between"][0], SEVERAL["the last of the least"][0]],
    ids=["product", "polynomial", "squares", "constant part", "least"],
)
def test_it_is_proven_in_both_suites(source: OnnxModel) -> None:
    prove_in_both_suites(source, feeds_of(source))


@pytest.mark.parametrize("kind", ["ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare"])
def test_a_reduction_is_proven_in_both_suites(kind: str) -> None:
    source = net((3, 4), (3, 1), n(kind, "x", "axis"), axis=[1])
    prove_in_both_suites(source, feeds_of(source))
