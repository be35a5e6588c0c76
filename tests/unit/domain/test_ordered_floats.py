"""Integers of float32 numbers: in the same order, exact there and back, and none for what is not finite."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifai.domain.ordered_floats import LARGEST, ordered, real
from verifai.domain.record import Record
from verifai.domain.shown import shown_line, shown_values
from verifai.domain.statement import (
    Column,
    Encoding,
    EngineName,
    Privacy,
    Role,
    Statement,
    TensorStatement,
    Visibility,
    WeightVisibility,
)
from verifai.engines.sumcheck.tensors import ordered_cells, ordered_values, quantise
from verifai.errors import EvidenceRejected, InputRejected

EDGES = [0.0, -0.0, 1e-45, -1e-45, 1.1754944e-38, 0.1, -0.1, 1.0, 1.0000001, 3.4028235e38, -3.4028235e38]


def numbers() -> np.ndarray:
    bits = np.random.default_rng(7).integers(0, 1 << 32, 2000, dtype=np.uint32)
    drawn = bits.view(np.float32)
    return np.concatenate([drawn[np.isfinite(drawn)], np.array(EDGES, np.float32)])


def test_the_order_is_that_of_the_numbers() -> None:
    values = numbers()
    cells = [ordered(float(value)) for value in values]
    by_cell = sorted(range(len(values)), key=cells.__getitem__)
    assert (np.diff(values[by_cell].astype(np.float64)) >= 0).all()
    assert ordered(-0.0) == ordered(0.0) == 0
    assert (ordered(1e-45), ordered(-1e-45)) == (1, -1)


def test_every_number_comes_back_exactly() -> None:
    for value in numbers():
        assert real(ordered(float(value))) == value
    assert ordered(3.4028235e38) == LARGEST


def test_arrays_give_the_same_integers() -> None:
    values = numbers()
    cells = ordered_cells("x", values)
    assert cells.tolist() == [ordered(float(value)) for value in values]
    assert np.array_equal(ordered_values(cells), values)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e39])
def test_what_no_finite_float32_is_has_none(value: float) -> None:
    with pytest.raises(ValueError):
        ordered(value)
    with pytest.raises(InputRejected):
        ordered_cells("x", np.array([value]))


@pytest.mark.parametrize("cell", [LARGEST + 1, -LARGEST - 1, 1 << 40])
def test_other_integers_stand_for_nothing(cell: int) -> None:
    with pytest.raises(ValueError):
        real(cell)
    with pytest.raises(ValueError):
        replace(ROW, quantised=(cell, 0))


ROW = TensorStatement(
    Role.INPUT, "x", (1, 2), Visibility.PUBLIC, Fraction(1), 0, (ordered(0.1), ordered(-2.5)), encoding=Encoding.FLOAT32
)


def test_a_statement_says_what_its_integers_are() -> None:
    assert ROW.values() == (float(np.float32(0.1)), -2.5)
    assert ROW.to_json()["encoding"] == "float32"
    assert TensorStatement.from_record(Record(ROW.to_json(), "x")) == ROW
    assert "encoding" not in replace(ROW, encoding=Encoding.LINEAR).to_json()
    assert quantise(ROW, np.array([[0.1, -2.5]], np.float32)) == ROW.quantised


def test_people_read_the_numbers() -> None:
    statement = Statement(
        EngineName.SUMCHECK, "0" * 64, "1" * 64, (ROW,), "", True, Privacy.INTEGRITY_ONLY, WeightVisibility.PUBLIC  # type: ignore[arg-type]
    )  # fmt: skip
    (shown,) = shown_values(statement)
    assert shown_line(shown) == "input x = 0.1, -2.5"


@pytest.mark.parametrize(
    "change",
    [
        {"encoding": "linear"},
        {"encoding": "float64"},
        {"scale": ["1", "2"]},
        {"zero_point": 1},
        {"stored": True},
        {"columns": [["1", "4", "0"], ["8", "1", "3"]]},
        {"quantised": [str(LARGEST + 1), "0"]},
    ],
)
def test_other_spellings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(EvidenceRejected):
        TensorStatement.from_record(Record({**ROW.to_json(), **change}, "x"))


def test_no_scale_stands_beside_it() -> None:
    for change in ({"scale": Fraction(1, 2)}, {"zero_point": 1}, {"columns": (Column(Fraction(1), 0),) * 2}):
        with pytest.raises(ValueError):
            replace(ROW, **change)  # type: ignore[arg-type]
