"""Which columns of a table (CSV, Parquet) are which input of a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TableColumns:
    """What is known of the columns.

    Attributes:
        names: by input, the names of its columns in order; an input that is not listed has none that are known.
        dropped: columns that are no input, such as the target; they are left out where a table has them.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()


UNNAMED = TableColumns()
"""Nothing is known."""
