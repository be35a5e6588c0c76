"""The audit as Markdown, for tickets and pull requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from verifai.domain.audit import AuditReport
from verifai.domain.audit_words import audit_sentence, count_checks
from verifai.domain.codes import remedy
from verifai.domain.findings import Finding, Outcome
from verifai.domain.shown import shown_blocks
from verifai.reports.text import visible

WORDS = {
    Outcome.HOLDS: "accepted",
    Outcome.REJECTED: "rejected",
    Outcome.POLICY_NOT_MET: "not accepted",
    Outcome.UNDECIDED: "undecided",
    Outcome.NOT_CHECKED: "undecided",
}

_SPECIAL = re.compile(r"[\\`*_\[\]<>|~#!&]")


def escaped(text: str) -> str:
    """Foreign text as prose that shows exactly it: no emphasis, link, mention, table cell or line of its own."""
    plain = visible(text).replace("\n", " ")
    told = _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", plain)
    return told.replace("@", "&#64;").replace("://", "&#58;//").replace("www.", "www&#46;")


def _spaced(told: str) -> str:
    """With the spaces that begin a line of code, which Markdown leaves out."""
    return told.replace("  ", "&nbsp; ")


def render_markdown(reports: Sequence[AuditReport]) -> bytes:
    """``reports`` in order, an overview first when there are several. Equal reports give equal bytes."""
    return b"".join(markdown_pieces(reports))


def markdown_pieces(reports: Sequence[AuditReport]) -> Iterator[bytes]:
    """The same in pieces, one bundle after the other: thousands need not be in memory."""
    return ((line + "\n").encode("utf-8", errors="backslashreplace") for line in _without_empty_end(_lines(reports)))


def _lines(reports: Sequence[AuditReport]) -> Iterator[str]:
    yield f"# Audit of {escaped(reports[0].path)}" if len(reports) == 1 else f"# Audit of {len(reports)} bundles"
    yield ""
    if len(reports) > 1:
        yield from ("| bundle | verdict | hold | not made | failed |", "| --- | --- | --- | --- | --- |")
        for report in reports:
            hold, unmade, failed = count_checks(report)
            yield f"| {escaped(report.path)} | {WORDS[report.outcome]} | {hold} | {unmade} | {failed} |"
        yield ""
    for report in reports:
        yield from _section(report, several=len(reports) > 1)


def _without_empty_end(lines: Iterator[str]) -> Iterator[str]:
    empty = 0
    for line in lines:
        if line:
            yield from [""] * empty
            yield line
        empty = 0 if line else empty + 1


def _section(report: AuditReport, *, several: bool) -> list[str]:
    lines = [f"## {escaped(report.path)}", ""] if several else []
    lines += [f"**{WORDS[report.outcome].capitalize()}.** {escaped(audit_sentence(report))}", ""]
    lines += [f"Insecure: {escaped(mode)}" for mode in report.insecure]
    for head, *text in shown_blocks(report.values):
        lines += [f"- {escaped(head)}", *(f"    - {_spaced(escaped(line))}" for line in text)]
    if report.values:
        lines.append("")
    bad = [one for one in report.findings if one.outcome not in (Outcome.HOLDS, Outcome.NOT_CHECKED)]
    if bad:
        lines += ["### What is wrong", "", *(_item(one) for one in bad), ""]
    rows = [f"| {escaped(one.step)} | {one.outcome.value} | {escaped(one.message)} | `{one.code}` |" for one in report.findings]
    lines += ["### Every check", "", "| step | outcome | check | code |", "| --- | --- | --- | --- |", *rows, ""]
    if report.words:
        lines += ["### What the evidence says", "", *(f"- {escaped(line)}" for line in report.words), ""]
    facts = {"Bundle": report.bundle_id or "unreadable", **report.facts, "Audited": report.audited}
    lines += ["### Identifiers", "", "| what | value |", "| --- | --- |"]
    return [*lines, *(f"| {escaped(name)} | {escaped(value)} |" for name, value in facts.items()), ""]


def _item(one: Finding) -> str:
    advice = one.remedy or remedy(one.code)
    what = f" What to do: {escaped(advice)}" if advice else ""
    return f"- {escaped(one.message)} (`{one.code}`).{what}"
