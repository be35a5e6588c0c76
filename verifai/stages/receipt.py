"""receipt: a bundle gets what it says in the words of other tools: an in-toto receipt, and SLSA provenance of its circuit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from verifai.bundle.documents import make_receipt, make_slsa
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.domain.attestation.manifest import RECEIPT_FILE, SLSA_FILE
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256
from verifai.domain.progress import SILENT, Progress
from verifai.stages.verify import Expectations, verify_open


@dataclass(frozen=True)
class ReceiptedBundle:
    """A new bundle with documents. ``files``: their names below ``payload/``."""

    path: Path
    bundle_id: Sha256
    files: tuple[str, ...]


def add_receipt(
    source: Path,
    target: Path,
    lock: CircuitLock,
    *,
    allow_test_srs: bool = False,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> ReceiptedBundle:
    """Write a new bundle: that at ``source``, once it is verified, with a receipt and SLSA provenance.

    Raises:
        EvidenceRejected, PolicyNotMet, Undecided: as verify. UsageError: ``file-exists``.
    """
    with open_bundle(source) as bundle:
        expect = Expectations(allow_test_srs=allow_test_srs)
        verified = verify_open(bundle, lock, expect, budget=budget or Budget(), progress=progress)
        (claim,) = bundle.of_type(ProofPredicate.TYPE)
        documents = {
            RECEIPT_FILE: make_receipt(verified.circuit, verified.proof, claim.id),
            SLSA_FILE: make_slsa(verified.circuit, lock.provenance),
        }
        bundle_id = write_bundle(
            target,
            payload={**bundle.payload, **documents},
            attestations=list(bundle.attestations.values()),
            created=bundle.manifest.created,
            log=bundle.log,
            succeeds=bundle.bundle_id,
        )
    return ReceiptedBundle(target, bundle_id, tuple(sorted(documents)))
