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
from itertools import pairwise
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
_KNOWN = _MODES | {"BRANCH_MEMBER", "BRANCH_BETWEEN"}
_NOWHERE: tuple[tuple[float, float], ...] = ((np.inf, np.inf),)
"""An interval without a number."""


def taken_back(forest: Forest, columns: Sequence[Moved], *, double: bool) -> Forest | None:
    """The forest as one of the model's own columns; ``None`` where some branch has no such form.

    Args:
        columns: what each column that the forest reads is. double: whether it compares in float64 what reaches it.
    """
    if any(branch.mode not in _KNOWN or branch.column >= len(columns) for branch in forest.inner.values()):
        return None
    wanted: dict[int, dict[float, _Pairs]] = {}
    for branch in forest.inner.values():
        wanted.setdefault(branch.column, {}).update(dict.fromkeys(_limits(branch, double), ()))
    for column, limits in wanted.items():
        finite = [limit for limit in limits if np.isfinite(limit)]
        functions, asked = columns[column][1], np.array(finite, np.float64)
        stepped = any(isinstance(one, Steps) for one in functions)
        found = _intervals(functions, asked, double) if stepped else _up_to(_largest(functions, asked, double))
        if found is None:
            return None
        limits.update(zip(finite, found, strict=True))
        limits.update({limit: ((-np.inf, np.inf),) if limit > 0 else () for limit in limits if np.isinf(limit)})
    inner = {
        number: _asked(branch, columns[branch.column][0], wanted[branch.column], double)
        for number, branch in forest.inner.items()
    }
    return Forest(forest.roots, inner, forest.weights)


def _up_to(limits: Array | None) -> list[_Pairs] | None:
    return None if limits is None else [((-np.inf, limit),) for limit in limits.tolist()]


def _asked(branch: Branching, column: int, reached: Mapping[float, _Pairs], double: bool) -> Branching:
    """The same question about a column of the model's own: x ≤ limit, or whether x lies in one of these intervals.

    ``reached``: by limit, where f(x) is at most that.
    """
    if branch.mode not in _MODES:
        limits = _limits(branch, double)
        parts = [_without(reached[high], reached[low]) for low, high in zip(limits[::2], limits[1::2], strict=True)]
        between = tuple(sorted(pair for part in parts for pair in part))
        return Branching(column, "BRANCH_BETWEEN", 0.0, branch.yes, branch.no, between=between or _NOWHERE)
    (limit,) = _limits(branch, double)
    mode, pairs = _STRICT.get(branch.mode, branch.mode), reached[limit]
    if len(pairs) == 1 and np.isneginf(pairs[0][0]):
        return replace(branch, column=column, mode=mode, threshold=pairs[0][1])
    yes, no = (branch.yes, branch.no) if mode == "BRANCH_LEQ" else (branch.no, branch.yes)
    return Branching(column, "BRANCH_BETWEEN", 0.0, yes, no, between=pairs or _NOWHERE)


def _without(pairs: _Pairs, others: _Pairs) -> _Pairs:
    """The half-open intervals of ``pairs`` less ``others``, which lie within them."""
    ends = sorted({end for pair in (*pairs, *others) for end in pair})
    found: list[tuple[float, float]] = []
    for low, high in pairwise(ends):
        inside = any(a <= low and high <= b for a, b in pairs) and not any(a <= low and high <= b for a, b in others)
        if inside and found and found[-1][1] == low:
            found[-1] = (found[-1][0], high)
        elif inside:
            found.append((low, high))
    return tuple(found)


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


def _limits(branch: Branching, double: bool) -> list[float]:
    """t, for a branch that asks whether z ≤ t, or whether it is not; t and u of each interval (t, u] of a set."""
    if branch.mode not in _MODES:
        if branch.between:
            ends = [end for pair in branch.between for end in pair]
            return ends if double else [below(end) for end in ends]
        return [
            end
            for value in dict.fromkeys(branch.members)
            for end in ((float(np.nextafter(value, -np.inf)), value) if double else (next_below(value), below(value)))
        ]
    strict = branch.mode in _STRICT
    if double:
        return [float(np.nextafter(branch.threshold, -np.inf)) if strict else branch.threshold]
    return [next_below(branch.threshold) if strict else below(branch.threshold)]


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
