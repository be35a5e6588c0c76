"""X.509 certificates and revocation lists of the makers of hardware (RFC 5280), by the ``cryptography`` package.

Each maker's chain has a fixed shape and a pinned root, so chains are walked one link at a time instead of being searched for.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning

from verifai.errors import EvidenceRejected
from verifai.hardware.evidence import invalid, malformed

_ROOTS = Path(__file__).parent / "roots"
T = TypeVar("T")
_UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for foreign bytes."""


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time in which all of several things are valid."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, certificates: Iterable[x509.Certificate]) -> Window:
        """Where all of ``certificates`` are valid; empty (the end before the start) when they never are together."""
        given = list(certificates)
        return cls(max(one.not_valid_before_utc for one in given), min(one.not_valid_after_utc for one in given))

    def cut(self, start: datetime, end: datetime) -> Window:
        """Where this and the span from ``start`` to ``end`` overlap."""
        return Window(max(self.start, start), min(self.end, end))


def pinned(name: str) -> tuple[x509.Certificate, ...]:
    """The certificates of one file in ``roots/``, which is part of this package."""
    return tuple(x509.load_pem_x509_certificates((_ROOTS / name).read_bytes()))


def load_der(data: bytes, where: str) -> x509.Certificate:
    """One certificate, exactly. Raises EvidenceRejected (``tee-malformed``)."""
    certificate = _parse(lambda given: _whole(x509.load_der_x509_certificate(given)), data, where)
    if certificate.public_bytes(Encoding.DER) != data:
        raise malformed(where, "the certificate is not in its one DER form")
    return certificate


_KNOWN_CRITICAL = frozenset({x509.BasicConstraints.oid, x509.KeyUsage.oid})
"""Critical extensions of certificates that are judged here."""


def load_pem_chain(data: bytes, where: str, *, most: int = 4) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM file that holds nothing else. Raises EvidenceRejected (``tee-malformed``)."""
    chain = _parse(lambda given: [_whole(one) for one in x509.load_pem_x509_certificates(given)], data, where)
    if not 0 < len(chain) <= most:
        raise malformed(where, f"{len(chain)} certificates, expected 1 to {most}")
    # Text beside the certificates is signed by nobody.
    text = b"".join(one.public_bytes(Encoding.PEM) for one in chain)
    if data not in (text, text.removesuffix(b"\n")):
        raise malformed(where, "there is more than certificates in canonical PEM form")
    return tuple(chain)


def load_crl(data: bytes, where: str) -> x509.CertificateRevocationList:
    """One revocation list, exactly. Raises EvidenceRejected (``tee-malformed``)."""
    found = _parse(lambda given: _whole_crl(x509.load_der_x509_crl(given)), data, where)
    if found.public_bytes(Encoding.DER) != data:
        raise malformed(where, "the revocation list is not in its one DER form")
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's warnings: AMD's VCEK certificates have the serial number 0, and names can be of odd lengths."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield


def _whole(certificate: x509.Certificate) -> x509.Certificate:
    """The same, once every part that is parsed late was parsed."""
    certificate.public_key()
    _no_unused_bits(certificate.public_bytes(Encoding.DER), certificate.signature)
    for part in ("extensions", "issuer", "subject", "not_valid_before_utc", "signature_hash_algorithm"):
        getattr(certificate, part)
    return certificate


def _no_unused_bits(der: bytes, signature: bytes) -> None:
    """The one byte before the signature says how many of its bits do not count; no signature covers that byte."""
    if not der.endswith(b"\0" + signature):
        raise ValueError("the signature is not a whole number of bytes")


def _whole_crl(found: x509.CertificateRevocationList) -> x509.CertificateRevocationList:
    _no_unused_bits(found.public_bytes(Encoding.DER), found.signature)
    for part in ("extensions", "issuer", "last_update_utc", "next_update_utc", "signature_hash_algorithm"):
        getattr(found, part)
    for entry in found:
        _ = entry.extensions
    return found


def _parse(read: Callable[[bytes], T], data: bytes, where: str) -> T:
    try:
        with _quiet():
            return read(data)
    except _UNREADABLE as problem:
        raise malformed(where, f"cannot be read: {' '.join(str(problem).split())[:200]}") from None


def check_chain(chain: Sequence[x509.Certificate], root: x509.Certificate, where: str) -> Window:
    """Walk from the leaf up: each certificate is issued by the next, the last by ``root``.

    The last of ``chain`` may be the root itself. Every one but the leaf must be a certificate authority (RFC 5280 section 6.1).

    Returns:
        When all of them are valid.

    Raises:
        EvidenceRejected: ``tee-invalid``; ``tee-root-not-trusted`` when the chain leads elsewhere.
    """
    links = list(chain)
    if links[-1].issuer == links[-1].subject:
        if links[-1] != root:
            message = "the certificates lead to a root that is not the maker's"
            raise EvidenceRejected("tee-root-not-trusted", message, where=where, hint="Do not accept it.")
        links.pop()
    if not links:
        raise malformed(where, "there is no certificate but the root")
    for below, (issued, issuer) in enumerate(zip(links, [*links[1:], root], strict=True)):
        _check_issued(issued, issuer, below, where)
    return Window.of([*links, root])


def _check_issued(issued: x509.Certificate, issuer: x509.Certificate, below: int, where: str) -> None:
    """One link. ``below``: how many authorities stand between ``issuer`` and the leaf."""
    try:
        with _quiet():
            issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE) as problem:
        message = f"{_name(issued)} is not signed by {_name(issuer)}"
        if issued.issuer != issuer.subject:
            raise EvidenceRejected("tee-root-not-trusted", message, where=where, hint="Do not accept it.") from None
        raise invalid(where, message) from problem
    _check_known(issued.extensions, _KNOWN_CRITICAL, where, _name(issued))
    constraints, usage = _extension(issuer, x509.BasicConstraints), _extension(issuer, x509.KeyUsage)
    if constraints is None or not constraints.ca or (usage is not None and not usage.key_cert_sign):
        raise invalid(where, f"{_name(issuer)} is no certificate authority")
    if constraints.path_length is not None and below > constraints.path_length:
        raise invalid(where, f"{_name(issuer)} may not certify further authorities")


E = TypeVar("E", bound=x509.ExtensionType)


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, ValueError):
        return None


def _check_known(extensions: x509.Extensions, known: frozenset[x509.ObjectIdentifier], where: str, name: str) -> None:
    """RFC 5280 section 4.2: what is critical and not understood forbids to rely on the rest."""
    for one in extensions:
        if one.critical and one.oid not in known:
            raise invalid(where, f"{name} has a critical extension {one.oid.dotted_string}, which is not known")


def is_issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether ``issuer`` signed ``certificate``; nothing else is checked."""
    try:
        with _quiet():
            certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, *_UNREADABLE):
        return False
    return True


def _name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return repr(str(names[0].value)[:80]) if names else "a certificate without a name"


def check_crl(
    crl: x509.CertificateRevocationList, issuer: x509.Certificate, certificates: Iterable[x509.Certificate], where: str
) -> Window:
    """That ``issuer`` signed the list, and that none of ``certificates``, which it issued, is on it.

    Raises:
        EvidenceRejected: ``tee-invalid``; ``tee-revoked``.
    """
    key = issuer.public_key()
    try:
        with _quiet():
            genuine = crl.issuer == issuer.subject and crl.is_signature_valid(key)  # type: ignore[arg-type]
    except _UNREADABLE:
        genuine = False
    if not genuine:
        raise invalid(where, f"the revocation list is not signed by {_name(issuer)}")
    # A critical extension of a list says that it is a part of one, or speaks for another issuer (section 5.2).
    _check_known(crl.extensions, frozenset(), where, "the revocation list")
    for certificate in certificates:
        if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            raise EvidenceRejected("tee-revoked", f"{_name(certificate)} was revoked", where=where, hint="Do not accept it.")
    if crl.next_update_utc is None:
        raise malformed(where, "the revocation list does not say until when it holds")
    return Window(crl.last_update_utc, crl.next_update_utc)


def check_ecdsa(
    key: object, curve: type[ec.EllipticCurve], raw: bytes, message: bytes, digest: HashAlgorithm, where: str
) -> None:
    """An ECDSA signature in the form r ‖ s, big-endian, each half as long as the field (SEC 1; RFC 8152 section 8.1).

    Raises:
        EvidenceRejected: ``tee-invalid``.
    """
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, curve):
        raise invalid(where, f"the signing key is not of curve {curve.name}")
    half = len(raw) // 2
    r, s = int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big")
    try:
        key.verify(encode_dss_signature(r, s), message, ec.ECDSA(digest))
    except (InvalidSignature, ValueError):
        raise invalid(where, "the signature does not hold") from None


def p256_point(raw: bytes, where: str) -> ec.EllipticCurvePublicKey:
    """A P-256 key from x ‖ y, 64 bytes. Raises EvidenceRejected (``tee-malformed``)."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + raw)
    except ValueError:
        raise malformed(where, "this is no point of curve P-256") from None


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER form, lower-case hex."""
    return certificate.fingerprint(SHA256()).hex()


def utc(seconds: float) -> datetime:
    """A moment from Unix seconds."""
    return datetime.fromtimestamp(seconds, UTC)
