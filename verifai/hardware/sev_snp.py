"""AMD SEV-SNP attestation reports (SEV Secure Nested Paging Firmware ABI Specification, AMD 56860, table "ATTESTATION_REPORT").

The report is one struct with one ECDSA-P384 signature by the chip's own key (VCEK). AMD's root (ARK) signs an intermediate
(ASK), which signs the VCEK's certificate (AMD 57230); ARK and ASK are pinned per product line. Keys of cloud providers (VLEK)
are refused: their chain is another one.
"""

from __future__ import annotations

from collections.abc import Mapping

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from verifai.domain.hardware import HardwareFacts, HardwareKind, TcbStatus
from verifai.errors import EvidenceRejected
from verifai.hardware.certificates import (
    Window,
    check_chain,
    check_crl,
    check_ecdsa,
    fingerprint,
    is_issued,
    load_crl,
    load_der,
    pinned,
)
from verifai.hardware.evidence import HardwareEvidence, invalid, malformed

REPORT_BYTES = 1184
_SIGNED_BYTES = 0x2A0
_VERSIONS = range(2, 6)
PRODUCTS: Mapping[str, str] = {"Milan": "amd-milan.pem", "Genoa": "amd-genoa.pem", "Turin": "amd-turin.pem"}

_OID = "1.3.6.1.4.1.3704.1."
_SVNS: Mapping[str, Mapping[str, tuple[int, str]]] = {
    # name → (byte of the TCB version in the report, extension of the certificate); AMD 57230 table 8, ABI table "TCB_VERSION".
    "old": {"bootloader": (0, "3.1"), "tee": (1, "3.2"), "snp": (6, "3.3"), "microcode": (7, "3.8")},
    "turin": {"fmc": (0, "3.9"), "bootloader": (1, "3.1"), "tee": (2, "3.2"), "snp": (3, "3.3"), "microcode": (7, "3.8")},
}
_REGISTERS = {
    "family_id": (0x10, 16),
    "image_id": (0x20, 16),
    "measurement": (0x90, 48),
    "host_data": (0xC0, 32),
    "id_key_digest": (0xE0, 48),
    "author_key_digest": (0x110, 48),
}


def verify(evidence: HardwareEvidence, test_roots: tuple[x509.Certificate, ...] = ()) -> HardwareFacts:
    """Verify a report and the certificate of the chip's key.

    Args:
        test_roots: an ASK and an ARK of the caller's own, in this order as in AMD's files; tried when the certificate is not of
            AMD's chain.

    Raises:
        EvidenceRejected: ``tee-malformed``, ``tee-invalid``, ``tee-revoked``, ``tee-root-not-trusted``.
    """
    report = evidence.report
    if len(report) != REPORT_BYTES:
        raise malformed("report", f"{len(report)} bytes, a report has {REPORT_BYTES}")
    version = _u32(report, 0)
    if version not in _VERSIONS:
        raise malformed("report.version", f"version {version}, known are {_VERSIONS.start} to {_VERSIONS.stop - 1}")
    if _u32(report, 0x34) != 1:
        raise malformed("report.signature_algo", "the signature is not ECDSA on P-384 with SHA-384")
    key_info = _u32(report, 0x48)
    if key_info >> 2 & 0b111 != 0 or key_info & 0b10:  # MASK_CHIP_KEY: the firmware writes zeros in place of a signature
        raise malformed("report.signing_key", "it is not signed by the chip's own key (VCEK)")
    certificate = load_der(evidence.certificate, "certificate")
    product = _product(certificate)
    ask, ark, tested = _authorities(product, certificate, test_roots)
    window = check_chain([certificate, ask], ark, "certificate")
    check_ecdsa(
        certificate.public_key(), ec.SECP384R1, _signature(report), report[:_SIGNED_BYTES], SHA384(), "report.signature"
    )
    svns = _match_certificate(report, certificate, product)
    revocation = bool(evidence.crl)
    if revocation:
        # The ARK lists ASKs that were withdrawn and, beside them, VCEKs (AMD 57230 section 4.2).
        listed = check_crl(load_crl(evidence.crl, "crl"), ark, [certificate, ask], "crl")
        window = window.cut(listed.start, listed.end)
    chip = _hardware_id(certificate, product).hex()
    return _facts(report, product, svns, window, chip, fingerprint(ark), revocation=revocation, tested=tested)


def _facts(
    report: bytes,
    product: str,
    svns: Mapping[str, int],
    window: Window,
    chip: str,
    root: str,
    *,
    revocation: bool,
    tested: bool,
) -> HardwareFacts:
    policy = int.from_bytes(report[8:16], "little")
    # The host chooses the guest's policy and its migration agent, and the measurement covers neither: such an agent reads
    # the guest's memory, as a debugger does.
    migrates, debugged = bool(policy >> 18 & 1), bool(policy >> 19 & 1)
    words = [f"guest policy {policy:#x}, VMPL {_u32(report, 0x30)}"]
    if migrates:
        words.append("a migration agent may move the guest, and could read it")
    return HardwareFacts(
        kind=HardwareKind.SEV_SNP,
        product=product,
        report_data=report[0x50:0x90],
        registers={name: report[start : start + size].hex() for name, (start, size) in _REGISTERS.items()},
        debug=debugged or migrates,
        svns=svns,
        tcb=TcbStatus.UNKNOWN,
        revocation_checked=revocation,
        valid_from=window.start,
        valid_until=window.end,
        platform=chip,
        root_sha256=root,
        test_root=tested,
        words=tuple(words),
    )


def _authorities(
    product: str, certificate: x509.Certificate, test_roots: tuple[x509.Certificate, ...]
) -> tuple[x509.Certificate, x509.Certificate, bool]:
    ask, ark = pinned(PRODUCTS[product])
    pairs = zip(test_roots[::2], test_roots[1::2], strict=False)
    named = [pair for pair in pairs if certificate.issuer == pair[0].subject]
    if certificate.issuer == ask.subject or not named:
        return ask, ark, False
    # Test authorities may share a name; without a match, the first one tells what is wrong.
    own, its_root = next((pair for pair in named if is_issued(certificate, pair[0])), named[0])
    return own, its_root, True


def _signature(report: bytes) -> bytes:
    """r ‖ s big-endian, 48 bytes each. The report holds each in 72 bytes, little-endian; what is not used must be zero."""
    r, s, rest = report[0x2A0:0x2E8], report[0x2E8:0x330], report[0x330:]
    if any(r[48:]) or any(s[48:]) or any(rest):
        raise malformed("report.signature", "bytes that no signature covers are not zero")
    return r[:48][::-1] + s[:48][::-1]


def _match_certificate(report: bytes, certificate: x509.Certificate, product: str) -> Mapping[str, int]:
    """The certificate is for this chip at the version that the report states: AMD derives the key from both."""
    reported = report[0x180:0x188]
    table = _SVNS["turin" if product == "Turin" else "old"]
    svns = {name: reported[index] for name, (index, _) in table.items()}
    unused = set(range(8)) - {index for index, _ in table.values()}
    if any(reported[index] for index in unused):
        raise malformed("report.reported_tcb", "reserved bytes are not zero")
    for name, (_, oid) in table.items():
        if _small_integer(_extension(certificate, oid), oid) != svns[name]:
            raise invalid("certificate", f"its version of {name} is not the one that the report states")
    chip, hardware = report[0x1A0:0x1E0], _hardware_id(certificate, product)
    # Zeros: the platform hides the identifier (MaskChipId). The signature is by this certificate's key either way.
    if any(chip) and chip != hardware.ljust(64, b"\0"):
        raise invalid("certificate", "it is the certificate of another chip")
    return svns


def _hardware_id(certificate: x509.Certificate, product: str) -> bytes:
    """The chip that the certificate is for: 64 bytes, of Turin 8; bare, or as a DER OCTET STRING."""
    value, size = _extension(certificate, "4"), 8 if product == "Turin" else 64
    if len(value) == size + 2 and value[:2] == bytes([4, size]):
        value = value[2:]
    if len(value) != size:
        raise malformed("certificate", f"its hardware identifier has {len(value)} bytes, expected {size}")
    return value


def _product(certificate: x509.Certificate) -> str:
    """The product line that the certificate names, such as ``Milan`` of ``Milan-B0``; an IA5String (AMD 57230 table 8)."""
    value = _extension(certificate, "2")
    if len(value) < 2 or value[0] != 0x16 or value[1] != len(value) - 2:
        raise malformed("certificate", "its product name cannot be read")
    name = value[2:].decode("ascii", errors="replace").partition("-")[0]
    if name not in PRODUCTS:
        message = f"no root of AMD is pinned for product line {name[:40]!r} (pinned: {', '.join(PRODUCTS)})"
        raise EvidenceRejected("tee-root-not-trusted", message, where="certificate")
    return name


def _extension(certificate: x509.Certificate, suffix: str) -> bytes:
    try:
        extension = certificate.extensions.get_extension_for_oid(x509.ObjectIdentifier(_OID + suffix))
    except (x509.ExtensionNotFound, ValueError):
        raise malformed("certificate", f"extension {_OID}{suffix} is missing: it is no VCEK certificate") from None
    assert isinstance(extension.value, x509.UnrecognizedExtension)
    return extension.value.value


def _small_integer(der: bytes, oid: str) -> int:
    """A DER INTEGER from 0 to 255."""
    if len(der) == 3 and der[:2] == b"\x02\x01" and der[2] < 0x80:
        return der[2]
    if len(der) == 4 and der[:3] == b"\x02\x02\x00" and der[3] >= 0x80:
        return der[3]
    raise malformed("certificate", f"extension {_OID}{oid} is no small number")


def _u32(data: bytes, offset: int) -> int:
    return int.from_bytes(data[offset : offset + 4], "little")
