"""Scales of columns in statements: one spelling, strict, and values that are the columns' own."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from verifai.domain.record import Record
from verifai.domain.statement import Column, Role, TensorStatement, Visibility
from verifai.errors import EvidenceRejected

COLUMNS = (Column(Fraction(1, 4), -100), Column(Fraction(8), 3))
ROW = TensorStatement(Role.INPUT, "x", (1, 2), Visibility.PUBLIC, Fraction(1), 0, (-96, 5), columns=COLUMNS)


def test_values_are_those_of_each_column() -> None:
    assert ROW.values() == (1.0, 16.0)


def test_the_document_gives_the_statement_back() -> None:
    assert TensorStatement.from_record(Record(ROW.to_json(), "x")) == ROW
    assert ROW.to_json()["columns"] == [["1", "4", "-100"], ["8", "1", "3"]]


def test_a_tensor_without_columns_has_the_bytes_that_it_had() -> None:
    plain = TensorStatement(Role.INPUT, "x", (1, 2), Visibility.PUBLIC, Fraction(1, 2), 0, (1, 2))
    assert "columns" not in plain.to_json()


@pytest.mark.parametrize(
    "columns",
    [
        [],
        [["1", "4", "-100"]],
        [["1", "4", "-100"], ["8", "1", "3"], ["1", "1", "0"]],
        [["2", "8", "-100"], ["8", "1", "3"]],
        [["0", "1", "0"], ["8", "1", "3"]],
        [["-1", "4", "0"], ["8", "1", "3"]],
        [["1", "0", "0"], ["8", "1", "3"]],
        [["1", "4", "+1"], ["8", "1", "3"]],
        [["01", "4", "1"], ["8", "1", "3"]],
        [["1", "4"], ["8", "1", "3"]],
        [[1, 4, 0], ["8", "1", "3"]],
        ["1/4", "8"],
        [["1", "4", str(2**52 + 1)], ["8", "1", "3"]],
        [["1", "4", "9" * 500], ["8", "1", "3"]],
    ],
)
def test_other_spellings_are_refused(columns: Any) -> None:
    with pytest.raises(EvidenceRejected):
        TensorStatement.from_record(Record({**ROW.to_json(), "columns": columns}, "x"))


@pytest.mark.parametrize("field, value", [("scale", ["1", "2"]), ("zero_point", 1)])
def test_a_scale_of_the_whole_beside_them_is_refused(field: str, value: Any) -> None:
    with pytest.raises(EvidenceRejected):
        TensorStatement.from_record(Record({**ROW.to_json(), field: value}, "x"))
