"""One bundle that a gate judges: what is given, and what was found so far."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from verifai.bundle.dsse import check_signatures
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256
from verifai.domain.evaluation.shown import ShownEvaluation
from verifai.domain.findings import Finding, Outcome
from verifai.domain.openings import OpenedBy
from verifai.domain.policy.contexts import CountedProof
from verifai.domain.policy.demands import EvidenceKind, ModelDemand
from verifai.domain.policy.judge import judge_age
from verifai.domain.shown import ShownTensor
from verifai.domain.trust import Trust, TrustRole
from verifai.errors import VerifaiError
from verifai.stages.gate.load import LoadedPolicy

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle


@dataclass(slots=True)
class GateCase:
    """One open bundle being judged: the first five are given, the rest is what its judges have found."""

    loaded: LoadedPolicy
    bundle: OpenBundle
    path: str
    now: datetime
    budget: Budget
    findings: list[Finding] = field(default_factory=list)
    shows: dict[EvidenceKind, tuple[Sha256, ...]] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    opened: OpenedBy | None = None
    words: tuple[str, ...] = ()
    counted: CountedProof | None = None
    values: tuple[ShownTensor, ...] = ()
    evaluated: ShownEvaluation | None = None

    @property
    def trust(self) -> Trust | None:
        """The policy's trust file."""
        return self.loaded.trust

    def signers(self, role: TrustRole) -> int:
        """How many distinct keys of ``role`` signed the manifest."""
        rule = self.trust.roles.get(role) if self.trust is not None else None
        return 0 if rule is None else len(self.bundle.check_signatures(rule.keys).signers)

    def signers_of(self, attestation: Attestation, role: TrustRole) -> int:
        """How many distinct keys of ``role`` signed one attestation."""
        rule = self.trust.roles.get(role) if self.trust is not None else None
        if rule is None:
            return 0
        return len(check_signatures(attestation.envelope, rule.keys, where=f"attestations/{attestation.id}").signers)

    def judge_age(self, demand: ModelDemand, dates: tuple[str, ...], signers: int) -> None:
        """Hold the evidence's dates, for which ``signers`` trusted keys answer, against the age that the policy allows."""
        finding = judge_age(demand, dates, self.now, signers=signers)
        if finding is not None:
            self.findings.append(finding)

    def add(self, problem: VerifaiError) -> None:
        """Take an error for a finding.

        Raises:
            VerifaiError: the same, if it is a bug of ours or Ctrl-C.
        """
        self.findings.append(finding_of(problem))


def finding_of(problem: VerifaiError) -> Finding:
    """An error as a finding about this bundle; a bug of ours or Ctrl-C is raised."""
    if problem.status in (70, 130):
        raise problem
    finding = Finding.from_error(problem)
    # What the caller asked for was checked before; here such an error says that this bundle could not be looked into.
    return replace(finding, outcome=Outcome.UNDECIDED) if problem.status == 2 else finding
