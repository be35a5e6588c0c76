"""Typed, strict reading of one mapping (a JSON object or a TOML table).

Every field is taken once, with its type and range; what was not taken is refused by :meth:`Record.done`. So a misspelt or
smuggled field is an error with a place, never a silent default.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from verifai.domain.digest import Sha256, is_sha256
from verifai.errors import EvidenceRejected, VerifaiError

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

_MISSING: Any = object()


class Record:
    """One mapping being read.

    Args:
        value: the foreign mapping.
        where: its place, such as ``circuit.lock: [engine.ezkl]``.
        error: the class to raise.
        code: the stable code to raise it with.
    """

    def __init__(
        self, value: object, where: str, *, error: type[VerifaiError] = EvidenceRejected, code: str = "malformed"
    ) -> None:
        self.where = where
        self._error = error
        self._code = code
        if not isinstance(value, Mapping):
            raise self.refuse(f"expected a table of fields, found {_kind(value)}")
        self._value = value
        self._taken: set[str] = set()

    def refuse(self, message: str, field: str = "", hint: str = "") -> VerifaiError:
        """The error for a problem in ``field``; the caller raises it."""
        place = f"{self.where}.{field[:200]}" if field else self.where
        return self._error(self._code, message, where=place, hint=hint)

    def has(self, field: str) -> bool:
        """Whether the field is present; it still has to be taken."""
        return field in self._value

    def names(self) -> tuple[str, ...]:
        """The names present, in the document's order."""
        return tuple(self._value)

    def items(self) -> tuple[tuple[str, Any], ...]:
        """All fields, taken as they are: for tables that another parser reads."""
        self._taken.update(self._value)
        return tuple(self._value.items())

    def take(self, field: str, default: Any = _MISSING) -> Any:
        """The field's raw value, marked as taken."""
        self._taken.add(field)
        if field in self._value:
            return self._value[field]
        if default is _MISSING:
            raise self.refuse("this field is missing", field)
        return default

    def text(
        self, field: str, default: Any = _MISSING, *, pattern: str = "", max_length: int = 4096, empty: bool = False
    ) -> str:
        """A string; ``pattern`` must match all of it."""
        value = self.take(field, default)
        if value is default and default is not _MISSING and field not in self._value:
            return value  # type: ignore[no-any-return]
        if not isinstance(value, str):
            raise self.refuse(f"expected a string, found {_kind(value)}", field)
        if not value and not empty:
            raise self.refuse("the string is empty", field)
        if len(value) > max_length:
            raise self.refuse(f"longer than {max_length} characters", field)
        if pattern and re.fullmatch(pattern, value) is None:
            raise self.refuse(f"{value[:80]!r} does not have the expected form {pattern}", field)
        return value

    def integer(self, field: str, default: Any = _MISSING, *, low: int, high: int) -> int:
        """An integer in ``[low, high]``; booleans are not integers here."""
        value = self.take(field, default)
        if value is default and default is not _MISSING and field not in self._value:
            return value  # type: ignore[no-any-return]
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(f"expected an integer, found {_kind(value)}", field)
        if not low <= value <= high:
            raise self.refuse(f"{str(value)[:40]} is outside [{low}, {high}]", field)
        return value

    def number(self, field: str, default: Any = _MISSING, *, low: float, high: float) -> float:
        """A finite number in ``[low, high]``."""
        value = self.take(field, default)
        if value is default and default is not _MISSING and field not in self._value:
            return value  # type: ignore[no-any-return]
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(f"expected a number, found {_kind(value)}", field)
        if not low <= value <= high:  # also refuses NaN
            raise self.refuse(f"{str(value)[:40]} is outside [{low}, {high}]", field)
        return float(value)

    def flag(self, field: str, default: Any = _MISSING) -> bool:
        """A boolean."""
        value = self.take(field, default)
        if not isinstance(value, bool):
            raise self.refuse(f"expected true or false, found {_kind(value)}", field)
        return value

    def sha256(self, field: str, default: Any = _MISSING) -> Sha256:
        """64 lower-case hex digits."""
        value = self.take(field, default)
        if value is default and default is not _MISSING and field not in self._value:
            return value  # type: ignore[no-any-return]
        if not is_sha256(value):
            raise self.refuse("expected 64 lower-case hex digits (SHA-256)", field)
        return Sha256(value)

    def choice(self, field: str, kind: type[E], default: Any = _MISSING) -> E:
        """A member of a string enumeration."""
        value = self.take(field, default)
        if isinstance(value, str):
            try:
                return kind(value)
            except ValueError:
                pass
        names = ", ".join(repr(member.value) for member in kind)
        raise self.refuse(f"expected one of {names}, found {str(value)[:40]!r}", field)

    def table(self, field: str, default: Any = _MISSING) -> Record:
        """A nested mapping, to be read by the same rules."""
        return Record(self.take(field, default), f"{self.where}.{field}", error=self._error, code=self._code)

    def array(
        self, field: str, item: Callable[[Any, str], T], default: Any = _MISSING, *, max_length: int = 65536
    ) -> tuple[T, ...]:
        """A list; ``item(value, place)`` reads each element."""
        value = self.take(field, default)
        if not isinstance(value, list | tuple):
            raise self.refuse(f"expected a list, found {_kind(value)}", field)
        if len(value) > max_length:
            raise self.refuse(f"more than {max_length} elements", field)
        return tuple(item(element, f"{self.where}.{field}[{index}]") for index, element in enumerate(value))

    def tables(self, field: str, default: Any = _MISSING, *, max_length: int = 65536) -> tuple[Record, ...]:
        """A list of mappings."""
        return self.array(
            field,
            lambda value, place: Record(value, place, error=self._error, code=self._code),
            default,
            max_length=max_length,
        )

    def integers(self, field: str, default: Any = _MISSING, *, low: int, high: int, max_length: int = 65536) -> tuple[int, ...]:
        """A list of integers, each in ``[low, high]``."""

        def one(value: Any, place: str) -> int:
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise self._error(self._code, f"expected an integer in [{low}, {high}], found {str(value)[:40]!r}", where=place)
            return value

        return self.array(field, one, default, max_length=max_length)

    def numbers(
        self, field: str, default: Any = _MISSING, *, low: float, high: float, max_length: int = 65536
    ) -> tuple[float, ...]:
        """A list of finite numbers, each in ``[low, high]``."""

        def one(value: Any, place: str) -> float:
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:  # also refuses NaN
                raise self._error(self._code, f"expected a number in [{low}, {high}], found {str(value)[:40]!r}", where=place)
            return float(value)

        return self.array(field, one, default, max_length=max_length)

    def texts(self, field: str, default: Any = _MISSING, *, max_length: int = 65536) -> tuple[str, ...]:
        """A list of non-empty strings."""

        def one(value: Any, place: str) -> str:
            if not isinstance(value, str) or not value:
                raise self._error(self._code, f"expected a non-empty string, found {_kind(value)}", where=place)
            return value

        return self.array(field, one, default, max_length=max_length)

    def done(self) -> None:
        """Refuse what was not taken."""
        unknown = [str(name) for name in self._value if name not in self._taken]
        if unknown:
            known = ", ".join(sorted(self._taken))
            raise self.refuse(f"unknown field {unknown[0][:80]!r}", unknown[0][:80], hint=f"Known fields: {known}.")


def _kind(value: object) -> str:
    names = {bool: "true/false", int: "an integer", float: "a number", str: "a string", list: "a list", dict: "a table"}
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
