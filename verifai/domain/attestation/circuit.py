"""The circuit attestation: what compile pinned, and how faithful the circuit is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, ClassVar

from verifai.domain.attestation.predicate_types import CIRCUIT_TYPE
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.statement import EngineName, WeightVisibility


def ratio_to_json(value: Fraction | float) -> list[str]:
    """An exact ratio as a pair of decimal integers in lowest terms; signed documents hold no floats."""
    fraction = Fraction(value)
    return [str(fraction.numerator), str(fraction.denominator)]


def ratio_from_record(record: Record, name: str, *, signed: bool = False) -> Fraction:
    """The inverse of :func:`ratio_to_json`; non-negative unless ``signed``."""
    pair = record.texts(name, max_length=2)
    try:
        fraction = Fraction(int(pair[0]), int(pair[1]))
        float(fraction)  # every ratio of ours came from a double; readers may turn it back into one
    except (ValueError, IndexError, ZeroDivisionError, OverflowError):
        raise record.refuse("expected a ratio of two integers", name) from None
    if ratio_to_json(fraction) != list(pair) or (fraction < 0 and not signed):
        wanted = "a ratio" if signed else "a non-negative ratio"
        raise record.refuse(f"expected {wanted} in lowest terms", name)
    return fraction


@dataclass(frozen=True, slots=True)
class FidelityFigures:
    """Circuit against onnxruntime on the calibration set, as exact figures.

    Attributes:
        samples: how many were compared.
        top1_matches: in how many every decision agrees; ``None`` without decisions.
        max_abs_error, mean_abs_error: over all output values.
        worst_sample: index of the sample with the largest error.
        spread_error, column_error, r2, close_decisions: as in :class:`..fidelity.Fidelity`; left out where not measured.
        positions, position_matches: of a language model, over the texts; perplexity, circuit_perplexity: likewise.
    """

    samples: int
    top1_matches: int | None
    max_abs_error: Fraction
    mean_abs_error: Fraction
    worst_sample: int
    spread_error: Fraction | None = None
    r2: Fraction | None = None
    close_decisions: int | None = None
    column_error: Fraction | None = None
    positions: int | None = None
    position_matches: int | None = None
    perplexity: Fraction | None = None
    circuit_perplexity: Fraction | None = None

    @property
    def agreement(self) -> tuple[int, int] | None:
        """How many decisions agree, of how many: positions of a language model, else samples; ``None`` without decisions."""
        if self.positions is not None and self.position_matches is not None:
            return self.position_matches, self.positions
        return None if self.top1_matches is None else (self.top1_matches, self.samples)

    def to_json(self) -> dict[str, Any]:
        """Integers and strings only."""
        result: dict[str, Any] = {
            "samples": self.samples,
            "max_abs_error": ratio_to_json(self.max_abs_error),
            "mean_abs_error": ratio_to_json(self.mean_abs_error),
            "worst_sample": self.worst_sample,
        }
        if self.top1_matches is not None:
            result["top1_matches"] = self.top1_matches
        if self.spread_error is not None:
            result["spread_error"] = ratio_to_json(self.spread_error)
        if self.column_error is not None:
            result["column_error"] = ratio_to_json(self.column_error)
        if self.r2 is not None:
            result["r2"] = ratio_to_json(self.r2)
        if self.close_decisions is not None:
            result["close_decisions"] = self.close_decisions
        if self.positions is not None:
            result |= {"positions": self.positions, "position_matches": self.position_matches}
        if self.perplexity is not None and self.circuit_perplexity is not None:
            result["perplexity"] = ratio_to_json(self.perplexity)
            result["circuit_perplexity"] = ratio_to_json(self.circuit_perplexity)
        return result

    @classmethod
    def from_record(cls, record: Record) -> FidelityFigures:
        """The inverse of :meth:`to_json`, strict."""
        samples = record.integer("samples", low=1, high=2**40)
        figures = cls(
            samples=samples,
            top1_matches=record.integer("top1_matches", None, low=0, high=samples),
            max_abs_error=ratio_from_record(record, "max_abs_error"),
            mean_abs_error=ratio_from_record(record, "mean_abs_error"),
            worst_sample=record.integer("worst_sample", low=0, high=samples - 1),
            spread_error=ratio_from_record(record, "spread_error") if record.has("spread_error") else None,
            column_error=ratio_from_record(record, "column_error") if record.has("column_error") else None,
            r2=ratio_from_record(record, "r2", signed=True) if record.has("r2") else None,
            close_decisions=record.integer("close_decisions", None, low=0, high=samples),
            positions=record.integer("positions", None, low=1, high=10**12),
            position_matches=record.integer("position_matches", low=0, high=10**12) if record.has("positions") else None,
            perplexity=ratio_from_record(record, "perplexity") if record.has("perplexity") else None,
            circuit_perplexity=ratio_from_record(record, "circuit_perplexity") if record.has("perplexity") else None,
        )
        record.done()
        if figures.positions is not None and (figures.position_matches or 0) > figures.positions:
            raise record.refuse("more positions agree than there are", "position_matches")
        if figures.mean_abs_error > figures.max_abs_error:
            raise record.refuse("the mean error is larger than the largest error", "mean_abs_error")
        return figures


@dataclass(frozen=True, slots=True)
class CircuitPredicate:
    """``urn:verifai:circuit:v1``. The subject is the canonical ONNX model; a parent of every proof.

    Attributes:
        name: the circuit's name.
        model_sha256: digest of the canonical ONNX model.
        circuit_sha256: digest that identifies the circuit to its engine (ezkl: the verification key).
        engine_version: the version that proofs depend on.
        section_sha256: SHA-256 of the engine's lock section in RFC 8785 form; fractional TOML numbers as ``repr`` strings.
        pins: further digests that the section holds, by name, such as ``srs_sha256``.
        fidelity: measured at compile time; ``None`` when the lock holds none.
        insecure: insecure modes in force, such as ``test-srs``; sorted.
    """

    TYPE: ClassVar[str] = CIRCUIT_TYPE

    name: str
    engine: EngineName
    engine_version: str
    model_sha256: Sha256
    circuit_sha256: Sha256
    section_sha256: Sha256
    weights: WeightVisibility
    pins: Mapping[str, Sha256] = field(default_factory=dict)
    fidelity: FidelityFigures | None = None
    insecure: tuple[str, ...] = ()

    def parents(self) -> tuple[Sha256, ...]:
        """None: the chain starts here."""
        return ()

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        result: dict[str, Any] = {
            "name": self.name,
            "engine": self.engine.value,
            "engine_version": self.engine_version,
            "model_sha256": self.model_sha256,
            "circuit_sha256": self.circuit_sha256,
            "section_sha256": self.section_sha256,
            "weights": self.weights.value,
            "pins": dict(self.pins),
            "insecure": list(self.insecure),
        }
        if self.fidelity is not None:
            result["fidelity"] = self.fidelity.to_json()
        return result

    @classmethod
    def from_record(cls, record: Record) -> CircuitPredicate:
        """The inverse of :meth:`to_json`, strict."""
        pins = record.table("pins")
        predicate = cls(
            name=record.text("name", pattern=r"[a-z0-9][a-z0-9-]{0,63}"),
            engine=record.choice("engine", EngineName),
            engine_version=record.text("engine_version", max_length=64),
            model_sha256=record.sha256("model_sha256"),
            circuit_sha256=record.sha256("circuit_sha256"),
            section_sha256=record.sha256("section_sha256"),
            weights=record.choice("weights", WeightVisibility),
            pins={name: pins.sha256(name) for name in pins.names()},
            fidelity=FidelityFigures.from_record(record.table("fidelity")) if record.has("fidelity") else None,
            insecure=insecure_from_record(record),
        )
        pins.done()
        record.done()
        for name in predicate.pins:
            # A pin named like a field would be a second value for it.
            if re.fullmatch(r"[a-z0-9_]{1,56}_sha256", name) is None or name in {*cls.__dataclass_fields__}:
                raise pins.refuse(f"{name[:80]!r} cannot be the name of a further digest")
        return predicate


def insecure_from_record(record: Record) -> tuple[str, ...]:
    """The sorted list of insecure modes, each once."""
    modes = record.texts("insecure", max_length=16)
    if list(modes) != sorted(set(modes)):
        raise record.refuse("expected names in ascending order, each once", "insecure")
    return modes
