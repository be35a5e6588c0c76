"""A Sigstore of one's own, for tests: its certificate authority, its two logs, its trusted root, and signatures under it.

Everything is made by hand from the formats (RFC 6962 for the certificate's time stamp, Rekor's canonical entry, its promise and
its checkpoint over a tree of one leaf), so that a real verifier says yes to it, offline.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from verifai.domain.model_signing import PAYLOAD_TYPE

_SCT_LIST = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_ISSUER, _ISSUER_V2 = (x509.ObjectIdentifier(f"1.3.6.1.4.1.57264.1.{number}") for number in (1, 8))
ORIGIN = "log.sigstore.example"


def _key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _id(key: ec.EllipticCurvePrivateKey) -> bytes:
    return hashlib.sha256(_spki(key)).digest()


def _sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    return key.sign(data, ec.ECDSA(hashes.SHA256()))


def text(data: bytes) -> str:
    """Base64."""
    return base64.b64encode(data).decode()


@dataclass
class SigstoreInstance:
    """One instance: keys of the authority, of the certificates' log and of the signatures' log."""

    moment: dt.datetime
    authority: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    certificates: ec.EllipticCurvePrivateKey = field(default_factory=_key)
    signatures: ec.EllipticCurvePrivateKey = field(default_factory=_key)

    def __post_init__(self) -> None:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sigstore.example")])
        builder = self._builder(name, name, self.authority, days=3650)
        builder = builder.add_extension(x509.BasicConstraints(True, 0), True)
        builder = builder.add_extension(_usage(key_cert_sign=True, crl_sign=True), True)
        self.root = builder.sign(self.authority, hashes.SHA256())

    def _builder(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: float
    ) -> x509.CertificateBuilder:
        span = dt.timedelta(days=days)
        builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(self.moment - span).not_valid_after(self.moment + span)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.authority.public_key())
        return builder.add_extension(authority, False)

    def certificate(self, key: ec.EllipticCurvePrivateKey, identity: str, issuer: str) -> x509.Certificate:
        """A certificate of ``identity``, as ``issuer`` said who it is, with the time stamp of the certificates' log in it."""
        builder = self._builder(x509.Name([]), self.root.subject, key, days=0.01)
        builder = builder.add_extension(_usage(digital_signature=True), True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.RFC822Name(identity)]), True)
        builder = builder.add_extension(x509.UnrecognizedExtension(_ISSUER, issuer.encode()), False)
        der = b"\x0c" + bytes([len(issuer)]) + issuer.encode()
        builder = builder.add_extension(x509.UnrecognizedExtension(_ISSUER_V2, der), False)
        body = builder.sign(self.authority, hashes.SHA256()).tbs_certificate_bytes
        stamp = struct.pack("!Q", int(self.moment.timestamp() * 1000))
        entry = _id(self.authority) + len(body).to_bytes(3, "big") + body
        signature = _sign(self.certificates, b"\0\0" + stamp + b"\0\1" + entry + b"\0\0")
        one = b"\0" + _id(self.certificates) + stamp + b"\0\0" + b"\4\3" + struct.pack("!H", len(signature)) + signature
        listed = struct.pack("!HH", len(one) + 2, len(one)) + one
        octets = b"\x04" + (bytes([len(listed)]) if len(listed) < 128 else b"\x81" + bytes([len(listed)])) + listed
        return builder.add_extension(x509.UnrecognizedExtension(_SCT_LIST, octets), False).sign(self.authority, hashes.SHA256())

    def sign(self, payload: bytes, identity: str, issuer: str) -> dict[str, Any]:
        """A signature file: bundle v0.3."""
        key = _key()
        leaf = self.certificate(key, identity, issuer)
        kind = PAYLOAD_TYPE.encode()
        signature = _sign(key, b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
        return {
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {
                "certificate": {"rawBytes": text(leaf.public_bytes(Encoding.DER))},
                "tlogEntries": [self.entry(payload, signature, leaf)],
            },
            "dsseEnvelope": {
                "payload": text(payload),
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{"sig": text(signature)}],
            },
        }

    def entry(self, payload: bytes, signature: bytes, leaf: x509.Certificate) -> dict[str, Any]:
        """What the log says of a signature: its promise, and its checkpoint over a tree that holds nothing else."""
        digest = {"algorithm": "sha256", "value": hashlib.sha256(payload).hexdigest()}
        signed = [{"signature": text(signature), "verifier": text(leaf.public_bytes(Encoding.PEM))}]
        spec = {"envelopeHash": digest, "payloadHash": digest, "signatures": signed}
        body = _canonical({"apiVersion": "0.0.1", "kind": "dsse", "spec": spec})
        moment, log = int(self.moment.timestamp()), _id(self.signatures)
        promised = {"body": text(body), "integratedTime": moment, "logID": log.hex(), "logIndex": 0}
        root = hashlib.sha256(b"\0" + body).digest()
        note = f"{ORIGIN}\n1\n{text(root)}\n"
        stamp = text(log[:4] + _sign(self.signatures, note.encode()))
        return {
            "logIndex": "0",
            "logId": {"keyId": text(log)},
            "kindVersion": {"kind": "dsse", "version": "0.0.1"},
            "integratedTime": str(moment),
            "inclusionPromise": {"signedEntryTimestamp": text(_sign(self.signatures, _canonical(promised)))},
            "inclusionProof": {
                "logIndex": "0",
                "rootHash": text(root),
                "treeSize": "1",
                "hashes": [],
                "checkpoint": {"envelope": f"{note}\n— {ORIGIN} {stamp}\n"},
            },
            "canonicalizedBody": text(body),
        }

    def trusted_root(self) -> str:
        """What a verifier trusts: JSON."""
        since = {"start": (self.moment - dt.timedelta(days=3650)).strftime("%Y-%m-%dT%H:%M:%SZ")}

        def log(key: ec.EllipticCurvePrivateKey) -> dict[str, Any]:
            known = {"rawBytes": text(_spki(key)), "keyDetails": "PKIX_ECDSA_P256_SHA_256", "validFor": since}
            place = {"baseUrl": f"https://{ORIGIN}", "hashAlgorithm": "SHA2_256"}
            return {**place, "publicKey": known, "logId": {"keyId": text(_id(key))}}

        authority = {
            "subject": {"organization": "sigstore.example", "commonName": "sigstore.example"},
            "uri": "https://ca.sigstore.example",
            "certChain": {"certificates": [{"rawBytes": text(self.root.public_bytes(Encoding.DER))}]},
            "validFor": since,
        }
        return json.dumps(
            {
                "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
                "tlogs": [log(self.signatures)],
                "certificateAuthorities": [authority],
                "ctlogs": [log(self.certificates)],
            }
        )


def _canonical(document: Any) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(digital_signature, False, False, False, False, key_cert_sign, crl_sign, False, False)
