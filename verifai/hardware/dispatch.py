"""The verifier of each kind of hardware."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509

from verifai.domain.hardware import HardwareFacts, HardwareKind
from verifai.hardware import nitro, sev_snp, tdx
from verifai.hardware.evidence import HardwareEvidence


def verify_evidence(evidence: HardwareEvidence, at: datetime, test_roots: tuple[x509.Certificate, ...] = ()) -> HardwareFacts:
    """Verify one piece of evidence in this very process.

    Raises:
        EvidenceRejected: ``tee-malformed``, ``tee-invalid``, ``tee-revoked``, ``tee-root-not-trusted``.
        Undecided: ``tee-unavailable``.
    """
    if evidence.kind is HardwareKind.SEV_SNP:
        return sev_snp.verify(evidence, test_roots)
    if evidence.kind is HardwareKind.NITRO:
        return nitro.verify(evidence, test_roots)
    return tdx.verify(evidence, at, test_roots)
