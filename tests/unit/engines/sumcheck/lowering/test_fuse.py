"""Normalisations and softmaxes written out in parts become one operation, and only where they are exactly that."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import Array, lowered, model, samples
from tests.unit.engines.sumcheck.lowering.test_lower import FINE, errors_in_steps
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.lowering.fuse import fuse
from verifai.engines.sumcheck.lowering.graph import DOMAIN, read_graph
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.onnx_graph.model import OnnxModel

RNG = np.random.default_rng(3)
GAIN, BIAS = (RNG.uniform(0.5, 1.5, 8).astype(np.float32) for _ in range(2))
NUMBERS = {
    "eps": np.float32(1e-2), "two": np.float32(2), "half": np.float32(0.5), "minus": np.float32(-0.5), "one": np.float32(1),
    "zero": np.float32(0), "eighth": np.float32(1 / 8), "seventh": np.float32(1 / 7), "gain": GAIN, "bias": BIAS,
}  # fmt: skip
SHAPES = {
    "last": np.array([2], np.int64), "first": np.array([1], np.int64), "row": np.array([1, 8, 1], np.int64),
    "across": np.array([1, 1, 8], np.int64),
}  # fmt: skip


def n(kind: str, *inputs: str, out: str, **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [out], name=out, **attributes)


def net(*nodes: Any, shape: tuple[int, ...] = (1, 8, 8)) -> OnnxModel:
    used = {name for node in nodes for name in node.input}
    constants: dict[str, Array] = {k: np.asarray(v) for k, v in {**NUMBERS, **SHAPES}.items() if k in used}
    return model(nodes, {"x": shape}, {"y": shape}, constants)


MEAN = [n("ReduceMean", "x", "last", out="m", keepdims=1), n("Sub", "x", "m", out="c")]
TORCH = [
    *MEAN,
    n("Pow", "c", "two", out="cc"),
    n("ReduceMean", "cc", "last", out="v", keepdims=1),
    n("Add", "v", "eps", out="ve"),
    n("Sqrt", "ve", out="s"),
]
MOMENTS = [
    n("ReduceSum", "x", "last", out="sum", keepdims=0),
    n("Mul", "x", "x", out="xx"),
    n("ReduceSum", "xx", "last", out="sums", keepdims=0),
    n("Mul", "sums", "eighth", out="q"),
    n("Mul", "eighth", "sum", out="m"),
    n("Mul", "m", "m", out="mm"),
    n("Sub", "q", "mm", out="v0"),
    n("Max", "zero", "v0", out="v"),
    n("Reshape", "v", "row", out="vr"),
    n("Add", "vr", "eps", out="ve"),
    n("Sqrt", "ve", out="s"),
    n("Reciprocal", "s", out="r"),
    n("Reshape", "m", "row", out="mr"),
    n("Sub", "x", "mr", out="c"),
]
WRITTEN_OUT: dict[str, OnnxModel] = {
    "centred squares, then a quotient": net(*TORCH, n("Div", "c", "s", out="y")),
    "with scale and bias": net(
        *TORCH, n("Div", "c", "s", out="d"), n("Mul", "d", "gain", out="g"), n("Add", "bias", "g", out="y")
    ),
    "a power of -1/2": net(*TORCH[:-1], n("Pow", "ve", "minus", out="r"), n("Mul", "c", "r", out="y")),
    "one over the root": net(*TORCH, n("Div", "one", "s", out="r"), n("Mul", "r", "c", out="y")),
    "moments, and the scale within the reciprocal": net(
        *MOMENTS, n("Mul", "r", "gain", out="rg"), n("Mul", "c", "rg", out="d"), n("Add", "d", "bias", out="y")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_a_normalisation_in_parts_is_one_operation(name: str) -> None:
    source = WRITTEN_OUT[name]
    feeds = samples(source, 12)
    made = lowered(source, feeds, FINE)
    kinds = [type(op) for op in made.circuit.ops]
    assert kinds.count(ops.Isqrt) == 1 and kinds.count(ops.Recip) == 1
    assert errors_in_steps(source, made, feeds) <= 14  # of 4096: the normalised value has 10 bits
    assert all(entry.supported for entry in operator_support(source))
    assert [node.domain for node in fuse(read_graph(source)).nodes] == [DOMAIN]


def test_a_normalisation_along_another_axis_is_the_same_transposed() -> None:
    nodes = [
        n("ReduceMean", "x", "first", out="m", keepdims=0),
        n("Reshape", "m", "across", out="mr"),
        n("Sub", "x", "mr", out="c"),
        n("Mul", "c", "c", out="cc"),
        n("ReduceMean", "cc", "first", out="v", keepdims=1),
        n("Add", "v", "eps", out="ve"),
        n("Sqrt", "ve", out="s"),
        n("Div", "c", "s", out="y"),
    ]
    source = net(*nodes)
    feeds = samples(source, 12)
    assert errors_in_steps(source, lowered(source, feeds, FINE), feeds) <= 14


def _with(nodes: list[Any], **changed: Any) -> list[Any]:
    """The nodes with some, by name of their result, replaced."""
    return [changed.get(node.output[0], node) for node in nodes]


QUOTIENT = n("Div", "c", "s", out="y")
NEARLY: dict[str, OnnxModel] = {
    "the variance is of the rows, the mean of the columns": net(
        *_with(TORCH, m=n("ReduceMean", "x", "first", out="m", keepdims=1)), QUOTIENT
    ),
    "the variance is of the columns": net(*_with(TORCH, v=n("ReduceMean", "cc", "first", out="v", keepdims=1)), QUOTIENT),
    "a square matrix's means stand beside the wrong rows": net(
        *_with(MOMENTS, mr=n("Reshape", "m", "across", out="mr")), n("Mul", "c", "r", out="y")
    ),
    "a square matrix's deviations stand beside the wrong rows": net(
        *_with(MOMENTS, vr=n("Reshape", "v", "across", out="vr")), n("Mul", "c", "r", out="y")
    ),
    "divided by n - 1": net(*_with(MOMENTS, q=n("Mul", "sums", "seventh", out="q")), n("Mul", "c", "r", out="y")),
    "the root of the variance, plus epsilon": net(
        *TORCH[:4], n("Sqrt", "v", out="s0"), n("Add", "s0", "eps", out="s"), QUOTIENT
    ),
    "a sum of squares of what is not centred": net(*_with(TORCH, cc=n("Mul", "x", "x", out="cc")), QUOTIENT),
    "a product with the deviation": net(*TORCH, n("Mul", "c", "s", out="y")),
    "added, not subtracted": net(*_with(TORCH, c=n("Add", "x", "m", out="c")), QUOTIENT),
}  # fmt: skip


@pytest.mark.parametrize("name", NEARLY)
def test_what_only_looks_like_one_is_computed_in_its_parts(name: str) -> None:
    """Taken for the normalisation that it is not, it would be off by hundreds of steps."""
    source = NEARLY[name]
    feeds = samples(source, 12)
    assert not any(node.op_type == "Normalize" for node in fuse(read_graph(source)).nodes)
    assert errors_in_steps(source, lowered(source, feeds, FINE), feeds) <= 2


def test_a_part_that_is_read_elsewhere_too_stays() -> None:
    source = model(
        [*TORCH, n("Div", "c", "s", out="y"), n("Neg", "m", out="z")],
        {"x": (1, 8, 8)},
        {"y": (1, 8, 8), "z": (1, 8, 1)},
        {name: np.asarray({**NUMBERS, **SHAPES}[name]) for name in ("two", "eps", "last")},
    )
    feeds = samples(source, 12)
    made = lowered(source, feeds, FINE)
    assert errors_in_steps(source, made, feeds) <= 14 and len(made.circuit.outputs) == 2


TOP = [n("ReduceMax", "x", "last", out="top", keepdims=1), n("Sub", "x", "top", out="d"), n("Exp", "d", out="e")]
SUM = n("ReduceSum", "e", "last", out="sum", keepdims=1)
SOFTMAXES: dict[str, OnnxModel] = {
    "from the row's maximum": net(*TOP, SUM, n("Div", "e", "sum", out="y")),
    "as it is": net(n("Exp", "x", out="e"), SUM, n("Div", "e", "sum", out="y")),
    "through reshapes": net(
        n("ReduceMax", "x", "last", out="t", keepdims=0),
        n("Reshape", "t", "row", out="top"),
        *TOP[1:],
        n("ReduceSum", "e", "last", out="s", keepdims=0),
        n("Reshape", "s", "row", out="sum"),
        n("Div", "e", "sum", out="y"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SOFTMAXES)
def test_a_softmax_in_parts_is_one_operation(name: str) -> None:
    source = SOFTMAXES[name]
    feeds = samples(source, 12)
    made = lowered(source, feeds, FINE)
    kinds = [type(op) for op in made.circuit.ops]
    assert kinds.count(ops.RowMax) == 1 and ops.WindowMax not in kinds
    assert errors_in_steps(source, made, feeds) <= 3


def test_the_maximum_of_other_rows_shifts_the_argument_only() -> None:
    """exp(x − max over columns) / its row sums is a softmax of its argument, not of x: the maximum does not cancel."""
    top = n("ReduceMax", "x", "first", out="top", keepdims=1)
    source = net(top, *TOP[1:], SUM, n("Div", "e", "sum", out="y"))
    feeds = samples(source, 12)
    made = lowered(source, feeds, FINE)
    assert ops.WindowMax in [type(op) for op in made.circuit.ops]
    assert errors_in_steps(source, made, feeds) <= 6


def test_a_sum_of_columns_makes_a_softmax_of_columns() -> None:
    source = net(*TOP, n("ReduceSum", "e", "first", out="sum", keepdims=1), n("Div", "e", "sum", out="y"))
    feeds = samples(source, 12)
    assert errors_in_steps(source, lowered(source, feeds, FINE), feeds) <= 6


@pytest.mark.parametrize(
    "nodes",
    [
        [*TOP, n("ReduceMean", "e", "last", out="sum", keepdims=1)],
        [*TOP, n("Exp", "x", out="f"), n("ReduceSum", "f", "last", out="sum", keepdims=1)],
        [*TOP, n("ReduceSum", "e", "last", out="s", keepdims=0), n("Reshape", "s", "across", out="sum")],
    ],
    ids=["a mean", "of another exponential", "beside the wrong rows"],
)
def test_a_quotient_by_another_sum_is_no_softmax(nodes: list[Any]) -> None:
    source = net(*nodes, n("Div", "e", "sum", out="y"))
    feeds = samples(source, 12)
    made = lowered(source, feeds, FINE)
    assert ops.RowMax not in [type(op) for op in made.circuit.ops]
    assert errors_in_steps(source, made, feeds) <= 2
