"""Signing and checking DSSE envelopes with Ed25519. What counts is the key that verifies, not the identifier given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from verifai.bundle import canonical
from verifai.domain.attestation.envelope import Attestation, Envelope, Predicate, Signature, Subject, statement_document
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.trust_keys import PublicKey, Signer, is_weak_point
from verifai.errors import EvidenceRejected


@dataclass(frozen=True, slots=True)
class SignatureCheck:
    """Which signatures of one envelope hold.

    Attributes:
        signers: the distinct keys, of those asked about, whose signature verifies.
        unknown: key identifiers of signatures by keys that were not asked about; nothing is known about them.
    """

    signers: frozenset[PublicKey]
    unknown: tuple[str, ...]

    @property
    def unsigned(self) -> bool:
        """Whether the envelope carries no signature at all; not the same as carrying one that cannot be judged."""
        return not self.signers and not self.unknown


def sign(envelope: Envelope, signers: Iterable[Signer]) -> Envelope:
    """The envelope with a signature of each signer. Ed25519 is deterministic, so signing again changes nothing."""
    for signer in signers:
        value = signer.sign(envelope.signed_bytes)
        envelope = envelope.with_signature(Signature(signer.public_key.keyid, value))
    return envelope


def check_signatures(envelope: Envelope, keys: Iterable[PublicKey], *, where: str) -> SignatureCheck:
    """Check every signature whose key is among ``keys``.

    A threshold is met by counting ``signers``: they are keys, so one key that signed twice counts once.

    Raises:
        EvidenceRejected: code ``signature-invalid``, when a signature that names one of ``keys`` does not verify with it.
    """
    by_id = {key.keyid: key for key in keys}
    signers: set[PublicKey] = set()
    unknown: list[str] = []
    for signature in envelope.signatures:
        key = by_id.get(signature.keyid)
        if key is None:
            unknown.append(signature.keyid)
            continue
        if not verifies(key, signature.value, envelope.signed_bytes):
            raise EvidenceRejected(
                "signature-invalid",
                f"the signature of key {signature.keyid} does not verify",
                where=where,
                hint="The content was changed after it was signed, or the signature was made with another key.",
            )
        signers.add(key)
    return SignatureCheck(frozenset(signers), tuple(unknown))


def verifies(key: PublicKey, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` over ``message`` verifies with ``key`` (RFC 8032, section 5.1.7), and no other verifier differs."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if is_weak_point(signature[:32]):
        return False
    try:
        Ed25519PublicKey.from_public_bytes(key.raw).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def attest(predicate: Predicate, subjects: Sequence[Subject], signers: Iterable[Signer] = ()) -> Attestation:
    """Make an attestation, signed by ``signers``; read back by the strict parser before it is returned."""
    ordered = tuple(sorted(subjects, key=lambda one: one.name))
    envelope = Envelope(canonical.encode(statement_document(ordered, predicate)))
    return parse_attestation(sign(envelope, signers), "a new attestation")
