"""Many bundles on a screen: which are listed, what beside them is none, and the exit status of all together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from verifai.bundle.find import FoundBundles
from verifai.cli.frame import Result, plain
from verifai.cli.text import finding_lines
from verifai.domain.findings import STATUS, Finding, Outcome
from verifai.domain.totals import Totals

if TYPE_CHECKING:
    from rich.console import RenderableType

IN_FULL = 3
"""Up to this many bundles, everything about each is printed; with ``-v`` about all of them."""
SHOWN = 20
"""How many bundles to which nothing happened are listed one by one."""
FAILED_SHOWN = 100
"""How many that failed are listed with their findings."""
OTHERS_TOLD = 10
TEXTS_TOLD = 3

ORDER = (1, 3, 4, 2)
"""Which status comes before which."""


def ended(
    data: Mapping[str, Any],
    lines: Sequence[RenderableType],
    findings: Sequence[Finding],
    status: int,
    totals: Totals,
    *,
    verdict: str = "",
) -> Result:
    """The result over several bundles: it ends in totals, and ``-q`` prints these alone."""
    sentence = plain(totals.sentence())
    return Result(
        {**data, "totals": totals.to_json()},
        [*lines, f"[bold]{sentence}[/]"],
        findings,
        status,
        verdict=verdict,
        brief=[sentence],
    )


def combined_status(statuses: Collection[int], found: FoundBundles) -> int:
    """The exit status over several bundles, and over what lies beside them and was not looked at."""
    every = {*statuses, *(STATUS[finding.outcome] for finding in found.other_findings())}
    return next((status for status in ORDER if status in every), 0)


def other_lines(found: FoundBundles) -> list[str]:
    """What lies in the folders and is no bundle."""
    findings = found.other_findings()
    more = len(findings) - OTHERS_TOLD
    lines = finding_lines(findings[:OTHERS_TOLD])
    return [*lines, f" … and {more} more entries that are no bundles"] if more > 0 else lines


def grouped_lines(heading: str, texts: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Each distinct text once, with how many bundles it is about: many bundles say the same.

    Args:
        heading: in front of the name, or the number, of the bundles.
        texts: name of a bundle and its text; plain, not markup.
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name, text in texts:
        groups.setdefault(tuple(text), []).append(name)
    lines: list[str] = []
    for text, names in list(groups.items())[:TEXTS_TOLD]:
        lines.append(f"{heading} ({plain(names[0]) if len(names) == 1 else f'{len(names)} bundles'}):")
        lines += [f"   {plain(line)}" for line in text]
    more = len(groups) - TEXTS_TOLD
    return [*lines, f" … and {more} other texts; --json has all"] if more > 0 else lines


def unchecked_lines(bundles: Sequence[Sequence[Finding]]) -> list[str]:
    """What was not checked, one line per code with the number of bundles: said once, however many they are."""
    first: dict[str, Finding] = {}
    counts: Counter[str] = Counter()
    for findings in bundles:
        unchecked = [finding for finding in findings if finding.outcome is Outcome.NOT_CHECKED]
        counts.update({finding.code for finding in unchecked})
        for finding in unchecked:
            first.setdefault(finding.code, finding)
    lines = ["Not checked:"] if first else []
    for code, finding in first.items():
        of = "all of them" if counts[code] == len(bundles) else f"{counts[code]} of {len(bundles)}"
        lines.append(f" [dim]–[/] {plain(finding.message)} [dim]\\[{code}] {of}[/]")
    return lines
