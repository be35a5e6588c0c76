"""What language models are lowered to so that less is looked up: the integers stay near, and locks without it are as before."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import Array, model, samples, scales_for
from verifai.domain.record import Record
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.engines.sumcheck.lowering.unrounded import cheapest_shift
from verifai.engines.sumcheck.protocol import buses
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, parse_options
from verifai.errors import InputRejected, UsageError
from verifai.onnx_graph.model import OnnxModel

OPTIONS = QuantiserOptions(activation_bits=12, input_bits=12, output_bits=12)
ROWS, WIDE, HEAD, INNER = 64, 1536, 32, 1024

SHAPES = {
    **dict.fromkeys("qkv", (WIDE, HEAD)),
    **dict.fromkeys(("gate", "up"), (HEAD, INNER)),
    "down": (INNER, 5),
}


@cache
def net() -> OnnxModel:
    """Attention over rotated rows with a causal mask, and a gated layer: a block of a language model without its stream."""
    random = np.random.default_rng(0)
    constants: dict[str, Array] = {name: random.uniform(-1, 1, shape).astype(np.float32) / 4 for name, shape in SHAPES.items()}
    angles = np.arange(ROWS)[:, None] / 50.0 ** (np.arange(HEAD // 2) / HEAD)[None, :]
    constants["cos"], constants["sin"] = (np.tile(f(angles), (1, 2)).astype(np.float32) for f in (np.cos, np.sin))
    constants["mask"] = np.where(np.triu(np.ones((ROWS, ROWS)), 1), -1e9, 0.0).astype(np.float32)
    constants["share"] = np.array(HEAD**-0.5, np.float32)
    for name, number in (("start", 0), ("half", HEAD // 2), ("end", HEAD), ("last", -1)):
        constants[name] = np.array([number], np.int64)
    nodes = [helper.make_node("MatMul", ["x", name], [f"{name}s"]) for name in "qkv"]
    for name in "qk":
        nodes += [
            helper.make_node("Slice", [f"{name}s", "start", "half", "last"], [f"{name}.low"]),
            helper.make_node("Slice", [f"{name}s", "half", "end", "last"], [f"{name}.high"]),
            helper.make_node("Neg", [f"{name}.high"], [f"{name}.negative"]),
            helper.make_node("Concat", [f"{name}.negative", f"{name}.low"], [f"{name}.crossed"], axis=-1),
            helper.make_node("Mul", [f"{name}s", "cos"], [f"{name}.straight"]),
            helper.make_node("Mul", [f"{name}.crossed", "sin"], [f"{name}.across"]),
            helper.make_node("Add", [f"{name}.straight", f"{name}.across"], [f"{name}.rotated"]),
        ]
    nodes += [
        helper.make_node("Transpose", ["k.rotated"], ["k.turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["q.rotated", "k.turned"], ["products"]),
        helper.make_node("Mul", ["products", "share"], ["scores"]),
        helper.make_node("Add", ["scores", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "vs"], ["mixed"]),
        helper.make_node("MatMul", ["mixed", "gate"], ["g"]),
        helper.make_node("Sigmoid", ["g"], ["s"]),
        helper.make_node("Mul", ["g", "s"], ["swish"]),
        helper.make_node("MatMul", ["mixed", "up"], ["u"]),
        helper.make_node("Mul", ["swish", "u"], ["gated"]),
        helper.make_node("MatMul", ["gated", "down"], ["y"]),
    ]
    return model(nodes, {"x": (ROWS, WIDE)}, {"y": (ROWS, 5)}, constants)


@cache
def lowered(sparing: bool) -> Lowered:
    public = dict.fromkeys(("x", "y"), Visibility.PUBLIC)
    scales = scales_for(net(), samples(net()), OPTIONS)
    return lower(net(), scales, tensors=public, split=True, unclamped=True, sparing=sparing)


def lookups(made: Lowered) -> int:
    circuit = made.circuit
    return sum(storage.cells for number in range(len(circuit.ops)) for _, storage in buses.lookups_of(circuit, number))


def made_by(made: Lowered, name: str) -> ops.Op:
    return next(op for op in made.circuit.ops if any(made.circuit.tensors[tensor].name == name for tensor in ops.results(op)))


def test_far_fewer_cells_are_looked_up() -> None:
    assert lookups(lowered(True)) < 0.75 * lookups(lowered(False))


def test_nothing_is_looked_up_to_turn_its_sign_or_to_join_it() -> None:
    named = {lowered(True).circuit.tensors[op.out].name for op in lowered(True).circuit.ops if isinstance(op, ops.Lookup)}
    assert named == {"swish"}
    before = {lowered(False).circuit.tensors[op.out].name for op in lowered(False).circuit.ops if isinstance(op, ops.Lookup)}
    assert {"q.negative", "k.negative"} & before


def test_queries_keys_and_the_gate_are_rounded_without_a_split() -> None:
    for name in ("qs", "ks", "swish.argument"):
        found = made_by(lowered(True), name)
        assert isinstance(found, ops.Rescale) and len(found.limbs) == len(found.digits) == 1
    assert not any(isinstance(op, ops.Requant) and op.saturate for op in lowered(True).circuit.ops[:-1])


def test_results_are_as_near_to_the_float_model() -> None:
    spec = lowered(True).circuit.tensors[lowered(True).circuit.inputs[0].tensor]
    assert spec == lowered(False).circuit.tensors[lowered(False).circuit.inputs[0].tensor]
    random = np.random.default_rng(3)
    usual = random.integers(spec.low // 2, spec.high // 2, spec.shape)
    few, many = (run(lowered(flag).circuit, lowered(flag).weights, [usual]).outputs()[0] for flag in (True, False))
    assert np.abs(few - many).max() <= 0.03 * np.abs(many).max()


def test_a_gate_far_beyond_what_was_seen_is_refused() -> None:
    circuit = lowered(True).circuit
    spec = circuit.tensors[circuit.inputs[0].tensor]
    direction = np.sign(np.random.default_rng(0).uniform(-1, 1, (WIDE, HEAD)).astype(np.float32)[:, 0])
    with pytest.raises(InputRejected) as caught:
        run(circuit, lowered(True).weights, [np.broadcast_to(np.where(direction > 0, spec.high, spec.low), spec.shape)])
    assert caught.value.code == "input-out-of-range" and caught.value.where in (
        "qs",
        "ks",
        "vs",
        "scores",
        "swish.argument",
        "u",
    )


def test_scores_on_a_finer_grid_reach_as_far_as_calibration_saw() -> None:
    """They had 15 bits there too: the model refused what it was calibrated with."""
    scales = scales_for(net(), samples(net()), OPTIONS)
    usual = scales["scores"]
    finer = replace(usual, exponent=usual.exponent - 8, low=usual.low << 8, high=usual.high << 8)
    public = dict.fromkeys(("x", "y"), Visibility.PUBLIC)
    made = lower(net(), scales | {"scores": finer}, tensors=public, split=True, unclamped=True, sparing=True)
    spec = made.circuit.tensors[made.circuit.inputs[0].tensor]
    step = float(scales["x"].step)
    cells = np.clip(np.round(samples(net())[0]["x"].astype(np.float64) / step), spec.low, spec.high).astype(np.int64)
    (few,), (many,) = (run(one.circuit, one.weights, [cells.reshape(spec.shape)]).outputs() for one in (made, lowered(False)))
    assert np.abs(few - many).max() <= 0.03 * np.abs(many).max()


def test_locks_without_the_option_are_lowered_as_before() -> None:
    def parsed(options: QuantiserOptions) -> QuantiserOptions:
        record = Record(options.to_document(), "lock", error=UsageError, code="bad-lock")
        return parse_options(record, pinned=True)

    assert "sparing" not in OPTIONS.to_document()
    assert not parsed(OPTIONS).sparing and parsed(replace(OPTIONS, sparing=True)).sparing


@pytest.mark.parametrize(
    ("total", "usual", "most", "wanted"), [(36, 20, 20, 20), (37, 20, 21, 21), (30, 16, 16, 16), (49, 32, 33, 32)]
)
def test_limbs_and_digits_are_weighed_together(total: int, usual: int, most: int, wanted: int) -> None:
    """36 bits: 20 and 16 take three lookups, as 16 and 20 do. 37: 20 and 17 take four, 21 and 16 three."""
    assert cheapest_shift(lambda shift: total - shift, usual, most) == wanted


@pytest.mark.parametrize("rows", [64, 256])
def test_a_causal_mask_of_many_positions_has_a_piece_per_row(rows: int) -> None:
    """More than 64 were a Gather, which no suite proves: so 64 positions were the most, whatever soundness allows."""
    random = np.random.default_rng(1)
    constants: dict[str, Array] = {name: random.uniform(-1, 1, (8, 4)).astype(np.float32) for name in "qkv"}
    constants["mask"] = np.where(np.triu(np.ones((rows, rows)), 1), -1e9, 0.0).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", name], [f"{name}s"]) for name in "qkv"]
    nodes += [
        helper.make_node("Transpose", ["ks"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["qs", "turned"], ["scores"]),
        helper.make_node("Add", ["scores", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["weights"], axis=-1),
        helper.make_node("MatMul", ["weights", "vs"], ["y"]),
    ]
    attention = model(nodes, {"x": (rows, 8)}, {"y": (rows, 4)}, constants)
    scales = scales_for(attention, samples(attention), OPTIONS)
    public = dict.fromkeys(("x", "y"), Visibility.PUBLIC)
    made = lower(attention, scales, tensors=public, split=True, unclamped=True, sparing=True)
    assert not any(isinstance(op, ops.Gather) for op in made.circuit.ops)
    masks = [op for op in made.circuit.ops if isinstance(op, ops.View) and op.constant]
    assert [len(op.pieces) for op in masks] == [rows]
    assert all(one.supported for one in operator_support(attention))  # which knows no task
