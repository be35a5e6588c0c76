"""Values that are made when they are looked at: what is gone through a few times and would not fit into the memory."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar, overload

T = TypeVar("T")


class Placed(Sequence[T]):
    """A sequence whose item at each place is made anew by ``make``, from the place."""

    def __init__(self, count: int, make: Callable[[int], T]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        return map(self._make, range(self._count))

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return [self._make(number) for number in range(*place.indices(self._count))]
        return self._make(range(self._count)[place])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))


class Revisited(Collection[T]):
    """A collection that is gone through anew whenever it is asked; ``make`` gives the iterator."""

    def __init__(self, make: Callable[[], Iterator[T]]) -> None:
        self._make = make

    def __iter__(self) -> Iterator[T]:
        return self._make()

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __bool__(self) -> bool:
        return next((True for _ in self), False)

    def __contains__(self, item: object) -> bool:
        return any(item == one for one in self)

    def __repr__(self) -> str:
        return repr(list(self))
