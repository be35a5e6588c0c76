"""Intel TDX quotes of version 4 and 5 (Intel TDX DCAP Quoting Library API, appendix A.3 and A.4).

A chain of four signatures: Intel's root certifies the platform's PCK key; that key signs the report of the quoting enclave;
that report holds the digest of an attestation key; that key signs the quote. This module checks all four. What Intel says of
the firmware's version, and what it revoked, stands in *collateral*: :mod:`.tdx_collateral` judges that by ``dcap-qvl``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from verifai.domain.hardware import HardwareFacts, HardwareKind, TcbStatus
from verifai.hardware.certificates import (
    check_chain,
    check_ecdsa,
    fingerprint,
    load_pem_chain,
    p256_point,
    pinned,
)
from verifai.hardware.evidence import HardwareEvidence, invalid, malformed
from verifai.hardware.tdx_collateral import judge_collateral

_HEADER_BYTES = 48
_TEE_TDX = 0x81
_KEY_ECDSA_P256 = 2
_INTEL_QE_VENDOR = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_BODIES = {2: 584, 3: 648}
"""Body type of a version 5 quote → bytes: TD report 1.0 and 1.5."""
_QE_REPORT_BYTES = 384
_CERTIFIED_QE, _PCK_CHAIN = 6, 5
_INTEL_QE_SIGNER = bytes.fromhex("dc9e2a7c6f948f17474e34a7fc43ed030f7c1563f1babddf6340c82e0e54a8c5")
"""MRSIGNER of Intel's TDX quoting enclave, as Intel's service states it in its QE identity."""
_INTEL_QE_PRODUCT = 2
_SGX_EXTENSION = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
_SGX_ARCS = bytes.fromhex("060a2a864886f84d010d01")
"""DER of that identifier with one arc more, which is left out."""
_REGISTERS = {
    "mrseam": 16,
    "mrsignerseam": 64,
    "mrtd": 136,
    "mrconfigid": 184,
    "mrowner": 232,
    "mrownerconfig": 280,
    "rtmr0": 328,
    "rtmr1": 376,
    "rtmr2": 424,
    "rtmr3": 472,
}
"""Place in the TD report, each 48 bytes."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A quote in its parts; nothing of it is verified.

    Attributes:
        signed: header and body.
        body: the TD report.
        signature, key: of the attestation key, 64 bytes each.
        qe_report, qe_signature, qe_auth: the quoting enclave's report, its signature, and data bound with the key.
        certificates: PEM, as it stands in the quote, without the closing zero byte.
    """

    signed: bytes
    body: bytes
    signature: bytes
    key: bytes
    qe_report: bytes
    qe_signature: bytes
    qe_auth: bytes
    certificates: bytes


def verify(evidence: HardwareEvidence, at: datetime, test_roots: tuple[x509.Certificate, ...] = ()) -> HardwareFacts:
    """Verify a quote and, where it is given, the collateral.

    Args:
        at: the moment to judge collateral for.
        test_roots: roots of the caller's own, accepted beside that of Intel.

    Raises:
        EvidenceRejected: ``tee-malformed``, ``tee-invalid``, ``tee-revoked``, ``tee-root-not-trusted``.
        Undecided: ``tee-unavailable``, when there is collateral and the package that judges it is not installed.
    """
    quote = parse_quote(evidence.report)
    chain = load_pem_chain(quote.certificates, "certificates")
    (intel,) = pinned("intel-sgx.pem")
    root = next((one for one in test_roots if one == chain[-1]), intel)
    window = check_chain(chain, root, "certificates")
    check_ecdsa(chain[0].public_key(), ec.SECP256R1, quote.qe_signature, quote.qe_report, SHA256(), "qe_signature")
    _check_quoting_enclave(quote)
    key = p256_point(quote.key, "attestation_key")
    check_ecdsa(key, ec.SECP256R1, quote.signature, quote.signed, SHA256(), "signature")
    body = quote.body
    attributes = int.from_bytes(body[120:128], "little")
    platform, pce = _platform(chain[0])
    exposed = _exposed(body, attributes)
    facts = HardwareFacts(
        kind=HardwareKind.TDX,
        product="tdx",
        report_data=body[520:584],
        registers={name: body[start : start + 48].hex() for name, start in _REGISTERS.items()},
        debug=bool(exposed),
        svns={},
        tcb=TcbStatus.UNKNOWN,
        revocation_checked=False,
        valid_from=window.start,
        valid_until=window.end,
        platform=platform,
        root_sha256=fingerprint(root),
        test_root=root != intel,
        words=(f"TD attributes {attributes:#x}", f"TEE TCB versions {body[:16].hex()}", *exposed),
    )
    if evidence.collateral is None:
        return facts
    judged = judge_collateral(evidence.report, evidence.collateral, root, chain, window, at, pce=pce)
    return replace(
        facts,
        tcb=judged.tcb,
        advisories=judged.advisories,
        revocation_checked=True,
        valid_from=judged.window.start,
        valid_until=judged.window.end,
    )


def _exposed(body: bytes, attributes: int) -> list[str]:
    """What puts the guest's memory at its host's mercy. The host chooses all of it, and MRTD covers none (TDX module ABI)."""
    found = {
        "TD attributes TUD: the guest can be debugged": attributes & 0xFF,
        "TD attribute MIGRATABLE: a migration TD of the host's choice may read the guest": attributes >> 29 & 1,
        "MRSERVICETD is not zero: a service TD is bound to the guest": any(body[600:648]),  # body type 3 only
        "SEAM attributes are not zero: the TDX module is no production module": any(body[112:120]),
        "MRSIGNERSEAM is not zero: the TDX module is not Intel's": any(body[64:112]),
    }
    return [words for words, value in found.items() if value]


def _platform(certificate: x509.Certificate) -> tuple[str, bytes]:
    """What identifies the platform, hex, and the PCE's identifier, out of a PCK certificate.

    Two PCK certificates of one platform, for two versions of its firmware, name one PPID (Intel SGX PCK Certificate and CRL
    Profile Specification, section 1.3.5).
    """
    try:
        extension = certificate.extensions.get_extension_for_oid(_SGX_EXTENSION).value
    except (x509.ExtensionNotFound, ValueError):
        raise malformed("certificates", "the first is no PCK certificate: it has no SGX extension") from None
    assert isinstance(extension, x509.UnrecognizedExtension)
    ppid, pce = (_octets(extension.value, number, size) for number, size in ((1, 16), (3, 2)))
    if any(ppid):
        return ppid.hex(), pce
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest(), pce


def _octets(extension: bytes, number: int, size: int) -> bytes:
    """The OCTET STRING under the object identifier 1.2.840.113741.1.13.1.``number``."""
    head = _SGX_ARCS + bytes([number, 4, size])
    _, found, rest = extension.partition(head)
    if not found or head in rest or len(rest) < size:
        raise malformed("certificates", f"the SGX extension of the PCK certificate has no one field {number}")
    return rest[:size]


def quote_length(data: bytes) -> int:
    """How many bytes of ``data`` are the quote; devices hand out a buffer that is longer.

    Raises:
        EvidenceRejected: ``tee-malformed``.
    """
    _, offset = _body(data)
    if len(data) < offset + 4:
        raise malformed("report", "the quote is cut off")
    return offset + 4 + int.from_bytes(data[offset : offset + 4], "little")


def parse_quote(data: bytes) -> Quote:
    """Take a quote apart. Raises EvidenceRejected (``tee-malformed``)."""
    length = quote_length(data)
    if length != len(data):
        raise malformed("report", f"{len(data)} bytes, and the quote says that it has {length}")
    body, offset = _body(data)
    reader = _Reader(data[offset + 4 :])
    signature, key = reader.take(64), reader.take(64)
    certified = reader.nested(_CERTIFIED_QE)
    reader.end()
    qe_report, qe_signature = certified.take(_QE_REPORT_BYTES), certified.take(64)
    qe_auth = certified.take(certified.number(2))
    chain = certified.nested(_PCK_CHAIN)
    certified.end()
    certificates = chain.rest()
    if certificates.endswith(b"\0"):
        certificates = certificates[:-1]
    return Quote(data[:offset], body, signature, key, qe_report, qe_signature, qe_auth, certificates)


def _body(data: bytes) -> tuple[bytes, int]:
    """The TD report, and where the signature part begins."""
    if len(data) < _HEADER_BYTES + 6:
        raise malformed("report", "shorter than a quote's header")
    version, key_type = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    if int.from_bytes(data[4:8], "little") != _TEE_TDX or key_type != _KEY_ECDSA_P256 or data[12:28] != _INTEL_QE_VENDOR:
        raise malformed("report.header", "not a TDX quote with an ECDSA P-256 key by Intel's quoting enclave")
    if version == 4:
        start, size = _HEADER_BYTES, _BODIES[2]
    elif version == 5:
        kind, size = int.from_bytes(data[48:50], "little"), int.from_bytes(data[50:54], "little")
        if _BODIES.get(kind) != size:
            raise malformed("report.body", f"body type {kind} of {size} bytes is not known")
        start = _HEADER_BYTES + 6
    else:
        raise malformed("report.version", f"version {version}, known are 4 and 5")
    if len(data) < start + size:
        raise malformed("report", "the quote is cut off")
    return data[start : start + size], start + size


class _Reader:
    """Takes parts off the front of the signature data, and refuses what is too short or too long."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        if len(self._data) - self._at < size:
            raise malformed("report.signature_data", "it is cut off")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def nested(self, kind: int) -> _Reader:
        """Certification data: type (2 bytes), size (4 bytes), content."""
        found = self.number(2)
        if found != kind:
            raise malformed("report.certification_data", f"type {found}, expected {kind}")
        return _Reader(self.take(self.number(4)))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def end(self) -> None:
        if self._at != len(self._data):
            raise malformed("report.signature_data", "there is more than its parts")


def _check_quoting_enclave(quote: Quote) -> None:
    """The report is of Intel's quoting enclave, not in debug mode, and binds the attestation key (appendix A.4)."""
    report = quote.qe_report
    bound = hashlib.sha256(quote.key + quote.qe_auth).digest().ljust(64, b"\0")
    if report[320:384] != bound:
        raise invalid("qe_report.report_data", "the quoting enclave does not vouch for this attestation key")
    if report[48] & 0b10:
        raise invalid("qe_report.attributes", "the quoting enclave was in debug mode")
    if report[128:160] != _INTEL_QE_SIGNER or int.from_bytes(report[256:258], "little") != _INTEL_QE_PRODUCT:
        raise invalid("qe_report.mrsigner", "it is not Intel's quoting enclave for TDX")
