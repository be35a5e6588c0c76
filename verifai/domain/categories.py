"""Columns of texts: a model takes whole numbers for them, and these say which text each number is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verifai.domain.record import Record
from verifai.domain.unicode_14 import is_printable

MAX_CATEGORIES = 100_000
MAX_CATEGORY = 512
OTHER = "(other)"


@dataclass(frozen=True, slots=True)
class Categories:
    """The texts of one column.

    Attributes:
        values: the text at place k stands for the number k.
        others: whether any other text stands for the number after the last, which the model takes for none of them.
    """

    values: tuple[str, ...]
    others: bool = False

    def number(self, text: str) -> int | None:
        """What stands for the text; ``None`` where nothing does."""
        if text in self.values:
            return self.values.index(text)
        return len(self.values) if self.others else None

    def text(self, number: float | None) -> str:
        """What the number stands for; empty where it is no category."""
        if number is None or number not in range(len(self.values)):
            return ""
        return self.values[int(number)]

    def shown(self, number: float | None) -> str:
        """As :meth:`text`, with a word for what is none of the categories."""
        return self.text(number) or (OTHER if self.others and number == len(self.values) else "")

    def to_document(self) -> dict[str, Any]:
        """As JSON or TOML values; the inverse of :func:`categories_of`."""
        return {"values": list(self.values), "others": self.others}


def usable(values: Sequence[str]) -> bool:
    """Whether these texts can be told apart in files and shown: printable, without spaces around, different."""
    told = all(0 < len(one) <= MAX_CATEGORY and is_printable(one) and one.strip() == one for one in values)
    return told and 0 < len(values) <= MAX_CATEGORIES and len(set(values)) == len(values)


def categories_of(record: Record) -> Categories:
    """Read one column's categories. Raises the record's error, with the field named."""

    def one(value: Any, place: str) -> str:
        if not isinstance(value, str) or not usable([value]):
            hint = f"expected 1 to {MAX_CATEGORY} printable characters, without spaces around them"
            raise record.refuse(hint, place.removeprefix(f"{record.where}."))
        return value

    values = record.array("values", one, max_length=MAX_CATEGORIES)
    if not values:
        raise record.refuse("the list is empty", "values")
    if len(set(values)) < len(values):
        raise record.refuse("two categories are alike", "values")
    found = Categories(values, record.flag("others", False))
    record.done()
    return found


def placed(found: Mapping[str, Categories], columns: Sequence[str]) -> dict[int, Categories]:
    """By place: a column's name, or its place as a number where the columns have no names. What fits neither is left out."""
    places = {name: place for place, name in enumerate(columns)}
    return {
        places[name] if columns else int(name): one
        for name, one in found.items()
        if (name in places if columns else name.isdecimal() and len(name) < 7)
    }
