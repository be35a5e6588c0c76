"""Universal Binary JSON (ubjson.org, draft 12) as XGBoost writes it, read strictly: bounded depth, no memory beyond the file's.

XGBoost writes typed arrays and objects of known or unknown length, whole numbers, single and double floats, and texts.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.boosters.boosted import inconsistent

_MAX_DEPTH = 64
_NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
_SIZES = {mark: np.dtype(kind).itemsize for mark, kind in _NUMBERS.items()}
_INTEGERS = frozenset({b"i", b"U", b"I", b"l", b"L"})


def loads(data: bytes) -> Any:
    """The value in ``data``. Raises UsageError (``source-failed``)."""
    reader = _Reader(data)
    value = reader.value(reader.mark(), 0)
    if reader.at != len(data):
        raise inconsistent("something follows the end of its UBJSON")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def _take(self, count: int) -> bytes:
        found = self._data[self.at : self.at + count]
        if count < 0 or len(found) != count:
            raise inconsistent("its UBJSON ends too early")
        self.at += count
        return found

    def mark(self) -> bytes:
        """The next type, padding skipped."""
        while (found := self._take(1)) == b"N":
            pass
        return found

    def _peek(self) -> bytes:
        while self._data[self.at : self.at + 1] == b"N":
            self.at += 1
        return self._data[self.at : self.at + 1]

    def _length(self) -> int:
        mark = self.mark()
        if mark not in _INTEGERS:
            raise inconsistent("a length in its UBJSON is no whole number")
        length = int(self._number(mark))
        if length < 0:
            raise inconsistent("a length in its UBJSON is negative")
        return length

    def _number(self, mark: bytes) -> Any:
        return np.frombuffer(self._take(_SIZES[mark]), _NUMBERS[mark])[0].item()

    def _text(self) -> str:
        try:
            return self._take(self._length()).decode("utf-8")
        except UnicodeDecodeError:
            raise inconsistent("a text in its UBJSON is not UTF-8") from None

    def value(self, mark: bytes, depth: int) -> Any:
        """The value that follows its type's mark."""
        if depth > _MAX_DEPTH:
            raise inconsistent("its UBJSON is nested too deeply")
        if mark in _NUMBERS:
            return self._number(mark)
        if mark == b"S":
            return self._text()
        if mark in (b"T", b"F"):
            return mark == b"T"
        if mark == b"Z":
            return None
        if mark == b"[":
            return self._array(depth)
        if mark == b"{":
            return self._object(depth)
        raise inconsistent(f"its UBJSON has a value of an unknown type, {mark[:1]!r}")

    def _header(self) -> tuple[bytes, int | None]:
        kind, count = b"", None
        if self._peek() == b"$":
            self.mark()
            kind = self.mark()
        if self._peek() == b"#":
            self.mark()
            count = self._length()
        if kind and count is None:
            raise inconsistent("a typed container in its UBJSON has no length")
        return kind, count

    def _array(self, depth: int) -> list[Any]:
        kind, count = self._header()
        if kind in _NUMBERS:
            assert count is not None
            raw = self._take(count * _SIZES[kind])
            found: list[Any] = np.frombuffer(raw, _NUMBERS[kind]).tolist()
            return found
        if kind and count is not None:
            if count > len(self._data) - self.at:
                raise inconsistent("an array in its UBJSON is longer than the file")
            return [self.value(kind, depth + 1) for _ in range(count)]
        values: list[Any] = []
        while count is None or len(values) < count:
            mark = self.mark()
            if count is None and mark == b"]":
                break
            values.append(self.value(mark, depth + 1))
        return values

    def _object(self, depth: int) -> dict[str, Any]:
        kind, count = self._header()
        found: dict[str, Any] = {}
        number = 0
        while count is None or number < count:
            if count is None and self._peek() == b"}":
                self.mark()
                break
            key = self._text()
            if key in found:
                raise inconsistent(f"the key {key[:60]!r} occurs twice")
            found[key] = self.value(kind or self.mark(), depth + 1)
            number += 1
        return found
