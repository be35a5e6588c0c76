"""The one measure of fidelity, for every engine: decisions, errors in output spreads, absolute errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.fidelity import MAX_SPREADS, MIN_SPREAD, Fidelity, LanguageFigures, OutputFigures, Task
from verifai.onnx_graph.largest import largest_of, with_outputs
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

Floats = NDArray[np.float64]
QUANTILE = 0.99


_ROUNDING = 1e-6
"""What float32 cannot tell apart, as a share."""
_NOTHING = 1e-12
"""Beside the others, a column so much smaller is 0: some embeddings have dead cells, of 1e-33 beside 0.3."""


_NARROW = 0.1
"""Least spread of one of several columns in one unit, as a share of that unit. The probability of a class that hardly occurs
moves by a thousandth, and a twentieth of that is nothing to anyone who reads the others."""
_UNLIKE = 16
"""Probabilities beside numbers that move so many times farther have a unit of their own: a detector's scores and its boxes."""


@dataclass(frozen=True)
class Texts:
    """The tokens of a language model's samples, as its only output sees them.

    Attributes:
        counted: [samples, positions of the output]: whether there is a token of the text, and no padding behind it.
        targets: likewise: the token that follows in the text; −1 where none does.
        losses: −ln of the float model's probability of each target; 0 elsewhere. ``None`` where its logits were not found.
    """

    counted: NDArray[np.bool_]
    targets: NDArray[np.int64]
    losses: Floats | None


def losses_of(logits: NDArray[Any], targets: NDArray[np.int64]) -> Floats:
    """−ln of the probability of each target; 0 where there is none.

    Args:
        logits: (…, positions, vocabulary), real. targets: (positions,).
    """
    rows = np.flatnonzero(targets >= 0)
    chosen = np.asarray(logits, np.float64).reshape(len(targets), -1)[rows]
    chosen = chosen - chosen.max(axis=1, keepdims=True)
    found = np.zeros(len(targets))
    found[rows] = np.log(np.exp(chosen).sum(axis=1)) - chosen[np.arange(len(rows)), targets[rows]]
    return found


def texts_of(model: OnnxModel, samples: Sequence[Mapping[str, NDArray[Any]]], pad: int | None) -> Texts:
    """The texts of a decoder's samples: its inputs one after another, without the padding behind them."""
    count = model.outputs[0].size
    counted, targets = [], []
    for sample in samples:
        tokens = np.concatenate([np.asarray(sample[spec.name]).reshape(-1) for spec in model.inputs])
        length = len(tokens)
        while pad is not None and length > 1 and tokens[length - 1] == pad:
            length -= 1
        following = np.full(len(tokens), -1, np.int64)
        following[: length - 1] = tokens[1:length]
        counted.append((np.arange(len(tokens)) < length)[-count:])
        targets.append(following[-count:])
    return Texts(np.stack(counted), np.stack(targets), None)


def reference_measure(
    task: Task, model: OnnxModel, samples: Sequence[Mapping[str, NDArray[Any]]], pad: int | None = None
) -> Measure:
    """Run the float model on the samples.

    Args:
        pad: of a language model, the token that stands behind the end of a text; ``None`` where none does.
    """
    if task is not Task.GENERATION:
        return Measure(task, Reference(model).run_batch(samples))
    output = model.outputs[0].name
    logits = largest_of(model).get(output)
    reference = Reference(model if logits is None else with_outputs(model, (logits,)))
    texts = texts_of(model, samples, pad)
    outputs, losses = [], []
    for sample, targets in zip(samples, texts.targets, strict=True):
        found = reference.run(sample)
        if logits is not None:  # one by one, and let go of: a vocabulary is large
            losses.append(losses_of(found.pop(logits), targets))
        outputs.append(found)
    return Measure(task, outputs, replace(texts, losses=np.stack(losses)) if losses else texts)


class Measure:
    """What the float model says of a set of samples, and how near other outputs are to it.

    Args:
        outputs: per sample, the float model's outputs by name, of the model's shapes and dtypes; at least one sample.
        texts: of a language model; by default every position counts, and no token follows another.
    """

    def __init__(self, task: Task, outputs: Sequence[Mapping[str, NDArray[Any]]], texts: Texts | None = None) -> None:
        self.task = task
        self.texts = texts
        self._names = tuple(outputs[0])
        self._wanted = {name: np.stack([np.asarray(one[name]) for one in outputs]) for name in self._names}
        self._rows = {name: _rows(values) for name, values in self._wanted.items()}
        self.real = tuple(name for name in self._names if self._wanted[name].dtype.kind == "f")
        self._apart = {name: self._own_units(name) for name in self.real}
        self._spreads = {name: self._spreads_of(name) for name in self.real}
        # A score that is a probability decides at one half, any other at 0; the float model's own values tell which it is.
        self._thresholds = {
            name: 0.5 if rows.min(initial=0.0) >= 0.0 and rows.max(initial=0.0) <= 1.0 else 0.0
            for name, rows in self._rows.items()
        }
        self._figures = tuple(self._output(name) for name in self.real)

    def one_unit(self, name: str) -> bool:
        """Whether all cells of a real output have one unit."""
        rows = self._rows[name]
        probabilities = rows.min(initial=0.0) >= 0.0 and rows.max(initial=0.0) <= 1.0
        return self.task is not Task.REGRESSION or rows.shape[1] > MAX_SPREADS or probabilities

    def _own_units(self, name: str) -> tuple[int, NDArray[np.bool_]] | None:
        """Of a large output that holds probabilities beside quantities: the axis whose places tell them apart, and which of its
        places are probabilities; ``None`` where there is nothing to tell apart."""
        wanted, rows = self._wanted[name], self._rows[name]
        if self.task is not Task.REGRESSION or rows.shape[1] <= MAX_SPREADS:
            return None
        spreads = rows.std(axis=0).reshape(wanted.shape[1:])
        found, most = None, float(_UNLIKE)
        for axis in range(spreads.ndim):
            if not 2 <= spreads.shape[axis] <= MAX_SPREADS:
                continue
            places = np.moveaxis(wanted, axis + 1, 0).reshape(spreads.shape[axis], -1)
            likely = (places.min(axis=1) >= 0.0) & (places.max(axis=1) <= 1.0)
            sides = [_unit(np.moveaxis(spreads, axis, 0)[side]) for side in (likely, ~likely)]
            if sides[0] > 0.0 and sides[1] > most * sides[0]:
                found, most = (axis, likely), sides[1] / sides[0]
        return found

    def _spreads_of(self, name: str) -> Floats:
        apart, rows = self._apart[name], self._rows[name]
        if apart is None:
            return _spreads(rows, one_unit=self.one_unit(name))
        cells, spreads = self._on_axis(name, *apart), rows.std(axis=0)
        return np.where(cells, _unit(spreads[cells]), _unit(spreads[~cells]))

    def _on_axis(self, name: str, axis: int, places: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Per cell of an output, row-major, what is said of its place along one axis."""
        shape = self._wanted[name].shape[1:]
        return np.broadcast_to(places.reshape([-1 if at == axis else 1 for at in range(len(shape))]), shape).reshape(-1)

    @property
    def samples(self) -> int:
        """How many samples there are."""
        return len(self._wanted[self._names[0]])

    def spread(self, name: str) -> Floats:
        """Spread of each cell of a real output, row-major."""
        return self._spreads[name]

    def extremes(self, name: str) -> tuple[Floats, Floats]:
        """The least and the largest value of each cell of a real output, row-major."""
        return self._rows[name].min(axis=0), self._rows[name].max(axis=0)

    def compare(self, found: Mapping[str, NDArray[Any]], losses: Floats | None = None) -> Fidelity:
        """Fidelity of ``found``: by output name, [samples, …] in the model's units; integer outputs as integers.

        Args:
            losses: of a language model, as in :class:`Texts`, of what is compared; ``None`` where they are not known.
        """
        rows = {name: _rows(np.asarray(found[name])) for name in self._names}
        if self.task is Task.GENERATION:
            return self._compare_texts(rows[self._names[0]], losses)
        errors = {name: np.abs(rows[name] - self._rows[name]) for name in self._names}
        joined = np.concatenate([errors[name].reshape(self.samples, -1) for name in self._names], axis=1)
        relative = [errors[name] / self._spreads[name] for name in self.real]
        if not relative and self.task is Task.REGRESSION:  # whole numbers, or truth values: their own spreads
            relative = [errors[name] / _spreads(self._rows[name], one_unit=True) for name in self._names]
        decided = None if self.task is Task.REGRESSION else self._decided(rows)
        return Fidelity(
            samples=self.samples,
            top1_matches=None if decided is None else int(decided.sum()),
            max_abs_error=float(joined.max()),
            mean_abs_error=float(joined.mean()),
            worst_sample=int(joined.max(axis=1).argmax()),
            spread_error=self._of_all(relative, errors) if relative else None,
            column_error=self._worst_column(relative),
            r2=self._r2(rows) if self.real else None,
            close_decisions=None if decided is None else self._close(errors),
            task=self.task,
            outputs=self._figures,
        )

    def judged(self, found: Mapping[str, NDArray[Any]], places: Sequence[int]) -> tuple[float, float]:
        """Of some samples, by their places: what floors are held against, in spreads over all samples; the largest error.

        Args:
            found: real outputs by name, [places, …] in the model's units.
        """
        errors = {name: np.abs(_rows(np.asarray(found[name])) - self._rows[name][list(places)]) for name in self.real}
        relative = [errors[name] / self._spreads[name] for name in self.real]
        error = max(self._of_all(relative, errors), self._worst_column(relative) or 0.0)
        return error, max(float(one.max()) for one in errors.values())

    def _compare_texts(self, tokens: Floats, losses: Floats | None) -> Fidelity:
        """Of next tokens, whose numbers are names: an error is a token that differs."""
        wanted = self._rows[self._names[0]]
        texts = self.texts or Texts(np.ones(wanted.shape, bool), np.full(wanted.shape, -1, np.int64), None)
        differ = (tokens != wanted) & texts.counted
        count, followed = int(texts.counted.sum()), int((texts.targets >= 0).sum())
        both = None if losses is None or texts.losses is None or not followed else (texts.losses, losses)
        spread = (None, None) if both is None else tuple(_six_digits(np.exp(one.sum() / followed)) for one in both)
        return Fidelity(
            samples=self.samples,
            top1_matches=int((~differ.any(axis=1)).sum()),
            max_abs_error=float(differ.any()),
            mean_abs_error=float(differ.sum() / max(count, 1)),
            worst_sample=int(differ.sum(axis=1).argmax()),
            task=self.task,
            outputs=self._figures,
            language=LanguageFigures(max(count, 1), count - int(differ.sum()), *spread),
        )

    def _output(self, name: str) -> OutputFigures:
        """What a lock pins of a real output, so that whoever judges a proven value by it needs no calibration data."""
        rows, spreads, stride = self._rows[name], self._spreads[name], 1
        apart = self._apart[name]
        if apart is not None:
            shape = self._wanted[name].shape[1:]
            stride = int(np.prod(shape[apart[0] + 1 :]))
            spreads = spreads.reshape(-1, shape[apart[0]], stride)[0, :, 0]
        elif spreads.size > MAX_SPREADS:
            spreads = spreads[:1]
        return OutputFigures(
            name=name,
            spread=tuple(max(_six_digits(one), MIN_SPREAD) for one in spreads),
            low=_six_digits(rows.min()),
            high=_six_digits(rows.max()),
            threshold=self._thresholds[name] if self._decides_by_cell(name) else None,
            stride=stride,
        )

    def _of_all(self, relative: Sequence[Floats], errors: Mapping[str, Floats]) -> float:
        """The 99th percentile of all cells' errors in spreads; of a large output, the median in root mean squares if larger.

        A few cells that move a hundred times as far as hundreds of others make the unit, and in it, those others might be off
        by all that they move. An error that half of all cells have is held against how far all of them move.
        """
        whole = _quantile(np.concatenate([one.reshape(-1) for one in relative]))
        for name in self.real:
            apart, spreads = self._apart[name], self._rows[name].std(axis=0)
            if spreads.size <= MAX_SPREADS:
                continue
            # Scores beside boxes have their own unit: most anchors find nothing, and their scores are as good as still.
            cells = np.ones(spreads.size, bool) if apart is None else ~self._on_axis(name, apart[0], apart[1])
            together = float(np.sqrt(np.mean(np.square(spreads[cells]))))
            if together > _ROUNDING * float(self._spreads[name][cells].max()):
                whole = max(whole, float(np.median(errors[name][:, cells])) / together)
        return whole

    def _worst_column(self, relative: Sequence[Floats]) -> float | None:
        """The largest 99th percentile of one column's errors, over samples and all axes but the last; ``None`` of one alone.

        Where places along another axis have units of their own, as a detector's classes, each of these is a column too.
        """
        if not relative:
            return None
        tables = []
        for name, one in zip(self.real or self._names, relative, strict=True):
            shape, apart = self._wanted[name].shape[1:], self._apart.get(name)
            tables.append(one.reshape(-1, (shape or (1,))[-1]))
            if apart is not None and apart[0] != len(shape) - 1:
                tables.append(np.moveaxis(one.reshape(-1, *shape), apart[0] + 1, -1).reshape(-1, shape[apart[0]]))
        if sum(table.shape[1] for table in tables) < 2:
            return None
        return max(float(np.quantile(table, QUANTILE, axis=0).max()) for table in tables)

    def _decides_by_cell(self, name: str) -> bool:
        """Whether each cell of a real output is a decision of its own."""
        shape = self._wanted[name].shape[1:]
        single = not shape or shape[-1] == 1
        return self.task is Task.MULTI_LABEL or (self.task is Task.CLASSIFICATION and single)

    def _decided(self, rows: Mapping[str, Floats]) -> NDArray[np.bool_]:
        """Per sample, whether every decision is the float model's."""
        agree = np.ones(self.samples, bool)
        for name in self._names:
            mine, wanted = (self._decisions(name, side[name]) for side in (rows, self._rows))
            agree &= (mine == wanted).all(axis=1)
        return agree

    def _decisions(self, name: str, values: Floats) -> NDArray[Any]:
        """[samples, decisions] of one output."""
        shape = self._wanted[name].shape[1:]
        if self._wanted[name].dtype.kind != "f":
            return values
        if self._decides_by_cell(name):
            return values >= self._thresholds[name]
        return np.asarray(values.reshape(self.samples, -1, shape[-1]).argmax(axis=2))

    def _close(self, errors: Mapping[str, Floats]) -> int:
        """Samples with a decision that the circuit's error could turn."""
        close = np.zeros(self.samples, bool)
        for name in self.real:
            reach = 2 * _quantile(errors[name].reshape(-1))
            shape, values = self._wanted[name].shape[1:], self._rows[name]
            if self._decides_by_cell(name):
                margins = np.abs(values - self._thresholds[name])
            else:
                ordered = np.sort(values.reshape(self.samples, -1, shape[-1]), axis=2)
                margins = ordered[:, :, -1] - ordered[:, :, -2]
            close |= (margins <= reach).any(axis=1)
        return int(close.sum())

    def _r2(self, rows: Mapping[str, Floats]) -> float:
        missed = sum(float(((rows[name] - self._rows[name]) ** 2).sum()) for name in self.real)
        total = sum(float(((self._rows[name] - self._rows[name].mean(axis=0)) ** 2).sum()) for name in self.real)
        return 1.0 - missed / total if total > 0 else float(missed == 0)


def _rows(values: NDArray[Any]) -> Floats:
    return np.asarray(values, np.float64).reshape(len(values), -1)


def _six_digits(value: np.floating[Any]) -> float:
    """Rounded, so that a lock is short and the last bits of another machine's float sums seldom show in it."""
    return float(f"{float(value):.6g}")


def _quantile(values: Floats) -> float:
    return float(np.quantile(values, QUANTILE))


def _unit(spreads: Floats) -> float:
    """√(Σ s⁴ / Σ s²): how far cells of one unit move, each counted by how much it moves; 0 where none does.

    That of cells which all move alike, as their root mean square is; but cells that never move do not make it smaller. By the
    root mean square, a recogniser of 6,625 letters would have to be a hundred times as exact as one of 60.
    """
    largest = float(spreads.max(initial=0.0))
    if largest == 0.0:
        return 0.0
    squares = np.square(spreads / largest)
    return largest * float(np.sqrt(np.sum(squares**2) / np.sum(squares)))


def _spreads(rows: Floats, *, one_unit: bool) -> Floats:
    """Standard deviation per column, never 0; of a column that says nothing beside the others, theirs.

    ``one_unit``: whether the columns are compared with each other, as scores and probabilities are, or make up one vector: then
    a column a millionth as wide as all is as good as constant, and one that hardly moves is judged as if it moved a tenth as
    much as all do. Of more columns than a lock has room for, all are judged by the one spread that it pins. Columns of a table
    have units of their own, and a narrow one is no less an answer than a wide one: of such a column only what float32 cannot
    tell apart is constant, and judged by its own size.
    """
    spreads, sizes = rows.std(axis=0), np.abs(rows).max(axis=0, initial=0.0)
    whole = float(rows.std()) or float(sizes.max(initial=0.0)) or 1.0
    if one_unit:
        unit = _unit(spreads)
        if spreads.size > MAX_SPREADS:
            return np.full(spreads.size, unit or whole)
        return np.where(spreads > _ROUNDING * whole, np.maximum(spreads, _NARROW * unit), whole)
    own = np.where(spreads > _ROUNDING * sizes, spreads, sizes)
    return np.where(own > _NOTHING * whole, own, whole)
