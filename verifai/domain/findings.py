"""Findings and verdicts: what a check saw, and what follows from all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

from verifai.errors import VerifaiError


class Outcome(StrEnum):
    """What one check came to; the word used in JSON and reports."""

    HOLDS = "holds"
    REJECTED = "rejected"
    POLICY_NOT_MET = "policy-not-met"
    UNDECIDED = "undecided"
    NOT_CHECKED = "not-checked"


STATUS: dict[Outcome, int] = {
    Outcome.HOLDS: 0,
    Outcome.REJECTED: 1,
    Outcome.POLICY_NOT_MET: 3,
    Outcome.UNDECIDED: 4,
    Outcome.NOT_CHECKED: 0,
}
"""Exit status per outcome. ``not-checked`` is 0 only because it is said aloud; a policy can demand the check."""

_SEVERITY = (
    Outcome.REJECTED,
    Outcome.POLICY_NOT_MET,
    Outcome.UNDECIDED,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One check's result.

    Attributes:
        code: stable identifier, listed in ``verifai.domain.codes``.
        outcome: what it came to.
        message: one sentence for a person.
        where: file, field, node or tensor.
        evidence: the figures or digests compared.
        remedy: what to do; empty when it holds.
        step: number of the verification step in ``docs/bundle-format.md``; empty when there is none.
    """

    code: str
    outcome: Outcome
    message: str
    where: str = ""
    evidence: str = ""
    remedy: str = ""
    step: str = ""

    def to_json(self) -> dict[str, str]:
        """The finding as a JSON object; empty fields are left out."""
        fields = {
            "code": self.code,
            "outcome": self.outcome.value,
            "message": self.message,
            "where": self.where,
            "evidence": self.evidence,
            "remedy": self.remedy,
            "step": self.step,
        }
        return {name: value for name, value in fields.items() if value}

    @classmethod
    def from_error(cls, error: VerifaiError, *, step: str = "") -> Finding:
        """The finding that says what ``error`` says. Only a check that failed rejects: what could not be asked is undecided."""
        outcome = {1: Outcome.REJECTED, 3: Outcome.POLICY_NOT_MET}.get(error.status, Outcome.UNDECIDED)
        return cls(error.code, outcome, error.message, where=error.where, remedy=error.hint, step=step)


def holds(code: str, message: str, step: str = "", *, where: str = "", evidence: str = "") -> Finding:
    """A check that holds."""
    return Finding(code, Outcome.HOLDS, message, where=where, evidence=evidence, step=step)


def not_checked(code: str, message: str, step: str = "", *, remedy: str = "", where: str = "") -> Finding:
    """Something that was not looked at, said aloud."""
    return Finding(code, Outcome.NOT_CHECKED, message, where=where, remedy=remedy, step=step)


def missed(code: str, message: str, remedy: str, *, where: str = "") -> Finding:
    """A demand of a policy that genuine evidence does not meet, and what to do."""
    return Finding(code, Outcome.POLICY_NOT_MET, message, where=where, remedy=remedy)


def at_step(finding: Finding, step: str) -> Finding:
    """The same finding under another step's number."""
    return replace(finding, step=step)


def folded(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """For people: what is said alike of three places or more, and nothing is to be done about, said once, with their number.

    An evaluation holds an attestation for each proof, and all of them are, say, unsigned.
    """
    listed = list(findings)
    calm = [replace(one, where="") if one.outcome in (Outcome.HOLDS, Outcome.NOT_CHECKED) else None for one in listed]
    counted = Counter(one for one in calm if one is not None)
    found: list[Finding] = []
    told: set[Finding] = set()
    for one, key in zip(listed, calm, strict=True):
        if key is None or counted[key] < _MANY or not one.where:
            found.append(one)
        elif key not in told:
            found.append(replace(one, where=f"{one.where}, and {counted[key] - 1:,} more"))
            told.add(key)
    return tuple(found)


_MANY = 3


def worst(findings: Iterable[Finding]) -> Outcome:
    """The outcome of all findings together: rejected before policy-not-met before undecided.

    No finding at all is undecided: nothing was checked.
    """
    outcomes = {finding.outcome for finding in findings}
    for outcome in _SEVERITY:
        if outcome in outcomes:
            return outcome
    return Outcome.HOLDS if Outcome.HOLDS in outcomes else Outcome.UNDECIDED
