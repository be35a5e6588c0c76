"""Who signed a release: by a key, by a certificate, or by an identity of Sigstore. Runs in the fenced child only.

Certificates and keys are read by ``cryptography``, a chain is judged by its verifier (RFC 5280), Sigstore's bundles by the
package ``sigstore`` with a pinned root, offline. Each entry of a trust file is asked by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from verifai.domain.model_signing import MALFORMED, SignerKind, TrustedModelSigner
from verifai.errors import EvidenceRejected, PolicyNotMet, Undecided, UsageError, VerifaiError
from verifai.provenance.signature_file import SignatureFile

INVALID, NOT_TRUSTED, NOT_CURRENT = "model-signature-invalid", "model-signer-not-trusted", "model-signature-not-current"
UNAVAILABLE = "model-signature-unavailable"
_CURVES: Mapping[str, Callable[[], hashes.HashAlgorithm]] = {
    "secp256r1": hashes.SHA256,
    "secp384r1": hashes.SHA384,
    "secp521r1": hashes.SHA512,
}
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
class Signed:
    """A signature that holds. ``signer``: as :attr:`verifai.domain.model_signing.SignedRelease.signer`."""

    signer: str
    words: tuple[str, ...] = ()


def check_signer(found: SignatureFile, entry: TrustedModelSigner, at: datetime) -> Signed:
    """That ``entry`` made the signature.

    Raises:
        EvidenceRejected: ``model-signature-malformed``, ``model-signature-invalid``: nobody made it.
        PolicyNotMet: ``model-signer-not-trusted``: somebody else made it; ``model-signature-not-current``.
        UsageError: ``bad-trust``: the entry's own key or roots cannot be read.
        Undecided: ``model-signature-unavailable``.
    """
    if found.kind is not entry.kind:
        raise _other(f"the release is signed with a {found.kind.value}, {entry.name!r} signs with a {entry.kind.value}")
    if entry.kind is SignerKind.KEY:
        return _by_key(found, entry)
    if entry.kind is SignerKind.CERTIFICATE:
        return _by_certificate(found, entry, at)
    return _by_sigstore(found, entry)


def _other(message: str) -> PolicyNotMet:
    hint = "Name the signer in [[model_signers]] of the trust file, once you know that the release is theirs."
    return PolicyNotMet(NOT_TRUSTED, message, where="signature", hint=hint)


def _invalid(message: str) -> EvidenceRejected:
    return EvidenceRejected(INVALID, message, where="signature", hint="Do not accept it: fetch the release again.")


def _by_key(found: SignatureFile, entry: TrustedModelSigner) -> Signed:
    key = _trusted(entry, "public_key", lambda: load_pem_public_key(entry.public_key.encode()))
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise _bad(entry, "public_key", "expected an elliptic-curve key: P-256, P-384 or P-521")
    pem = hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    if found.hint and found.hint != pem:
        # No signature covers the hint; a wrong one still says that another key is meant.
        raise _other(f"the signature names another key than that of {entry.name!r}")
    if not _holds(key, found):
        message = f"the signature does not hold with the key of {entry.name!r}"
        raise _invalid(message) if found.hint else _other(message)
    return Signed(f"key {_spki(key)}")


def _spki(key: ec.EllipticCurvePublicKey) -> str:
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _holds(key: ec.EllipticCurvePublicKey, found: SignatureFile) -> bool:
    try:
        key.verify(found.signature, found.signed_bytes, ec.ECDSA(_CURVES[key.curve.name]()))
    except (InvalidSignature, ValueError):
        return False
    return True


def _by_certificate(found: SignatureFile, entry: TrustedModelSigner, at: datetime) -> Signed:
    """The signature first: a certificate that did not make it says nothing about the release."""
    chain = [_certificate(one) for one in found.certificates]
    leaf = chain[0]
    key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise EvidenceRejected(
            MALFORMED, "the certificate is of no elliptic-curve key P-256, P-384 or P-521", where="certificate"
        )
    if not _holds(key, found):
        raise _invalid("the signature does not hold with the key of its certificate")
    roots = _trusted(entry, "roots", lambda: x509.load_pem_x509_certificates(entry.roots.encode()))
    if not roots:
        raise _bad(entry, "roots", "no certificate")
    _check_identity(leaf, entry)
    words: tuple[str, ...] = ()
    try:
        root = _root_of(leaf, chain[1:], roots, at)
    except verification.VerificationError as problem:
        moment = max(one.not_valid_before_utc for one in chain)
        try:
            root = _root_of(leaf, chain[1:], roots, moment)
        except verification.VerificationError:
            raise _other(f"the certificate does not lead to a root of {entry.name!r}: {_one_line(problem)}") from None
        span = f"valid from {leaf.not_valid_before_utc:%Y-%m-%d} to {leaf.not_valid_after_utc:%Y-%m-%d}"
        if not entry.allow_expired:
            message = f"a certificate is not valid at {at:%Y-%m-%dT%H:%M:%SZ} (the signer's is {span})"
            hint = "Ask for a new signature. Nothing says when this one was made; `allow_expired` in the trust file counts it."
            raise PolicyNotMet(NOT_CURRENT, message, where="certificate", hint=hint) from None
        words = (f"the trust file accepts that a certificate is not valid now ({span}); nothing says when it signed",)
    fingerprint = root.fingerprint(hashes.SHA256()).hex()
    return Signed(f"certificate {fingerprint} {entry.identity or entry.subject}", words)


def _root_of(
    leaf: x509.Certificate, others: Sequence[x509.Certificate], roots: Sequence[x509.Certificate], at: datetime
) -> x509.Certificate:
    """The trusted root that the chain leads to at a moment. Raises VerificationError."""
    builder = verification.PolicyBuilder().store(verification.Store(list(roots))).time(at).max_chain_depth(8)
    verifier = builder.extension_policies(ca_policy=_authorities(), ee_policy=_signers()).build_client_verifier()
    return verifier.verify(leaf, list(others)).chain[-1]


def _authorities() -> verification.ExtensionPolicy:
    def certifies(policy: object, certificate: x509.Certificate, found: x509.BasicConstraints) -> None:
        if not found.ca:
            raise ValueError("no certificate authority")

    def signs(policy: object, certificate: x509.Certificate, found: x509.KeyUsage | None) -> None:
        if found is not None and not found.key_cert_sign:
            raise ValueError("a key that may not certify")

    agnostic = verification.Criticality.AGNOSTIC
    found = verification.ExtensionPolicy.permit_all()
    found = found.require_present(x509.BasicConstraints, agnostic, certifies)
    return found.may_be_present(x509.KeyUsage, agnostic, signs)


def _signers() -> verification.ExtensionPolicy:
    usable = {ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}

    def signs(policy: object, certificate: x509.Certificate, found: x509.KeyUsage | None) -> None:
        if found is not None and not found.digital_signature:
            raise ValueError("a key that may not sign")

    def code(policy: object, certificate: x509.Certificate, found: x509.ExtendedKeyUsage | None) -> None:
        if found is not None and not usable & set(found):
            raise ValueError("a key that may not sign code")

    agnostic = verification.Criticality.AGNOSTIC
    found = verification.ExtensionPolicy.permit_all()
    found = found.may_be_present(x509.KeyUsage, agnostic, signs)
    return found.may_be_present(x509.ExtendedKeyUsage, agnostic, code)


def _check_identity(leaf: x509.Certificate, entry: TrustedModelSigner) -> None:
    """Everybody whom the root certified has a certificate of it; only the named one counts."""
    if entry.subject:
        if leaf.subject.rfc4514_string() != entry.subject:
            raise _other(f"the certificate is of {leaf.subject.rfc4514_string()[:120]!r}, not of {entry.subject[:120]!r}")
        return
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise _other("the certificate names no identity; name its `subject` in the trust file instead") from None
    kinds = (x509.RFC822Name, x509.UniformResourceIdentifier, x509.DNSName)
    found = {text for kind in kinds for text in names.get_values_for_type(kind)}
    if entry.identity not in found:
        raise _other(f"the certificate is of {', '.join(sorted(found))[:200]!r}, not of {entry.identity[:120]!r}")


def _certificate(der: bytes) -> x509.Certificate:
    try:
        certificate = x509.load_der_x509_certificate(der)
        if certificate.public_bytes(Encoding.DER) != der:
            raise ValueError("not in its one DER form")
        for part in ("extensions", "issuer", "subject", "not_valid_before_utc", "signature_hash_algorithm"):
            getattr(certificate, part)
        certificate.public_key()
    except _UNREADABLE as problem:
        raise EvidenceRejected(MALFORMED, f"a certificate cannot be read: {_one_line(problem)}", where="certificate") from None
    return certificate


def _trusted(entry: TrustedModelSigner, name: str, read: Callable[[], T]) -> T:
    try:
        return read()
    except _UNREADABLE as problem:
        raise _bad(entry, name, f"cannot be read: {_one_line(problem)}") from None


def _bad(entry: TrustedModelSigner, name: str, message: str) -> UsageError:
    hint = "Give it in PEM form, as a text of several lines."
    return UsageError("bad-trust", message, where=f"model_signers {entry.name!r}: {name}", hint=hint)


def _one_line(problem: Exception) -> str:
    return " ".join(str(problem).split())[:200]


def _by_sigstore(found: SignatureFile, entry: TrustedModelSigner) -> Signed:
    try:
        from sigstore.errors import Error, VerificationError
        from sigstore.models import Bundle, InvalidBundle, TrustedRoot
        from sigstore.verify import Verifier, policy
    except ImportError:
        raise Undecided(UNAVAILABLE, "the package sigstore is not installed", where="signature") from None
    try:
        if entry.trusted_root:
            from sigstore_models.trustroot.v1 import TrustedRoot as RawRoot

            verifier = Verifier(trusted_root=TrustedRoot(RawRoot.from_json(entry.trusted_root)))
        else:
            verifier = Verifier.production(offline=True)
    except Exception as problem:  # noqa: BLE001  # a root that the reader gave, read by a library: anything may be raised
        raise _bad(entry, "trusted_root", f"cannot be used: {_one_line(problem)}") from None
    identity = policy.Identity(identity=entry.identity, issuer=entry.issuer)
    try:
        kind, payload = verifier.verify_dsse(Bundle.from_json(found.data), identity)
    except InvalidBundle as problem:
        raise EvidenceRejected(MALFORMED, f"no Sigstore bundle: {_one_line(problem)}", where="signature") from None
    except VerificationError as problem:
        raise _other(f"{entry.identity} did not sign it: {_one_line(problem)}") from None
    except Error as problem:
        raise Undecided(UNAVAILABLE, f"Sigstore cannot check it: {_one_line(problem)}", where="signature") from None
    if payload != found.payload or kind != "application/vnd.in-toto+json":
        raise _invalid("Sigstore read another payload than this program")
    return Signed(f"sigstore {entry.identity} {entry.issuer}")


def check_signers(found: SignatureFile, entries: Sequence[TrustedModelSigner], at: datetime) -> tuple[tuple[str, ...], Signed]:
    """Names of the entries that made the signature, and what it shows.

    Raises:
        EvidenceRejected, PolicyNotMet, Undecided: what the closest entry came to; none fits. UsageError: ``bad-trust``.
    """
    names: list[str] = []
    signed: Signed | None = None
    problems: list[VerifaiError] = []
    for entry in entries:
        try:
            done = check_signer(found, entry, at)
        except UsageError:
            raise
        except VerifaiError as problem:
            problems.append(problem)
            continue
        names.append(entry.name)
        signed = signed or done
    if signed is not None:
        return tuple(names), signed
    if not problems:
        raise _other("the trust file names no [[model_signers]]")
    order = (INVALID, MALFORMED, NOT_CURRENT, UNAVAILABLE, NOT_TRUSTED)
    raise min(problems, key=lambda one: order.index(one.code))
