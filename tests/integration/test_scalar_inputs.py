"""What voice detectors do with their sampling rate: it is a single number, and is multiplied by 0. From the file to a proof."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.onnx_builders import model, node, weights
from verifai.cli.app import run

FLOAT, INT64 = 1, 7


def _through(source: onnx.ModelProto, samples: dict[str, np.ndarray]) -> None:
    """Every verb in the current folder."""
    Path("source.onnx").write_bytes(source.SerializeToString())
    np.savez("data.npz", **samples)
    assert run(["export", "source.onnx", "-o", "m.onnx", "--inputs", "data.npz"]) == 0
    given = ["--engine", "sumcheck", "--task", "regression", "--calibration", "data.npz", "--yes"]
    assert run(["init", "m.onnx", "-o", "c", *given]) == 0
    assert run(["compile", "c"]) == 0
    assert run(["prove", "c", "data.npz", "-o", "evidence", "--limit", "1"]) == 0
    assert run(["verify", "evidence", "--lock", "c"]) == 0


def _x(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, (120, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "cast"), [(FLOAT, []), (INT64, [node("Cast", ["t"], ["f"], to=FLOAT)])], ids=["float", "integer"]
)
def test_a_single_number_is_an_input_like_any_other(
    kind: int, cast: list[onnx.NodeProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    nodes = [node("MatMul", ["x", "w"], ["h"]), *cast, node("Mul", ["h", "f" if cast else "t"])]
    source = model(nodes, {"w": weights(4, 3)}, inputs={"x": (1, 4), "t": ()})
    source.graph.input[1].type.tensor_type.elem_type = kind
    numbers = np.random.default_rng(0).integers(1, 5, 120).astype(np.int64 if kind == INT64 else np.float32)
    _through(source, {"x": _x(1, 4), "t": numbers})


def test_zero_times_an_input_is_zero_and_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    nodes = [
        node("MatMul", ["x", "w"], ["h"]),
        node("Mul", ["t", "zero"], ["o"]),
        node("Sub", ["t", "t"], ["d"]),
        node("Add", ["h", "o"], ["e"]),
        node("Add", ["e", "d"]),  # of the same name as the node before, which means nothing
    ]
    source = model(nodes, {"w": weights(4, 3), "zero": np.float32(0)}, inputs={"x": (1, 4), "t": (1, 3)})
    _through(source, {"x": _x(1, 4), "t": _x(1, 3)})
