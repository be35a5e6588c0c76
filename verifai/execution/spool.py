"""Results that are too many for the memory: kept in a temporary file without a name, read back one at a time.

The file holds pickles of values of this very process, or of its own worker processes; it has no name, so nobody else writes it.
"""

from __future__ import annotations

import pickle
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

from verifai.errors import Undecided

T = TypeVar("T")


class _Held:
    """The file, closed when the last sequence that reads it is gone."""

    def __init__(self) -> None:
        self.file = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, self.file.close)


class Spool(Sequence[T], Generic[T]):
    """A sequence on disk. What is read is a fresh value each time; :meth:`mapped` changes what readers get."""

    def __init__(self) -> None:
        self._held = _Held()
        self._file = self._held.file
        self._places: dict[int, tuple[int, int]] = {}
        self._end = 0
        self._change: Callable[[int, T], T] = lambda _, value: value

    def put(self, number: int, value: T) -> None:
        """Keep the value of place ``number``. Raises Undecided (``disk``)."""
        self.put_pickled(number, pickle.dumps(value))

    def put_pickled(self, number: int, data: bytes) -> None:
        """The same for a value that is pickled already."""
        try:
            self._file.seek(self._end)
            self._file.write(data)
        except OSError as problem:
            raise Undecided("disk", f"cannot keep results: {problem.strerror}", hint="Make room where TMPDIR leads.") from None
        self._places[number] = (self._end, len(data))
        self._end += len(data)

    def mapped(self, change: Callable[[int, T], T]) -> Spool[T]:
        """The same file, read through one more function of place and value."""
        other: Spool[T] = object.__new__(Spool)
        before = self._change
        other.__dict__.update(self.__dict__)
        other._change = lambda number, value: change(number, before(number, value))
        return other

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[T]:
        return (self[number] for number in range(len(self)))

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return [self[number] for number in range(*place.indices(len(self)))]
        number = place + len(self) if place < 0 else place
        if number not in self._places:
            raise IndexError(place)
        start, size = self._places[number]
        self._file.seek(start)
        value: T = pickle.loads(self._file.read(size))  # noqa: S301 - written by this process
        return self._change(number, value)
