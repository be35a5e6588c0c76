"""Dynamic quantisation, stored tables, ranks of roots, results that nothing reads: rewritten, and what they were."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.lowering_runs import FINE, built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from tests.support.onnx_builders import canonical, model, node, weights
from verifai.domain.circuit_spec import parse_spec
from verifai.domain.progress import SILENT
from verifai.engines.sumcheck.building import options_of, suite_of
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.lowering.dynamic import rewritten
from verifai.engines.sumcheck.lowering.graph import read_graph
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.tuning import Tuner
from verifai.errors import PolicyNotMet
from verifai.onnx_graph.model import OnnxModel

F = np.float32
WIDE = QuantiserOptions(activation_bits=12, input_bits=16, output_bits=12, input_margin=0.0)


def _spread(source: OnnxModel, feeds: Any, options: QuantiserOptions = FINE) -> float:
    """The largest error, in standard deviations of the output."""
    made = built(source, feeds, options)
    pairs = [(found, expected) for feed in feeds for found, expected, _ in outputs(source, made, feed)]
    found, expected = (np.stack(side).astype(np.float64) for side in zip(*pairs, strict=True))
    return float(np.abs(found - expected).max() / expected.std())


# A condition on a value that is chosen itself

CHOICES = {
    "above or a tenth": [n("Greater", "x", "t", out="c"), n("Mul", "x", "f", out="m"), n("Where", "c", "x", "m")],
    "below or the square": [n("LessOrEqual", "x", "t", out="c"), n("Mul", "x", "x", out="m"), n("Where", "c", "x", "m")],
    "between": [
        n("Greater", "x", "t", out="a"), n("Less", "x", "u", out="b"), n("And", "a", "b", out="c"), n("Where", "c", "x", "f"),
    ],
    "outside": [
        n("Less", "x", "t", out="a"), n("Greater", "x", "u", out="b"), n("Or", "a", "b", out="c"), n("Cast", "c", to=1),
    ],
    "one side only": [
        n("Less", "x", "t", out="a"), n("Less", "x", "u", out="b"), n("Xor", "a", "b", out="c"), n("Cast", "c", to=1),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("options", [FINE, WIDE], ids=["12 bits", "16 bits"])
@pytest.mark.parametrize("offset", [0.0, 0.25, -2.0])
def test_a_condition_on_a_value_leaves_the_value_its_range(name: str, options: QuantiserOptions, offset: float) -> None:
    """The condition's own scale is as narrow as its threshold needs; a value under it was cut off there."""
    source = net((1, 12), (1, 12), *CHOICES[name], t=F(offset), u=F(offset + 1), f=F(0.1))
    feeds = feeds_of(source, low=-4, high=4, count=40)
    assert supported(source)
    assert worst_steps(source, built(source, feeds, options), feeds) <= 3
    if offset == 0.25 and options is WIDE:
        prove_in_both_suites(source, feeds, options)


# What nothing reads


@pytest.mark.parametrize("reads", ["the places", "the values", "both"])
def test_every_place_of_a_row_is_ranked(reads: str) -> None:
    """TopK of a whole row, of which the last one-hot row is read by nothing where only places are wanted."""
    values = [n("Identity", "v", out="y")] if reads != "the places" else [n("Cast", "i", out="y", to=1)]
    both = [n("Cast", "i", out="j", to=1), n("Add", "v", "j", out="y")]
    top = helper.make_node("TopK", ["x", "k"], ["v", "i"], name="top")
    source = net((1, 5), (1, 5), top, *(both if reads == "both" else values), k=[5])
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 1
    prove_in_both_suites(source, feeds)


@pytest.mark.parametrize("kind", ["GRU", "LSTM", "RNN"])
def test_a_recurrent_layer_of_which_only_the_end_is_read(kind: str) -> None:
    gates = {"GRU": 3, "LSTM": 4, "RNN": 1}[kind]
    operands = ["x", "w", "r"]
    arrays = {"w": weights(2, gates * 4, 3, seed=1), "r": weights(2, gates * 4, 4, seed=2)}
    layer = node(kind, operands, ["", "h"], hidden_size=4, direction="bidirectional")
    source = canonical(model([layer], arrays, inputs={"x": (2, 1, 3)}, outputs=["h"])).model
    feeds = feeds_of(source)
    made = built(source, feeds)
    read = {operand for op in made.circuit.ops for operand in ops.operands(op)} | {p.tensor for p in made.circuit.outputs}
    assert read >= {result for op in made.circuit.ops for result in ops.results(op) if not isinstance(op, ops.RowMax)}
    assert _spread(source, feeds) < 0.05
    if kind == "GRU":
        prove_in_both_suites(source, feeds)


# Dynamic quantisation


def _float_network(kind: str) -> onnx.ModelProto:
    if kind == "convolution":
        nodes = [
            node("Conv", ["x", "c", "cb"], ["a"], pads=[1, 1, 1, 1]), node("Relu", ["a"], ["b"]),
            node("Flatten", ["b"], ["d"]), node("Gemm", ["d", "g", "gb"]),
        ]  # fmt: skip
        arrays = {"c": weights(4, 2, 3, 3), "cb": weights(4), "g": weights(100, 3, seed=3), "gb": weights(3)}
        return model(nodes, arrays, inputs={"x": (1, 2, 5, 5)})
    nodes = [
        node("MatMul", ["x", "m"], ["a"], name="one"),
        node("Add", ["a", "mb"], ["b"]),
        node("Tanh", ["b"], ["d"]),
        node("MatMul", ["d", "k"], name="two"),
    ]
    return model(nodes, {"m": weights(6, 8), "mb": weights(8), "k": weights(8, 3, seed=2)}, inputs={"x": (2, 6)})


def _dynamic(kind: str, tmp_path: Path, **options: Any) -> OnnxModel:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    onnx.save(_float_network(kind), str(tmp_path / "float.onnx"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_dynamic(tmp_path / "float.onnx", tmp_path / "int8.onnx", weight_type=QuantType.QInt8, **options)
    return canonical(onnx.load(str(tmp_path / "int8.onnx"))).model


@pytest.mark.parametrize("kind", ["convolution", "products"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic_quantisation_is_within_its_own_rounding(kind: str, per_channel: bool, tmp_path: Path) -> None:
    source = _dynamic(kind, tmp_path, per_channel=per_channel)
    assert any(one.op_type == "DynamicQuantizeLinear" for one in source.proto.graph.node)
    assert supported(source)
    feeds = feeds_of(source, count=30)
    assert _spread(source, feeds) < 0.1
    if not per_channel:
        prove_in_both_suites(source, feeds)


def test_where_the_model_s_own_rounding_is_in_the_way_the_recipe_is_told(tmp_path: Path) -> None:
    source = _dynamic("products", tmp_path)
    (given,), (made,) = source.inputs, source.outputs
    document = {
        "circuit": {"name": "c", "model": "m.onnx", "engine": "sumcheck", "task": "regression"},
        "tensors": {given.name: "public", made.name: "public"},
        "fidelity": {"spread_error": 1e-5},
    }
    asked = parse_spec(document, "circuit.toml")
    with pytest.raises(PolicyNotMet, match="spreads") as refused:
        Tuner(source, asked, feeds_of(source, count=30), options_of(asked), frozenset(), suite_of(asked), SILENT).run()
    assert "quantize_static" in refused.value.hint and "spread_error = " in refused.value.hint


def _broken(source: OnnxModel, change: Any) -> OnnxModel:
    proto = onnx.ModelProto.FromString(source.data)
    change(proto)
    from dataclasses import replace

    return replace(source, data=proto.SerializeToString())


def test_what_only_resembles_dynamic_quantisation_is_left_alone(tmp_path: Path) -> None:
    """Another zero point, or another factor than the quantiser's own scale, is another function."""
    source = _dynamic("products", tmp_path)

    def other_zero(proto: onnx.ModelProto) -> None:
        proto.graph.initializer.append(numpy_helper.from_array(np.array(3, np.uint8), "zero"))
        for one in proto.graph.node:
            if one.op_type == "MatMulInteger":
                one.input[2] = "zero"

    def other_scale(proto: onnx.ModelProto) -> None:
        proto.graph.initializer.append(numpy_helper.from_array(np.array(0.5, F), "half"))
        for one in proto.graph.node:
            scales = {name: "half" for name in one.input if name.endswith("_scale") and one.op_type == "Mul"}
            one.input[:] = [scales.get(name, name) for name in one.input]

    for change in (other_zero, other_scale):
        changed = _broken(source, change)
        graph = rewritten(read_graph(changed))
        assert any(one.op_type == "MatMulInteger" for one in graph.nodes)
        assert not all(entry.supported for entry in operator_support(changed))


def test_rows_of_a_stored_table_are_numbers(tmp_path: Path) -> None:
    del tmp_path
    table = np.arange(-60, 60, dtype=np.int8).reshape(20, 6)
    nodes = [
        node("Gather", ["t", "x"], ["q"]),
        node("DequantizeLinear", ["q", "s", "z"], ["e"]),
        node("ReduceMean", ["e"], axes=[1]),
    ]
    arrays = {"t": table, "s": np.array(0.25, F), "z": np.array(3, np.int8)}
    built_model = model(nodes, arrays, outputs=["y"], opset=17)
    del built_model.graph.input[:]
    built_model.graph.input.append(helper.make_tensor_value_info("x", TensorProto.INT64, [1, 4]))
    source = canonical(built_model).model
    feeds = [{"x": np.random.default_rng(number).integers(0, 20, (1, 4))} for number in range(10)]
    made = built(source, feeds)
    assert worst_steps(source, made, feeds) <= 1


# Ranks of roots


@pytest.mark.parametrize("kind", ["ArgMax", "ArgMin"])
def test_ranks_of_roots_are_those_of_what_is_under_them(kind: str) -> None:
    nodes = [
        n("Mul", "x", "x", out="q"),
        n("Relu", "q", out="p"),
        n("Sqrt", "p", out="s"),
        n("Transpose", "s", out="u", perm=[1, 0]),
    ]
    last = [n(kind, "u", out="a", axis=0, keepdims=0), n("Cast", "a", to=1)]
    source = net((1, 7), (1,), *nodes, *last)
    graph = rewritten(read_graph(source))
    assert not any(one.op_type == "Sqrt" for one in graph.nodes)
    feeds = feeds_of(source, count=20)
    assert worst_steps(source, built(source, feeds), feeds) == 0


def test_a_root_that_is_read_stays() -> None:
    nodes = [
        n("Mul", "x", "x", out="q"),
        n("Sqrt", "q", out="s"),
        n("ArgMax", "s", out="a", axis=1),
        n("Cast", "a", out="b", to=1),
    ]
    source = net((1, 7), (1, 7), *nodes, n("Add", "s", "b"))
    assert any(one.op_type == "Sqrt" for one in rewritten(read_graph(source)).nodes)


# Magnitudes and numbers of rows


@pytest.mark.parametrize("power", [False, True])
def test_a_small_magnitude_beside_large_ones_keeps_its_steps(power: bool) -> None:
    """As in the spectrum of a quiet moment: rounded before its root, a sum near 0 would be off by many steps of the root."""
    squares = [n("Pow", "a", "two", out="p"), n("Pow", "b", "two", out="q")]
    products = [n("Mul", "a", "a", out="p"), n("Mul", "b", "b", out="q")]
    parts = [
        n("Slice", "x", "from0", "to", "axis", out="a"),
        n("Slice", "x", "to", "end", "axis", out="b"),
        *(squares if power else products),
        n("Add", "p", "q", out="s"),
        n("Sqrt", "s"),
    ]
    source = net((1, 12), (1, 6), *parts, from0=[0], to=[6], end=[12], axis=[1], two=F(2))
    random = np.random.default_rng(0)
    feeds = [{"x": (random.standard_normal((1, 12)) * 10.0 ** random.integers(-3, 1)).astype(F)} for _ in range(40)]
    assert worst_steps(source, built(source, feeds), feeds) <= 2
    if power:
        prove_in_both_suites(source, feeds)


@pytest.mark.parametrize("count", [5, 4])
def test_rows_by_numbers_that_are_brought_above_0(count: int) -> None:
    """As Keras writes an embedding of a table of 5 rows; with another count it is another function."""
    nodes = [
        node("Cast", ["x"], ["i"], to=TensorProto.INT64), node("Less", ["i", "zero"], ["below"]),
        node("Add", ["i", "n"], ["moved"]), node("Where", ["below", "moved", "i"], ["row"]), node("Gather", ["t", "row"]),
    ]  # fmt: skip
    arrays = {"zero": np.array(0), "n": np.array(count), "t": weights(5, 3)}
    source = canonical(model(nodes, arrays, inputs={"x": (1, 4)})).model
    kept = any(one.op_type == "Where" for one in rewritten(read_graph(source)).nodes)
    assert kept == (count != 5)
    if count == 5:
        assert supported(source)
