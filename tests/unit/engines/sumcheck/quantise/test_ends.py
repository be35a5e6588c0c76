"""What an output is made of has its bits and its margin, so that a row a little beyond the calibration is not clamped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import feeds_of, n, net, outputs
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.lowering.lower import lower
from verifai.engines.sumcheck.quantise.ends import ends
from verifai.engines.sumcheck.quantise.ranges import calibrate
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, choose_scales
from verifai.onnx_graph.model import OnnxModel

RNG = np.random.default_rng(8)
W = RNG.normal(size=(4, 6)).astype(np.float32)
LAYER = n("MatMul", "x", "w", out="v")
TAILS: dict[str, tuple[tuple[int, ...], list[Any], dict[str, Any]]] = {
    "reshaped": ((3, 2), [n("Reshape", "v", "s")], {"s": [3, 2]}),
    "transposed": ((6, 1), [n("Transpose", "v", perm=[1, 0])], {}),
    "the largest": ((1, 1), [n("ReduceMax", "v", "axis")], {"axis": [1]}),
    "twice rearranged": ((2, 3), [n("Transpose", "v", out="t", perm=[1, 0]), n("Reshape", "t", "s")], {"s": [2, 3]}),
    "joined": ((1, 12), [n("Relu", "v", out="r"), n("Concat", "v", "r", axis=1)], {}),
    "a softmax": ((1, 6), [n("Softmax", "v", axis=1)], {}),
    "a softmax, reshaped": ((3, 2), [n("Reshape", "v", "s", out="t"), n("Softmax", "t", axis=0)], {"s": [3, 2]}),
}


def made(tail: str) -> OnnxModel:
    out, nodes, constants = TAILS[tail]
    return net((1, 4), out, LAYER, *nodes, w=W, **constants)


@pytest.mark.parametrize("tail", TAILS)
def test_a_row_beyond_the_calibration_is_not_clamped(tail: str) -> None:
    source = made(tail)
    options = QuantiserOptions(activation_bits=8, input_bits=12, output_bits=12, input_margin=0.5, output_margin=0.25)
    seen = feeds_of(source, count=30)
    found = ends(source)
    scales = choose_scales(calibrate(source, seen), {"x"}, found.cells, options, arguments=found.arguments)
    lowered = lower(source, scales, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC})
    beyond = max(seen, key=lambda feed: float(np.abs(feed["x"] @ W).max()))
    ((values, expected, step),) = outputs(source, lowered, {"x": beyond["x"] * np.float32(1.3)})
    allowed = 0.05 if "softmax" in tail else 2 * step
    assert np.abs(values - expected).max() <= allowed


def test_inner_values_are_no_ends() -> None:
    source = net(
        (1, 4), (1, 6), LAYER, n("Tanh", "v", out="h"), n("MatMul", "h", "u"), w=W, u=RNG.normal(size=(6, 6)).astype(np.float32)
    )
    assert ends(source).cells == {"y"} and not ends(source).arguments
