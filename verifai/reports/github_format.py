"""GitHub annotations: workflow commands, one per line, for a step to print. The job summary is the Markdown report."""

from __future__ import annotations

from verifai.domain.findings import Finding, Outcome
from verifai.reports.interface import Entry, Report
from verifai.reports.text import visible

MAX_PER_KIND = 10
"""GitHub shows ten of a kind per step and drops the rest in silence."""

_KIND = {Outcome.REJECTED: "error", Outcome.POLICY_NOT_MET: "error", Outcome.UNDECIDED: "warning"}


class GitHubFormat:
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "text/plain"

    def render(self, report: Report) -> bytes:
        """At most ten commands of a kind; where there are more, the tenth says how many, and where they are."""
        kinds: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
        for entry, finding in report.failures():
            kind = _KIND[finding.outcome]
            kinds[kind].append(_command(kind, entry, finding))
        for entry, one in report.waived():
            waiver = one.waiver
            text = f"waived by {waiver.id} ({waiver.approver}, until {waiver.expires}): {one.finding.message}"
            kinds["notice"].append(_line("notice", f"{one.finding.code} waived: {entry.name}", text))
        # The verdict comes first, and is never the one that is cut.
        kinds["notice"].insert(0, _line("notice", f"verifai {report.command}: {report.verdict}", report.summary))
        lines = [line for kind, commands in kinds.items() for line in _cut(kind, commands)]
        return ("\n".join(lines) + "\n").encode("utf-8")


def _command(kind: str, entry: Entry, finding: Finding) -> str:
    where = f" (at {finding.where})" if finding.where and finding.where != entry.name else ""
    remedy = f" {finding.remedy}" if finding.remedy else ""
    return _line(kind, f"{finding.code}: {entry.name}", f"{finding.message}{where}{remedy}")


def _cut(kind: str, commands: list[str]) -> list[str]:
    if len(commands) <= MAX_PER_KIND:
        return commands
    more = len(commands) - MAX_PER_KIND + 1
    return [
        *commands[: MAX_PER_KIND - 1],
        _line(kind, f"{more} more", f"{more} further findings of this kind are in the report"),
    ]


def _line(kind: str, title: str, text: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    # visible() leaves no line break, so the escapes of the toolkit for CR and LF never occur. The older command form ##[…] is
    # recognised anywhere in a line, so its opening must not survive either.
    return visible(text).replace("%", "%25").replace("##[", "##\\x5b")


def _property(text: str) -> str:
    return _data(visible(text, 200)).replace(":", "%3A").replace(",", "%2C")
