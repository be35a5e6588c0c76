"""Layer normalisation with an epsilon that is nothing beside the operand's scale, as BERT has it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.lowering_runs import built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from verifai.onnx_graph.model import OnnxModel

f = np.float32


def model(width: int, reach: float) -> OnnxModel:
    """Rows around 0 with cells up to ``reach``."""
    gain = np.ones(width, f)
    nodes = (n("Mul", "x", "k", out="s"), n("LayerNormalization", "s", "g", axis=-1, epsilon=1e-12))
    return net((3, width), (3, width), *nodes, k=f(reach), g=gain)


@pytest.mark.parametrize(("width", "reach"), [(24, 1.0), (24, 0.01), (384, 1.0), (384, 30.0)])
def test_it_is_as_precise_as_with_any_other_epsilon(width: int, reach: float) -> None:
    source = model(width, reach)
    feeds = feeds_of(source, low=-1, high=1)
    assert supported(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 8


def test_a_constant_row_is_0() -> None:
    source = model(24, 1.0)
    made = built(source, feeds_of(source, low=-1, high=1))
    ((found, _, step),) = outputs(source, made, {"x": np.full((3, 24), 0.5, f)})
    assert np.abs(found).max() <= step


def test_it_is_proven_in_both_suites() -> None:
    source = model(24, 1.0)
    prove_in_both_suites(source, feeds_of(source, low=-1, high=1))
