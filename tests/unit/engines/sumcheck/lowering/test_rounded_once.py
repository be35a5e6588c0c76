"""What a quantised model makes stored integers of is rounded to these at once, as the model does: a transformer's too."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.support.lowering_runs import built, feeds_of, n, net, outputs, prove_in_both_suites
from verifai.domain.record import Record
from verifai.engines.sumcheck.lowering.graph import read_graph
from verifai.engines.sumcheck.lowering.quantised import own_scales, stored_results
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, parse_options
from verifai.errors import UsageError
from verifai.onnx_graph.graph import Node
from verifai.onnx_graph.model import OnnxModel

ROWS, WIDTH = 4, 8
ONCE = QuantiserOptions(activation_bits=8, input_bits=8, output_bits=12, rounds_once=True)
f = np.float32


def pair(name: str, number: str) -> list[Node]:
    """QuantizeLinear and DequantizeLinear of a value, as ``name``q."""
    return [
        n("QuantizeLinear", name, f"s{number}", f"z{number}", out=f"{name}_stored"),
        n("DequantizeLinear", f"{name}_stored", f"s{number}", f"z{number}", out=f"{name}q"),
    ]


@cache
def block() -> OnnxModel:
    """Attention of a row with itself, a sum and a normalisation, every value in eight bits; the input is moved first."""
    random = np.random.default_rng(1)
    nodes = [
        n("Transpose", "x", out="turned", perm=[1, 0]), n("Transpose", "turned", out="t", perm=[1, 0]), *pair("t", "1"),
        n("MatMul", "tq", "w", out="a"), *pair("a", "2"),
        n("Transpose", "aq", out="k", perm=[1, 0]), n("MatMul", "aq", "k", out="b"), *pair("b", "3"),
        n("Softmax", "bq", out="p", axis=-1), *pair("p", "4"),
        n("MatMul", "pq", "tq", out="m"), *pair("m", "1"),
        n("Add", "mq", "tq", out="r"), *pair("r", "5"),
        n("LayerNormalization", "rq", "g", "h", out="l", axis=-1, epsilon=1e-12), *pair("l", "6"),
        n("MatMul", "lq", "w", out="o"), n("QuantizeLinear", "o", "s2", "z2", out="o_stored"),
        n("DequantizeLinear", "o_stored", "s2", "z2"),
    ]  # fmt: skip
    steps = {"1": 0.008, "2": 0.02, "3": 0.1, "4": 1 / 255, "5": 0.014, "6": 0.025}
    constants = {f"s{key}": np.array(step, f) for key, step in steps.items()}
    constants |= {f"z{key}": np.array(0 if key == "4" else 128 if key == "2" else 127, np.uint8) for key in steps}
    constants["w"] = (random.standard_normal((WIDTH, WIDTH)) / 4).astype(f)
    constants["g"], constants["h"] = random.uniform(0.5, 1.5, WIDTH).astype(f), random.uniform(-0.5, 0.5, WIDTH).astype(f)
    return net((ROWS, WIDTH), (ROWS, WIDTH), *nodes, **constants)


def share_equal(options: QuantiserOptions) -> float:
    """The share of output cells whose stored integer is onnxruntime's."""
    feeds = feeds_of(block(), count=20)
    made = built(block(), feeds, options)
    pairs = [(found, expected) for feed in feeds for found, expected, _ in outputs(block(), made, feed)]
    return float(np.mean([np.abs(found - expected) < 0.01 for found, expected in pairs]))


def test_a_transformer_in_eight_bits_gives_the_integers_of_onnxruntime() -> None:
    assert share_equal(ONCE) >= 0.97
    assert share_equal(replace(ONCE, rounds_once=False)) < 0.8  # which circuits pinned before keep


def test_it_is_proven_in_both_suites() -> None:
    prove_in_both_suites(block(), feeds_of(block(), count=4), ONCE)


def test_which_values_have_the_scale_of_stored_integers() -> None:
    stored = stored_results(read_graph(block()))
    assert {"x", "turned", "t", "a", "b", "p", "m", "r", "l", "o"} == set(stored)
    assert own_scales(read_graph(block())) == frozenset(stored)
    assert (stored["p"].low, stored["p"].high, stored["x"].low, stored["x"].high) == (0, 255, -127, 128)


@pytest.mark.parametrize("other", ["read by something else", "of two scales", "moved to an output"])
def test_any_other_value_keeps_the_scale_that_calibration_gave_it(other: str) -> None:
    extra = {
        "read by something else": [n("Sigmoid", "v", out="u"), n("Add", "vq", "u")],
        "of two scales": [
            n("QuantizeLinear", "v", "s2", "z1", out="i"), n("DequantizeLinear", "i", "s2", "z1", out="u"), n("Add", "vq", "u"),
        ],
        "moved to an output": [n("Flatten", "v", axis=1), n("Add", "vq", "vq", out="u")],
    }[other]  # fmt: skip
    nodes = [n("Relu", "x", out="v"), *pair("v", "1"), *extra]
    source = net((2, 4), (2, 4), *nodes, s1=np.array(0.01, f), s2=np.array(0.02, f), z1=np.array(0, np.uint8))
    assert "v" not in stored_results(read_graph(source))


def test_locks_without_the_field_are_lowered_as_before() -> None:
    def parsed(written: dict[str, object]) -> QuantiserOptions:
        return parse_options(Record(written, "lock", error=UsageError, code="bad-lock"), pinned=True)

    written = ONCE.to_document()
    assert parsed(dict(written)).rounds_once
    del written["rounds_once"]
    assert not parsed(written).rounds_once
    assert "rounds_once" not in replace(ONCE, rounds_once=False).to_document()
