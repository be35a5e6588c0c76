"""Outputs that come from elsewhere: a file for every kind, and no tensor that is not voted on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verifai.consensus.files import read_outputs
from verifai.domain.consensus.job import OutputKind
from verifai.errors import InputRejected
from verifai.fingerprints.registry import fingerprint_for

ITEMS: dict[OutputKind, Any] = {
    OutputKind.EXACT: {"label": [3]},
    OutputKind.LOGITS: {"logits": [[0.5, 0.25, 2.0]]},
    OutputKind.EMBEDDINGS: {"vector": [0.5, 0.25], "other": [1.0]},
    OutputKind.TOKENS: [5, 6, 7],
    OutputKind.TEXT: "some words that were said",
    OutputKind.IMAGE: {"image": [[0, 255], [17, 3]]},
    OutputKind.TABULAR: {"label": [3], "score": [0.5], "flag": [True]},
    OutputKind.SAMPLES: {"draws": [[float(one), 0.5] for one in range(64)]},
}
ARRAYS: dict[OutputKind, dict[str, Any]] = {
    OutputKind.EXACT: {"label": np.array([[3], [4]])},
    OutputKind.LOGITS: {"logits": np.ones((2, 1, 5), np.float32)},
    OutputKind.EMBEDDINGS: {"vector": np.ones((2, 8), np.float32)},
    OutputKind.TOKENS: {"sequences": np.ones((2, 4), np.int64)},
    OutputKind.TEXT: {"text": np.full((2, 30), ord("a"), np.uint8)},
    OutputKind.IMAGE: {"image": np.zeros((2, 4, 4, 3), np.uint8)},
    OutputKind.TABULAR: {"label": np.ones((2, 1), np.int64), "score": np.ones((2, 1), np.float32)},
    OutputKind.SAMPLES: {"draws": np.ones((2, 64, 3), np.float32)},
}


@pytest.mark.parametrize(
    ("kind", "item"),
    [
        (OutputKind.TEXT, [1, 2]),
        (OutputKind.TOKENS, [1, -2]),
        (OutputKind.TOKENS, [1, 2.5]),
        (OutputKind.LOGITS, [0.5, 0.25]),
        (OutputKind.LOGITS, {}),
        (OutputKind.LOGITS, {"logits": [[0.5], [0.25, 1.0]]}),
        (OutputKind.LOGITS, {"logits": ["a"]}),
        (OutputKind.LOGITS, {"logits": None}),
        (OutputKind.EXACT, {"label": [2**70]}),
    ],
)
def test_what_is_no_output_of_the_kind_is_refused(kind: OutputKind, item: Any, tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([item]))
    with pytest.raises(InputRejected) as caught:
        read_outputs(path, kind)
    assert caught.value.code == "input-malformed"


@pytest.mark.parametrize(
    ("kind", "values", "code"),
    [
        (OutputKind.LOGITS, [0.5, 1e300], "input-non-finite"),
        (OutputKind.LOGITS, [0.5, True], "input-dtype"),
        (OutputKind.EXACT, [3, True], "input-dtype"),
        (OutputKind.IMAGE, [3, True], "input-dtype"),
        (OutputKind.LOGITS, [0.5, "1.5"], "input-malformed"),
    ],
)
def test_output_values_are_never_turned_into_others(kind: OutputKind, values: Any, code: str, tmp_path: Path) -> None:
    path = tmp_path / "outputs.json"
    path.write_text(json.dumps([{"y": values}]))
    with pytest.raises(InputRejected) as caught:
        read_outputs(path, kind)
    assert caught.value.code == code


def test_a_tensor_that_is_voted_on_must_be_there_and_others_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "outputs.npz"
    np.savez(path, a=np.ones((2, 3)), b=np.zeros((2, 3)))
    assert [sorted(one) for one in read_outputs(path, OutputKind.EMBEDDINGS, ("b",))] == [["b"], ["b"]]
    with pytest.raises(InputRejected) as caught:
        read_outputs(path, OutputKind.EMBEDDINGS, ("b", "c"))
    assert caught.value.code == "input-missing"


def test_an_output_called_label_is_an_output(tmp_path: Path) -> None:
    path = tmp_path / "outputs.npz"
    np.savez(path, label=np.ones((2, 1), np.int64), score=np.ones((2, 1)))
    assert sorted(read_outputs(path, OutputKind.TABULAR)[0]) == ["label", "score"]


@pytest.mark.parametrize("kind", list(OutputKind))
@pytest.mark.parametrize("form", ["json", "npz"])
def test_every_kind_can_be_read_and_fingerprinted(kind: OutputKind, form: str, tmp_path: Path) -> None:
    path = tmp_path / f"outputs.{form}"
    if form == "json":
        path.write_text(json.dumps([ITEMS[kind]] * 2))
    else:
        np.savez(path, **ARRAYS[kind])
    outputs = read_outputs(path, kind)
    assert len(outputs) == 2
    fingerprint = fingerprint_for(kind)
    parameters = fingerprint.parameters({})
    assert len(fingerprint.make(outputs[0], bytes(32), parameters)) >= 32
