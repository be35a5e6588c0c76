"""One model per corner of an operator: what onnxruntime computes, the circuit computes, and its proof verifies; or it is refused.

Several of these were wrong or ended in a bare exception until a review of the lowering (docs/engine/review.md) tried them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import Array, lowered, model, samples
from tests.unit.engines.sumcheck.lowering.test_lower import FINE, errors_in_steps
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.model import OnnxModel

THREE = np.array([0.5, 2, 3], np.float32)
ONES = np.ones((3, 2, 2, 2), np.float32)
RNG = np.random.default_rng(2)


def n(kind: str, *inputs: str, out: str = "y", **attributes: Any) -> Any:
    return helper.make_node(kind, list(inputs), [out], **attributes)


def net(shape: tuple[int, ...], out: tuple[int, ...], *nodes: Any, **constants: Any) -> OnnxModel:
    arrays: Mapping[str, Array] = {k: np.asarray(v, np.int64 if isinstance(v, list) else None) for k, v in constants.items()}
    return model(nodes, {"x": shape}, {"y": out}, arrays)


RELU, CONV = n("Relu", "x", out="r"), n("Conv", "x", "w", out="c")
f = np.float32
# ruff: noqa: E501 - one case per line reads as a table
CASES: dict[str, tuple[OnnxModel, float]] = {
    "a clip whose bounds are crossed": (net((2, 3), (2, 3), n("Clip", "x", "a", "b"), a=f(0.5), b=f(-0.5)), 1.0),
    "a maximum that binds nothing": (net((2, 3), (2, 3), n("Max", "x", "c"), c=f(-1e38)), 1.0),
    "a maximum over everything, as a scalar": (net((2, 3), (), n("ReduceMax", "x", keepdims=0)), 1.0),
    "a mean of everything, as a scalar, then a function": (net((2, 3), (), n("ReduceMean", "x", out="m", keepdims=0), n("Relu", "m")), 1.0),
    "a reversed slice": (net((2, 5), (2, 3), n("Slice", "x", "s", "e", "a", "t"), s=[10], e=[-100], a=[-1], t=[-2]), 1.0),
    "a slice beyond the end": (net((2, 5), (2, 3), n("Slice", "x", "s", "e", "a"), s=[-3], e=[2**40], a=[-1]), 1.0),
    "a transposed dense layer with factors": (net((4, 3), (3, 3), n("Gemm", "x", "w", "b", transA=1, alpha=0.5, beta=2.0), w=RNG.standard_normal((4, 3)).astype(f), b=THREE), 1.5),
    "a convolution with padding at the lower end": (net((1, 1, 5, 6), (1, 1, 3, 3), n("Conv", "x", "w", auto_pad="SAME_LOWER", strides=[2, 2]), w=np.arange(9, dtype=f).reshape(1, 1, 3, 3)), 1.5),
    "a maximum whose last window is cut": (net((1, 2, 6, 6), (1, 2, 3, 3), n("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)), 1.0),
    "a dilated maximum along a line": (net((1, 2, 20), (1, 2, 8), n("MaxPool", "x", kernel_shape=[7], dilations=[2])), 1.0),
    "a global maximum of 37 cells": (net((1, 3, 37), (1, 3, 1), n("GlobalMaxPool", "x")), 1.0),
    "a global maximum of one cell": (net((1, 3, 1, 1), (1, 3, 1, 1), n("GlobalMaxPool", "x")), 1.0),
    "an average whose padding no window reads": (net((1, 2, 4, 4), (1, 2, 2, 2), n("AveragePool", "x", kernel_shape=[2, 2], strides=[2, 2], pads=[0, 0, 1, 1])), 1.0),
    "padding with a value": (net((2, 3), (2, 5), n("Pad", "x", "p", "c"), p=[0, 1, 0, 1], c=f(0.3)), 1.0),
    "padding with a value, twice": (net((2, 3), (2, 5), n("Pad", "x", "p", out="a"), n("Pad", "a", "p", "c"), p=[0, 1, 0, 0], c=f(-0.3)), 1.0),
    "batch normalisation first": (net((1, 3, 5, 6), (1, 3, 5, 6), n("BatchNormalization", "x", "s", "s", "m", "s"), s=THREE, m=THREE / 9), 1.5),
    "batch normalisation after a function": (net((1, 3, 5, 6), (1, 3, 5, 6), RELU, n("BatchNormalization", "r", "s", "s", "m", "s"), s=THREE, m=THREE / 9), 1.5),
    "scale and shift of the last axis": (net((2, 5, 3), (2, 5, 3), RELU, n("Mul", "r", "g", out="a"), n("Add", "a", "g"), g=THREE), 1.5),
    "a constant per middle place, minus a value": (net((2, 3, 5), (2, 3, 5), RELU, n("Sub", "g", "r"), g=THREE.reshape(3, 1)), 1.5),
    "a quotient per middle place": (net((2, 3, 5), (2, 3, 5), RELU, n("Div", "r", "g"), g=THREE.reshape(3, 1)), 2.0),
    "a positional embedding": (net((1, 4, 6), (1, 4, 6), RELU, n("Add", "r", "g"), g=RNG.standard_normal((4, 6)).astype(f)), 1.5),
    "a mask": (net((2, 3), (2, 3), RELU, n("Mul", "r", "g"), g=np.array([[1, 0, 1]], f)), 1.5),
    "a constant that widens the value": (net((1, 3), (2, 3), n("Add", "x", "g"), g=np.arange(6, dtype=f).reshape(2, 3)), 1.5),
    "a constant that lengthens the value": (net((3, 1), (3, 3), n("Mul", "x", "g"), g=THREE), 1.5),
    "a constant of first and last axis": (net((2, 3, 2), (2, 3, 2), n("Mul", "x", "g"), g=np.arange(1, 5, dtype=f).reshape(2, 1, 2)), 1.5),
    "a constant per column of a picture": (net((1, 2, 4, 4), (1, 3, 3, 3), CONV, n("Add", "c", "g"), w=ONES, g=THREE), 1.5),
    "a constant per channel of a reshaped convolution": (net((1, 2, 4, 4), (3, 9), CONV, n("Reshape", "c", "s", out="d"), n("Add", "d", "g"), w=ONES, s=[3, 9], g=THREE.reshape(3, 1)), 1.5),
    "the least of two values and a number": (net((2, 3), (2, 3), RELU, n("Min", "x", "r", "c"), c=f(0.2)), 2.0),
    "the largest of a value and its row's mean": (net((4, 3), (4, 3), n("ReduceMean", "x", "a", out="m"), n("Max", "x", "m"), a=[1]), 1.5),
    "the largest of five": (net((2, 3), (2, 3), *(n("Mul", "x", name, out=f"x{name}") for name in "abcde"), n("Max", "xa", "xb", "xc", "xd", "xe"), a=f(0.1), b=f(-0.7), c=f(0.5), d=f(0.9), e=f(-1)), 1.5),
    "the least of two values of 3 by 4": (net((3, 4), (3, 4), RELU, n("Min", "x", "r")), 1.5),
    "joined parts of 3 by 4, then a mean": (net((3, 4), (2, 1), n("Reshape", "x", "s", out="a"), RELU, n("Reshape", "r", "s", out="b"), n("Concat", "a", "b", out="c", axis=0), n("ReduceMean", "c", "ax"), s=[1, 12], ax=[1]), 1.5),
    "the last of the largest": (net((5, 6), (5,), n("ArgMax", "x", axis=1, keepdims=0, select_last_index=1)), 0.0),
    "a slope per channel": (net((1, 3, 4, 4), (1, 3, 4, 4), n("PRelu", "x", "s"), s=THREE.reshape(3, 1, 1)), 2.0),
    "a vector times a vector": (net((4,), (), RELU, n("MatMul", "x", "r")), 1.5),
    "a vector times a matrix": (net((4,), (3,), n("MatMul", "x", "w"), w=RNG.standard_normal((4, 3)).astype(f)), 1.5),
    "normalisation over two axes": (net((2, 3, 4), (2, 3, 4), n("LayerNormalization", "x", "g", axis=1), g=np.ones((3, 4), f)), 14.0),
    "a convolution over merged axes": (net((1, 2, 4, 4), (1, 3, 14), n("Reshape", "x", "s", out="a"), n("Conv", "a", "w"), s=[1, 2, 16], w=np.ones((3, 2, 3), f)), 1.5),
    "a mean over merged axes": (net((2, 3, 4, 4), (6, 1), n("Reshape", "x", "s", out="a"), n("ReduceMean", "a", "ax"), s=[6, 16], ax=[1]), 1.5),
    "a maximum over merged axes": (net((2, 4, 4), (1, 2, 14), n("Reshape", "x", "s", out="a"), n("MaxPool", "a", kernel_shape=[3]), s=[1, 2, 16]), 1.0),
    "a softmax over merged axes": (net((2, 4, 4), (2, 16), n("Reshape", "x", "s", out="a"), n("Softmax", "a"), s=[2, 16]), 3.5),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_corner_is_what_onnxruntime_computes_and_is_proven(name: str) -> None:
    source, tolerance = CASES[name]
    feeds = samples(source, 8)
    made = lowered(source, feeds, FINE)
    assert errors_in_steps(source, made, feeds) <= tolerance
    assert all(entry.supported for entry in operator_support(source))
    circuit = planned(made.circuit)
    key = prepare(circuit, made.weights)
    proven = prove(key, run(circuit, made.weights, circuit_inputs(circuit, ["x"], feeds[0])))
    data = encode(circuit)
    trusted = trust_circuit(data, circuit_digest(data))
    verify(trusted, trust_weights(trusted, key.identity, made.blob), proven.statement, proven.proof)


REFUSED: dict[str, tuple[OnnxModel, str]] = {
    "a maximum whose constant adds axes": (net((2, 3), (1, 2, 3), n("Max", "x", "c", out="a"), n("Softmax", "a", axis=1), c=np.full((1, 1, 1), 0.1, f)), "more axes"),
    "a power whose exponent adds axes": (net((3,), (1, 3), n("Pow", "x", "c", out="a"), n("Softmax", "a", axis=0), c=np.full((1, 1), 2, f)), "more axes"),
    "a gather outside": (net((2, 3), (2, 2), n("Gather", "x", "i", axis=1), i=[0, 5]), "outside"),
    "seven axes": (net((2, 3, 4), (2, 3, 1, 2, 2, 1, 1), n("Reshape", "x", "s", out="a"), n("Relu", "a"), s=[2, 3, 1, 2, 2, 1, 1]), "6 axes"),
    # Bounds this large were skipped once, whatever their sign.
    "a clip far above every value": (net((2, 3), (2, 3), n("Clip", "x", "c"), c=f(1e31)), "too large"),
    "a clip far below every value": (net((2, 3), (2, 3), n("Clip", "x", "", "c"), c=f(-1e31)), "too large"),
    "values too small for a scale": (net((2, 3), (2, 3), n("Mul", "x", "c"), c=f(1e-30)), "too small"),
    "a maximum of two values and a constant row": (net((2, 3), (2, 3), RELU, n("Max", "x", "r", "c"), c=THREE), "one number"),
    "negative padding": (net((2, 3), (2, 3), n("Pad", "x", "p"), p=[0, -1, 0, 1]), "not negative"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_rule_is_refused_by_check_and_compile_alike(name: str) -> None:
    source, word = REFUSED[name]
    with pytest.raises(UnsupportedModel) as caught:
        lowered(source, samples(source, 4), FINE)
    assert caught.value.code in ("operator-unsupported", "reference-failed", "circuit-bound")
    if caught.value.code == "circuit-bound":  # known only once data was seen
        assert word in caught.value.message
        return
    problems = [entry.reason for entry in operator_support(source) if not entry.supported]
    assert any(word in reason for reason in problems), problems
