"""The proof attestation: one inference, as the prover claims it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from verifai.domain.attestation.circuit import insecure_from_record
from verifai.domain.attestation.predicate_types import PROOF_TYPE
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.statement import Statement
from verifai.domain.utc_time import utc_from_record


@dataclass(frozen=True, slots=True)
class ProofPredicate:
    """``urn:verifai:proof:v1``. The subjects are the engine's payload files, each with its digest.

    Attributes:
        circuit: identifier of the circuit attestation.
        statement: as decoded from the proof when it was made; a verifier decodes it again and compares.
        engine_version: the version that made the proof.
        created: the prover's clock, UTC; a claim, never evidence of order.
        insecure: insecure modes in force, such as ``test-srs``; sorted.
        clamped_cells: how many inner cells of the circuit were cut off at the range that calibration gave them, as the prover
            counted; of hidden tensors and weights, a bound. A claim: no proof shows it. ``None`` when it was not counted.
    """

    TYPE: ClassVar[str] = PROOF_TYPE

    circuit: Sha256
    statement: Statement
    engine_version: str
    created: str
    insecure: tuple[str, ...] = ()
    clamped_cells: int | None = None

    def parents(self) -> tuple[Sha256, ...]:
        """The circuit."""
        return (self.circuit,)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        document: dict[str, Any] = {
            "circuit": self.circuit,
            "statement": dict(self.statement.to_json()),
            "engine_version": self.engine_version,
            "created": self.created,
            "insecure": list(self.insecure),
        }
        return document if self.clamped_cells is None else {**document, "clamped_cells": self.clamped_cells}

    @classmethod
    def from_record(cls, record: Record) -> ProofPredicate:
        """The inverse of :meth:`to_json`, strict."""
        predicate = cls(
            circuit=record.sha256("circuit"),
            statement=Statement.from_record(record.table("statement")),
            engine_version=record.text("engine_version", max_length=64),
            created=utc_from_record(record, "created"),
            insecure=insecure_from_record(record),
            clamped_cells=record.integer("clamped_cells", None, low=0, high=2**48),
        )
        record.done()
        return predicate
