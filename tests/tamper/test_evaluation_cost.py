"""What a sender's samples may cost a judge: no more than the pinned data set itself, however few bytes were sent."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.evaluations import lock_of, rows_set
from verifai.bundle.merkle import root_of
from verifai.domain.evaluation.data_lock import DataKind, DataLock, DataTask
from verifai.domain.evaluation.sample_leaf import Cell, inputs_bytes, sample_bytes
from verifai.errors import EvidenceRejected
from verifai.onnx_graph import arrays
from verifai.onnx_graph.npz import write_npz
from verifai.stages.evaluation import data_set
from verifai.stages.evaluation.data_set import DataSet, digests_of, pin, read_carried, to_file

DATA = rows_set()
PIN = lock_of(DATA)


def refused(tmp_path: Path, data: bytes, lock: DataLock = PIN) -> EvidenceRejected:
    path = tmp_path / "data.npz"
    path.write_bytes(data)
    with pytest.raises(EvidenceRejected) as caught:
        read_carried(path, lock)
    return caught.value


def packed(**arrays: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.savez_compressed(stream, **{name.replace("_", "."): one for name, one in arrays.items()})
    return stream.getvalue()


def texts(*listed: object) -> np.ndarray:
    return np.frombuffer(json.dumps(list(listed)).encode(), np.uint8)


def test_a_small_file_of_many_samples_is_not_decompressed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 200_000
    bomb = packed(input_0=np.zeros((rows, 4), np.float32), label=np.zeros(rows, np.int64), group=texts("a"))
    assert len(bomb) < 30_000
    monkeypatch.setattr(arrays, "read_npy", lambda *_: pytest.fail("an array was decompressed"))
    found = refused(tmp_path, bomb)
    assert found.code == "data-malformed"
    assert "the limit is" in found.message


def test_more_samples_than_are_pinned_are_counted_and_not_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_set, "digests_of", lambda *_: pytest.fail("samples were hashed"))
    rows = len(DATA) + 1
    more = write_npz({"input.0": np.zeros((rows, 4), np.float32), "label": np.zeros(rows, np.int64), "group": texts("a")})
    assert refused(tmp_path, more).code == "data-inputs-differ"


@pytest.mark.parametrize(
    "listed",
    [[[]] * 10, [{}] * 10, ["a"] * 9, ["a"] * 11, [*["a"] * 9, ["a"]], [*["a"] * 9, None], [*["a"] * 9, 'b", "c'], []],
)
def test_texts_are_parsed_only_when_there_are_as_many_as_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: list[object]
) -> None:
    carried = {"input.0": np.asarray(DATA.inputs["x"]), "label": DATA.labels, "group": texts(*listed)}
    fits = len(listed) == 10 and all(isinstance(one, str) for one in listed)
    if not fits:
        monkeypatch.setattr(data_set.strict_json, "loads", lambda *_, **__: pytest.fail("JSON was parsed"))
    assert refused(tmp_path, write_npz(carried)).code == ("data-groups-differ" if fits else "data-malformed")


@pytest.mark.parametrize("data", [b'["a"]x', b'["a" ]', b' ["a"]', b'["\\ud800"]', b'["a\n"]', b'["a",]', b'["a', b""])
def test_texts_have_one_spelling(tmp_path: Path, data: bytes) -> None:
    one = DATA.first(1)
    carried = {"input.0": np.asarray(one.inputs["x"]), "label": one.labels, "group": np.frombuffer(data, np.uint8)}
    assert refused(tmp_path, write_npz(carried), lock_of(one)).code == "data-malformed"


def test_names_that_need_escapes_come_back(tmp_path: Path) -> None:
    odd = ('"', "\\", '\\"', "\u00e9", "\U0001f600", "]", '", "')
    groups = tuple(odd[at % len(odd)] for at in range(len(DATA)))
    data = replace(DATA, groups=groups)
    path = tmp_path / "data.npz"
    path.write_bytes(to_file(data))
    assert read_carried(path, lock_of(data)).groups == groups


def test_a_wide_table_is_hashed_as_specified() -> None:
    """Row by row: all cells at once were hundreds of bytes for each."""
    rows = 7
    rng = np.random.default_rng(3)
    inputs: dict[str, np.ndarray | tuple[str, ...]] = {
        "flag": np.array([True, False] * 3 + [True]),
        "big": rng.integers(0, 9, (rows, 2, 3)).astype(">i2"),
        "turned": np.asfortranarray(rng.standard_normal((rows, 5))),
        "word": tuple("ab" * at for at in range(rows)),
    }
    data = DataSet(DataKind.TABLE, DataTask.REGRESSION, inputs, rng.standard_normal(rows), (), tuple("xyxyxyx"))
    laid = []
    for row in range(rows):
        cells = []
        for name, one in inputs.items():
            if isinstance(one, tuple):
                cells.append(Cell(name, "text", (), one[row].encode()))
            else:
                little = one.astype(one.dtype.newbyteorder("<"))
                cells.append(Cell(name, one.dtype.name, one.shape[1:], little[row].tobytes()))
        laid.append(inputs_bytes(cells))
    labels = [data.labels[row : row + 1].astype("<f8").tobytes() for row in range(rows)]
    found = digests_of(data)
    assert found.inputs_root == root_of(laid).hex()
    whole = [sample_bytes(one, label, group.encode()) for one, label, group in zip(laid, labels, data.groups, strict=True)]
    assert found.root == root_of(whole).hex() == pin(data, "table", "y", group="g").root
