"""The array that cells of tensors and weights are kept in."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int64]
"""Integers of a tensor, a column or a weight: int64, shape as its owner says."""
