"""Inputs that are single numbers, as voice detectors take their sampling rate: from the file to a verified proof."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.onnx_builders import model, node, weights
from verifai.cli.app import run

FLOAT, INT64 = 1, 7


@pytest.mark.parametrize(("kind", "cast"), [(FLOAT, []), (INT64, [node("Cast", ["t"], ["f"], to=FLOAT)])], ids=["float", "integer"])
def test_a_single_number_is_an_input_like_any_other(
    kind: int, cast: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    factor = "f" if cast else "t"
    source = model(
        [node("MatMul", ["x", "w"], ["h"]), *cast, node("Mul", ["h", factor])],  # type: ignore[list-item]
        {"w": weights(4, 3)},
        inputs={"x": (1, 4), "t": ()},
    )
    source.graph.input[1].type.tensor_type.elem_type = kind
    Path("source.onnx").write_bytes(source.SerializeToString())
    rng = np.random.default_rng(0)
    numbers = rng.integers(1, 5, 120).astype(np.int64 if kind == INT64 else np.float32)
    np.savez("data.npz", x=rng.uniform(-1, 1, (120, 1, 4)).astype(np.float32), t=numbers)
    assert run(["export", "source.onnx", "-o", "m.onnx", "--inputs", "data.npz"]) == 0
    assert run(["init", "m.onnx", "-o", "c", "--engine", "sumcheck", "--task", "regression", "--calibration", "data.npz", "--yes"]) == 0
    assert run(["compile", "c"]) == 0
    assert run(["prove", "c", "data.npz", "-o", "evidence", "--limit", "2"]) == 0
    assert run(["verify", "evidence", "--lock", "c"]) == 0
