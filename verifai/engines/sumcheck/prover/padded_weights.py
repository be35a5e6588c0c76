"""Weights as the prover reads them: over F_p, padded to powers of two, made when they are read where all would be too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.program import Weight
from verifai.engines.sumcheck.circuit.weights import weight_width
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.planning.memory import PADDED_BYTES
from verifai.engines.sumcheck.protocol.layout import Key
from verifai.engines.sumcheck.prover.arrays import to_field
from verifai.engines.sumcheck.prover.kernels import U64


def padded_weight(weight: Weight, cells: NDArray[Any]) -> U64:
    """A weight over F_p with padding 0, in its padded shape."""
    full: Ints = np.zeros(weight.padded, dtype=np.int64)
    full[tuple(slice(0, size) for size in weight.shape)] = cells.reshape(weight.shape)
    return to_field(full)


class PaddedWeights(Sequence[U64]):
    """Every weight in its padded shape."""

    def __init__(self, weights: Sequence[Weight], cells: Sequence[NDArray[Any]]) -> None:
        """``cells``: per weight, its true ones, within its bound."""
        self._weights = tuple(weights)
        self._kept: list[U64] | None = None
        self._cells: list[NDArray[Any]] = []
        if sum(8 << weight.log_cells for weight in weights) <= PADDED_BYTES:
            self._kept = [padded_weight(weight, np.asarray(values)) for weight, values in zip(weights, cells, strict=True)]
        else:
            self._cells = [np.array(values, f"<i{weight_width(one)}") for one, values in zip(weights, cells, strict=True)]

    @overload
    def __getitem__(self, index: int) -> U64: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[U64]: ...
    def __getitem__(self, index: int | slice) -> U64 | Sequence[U64]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return padded_weight(self._weights[index], self._cells[index]) if self._kept is None else self._kept[index]

    def __len__(self) -> int:
        return len(self._weights)

    @property
    def nbytes(self) -> int:
        """Of what is kept."""
        return sum(one.nbytes for one in (self._cells if self._kept is None else self._kept))

    def columns(self) -> Mapping[Key, U64]:
        """The columns of C_w, flat."""
        return _Columns(self)


class _Columns(Mapping[Key, U64]):
    """One column at a time, as it is asked for."""

    def __init__(self, weights: PaddedWeights) -> None:
        self._weights = weights

    def __getitem__(self, key: Key) -> U64:
        kind, index, number = key
        if kind != "weight" or number or not 0 <= index < len(self._weights):
            raise KeyError(key)
        return self._weights[index].reshape(-1)

    def __iter__(self) -> Iterator[Key]:
        return (("weight", index, 0) for index in range(len(self._weights)))

    def __len__(self) -> int:
        return len(self._weights)
