"""Rows of computed values that computed numbers choose, as the last token of a text is: with numbers from the end, too."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from onnx import TensorProto

from tests.support.lowering_runs import built, feeds_of, n, supported, worst_steps
from tests.support.onnx_builders import model
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel

SHAPE = (3, 4, 2)


def chosen(*nodes: object, **constants: object) -> OnnxModel:
    """A Tanh of x, of which ``nodes`` choose: by i, the place of each row's largest number in another of its parts."""
    arrays: Mapping[str, np.ndarray] = {key: np.asarray(value, np.int64) for key, value in constants.items()}
    parts = [n("Tanh", "x", out="t"), n("ReduceSum", "x", "all", out="r", keepdims=0), n("ArgMax", "r", out="i", keepdims=0)]
    source = model([*parts, *nodes], {**arrays, "all": np.array([0, 2])}, inputs={"x": SHAPE}, input_type=TensorProto.FLOAT)
    return canonicalise(source.SerializeToString(), where="m").model


CASES = {
    "along the middle axis": lambda: chosen(n("Gather", "t", "i", axis=1)),
    "several, along the last but one": lambda: chosen(
        n("Unsqueeze", "i", "one", out="u"), n("Concat", "u", "one", "u", out="j", axis=0), n("Gather", "t", "j", axis=1),
        one=[0],
    ),
    "from the end": lambda: chosen(n("Sub", "i", "four", out="j"), n("Gather", "t", "j", axis=1), four=4),
    "a row by two places, of a batch of one": lambda: chosen(
        n("Slice", "t", "one", "two", out="b"), n("Unsqueeze", "i", "one", out="u"), n("Concat", "one", "u", out="j", axis=0),
        n("GatherND", "b", "j"), one=[0], two=[1],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_rows_are_those_of_onnxruntime(name: str) -> None:
    source = CASES[name]()
    feeds = feeds_of(source, count=8)
    assert supported(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 2


def test_numbers_that_may_lie_beyond_are_refused_with_their_bounds() -> None:
    source = chosen(n("Add", "i", "two", out="j"), n("Gather", "t", "j", axis=1), two=2)
    feeds = feeds_of(source, count=2)
    for feed in feeds:
        feed["x"][:, 0] += 5  # onnxruntime runs these
    with pytest.raises(UnsupportedModel, match="an index may lie from 2 to 5, outside the 4 places of axis 1"):
        built(source, feeds)
