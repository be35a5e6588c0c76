"""Attestations: an in-toto Statement v1 in a DSSE envelope, as values.

An attestation is named by the SHA-256 of its payload, so signatures can be added without renaming it. Predicates have versioned
types of our own; :mod:`verifai.domain.attestation.types` lists them.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from verifai.domain import strict_json
from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record
from verifai.domain.trust_keys import decode_base64

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
MAX_ENVELOPE_BYTES = 12 * 1024 * 1024
MAX_SIGNATURES = 64


@dataclass(frozen=True, slots=True)
class Signature:
    """One DSSE signature. ``keyid`` is a hint only: what counts is which key verifies it."""

    keyid: str
    value: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A DSSE envelope (DSSE v1.0.2) around in-toto JSON.

    Attributes:
        payload: the exact bytes that are signed.
        signatures: in ascending order of key identifier, each identifier once; none when unsigned.
    """

    payload: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def id(self) -> Sha256:
        """SHA-256 of the payload: the attestation's identifier. Signatures do not change it."""
        return sha256(self.payload)

    @property
    def signed_bytes(self) -> bytes:
        """DSSE pre-authentication encoding: what a signature is over."""
        kind = PAYLOAD_TYPE.encode()
        return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(self.payload), self.payload)

    def with_signature(self, signature: Signature) -> Envelope:
        """The same envelope with ``signature`` in its place; one of the same key is replaced."""
        kept = [old for old in self.signatures if old.keyid != signature.keyid]
        return Envelope(self.payload, tuple(sorted([*kept, signature], key=lambda one: one.keyid)))

    def to_json(self) -> dict[str, Any]:
        """The envelope as a JSON object; written in RFC 8785 form."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"keyid": one.keyid, "sig": base64.b64encode(one.value).decode()} for one in self.signatures],
        }


def parse_envelope(data: bytes, where: str) -> Envelope:
    """Read a DSSE envelope strictly. Whether it is in canonical form is the caller's question.

    Raises:
        EvidenceRejected: code ``malformed``.
    """
    root = Record(strict_json.loads(data, where=where, max_bytes=MAX_ENVELOPE_BYTES), where)
    root.text("payloadType", pattern=PAYLOAD_TYPE.replace("+", r"\+").replace(".", r"\."))
    payload = _base64(root, "payload", MAX_ENVELOPE_BYTES)
    signatures = []
    for item in root.tables("signatures", max_length=MAX_SIGNATURES):
        signatures.append(Signature(item.text("keyid", pattern=r"[0-9a-f]{64}"), _base64(item, "sig", 1024)))
        item.done()
    root.done()
    keyids = [one.keyid for one in signatures]
    if keyids != sorted(set(keyids)):
        raise root.refuse("the signatures are not in ascending order of key, each key once", "signatures")
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise root.refuse(f"{len(payload)} bytes, more than the limit of {MAX_PAYLOAD_BYTES}", "payload")
    return Envelope(payload, tuple(signatures))


def _base64(record: Record, field: str, max_length: int) -> bytes:
    try:
        return decode_base64(record.text(field, max_length=max_length))
    except ValueError as problem:
        raise record.refuse(str(problem), field) from None


@dataclass(frozen=True, slots=True)
class Subject:
    """What an attestation is about: an in-toto ResourceDescriptor with name and SHA-256.

    Attributes:
        name: a path in the bundle such as ``payload/proof.json``, or a plain name for what is not in it.
    """

    name: str
    sha256: Sha256

    def to_json(self) -> dict[str, Any]:
        """As an in-toto ResourceDescriptor."""
        return {"name": self.name, "digest": {"sha256": self.sha256}}


class Predicate(Protocol):
    """What every predicate class offers. ``from_record(to_json())`` gives the same value back, and nothing else parses."""

    TYPE: ClassVar[str]

    def to_json(self) -> Mapping[str, Any]:
        """Integers, strings, booleans, lists and objects only."""

    def parents(self) -> tuple[Sha256, ...]:
        """Identifiers of the attestations that this one builds on."""

    @classmethod
    def from_record(cls, record: Record) -> Self:
        """Strict inverse of :meth:`to_json`; calls ``record.done()``."""


@dataclass(frozen=True, slots=True)
class Attestation:
    """One parsed attestation and the envelope it came in."""

    envelope: Envelope
    subjects: tuple[Subject, ...]
    predicate: Predicate

    @property
    def id(self) -> Sha256:
        """SHA-256 of the payload."""
        return self.envelope.id


def statement_document(subjects: tuple[Subject, ...], predicate: Predicate) -> dict[str, Any]:
    """The in-toto Statement as a JSON object."""
    return {
        "_type": STATEMENT_TYPE,
        "subject": [subject.to_json() for subject in subjects],
        "predicateType": predicate.TYPE,
        "predicate": dict(predicate.to_json()),
    }
