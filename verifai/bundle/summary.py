"""What a bundle claims to hold, unverified: for display and comparison, never for a verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.bundle.log_check import CHECKPOINT_FILE
from verifai.bundle.note import parse_checkpoint
from verifai.bundle.reader import OpenBundle
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.evaluation import EvaluationPredicate
from verifai.domain.attestation.manifest import FileEntry
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.claim_words import claim_words
from verifai.domain.digest import Sha256
from verifai.domain.privacy_words import privacy_document
from verifai.domain.shown import ShownTensor, shown_values


@dataclass(frozen=True)
class AttestationSummary:
    """One attestation, shortened.

    Attributes:
        signers: key identifiers as the envelope names them; not verified.
        facts: its predicate, or the parts of it that a person wants to see.
        words: what it says in sentences, where it is no proof.
    """

    id: Sha256
    predicate_type: str
    parents: tuple[Sha256, ...]
    signers: tuple[str, ...]
    facts: Mapping[str, Any]
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class BundleSummary:
    """What a bundle says about itself.

    Attributes:
        signers: key identifiers on the manifest, not verified; empty when unsigned.
        circuit, proof: the first of each kind, or ``None``. evaluation: whether the proofs are those of a data set's samples.
        log: origin and size of the checkpoint inside, or ``None``.
    """

    path: Path
    bundle_id: Sha256
    created: str
    succeeds: Sha256 | None
    files: tuple[FileEntry, ...]
    signers: tuple[str, ...]
    attestations: tuple[AttestationSummary, ...]
    circuit: CircuitPredicate | None
    proof: ProofPredicate | None
    log: tuple[str, int] | None
    evaluation: bool = False

    @property
    def values(self) -> tuple[ShownTensor, ...]:
        """The public tensors that it claims, in values; a bundle's own word for what they are called is not taken."""
        return () if self.proof is None or self.evaluation else shown_values(self.proof.statement)

    def to_json(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "path": str(self.path),
            "bundle_id": self.bundle_id,
            "created": self.created,
            "succeeds": self.succeeds,
            "signers": list(self.signers),
            "files": [{"path": one.path, "size": one.size, "sha256": one.sha256} for one in self.files],
            "attestations": [
                {
                    "id": one.id,
                    "type": one.predicate_type,
                    "parents": list(one.parents),
                    "signers": list(one.signers),
                    "predicate": dict(one.facts),
                }
                for one in self.attestations
            ],
            "privacy": None if self.proof is None else privacy_document(self.proof.statement),
            "values": [one.to_json() for one in self.values],
            "log": None if self.log is None else {"origin": self.log[0], "size": self.log[1]},
            "verified": False,
        }


def summarise(bundle: OpenBundle) -> BundleSummary:
    """Shorten an open bundle. Raises EvidenceRejected (``log-malformed``)."""
    attestations = [one for _, one in sorted(bundle.attestations.items())]
    checkpoint = None
    if CHECKPOINT_FILE in bundle.log:
        checkpoint = parse_checkpoint(bundle.log[CHECKPOINT_FILE], "log/checkpoint")
    return BundleSummary(
        path=bundle.path,
        bundle_id=bundle.bundle_id,
        created=bundle.manifest.created,
        succeeds=bundle.manifest.succeeds,
        files=bundle.manifest.files,
        signers=tuple(one.keyid for one in bundle.envelope.signatures),
        attestations=tuple(
            AttestationSummary(
                one.id,
                one.predicate.TYPE,
                one.predicate.parents(),
                tuple(signature.keyid for signature in one.envelope.signatures),
                one.predicate.to_json(),
                claim_words(one.predicate),
            )
            for one in attestations
        ),
        circuit=next((one.predicate for one in attestations if isinstance(one.predicate, CircuitPredicate)), None),
        proof=next((one.predicate for one in attestations if isinstance(one.predicate, ProofPredicate)), None),
        log=None if checkpoint is None else (checkpoint.origin, checkpoint.size),
        evaluation=any(isinstance(one.predicate, EvaluationPredicate) for one in attestations),
    )
