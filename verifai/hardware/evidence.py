"""One piece of hardware evidence: the machine's report and what it takes to check it, all of it foreign."""

from __future__ import annotations

from dataclasses import dataclass

from verifai.domain.hardware import HardwareKind
from verifai.errors import EvidenceRejected

MAX_REPORT_BYTES = 64 * 1024
MAX_CERTIFICATES_BYTES = 64 * 1024
MAX_LIST_BYTES = 1024 * 1024
"""Of one revocation list, or one document of collateral."""


@dataclass(frozen=True, slots=True)
class Collateral:
    """What Intel's service says about a TDX platform, as it returned it.

    Attributes:
        tcb_info, qe_identity: JSON bodies, byte for byte: their signatures are over these bytes.
        signing_certificate: PEM of the certificate that signs both (``TCB-Info-Issuer-Chain``, the root left out or not).
        pck_crl, root_crl: revocation lists, DER.
        pck_crl_issuer: PEM of the CA that signs ``pck_crl``.
    """

    tcb_info: bytes
    qe_identity: bytes
    signing_certificate: bytes
    pck_crl: bytes
    pck_crl_issuer: bytes
    root_crl: bytes


@dataclass(frozen=True, slots=True)
class HardwareEvidence:
    """Raw evidence.

    Attributes:
        report: SEV-SNP: the attestation report (1,184 bytes); TDX: a quote of version 4 or 5; Nitro: the attestation document.
        certificate: SEV-SNP: the VCEK, DER; empty for the others, which carry theirs.
        crl: SEV-SNP: the maker's revocation list for the product line, DER; empty when there is none.
        collateral: TDX; ``None`` when there is none.
    """

    kind: HardwareKind
    report: bytes
    certificate: bytes = b""
    crl: bytes = b""
    collateral: Collateral | None = None

    def __post_init__(self) -> None:
        """Raises EvidenceRejected (``tee-malformed``): sizes and parts are looked at before anything is parsed."""
        limits = [("report", self.report, MAX_REPORT_BYTES), ("certificate", self.certificate, MAX_CERTIFICATES_BYTES)]
        limits.append(("crl", self.crl, MAX_LIST_BYTES))
        if self.collateral is not None:
            for name in Collateral.__dataclass_fields__:
                limits.append((name, getattr(self.collateral, name), MAX_LIST_BYTES))
        for name, data, limit in limits:
            if len(data) > limit:
                raise malformed(name, f"{len(data)} bytes, more than the limit of {limit}")
        # A part that nobody looks at is signed by nobody.
        if self.kind is not HardwareKind.SEV_SNP and (self.certificate or self.crl):
            raise malformed("certificate", f"{self.kind.value} evidence has no certificate or list beside it")
        if self.kind is not HardwareKind.TDX and self.collateral is not None:
            raise malformed("collateral", f"{self.kind.value} evidence has no collateral")


def malformed(where: str, message: str) -> EvidenceRejected:
    """The error for evidence that is not what its kind says."""
    return EvidenceRejected("tee-malformed", message, where=where)


def invalid(where: str, message: str) -> EvidenceRejected:
    """The error for a signature or a binding that does not hold."""
    return EvidenceRejected("tee-invalid", message, where=where)
