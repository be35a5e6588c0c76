"""Integers and reals that are put together from computed and constant parts; masks and rows that few boxes cover."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from tests.support.lowering_runs import built, feeds_of, n, net, supported, worst_steps
from tests.support.onnx_builders import model
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.lowering.values import ZERO_CELL
from verifai.engines.sumcheck.lowering.views import _by_blocks, _by_patterns
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel

f = np.float32
ROWS = np.random.default_rng(0).uniform(-1, 1, (12, 3)).astype(f)


def whole(source: OnnxModel) -> list[dict[str, np.ndarray]]:
    """Whole numbers of 0 to 9 for every input of integers."""
    random = np.random.default_rng(1)
    return [{spec.name: random.integers(0, 10, spec.shape) for spec in source.inputs} for _ in range(6)]


def tokens(*nodes: object, **constants: object) -> OnnxModel:
    """Numbers of rows, put together by ``nodes`` as t, that choose from a table: an index beyond its 12 rows is refused."""
    arrays = {name: np.asarray(value, np.int64 if isinstance(value, list) else None) for name, value in constants.items()}
    made = [*nodes, n("Gather", "table", "t")]
    source = model(made, {**arrays, "table": ROWS}, inputs={"x": (1, 4)}, input_type=TensorProto.INT64)
    return canonicalise(source.SerializeToString(), where="m").model


PUT = {
    "a constant in front": lambda: tokens(n("Concat", "first", "x", out="t", axis=1), first=[[11]]),
    "the start of what is shifted": lambda: tokens(
        n("Slice", "x", "from", "to", "one", out="u"), n("ScatterElements", "zeros", "places", "u", out="s", axis=1),
        n("ScatterElements", "s", "place", "start", out="t", axis=1),
        **{"from": [0], "to": [3], "one": [1]}, zeros=[[0] * 4], places=[[1, 2, 3]], place=[[0]], start=[[10]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUT)
def test_integers_with_constant_parts_are_exact(name: str) -> None:
    source = PUT[name]()
    feeds = whole(source)
    assert supported(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 1


def test_reals_in_places_of_constants() -> None:
    constants = {"c": np.arange(1, 9, dtype=f).reshape(2, 4), "i": np.array([[1, 3], [0, 2]])}
    source = net((2, 2), (2, 4), n("ScatterElements", "c", "i", "x", axis=1), **constants)
    feeds = feeds_of(source)
    assert supported(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 2


def window_mask(windows: int) -> np.ndarray:
    """The mask of shifted windows of windows·windows windows of 4 by 4 cells, as Swin has it."""
    region = np.zeros((4 * windows, 4 * windows), int)
    for number, part in enumerate((slice(None, -4), slice(-4, -2), slice(-2, None))):
        region[part] += 3 * number
        region[:, part] += number
    cells = region.reshape(windows, 4, windows, 4).transpose(0, 2, 1, 3).reshape(-1, 16)
    return cells[:, :, None] == cells[:, None, :]


def test_a_mask_of_shifted_windows_is_few_boxes() -> None:
    kept = np.broadcast_to(window_mask(4)[:, None], (16, 2, 16, 16))
    index = np.where(kept, np.arange(kept.size).reshape(kept.shape), ZERO_CELL)
    pieces = _by_patterns(index, kept.shape, 0)
    assert 1 < len(pieces) <= 9
    assert not _by_patterns(np.arange(8).reshape(2, 4), (2, 4), 0), "nothing is left out, so there are no patterns"


def test_scores_by_distance_are_a_row_each() -> None:
    heads, count = 2, 38
    rows, columns = np.indices((count, count))
    source = (heads, 2 * count - 1, count)
    per_head = (count - 1 - rows + columns) * count + rows
    index = np.stack([per_head + head * source[1] * count for head in range(heads)]).reshape(heads, -1)
    assert len(_by_blocks(index, source, 0)) == heads * count


def test_windows_that_are_shifted_are_proven_operations_of_a_suite() -> None:
    """Without the boxes this was a Gather, which no suite has."""
    mask = np.where(window_mask(4)[:, None], 0, -100).astype(f)
    nodes = (n("Add", "x", "m", out="s"), n("Softmax", "s", axis=-1))
    source = net((16, 2, 16, 16), (16, 2, 16, 16), *nodes, m=mask)
    assert supported(source)
    made = built(source, feeds_of(source, count=3))
    assert not any(isinstance(op, ops.Gather) for op in made.circuit.ops)
