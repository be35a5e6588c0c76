"""How near a circuit is to its float model: what is measured, and what an author asks of it.

The unit of an error is the *spread* of its output: the standard deviation of the float model's values on the calibration data,
per output cell. An error of 0.01 spreads is small for a price in cents and for a probability alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from verifai.domain.record import Record


class Task(StrEnum):
    """What a model's outputs mean, and so which decision of it must survive.

    ``classification``: each row of an output names one class, its largest cell, or the side of one cell. ``multi-label``: each
    cell is a decision of its own. ``regression``: outputs are quantities; there is no decision. ``generation``: a language
    model: each position of a text decides for the next token; positions behind its end decide nothing.
    """

    CLASSIFICATION = "classification"
    MULTI_LABEL = "multi-label"
    REGRESSION = "regression"
    GENERATION = "generation"


MAX_SPREADS = 256
"""An output with more cells has one spread for all of them: a lock is read by people."""
MAX_STRIDE = 1 << 30
MAX_OUTPUTS = 256
MIN_SPREAD = 1e-300
FEW_SAMPLES = 100


@dataclass(frozen=True, slots=True)
class OutputFigures:
    """The float model's values of one real output on the calibration data, to six digits.

    Attributes:
        spread: of each cell, row-major, in the output's units, greater than 0; or one for all of them; or, of an output with
            more cells than :data:`MAX_SPREADS` whose places along one axis have unlike units, one per place of that axis.
        stride: how many cells lie between two places of that axis, row-major; 1 in the first two cases, and for the last axis.
        low, high: the least and the largest value of any cell.
        threshold: where each cell is a decision of its own, a cell at or above it says yes; ``None`` where none is.
    """

    name: str
    spread: tuple[float, ...]
    low: float
    high: float
    threshold: float | None = None
    stride: int = 1

    def spread_of(self, cell: int) -> float:
        """Spread of the cell at this place, row-major."""
        return self.spread[cell // self.stride % len(self.spread)]

    def suits(self, cells: int) -> bool:
        """Whether they are of an output of so many cells."""
        if self.stride == 1 and len(self.spread) in (1, cells):
            return True
        return len(self.spread) > 1 and cells > MAX_SPREADS and cells % (self.stride * len(self.spread)) == 0

    def to_document(self) -> dict[str, Any]:
        """As TOML values."""
        document: dict[str, Any] = {"name": self.name, "spread": list(self.spread), "low": self.low, "high": self.high}
        if self.threshold is not None:
            document["threshold"] = self.threshold
        return document if self.stride == 1 else {**document, "stride": self.stride}


@dataclass(frozen=True, slots=True)
class LanguageFigures:
    """A language model's circuit against its float model, over the texts of the calibration data.

    Attributes:
        positions: how many there are in all texts, without padding.
        matches: at how many of them the most likely next token is the float model's.
        perplexity: of the float model on the texts: 2 to the mean of −log2 of the probability of each next token.
        circuit_perplexity: likewise, of the circuit's logits; both ``None`` where the graph's logits were not found.
    """

    positions: int
    matches: int
    perplexity: float | None = None
    circuit_perplexity: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.matches <= self.positions or not self.positions:
            raise ValueError("more positions agree than there are, or there is none")
        if (self.perplexity is None) != (self.circuit_perplexity is None):
            raise ValueError("one perplexity stands without the other")

    @property
    def ratio(self) -> float | None:
        """How much larger the circuit's perplexity is: 1 where both are equal."""
        if self.perplexity is None or self.circuit_perplexity is None:
            return None
        return self.circuit_perplexity / self.perplexity

    def words(self) -> str:
        """For people."""
        agreement = f"the same next token at {self.matches:,} of {self.positions:,} positions"
        if self.perplexity is None or self.circuit_perplexity is None:
            return agreement
        return f"{agreement}, perplexity {self.perplexity:.4f} → {self.circuit_perplexity:.4f}"

    def to_document(self) -> dict[str, Any]:
        """As TOML values; the inverse of :func:`_language`."""
        document: dict[str, Any] = {"positions": self.positions, "matches": self.matches}
        both = {"perplexity": self.perplexity, "circuit_perplexity": self.circuit_perplexity}
        return document if self.perplexity is None else {**document, **both}


def _language(record: Record) -> LanguageFigures:
    positions = record.integer("positions", low=1, high=10**12)
    figures = LanguageFigures(
        positions,
        record.integer("matches", low=0, high=positions),
        record.number("perplexity", None, low=1.0, high=1e300),
        record.number("circuit_perplexity", low=1.0, high=1e300) if record.has("perplexity") else None,
    )
    record.done()
    return figures


@dataclass(frozen=True, slots=True)
class Fidelity:
    """Circuit against float model on the calibration data.

    Attributes:
        samples: how many were compared.
        top1_matches: in how many samples every decision is the float model's; ``None`` for regression.
        max_abs_error, mean_abs_error: over all output values.
        worst_sample: index of the sample with the largest error.
        spread_error: 99th percentile of error / spread over all cells, or, of an output of more than :data:`MAX_SPREADS`
            cells, the median error in root mean squares of their spreads where that is more; ``None`` in locks that were
            written before it was measured, and where no output is a real number.
        column_error: the same percentile of the worst column by itself, a column being a place of an output's last axis, or of
            the axis whose places have units of their own: among a hundred good ones a bad one does not move that of all.
            ``None`` in older locks, and where there is one column.
        r2: 1 − Σ error² / Σ (value − mean)² over all real outputs; ``None`` likewise.
        close_decisions: samples in which some decision of the float model lies within twice the 99th percentile of the
            circuit's error; ``None`` where there are no decisions.
        task: what the outputs were taken for; ``None`` in older locks.
        outputs: of every real output; none in older locks. An output that is not listed beside a task is of integers.
        language: of a language model; ``None`` of any other.
    """

    samples: int
    top1_matches: int | None
    max_abs_error: float
    mean_abs_error: float
    worst_sample: int
    spread_error: float | None = None
    r2: float | None = None
    close_decisions: int | None = None
    task: Task | None = None
    outputs: tuple[OutputFigures, ...] = ()
    column_error: float | None = None
    language: LanguageFigures | None = None

    @property
    def few_samples(self) -> bool:
        """Whether so few samples were compared that the figures, and the ranges of inner values, say little of other inputs."""
        return self.samples < FEW_SAMPLES

    @property
    def top1_agreement(self) -> float | None:
        """Share of samples whose decisions agree; of a language model, of positions."""
        if self.language is not None:
            return self.language.matches / self.language.positions
        return None if self.top1_matches is None else self.top1_matches / self.samples

    @property
    def judged_error(self) -> float | None:
        """What floors are held against: the 99th percentile of error / spread, of all cells or of the worst column."""
        return None if self.spread_error is None else max(self.spread_error, self.column_error or 0.0)

    def output(self, name: str) -> OutputFigures | None:
        """Figures of one output; ``None`` where there are none."""
        return next((one for one in self.outputs if one.name == name), None)

    def to_document(self) -> dict[str, Any]:
        """As TOML values, without what was not measured; the inverse of :func:`parse_fidelity`."""
        plain = [one.name for one in fields(self) if one.name not in ("task", "outputs", "language")]
        document: dict[str, Any] = {name: value for name in plain if (value := getattr(self, name)) is not None}
        if self.task is not None:
            document["task"] = self.task.value
        if self.outputs:
            document["outputs"] = [one.to_document() for one in self.outputs]
        if self.language is not None:
            document["language"] = self.language.to_document()
        return document


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
        column_error=record.number("column_error", None, low=0.0, high=1e300),
        r2=record.number("r2", None, low=-1e300, high=1.0),
        close_decisions=record.integer("close_decisions", None, low=0, high=samples),
        task=record.choice("task", Task) if record.has("task") else None,
        outputs=tuple(_output(item) for item in record.tables("outputs", (), max_length=MAX_OUTPUTS)),
        language=_language(record.table("language")) if record.has("language") else None,
    )
    record.done()
    if fidelity.outputs and fidelity.task is None:
        raise record.refuse("figures of outputs without a task", "outputs")
    if (fidelity.language is not None) != (fidelity.task is Task.GENERATION):
        raise record.refuse("exactly a language model has figures of positions", "language")
    if fidelity.column_error is not None and fidelity.spread_error is None:
        raise record.refuse("the error of a column without the error of all", "column_error")
    if len({one.name for one in fidelity.outputs}) != len(fidelity.outputs):
        raise record.refuse("an output is listed twice", "outputs")
    return fidelity


def _output(record: Record) -> OutputFigures:
    figures = OutputFigures(
        name=record.text("name", max_length=512),
        spread=record.numbers("spread", low=MIN_SPREAD, high=1e300, max_length=MAX_SPREADS),
        low=record.number("low", low=-1e300, high=1e300),
        high=record.number("high", low=-1e300, high=1e300),
        threshold=record.number("threshold", None, low=0.0, high=0.5),
        stride=record.integer("stride", 1, low=2, high=MAX_STRIDE),
    )
    record.done()
    if figures.stride > 1 and len(figures.spread) < 2:
        raise record.refuse("one spread alone has no places", "stride")
    if not figures.spread or figures.low > figures.high:
        raise record.refuse("an output has a spread, and low is at most high", "spread")
    return figures


@dataclass(frozen=True, slots=True)
class FidelityFloor:
    """What the circuit must reach against onnxruntime on the calibration data; ``None`` where nothing is asked.

    Attributes:
        top1_agreement: least share of samples whose decisions agree, in [0, 1].
        max_abs_error: largest absolute error of any output value.
        spread_error: largest 99th percentile of error / spread, of all cells and of each column.
        perplexity_ratio: of a language model, how much larger the circuit's perplexity may be than the float model's.
    """

    top1_agreement: float | None = None
    max_abs_error: float | None = None
    spread_error: float | None = None
    perplexity_ratio: float | None = None

    def misses_decisions_alone(self, fidelity: Fidelity) -> bool:
        """Whether decisions among real numbers miss the floor's agreement, and nothing else of it is missed."""
        measured = fidelity.judged_error is not None and bool(self.missed(fidelity))
        return measured and not replace(self, top1_agreement=None).missed(fidelity)

    def missed(self, fidelity: Fidelity) -> tuple[str, ...]:
        """What is below the floor, a sentence each; none when it is met. What was not measured, or is NaN, meets nothing."""
        found = []
        agreement = fidelity.top1_agreement
        if self.top1_agreement is not None and (agreement is None or agreement < self.top1_agreement):
            shown = "was not measured" if agreement is None else f"on {agreeing(fidelity)}"
            found.append(f"decisions agree {shown}, at least {self.top1_agreement:.4f} required")
        # Labels alone have no spread; their agreement is what is asked for then.
        error = fidelity.judged_error
        labels = error is None and agreement is not None and self.top1_agreement is not None
        above = error is None or not error <= (self.spread_error or 0.0)
        if self.spread_error is not None and above and not labels:
            whose = "of the worst output column " if fidelity.column_error == error and error is not None else ""
            shown = "not measured" if error is None else f"{error:.4f}"
            found.append(f"error in output spreads (99th percentile) {whose}{shown}, at most {self.spread_error:g} allowed")
        if self.max_abs_error is not None and not fidelity.max_abs_error <= self.max_abs_error:
            largest = f"{fidelity.max_abs_error:.4g} (sample {fidelity.worst_sample})"
            found.append(f"largest error {largest}, at most {self.max_abs_error:.4g} allowed")
        ratio = None if fidelity.language is None else fidelity.language.ratio
        # Logits that were not found are no failure of a circuit whose next tokens agree.
        if self.perplexity_ratio is not None and (ratio is None or not ratio <= self.perplexity_ratio):
            shown = "was not measured" if ratio is None else f"{ratio:.5f} times the float model's"
            if ratio is not None or fidelity.language is None or self.top1_agreement is None:
                found.append(f"perplexity {shown}, at most {self.perplexity_ratio:g} times allowed")
        return tuple(found)

    def lowered_to(self, fidelity: Fidelity) -> str:
        """The fields of a floor that ``fidelity`` meets, as TOML; those that were met stay as they are."""
        found = []
        if self.top1_agreement is not None:
            reached = math.floor(min(fidelity.top1_agreement or 0.0, self.top1_agreement) * 10_000) / 10_000
            found.append(f"top1_agreement = {reached!r}")
        for name in ("spread_error", "max_abs_error"):
            limit, value = getattr(self, name), fidelity.judged_error if name == "spread_error" else getattr(fidelity, name)
            if limit is not None and value is not None:
                digits = 10.0 ** (1 - math.floor(math.log10(value))) if value > 0 else 1.0
                found.append(f"{name} = {max(limit, math.ceil(value * digits) / digits)!r}")
        ratio = None if fidelity.language is None else fidelity.language.ratio
        if self.perplexity_ratio is not None and ratio is not None:
            found.append(f"perplexity_ratio = {max(self.perplexity_ratio, math.ceil(ratio * 10_000) / 10_000)!r}")
        return ", ".join(found)

    @property
    def empty(self) -> bool:
        """Whether nothing is asked."""
        return self == FidelityFloor()


def agreeing(fidelity: Fidelity) -> str:
    """How many decisions agree, in words."""
    if fidelity.language is not None:
        return f"{fidelity.language.matches:,}/{fidelity.language.positions:,} positions"
    return f"{fidelity.top1_matches}/{fidelity.samples} samples"


DEFAULT_FLOORS = {
    Task.CLASSIFICATION: FidelityFloor(top1_agreement=0.99, spread_error=0.05),
    Task.MULTI_LABEL: FidelityFloor(top1_agreement=0.99, spread_error=0.05),
    Task.REGRESSION: FidelityFloor(spread_error=0.01),
    Task.GENERATION: FidelityFloor(top1_agreement=0.99, perplexity_ratio=1.005),
}
"""What is asked of a circuit whose author asked for nothing else."""

POOR_BEYOND = {
    Task.CLASSIFICATION: FidelityFloor(top1_agreement=0.9, spread_error=0.15),
    Task.MULTI_LABEL: FidelityFloor(top1_agreement=0.9, spread_error=0.15),
    Task.REGRESSION: FidelityFloor(spread_error=0.03),
    Task.GENERATION: FidelityFloor(top1_agreement=0.9, perplexity_ratio=1.05),
}
"""Where no auditor takes a circuit for its model, whatever its author asked for: three times the default error, or one sample
in ten decided otherwise. Room for what compile was told to accept, none for a circuit that computes something else."""
