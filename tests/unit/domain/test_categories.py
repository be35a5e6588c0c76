"""Texts that stand for numbers: read, written, shown, and refused where they would say two things."""

from __future__ import annotations

from typing import Any

import pytest

from verifai.domain.categories import OTHER, Categories, placed, usable
from verifai.domain.model_facts import ModelFacts, Task
from verifai.domain.names import PlaceNames, names_from_lock, names_from_spec, resolve_names
from verifai.domain.record import Record
from verifai.domain.table_columns import known
from verifai.domain.tensor import TensorSpec
from verifai.errors import UsageError

JOBS = Categories(("clerk", "doctor"), others=True)
ROW = [TensorSpec("x", "float32", (1, 3))]
OUT = [TensorSpec("y", "float32", (1, 2))]


def record(value: Any) -> Record:
    return Record(value, "circuit.toml", error=UsageError, code="bad-spec")


def test_a_text_is_its_place_and_another_one_the_place_after_the_last() -> None:
    assert [JOBS.number(text) for text in ("clerk", "doctor", "farmer")] == [0, 1, 2]
    assert Categories(JOBS.values).number("farmer") is None
    assert [JOBS.text(number) for number in (0.0, 1.0, 2.0, 0.5, -1.0, None, float("nan"))] == ["clerk", "doctor", *[""] * 5]
    assert JOBS.shown(2.0) == OTHER and Categories(JOBS.values).shown(2.0) == ""


@pytest.mark.parametrize("values", [[""], [" clerk"], ["a", "a"], [], ["a\nb"], ["\x1b[31mred"]])
def test_texts_that_no_table_could_tell_apart_are_not_usable(values: list[str]) -> None:
    assert not usable(values)


@pytest.mark.parametrize(
    "written",
    [
        {"inputs": {"columns": ["age", "job", "town"], "categories": {"job": JOBS.to_document()}}},
        {"inputs": {"x": {"columns": ["age", "job", "town"], "categories": {"job": JOBS.to_document()}}}},
        {"inputs": {"x": {"categories": {"1": JOBS.to_document()}}}},
    ],
)
def test_a_specification_names_a_column_or_its_place_and_the_lock_keeps_it(written: dict[str, Any]) -> None:
    names = resolve_names(names_from_spec(record(written)), ROW, OUT, "circuit.toml")
    assert names.texts("x") == {1: JOBS}
    assert names_from_lock(record(names.to_document())) == names


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ({"columns": ["age", "job", "town"], "categories": {"work": {"values": ["a"]}}}, "no column 'work'"),
        ({"columns": ["age", "job", "town"], "categories": {"1": {"values": ["a"]}}}, "no column '1'"),
        ({"x": {"categories": {"3": {"values": ["a"]}}}}, "no column '3'"),
        ({"x": {"categories": {"1": {"values": ["a"]}, "01": {"values": ["b"]}}}}, "about one column"),
        ({"x": {"categories": {"1": {"values": ["a", "a"]}}}}, "alike"),
        ({"x": {"categories": {"1": {"values": []}}}}, "empty"),
        ({"x": {"categories": {"1": {"values": [1]}}}}, "printable"),
        ({"x": {"categories": {"1": {"values": ["a"], "other": True}}}}, "other"),
        ({"x": {"categories": {}}}, "empty"),
    ],
)
def test_what_would_say_two_things_or_nothing_is_refused(written: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_names(names_from_spec(record({"inputs": written})), ROW, OUT, "circuit.toml")
    assert told in f"{caught.value.message} {caught.value.where}" and caught.value.code == "bad-spec"


def test_facts_carry_them_and_facts_without_are_written_as_ever() -> None:
    facts = ModelFacts("0" * 64, Task.REGRESSION, "x", ("age", "job", "town"), "y", (), {"job": JOBS})  # type: ignore[arg-type]
    document = facts.to_document()
    assert ModelFacts.from_document(document, "facts") == facts
    assert known(facts, ["target"]).categories == {"x": {1: JOBS}}
    assert "categories" not in ModelFacts("0" * 64, Task.REGRESSION, "x", (), "y", ()).to_document()  # type: ignore[arg-type]
    assert PlaceNames().to_document() == {}


def test_a_place_stands_for_a_column_only_where_columns_have_no_names() -> None:
    assert placed({"1": JOBS}, ()) == {1: JOBS}
    assert placed({"1": JOBS, "job": JOBS}, ("age", "job")) == {1: JOBS}
