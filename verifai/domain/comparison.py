"""How far a proven output is from the float model's, and whether that is too far. In spreads, as compile measures it.

The unit and the decisions are those of :mod:`.fidelity`; what they are measured by comes from the lock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf, isfinite, prod

from verifai.domain.fidelity import DEFAULT_FLOORS, POOR_BEYOND, Fidelity, OutputFigures, Task, agreeing
from verifai.domain.findings import Finding, Outcome, holds, not_checked
from verifai.domain.statement import Role, Statement, TensorStatement, Visibility

FAR = 4.0
"""An input may be harder than those of the calibration set: up to this multiple of a pinned error is still near."""


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """One output tensor: what the circuit proved, and what the float model gives for the same input.

    Attributes:
        proven, reference: all values, row-major, in the model's units.
        step: by how much the least change of a proven value changes it; 0 where that is not known.
        task: what the outputs mean; ``None`` where no lock says so.
        figures: what the lock pins of this output; ``None`` in older locks, and for outputs of integers.
        integers: whether the model puts out integers, each a decision of its own.
        counted: of a language model, the cells that belong to the text, from the first; those behind its end decide nothing.
    """

    name: str
    shape: tuple[int, ...]
    proven: tuple[float, ...]
    reference: tuple[float, ...]
    step: float = 0.0
    task: Task | None = None
    figures: OutputFigures | None = None
    integers: bool = False
    counted: int | None = None

    @property
    def errors(self) -> tuple[float, ...]:
        """Absolute difference per value; infinite where the float model gives no number, so that NaN is never near."""
        found = (abs(left - right) for left, right in zip(self.proven, self.reference, strict=True))
        return tuple(one if isfinite(one) else inf for one in found)

    @property
    def max_abs_error(self) -> float:
        """The largest absolute difference."""
        return max(self.errors)

    @property
    def mean_abs_error(self) -> float:
        """The mean absolute difference."""
        return sum(self.errors) / len(self.errors)

    @property
    def spread_error(self) -> float | None:
        """The largest difference in spreads of its cell; ``None`` where no spread is pinned."""
        figures = self._usable
        return None if figures is None else max(error / figures.spread_of(at) for at, error in enumerate(self.errors))

    @property
    def same_class(self) -> bool | None:
        """Whether every decision is the float model's; ``None`` where the output decides nothing."""
        if not self._decides:
            return None
        return not self.turned

    @property
    def turned(self) -> tuple[tuple[int, int], ...]:
        """The decisions that differ: places of the cell that decides for the float model, and of the one that was proven.

        Both are the same cell where each decides for itself.
        """
        if not self._decides:
            return ()
        width, count = self._width, len(self.proven)
        if self._by_cell:
            pairs = zip(self._sides(self.proven), self._sides(self.reference), strict=True)
            return tuple((at, at) for at, (left, right) in enumerate(islice(pairs, self.counted)) if left != right)
        rows = range(0, count, width)
        places = ((_largest(self.reference, row, width), _largest(self.proven, row, width)) for row in rows)
        return tuple((wanted, found) for wanted, found in places if wanted != found)

    def margin(self, wanted: int, found: int) -> float:
        """How far the float model's value is from deciding as was proven; infinite for integers, which are never close."""
        if self.integers:
            return inf
        if wanted != found:
            return self.reference[wanted] - self.reference[found]
        threshold = None if self.figures is None else self.figures.threshold
        return inf if threshold is None else abs(self.reference[wanted] - threshold)

    @property
    def _usable(self) -> OutputFigures | None:
        """The pinned figures, if they are of an output with so many cells."""
        figures = self.figures
        return figures if figures is not None and figures.suits(len(self.proven)) else None

    @property
    def _width(self) -> int:
        return self.shape[-1] if self.shape else 1

    @property
    def _by_cell(self) -> bool:
        return self.integers or (self.figures is not None and self.figures.threshold is not None)

    @property
    def _decides(self) -> bool:
        if self.task in (None, Task.REGRESSION):
            return False
        return self._by_cell or self._width > 1

    def _sides(self, values: Sequence[float]) -> list[float | bool]:
        threshold = None if self.figures is None else self.figures.threshold
        return list(values) if self.integers or threshold is None else [value >= threshold for value in values]


def _largest(values: Sequence[float], row: int, width: int) -> int:
    """Place of the first largest value of one row."""
    return max(range(row, row + width), key=lambda at: (values[at], -at))


def compare_outputs(
    statement: Statement,
    pinned: Fidelity,
    reference: Mapping[str, Sequence[float]],
    known: Mapping[str, Sequence[float]] | None = None,
    pad: int | None = None,
) -> tuple[OutputComparison, ...]:
    """The proven outputs beside what the float model gives, by name and row-major.

    Args:
        known: values of outputs that the statement hides, where their owner asks.
        pad: of a language model, the token that stands behind the end of a text.
    """
    hidden = known or {}
    return tuple(
        OutputComparison(
            tensor.name,
            tensor.shape,
            tensor.values() if tensor.visibility is Visibility.PUBLIC else tuple(hidden[tensor.name]),
            tuple(reference[tensor.name]),
            step=float(tensor.scale),
            task=pinned.task,
            figures=pinned.output(tensor.name),
            integers=pinned.task is not None and pinned.output(tensor.name) is None,
            counted=_counted(statement, tensor, pad) if pinned.task is Task.GENERATION else None,
        )
        for tensor in statement.of(Role.OUTPUT)
        if tensor.name in reference and (tensor.visibility is Visibility.PUBLIC or tensor.name in hidden)
    )


def _counted(statement: Statement, output: TensorStatement, pad: int | None) -> int:
    """How many cells of a decoder's output belong to the text: its last cell to the last position of the inputs."""
    size, behind = prod(output.shape), 0
    for tensor in reversed(statement.of(Role.INPUT)):
        cells = tensor.quantised
        filled = 0 if cells is None else next((at for at, cell in enumerate(reversed(cells)) if cell != pad), len(cells))
        behind += filled
        if cells is None or filled < len(cells):
            break
    return max(size - behind, 1)


def judge_distance(one: OutputComparison, pinned: Fidelity, how: str, *, cap: float | None = None) -> tuple[Finding, ...]:
    """A6: whether a proven output is near the float model's.

    Far is an error beyond one step and :data:`FAR` times the largest error that the lock pins. In a regression the 99th
    percentile counts as well, and no error beyond ``cap`` spreads is near, however poor the pinned figures are. In a
    classification a decision that differs is far, unless the float model's own lies within rounding.

    Args:
        how: what the float model was run on, for people: "run on the given input".
        cap: in spreads; by default :data:`~verifai.domain.fidelity.POOR_BEYOND` of a regression.
    """
    evidence = _figures(one, pinned)
    far = _too_far(one, pinned, cap) or _turned(one, pinned)
    if far:
        finding = Finding(
            "reference-far",
            Outcome.POLICY_NOT_MET,
            f"the proven {one.name!r} is far from the float model's, {how}: {far}",
            where=one.name,
            evidence=evidence,
            remedy="Do not take the proven value for the model's. Compile with calibration data that covers such inputs, "
            "or with a lower spread_error in [fidelity], and prove again.",
            step="A6",
        )
    else:
        message = f"the proven {one.name!r} is near the float model's, {how}"
        finding = holds("reference-near", message, "A6", where=one.name, evidence=evidence)
    if one.spread_error is not None or one.integers:
        return (finding,)
    message = f"how far {one.name!r} is in spreads of the output was not judged: the lock pins no spread of it"
    return finding, not_checked("reference-distance", message, "A6", remedy="Compile again: older releases did not pin it.")


TOLD_ITEMS = 20
"""Items of a batch that are told one by one."""


def judge_items(
    items: Sequence[Sequence[OutputComparison]], pinned: Fidelity, how: str, *, cap: float | None = None
) -> tuple[Finding, ...]:
    """A6 for the items of a batch, each as by :func:`judge_distance`; as there, where there is one inference alone.

    An item that is far has a finding of its own. Those that are near share one, with the figures of the farthest of them.
    """
    if len(items) == 1:
        return tuple(found for one in items[0] for found in judge_distance(one, pinned, how, cap=cap))
    findings: list[Finding] = []
    for outputs in zip(*items, strict=True):
        judged = [judge_distance(one, pinned, how, cap=cap) for one in outputs]
        far = [at for at, found in enumerate(judged) if found[0].outcome is not Outcome.HOLDS]
        findings += [replace(judged[at][0], message=f"item {at}: {judged[at][0].message}") for at in far[:TOLD_ITEMS]]
        if len(far) > TOLD_ITEMS:
            last = findings[-1]
            findings.append(replace(last, message=f"{len(far) - TOLD_ITEMS:,} more items are far from the float model's"))
        near = [at for at in range(len(outputs)) if at not in set(far)]
        if near:
            worst = max(near, key=lambda at: outputs[at].max_abs_error)
            name = outputs[worst].name
            message = f"the proven {name!r} is near the float model's, {how}, in {len(near):,} of {len(outputs):,} items"
            findings.append(replace(judged[worst][0], message=message, evidence=f"item {worst}: {judged[worst][0].evidence}"))
        findings += judged[0][1:]  # what no item could be judged by
    return tuple(findings)


def _figures(one: OutputComparison, pinned: Fidelity) -> str:
    spreads = "" if one.spread_error is None else f" ({one.spread_error:.2g} spreads of the output)"
    same = {True: "; decisions are the float model's", False: f"; {len(one.turned)} decisions differ", None: ""}[one.same_class]
    pinned_spread = "" if pinned.spread_error is None else f", 99th percentile {pinned.spread_error:.2g} spreads"
    return (
        f"largest error {one.max_abs_error:.4g}{spreads}, mean {one.mean_abs_error:.4g}{same}; "
        f"pinned over {pinned.samples} samples: largest error {pinned.max_abs_error:.4g}{pinned_spread}"
    )


def _too_far(one: OutputComparison, pinned: Fidelity, cap: float | None) -> str:
    """Why an error is too large, in words; empty when none is."""
    if one.integers and one.task is not Task.REGRESSION:
        return ""  # names of classes, whose difference means nothing: the decision does
    if one.spread_error is None:
        limit = FAR * pinned.max_abs_error
        return f"the error is {one.max_abs_error:.4g}, at most {limit:.4g} is near" if one.max_abs_error > limit else ""
    assert one.figures is not None
    most = cap if cap is not None else POOR_BEYOND[Task.REGRESSION].spread_error
    for at, error in enumerate(one.errors):
        spread = one.figures.spread_of(at)
        limit = max(one.step, FAR * pinned.max_abs_error)
        if one.task is Task.REGRESSION and most is not None:
            limit = min(max(limit, FAR * (pinned.judged_error or 0.0) * spread), most * spread)
        if error > limit:
            return f"the error is {error:.4g}, that is {error / spread:.2g} spreads; at most {limit / spread:.2g} is near"
    return ""


def _turned(one: OutputComparison, pinned: Fidelity) -> str:
    """Which decision differs beyond rounding, in words; empty when none does, or when no lock says what rounding is."""
    if one.counted is not None:
        # Two tokens can be as likely as each other: single ones may differ, as they may on the calibration texts.
        least = POOR_BEYOND[Task.GENERATION].top1_agreement or 0.0
        differ = len(one.turned)
        beyond = differ > max(1, int((1 - least) * one.counted))
        return f"the next token differs at {differ:,} of {one.counted:,} positions" if beyond else ""
    if one.spread_error is None and not one.integers:
        return ""
    allowed = DEFAULT_FLOORS[Task.CLASSIFICATION].spread_error or 0.0
    for wanted, found in one.turned:
        reach = one.step
        if one.figures is not None:
            spread = max(one.figures.spread_of(wanted), one.figures.spread_of(found))
            # As compile counts close decisions; but a poor circuit's own error excuses nothing.
            reach = max(reach, 2 * min(pinned.judged_error or 0.0, allowed) * spread)
        margin = one.margin(wanted, found)
        if not margin <= reach:
            return "it decides otherwise" + (f", by {margin:.3g} where {reach:.3g} is rounding" if isfinite(margin) else "")
    return ""


def judge_pinned(pinned: Fidelity, *, part: bool = False, cap: float | None = None) -> Finding:
    """A6: whether the circuit is its float model's at all, by the figures that the lock pins.

    Args:
        part: whether it is a segment of a split model, whose own error says little about the whole.
        cap: in spreads; by default :data:`~verifai.domain.fidelity.POOR_BEYOND` of the task.
    """
    where, step = "circuit.lock: fidelity", "A6"
    if part:
        return not_checked("fidelity-not-judged", "the circuit is a part of a model; its own error was not judged", step)
    if pinned.task is None or (pinned.spread_error is None and pinned.top1_matches is None):
        message = "how near the circuit is to its float model was not judged: the lock pins no error in spreads of the output"
        return not_checked(
            "fidelity-not-judged", message, step, remedy="Compile again: older releases did not measure it.", where=where
        )
    limits = POOR_BEYOND[pinned.task]
    most = limits.spread_error if cap is None else cap
    missed = []
    remedy = "Leave [fidelity] out of circuit.toml, compile, which then asks for the default floor, and prove again."
    error = pinned.judged_error
    if error is not None and most is not None and error > most:
        whose = "its worst output column" if error == pinned.column_error else "the output"
        missed.append(f"its error (99th percentile) is {error:.2g} spreads of {whose}, more than {most:g}")
        remedy += " To audit it all the same: --max-spread-error."
    agreement = pinned.top1_agreement
    if limits.top1_agreement is not None and agreement is not None and agreement < limits.top1_agreement:
        missed.append(f"it decides as the model on {agreeing(pinned)} only")
    ratio = None if pinned.language is None else pinned.language.ratio
    if limits.perplexity_ratio is not None and ratio is not None and ratio > limits.perplexity_ratio:
        missed.append(f"its perplexity is {ratio:.3f} times the model's")
    if missed:
        message = f"the circuit is not near its float model: {'; '.join(missed)}"
        evidence = f"over {pinned.samples} calibration samples"
        return Finding("fidelity-poor", Outcome.POLICY_NOT_MET, message, where, evidence, remedy, step)
    figures = "" if pinned.spread_error is None else f"99th percentile of the error {pinned.judged_error:.2g} spreads"
    return holds("fidelity-fair", "the circuit is near its float model on the calibration data", step, evidence=figures)
