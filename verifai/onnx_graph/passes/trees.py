"""Ensembles of decision trees → comparisons, products of matrices and one sum, which decide as the trees do.

Leaves are laid out in chunks. A chunk has up to P comparisons d = [x ≤ t] and K leaves; a leaf is reached just when
Σ a·d > n − ½, with a = 1 (or −1) for each comparison of its path that must hold (or must not) and n the number of those that
must. The leaves' weights times these bits, added up, are the ensemble's scores. Every way of branching is made of x ≤ t with t
in float32: x < t is x ≤ the next float32 below t, and so on, so each decision is that of the tree for every float32.

Where branches ask for sets, of categories say, chunks share their comparisons (:mod:`.tree_sets`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.tree_sets import (
    FEW_ENDS,
    Comparison,
    Layout,
    Leaf,
    SetSum,
    Test,
    compared_in,
    runs_of,
    shared_layout,
    work_of,
)
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array

SPLITS = frozenset({"nodes_values", "nodes_values_as_tensor", "nodes_splits"})
"""Attributes of thresholds: kept in the file's precision until they are rounded the right way, and infinite where a branch is
always taken."""
MAX_LEAVES = 1 << 20
MAX_DEPTH = 255
MAX_CELLS = 1 << 25
"""Of the matrices that tell which comparisons a leaf needs."""
MAX_TESTS = 1 << 24
"""On the paths to all leaves together; each is kept while the layout is chosen."""
_SIZES = (16, 32, 64, 128, 256)
_PER_BIT = 16
"""A bit that is committed costs about as much as so many cells of a matrix."""
_HINT = "Train with fewer or smaller trees (max_depth, max_leaf_nodes)."

MAX_MEMBERS = 1 << 21
"""Of all the sets that branches ask for."""


@dataclass(frozen=True)
class Branching:
    """An inner node.

    Attributes:
        members: the values of a set, for the mode ``BRANCH_MEMBER``.
        between: for the mode ``BRANCH_BETWEEN``, pairs (a, b) of float32 that do not overlap: whether a < x ≤ b for one.
    """

    column: int
    mode: str
    threshold: float
    yes: int
    no: int
    members: tuple[float, ...] = ()
    between: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Forest:
    """Trees whose nodes have numbers.

    Attributes:
        roots: one per tree. inner: by number; every other node is a leaf. weights: of leaves, by output.
    """

    roots: tuple[int, ...]
    inner: Mapping[int, Branching]
    weights: Mapping[int, Mapping[int, float]]


def below(value: float) -> float:
    """The largest float32 that is not above ``value``: x ≤ value just when x ≤ it, for every float32 x."""
    with np.errstate(over="ignore"):
        near = np.float32(value)
    # As a Python float: beside a float32, NumPy would round the value to that type first.
    return float(near) if float(near) <= value else _before(float(near))


def _before(value: float) -> float:
    """The float32 before one."""
    with np.errstate(over="ignore", under="ignore"):
        return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


def next_below(value: float) -> float:
    """The largest float32 below ``value``."""
    at = below(value)
    return _before(at) if at == value else at


def _around(values: Sequence[float]) -> list[tuple[float, float]]:
    """For each different value the largest float32 that is not above it, and the largest below it."""
    exact = np.array(list(dict.fromkeys(values)), np.float64)
    with np.errstate(over="ignore", under="ignore"):
        near = exact.astype(np.float32)
        before = np.nextafter(near, np.float32(-np.inf)).astype(np.float64)
    near = near.astype(np.float64)
    # With x the nearest float32: up to the value it is x or the one before, and below the value x where that lies below.
    upper, lower = np.where(near <= exact, near, before), np.where(near < exact, near, before)
    return list(zip(upper.tolist(), lower.tolist(), strict=True))


_Known = dict[tuple[int, tuple[tuple[float, int], ...]], SetSum]


def _sum(column: int, branch: Branching, known: _Known) -> tuple[dict[Test, int], int]:
    """Σ a·d + c that is 1 where the branch's test holds, else 0: (a, c). A set of many ends is one d, kept in ``known``."""
    if branch.between:
        pairs = [pair[::-1] for pair in branch.between]
    elif branch.mode in ("BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER"):
        # A value that is no float32 equals none.
        pairs = _around(branch.members or (branch.threshold,))
    else:
        strict = branch.mode in ("BRANCH_LT", "BRANCH_GTE")
        pairs = [(next_below(branch.threshold) if strict else below(branch.threshold), -np.inf)]
    total: dict[float, int] = {}
    for high, low in pairs:
        total[high] = total.get(high, 0) + 1
        total[low] = total.get(low, 0) - 1
    # Every number reaches the one end, and none the other.
    constant = total.pop(np.inf, 0)
    total.pop(-np.inf, None)
    ends = {end: factor for end, factor in total.items() if factor}
    if branch.mode in ("BRANCH_GT", "BRANCH_GTE", "BRANCH_NEQ"):
        ends, constant = {end: -factor for end, factor in ends.items()}, 1 - constant
    if len(ends) > FEW_ENDS:
        terms = tuple(sorted(ends.items()))
        return {known.setdefault((column, terms), SetSum(column, terms)): 1}, constant
    return {(column, end): factor for end, factor in ends.items()}, constant


def _leaves(forest: Forest, where: str) -> Iterator[Leaf]:
    """Every leaf that weighs something: coefficients and number of its path, and its weights. From left to right, so that
    leaves beside each other share most of their paths."""
    seen: set[int] = set()
    known: _Known = {}
    for root in forest.roots:
        stack: list[tuple[int, int, dict[Test, int], int]] = [(root, 0, {}, 0)]
        while stack:
            number, depth, path, wanted = stack.pop()
            if number in seen:
                raise refuse("model-malformed", "its nodes form no tree: one is reached twice", where)
            seen.add(number)
            branch = forest.inner.get(number)
            if branch is None:
                weights = {output: weight for output, weight in forest.weights.get(number, {}).items() if weight}
                if weights:
                    yield path, wanted, weights
                continue
            if depth >= MAX_DEPTH:
                raise refuse("model-size-bomb", f"a tree is deeper than {MAX_DEPTH}", where, _HINT)
            terms, constant = _sum(branch.column, branch, known)
            for target, sign, needed in ((branch.no, -1, constant), (branch.yes, 1, 1 - constant)):
                longer = dict(path)
                for comparison, factor in terms.items():
                    longer[comparison] = longer.get(comparison, 0) + sign * factor
                longer = {comparison: factor for comparison, factor in longer.items() if factor}
                stack.append((target, depth + 1, longer, wanted + needed))


@dataclass
class _Chunk:
    places: dict[Comparison, int] = field(default_factory=dict)
    leaves: list[Leaf] = field(default_factory=list)


def _chunks(leaves: Sequence[Leaf], size: int) -> list[_Chunk] | None:
    """As many leaves per chunk as fit, with up to ``size`` comparisons; None where a path alone is longer."""
    chunks = [_Chunk()]
    for path, wanted, weights in leaves:
        if len(path) > size:
            return None
        chunk = chunks[-1]
        plain = [test for test in path if not isinstance(test, SetSum)]
        new = [comparison for comparison in plain if comparison not in chunk.places]
        if len(chunk.leaves) == size or len(chunk.places) + len(new) > size:
            chunk, new = _Chunk(), plain
            chunks.append(chunk)
        for comparison in new:
            chunk.places[comparison] = len(chunk.places)
        chunk.leaves.append((path, wanted, weights))
    return chunks


def laid_out(forest: Forest, features: int, outputs: int, where: str) -> Layout:
    """The forest as constants.

    Args:
        features: how many columns its input has. outputs: how many scores it adds up.

    Raises:
        UnsupportedModel: ``model-malformed``, ``model-non-finite``, ``model-size-bomb``.
    """
    _require_numbers(forest, features, where)
    leaves, tests = [], 0
    for leaf in _leaves(forest, where):
        leaves.append(leaf)
        tests += len(leaf[0])
        if len(leaves) > MAX_LEAVES:
            raise refuse("model-size-bomb", f"the trees have more than {MAX_LEAVES:,} leaves", where, _HINT)
        if tests > MAX_TESTS:
            raise refuse("model-size-bomb", f"the paths to the leaves hold more than {MAX_TESTS:,} comparisons", where, _HINT)
    if not any(path for path, _, _ in leaves):
        raise refuse("model-malformed", "its trees never look at their input", where)
    if any(isinstance(test, SetSum) for path, _, _ in leaves for test in path):
        return _with_sets(leaves, outputs, where)
    found = [(chunks, size) for size in _SIZES if (chunks := _chunks(leaves, size)) is not None]
    if not found:
        raise refuse("model-size-bomb", f"a path tells apart more than {_SIZES[-1]} thresholds", where, _HINT)
    chunks, size = min(found, key=lambda one: len(one[0]) * one[1] * (2 * _PER_BIT + one[1]))
    if len(chunks) * size * size > MAX_CELLS:
        raise refuse("model-size-bomb", f"{len(leaves):,} leaves are too many for one circuit", where, _HINT)
    # Small ensembles need no more places than they have.
    size = _power(max(max(len(chunk.leaves), len(chunk.places)) for chunk in chunks)) if len(chunks) == 1 else size
    return _arrays(chunks, size, outputs)


def _with_sets(leaves: Sequence[Leaf], outputs: int, where: str) -> Layout:
    """The layout of an ensemble that asks for sets."""
    work = work_of(leaves)
    if work > MAX_CELLS:
        raise refuse("model-size-bomb", f"paths that name {work:,} categories are too many for one circuit", where, _HINT)
    found = []
    for size in (min(size, _power(len(leaves))) for size in _SIZES):
        runs = runs_of(leaves, size)
        most = max(len(compared_in(run)) for run in runs)
        found.append((len(runs) * size * (_PER_BIT + most), len(runs) * size * most, size))
    _, cells, size = min(found)
    if cells > MAX_CELLS:
        raise refuse("model-size-bomb", f"{len(leaves):,} leaves of sets are too many for one circuit", where, _HINT)
    return shared_layout(runs_of(leaves, size), size, outputs)


def _power(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()


def _require_numbers(forest: Forest, features: int, where: str) -> None:
    weights = np.array([weight for own in forest.weights.values() for weight in own.values()], np.float64)
    with np.errstate(over="ignore"):
        finite = np.isfinite(weights.astype(np.float32)).all()
    if not finite:
        raise refuse("model-non-finite", "a leaf's weight is NaN, infinite, or too large for float32", where)
    asked = sum(len(branch.members) + len(branch.between) for branch in forest.inner.values())
    if asked > MAX_MEMBERS:
        raise refuse("model-size-bomb", f"its branches ask for {asked:,} categories, more than {MAX_MEMBERS:,}", where, _HINT)
    for branch in forest.inner.values():
        if any(value != value for value in (branch.threshold, *branch.members, *chain.from_iterable(branch.between))):
            raise refuse("model-non-finite", "a threshold is NaN", where)
        if not 0 <= branch.column < features:
            raise refuse("model-malformed", f"it reads column {branch.column} of {features}", where)


def _arrays(chunks: list[_Chunk], size: int, outputs: int) -> Layout:
    count = len(chunks)
    columns, thresholds = np.zeros((count, size), np.int64), np.zeros((count, size), np.float32)
    paths, least = np.zeros((count, size, size), np.float32), np.full((count, 1, size), 0.5, np.float32)
    weights = np.zeros((count, size, outputs), np.float64)
    for number, chunk in enumerate(chunks):
        for (column, threshold), place in chunk.places.items():
            columns[number, place], thresholds[number, place] = column, threshold
        for at, (path, wanted, values) in enumerate(chunk.leaves):
            for test, factor in path.items():
                if not isinstance(test, SetSum):
                    paths[number, chunk.places[test], at] = factor
            least[number, 0, at] = wanted - 0.5
            for output, weight in values.items():
                weights[number, at, output] = weight
    return Layout(columns, thresholds, paths, least, weights.reshape(-1, outputs))


def scores(graph: Graph, node: Node, forest: Forest, outputs: int, base: Sequence[float], result: str) -> list[Node]:
    """The nodes that add up the weights of the leaves that are reached: ``result``, of shape (N, outputs).

    Raises:
        UnsupportedModel: as :func:`laid_out`.
    """
    batch, features = graph.types[node.inputs[0]].shape
    with np.errstate(over="ignore"):
        start = np.array(base, np.float32)
    if not np.isfinite(start).all():
        raise refuse("model-non-finite", "a base value is NaN, infinite, or too large for float32", node.where)
    found = laid_out(forest, features, outputs, node.where)
    count, _, size = found.paths.shape
    name = node.name

    def constant(label: str, array: Array) -> str:
        return graph.constant(f"{name}_{label}", array)

    labels = ("compared", "below", "bits", "chunks", "sums", "is_reached", "reached", "leaves")
    read, under, bits, stacked, sums, met, ends, flat = (graph.fresh(f"{name}_{label}") for label in labels)
    nodes = [
        Node("Gather", [node.inputs[0], constant("columns", found.columns.reshape(-1))], [read], {"axis": 1}, read),
        Node("LessOrEqual", [read, constant("thresholds", found.thresholds.reshape(-1))], [under], {}, under),
        Node("Cast", [under], [bits], {"to": 1}, bits),
    ]
    if found.places is not None:
        needed = graph.fresh(f"{name}_needed")
        nodes.append(Node("Gather", [bits, constant("places", found.places.reshape(-1))], [needed], {"axis": 1}, needed))
        bits = needed
    nodes += [
        *_stacked(graph, bits, stacked, (batch, count, found.paths.shape[1])),
        Node("MatMul", [stacked, constant("paths", found.paths)], [sums], {}, sums),
        Node("Greater", [sums, constant("least", found.least)], [met], {}, met),
        Node("Cast", [met], [ends], {"to": 1}, ends),
    ]
    rows = ends
    if batch > 1:
        rows = graph.fresh(f"{name}_rows")
        nodes.append(Node("Transpose", [ends], [rows], {"perm": (1, 0, 2)}, rows))
    shape = constant("leaves_shape", np.array([batch, count * size], np.int64))
    nodes.append(Node("Reshape", [rows, shape], [flat], {"allowzero": 0}, flat))
    operands = [flat, constant("weights", found.weights.astype(np.float32))]
    if start.any():
        operands.append(constant("base", start))
    gemm = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0}
    return [*nodes, Node("Gemm", operands, [result], dict(gemm), f"{name}_scores")]


def _stacked(graph: Graph, source: str, target: str, sizes: tuple[int, int, int]) -> list[Node]:
    """(rows, chunk · place) as (chunk, rows, place), the form of a product with one matrix per chunk."""
    batch, count, size = sizes
    if batch == 1:
        shape = graph.constant(f"{target}_shape", np.array([count, 1, size], np.int64))
        return [Node("Reshape", [source, shape], [target], {"allowzero": 0}, target)]
    cut = graph.fresh(f"{target}_rows")
    shape = graph.constant(f"{target}_shape", np.array(sizes, np.int64))
    return [
        Node("Reshape", [source, shape], [cut], {"allowzero": 0}, cut),
        Node("Transpose", [cut], [target], {"perm": (1, 0, 2)}, target),
    ]
