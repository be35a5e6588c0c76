"""Loops with a known number of steps are written out, and compute what onnxruntime's loop computes; others are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import InferenceSession

from verifai.errors import UnsupportedModel
from verifai.onnx_graph import limits
from verifai.onnx_graph.canonicalise import canonicalise

FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def _value(name: str, kind: int = FLOAT, shape: Any = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _constants(**arrays: Any) -> list[onnx.TensorProto]:
    return [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]


def _model(graph: onnx.GraphProto, opset: int = 18) -> onnx.ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _same_as_onnxruntime(source: onnx.ModelProto) -> list[str]:
    """Compare all outputs on random inputs; returns the operators of the canonical model."""
    random = np.random.default_rng(0)
    feeds = {
        value.name: random.standard_normal([dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(np.float32)
        for value in source.graph.input
    }
    wanted = InferenceSession(source.SerializeToString()).run(None, feeds)
    model = canonicalise(source.SerializeToString(), where="test.onnx").model
    found = InferenceSession(model.data).run(None, feeds)
    for left, right in zip(found, wanted, strict=True):
        assert left.shape == right.shape and np.allclose(left, right, atol=1e-5)
    return [node.op_type for node in model.proto.graph.node]


def scan(opset: int = 18, scanned: tuple[int, ...] = (3, 4), **attributes: Any) -> onnx.ModelProto:
    """A running sum, and each of its steps times a constant of the body."""
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "x"], ["t"]), helper.make_node("Mul", ["t", "w"], ["y"])],
        "body",
        [_value("s", shape=[4]), _value("x", shape=[4])],
        [_value("t", shape=[4]), _value("y", shape=[4])],
        _constants(w=np.array([1, 2, 3, 4], np.float32)),
    )
    node = helper.make_node("Scan", ["z", "X"], ["last", "all"], body=body, num_scan_inputs=1, **attributes)
    graph = helper.make_graph(
        [node], "g", [_value("z", shape=[4]), _value("X", shape=list(scanned))], [_value("last"), _value("all")]
    )
    return _model(graph, opset)


@pytest.mark.parametrize("opset", [9, 11, 13, 18, 21])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"scan_input_directions": [1]},
        {"scan_output_directions": [1], "scan_output_axes": [1]},
        {"scan_input_axes": [1], "scan_output_axes": [-1], "scanned": (4, 3)},
    ],
)
def test_a_scan(opset: int, attributes: dict[str, Any]) -> None:
    if opset < 11 and attributes.get("scan_output_axes") == [-1]:
        attributes = {**attributes, "scan_output_axes": [1]}  # negative axes came with opset 11
    assert "Scan" not in _same_as_onnxruntime(scan(opset, **attributes))


def loop(
    trips: int | None, going: bool | None, *, ends_after: int | None = None, nodes: list[Any] | None = None
) -> onnx.ModelProto:
    """Carries a row, adds the number of the step, and yields the row of each step."""
    inner = [
        helper.make_node("Cast", ["i"], ["number"], to=FLOAT),
        helper.make_node("Add", ["a", "number"], ["more"]),
        helper.make_node("Mul", ["more", "W"], ["b"]),
        helper.make_node("Identity", ["b"], ["row"]),
        *(nodes or []),
    ]
    if ends_after is not None:
        inner.append(helper.make_node("Less", ["i", "end"], ["on"]))
    elif not nodes:
        inner.append(helper.make_node("Identity", ["go"], ["on"]))
    body = helper.make_graph(
        inner,
        "body",
        [_value("i", INT64, []), _value("go", BOOL, []), _value("a", shape=[3])],
        [_value("on", BOOL, []), _value("b", shape=[3]), _value("row", shape=[3])],
        _constants(end=np.int64(ends_after or 0)),
    )
    names = ["M" if trips is not None else "", "G" if going is not None else "", "x"]
    graph = helper.make_graph(
        [helper.make_node("Loop", names, ["y", "rows"], body=body)],
        "g",
        [_value("x", shape=[3])],
        [_value("y"), _value("rows")],
        _constants(M=np.int64(trips or 0), G=np.bool_(going or False), W=np.array([0.5, 2, 1], np.float32)),
    )
    return _model(graph)


@pytest.mark.parametrize(
    ("trips", "going", "ends_after"), [(5, True, None), (5, None, None), (5, True, 2), (5, None, 1), (None, True, 3)]
)
def test_a_loop(trips: int | None, going: bool | None, ends_after: int | None) -> None:
    assert "Loop" not in _same_as_onnxruntime(loop(trips, going, ends_after=ends_after))


def test_a_loop_in_a_loop_that_reads_the_outer_one() -> None:
    inner = helper.make_graph(
        [helper.make_node("Add", ["c", "a"], ["d"]), helper.make_node("Identity", ["go2"], ["on2"])],
        "inner",
        [_value("j", INT64, []), _value("go2", BOOL, []), _value("c", shape=[3])],
        [_value("on2", BOOL, []), _value("d", shape=[3])],
    )
    body = helper.make_graph(
        [helper.make_node("Loop", ["two", "", "a"], ["b"], body=inner), helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [_value("i", INT64, []), _value("go", BOOL, []), _value("a", shape=[3])],
        [_value("on", BOOL, []), _value("b", shape=[3])],
    )
    outer = helper.make_node("Loop", ["three", "", "x"], ["y"], body=body)
    constants = _constants(two=np.int64(2), three=np.int64(3))
    assert (
        _same_as_onnxruntime(_model(helper.make_graph([outer], "g", [_value("x", shape=[3])], [_value("y")], constants)))
        == ["Add"] * 6
    )


def distances(reduction: list[Any], points: Any, *, swapped: bool = False, cells: tuple[int, int] = (2, 5)) -> onnx.ModelProto:
    """As skl2onnx writes the distances of rows to points."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["rows"], ["same"]),
            helper.make_node("Sub", ["rows", "point"][:: -1 if swapped else 1], ["gap"]),
            *reduction,
            helper.make_node("Identity", ["found"], ["out"]),
        ],
        "body",
        [_value("rows", shape=list(cells)), _value("point", shape=[cells[1]])],
        [_value("same", shape=list(cells)), _value("out", shape=[cells[0]])],
        _constants(axis=np.array([1]), three=np.float32(3)),
    )
    node = helper.make_node("Scan", ["X", "P"], ["rest", "D"], body=body, num_scan_inputs=1)
    graph = helper.make_graph([node], "g", [_value("X", shape=list(cells))], [_value("D")], _constants(P=points))
    return _model(graph)


SQUARES = [helper.make_node("ReduceSumSquare", ["gap", "axis"], ["found"], keepdims=0)]
SIZES = [helper.make_node("Abs", ["gap"], ["size"])]
REDUCTIONS = {
    "squared euclidean": SQUARES,
    "euclidean": [helper.make_node("ReduceL2", ["gap", "axis"], ["found"], keepdims=0)],
    "manhattan": [*SIZES, helper.make_node("ReduceSum", ["size", "axis"], ["found"], keepdims=0)],
    "chebyshev": [*SIZES, helper.make_node("ReduceMax", ["size", "axis"], ["found"], keepdims=0)],
    "of the third power": [
        *SIZES,
        helper.make_node("Pow", ["size", "three"], ["cube"]),
        helper.make_node("ReduceSum", ["cube", "axis"], ["found"], keepdims=0),
    ],
    "of signed gaps": [helper.make_node("ReduceSum", ["gap", "axis"], ["found"], keepdims=0)],
}


@pytest.mark.parametrize("kind", REDUCTIONS)
@pytest.mark.parametrize("swapped", [False, True])
def test_distances_of_all_rows_at_once(kind: str, swapped: bool) -> None:
    points = np.random.default_rng(1).standard_normal((7, 5)).astype(np.float32) + 3
    found = _same_as_onnxruntime(distances(REDUCTIONS[kind], points, swapped=swapped))
    assert len(found) < 12 or kind == "of signed gaps", "one step per point is many nodes"


def test_the_data_must_not_decide_how_often_a_loop_runs() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["b"], ["sum"], keepdims=0),
        helper.make_node("Cast", ["sum"], ["on"], to=BOOL),
    ]
    with pytest.raises(UnsupportedModel, match="goes on depends on the data") as caught:
        canonicalise(loop(5, True, nodes=nodes).SerializeToString(), where="test.onnx")
    assert caught.value.code == "model-control-flow"


def test_too_many_steps_are_refused_before_they_are_written() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(loop(2**62, True).SerializeToString(), where="test.onnx")
    assert caught.value.code in ("model-too-large", "model-size-bomb")
    assert limits.MAX_UNROLLED < 2**15
