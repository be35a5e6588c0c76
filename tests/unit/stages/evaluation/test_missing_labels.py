"""Labels of tables: what stands for a missing number is no class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from verifai.domain.evaluation.data_lock import DataKind, DataTask
from verifai.errors import InputRejected
from verifai.stages.evaluation.data_set import DataSet, pin
from verifai.stages.evaluation.read_data import read_data


def table(tmp_path: Path, *labels: str) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("x,label\n" + "".join(f"{at},{text}\n" for at, text in enumerate(labels)), encoding="utf-8")
    return path


@pytest.mark.parametrize("missing", ["nan", "NaN", "NA", "null", "-inf", "None", "?", "<NA>", ""])
def test_a_missing_number_among_the_labels_is_refused_with_its_row(tmp_path: Path, missing: str) -> None:
    with pytest.raises(InputRejected) as caught:
        read_data(table(tmp_path, "0", "1", missing, "1"))
    assert caught.value.code == "input-malformed"
    assert "no label" in caught.value.message
    assert "4" in (caught.value.where or "")


def test_words_are_classes_whatever_they_are(tmp_path: Path) -> None:
    assert read_data(table(tmp_path, "none", "some", "none")).data.classes == ("none", "some")
    assert read_data(table(tmp_path, "0", "1", "other")).data.classes == ("0", "1", "other")


@pytest.mark.parametrize(
    ("task", "labels", "words"),
    [
        (DataTask.REGRESSION, np.array([0.5, np.nan]), "not finite"),
        (DataTask.CLASSIFICATION, np.array([0, 2]), "no class"),
        (DataTask.CLASSIFICATION, np.array([0, -1]), "no class"),
        (DataTask.CLASSIFICATION, np.array([0.0, 1.0]), "one number per sample"),
    ],
)
def test_labels_that_no_reader_would_take_are_not_pinned(task: DataTask, labels: np.ndarray, words: str) -> None:
    """Else they were found after the last proof."""
    classes = ("a", "b") if task is DataTask.CLASSIFICATION else ()
    with pytest.raises(InputRejected) as caught:
        pin(DataSet(DataKind.ARRAYS, task, {"x": np.zeros(2)}, labels, classes), "rows", "label")
    assert words in caught.value.message
