"""Tensor specifications: name, element type and static shape."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One model input or output.

    Attributes:
        dtype: NumPy name, such as ``float32`` or ``int64``.
        shape: static sizes, row-major; batch included.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of cells."""
        return prod(self.shape)
