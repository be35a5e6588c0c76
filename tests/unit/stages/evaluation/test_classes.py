"""How proven outputs are read as answers, and whose classes are whose."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from tests.support.evaluations import lock_of, rows_set
from verifai.domain.digest import Sha256
from verifai.domain.evaluation.data_lock import DataKind, DataLock, DataTask
from verifai.domain.fidelity import Fidelity, OutputFigures, Task
from verifai.domain.names import PlaceNames
from verifai.domain.statement import (
    EngineName,
    Privacy,
    Role,
    Statement,
    TensorStatement,
    Visibility,
    WeightVisibility,
)
from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected, PolicyNotMet
from verifai.stages.evaluation.answers import Reading, reading_of
from verifai.stages.evaluation.data_set import DataSet
from verifai.stages.evaluation.samples import model_inputs

WIDTH = 3
FIDELITY = Fidelity(
    samples=1,
    top1_matches=1,
    max_abs_error=0.0,
    mean_abs_error=0.0,
    worst_sample=0,
    task=Task.CLASSIFICATION,
    outputs=(OutputFigures("scores", (1.0,), -1.0, 1.0),),
)


def statement(*scores: int, scale: Fraction = Fraction(1, 8)) -> Statement:
    tensor = TensorStatement(Role.OUTPUT, "scores", (1, WIDTH), Visibility.PUBLIC, scale, quantised=scores)
    return Statement(
        EngineName.SUMCHECK, Sha256("b" * 64), Sha256("c" * 64), (tensor,), "", True, Privacy.INTEGRITY_ONLY,
        WeightVisibility.PUBLIC,
    )  # fmt: skip


def with_classes(*classes: str) -> DataLock:
    return replace(lock_of(rows_set(groups=())), classes=classes)


def reading(labels: tuple[str, ...], *classes: str) -> Reading:
    names = PlaceNames(labels={"scores": labels} if labels else {})
    return reading_of(statement(0, 0, 1), with_classes(*classes), names, FIDELITY)


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (("b", "c", "a"), ("a", "b", "c"), (1, 2, 0)),
        (("b", "c", "a"), ("c", "a"), (2, 0, 1)),
        (("2", "0", "1"), ("0", "1", "2"), (2, 0, 1)),
        (("b", "c", "a"), ("0", "1", "2"), None),
        ((), ("0", "1", "2"), None),
        # A data set whose classes are called 1, 2 and 3 in its file: 0 is nobody's.
        (("1", "2", "3"), ("0", "1", "2", "3"), (1, 2, 3)),
        (("3", "5", "8"), tuple(map(str, range(9))), (3, 5, 8)),
    ],
)
def test_classes_are_matched_by_name_or_by_place(
    labels: tuple[str, ...], classes: tuple[str, ...], expected: tuple[int, ...] | None
) -> None:
    assert reading(labels, *classes).places == expected


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (("1", "2", "3"), ("0", "1", "2")),  # 1: the class called so, or the second one?
        (("1", "2", "3"), ("0", "1")),
        (("-1", "0", "1"), ("0", "1", "2")),
        (("a", "b", "c"), ("a", "d")),
        (("a", "b", "c"), ("0", "1", "2", "3")),
        (("1", "2", "9"), ("0", "1", "2", "3")),
    ],
)
def test_classes_that_could_be_either_are_not_guessed(labels: tuple[str, ...], classes: tuple[str, ...]) -> None:
    with pytest.raises(PolicyNotMet) as caught:
        reading(labels, *classes)
    assert caught.value.code == "classes-differ"


def test_of_equal_scores_the_first_place_is_the_answer_and_ranks_first() -> None:
    read = reading((), "0", "1", "2")
    found = read.answers(statement(5, 5, 5), [1])
    assert (found.decided, found.ranks, found.margins) == ((0,), (1,), (0.0,))


def test_a_score_that_no_double_holds_is_no_answer() -> None:
    """It was left out of the scores, so that those behind it moved to other places."""
    read = reading((), "0", "1", "2")
    with pytest.raises(PolicyNotMet) as caught:
        read.answers(statement(2**20, 0, 0, scale=Fraction(2) ** 1020), [0])
    assert caught.value.code == "evaluation-no-answer"


def test_numbers_one_per_sample_are_no_row_of_one_sample() -> None:
    """Four samples of one number each, and a model that takes four numbers: the whole data set was one sample."""
    data = DataSet(DataKind.ARRAYS, DataTask.REGRESSION, {"x": np.zeros(4, np.float32)}, np.zeros(4))
    with pytest.raises(InputRejected) as caught:
        model_inputs(data, [TensorSpec("x", "float32", (4,))], PlaceNames())
    assert caught.value.code == "input-shape"
