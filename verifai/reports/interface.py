"""What a report is, and what every format must offer. ``tests/contract/test_reports.py`` holds every format to it.

A report says what a verdict says and adds nothing: formats never decide, and the exit status never depends on one. All text in
it may come from hostile names; each format escapes for its own reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol

from verifai.domain.evaluation.shown import ShownEvaluation
from verifai.domain.findings import Finding, Outcome
from verifai.domain.on_demand import Revisited
from verifai.domain.policy.places import Places
from verifai.domain.policy.waiver import WaivedFinding
from verifai.domain.shown import ShownTensor


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that was judged.

    Attributes:
        kind: ``policy``, ``model`` or ``bundle``.
        name: a path or a model's name.
        identifier: SHA-256 of the model, or the bundle's identifier; empty when there is none.
        outcome: over its findings.
        findings: those that stand, in order.
        waived: those that a waiver covers.
        facts: further figures for people, by name.
        words: what a verified statement hides and does not hide, in sentences; empty when nothing was verified.
        values: what it shows, in values; long tensors may be cut.
        evaluation: a verified evaluation; ``None`` for other evidence.
        models: the policy's models that it is about.
        seconds: how long judging it took, by the clock; ``None`` where nothing was timed.
    """

    kind: str
    name: str
    identifier: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    waived: tuple[WaivedFinding, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    values: tuple[ShownTensor, ...] = ()
    evaluation: ShownEvaluation | None = None
    models: tuple[str, ...] = ()
    seconds: float | None = None

    def failures(self) -> tuple[Finding, ...]:
        """The findings because of which the status is not 0."""
        bad = (Outcome.REJECTED, Outcome.POLICY_NOT_MET, Outcome.UNDECIDED)
        return tuple(finding for finding in self.findings if finding.outcome in bad)


@dataclass(frozen=True, slots=True)
class Report:
    """A whole verdict, ready to be written in any format.

    Attributes:
        command: the verb, such as ``gate``.
        verdict: in one word; the one of ``--json``.
        status: exit status.
        summary: one sentence.
        created: UTC, the run's clock.
        version: of verifai.
        facts: about the run, such as the policy's digest.
        entries: may be made anew whenever they are gone through: there may be many thousands.
        error: what kept the run from judging; ``None`` when it judged.
        places: finds the line of the policy or of a lock that a finding is about; ``None`` when none was read.
        codes_page: address of a page that explains the codes; empty for none.
    """

    command: str
    verdict: str
    status: int
    summary: str
    created: str
    version: str
    entries: Sequence[Entry] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    error: Finding | None = None
    places: Places | None = None
    codes_page: str = ""

    def failures(self) -> Revisited[tuple[Entry, Finding]]:
        """Every finding because of which the status is not 0, with what it is about; the run's own error first."""
        return Revisited(lambda: ((entry, finding) for entry in self.all_entries() for finding in entry.failures()))

    def all_entries(self) -> Revisited[Entry]:
        """The entries, after one for the run's own error where there is one."""
        error = self.error
        own = [] if error is None else [Entry("run", self.command, "", error.outcome, (error,))]
        return Revisited(lambda: chain(own, self.entries))

    def of_kind(self, kind: str) -> Revisited[Entry]:
        """The entries of one kind."""
        return Revisited(lambda: (entry for entry in self.entries if entry.kind == kind))

    def words(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """Each distinct text about privacy, with the names of the entries that it is about: many bundles say the same."""
        found: dict[tuple[str, ...], list[str]] = {}
        for entry in self.entries:
            if entry.words:
                found.setdefault(entry.words, []).append(entry.name)
        return tuple((words, tuple(names)) for words, names in found.items())

    def waived(self) -> Revisited[tuple[Entry, WaivedFinding]]:
        """Every waived finding, with what it is about."""
        return Revisited(lambda: ((entry, waived) for entry in self.entries for waived in entry.waived))


class ReportFormat(Protocol):
    """One format. Stateless."""

    @property
    def media_type(self) -> str:
        """Such as ``application/json``."""

    def pieces(self, report: Report) -> Iterator[bytes]:
        """The file in pieces, none of them large; equal reports give equal bytes. Never raises on hostile text."""

    def render(self, report: Report) -> bytes:
        """The whole file."""
        return b"".join(self.pieces(report))
