"""A record takes each field once, typed and ranged, and refuses what nobody took."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest

from verifai.domain.record import Record
from verifai.errors import UsageError, VerifaiError


class Colour(StrEnum):
    RED = "red"


def _record(value: Any) -> Record:
    return Record(value, "file.toml", error=UsageError, code="bad-spec")


REFUSED = {
    "not a table": lambda: _record([1]),
    "missing": lambda: _record({}).text("a"),
    "wrong type of text": lambda: _record({"a": 1}).text("a"),
    "empty text": lambda: _record({"a": ""}).text("a"),
    "long text": lambda: _record({"a": "xx"}).text("a", max_length=1),
    "pattern on a part only": lambda: _record({"a": "v1\n"}).text("a", pattern="v1"),
    "boolean as integer": lambda: _record({"a": True}).integer("a", low=0, high=1),
    "float as integer": lambda: _record({"a": 1.0}).integer("a", low=0, high=1),
    "integer below": lambda: _record({"a": -1}).integer("a", low=0, high=1),
    "integer above": lambda: _record({"a": 2}).integer("a", low=0, high=1),
    "NaN": lambda: _record({"a": float("nan")}).number("a", low=0, high=1),
    "boolean as number": lambda: _record({"a": True}).number("a", low=0, high=1),
    "text as flag": lambda: _record({"a": "true"}).flag("a"),
    "short digest": lambda: _record({"a": "ab"}).sha256("a"),
    "upper-case digest": lambda: _record({"a": "AB" * 32}).sha256("a"),
    "unknown choice": lambda: _record({"a": "blue"}).choice("a", Colour),
    "list as choice": lambda: _record({"a": ["red"]}).choice("a", Colour),
    "text as list": lambda: _record({"a": "abc"}).texts("a"),
    "empty text in list": lambda: _record({"a": [""]}).texts("a"),
    "long list": lambda: _record({"a": [1, 2]}).integers("a", low=0, high=9, max_length=1),
    "boolean in list": lambda: _record({"a": [True]}).integers("a", low=0, high=9),
    "nested not a table": lambda: _record({"a": 1}).table("a"),
    "unknown field": lambda: _record({"a": 1}).done(),
}


@pytest.mark.parametrize("read", REFUSED.values(), ids=REFUSED.keys())
def test_it_is_refused_with_code_and_place(read: Any) -> None:
    with pytest.raises(VerifaiError) as caught:
        read()
    assert caught.value.code == "bad-spec"
    assert caught.value.where.startswith("file.toml")


def test_the_place_of_a_nested_field_is_whole() -> None:
    with pytest.raises(UsageError) as caught:
        _record({"a": [{"b": "x"}]}).tables("a")[0].integer("b", low=0, high=1)
    assert caught.value.where == "file.toml.a[0].b"


def test_what_was_taken_is_not_unknown() -> None:
    record = _record({"a": 1, "b": "red", "c": {"d": True}})
    assert record.integer("a", low=0, high=1) == 1
    assert record.choice("b", Colour) is Colour.RED
    nested = record.table("c")
    assert nested.flag("d")
    nested.done()
    record.done()


def test_defaults_stand_in_for_absent_fields_only() -> None:
    record = _record({"a": 3})
    assert record.integer("a", None, low=0, high=9) == 3
    assert record.text("b", None) is None
    assert record.sha256("c", None) is None
    assert record.number("d", None, low=0, high=1) is None
