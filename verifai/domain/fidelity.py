"""How near a circuit is to its float model: what is measured, and what an author asks of it.

The unit of an error is the *spread* of its output: the standard deviation of the float model's values on the calibration data,
per output cell. An error of 0.01 spreads is small for a price in cents and for a probability alike.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum

from verifai.domain.record import Record


class Task(StrEnum):
    """What a model's outputs mean, and so which decision of it must survive.

    ``classification``: each row of an output names one class, its largest cell, or the side of one cell. ``multi-label``: each
    cell is a decision of its own. ``regression``: outputs are quantities; there is no decision.
    """

    CLASSIFICATION = "classification"
    MULTI_LABEL = "multi-label"
    REGRESSION = "regression"


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Circuit against float model on the calibration data.

    Attributes:
        samples: how many were compared.
        top1_matches: in how many samples every decision is the float model's; ``None`` for regression.
        max_abs_error, mean_abs_error: over all output values.
        worst_sample: index of the sample with the largest error.
        spread_error: 99th percentile of error / spread; ``None`` in locks that were written before it was measured, and where
            no output is a real number.
        r2: 1 − Σ error² / Σ (value − mean)² over all real outputs; ``None`` likewise.
        close_decisions: samples in which some decision of the float model lies within twice the 99th percentile of the
            circuit's error; ``None`` where there are no decisions.
    """

    samples: int
    top1_matches: int | None
    max_abs_error: float
    mean_abs_error: float
    worst_sample: int
    spread_error: float | None = None
    r2: float | None = None
    close_decisions: int | None = None

    @property
    def top1_agreement(self) -> float | None:
        """Share of samples whose decisions agree."""
        return None if self.top1_matches is None else self.top1_matches / self.samples

    def to_document(self) -> dict[str, int | float]:
        """As TOML values, without what was not measured; the inverse of :func:`parse_fidelity`."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) is not None}


def parse_fidelity(record: Record) -> Fidelity:
    """Read a lock's figures. Raises the record's error, with the field named."""
    samples = record.integer("samples", low=1, high=10**9)
    fidelity = Fidelity(
        samples=samples,
        top1_matches=record.integer("top1_matches", None, low=0, high=samples),
        max_abs_error=record.number("max_abs_error", low=0.0, high=1e300),
        mean_abs_error=record.number("mean_abs_error", low=0.0, high=1e300),
        worst_sample=record.integer("worst_sample", low=0, high=samples - 1),
        spread_error=record.number("spread_error", None, low=0.0, high=1e300),
        r2=record.number("r2", None, low=-1e300, high=1.0),
        close_decisions=record.integer("close_decisions", None, low=0, high=samples),
    )
    record.done()
    return fidelity


@dataclass(frozen=True, slots=True)
class FidelityFloor:
    """What the circuit must reach against onnxruntime on the calibration data; ``None`` where nothing is asked.

    Attributes:
        top1_agreement: least share of samples whose decisions agree, in [0, 1].
        max_abs_error: largest absolute error of any output value.
        spread_error: largest 99th percentile of error / spread.
    """

    top1_agreement: float | None = None
    max_abs_error: float | None = None
    spread_error: float | None = None

    def missed(self, fidelity: Fidelity) -> tuple[str, ...]:
        """What is below the floor, a sentence each; none when it is met. What was not measured meets nothing."""
        found = []
        agreement = fidelity.top1_agreement
        if self.top1_agreement is not None and (agreement is None or agreement < self.top1_agreement):
            shown = "was not measured" if agreement is None else f"on {fidelity.top1_matches}/{fidelity.samples} samples"
            found.append(f"decisions agree {shown}, at least {self.top1_agreement:.4f} required")
        if self.spread_error is not None and (fidelity.spread_error is None or fidelity.spread_error > self.spread_error):
            shown = "not measured" if fidelity.spread_error is None else f"{fidelity.spread_error:.4f}"
            found.append(f"error in output spreads (99th percentile) {shown}, at most {self.spread_error:g} allowed")
        if self.max_abs_error is not None and fidelity.max_abs_error > self.max_abs_error:
            largest = f"{fidelity.max_abs_error:.4g} (sample {fidelity.worst_sample})"
            found.append(f"largest error {largest}, at most {self.max_abs_error:.4g} allowed")
        return tuple(found)

    @property
    def empty(self) -> bool:
        """Whether nothing is asked."""
        return self == FidelityFloor()


DEFAULT_FLOORS = {
    Task.CLASSIFICATION: FidelityFloor(top1_agreement=0.99, spread_error=0.05),
    Task.MULTI_LABEL: FidelityFloor(top1_agreement=0.99, spread_error=0.05),
    Task.REGRESSION: FidelityFloor(spread_error=0.01),
}
"""What is asked of a circuit whose author asked for nothing else."""
