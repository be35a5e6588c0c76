"""What is said about a code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One stable code.

    Attributes:
        statuses: the exit statuses it can occur with; 0 for a check that holds.
        meaning: one sentence.
        remedy: what to do.
    """

    statuses: tuple[int, ...]
    meaning: str
    remedy: str
