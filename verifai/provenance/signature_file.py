"""A release's signature file (``model.sig``): a Sigstore bundle around a DSSE envelope, read strictly, not judged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from verifai.domain import strict_json
from verifai.domain.model_signing import MALFORMED, MAX_SIGNATURE_BYTES, PAYLOAD_TYPE, SignerKind
from verifai.domain.record import Record
from verifai.domain.trust_keys import decode_base64
from verifai.errors import EvidenceRejected

MEDIA_TYPE = r"application/vnd\.dev\.sigstore\.bundle(?:\.v0\.3\+json|\+json;version=0\.[123])"
MAX_CERTIFICATES = 8


@dataclass(frozen=True, slots=True)
class SignatureFile:
    """The parts of a signature file.

    Attributes:
        data: the whole file; Sigstore's own signatures are judged from it.
        kind: what it was signed with, as its verification material shows.
        payload: what is signed. signature: over its pre-authentication encoding.
        certificates: DER, the signer's first.
        hint: what a key's signature says of its key: SHA-256 of the public key in PEM form, or "".
    """

    data: bytes
    kind: SignerKind
    payload: bytes
    signature: bytes
    certificates: tuple[bytes, ...] = ()
    hint: str = ""

    @property
    def signed_bytes(self) -> bytes:
        """DSSE pre-authentication encoding: what the signature is over."""
        kind = PAYLOAD_TYPE.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)


def parse_signature_file(data: bytes, where: str) -> SignatureFile:
    """Read a signature file.

    Raises:
        EvidenceRejected: ``model-signature-malformed``.
    """
    if len(data) > MAX_SIGNATURE_BYTES:
        raise EvidenceRejected(MALFORMED, f"{len(data)} bytes, more than the limit of {MAX_SIGNATURE_BYTES}", where=where)
    document = strict_json.loads(data, where=where, max_bytes=MAX_SIGNATURE_BYTES, code=MALFORMED)
    root = Record(document, where, code=MALFORMED)
    root.text("mediaType", pattern=MEDIA_TYPE)
    envelope = root.table("dsseEnvelope")
    envelope.text("payloadType", pattern=PAYLOAD_TYPE.replace("+", r"\+").replace(".", r"\."))
    payload = _base64(envelope, "payload")
    signatures = envelope.tables("signatures", max_length=16)
    if len(signatures) != 1:
        raise envelope.refuse(f"{len(signatures)} signatures, expected one", "signatures")
    signature = _base64(signatures[0], "sig")
    keyid: Any = signatures[0].take("keyid", "")
    if keyid not in ("", None):
        raise signatures[0].refuse("a key identifier, which no signature covers", "keyid")
    kind, certificates, hint = _material(root.table("verificationMaterial"))
    for record in (signatures[0], envelope, root):
        record.done()
    return SignatureFile(data, kind, payload, signature, certificates, hint)


def _material(record: Record) -> tuple[SignerKind, tuple[bytes, ...], str]:
    forms = [name for name in ("publicKey", "x509CertificateChain", "certificate") if record.has(name)]
    if len(forms) != 1:
        raise record.refuse("expected one of publicKey, x509CertificateChain, certificate")
    logged = record.take("tlogEntries", [])
    if not isinstance(logged, list):
        raise record.refuse("expected a list", "tlogEntries")
    stamps = record.take("timestampVerificationData", None)
    found: tuple[SignerKind, tuple[bytes, ...], str]
    if forms[0] == "publicKey":
        key = record.table("publicKey")
        found = SignerKind.KEY, (), key.text("hint", "", pattern=r"[0-9a-f]{64}")
        key.done()
    elif forms[0] == "certificate":
        certificate = record.table("certificate")
        found = SignerKind.SIGSTORE, (_base64(certificate, "rawBytes"),), ""
        certificate.done()
    else:
        chain = record.table("x509CertificateChain")
        items = chain.tables("certificates", max_length=MAX_CERTIFICATES)
        if not items:
            raise chain.refuse("no certificate", "certificates")
        # Sigstore's older bundles carry their certificate as a chain of one, and are always logged.
        kind = SignerKind.SIGSTORE if logged else SignerKind.CERTIFICATE
        found = kind, tuple(_base64(item, "rawBytes") for item in items), ""
        for item in (*items, chain):
            item.done()
    if found[0] is not SignerKind.SIGSTORE and (logged or stamps):
        raise record.refuse("a log entry or time stamp beside a signature that is not Sigstore's", "tlogEntries")
    record.done()
    return found


def _base64(record: Record, field: str) -> bytes:
    try:
        return decode_base64(record.text(field, max_length=MAX_SIGNATURE_BYTES * 2))
    except ValueError as problem:
        raise record.refuse(str(problem), field) from None
