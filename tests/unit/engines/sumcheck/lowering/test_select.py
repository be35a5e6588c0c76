"""Integers that choose rows of constants: comparisons, casts, one-hot products; and what stored integers may go through."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.sumcheck_models import Array, scales_for
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Visibility, WeightVisibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.quantise.ranges import calibrate
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Range, choose_scales, integer_scale
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import InputRejected, UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

RNG = np.random.default_rng(7)
TABLE = RNG.standard_normal((5, 6)).astype(np.float32)
CONSTANTS: dict[str, Array] = {
    "column": np.array([1, 4, 1], np.int64),
    "places": np.arange(5, dtype=np.int32).reshape(1, 1, 5),
    "table": TABLE,
    "bias": RNG.standard_normal((1, 1, 6)).astype(np.float32),
    "three": np.array(3, np.int32),
}


def n(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [out], name=out, **attributes)


def net(
    nodes: list[Any], out: tuple[int, ...], *, kind: int = TensorProto.INT32, constants: dict[str, Array] | None = None
) -> OnnxModel:
    named = {**CONSTANTS, **(constants or {})}
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(array, name) for name, array in named.items() if name in used],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(proto.SerializeToString(), where="test").model


ONE_HOT = [n("Reshape", "x", "column", out="c"), n("Equal", "c", "places", out="e"), n("Cast", "e", out="h", to=1)]
EMBEDDING = [*ONE_HOT, n("MatMul", "h", "table", out="m"), n("Add", "m", "bias", out="b"), n("Tanh", "b")]
FEEDS = [{"x": np.array([[i % 5, (i * i) % 5, 0, 4]], np.int32)} for i in range(6)]


def made_of(source: OnnxModel, weights: WeightVisibility = WeightVisibility.PUBLIC) -> Lowered:
    ranges = calibrate(source, FEEDS)
    scales = choose_scales(ranges, {"x"}, {"y"}, QuantiserOptions(output_bits=12, activation_bits=12), {"x"})
    return lower(source, scales, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC}, weights=weights)


def worst(source: OnnxModel, made: Lowered) -> float:
    """The largest difference to onnxruntime, in steps of the output."""
    out = made.circuit.tensors[made.circuit.outputs[0].tensor]
    found = 0.0
    for feed in FEEDS:
        cells = run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], feed)).outputs()[0]
        expected = Reference(source).run(feed)["y"]
        found = max(found, float(np.abs(cells.reshape(expected.shape) * out.scale[0] / out.scale[1] - expected).max()))
    return found * out.scale[1] / out.scale[0]


def test_an_embedding_is_one_lookup_per_cell_and_channel() -> None:
    source = net(EMBEDDING, (1, 4, 6))
    made = made_of(source)
    kinds = [type(op) for op in made.circuit.ops]
    # One per channel; and one for the output, which is a held tensor of its own.
    assert kinds.count(ops.Lookup) == 6 + 1 and ops.MatMul not in kinds and not made.weights
    assert worst(source, made) <= 0.5001  # the tables' own rounding: product, bias and function are in them
    assert all(entry.supported for entry in operator_support(source))


def test_committed_weights_stay_out_of_the_tables() -> None:
    source = net(EMBEDDING, (1, 4, 6))
    made = made_of(source, WeightVisibility.COMMITTED)
    chosen = {op.table for op in made.circuit.ops if isinstance(op, ops.Lookup)}
    assert len(made.weights) == 2 and len(chosen) == 5
    # Nothing and one, whatever integers stand for them: no table holds a row of the embedding.
    held = [set(made.circuit.tables[number].values) for number in chosen]
    assert all(len(values) == 2 and 0 in values for values in held)
    other = made_of(net(EMBEDDING, (1, 4, 6), constants={"table": TABLE[::-1].copy()}), WeightVisibility.COMMITTED)
    assert [t.values for t in other.circuit.tables[:5]] == [t.values for t in made.circuit.tables[:5]]
    assert worst(source, made) <= 3


def test_a_committed_scale_per_place_stays_out_of_the_tables_too() -> None:
    scaled = [*ONE_HOT, n("Mul", "h", "scale")]
    source = net(scaled, (1, 4, 5), constants={"scale": np.array([0.3, 0.7, 1.1, 1.9, 2.3], np.float32)})
    public, committed = made_of(source), made_of(source, WeightVisibility.COMMITTED)
    assert not public.weights and committed.weights
    assert worst(source, public) <= 0.5001 and worst(source, committed) <= 2
    chosen = [op.table for op in committed.circuit.ops if isinstance(op, ops.Lookup)][:5]
    values = {tuple(sorted(set(committed.circuit.tables[number].values))) for number in chosen}
    assert len(values) == 1 and len(values.pop()) == 2  # nothing and one, five times the same


@pytest.mark.parametrize("weights", list(WeightVisibility)[:2])
def test_the_proof_of_an_embedding_verifies(weights: WeightVisibility) -> None:
    made = made_of(net(EMBEDDING, (1, 4, 6)), weights)
    circuit = planned(made.circuit)
    key = prepare(circuit, made.weights)
    proven = prove(key, run(circuit, made.weights, circuit_inputs(circuit, ["x"], FEEDS[3])))
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    verify(trusted, trust_weights(trusted, key.identity, made.blob), proven.statement, proven.proof)


POSITIONS = [
    n("Equal", "x", "three", out="e"), n("Not", "e", out="k"), n("Cast", "k", out="m", to=TensorProto.INT32),
    n("CumSum", "m", "axis", out="c"), n("Mul", "c", "m", out="d"), n("Add", "d", "one", out="p"),
    n("Gather", "rows", "p", axis=0),
]  # fmt: skip
"""Places of words that are no padding, counted from 2, as RoBERTa does; of padding, 1."""


@pytest.mark.parametrize("weights", list(WeightVisibility)[:2])
def test_computed_places_may_choose_from_a_table_that_holds_all_they_can_be(weights: WeightVisibility) -> None:
    """They are 5 at most; the range that they have as a tensor is a power of two, and reaches beyond the table."""
    numbers: dict[str, Array] = {"axis": np.array(1), "one": np.array(1, np.int32)}
    rows = RNG.standard_normal((6, 3)).astype(np.float32)
    source = net(POSITIONS, (1, 4, 3), constants={**numbers, "rows": rows})
    assert all(entry.supported for entry in operator_support(source))
    made = made_of(source, weights)
    assert worst(source, made) <= 3
    short = net(POSITIONS, (1, 4, 3), constants={**numbers, "rows": rows[:5]})
    with pytest.raises(UnsupportedModel, match="outside the 5 rows"):
        lower(short, made.scales, tensors=dict.fromkeys("xy", Visibility.PUBLIC))


def test_integers_are_taken_as_they_are_within_the_range_of_their_bits() -> None:
    assert integer_scale(Range(0.0, 4.0)) == integer_scale(Range(3.0, 7.0))
    scale = integer_scale(Range(-3.0, 4.0))
    assert (scale.step, scale.low, scale.high) == (1, -8, 7)
    assert (integer_scale(Range(0.0, 256.0)).low, integer_scale(Range(0.0, 256.0)).high) == (0, 511)
    made = made_of(net(EMBEDDING, (1, 4, 6)))
    x = made.circuit.tensors[made.circuit.inputs[0].tensor]
    assert (x.scale, x.low, x.high) == ((1, 1), 0, 7)
    with pytest.raises(InputRejected) as caught:
        circuit_inputs(made.circuit, ["x"], {"x": np.array([[0, 8, 0, 0]], np.int32)})
    assert caught.value.code == "input-out-of-range"


def test_a_value_that_equals_no_constant_chooses_no_row() -> None:
    """5, 6 and 7 are in the input's range: their one-hot row is all zeros, as onnxruntime has it."""
    source = net([*ONE_HOT, n("MatMul", "h", "table")], (1, 4, 6))
    made = made_of(source)
    feed = {"x": np.array([[5, 6, 7, 1]], np.int32)}
    cells = run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], feed)).outputs()[0].reshape(4, 6)
    assert not cells[:3].any() and cells[3].any() and not Reference(source).run(feed)["y"][0, :3].any()


def test_a_comparison_with_one_number_and_a_cast_to_float() -> None:
    equal = net([n("Equal", "x", "three", out="e"), n("Cast", "e", to=1)], (1, 4))
    assert worst(equal, made_of(equal)) <= 0.5001
    cast = net([n("Cast", "x", out="f", to=1), n("Neg", "f")], (1, 4))
    assert worst(cast, made_of(cast)) <= 0.5001
    real = net(
        [n("Cast", "x", out="f", to=1), n("Equal", "f", "r", out="e"), n("Cast", "e", to=1)],
        (1, 4),
        constants={"r": np.array(3.0, np.float32)},
    )
    assert worst(real, made_of(real)) <= 0.5001
    wider = net([n("Cast", "x", out="w", to=7), n("Cast", "w", to=1)], (1, 4))
    assert worst(wider, made_of(wider)) <= 0.5001


REFUSED: dict[str, tuple[list[Any], str]] = {
    "a cast that may wrap": ([n("Cast", "x", out="b", to=3), n("Cast", "b", to=1)], ""),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_integers_may_not_go_through_is_refused(name: str) -> None:
    nodes, word = REFUSED[name]
    source = net(nodes, (1, 4), constants={"r": np.array(3.0, np.float32)})
    feeds = FEEDS if name != "a cast that may wrap" else [{"x": np.array([[0, 300, 1, 2]], np.int32)}]
    ranges = calibrate(source, feeds)
    scales = choose_scales(ranges, {"x"}, {"y"}, QuantiserOptions(), {"x"})
    with pytest.raises(UnsupportedModel) as caught:
        lower(source, scales, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})
    assert caught.value.code == "operator-unsupported" and word in caught.value.message


def test_an_integer_input_under_a_real_scale_is_refused() -> None:
    source = net(EMBEDDING, (1, 4, 6))
    scales = choose_scales(calibrate(source, FEEDS), {"x"}, {"y"}, QuantiserOptions())
    with pytest.raises(UnsupportedModel) as caught:
        lower(source, scales, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})
    assert caught.value.code == "no-scale" and caught.value.where == "x"


# --- operators between QuantizeLinear and DequantizeLinear ------------------------------------------------------------------


def stored(between: list[Any], out: tuple[int, ...] = (1, 4), *, more: tuple[str, ...] = ()) -> OnnxModel:
    """x → uint8 → ``between`` → float, with zero point 7."""
    constants = {
        "s": np.array(0.05, np.float32), "z": np.array(7, np.uint8), "z2": np.array(9, np.uint8),
        "pads": np.array([0, 1, 0, 0], np.int64), "nought": np.array(0, np.uint8),
    }  # fmt: skip
    nodes = [
        n("QuantizeLinear", "x", "s", "z", out="q"),
        n("QuantizeLinear", "x", "s", "z2", out="p"),
        *between,
        n("DequantizeLinear", "t", "s", "z"),
    ]
    graph = helper.make_graph(
        [node for node in nodes if node.output[0] != "p" or "p" in more],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(proto)
    return canonicalise(proto.SerializeToString(), where="test").model


STORED: dict[str, OnnxModel] = {
    # Each of these would, by the rule for reals, compute with the real 0 where ONNX has the stored 0, or mix zero points.
    "padding with the stored 0": stored([n("Pad", "q", "pads", "nought", out="t")], (1, 5)),
    "two zero points in one tensor": stored([n("Concat", "q", "p", out="t", axis=1)], (1, 8), more=("p",)),
    "clipping at stored bounds": stored([n("Clip", "q", "", "z2", out="t")]),
}


@pytest.mark.parametrize("name", STORED)
def test_stored_integers_go_through_nothing_that_means_something_else_there(name: str) -> None:
    source = STORED[name]
    feeds = [{"x": np.linspace(-1, 1, 4, dtype=np.float32).reshape(1, 4)}]
    with pytest.raises(UnsupportedModel) as caught:
        lower(source, scales_for(source, feeds), tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})
    assert caught.value.code == "operator-unsupported"
    assert not all(entry.supported for entry in operator_support(source))


def test_moving_stored_integers_and_their_maxima_stays() -> None:
    source = stored([n("Concat", "q", "q", out="c", axis=1), n("Transpose", "c", out="t")], (8, 1))
    feeds = [{"x": np.linspace(-0.3, 1, 4, dtype=np.float32).reshape(1, 4)}]
    made = lower(source, scales_for(source, feeds), tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})
    out = made.circuit.tensors[made.circuit.outputs[0].tensor]
    cells = run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], feeds[0])).outputs()[0]
    expected = Reference(source).run(feeds[0])["y"]
    assert np.abs(cells.reshape(8, 1) * out.scale[0] / out.scale[1] - expected).max() <= 0.05 * 0.51 + 0.005


# --- rows of a constant table ------------------------------------------------------------------------------------------------


def test_an_embedding_by_gather_is_rows_of_tables() -> None:
    source = net([n("Gather", "table", "x", out="g"), n("Add", "g", "bias")], (1, 4, 6))
    made = made_of(source)
    assert worst(source, made) <= 0.5001 and not made.weights
    assert {type(op) for op in made.circuit.ops} == {ops.Lookup, ops.View}
    assert all(entry.supported for entry in operator_support(source))


def test_a_hidden_table_is_multiplied_with_one_hot_rows() -> None:
    source = net([n("Gather", "table", "x")], (1, 4, 6))
    made = made_of(source, WeightVisibility.COMMITTED)
    assert worst(source, made) <= 1 and len(made.weights) == 1
    rows = {tuple(table.values) for table in made.circuit.tables}
    assert all(set(row) <= {0, 1} or row == tuple(sorted(row)) for row in rows), "no table holds a weight"


def test_a_row_beyond_the_table_is_refused_and_a_negative_one_counts_from_its_end() -> None:
    """As onnxruntime does. Calibration leaves room up to a power of two, of which no number beyond the table is taken."""
    source = net([n("Gather", "table", "x")], (1, 4, 6))
    feeds = [{"x": np.array([[-1, 0, 4, 2]], np.int32)}, *FEEDS]
    scales = choose_scales(calibrate(source, feeds), {"x"}, {"y"}, QuantiserOptions(output_bits=12), {"x"})
    made = lower(source, scales, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})
    assert (scales["x"].low, scales["x"].high) == (-8, 7)
    x = np.array([[-1, -5, 4, 0]], np.int32)
    cells = run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], {"x": x})).outputs()[0].reshape(4, 6)
    step = made.circuit.tensors[made.circuit.outputs[0].tensor].scale
    assert np.abs(cells * step[0] / step[1] - TABLE[[4, 0, 4, 0]]).max() <= step[0] / step[1]
    for number in (5, 7, -6):
        with pytest.raises(InputRejected, match="takes"):
            circuit_inputs(made.circuit, ["x"], {"x": np.array([[number, 0, 0, 0]], np.int32)})


def test_a_computed_number_that_may_be_no_row_is_refused() -> None:
    """The first of seven places may be beyond a table of five rows."""
    graph = helper.make_graph(
        [n("ArgMax", "x", out="i", axis=1, keepdims=0), n("Gather", "table", "i")], "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 7))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (3, 6))],
        [numpy_helper.from_array(TABLE, "table")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    source = canonicalise(proto.SerializeToString(), where="test").model
    assert [entry.supported for entry in operator_support(source)] == [True, False]
    with pytest.raises(UnsupportedModel, match="outside the 5 rows"):
        lower(
            source,
            scales_for(source, [{"x": np.eye(3, 7, dtype=np.float32)}]),
            tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC},
        )


def test_labels_are_chosen_by_the_place_of_the_largest() -> None:
    """ArgMax, then Gather from integer labels."""
    graph = helper.make_graph(
        [n("ArgMax", "x", out="i", axis=1, keepdims=0), n("Gather", "labels", "i")], "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (3, 4))],
        [helper.make_tensor_value_info("y", TensorProto.INT64, (3,))],
        [numpy_helper.from_array(np.array([7, -2, 40, 1]), "labels")],
    )  # fmt: skip
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    source = canonicalise(proto.SerializeToString(), where="test").model
    feed = {"x": np.eye(3, 4, k=1, dtype=np.float32)}
    made = lower(source, scales_for(source, [feed]), tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})
    cells = run(made.circuit, made.weights, circuit_inputs(made.circuit, ["x"], feed)).outputs()[0]
    assert cells.reshape(-1).tolist() == [-2, 40, 1] and made.circuit.tensors[made.circuit.outputs[0].tensor].scale == (1, 1)
    assert all(entry.supported for entry in operator_support(source))
