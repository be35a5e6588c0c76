"""What all boosting libraries' models are: a forest, what its sums start from, and a function of the sums."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import chain
from typing import Any

import numpy as np

from verifai.domain.model_facts import Task
from verifai.errors import UnsupportedModel, UsageError
from verifai.exporters.boosters.coded import Coded
from verifai.exporters.sklearn.build import Build
from verifai.exporters.sklearn.trees import scored
from verifai.exporters.sklearn.writer import Array, Row
from verifai.onnx_graph.passes.trees import Branching, Forest

MAX_COLUMNS = 1 << 20
MAX_OUTPUTS = 1 << 12
MAX_NODES = 1 << 24
_NEAR = 64
"""Rows made up around thresholds look at so many of each column, at most."""


class Link(StrEnum):
    """From sums to what the library predicts."""

    IDENTITY = "identity"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True)
class Boosted:
    """A model.

    Attributes:
        forest: its trees; leaves weigh what they add to an output's sum.
        base: what each output's sum starts from.
        factor: of the sums, before the link.
        double: whether it compares float64 with its thresholds, not float32.
        coded: the columns whose cells it codes before its trees read them. The trees here read the model's own cells.
        notes: what a person should know of it.
        rounds: how many of the library's rounds these trees are; 0 for all.
        columns: how many it reads. names: of them; empty where the file has none.
        classes: how many classes its outputs are of; 0 for numbers.
    """

    forest: Forest
    base: tuple[float, ...]
    columns: int
    link: Link
    classes: int
    factor: float = 1.0
    names: tuple[str, ...] = ()
    double: bool = False
    coded: Mapping[int, Coded] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rounds: int = 0

    @property
    def task(self) -> Task:
        """What the model is for."""
        return Task.CLASSIFICATION if self.classes else Task.REGRESSION

    def row(self, build: Build, row: Row, owner: Any = None) -> Row:
        """The outputs as the library predicts them: for two classes the probability of the second alone.

        ``owner``: the estimator that it is of, for messages.

        Raises:
            UnsupportedModel: as :func:`verifai.onnx_graph.passes.trees.laid_out`.
        """
        outputs = len(self.base)
        forest = _scaled(self.forest, self.factor) if self.factor != 1.0 else self.forest
        base = np.asarray(self.base, np.float64) * self.factor
        if any(branch.column >= row.width for branch in forest.inner.values()):
            raise inconsistent("a tree reads a column that there is not")
        for said in self.notes:
            build.note(said)
        for place, one in sorted(self.coded.items()):
            build.table_column(owner or self, row, place, one.values)
            if one.texts:
                build.text_column(owner or self, row, place, one.texts, one.others)
            elif one.library == "XGBoost":
                build.note(
                    f"Column {place} holds categories: for what is none of them XGBoost raises an error, and the exported "
                    "model takes it for a missing value, as XGBoost does where a table was given the categories of training."
                )
        sums = scored(build, "the trees", row, forest, outputs, base, double=self.double)
        if self.link is Link.SIGMOID:
            return build.apply("Sigmoid", sums)
        if self.link is Link.SOFTMAX:
            return build.softmax(sums)
        return build.apply("Exp", sums) if self.link is Link.EXPONENTIAL else sums

    def rows(self, generator: np.random.Generator, count: int) -> Array:
        """``count`` rows, (count, columns) float32, whose values are thresholds, next to them, and between them."""
        found: dict[int, list[float]] = {}
        for branch in self.forest.inner.values():
            values = found.setdefault(branch.column, [])
            if len(values) < _NEAR:
                values += [branch.threshold, *branch.members, *chain.from_iterable(branch.between)]
        rows = generator.standard_normal((count, self.columns))
        for column, values in found.items():
            finite = np.array([value for value in values if np.isfinite(value)], np.float64)
            if finite.size:
                spread = float(np.ptp(finite)) or 1.0
                drawn = generator.choice(finite, count)
                rows[:, column] = np.where(
                    generator.random(count) < 0.5, drawn, drawn + spread * 0.1 * generator.standard_normal(count)
                )
        for column, one in self.coded.items():
            cells = np.arange(len(one.texts) + one.others) if one.texts else np.array(one.numbers)
            rows[:, column] = generator.choice(cells, count)
        with np.errstate(over="ignore"):
            near = rows.astype(np.float32)
        return np.where(np.isfinite(near), near, np.float32(0))

    def as_read(self, rows: Array) -> Array:
        """The rows as the library takes them where no table says what its columns are: with codes, float64."""
        found = np.array(rows, np.float64)
        for column, one in self.coded.items():
            found[:, column] = one.codes(found[:, column])
        return found


def _scaled(forest: Forest, factor: float) -> Forest:
    weights = {leaf: {output: weight * factor for output, weight in own.items()} for leaf, own in forest.weights.items()}
    return Forest(forest.roots, forest.inner, weights)


@dataclass
class Grower:
    """A forest that a file's trees are added to."""

    roots: list[int]
    inner: dict[int, Branching]
    weights: dict[int, dict[int, float]]

    @classmethod
    def empty(cls) -> Grower:
        """Without a tree."""
        return cls([], {}, {})

    def start(self) -> int:
        """The number that the next tree's first node gets."""
        number = len(self.inner) + len(self.weights)
        if number > MAX_NODES:
            raise UnsupportedModel("model-size-bomb", f"the trees have more than {MAX_NODES:,} nodes")
        return number

    def done(self) -> Forest:
        """The forest. Raises UsageError where it has no tree."""
        if not self.roots:
            raise inconsistent("it has no tree")
        return Forest(tuple(self.roots), self.inner, self.weights)


def merged(pairs: Iterable[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """Half-open intervals (a, b] without those that follow each other."""
    found: list[tuple[float, float]] = []
    for low, high in sorted(pairs):
        if found and low <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], high))
        else:
            found.append((low, high))
    return tuple(found)


def inconsistent(problem: str) -> UsageError:
    """The file contradicts itself, or is none of its kind."""
    return UsageError("source-failed", f"not a model as the library saves it: {problem}", hint="Save the model again.")


def unsupported(what: str, hint: str) -> UnsupportedModel:
    """A form of a model that has no exact formula here, with a way on."""
    return UnsupportedModel("model-unknown-operator", what, hint=hint)


Predict = Callable[[Array], Array]
"""The library on rows, (rows, columns) float32 → (rows,) or (rows, outputs)."""


def two_columns(found: Array, classes: int) -> Array:
    """What a library predicts, one column per class: it gives the second class alone where there are two."""
    found = np.asarray(found, np.float64)
    if classes == 2 and found.ndim == 1:
        return np.stack([1.0 - found, found], axis=1)
    return found.reshape(len(found), -1)


def integer(value: Any, low: int, high: int, what: str) -> int:
    """A whole number within bounds, also written as a text. Raises UsageError (``source-failed``)."""
    text = str(value)
    if isinstance(value, bool) or len(text) > 20 or not text.lstrip("-").isascii() or not text.lstrip("-").isdigit():
        raise inconsistent(f"{what} is no whole number")
    if not low <= int(text) <= high:
        raise inconsistent(f"{what} is {text}")
    return int(text)


def numbers(values: Any, count: int, what: str, *, finite: bool = True) -> list[float]:
    """A list of so many numbers. Raises UsageError (``source-failed``)."""
    plain = isinstance(values, list) and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values)
    if not plain or len(values) != count:
        raise inconsistent(f"{what} is no list of {count} numbers")
    try:
        found = [float(one) for one in values]
    except OverflowError:
        raise inconsistent(f"{what} holds a whole number that is too large") from None
    if finite and not np.isfinite(np.array(found)).all():
        raise inconsistent(f"{what} holds a value that is no number")
    return found


def plain_names(values: Sequence[Any], count: int) -> tuple[str, ...]:
    """Names of columns, where there is one for each."""
    return tuple(str(one) for one in values) if len(values) == count and all(isinstance(v, str) for v in values) else ()
