"""What an audit came to, as a value that reports render. Everything in it is known to the auditor; nothing is re-read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from typing import Any

from verifai.domain.attestation.circuit import FidelityFigures
from verifai.domain.digest import Sha256
from verifai.domain.findings import STATUS, Finding, Outcome, worst
from verifai.domain.openings import OpenedBy


@dataclass(frozen=True, slots=True)
class ChainNode:
    """One link of the provenance chain.

    Attributes:
        id: identifier of the attestation or manifest, or the digest of a file.
        kind: ``model``, ``circuit``, ``proof``, ``bundle``, or another predicate's name.
        parents: ids of nodes that this one builds on.
        signers: names of the trusted keys that signed it; empty when none did.
    """

    id: str
    kind: str
    parents: tuple[str, ...]
    signers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """One output tensor: what the circuit proved, and what the float model gives for the same input.

    Attributes:
        proven, reference: all values, row-major, in the model's units.
    """

    name: str
    shape: tuple[int, ...]
    proven: tuple[float, ...]
    reference: tuple[float, ...]

    @property
    def place(self) -> int:
        """Index of the largest proven value."""
        return self.proven.index(max(self.proven))

    @property
    def errors(self) -> tuple[float, ...]:
        """Absolute difference per value; infinite where the float model gives no number, so that NaN is never near."""
        found = (abs(left - right) for left, right in zip(self.proven, self.reference, strict=True))
        return tuple(one if isfinite(one) else inf for one in found)

    @property
    def max_abs_error(self) -> float:
        """The largest absolute difference."""
        return max(self.errors)

    @property
    def mean_abs_error(self) -> float:
        """The mean absolute difference."""
        return sum(self.errors) / len(self.errors)

    @property
    def same_class(self) -> bool:
        """Whether both have their largest value at the same place."""
        return self.place == self.reference.index(max(self.reference))


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The audit of one bundle.

    Attributes:
        path: as the auditor named it.
        bundle_id: ``None`` when it could not even be read.
        words: the statement in plain words, once the proof held; else empty.
        findings: one per check, in the order of the numbered steps.
        chain: the provenance chain, parents before children.
        comparisons: outputs against the float model; empty when they could not be compared.
        fidelity: as the lock pins it; ``None`` when no trusted lock is about the evidence.
        insecure: insecure modes that the lock pins, such as ``test-srs``; loud in every report.
        facts: what else a reader wants to see, by heading.
        audited: when, UTC.
        opened: the openings of hidden commitments that its verified proof shows; ``None`` when no proof was verified.
        usage: whether it was not audited because of how it was asked for, such as a path that is not there.
    """

    path: str
    bundle_id: Sha256 | None
    words: tuple[str, ...]
    findings: tuple[Finding, ...]
    chain: tuple[ChainNode, ...] = ()
    comparisons: tuple[OutputComparison, ...] = ()
    fidelity: FidelityFigures | None = None
    insecure: tuple[str, ...] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    audited: str = ""
    usage: bool = False
    opened: OpenedBy | None = None

    @property
    def outcome(self) -> Outcome:
        """Of all findings together."""
        return worst(self.findings)

    @property
    def status(self) -> int:
        """Exit status."""
        return 2 if self.usage else STATUS[self.outcome]

    @property
    def not_checked(self) -> tuple[Finding, ...]:
        """The checks that were not made."""
        return tuple(one for one in self.findings if one.outcome is Outcome.NOT_CHECKED)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "path": self.path,
            "bundle_id": self.bundle_id,
            "verdict": self.outcome.value,
            "audited": self.audited,
            "statement": list(self.words),
            "findings": [one.to_json() for one in self.findings],
            "chain": [
                {"id": one.id, "kind": one.kind, "parents": list(one.parents), "signers": list(one.signers)}
                for one in self.chain
            ],
            "comparisons": [
                {
                    "output": one.name,
                    # JSON has no infinity: null where the float model gives no number.
                    "max_abs_error": one.max_abs_error if isfinite(one.max_abs_error) else None,
                    "mean_abs_error": one.mean_abs_error if isfinite(one.mean_abs_error) else None,
                    "same_class": one.same_class,
                }
                for one in self.comparisons
            ],
            "insecure": list(self.insecure),
            "facts": dict(self.facts),
            "openings": [] if self.opened is None else [one.to_json() for one in self.opened.openings],
        }
