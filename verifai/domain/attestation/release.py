"""From a signed release to a circuit, as attestations in a bundle.

*release* carries the signature of the release itself, which whoever reads the bundle verifies again, and what the lock pins of
it. *derivation* is the word of a notary: somebody who saw release and weights, exported and quantised them again, and got this
very circuit and this very weight root. It says nothing that the notary did not compute.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Subject
from verifai.domain.attestation.manifest import MODEL_FILE
from verifai.domain.attestation.predicate_types import DERIVATION_TYPE, RELEASE_TYPE
from verifai.domain.digest import Sha256
from verifai.domain.model_signing import MAX_SIGNATURE_BYTES, ProvenancePin
from verifai.domain.record import Record
from verifai.domain.statement import EngineName, WeightVisibility
from verifai.domain.trust_keys import decode_base64
from verifai.domain.utc_time import utc_from_record


@dataclass(frozen=True, slots=True)
class ReleasePredicate:
    """``urn:verifai:release:v1``. The subject is the canonical ONNX model.

    Attributes:
        signature: the release's signature file, byte for byte.
        pin: as the lock has it.
    """

    TYPE: ClassVar[str] = RELEASE_TYPE

    signature: bytes
    pin: ProvenancePin

    def parents(self) -> tuple[Sha256, ...]:
        """None."""
        return ()

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {"signature": base64.b64encode(self.signature).decode(), "pin": self.pin.to_json()}

    @classmethod
    def from_record(cls, record: Record) -> ReleasePredicate:
        """The inverse of :meth:`to_json`, strict."""
        try:
            signature = decode_base64(record.text("signature", max_length=2 * MAX_SIGNATURE_BYTES))
        except ValueError as problem:
            raise record.refuse(str(problem), "signature") from None
        predicate = cls(signature, ProvenancePin.from_record(record.table("pin")))
        record.done()
        return predicate


@dataclass(frozen=True, slots=True)
class DerivationPredicate:
    """``urn:verifai:derivation:v1``. The subject is the canonical ONNX model; whoever signs it derived all of this again.

    Attributes:
        pin: which signed release, exported how.
        model_sha256: of the canonical model that came out.
        circuit_sha256, section_sha256, pins: as in the circuit attestation; ``section_sha256`` covers the quantisation, and
            ``pins`` the weight root.
        created: UTC.
    """

    TYPE: ClassVar[str] = DERIVATION_TYPE

    pin: ProvenancePin
    model_sha256: Sha256
    engine: EngineName
    engine_version: str
    circuit_sha256: Sha256
    section_sha256: Sha256
    weights: WeightVisibility
    pins: Mapping[str, Sha256]
    created: str

    @classmethod
    def of(cls, circuit: CircuitPredicate, pin: ProvenancePin, created: str) -> DerivationPredicate:
        """What a derivation of ``circuit`` says."""
        return cls(
            pin=pin,
            model_sha256=circuit.model_sha256,
            engine=circuit.engine,
            engine_version=circuit.engine_version,
            circuit_sha256=circuit.circuit_sha256,
            section_sha256=circuit.section_sha256,
            weights=circuit.weights,
            pins=circuit.pins,
            created=created,
        )

    def differs_from(self, circuit: CircuitPredicate, pin: ProvenancePin) -> str:
        """The first field in which this is about something else; "" for none."""
        wanted = type(self).of(circuit, pin, self.created)
        return next((name for name in self.__dataclass_fields__ if getattr(self, name) != getattr(wanted, name)), "")

    def parents(self) -> tuple[Sha256, ...]:
        """None: it is about a circuit, whichever bundle it is in."""
        return ()

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "pin": self.pin.to_json(),
            "model_sha256": self.model_sha256,
            "engine": self.engine.value,
            "engine_version": self.engine_version,
            "circuit_sha256": self.circuit_sha256,
            "section_sha256": self.section_sha256,
            "weights": self.weights.value,
            "pins": dict(self.pins),
            "created": self.created,
        }

    @classmethod
    def from_record(cls, record: Record) -> DerivationPredicate:
        """The inverse of :meth:`to_json`, strict."""
        pins = record.table("pins")
        predicate = cls(
            pin=ProvenancePin.from_record(record.table("pin")),
            model_sha256=record.sha256("model_sha256"),
            engine=record.choice("engine", EngineName),
            engine_version=record.text("engine_version", max_length=64),
            circuit_sha256=record.sha256("circuit_sha256"),
            section_sha256=record.sha256("section_sha256"),
            weights=record.choice("weights", WeightVisibility),
            pins={name: pins.sha256(name) for name in pins.names()},
            created=utc_from_record(record, "created"),
        )
        pins.done()
        record.done()
        return predicate


def model_subject(model_sha256: Sha256) -> tuple[Subject, ...]:
    """The subject of both."""
    return (Subject(MODEL_FILE, model_sha256),)
