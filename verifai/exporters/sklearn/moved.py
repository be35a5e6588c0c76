"""Trees behind scalers and encoders: thresholds taken back to the model's own columns, so that each decision is scikit-learn's.

A scaler computes f(x) in float64, and a tree compares that, or its float32, with a threshold. f never decreases: the float32 x
with f(x) ≤ t are those up to one of them, which a search among all float32 numbers finds. Were f computed in float32 instead,
rows at a threshold, of which boosting has many, would fall on either side of it.

An encoder, a binning or a binarisation gives one of few values (:class:`Steps`): what a tree asks of these is whether x lies in
one of some intervals. So nothing but orderings reads the model's column, as where the tree stands alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from verifai.domain.ordered_floats import LARGEST
from verifai.exporters.sklearn.writer import Array
from verifai.onnx_graph.passes.trees import Branching, Forest, below, next_below

Function: TypeAlias = Callable[[Array], Array]
"""Of float64 arrays, cell by cell, never decreasing."""


@dataclass(frozen=True, slots=True)
class Steps:
    """A function that is constant between its ends: ``values[i]`` where ends[i − 1] < x ≤ ends[i]; one value more than ends.

    Attributes:
        ends: float64, ascending.
    """

    ends: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, cells: Array) -> Array:
        return np.asarray(self.values)[np.searchsorted(np.asarray(self.ends), cells, side="left")]


def steps_at(points: Mapping[float, float], others: float) -> Steps:
    """What is ``points[x]`` at these numbers, and ``others`` everywhere else."""
    ends: list[float] = []
    values = [others]
    for point, value in sorted(points.items()):
        ends += [float(np.nextafter(point, -np.inf)), point]
        values += [value, others]
    return Steps(tuple(ends), tuple(values))


Moved: TypeAlias = tuple[int, tuple["Function | Steps", ...]]
"""A column of the model's own, and the functions that are applied to it, one after another."""
_Pairs: TypeAlias = tuple[tuple[float, float], ...]
_STRICT = {"BRANCH_LT": "BRANCH_LEQ", "BRANCH_GTE": "BRANCH_GT"}
_MODES = frozenset({"BRANCH_LEQ", "BRANCH_GT", *_STRICT})


def taken_back(forest: Forest, columns: Sequence[Moved], *, double: bool) -> Forest | None:
    """The forest as one of the model's own columns; ``None`` where some branch has no such form.

    Args:
        columns: what each column that the forest reads is. double: whether it compares in float64 what reaches it.
    """
    if any(branch.mode not in _MODES or branch.column >= len(columns) for branch in forest.inner.values()):
        return None
    wanted: dict[int, dict[float, float | _Pairs]] = {}
    for branch in forest.inner.values():
        wanted.setdefault(branch.column, {})[_limit(branch, double)] = 0.0
    for column, limits in wanted.items():
        functions, asked = columns[column][1], np.array(list(limits), np.float64)
        stepped = any(isinstance(one, Steps) for one in functions)
        found = _intervals(functions, asked, double) if stepped else _largest(functions, asked, double)
        if found is None:
            return None
        limits.update(zip(limits, found if isinstance(found, list) else found.tolist(), strict=True))
    inner = {
        number: _asked(branch, columns[branch.column][0], wanted[branch.column][_limit(branch, double)])
        for number, branch in forest.inner.items()
    }
    return Forest(forest.roots, inner, forest.weights)


def _asked(branch: Branching, column: int, limit: float | _Pairs) -> Branching:
    """The same question about a column of the model's own: x ≤ limit, or whether x lies in one of these intervals."""
    mode = _STRICT.get(branch.mode, branch.mode)
    if not isinstance(limit, tuple):
        return replace(branch, column=column, mode=mode, threshold=limit)
    yes, no = (branch.yes, branch.no) if mode == "BRANCH_LEQ" else (branch.no, branch.yes)
    # Where nothing meets it, an interval without a number.
    between = limit or ((np.inf, np.inf),)
    return Branching(column, "BRANCH_BETWEEN", 0.0, yes, no, between=between)


def _intervals(functions: Sequence[Function | Steps], limits: Array, double: bool) -> list[_Pairs] | None:
    """For each limit, the intervals (a, b] of float32 numbers x with f(x) ≤ limit, f being of few values; ``None`` where an end
    of these has no float32 number below it."""
    at = next(place for place, one in enumerate(functions) if isinstance(one, Steps))
    steps = functions[at]
    assert isinstance(steps, Steps)
    before = [one for one in functions[:at] if not isinstance(one, Steps)]
    ends = np.array([below(end) for end in steps.ends]) if not before else _largest(before, np.array(steps.ends), True)
    if ends is None:
        return None
    values = np.asarray(steps.values, np.float64)
    for function in functions[at + 1 :]:
        values = function(values)
    shown = values if double else values.astype(np.float32).astype(np.float64)
    edges = [-np.inf, *ends.tolist(), np.inf]
    found: list[_Pairs] = []
    for limit in limits:
        pairs: list[tuple[float, float]] = []
        for met, low, high in zip((shown <= limit).tolist(), edges, edges[1:], strict=False):
            if not met or low == high:
                continue
            joined = pairs and pairs[-1][1] == low
            pairs[-1:] = [(pairs[-1][0], high)] if joined else [*pairs[-1:], (low, high)]
        found.append(tuple(pairs))
    return found


def _limit(branch: Branching, double: bool) -> float:
    """t, for a branch that asks whether z ≤ t, or whether it is not."""
    strict = branch.mode in _STRICT
    if double:
        return float(np.nextafter(branch.threshold, -np.inf)) if strict else branch.threshold
    return next_below(branch.threshold) if strict else below(branch.threshold)


def _largest(functions: Sequence[Function | Steps], limits: Array, double: bool) -> Array | None:
    """The largest float32 x with f(x) ≤ limit, for each; ``None`` where one is none, or all."""

    def reaches(cells: Array) -> Array:
        values = _numbers(cells)
        for function in functions:
            values = function(values)
        with np.errstate(over="ignore"):
            shown = values if double else values.astype(np.float32).astype(np.float64)
        return np.asarray(shown <= limits)

    low, high = np.full(len(limits), -LARGEST, np.int64), np.full(len(limits), LARGEST, np.int64)
    with np.errstate(all="ignore"):
        if not reaches(low).all() or reaches(high).any():
            return None
        while bool((high - low > 1).any()):
            middle = (low + high) >> 1
            met = reaches(middle)
            low, high = np.where(met, middle, low), np.where(met, high, middle)
    return _numbers(low)


def _numbers(cells: Array) -> Array:
    """The float32 numbers of their places in order, as float64; see :mod:`verifai.domain.ordered_floats`."""
    bits = np.abs(cells).astype(np.uint32)
    values = np.ascontiguousarray(bits).view(np.float32).astype(np.float64)
    return np.where(cells < 0, -values, values)
