"""The evaluation attestation: how a model did on a whole data set, as whoever proved it says; everybody counts again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from verifai.domain.attestation.predicate_types import EVALUATION_TYPE
from verifai.domain.digest import Sha256
from verifai.domain.evaluation.data_lock import MAX_SAMPLES
from verifai.domain.record import Record
from verifai.domain.utc_time import utc_from_record

MAX_PROOFS = 1_000
"""So that a bundle of them stays within the limits of a bundle and of its bill of materials."""


@dataclass(frozen=True, slots=True)
class EvaluationPredicate:
    """``urn:verifai:evaluation:v1``. The subject is the file with the samples.

    Attributes:
        circuit: identifier of the circuit attestation that all proofs build on.
        proofs: identifiers of the proof attestations, in the order of the samples.
        data_root, count: of the data set, as its lock pins them.
        output: the output whose values were taken for the model's answers, or whose right answers the proofs counted.
        left_out: places of the samples that lie outside what the circuit takes, ascending: nothing about them is proven.
        metrics: as :meth:`verifai.domain.evaluation.metrics.Metrics.to_json` writes them; a reader counts again and compares.
        created: the prover's clock, UTC; a claim.
    """

    TYPE: ClassVar[str] = EVALUATION_TYPE

    circuit: Sha256
    proofs: tuple[Sha256, ...]
    data_root: Sha256
    count: int
    output: str
    metrics: Mapping[str, Any]
    created: str
    left_out: tuple[int, ...] = ()

    def parents(self) -> tuple[Sha256, ...]:
        """The circuit and every proof."""
        return (self.circuit, *self.proofs)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "circuit": self.circuit,
            "proofs": list(self.proofs),
            "data": {"root": self.data_root, "count": self.count},
            "output": self.output,
            "metrics": dict(self.metrics),
            "created": self.created,
            **({"left_out": list(self.left_out)} if self.left_out else {}),
        }

    @classmethod
    def from_record(cls, record: Record) -> EvaluationPredicate:
        """The inverse of :meth:`to_json`, strict."""
        data = record.table("data")
        places = record.texts("proofs", max_length=MAX_PROOFS)
        predicate = cls(
            circuit=record.sha256("circuit"),
            proofs=tuple(Record({"proof": one}, f"{record.where}.proofs").sha256("proof") for one in places),
            data_root=data.sha256("root"),
            count=data.integer("count", low=1, high=MAX_SAMPLES),
            output=record.text("output", max_length=512),
            metrics=_metrics(record.table("metrics")),
            created=utc_from_record(record, "created"),
            left_out=record.integers("left_out", (), low=0, high=MAX_SAMPLES, max_length=MAX_SAMPLES),
        )
        data.done()
        record.done()
        if not predicate.proofs or len(set(predicate.proofs)) != len(predicate.proofs):
            raise record.refuse("expected the proofs, each once", "proofs")
        left = predicate.left_out
        if list(left) != sorted(set(left)) or (left and left[-1] >= predicate.count):
            raise record.refuse("expected places of the data set, ascending, each once", "left_out")
        return predicate


def _metrics(record: Record) -> Mapping[str, Any]:
    """Of the form of :attr:`EvaluationPredicate.metrics`; whether they are true is found by counting."""
    whole = _counted(record.table("whole"))
    groups = []
    for one in record.tables("groups", max_length=1000):
        name = one.text("group", max_length=512)
        groups.append({"group": name, **_counted(one)})
    record.done()
    if [one["group"] for one in groups] != sorted({one["group"] for one in groups}):
        raise record.refuse("the groups are not in ascending order, each once", "groups")
    return {"whole": whole, "groups": groups}


def _counted(record: Record) -> dict[str, Any]:
    high = MAX_SAMPLES
    found: dict[str, Any] = {"samples": record.integer("samples", low=1, high=high)}
    if record.has("mean_absolute_error"):
        names = ("mean_absolute_error", "root_mean_squared_error", "r2")
        found |= {name: record.text(name, max_length=64) for name in names}
    elif not record.has("confusion"):
        found["right"] = record.integer("right", low=0, high=high)
    else:
        found |= {
            "right": record.integer("right", low=0, high=high),
            "confusion": _rows(record, "confusion", 3, high),
            "top_k": _rows(record, "top_k", 2, 16),
        }
    if record.has("left_out"):
        found["left_out"] = record.integer("left_out", low=1, high=high)
    record.done()
    return found


def _rows(record: Record, name: str, width: int, most: int) -> list[list[int]]:
    def row(value: Any, place: str) -> list[int]:
        whole = isinstance(value, list) and all(type(one) is int and 0 <= one <= MAX_SAMPLES for one in value)
        if not whole or len(value) != width:
            raise record.refuse(f"expected {width} counts", place.removeprefix(f"{record.where}."))
        return list(value)

    return list(record.array(name, row, max_length=most))
