"""Lists that are made while they are gone through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Streamed(list[T]):
    """A list that is made anew whenever it is gone through: for what writes JSON, which takes lists and nothing else."""

    def __init__(self, count: int, make: Callable[[], Iterator[T]]) -> None:
        super().__init__()
        self._count, self._make = count, make

    def __iter__(self) -> Iterator[T]:
        return self._make()

    def __len__(self) -> int:
        return self._count

    def __bool__(self) -> bool:
        return self._count > 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list) and list(iter(self)) == list(iter(other))

    __hash__ = None
