"""Which rule converts an estimator, and what a rule may read of it.

A rule writes what one method of one class of scikit-learn computes for one row. Tables of rules are by class name; a class that
is not scikit-learn's own, a subclass included, has none, since it may compute something else.

====================  =========================================  =====================================================
table                 scikit-learn's method                      the rule's row
====================  =========================================  =====================================================
``transforms``        ``transform``                              as wide as its result
``predictions``       ``predict`` of a regressor                 one column per target
``decisions``         ``decision_function``                      one column for two classes, else one per class
``scores``            a score of our own, where it has none      one column per class or cluster; the largest is ``predict``
``probabilities``     ``predict_proba``                          one column per class; for two classes also the second alone
====================  =========================================  =====================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import numpy as np

from verifai.domain.categories import Categories
from verifai.errors import UnsupportedModel, UsageError
from verifai.exporters.sklearn.moved import Function, Moved, Steps
from verifai.exporters.sklearn.writer import Array, Row, Writer

_MAX_MOVED = 1 << 12
"""Of the model's columns: of more, what becomes of each is not followed."""
Rule: TypeAlias = "Callable[[Build, Any, Row], Row]"


class NoRule(Exception):
    """No rule converts this method of this estimator; the exporter asks skl2onnx then."""


@dataclass(frozen=True)
class Rules:
    """Rules by class name, one table per method."""

    transforms: Mapping[str, Rule] = field(default_factory=dict)
    predictions: Mapping[str, Rule] = field(default_factory=dict)
    decisions: Mapping[str, Rule] = field(default_factory=dict)
    scores: Mapping[str, Rule] = field(default_factory=dict)
    probabilities: Mapping[str, Rule] = field(default_factory=dict)


def joined(first: Rules, second: Rules) -> Rules:
    """The rules of both; no class has one in each."""
    return Rules(**{table.name: {**getattr(first, table.name), **getattr(second, table.name)} for table in fields(Rules)})


class Build(Writer):
    """A graph being written, and the rules to write it with.

    Attributes:
        categories: by the place of a column of texts among the model's own, what its numbers stand for.
        tables: by the place of a column of categories that only a table has, these categories.
    """

    def __init__(self, width: int, rules: Rules) -> None:
        super().__init__(width)
        self._rules = rules
        self.categories: dict[int, Categories] = {}
        self.tables: dict[int, tuple[Any, ...]] = {}
        self._origins: dict[str, tuple[int, ...]] = {self.features.name: tuple(range(width))}
        self._moved: dict[str, tuple[Moved, ...]] = {}
        if width <= _MAX_MOVED:
            self._moved[self.features.name] = tuple((column, ()) for column in range(width))

    def columns(self, row: Row, indices: Sequence[int] | Array) -> Row:
        """As :meth:`Writer.columns`; which of the model's own columns the result holds stays known."""
        found, before = super().columns(row, indices), self._origins.get(row.name)
        places = [int(at) for at in np.asarray(indices).reshape(-1)]
        if before is not None:
            self._origins[found.name] = tuple(before[at] for at in places)
        if row.name in self._moved:
            self._moved[found.name] = tuple(self._moved[row.name][at] for at in places)
        return found

    def concatenate(self, rows: Sequence[Row]) -> Row:
        """As :meth:`Writer.concatenate`; what each column is stays known."""
        found = super().concatenate(rows)
        if all(row.name in self._moved for row in rows):
            self._moved.setdefault(found.name, tuple(one for row in rows for one in self._moved[row.name]))
        return found

    def increasing(self, result: Row, source: Row, functions: Sequence[Function]) -> Row:
        """Record that each column of ``result`` is that of ``source`` under a function that never decreases, as scikit-learn
        computes it in float64. Returns ``result``."""
        before = self._moved.get(source.name)
        if before is not None and result.name not in self._moved:
            pairs = zip(before, functions, strict=True)
            self._moved[result.name] = tuple((column, (*chain, function)) for (column, chain), function in pairs)
        return result

    def stepped(self, result: Row, source: Row, steps: Sequence[tuple[int, Steps]]) -> Row:
        """Record that each column of ``result`` is one of ``source``, by its place, under a function of few values. Returns
        ``result``."""
        before = self._moved.get(source.name)
        if before is not None and result.name not in self._moved and len(steps) == result.width:
            self._moved[result.name] = tuple((before[at][0], (*before[at][1], one)) for at, one in steps)
        return result

    def moved(self, row: Row) -> tuple[Moved, ...] | None:
        """What each column is, where it is one of the model's own under such functions."""
        return self._moved.get(row.name)

    def text_column(self, estimator: Any, row: Row, place: int, values: Sequence[str], others: bool) -> None:
        """Record that a column of the row holds texts, for which the model takes their places in ``values``.

        ``others``: whether another text stands for the number after the last. Raises UnsupportedModel.
        """
        origins = self._origins.get(row.name)
        if origins is None:
            raise unsupported(estimator, "encodes text that another step made", "Encode texts in the first step of a column.")
        column, known = origins[place], self.categories.get(origins[place])
        if known is not None and known.values != tuple(values):
            raise unsupported(
                estimator, f"has other categories for column {column} than another encoder", "Fit both on the same texts."
            )
        self.categories[column] = Categories(tuple(values), others and (known is None or known.others))

    def table_column(self, estimator: Any, row: Row, place: int, values: Sequence[Any]) -> None:
        """Record that a column of the row has to come from a table, as categories. Raises UnsupportedModel."""
        origins = self._origins.get(row.name)
        if origins is None:
            raise unsupported(estimator, "has categories that another step made", "Fit it on the table itself.")
        self.tables[origins[place]] = tuple(values)

    def transform(self, estimator: Any, row: Row) -> Row:
        """``estimator.transform(row)``. Raises NoRule, UnsupportedModel."""
        return self._rule(self._rules.transforms, estimator, "transform")(self, estimator, self._fitting(estimator, row))

    def predict(self, estimator: Any, row: Row) -> Row:
        """``estimator.predict(row)`` of a regressor. Raises NoRule, UnsupportedModel."""
        return self._rule(self._rules.predictions, estimator, "predict")(self, estimator, self._fitting(estimator, row))

    def decision(self, estimator: Any, row: Row) -> Row:
        """``estimator.decision_function(row)``: of width 1 for two classes. Raises NoRule, UnsupportedModel."""
        rule = self._rule(self._rules.decisions, estimator, "decision_function")
        return rule(self, estimator, self._fitting(estimator, row))

    def scores(self, estimator: Any, row: Row) -> Row:
        """One column per class, the largest of which is the predicted one: [−s, s] where the decision is one number s."""
        if own(estimator) and type(estimator).__name__ in self._rules.scores:
            return self._rules.scores[type(estimator).__name__](self, estimator, self._fitting(estimator, row))
        decision = self.decision(estimator, row)
        return self.two_sided(decision) if decision.width == 1 else decision

    def probabilities(self, estimator: Any, row: Row) -> Row:
        """``estimator.predict_proba(row)``, one column per class. Raises NoRule, UnsupportedModel."""
        result = self.natural_probabilities(estimator, row)
        return self.complement(result) if result.width == 1 else result

    def positive(self, estimator: Any, row: Row) -> Row:
        """The second column of ``estimator.predict_proba(row)``."""
        result = self.natural_probabilities(estimator, row)
        return result if result.width == 1 else self.columns(result, [1])

    def natural_probabilities(self, estimator: Any, row: Row) -> Row:
        """As the rule gives them: for two classes perhaps the second one alone. Raises NoRule, UnsupportedModel."""
        rule = self._rule(self._rules.probabilities, estimator, "predict_proba")
        return rule(self, estimator, self._fitting(estimator, row))

    def _rule(self, table: Mapping[str, Rule], estimator: Any, method: str) -> Rule:
        rule = table.get(type(estimator).__name__) if own(estimator) or boosts(estimator) else None
        if rule is None:
            raise NoRule(f"{type(estimator).__name__}.{method}")
        return rule

    @staticmethod
    def _fitting(estimator: Any, row: Row) -> Row:
        width = getattr(estimator, "n_features_in_", row.width)
        if width != row.width and not (boosts(estimator) and not width):  # CatBoost may not count its columns
            raise inconsistent(estimator, f"it was fitted on {width} columns and is given {row.width}")
        return row

    def sigmoids(self, row: Row) -> Row:
        """1 / (1 + exp(−row)) per column, over their sum: the softmax of their logarithms, which never divides 0 by 0."""
        logarithm = self.apply("Softplus", self.multiply(row, -1.0))
        return self.softmax(self.multiply(logarithm, -1.0))

    def normalised(self, row: Row) -> Row:
        """Each column over their sum, and all equal where every one is 0, as scikit-learn does."""
        logit = self.under_sigmoid(row)
        if logit is not None:
            return self.sigmoids(logit)
        # A float32 that vanishes beside any other, and decides when there is no other.
        shifted = self.add(row, 1e-30)
        return self.apply("Div", shifted, self.total(shifted))

    def average(self, rows: list[Row], weights: Array) -> Row:
        """The weighted mean of rows of one width, weights not normalised."""
        shares = np.asarray(weights, dtype=np.float64) / np.sum(weights)
        return self.linear(self.concatenate(rows), np.concatenate([share * np.eye(rows[0].width) for share in shares], axis=1))


def own(estimator: Any) -> bool:
    """Whether the object's class is scikit-learn's own, not derived from it."""
    return type(estimator).__module__.split(".")[0] == "sklearn"


BOOSTERS = frozenset({"xgboost", "lightgbm", "catboost"})


def boosts(estimator: Any) -> bool:
    """Whether the object's class is a boosting library's own."""
    return type(estimator).__module__.split(".")[0] in BOOSTERS


def name_of(estimator: Any) -> str:
    """The class, for messages; of a pipeline, that of its last step."""
    steps = getattr(estimator, "steps", None)
    return type(steps[-1][1] if isinstance(steps, list) and steps else estimator).__name__


def inconsistent(estimator: Any, problem: str) -> UsageError:
    """The estimator contradicts itself: it was not fitted, or its file was changed."""
    return UsageError("source-failed", f"{type(estimator).__name__}: {problem}", hint="Fit it again, and save it again.")


def unsupported(estimator: Any, problem: str, hint: str) -> UnsupportedModel:
    """A form of an estimator that has no fixed formula, with a way on."""
    return UnsupportedModel("model-unknown-operator", f"{type(estimator).__name__} {problem}", hint=hint)


def numbers(estimator: Any, attribute: str, *shape: int | None) -> Array:
    """A fitted attribute as float64, of this shape (``None``: any size), finite.

    Raises:
        UsageError: ``source-failed``.
    """
    try:
        values = np.asarray(getattr(estimator, attribute), dtype=np.float64)
    except (AttributeError, TypeError, ValueError):
        raise inconsistent(estimator, f"{attribute} is missing or no array of numbers") from None
    if values.ndim != len(shape) or any(size not in (None, actual) for size, actual in zip(shape, values.shape, strict=True)):
        wanted = " × ".join("any" if size is None else str(size) for size in shape)
        raise inconsistent(estimator, f"{attribute} has the shape {values.shape}; expected is {wanted or 'one number'}")
    if not np.isfinite(values).all():
        raise inconsistent(estimator, f"{attribute} holds NaN or infinity")
    return values


def matrix(estimator: Any, attribute: str, columns: int) -> Array:
    """A fitted attribute of shape (any, columns) or (columns,), as two-dimensional float64."""
    flat = np.ndim(getattr(estimator, attribute, 0)) == 1
    return numbers(estimator, attribute, columns)[None] if flat else numbers(estimator, attribute, None, columns)


def vector(estimator: Any, attribute: str, size: int) -> Array:
    """A fitted attribute that is one number for all or one per column, as ``size`` float64 values."""
    values = np.asarray(getattr(estimator, attribute, np.nan))
    if values.size == 1:
        return np.full(size, numbers(estimator, attribute, *values.shape).item())
    return numbers(estimator, attribute, *([1] * (values.ndim - 1)), size).reshape(-1)


def class_count(estimator: Any) -> int:
    """How many classes a classifier tells apart."""
    classes = getattr(estimator, "classes_", None)
    if not isinstance(classes, np.ndarray) or classes.ndim != 1 or len(classes) < 2:
        raise unsupported(estimator, "does not tell one list of two or more classes apart", "Export one estimator per target.")
    return len(classes)


def parts(estimator: Any, attribute: str = "estimators_") -> list[Any]:
    """The fitted estimators inside one, at least one."""
    found = getattr(estimator, attribute, None)
    if not isinstance(found, (list, tuple)) or not found:
        raise inconsistent(estimator, f"{attribute} holds no estimators")
    return list(found)
