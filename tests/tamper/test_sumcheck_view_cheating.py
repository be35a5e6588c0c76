"""Cheating about index maps: the value that padding has, the channel that an integer chose, and a maximum over a whole axis."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.tamper.test_sumcheck_cheating import Cheat
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.lowering.lower import lower
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.quantise.ranges import calibrate
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, choose_scales
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.onnx_graph.canonicalise import canonicalise

RNG = np.random.default_rng(4)


def _cheat(nodes, shape, constants, kind=TensorProto.FLOAT):
    values = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    named = [helper.make_node(op, inputs, [out], **more) for op, inputs, out, more in nodes]
    source = helper.make_tensor_value_info("x", kind, shape)
    graph = helper.make_graph(named, "test", [source], [onnx.ValueInfoProto(name="y")], values)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    net = canonicalise(proto.SerializeToString(), where="test").model
    integers = kind != TensorProto.FLOAT
    feeds = [
        {"x": RNG.integers(0, 8, shape).astype(np.int32) if integers else RNG.uniform(-1, 1, shape).astype(np.float32)}
        for _ in range(6)
    ]
    scales = choose_scales(calibrate(net, feeds), {"x"}, {"y"}, QuantiserOptions(), {"x"} if integers else ())
    made = lower(net, scales, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})
    circuit = planned(made.circuit)
    return Cheat(circuit, made.weights, circuit_inputs(circuit, ["x"], feeds[0]))


def _padded():
    nodes = [("Pad", ["x", "p", "c"], "q", {}), ("Relu", ["q"], "y", {})]
    return _cheat(nodes, (2, 3), {"p": np.array([0, 1, 0, 1], np.int64), "c": np.float32(0.5)})


def _embedded():
    nodes = [
        ("Reshape", ["x", "s"], "c", {}),
        ("Equal", ["c", "places"], "e", {}),
        ("Cast", ["e"], "h", {"to": 1}),
        ("MatMul", ["h", "table"], "m", {}),
        ("Relu", ["m"], "y", {}),
    ]
    table = RNG.standard_normal((8, 3)).astype(np.float32)
    constants = {"s": np.array([1, 4, 1]), "places": np.arange(8, dtype=np.int32).reshape(1, 1, 8), "table": table}
    return _cheat(nodes, (1, 4), constants, TensorProto.INT32)


def _tallest():
    return _cheat([("GlobalMaxPool", ["x"], "m", {}), ("Relu", ["m"], "y", {})], (1, 3, 37), {})


@pytest.mark.parametrize("make", [_padded, _embedded, _tallest])
def test_without_a_cheat_the_verifier_is_convinced(make):
    assert make().verify()


@pytest.mark.parametrize("change", [1, -1, 40])
def test_another_padding_value_carried_through_the_table(change):
    cheat = _padded()
    view, look = cheat.op(ops.View), cheat.op(ops.Lookup)
    assert view.constant != 0 and look.x == view.out
    cells = cheat.witness.tensors[view.out]
    cell = int(np.flatnonzero(cells == view.constant)[0])
    cells[cell] += change
    cheat.witness.tensors[look.out][cell] = cheat.circuit.tables[look.table].at(int(cells[cell]))
    cheat.refused()


def test_a_padding_value_at_a_true_cell():
    cheat = _padded()
    view, look = cheat.op(ops.View), cheat.op(ops.Lookup)
    cells = cheat.witness.tensors[view.out]
    cell = int(np.flatnonzero(cells != view.constant)[0])
    cells[cell] = view.constant
    cheat.witness.tensors[look.out][cell] = cheat.circuit.tables[look.table].at(view.constant)
    cheat.refused()


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_channel_of_another_row(channel):
    """One channel's lookup returns the row of another integer; everything after it follows."""
    cheat = _embedded()
    op = cheat.op(ops.Lookup, channel)
    table = cheat.circuit.tables[op.table]
    x = int(cheat.witness.tensors[op.x].reshape(-1)[0])
    other = next(value for value in range(8) if table.at(value) != table.at(x))
    cheat.witness.tensors[op.out][0] = table.at(other)
    cheat.refused()


def test_two_channels_exchanged_in_the_view():
    cheat = _embedded()
    view = cheat.op(ops.View)
    last = next(op for op in cheat.circuit.ops if isinstance(op, ops.Lookup) and op.x == view.out)
    cells = cheat.witness.tensors[view.out].reshape(cheat.circuit.tensors[view.out].padded)
    assert (cells[..., 0, 0] != cells[..., 0, 1]).any()
    cells[..., 0, [0, 1]] = cells[..., 0, [1, 0]]
    out = cheat.witness.tensors[last.out].reshape(cheat.circuit.tensors[last.out].padded)
    table = cheat.circuit.tables[last.table]
    out[..., 0, :3] = [[table.at(int(value)) for value in row] for row in cells[..., 0, :3].reshape(-1, 3)]
    cheat.refused()


@pytest.mark.parametrize("step", [0, 1, 2])
def test_less_than_the_maximum_of_a_window_at_the_cut_end(step):
    """The last window of a step hangs over the end: its maximum is of the cells there are, none smaller and none greater."""
    for change in (-1, 1):
        cheat = _tallest()
        op = cheat.op(ops.WindowMax, step)
        cells = cheat.witness.tensors[op.out].reshape(cheat.circuit.tensors[op.out].padded)
        cells[0, 0, 0, cheat.circuit.tensors[op.out].shape[3] - 1] += change
        cheat.refused()
