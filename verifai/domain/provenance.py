"""From a signed release to a proof, link by link: what each link rests on, in findings and sentences.

A proof under a weight root shows that one fixed model answered, not which. The chain that ties the root to a release that
people know has three links before the proof: who signed the release (P1), that its files give the pinned model (P2), and that
the model gives the pinned circuit and weight root (P3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from verifai.domain.findings import Finding, Outcome, holds, not_checked


class LinkState(StrEnum):
    """What a link rests on."""

    REDERIVED = "re-derived here"
    SIGNED = "somebody's signature"
    MISSING = "missing"
    BROKEN = "broken"


SIGNED_CODE, REDERIVED_CODE, ATTESTED_CODE = "provenance-signed", "provenance-rederived", "provenance-attested"
MISSING_CODE, BROKEN_CODE = "provenance-missing", "provenance-broken"
NOT_JUDGED_CODE = "provenance-not-judged"
_TITLES = {"P1": "who published it", "P2": "from release to model", "P3": "from model to circuit and weights"}


@dataclass(frozen=True, slots=True)
class Link:
    """One link.

    Attributes:
        step: P1, P2 or P3.
        words: one sentence without a full stop.
        finding: what is wrong, where something is; its step is set.
    """

    step: str
    state: LinkState
    words: str
    finding: Finding | None = None

    def judge(self, *, demanded: bool = False) -> Finding:
        """The link as a finding. ``demanded``: whether a policy asks for it."""
        if self.finding is not None:
            return self.finding
        message = f"{_TITLES[self.step]}: {self.words}"
        if self.state is LinkState.MISSING:
            hint = "Pin a signed release: `verifai provenance`; have the derivation repeated: `verifai notarise`."
            if demanded:
                return Finding(MISSING_CODE, Outcome.POLICY_NOT_MET, message, where=self.step, remedy=hint, step=self.step)
            return not_checked(MISSING_CODE, message, self.step, remedy=hint)
        if self.state is LinkState.REDERIVED:
            return holds(REDERIVED_CODE, f"{message} (re-derived here)", self.step)
        code = SIGNED_CODE if self.step == "P1" else ATTESTED_CODE
        return holds(code, f"{message} (rests on that signature)", self.step)


@dataclass(frozen=True, slots=True)
class Origin:
    """The three links of one bundle, or of one lock.

    Attributes:
        signers: names of the trust file's entries that signed the release.
    """

    links: tuple[Link, ...]
    signers: tuple[str, ...] = ()

    def findings(self, *, demanded: bool = False) -> tuple[Finding, ...]:
        """One per link."""
        return tuple(link.judge(demanded=demanded) for link in self.links)


class Derivation(StrEnum):
    """What the links from a release to a circuit must rest on, weakest first."""

    ATTESTED = "attested"
    REDERIVED = "re-derived"


@dataclass(frozen=True, slots=True)
class ProvenanceDemand:
    """``[model.provenance]`` of a policy.

    Attributes:
        signed_by: names of ``[[model_signers]]``, one of whom must have signed the release.
        derivation: what the other links must rest on.
        files: the release's folder or file, relative to the policy; needed to derive here.
        signature: its signature file; by default ``model.sig`` in it.
        circuit: the circuit's folder with the secrets of private weights, relative likewise.
    """

    signed_by: tuple[str, ...]
    derivation: Derivation = Derivation.ATTESTED
    files: str | None = None
    signature: str | None = None
    circuit: str | None = None


def judge_origin(demand: ProvenanceDemand, origin: Origin) -> tuple[Finding, ...]:
    """The links against what a policy demands."""
    found: list[Finding] = []
    for link in origin.links:
        finding = link.judge(demanded=True)
        if link.step != "P1" and link.state is LinkState.SIGNED and demand.derivation is Derivation.REDERIVED:
            message = f"{_TITLES[link.step]}: {link.words}; the policy demands that it is derived here"
            remedy = "Name the folder of the release in the policy."
            finding = Finding(MISSING_CODE, Outcome.POLICY_NOT_MET, message, where=link.step, remedy=remedy, step=link.step)
        found.append(finding)
    signed = next(link for link in origin.links if link.step == "P1").state is LinkState.SIGNED
    if signed and not set(origin.signers) & set(demand.signed_by):
        names, wanted = (", ".join(map(repr, one)) for one in (origin.signers, demand.signed_by))
        message = f"the release is signed by {names}, the policy demands {wanted}"
        remedy = "Release what the named signer signed, or review the policy."
        found.append(
            Finding("model-signer-not-trusted", Outcome.POLICY_NOT_MET, message, where="signed_by", remedy=remedy, step="P1")
        )
    return tuple(found)


def worst_state(links: Sequence[Link]) -> LinkState:
    """Of several links, the weakest."""
    order = (LinkState.BROKEN, LinkState.MISSING, LinkState.SIGNED, LinkState.REDERIVED)
    return min((link.state for link in links), key=order.index)
