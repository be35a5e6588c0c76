"""What an audit came to, as a value that reports render. Everything in it is known to the auditor; nothing is re-read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from verifai.domain.attestation.circuit import FidelityFigures
from verifai.domain.comparison import OutputComparison
from verifai.domain.digest import Sha256
from verifai.domain.evaluation import words
from verifai.domain.evaluation.shown import ShownEvaluation
from verifai.domain.findings import STATUS, Finding, Outcome, worst
from verifai.domain.openings import OpenedBy
from verifai.domain.shown import ShownTensor


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
class AuditReport:
    """The audit of one bundle.

    Attributes:
        path: as the auditor named it.
        bundle_id: ``None`` when it could not even be read.
        words: the statement in plain words, once the proof held and nothing that was given contradicts it; else empty.
        values: what was proven, in values, with the names that the trusted lock has; empty as ``words`` are.
        findings: one per check, in the order of the numbered steps.
        chain: the provenance chain, parents before children.
        comparisons: outputs against the float model; empty when they could not be compared.
        fidelity: as the lock pins it; ``None`` when no trusted lock is about the evidence.
        insecure: insecure modes that the lock pins, such as ``test-srs``; loud in every report.
        facts: what else a reader wants to see, by heading.
        audited: when, UTC.
        opened: the openings of hidden commitments that its verified proof shows; ``None`` when no proof was verified.
        evaluation: a verified evaluation, as reports show it; ``None`` as ``words`` are empty.
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
    values: tuple[ShownTensor, ...] = ()
    evaluation: ShownEvaluation | None = None

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
            "counts": {one.value: sum(found.outcome is one for found in self.findings) for one in Outcome},
            "audited": self.audited,
            "statement": list(self.words),
            "values": [one.to_json() for one in self.values],
            "findings": [one.to_json() for one in self.findings],
            "chain": [
                {"id": one.id, "kind": one.kind, "parents": list(one.parents), "signers": list(one.signers)}
                for one in self.chain
            ],
            "comparisons": [_comparison(one) for one in self.comparisons],
            "insecure": list(self.insecure),
            "facts": dict(self.facts),
            **(
                {}
                if (one := self.evaluation) is None
                else {"evaluation": words.document(one.data, one.metrics, one.confidence)}
            ),
            "openings": [] if self.opened is None else [one.to_json() for one in self.opened.openings],
        }


def _comparison(one: OutputComparison) -> dict[str, Any]:
    """For ``--json``, which has no infinity: null where the float model gives no number."""
    errors = (("max_abs_error", one.max_abs_error), ("mean_abs_error", one.mean_abs_error), ("spread_error", one.spread_error))
    return {
        "output": one.name,
        **{name: error if error is not None and isfinite(error) else None for name, error in errors},
        # null where the output names no class: one number always has its largest value at the same place.
        "same_class": one.same_class,
        "proven": list(one.proven),
        "reference": [value if isfinite(value) else None for value in one.reference],
    }
