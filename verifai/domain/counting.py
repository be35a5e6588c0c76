"""Right answers counted inside a proof: what such a circuit's own input and output are called, and what is pinned of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verifai.domain.record import Record

LABELS = "count.labels"
"""The public input: of each item the place of its class among the circuit's, or -1 where nothing is to be counted."""
RIGHT = "count.right"
"""The public output: how many answers are the labels'."""
NO_LABEL = -1
MAX_ITEMS = (1 << 15) - 1
"""Samples of one proof; so that the count lies within a table of 2^16 values."""


@dataclass(frozen=True, slots=True)
class PinnedCount:
    """What a pinned circuit counts.

    Attributes:
        items: samples per proof.
        answer: the output, hidden, whose answers are counted.
        classes: answers lie in [0, classes).
        label_shape: of one sample's label: no axes, or axes of one.
    """

    items: int
    answer: str
    classes: int
    label_shape: tuple[int, ...] = ()

    def to_document(self) -> dict[str, Any]:
        """As TOML values; the inverse of :func:`count_from_record`."""
        shape = list(self.label_shape)
        return {"items": self.items, "answer": self.answer, "classes": self.classes, "label_shape": shape}


def count_from_record(record: Record) -> PinnedCount:
    """Read what a lock pins of a count. Raises the record's error."""
    found = PinnedCount(
        record.integer("items", low=2, high=MAX_ITEMS),
        record.text("answer", max_length=512),
        record.integer("classes", low=1, high=MAX_ITEMS),
        record.integers("label_shape", low=1, high=1, max_length=6),
    )
    record.done()
    return found
