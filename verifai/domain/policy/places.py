"""Where a finding is answered: the line of the policy that asked, or of the lock that pins. It decides nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.lines import index_of, line_of

_DIGEST = re.compile(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_WORD = re.compile(r"[a-z_0-9]{1,64}(\.[A-Za-z_0-9-]{1,64})?")
_NAMED = re.compile(r":(\d{1,9})(?:: |$)")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a text file. ``line``: 1-based."""

    path: str
    line: int


@dataclass(frozen=True)
class Places:
    """The files that a verdict rests on, as they were read.

    Attributes:
        policy: its path, as a reader of reports finds it.
        text: what it said.
        models: the policy's models, in its order.
        locks: per model, the path of its lock and what that said.
    """

    policy: str
    text: str
    models: Sequence[str]
    locks: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    def of(self, finding: Finding, models: Sequence[str]) -> Place:
        """The place that a finding about ``models`` points at.

        In this order: the line that the finding itself names; the field of the policy's demand that it names; the line of the
        lock with a digest that it names, where the evidence is false; the release; the trust file, for what is asked of
        signers; else the model's table in the policy.
        """
        named = _NAMED.search(finding.where)
        if named and finding.where.startswith(f"{self.policy}:"):
            return Place(self.policy, max(1, int(named[1])))
        model = models[0] if len(models) == 1 and models[0] in self.models else None
        tables = range(len(self.models)) if model is None else [list(self.models).index(model)]
        for at in tables:
            if line := self._demand(at, finding):
                return Place(self.policy, line)
        if finding.outcome is Outcome.REJECTED:
            for digest in _DIGEST.findall(f"{finding.evidence[:4096]} {finding.message[:4096]}"):
                if found := self._pinned.get(digest):
                    return found
        if finding.step[:1] in ("T", "L") and (line := line_of(self.text, "trust")):
            return Place(self.policy, line)
        first = f"model[{tables[0]}]" if len(tables) else "model"
        return Place(self.policy, line_of(self.text, first) or 1)

    def _demand(self, at: int, finding: Finding) -> int:
        """The line of the field of model ``at`` that a finding names; 0 where it names none that stands there."""
        own = {path: line for path, line in self._index.items() if path.startswith(f"model[{at}].")}
        name = finding.where.rpartition(": ")[2]  # "digits: inferences", as demands on a whole model are told
        names = [name] if _WORD.fullmatch(name) else []
        if finding.code == "release-mismatch":
            names.append("release")
        for wanted in names:
            for path, line in own.items():
                if path.removeprefix(f"model[{at}].") == wanted or path.endswith(f".{wanted}"):
                    return line
        return 0

    @cached_property
    def _index(self) -> Mapping[str, int]:
        return index_of(self.text)

    @cached_property
    def _pinned(self) -> Mapping[str, Place]:
        """Digests that the locks pin, each with its first line."""
        found: dict[str, Place] = {}
        for path, text in self.locks.values():
            for number, line in enumerate(text.splitlines(), start=1):
                for digest in _DIGEST.findall(line):
                    found.setdefault(digest, Place(path, number))
        return found
