"""Totals over many bundles: how many came to what, and by which codes. One sentence, and the same figures for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SHOWN_CODES = 8
"""How many codes the sentence names; the figures have all."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts over what was looked at.

    Attributes:
        outcomes: how many came to each outcome, in the order of the words given.
        codes: how many of them failed by each code; one that failed by two counts under both.
        others: entries of folders that are no bundles.
    """

    outcomes: Mapping[str, int]
    codes: Mapping[str, int] = field(default_factory=dict)
    others: int = 0

    @property
    def count(self) -> int:
        """How many there were."""
        return sum(self.outcomes.values())

    def sentence(self) -> str:
        """``200 bundles: 197 accepted, 3 rejected; codes: proof-invalid 2, digest-mismatch 1``."""
        parts = [f"{count} {word.replace('-', ' ')}" for word, count in self.outcomes.items() if count]
        told = f"{_of(self.count, 'bundle')}: {', '.join(parts) or 'none'}"
        if self.codes:
            most = sorted(self.codes.items(), key=lambda item: (-item[1], item[0]))
            named = [f"{code} {count}" for code, count in most[:SHOWN_CODES]]
            more = [f"{len(most) - SHOWN_CODES} more codes"] if len(most) > SHOWN_CODES else []
            told += f"; codes: {', '.join([*named, *more])}"
        return told + (f"; {_of(self.others, 'other entry', 'other entries')} not looked at" if self.others else "")

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "bundles": self.count,
            "outcomes": dict(self.outcomes),
            "codes": dict(sorted(self.codes.items())),
            "others": self.others,
        }


def count_outcomes(words: Iterable[str], found: Iterable[tuple[str, Iterable[str]]], *, others: int = 0) -> Totals:
    """Totals of what was found.

    Args:
        words: every outcome there is, in the order in which they are told.
        found: per bundle, its outcome and the codes by which it failed.
    """
    outcomes = dict.fromkeys(words, 0)
    codes: Counter[str] = Counter()
    for word, failed_by in found:
        outcomes[word] += 1
        codes.update(set(failed_by))
    return Totals(outcomes, codes, others)


def _of(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"
