"""Ensembles that ask for sets, of categories say: every end of an interval is compared once, and chunks take what they need.

Whether x is in a set is Σ f·[x ≤ e], less a constant, over the ends e of its intervals, with factors f of 1 and −1. A leaf's
sum is linear in these bits, so that a set costs no bit of its own, and a path may tell apart as many categories as there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from verifai.onnx_graph.tensors import Array

FEW_ENDS = 2
"""A set of so few ends, an interval or one category, is looked at as comparisons."""

Comparison = tuple[int, float]
"""Column and threshold t: whether x[column] ≤ t."""


@dataclass(frozen=True, eq=False)
class SetSum:
    """Σ f·[x[column] ≤ e], for ends e and factors f: one object per sum, compared as such, since it is looked up often."""

    column: int
    terms: tuple[tuple[float, int], ...]


Test = Comparison | SetSum
Leaf = tuple[dict[Test, int], int, Mapping[int, float]]
"""Coefficients and number of its path, and its weights."""


@dataclass(frozen=True)
class Layout:
    """A forest as constants, for C chunks of P leaves.

    Attributes:
        columns: int64, and thresholds: float32, of the comparisons x ≤ t: of shape (C, P), P for each chunk; or of shape (E,),
            where chunks share them.
        paths: (C, Q, P), float32: what each comparison of a chunk adds for each leaf. least: (C, 1, P), float32: a leaf is
            reached just when its sum is greater.
        weights: (C·P, outputs), float64: of the leaves.
        places: (C, Q), int64: which of the E comparisons a chunk looks at; ``None`` where each chunk has its own.
    """

    columns: Array
    thresholds: Array
    paths: Array
    least: Array
    weights: Array
    places: Array | None = None


def terms_of(test: Test) -> Iterator[tuple[Comparison, int]]:
    """The comparisons that a test is made of, with their factors."""
    if isinstance(test, SetSum):
        yield from (((test.column, end), factor) for end, factor in test.terms)
    else:
        yield test, 1


def work_of(leaves: Sequence[Leaf]) -> int:
    """How many comparisons the paths of all leaves name, each as often as it is named."""
    return sum(len(test.terms) if isinstance(test, SetSum) else 1 for path, _, _ in leaves for test in path)


def runs_of(leaves: Sequence[Leaf], size: int) -> list[Sequence[Leaf]]:
    """The leaves in runs of ``size``."""
    return [leaves[start : start + size] for start in range(0, len(leaves), size)]


def compared_in(run: Sequence[Leaf]) -> dict[Comparison, int]:
    """The comparisons that some leaves need, numbered."""
    found: dict[Comparison, int] = {}
    for test in dict.fromkeys(test for path, _, _ in run for test in path):
        for comparison, _ in terms_of(test):
            found.setdefault(comparison, len(found))
    return found


def shared_layout(runs: Sequence[Sequence[Leaf]], size: int, outputs: int) -> Layout:
    """The layout of runs of leaves whose comparisons are made once for all of them."""
    known = [compared_in(run) for run in runs]
    numbers = {one: at for at, one in enumerate(sorted({one for own in known for one in own}))}
    most = max(len(own) for own in known)
    places, paths = np.zeros((len(runs), most), np.int64), np.zeros((len(runs), most, size), np.float32)
    least = np.full((len(runs), 1, size), 0.5, np.float32)
    weights = np.zeros((len(runs), size, outputs), np.float64)
    for number, (run, own) in enumerate(zip(runs, known, strict=True)):
        places[number, : len(own)] = [numbers[one] for one in own]
        for leaf, (path, wanted, values) in enumerate(run):
            for test, factor in path.items():
                for comparison, share in terms_of(test):
                    paths[number, own[comparison], leaf] += factor * share
            least[number, 0, leaf] = wanted - 0.5
            for output, weight in values.items():
                weights[number, leaf, output] = weight
    columns, thresholds = zip(*numbers, strict=True)
    return Layout(
        np.array(columns, np.int64), np.array(thresholds, np.float32), paths, least, weights.reshape(-1, outputs), places
    )
