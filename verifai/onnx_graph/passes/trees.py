"""Ensembles of decision trees → comparisons, products of matrices and one sum, which decide as the trees do.

Leaves are laid out in chunks. A chunk has up to P comparisons d = [x ≤ t] and K leaves; a leaf is reached just when
Σ a·d > n − ½, with a = 1 (or −1) for each comparison of its path that must hold (or must not) and n the number of those that
must. The leaves' weights times these bits, added up, are the ensemble's scores. Every way of branching is made of x ≤ t with t
in float32: x < t is x ≤ the next float32 below t, and so on, so each decision is that of the tree for every float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array

SPLITS = frozenset({"nodes_values", "nodes_values_as_tensor", "nodes_splits"})
"""Attributes of thresholds: kept in the file's precision until they are rounded the right way, and infinite where a branch is
always taken."""
MAX_LEAVES = 1 << 20
MAX_DEPTH = 255
MAX_CELLS = 1 << 25
"""Of the matrices that tell which comparisons a leaf needs."""
_SIZES = (16, 32, 64, 128, 256)
_PER_BIT = 16
"""A bit that is committed costs about as much as so many cells of a matrix."""
_HINT = "Train with fewer or smaller trees (max_depth, max_leaf_nodes)."

Comparison = tuple[int, float]
"""Column and threshold t: whether x[column] ≤ t."""
Condition = tuple[Mapping[Comparison, int], int]
"""Coefficients a of comparisons d, and n: it holds just when Σ a·d = n, which no d exceeds."""


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


@dataclass
class _Chunk:
    places: dict[Comparison, int] = field(default_factory=dict)
    leaves: list[_Leaf] = field(default_factory=list)


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


def _at_most(column: int, threshold: float) -> Condition:
    """x ≤ t, as a condition; a branch that is always, or never, taken has no comparison."""
    if np.isposinf(threshold):
        return {}, 1
    return ({}, 0) if np.isneginf(threshold) else ({(column, threshold): 1}, 1)


def _sum(column: int, branch: Branching) -> tuple[dict[Comparison, int], int]:
    """Σ a·d + c that is 1 where the branch's test holds, else 0: (a, c)."""
    members = dict.fromkeys(branch.members or (branch.threshold,))
    total: dict[Comparison, int] = {}
    constant = 0
    for value in branch.between or members:
        if isinstance(value, tuple):
            parts = [(value[1], 1), (value[0], -1)]
        elif branch.mode in ("BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER"):
            # A value that is no float32 equals none.
            parts = [(below(value), 1), (next_below(value), -1)]
        else:
            parts = [(next_below(value) if branch.mode in ("BRANCH_LT", "BRANCH_GTE") else below(value), 1)]
        for threshold, factor in parts:
            terms, wanted = _at_most(column, threshold)
            constant += factor * (wanted if not terms else 0)
            for comparison in terms:
                total[comparison] = total.get(comparison, 0) + factor
    total = {comparison: factor for comparison, factor in total.items() if factor}
    if branch.mode in ("BRANCH_GT", "BRANCH_GTE", "BRANCH_NEQ"):
        return {comparison: -factor for comparison, factor in total.items()}, 1 - constant
    return total, constant


_Leaf = tuple[dict[Comparison, int], int, Mapping[int, float]]


def _leaves(forest: Forest, where: str) -> Iterator[_Leaf]:
    """Every leaf that weighs something: coefficients and number of its path, and its weights. From left to right, so that
    leaves beside each other share most of their paths."""
    seen: set[int] = set()
    for root in forest.roots:
        stack: list[tuple[int, int, dict[Comparison, int], int]] = [(root, 0, {}, 0)]
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
            terms, constant = _sum(branch.column, branch)
            for target, sign, needed in ((branch.no, -1, constant), (branch.yes, 1, 1 - constant)):
                longer = dict(path)
                for comparison, factor in terms.items():
                    longer[comparison] = longer.get(comparison, 0) + sign * factor
                longer = {comparison: factor for comparison, factor in longer.items() if factor}
                stack.append((target, depth + 1, longer, wanted + needed))


def _chunks(leaves: Sequence[_Leaf], size: int) -> list[_Chunk] | None:
    """As many leaves per chunk as fit, with up to ``size`` comparisons; None where a path alone is longer."""
    chunks = [_Chunk()]
    for path, wanted, weights in leaves:
        if len(path) > size:
            return None
        chunk = chunks[-1]
        new = [comparison for comparison in path if comparison not in chunk.places]
        if len(chunk.leaves) == size or len(chunk.places) + len(new) > size:
            chunk, new = _Chunk(), list(path)
            chunks.append(chunk)
        for comparison in new:
            chunk.places[comparison] = len(chunk.places)
        chunk.leaves.append((path, wanted, weights))
    return chunks


@dataclass(frozen=True)
class Layout:
    """A forest as constants, for C chunks of P places.

    Attributes:
        columns: (C, P), int64, and thresholds: (C, P), float32, of the comparisons x ≤ t.
        paths: (C, P, P), float32: what each comparison adds for each leaf. least: (C, 1, P), float32: a leaf is reached just
            when its sum is greater.
        weights: (C·P, outputs), float64: of the leaves.
    """

    columns: Array
    thresholds: Array
    paths: Array
    least: Array
    weights: Array


def laid_out(forest: Forest, features: int, outputs: int, where: str) -> Layout:
    """The forest as constants.

    Args:
        features: how many columns its input has. outputs: how many scores it adds up.

    Raises:
        UnsupportedModel: ``model-malformed``, ``model-non-finite``, ``model-size-bomb``.
    """
    _require_numbers(forest, features, where)
    leaves = []
    for leaf in _leaves(forest, where):
        leaves.append(leaf)
        if len(leaves) > MAX_LEAVES:
            raise refuse("model-size-bomb", f"the trees have more than {MAX_LEAVES:,} leaves", where, _HINT)
    if not any(path for path, _, _ in leaves):
        raise refuse("model-malformed", "its trees never look at their input", where)
    found = [(chunks, size) for size in _SIZES if (chunks := _chunks(leaves, size)) is not None]
    if not found:
        raise refuse("model-size-bomb", f"a path tells apart more than {_SIZES[-1]} thresholds", where, _HINT)
    chunks, size = min(found, key=lambda one: len(one[0]) * one[1] * (2 * _PER_BIT + one[1]))
    if len(chunks) * size * size > MAX_CELLS:
        raise refuse("model-size-bomb", f"{len(leaves):,} leaves are too many for one circuit", where, _HINT)
    # Small ensembles need no more places than they have.
    size = _power(max(max(len(chunk.leaves), len(chunk.places)) for chunk in chunks)) if len(chunks) == 1 else size
    return _arrays(chunks, size, outputs)


def _power(least: int) -> int:
    return 1 << max(0, least - 1).bit_length()


def _require_numbers(forest: Forest, features: int, where: str) -> None:
    weights = np.array([weight for own in forest.weights.values() for weight in own.values()], np.float64)
    with np.errstate(over="ignore"):
        finite = np.isfinite(weights.astype(np.float32)).all()
    if not finite:
        raise refuse("model-non-finite", "a leaf's weight is NaN, infinite, or too large for float32", where)
    for branch in forest.inner.values():
        if any(np.isnan(value) for value in (branch.threshold, *branch.members, *chain.from_iterable(branch.between))):
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
            for comparison, factor in path.items():
                paths[number, chunk.places[comparison], at] = factor
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
    count, size = found.columns.shape
    name = node.name

    def constant(label: str, array: Array) -> str:
        return graph.constant(f"{name}_{label}", array)

    labels = ("compared", "below", "bits", "chunks", "sums", "is_reached", "reached", "leaves")
    read, under, bits, stacked, sums, met, ends, flat = (graph.fresh(f"{name}_{label}") for label in labels)
    nodes = [
        Node("Gather", [node.inputs[0], constant("columns", found.columns.reshape(-1))], [read], {"axis": 1}, read),
        Node("LessOrEqual", [read, constant("thresholds", found.thresholds.reshape(-1))], [under], {}, under),
        Node("Cast", [under], [bits], {"to": 1}, bits),
        *_stacked(graph, bits, stacked, (batch, count, size)),
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
