"""Markdown (GitHub flavour), for job summaries and merge requests: failures first, cut with a notice below 1 MiB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from verifai.domain.findings import Finding, Outcome
from verifai.domain.on_demand import Revisited
from verifai.domain.shown import shown_lines
from verifai.reports.interface import Entry, Report, ReportFormat
from verifai.reports.text import visible

MAX_BYTES = 1_000_000
"""A job summary over 1 MiB is dropped in silence (actions/runner#4337); a step may have written something before."""

_MARK = {
    Outcome.HOLDS: "✅ accepted",
    Outcome.REJECTED: "❌ rejected",
    Outcome.POLICY_NOT_MET: "⚠️ policy not met",
    Outcome.UNDECIDED: "❔ undecided",
    Outcome.NOT_CHECKED: "– not checked",
}


class MarkdownFormat(ReportFormat):
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "text/markdown"

    def pieces(self, report: Report) -> Iterator[bytes]:
        """Verdict, failures, waivers, models, bundles, values, what is hidden, in this order, as far as there is room."""
        page = _Page(MAX_BYTES)
        mark = "✅" if report.status == 0 else "❌"
        page.add(f"## {mark} verifai {report.command}: {report.verdict}\n\n{code(report.summary)}\n")
        for name, value in report.facts.items():
            page.add(f"- {code(name)}: {code(value)}")
        page.add(f"- decided {code(report.created)} by verifai {code(report.version)}, exit status {report.status}\n")
        failures = report.failures()
        if failures:
            page.table("What failed", ("about", "finding", "what", "remedy"), (_failure_row(*one) for one in failures))
        waived = report.waived()
        if waived:
            rows = (
                (code(entry.name), code(one.finding.code), code(one.waiver.id), code(one.waiver.approver),
                 code(one.waiver.expires), code(one.waiver.reason))
                for entry, one in waived
            )  # fmt: skip
            page.table("Waived, and so not failed", ("about", "finding", "waiver", "approver", "until", "reason"), rows)
        for kind, title in (("model", "Models"), ("bundle", "Bundles")):
            entries = report.of_kind(kind)
            if entries:
                page.table(title, (kind, "identifier", "outcome", "facts"), (_entry_row(entry) for entry in entries))
        proven = Revisited(lambda: ((entry, line) for entry in report.entries for line in shown_lines(entry.values)))
        if proven:
            lines = ((code(entry.name), code(line)) for entry, line in proven)
            page.table("What was proven, in values", ("bundle", "values"), lines)
        for words, names in report.words():
            page.add(f"\n### What the proofs hide ({_which(names)})\n")
            for line in words:
                page.add(f"- {code(line)}")
        yield page.done()


def _failure_row(entry: Entry, finding: Finding) -> tuple[str, ...]:
    where = f" (at {code(finding.where)})" if finding.where and finding.where != entry.name else ""
    return code(entry.name), code(finding.code), code(finding.message) + where, code(finding.remedy)


def _entry_row(entry: Entry) -> tuple[str, ...]:
    facts = "; ".join(f"{code(name)} {code(value[:24])}" for name, value in entry.facts.items())
    return code(entry.name), code(entry.identifier[:16]), _MARK[entry.outcome], facts


def _which(names: tuple[str, ...]) -> str:
    return code(names[0]) if len(names) == 1 else f"{len(names)} bundles"


def code(text: str) -> str:
    """Foreign text as a code span, safe inside a table cell too; empty text stays empty.

    Character references would not do: mentions, issue numbers and addresses are looked for in the *rendered* text by GitHub and
    GitLab, which leave out only what is code.
    """
    shown = visible(text, 1000)
    if not shown:
        return ""
    # Code spans know no escapes, so a fence longer than any run inside; a bar would end the cell.
    longest = max((len(run) for run in "".join(char if char == "`" else " " for char in shown).split()), default=0)
    fence = "`" * (longest + 1)
    pad = " " if "`" in shown else ""
    return f"{fence}{pad}{shown.replace('|', '¦')}{pad}{fence}"


class _Page:
    """Text that grows up to a limit; what does not fit is counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit - 200  # room for the notice
        self._parts: list[str] = []
        self._size = 0
        self._left_out = 0

    def add(self, text: str) -> bool:
        size = len(text.encode("utf-8")) + 1
        if self._left_out or self._size + size > self._limit:
            self._left_out += 1
            return False
        self._parts.append(text)
        self._size += size
        return True

    def table(self, title: str, headings: Iterable[str], rows: Iterable[tuple[str, ...]]) -> None:
        names = list(headings)
        self.add(f"\n### {title}\n\n| {' | '.join(names)} |\n|{' --- |' * len(names)}")
        for row in rows:
            self.add(f"| {' | '.join(row)} |")

    def done(self) -> bytes:
        if self._left_out:
            self._parts.append(
                f"\n> **Cut:** {self._left_out} further lines do not fit into a job summary. The JSON report holds everything."
            )
        return ("\n".join(self._parts) + "\n").encode("utf-8")
