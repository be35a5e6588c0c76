"""The stored cells (:mod:`..protocol.storage`) of padded arrays. The prover's arrays keep the padded shape everywhere else."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.protocol.storage import NO_AXIS, Storage

Cell = TypeVar("Cell", bound=np.generic)


def by_place(storage: Storage, cells: NDArray[Cell]) -> NDArray[Cell]:
    """Padded cells as a view (places of the long axis, other axes…); (1, all) of a column that is stored whole."""
    if storage.axis == NO_AXIS:
        return cells.reshape(1, -1)
    return np.moveaxis(cells.reshape([1 << bits for bits in storage.bits]), storage.axis, 0)


def pieces_in(storage: Storage, cells: NDArray[Cell]) -> list[NDArray[Cell]]:
    """The cells of every piece as a view (places, other axes…)."""
    ordered = by_place(storage, cells)
    return [ordered[piece.start : piece.start + (1 << piece.log)] for piece in storage.pieces]


def stored_part(storage: Storage, cells: NDArray[Cell]) -> NDArray[Cell]:
    """All stored cells, flat."""
    return by_place(storage, cells)[: storage.places].reshape(-1)


def clear_outside(storage: Storage, cells: NDArray[Any]) -> None:
    """Set the padded cells that are not stored to 0, in place. ``cells`` is contiguous."""
    by_place(storage, cells)[storage.places :] = 0
