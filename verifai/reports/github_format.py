"""GitHub annotations: workflow commands, one per line, for a step to print. The job summary is the Markdown report."""

from __future__ import annotations

from collections.abc import Iterator

from verifai.domain.findings import Finding, Outcome
from verifai.reports.interface import Entry, Report, ReportFormat
from verifai.reports.text import visible

MAX_PER_KIND = 10
"""GitHub shows ten of a kind per step and drops the rest in silence."""

_KIND = {Outcome.REJECTED: "error", Outcome.POLICY_NOT_MET: "error", Outcome.UNDECIDED: "warning"}


class GitHubFormat(ReportFormat):
    """Implements :class:`verifai.reports.interface.ReportFormat`."""

    @property
    def media_type(self) -> str:
        """See the protocol."""
        return "text/plain"

    def pieces(self, report: Report) -> Iterator[bytes]:
        """At most ten commands of a kind; where there are more, the tenth says how many, and where they are."""
        kinds = {kind: _Kind(kind) for kind in ("error", "warning", "notice")}
        # The verdict comes first, and is never the one that is cut.
        kinds["notice"].add(_line("notice", f"verifai {report.command}: {report.verdict}", report.summary))
        for entry, finding in report.failures():
            kind = _KIND[finding.outcome]
            kinds[kind].add(_command(kind, entry, finding))
        for entry, one in report.waived():
            waiver = one.waiver
            text = f"waived by {waiver.id} ({waiver.approver}, until {waiver.expires}): {one.finding.message}"
            kinds["notice"].add(_line("notice", f"{one.finding.code} waived: {entry.name}", text))
        lines = [line for kind in kinds.values() for line in kind.cut()]
        yield ("\n".join(lines) + "\n").encode("utf-8")


def _command(kind: str, entry: Entry, finding: Finding) -> str:
    where = f" (at {finding.where})" if finding.where and finding.where != entry.name else ""
    remedy = f" {finding.remedy}" if finding.remedy else ""
    return _line(kind, f"{finding.code}: {entry.name}", f"{finding.message}{where}{remedy}")


class _Kind:
    """The commands of a kind, as many as are shown; the others are counted."""

    def __init__(self, name: str) -> None:
        self._name, self._commands, self._count = name, list[str](), 0

    def add(self, command: str) -> None:
        self._count += 1
        if self._count <= MAX_PER_KIND:
            self._commands.append(command)

    def cut(self) -> list[str]:
        if self._count <= MAX_PER_KIND:
            return self._commands
        more = self._count - MAX_PER_KIND + 1
        told = _line(self._name, f"{more} more", f"{more} further findings of this kind are in the report")
        return [*self._commands[: MAX_PER_KIND - 1], told]


def _line(kind: str, title: str, text: str) -> str:
    return f"::{kind} title={_property(title)}::{_data(text)}"


def _data(text: str) -> str:
    # visible() leaves no line break, so the escapes of the toolkit for CR and LF never occur. The older command form ##[…] is
    # recognised anywhere in a line, so its opening must not survive either.
    return visible(text).replace("%", "%25").replace("##[", "##\\x5b")


def _property(text: str) -> str:
    return _data(visible(text, 200)).replace(":", "%3A").replace(",", "%2C")
