"""Hardware attestation in a bundle: raw evidence of a machine, and what it is about.

The machine signs 64 bytes: the SHA-512 of what the attestation is *about*, in a domain of its own. So a report made for one
thing cannot be shown for another, and whoever reads it computes the 64 bytes again.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from verifai.domain.attestation.predicate_types import TEE_TYPE
from verifai.domain.digest import Sha256
from verifai.domain.hardware import HardwareKind
from verifai.domain.record import Record
from verifai.domain.statement import MAX_CONTEXT
from verifai.domain.trust_keys import decode_base64
from verifai.domain.utc_time import utc_from_record

_DOMAIN = b"verifai/tee/v1\n"
COLLATERAL = ("tcb_info", "qe_identity", "signing_certificate", "pck_crl", "pck_crl_issuer", "root_crl")
"""Names of the parts of TDX collateral."""
_MAX_PART = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class AboutProof:
    """A proof in the same bundle: the measured code computed or checked this very statement.

    Attributes:
        proof: identifier of the proof attestation.
        statement: SHA-256 of its statement in canonical JSON, the context included.
    """

    WORD: ClassVar[str] = "proof"

    proof: Sha256
    statement: Sha256

    def to_json(self) -> dict[str, Any]:
        """Strings only."""
        return {"about": self.WORD, "statement": self.statement}

    def parents(self) -> tuple[Sha256, ...]:
        """The proof attestation."""
        return (self.proof,)


@dataclass(frozen=True, slots=True)
class AboutReceipt:
    """An inference without a proof: the measured code says that it computed these outputs from these inputs by this model.

    Attributes:
        model_sha256: of the canonical model.
        inputs_sha256, outputs_sha256: of the encoded tensors (``verifai.fingerprints.output.encode_output``).
        context: the caller's text, such as a nonce.
    """

    WORD: ClassVar[str] = "receipt"

    model_sha256: Sha256
    inputs_sha256: Sha256
    outputs_sha256: Sha256
    context: str = ""

    def to_json(self) -> dict[str, Any]:
        """Strings only."""
        return {
            "about": self.WORD,
            "model_sha256": self.model_sha256,
            "inputs_sha256": self.inputs_sha256,
            "outputs_sha256": self.outputs_sha256,
            "context": self.context,
        }

    def parents(self) -> tuple[Sha256, ...]:
        """None: the receipt stands for itself."""
        return ()


@dataclass(frozen=True, slots=True)
class AboutVoter:
    """A verifier of a round: the measured code holds this key, or asked for the report on behalf of whoever does.

    Attributes:
        round: identifier of the round's terms.
        voter: key identifier.
    """

    WORD: ClassVar[str] = "voter"

    round: Sha256
    voter: str

    def to_json(self) -> dict[str, Any]:
        """Strings only."""
        return {"about": self.WORD, "round": self.round, "voter": self.voter}

    def parents(self) -> tuple[Sha256, ...]:
        """The round's terms."""
        return (self.round,)


About = AboutProof | AboutReceipt | AboutVoter


def report_data(about: About) -> bytes:
    """The 64 bytes that a machine must have signed: SHA-512 of the domain and the canonical JSON of ``about``."""
    text = json.dumps(about.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha512(_DOMAIN + text.encode("utf-8")).digest()


@dataclass(frozen=True, slots=True)
class HardwarePredicate:
    """``urn:verifai:tee:v1``. The subject is what the evidence is about, by name and SHA-256 (:func:`subject_of`).

    Attributes:
        report, certificate, crl: raw evidence, as :class:`verifai.hardware.evidence.HardwareEvidence` describes it.
        collateral: TDX: its parts by name (:data:`COLLATERAL`), all or none.
        created: the maker's clock, UTC; a claim.
    """

    TYPE: ClassVar[str] = TEE_TYPE

    kind: HardwareKind
    about: About
    report: bytes
    created: str
    certificate: bytes = b""
    crl: bytes = b""
    collateral: Mapping[str, bytes] = field(default_factory=dict)

    def parents(self) -> tuple[Sha256, ...]:
        """What the evidence is about, where that is an attestation."""
        return self.about.parents()

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only; parts that are not there are left out."""
        about = self.about.to_json()
        if isinstance(self.about, AboutProof):
            about["proof"] = self.about.proof
        document: dict[str, Any] = {
            "kind": self.kind.value,
            "about": about,
            "created": self.created,
            "report": base64.b64encode(self.report).decode(),
        }
        for name, data in (("certificate", self.certificate), ("crl", self.crl)):
            if data:
                document[name] = base64.b64encode(data).decode()
        if self.collateral:
            document["collateral"] = {name: base64.b64encode(self.collateral[name]).decode() for name in COLLATERAL}
        return document

    @classmethod
    def from_record(cls, record: Record) -> HardwarePredicate:
        """The inverse of :meth:`to_json`, strict."""
        collateral: dict[str, bytes] = {}
        if record.has("collateral"):
            parts = record.table("collateral")
            collateral = {name: _part(parts, name) for name in COLLATERAL}
            parts.done()
        predicate = cls(
            kind=record.choice("kind", HardwareKind),
            about=_about(record.table("about")),
            report=_part(record, "report"),
            created=utc_from_record(record, "created"),
            certificate=_part(record, "certificate") if record.has("certificate") else b"",
            crl=_part(record, "crl") if record.has("crl") else b"",
            collateral=collateral,
        )
        record.done()
        return predicate


def subject_of(about: About) -> tuple[str, Sha256]:
    """Name and SHA-256 of the in-toto subject."""
    if isinstance(about, AboutProof):
        return "statement", about.statement
    if isinstance(about, AboutReceipt):
        return "outputs", about.outputs_sha256
    return "round", about.round


def _about(record: Record) -> About:
    word = record.text("about", pattern="proof|receipt|voter")
    about: About
    if word == AboutProof.WORD:
        about = AboutProof(record.sha256("proof"), record.sha256("statement"))
    elif word == AboutReceipt.WORD:
        model, inputs, outputs = (record.sha256(name) for name in ("model_sha256", "inputs_sha256", "outputs_sha256"))
        about = AboutReceipt(model, inputs, outputs, record.text("context", max_length=MAX_CONTEXT, empty=True))
    else:
        about = AboutVoter(record.sha256("round"), record.text("voter", pattern=r"[0-9a-f]{64}"))
    record.done()
    return about


def _part(record: Record, name: str) -> bytes:
    try:
        data = decode_base64(record.text(name, max_length=_MAX_PART * 4 // 3 + 4))
    except ValueError as problem:
        raise record.refuse(str(problem), name) from None
    return data
