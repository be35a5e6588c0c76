"""Signed releases for tests: the format of OpenSSF Model Signing 1.0 written by hand, so that every part of it can be false."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from verifai.domain.model_signing import SignerKind, TrustedModelSigner

PAYLOAD_TYPE = "application/vnd.in-toto+json"
HASHES = {"secp256r1": hashes.SHA256, "secp384r1": hashes.SHA384, "secp521r1": hashes.SHA512}
START, END = dt.datetime(2026, 1, 1, tzinfo=dt.UTC), dt.datetime(2027, 1, 1, tzinfo=dt.UTC)


def signing_key(seed: int = 1, curve: ec.EllipticCurve | None = None) -> ec.EllipticCurvePrivateKey:
    """A key made from a small number."""
    return ec.derive_private_key(0x1234567890ABCDEF * (seed + 1), curve or ec.SECP256R1())


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def trusted_key(key: ec.EllipticCurvePrivateKey, name: str = "acme") -> TrustedModelSigner:
    return TrustedModelSigner(name, SignerKind.KEY, public_key=public_pem(key))


def resources(folder: Path, leave_out: Sequence[str] = ("model.sig",)) -> list[dict[str, str]]:
    """The entries of a manifest for all files of a folder."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [
        {"name": name, "algorithm": "sha256", "digest": hashlib.sha256((folder / name).read_bytes()).hexdigest()}
        for name in names
        if name not in leave_out
    ]


def statement(entries: Sequence[dict[str, str]], *, name: str = "release", **serialization: Any) -> dict[str, Any]:
    """The signed statement."""
    joined = hashlib.sha256(b"".join(bytes.fromhex(one["digest"]) for one in entries)).hexdigest()
    settings = {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": ["model.sig"]}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": joined}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {"serialization": settings | serialization, "resources": list(entries)},
    }


def pae(payload: bytes) -> bytes:
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def signature_document(
    document: dict[str, Any], key: ec.EllipticCurvePrivateKey, certificates: Sequence[x509.Certificate] = ()
) -> dict[str, Any]:
    """The signature file as JSON values: of a key, or of a certificate."""
    payload = json.dumps(document, indent=2).encode()
    value = key.sign(pae(payload), ec.ECDSA(HASHES[key.curve.name]()))
    if certificates:
        chain = [{"rawBytes": base64.b64encode(one.public_bytes(Encoding.DER)).decode()} for one in certificates]
        material: dict[str, Any] = {"x509CertificateChain": {"certificates": chain}, "tlogEntries": []}
    else:
        hint = hashlib.sha256(public_pem(key).encode()).hexdigest()
        material = {"publicKey": {"hint": hint}, "tlogEntries": []}
    return {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": material,
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(value).decode(), "keyid": ""}],
        },
    }


def sign_bytes(
    document: dict[str, Any], key: ec.EllipticCurvePrivateKey, certificates: Sequence[x509.Certificate] = ()
) -> bytes:
    return json.dumps(signature_document(document, key, certificates)).encode()


def sign_folder(folder: Path, key: ec.EllipticCurvePrivateKey, **options: Any) -> Path:
    """Sign all files of a folder; the signature is ``model.sig`` in it."""
    path = folder / "model.sig"
    path.write_bytes(sign_bytes(statement(resources(folder), **options), key))
    return path


@dataclass
class TestAuthority:
    """A root that certifies signers of releases."""

    __test__ = False
    name: str = "Test root"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: signing_key(100))
    start: dt.datetime = START
    end: dt.datetime = END

    @property
    def subject(self) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])

    @cached_property
    def certificate(self) -> x509.Certificate:
        return self.issue(self.key, self.subject, self.subject, ca=True, start=self.start, end=self.end)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def issue(
        self,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        issuer: x509.Name | None = None,
        *,
        ca: bool = False,
        path_length: int | None = None,
        start: dt.datetime = START,
        end: dt.datetime = END,
        identity: str = "",
        usage: bool = True,
        purpose: Any = ExtendedKeyUsageOID.CODE_SIGNING,
        critical_unknown: bool = False,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer or self.subject)
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(start)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca, path_length if ca else None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .add_extension(
                x509.KeyUsage(usage and not ca, False, False, False, False, usage and ca, usage and ca, False, False),
                critical=True,
            )
        )
        if identity:
            builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), critical=False)
        if not ca and purpose is not None:
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=True)
        if critical_unknown:
            odd = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
            builder = builder.add_extension(odd, critical=True)
        return builder.sign(self.key, hashes.SHA256())

    def entry(self, identity: str = "release@acme.example", **changes: Any) -> TrustedModelSigner:
        return TrustedModelSigner("acme", SignerKind.CERTIFICATE, **{"roots": self.pem, "identity": identity, **changes})


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
