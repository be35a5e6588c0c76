"""What a value is of the rows of another: means, squares, norms, their roots and reciprocals, followed through a graph.

A value is a *statistic* of the rows of some x: a polynomial in the row's mean m and mean square q, or one of a few functions of
these. It stays one through scaling, sums, reshapes and broadcasts; the row that each of its cells belongs to is computed with
index arrays, not assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.lowering.graph import SourceGraph
from verifai.onnx_graph.graph import Node

_TOLERANCE = 1e-6
"""Relative: 1/n as a float32."""
_NOTHING = 1e-6
"""Exporters write 1e-12 (PyTorch's normalize) or 1e-8 (its cosine similarity) for the least norm to divide by."""
VIEWS = frozenset({"Reshape", "Expand", "Squeeze", "Unsqueeze", "Identity", "Flatten"})
_VARIANCE = {"q": 1.0, "mm": -1.0}
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Statistic:
    """A value that is a function of rows of x.

    Attributes:
        source, axes: x and the axes that a row runs along.
        terms: factor by monomial: ``m`` mean, ``q`` mean square, ``mm`` squared mean, ``1``, ``l1`` sum of magnitudes; or
            alone one of ``std``, √(variance + epsilon), ``l2``, √(sum of squares + epsilon), ``lse``, ln Σ exp, and ``rstd``,
            ``rl1``, ``rl2``, the reciprocals.
        places: of the value's shape: the row that each cell belongs to.
    """

    source: str
    axes: tuple[int, ...]
    terms: Mapping[str, float]
    places: Places
    epsilon: float = 0.0

    def like(self, *terms: str) -> bool:
        """Whether these monomials, each once, are the whole of it."""
        wanted = _VARIANCE if terms == ("variance",) else dict.fromkeys(terms, 1.0)
        return close(self.terms, wanted)

    def samerows_of(self, other: Statistic) -> bool:
        """Whether two statistics are cell by cell of the same rows."""
        same = (self.source, self.axes) == (other.source, other.axes)
        return same and self.places.shape == other.places.shape and bool((self.places == other.places).all())


def close(found: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    """Whether two polynomials are equal, to the precision of float32."""
    return all(abs(found.get(k, 0.0) - wanted.get(k, 0.0)) <= _TOLERANCE for k in {*found, *wanted})


@dataclass
class Finder:
    """Finds what is a statistic of what, node by node.

    Attributes:
        made: value → the node that makes it. known: value → what it is of the rows of another, as far as visited.
        become: value → the node that replaces its own.
    """

    graph: SourceGraph
    made: Mapping[str, Node]
    known: dict[str, Statistic | None] = field(default_factory=dict)
    become: dict[str, Node] = field(default_factory=dict)

    def scalar(self, name: str) -> float | None:
        """The number that ``name`` is, when it is one constant number."""
        array = self.graph.constants.get(name)
        one = array is not None and array.size == 1 and array.dtype.kind == "f"
        return float(array.reshape(-1)[0]) if one and array is not None else None

    def visit(self, node: Node) -> None:
        """Follow one node."""
        rule = _RULES.get(node.op_type) if not node.domain and len(node.outputs) == 1 else None
        if node.op_type in VIEWS and not node.domain:
            self.known[node.outputs[0]] = self._view(node)
        elif rule is not None:
            self.known[node.outputs[0]] = rule(self, node)

    def _view(self, node: Node) -> Statistic | None:
        before, shape = self.known.get(node.inputs[0]), self.graph.shapes.get(node.outputs[0])
        if before is None or shape is None:
            return None
        moved = np.broadcast_to(before.places, shape) if node.op_type == "Expand" else before.places.reshape(shape)
        return replace(before, places=moved)

    def squared(self, name: str) -> str | None:
        """x when ``name`` is x²."""
        node = self.made.get(name)
        if node is None or node.domain:
            return None
        if node.op_type == "Mul" and node.inputs[0] == node.inputs[1]:
            return node.inputs[0]
        return node.inputs[0] if node.op_type == "Pow" and self.scalar(node.inputs[1]) == 2.0 else None

    def centred(self, name: str) -> Statistic | None:
        """The mean that ``name`` is x minus, when it is that on every cell of x."""
        node = self.made.get(name)
        if node is None or node.domain or node.op_type != "Sub":
            return None
        mean = self.known.get(node.inputs[1])
        at_home = mean is not None and mean.source == node.inputs[0] and mean.like("m")
        return mean if mean is not None and at_home and self.at_rows(mean) else None

    def count(self, found: Statistic) -> int:
        """The number of cells in a row."""
        return int(np.prod([self.graph.shapes[found.source][axis] for axis in found.axes]))

    def at_rows(self, found: Statistic) -> bool:
        """Whether broadcasting against x puts every cell's own row's statistic beside it."""
        shape = self.graph.shapes[found.source]
        rows = rows_of(shape, found.axes)
        return broadcasts(found.places.shape, shape) and bool((np.broadcast_to(found.places, shape) == rows).all())

    def axes(self, node: Node, rank: int) -> tuple[int, ...] | None:
        """The axes that a reduction runs along, in ascending order; None when they are not constant."""
        if len(node.inputs) > 1 and node.inputs[1]:
            given = self.graph.constants.get(node.inputs[1])
            axes = None if given is None else tuple(int(axis) for axis in given.reshape(-1))
        else:
            axes = node.ints("axes") or ()
        if axes is None or (not axes and node.integer("noop_with_empty_axes", 0)):
            return None
        return tuple(sorted({axis % rank for axis in axes})) if axes else tuple(range(rank))


def broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether ONNX broadcasting of ``shape`` alone gives ``target``."""
    return len(shape) <= len(target) and all(a in (1, b) for a, b in zip(shape[::-1], target[::-1], strict=False))


def rows_of(shape: tuple[int, ...], axes: tuple[int, ...]) -> Places:
    """The row of every cell of ``shape``; rows are numbered in the order of the axes that remain."""
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return np.broadcast_to(np.arange(int(np.prod(kept))).reshape(kept), shape)


def _reduce(finder: Finder, node: Node) -> Statistic | None:
    """Sums, means and norms along axes."""
    name = node.inputs[0]
    shape = finder.graph.shapes.get(name)
    axes = None if not shape else finder.axes(node, len(shape))
    if not shape or axes is None:
        return None
    count = int(np.prod([shape[axis] for axis in axes]))
    factor = 1.0 if node.op_type == "ReduceMean" else float(count)
    places = np.arange(int(np.prod(shape)) // count).reshape(finder.graph.shapes[node.outputs[0]])
    plain = {"ReduceL1": "l1", "ReduceL2": "l2", "ReduceSumSquare": "q", "ReduceLogSumExp": "lse"}.get(node.op_type)
    if plain is not None:
        return Statistic(name, axes, {plain: factor if plain == "q" else 1.0}, places)
    squared = finder.squared(name)
    if squared is None:
        return Statistic(name, axes, {"m": factor}, places)
    mean = finder.centred(squared)
    if mean is not None and mean.axes == axes:
        return Statistic(mean.source, axes, {k: factor * v for k, v in _VARIANCE.items()}, places)
    return Statistic(squared, axes, {"q": factor}, places)


def _scale(finder: Finder, node: Node) -> Statistic | None:
    """Products and quotients with a number, a squared mean, and 1 / std."""
    first, second = (finder.known.get(name) for name in node.inputs)
    numbers = [finder.scalar(name) for name in node.inputs]
    if node.op_type == "Div":
        if first is not None and numbers[1]:
            return _times(first, 1.0 / numbers[1])
        return _reciprocal(second) if second is not None and numbers[0] == 1.0 else None
    if first is not None and second is not None:
        product = first.samerows_of(second) and first.like("m") and second.like("m")
        return replace(first, terms={"mm": 1.0}) if product else None
    one, number = (first, numbers[1]) if first is not None else (second, numbers[0])
    return None if one is None or number is None else _times(one, number)


def _times(one: Statistic, number: float) -> Statistic:
    return replace(one, terms={key: value * number for key, value in one.terms.items()})


def _sum(finder: Finder, node: Node) -> Statistic | None:
    first, second = (finder.known.get(name) for name in node.inputs)
    sign = -1.0 if node.op_type == "Sub" else 1.0
    if first is None and second is not None and sign > 0:
        first, second = second, first
        number = finder.scalar(node.inputs[0])
    else:
        number = finder.scalar(node.inputs[1])
    if first is None or first.places.shape != finder.graph.shapes.get(node.outputs[0]):
        return None
    if number is not None:
        return replace(first, terms={**first.terms, "1": first.terms.get("1", 0.0) + sign * number})
    if second is None or not first.samerows_of(second):
        return None
    keys = {*first.terms, *second.terms}
    return replace(first, terms={k: first.terms.get(k, 0.0) + sign * second.terms.get(k, 0.0) for k in keys})


def _floor(finder: Finder, node: Node) -> Statistic | None:
    """A variance is not negative, so its maximum with 0 is itself; nor is that of a norm with next to nothing, which only keeps
    a row of zeros from being divided by 0."""
    if node.op_type == "Relu":
        found = finder.known.get(node.inputs[0])
    elif (guarded := _guarded_from_zero(finder, node)) is not None:
        return guarded
    elif len(node.inputs) == 2 and 0.0 in (numbers := [finder.scalar(name) for name in node.inputs]):
        found = finder.known.get(node.inputs[1 - numbers.index(0.0)])
    else:
        return None
    same = found is not None and found.places.shape == finder.graph.shapes.get(node.outputs[0])
    return found if found is not None and same and found.like("variance") else None


def _guarded_from_zero(finder: Finder, node: Node) -> Statistic | None:
    """A norm that is at least some tiny number: by Clip without an upper end, or by Max."""
    if node.op_type == "Clip":
        if len(node.inputs) < 2 or any(node.inputs[2:]):
            return None
        name, least = node.inputs[0], finder.scalar(node.inputs[1])
    elif len(node.inputs) == 2 and node.op_type == "Max":
        numbers = [finder.scalar(one) for one in node.inputs]
        place = 0 if numbers[0] is None else 1
        name, least = node.inputs[place], numbers[1 - place]
    else:
        return None
    found = finder.known.get(name)
    if found is None or least is None or not 0 < least <= _NOTHING or set(found.terms) not in ({"l1"}, {"l2"}):
        return None
    return found if found.places.shape == finder.graph.shapes.get(node.outputs[0]) else None


def _root(finder: Finder, node: Node) -> Statistic | None:
    """√ of variance + ε or of a sum of squares + ε, its reciprocal as a power, and a squared mean."""
    found = finder.known.get(node.inputs[0])
    exponent = 0.5 if node.op_type == "Sqrt" else finder.scalar(node.inputs[1])
    if node.op_type == "Pow" and exponent == 2.0 and found is not None and found.like("m"):
        return replace(found, terms={"mm": 1.0})
    if found is None or exponent not in (0.5, -0.5):
        return None
    epsilon = found.terms.get("1", 0.0)
    spread = {key: value for key, value in found.terms.items() if key != "1"}
    root: Statistic | None = None
    if epsilon > 0 and close(spread, _VARIANCE):
        root = replace(found, terms={"std": 1.0}, epsilon=epsilon)
    elif epsilon >= 0 and set(spread) == {"q"} and spread["q"] > 0:
        # √(c·q + ε) = √(c/n)·√(Σx² + ε·n/c)
        ratio = spread["q"] / finder.count(found)
        root = replace(found, terms={"l2": sqrt(ratio)}, epsilon=epsilon / ratio)
    return _reciprocal(root) if root is not None and exponent < 0 else root


def _reciprocal(found: Statistic) -> Statistic | None:
    """1/found, where that is a statistic too."""
    if len(found.terms) != 1:
        return None
    ((kind, factor),) = found.terms.items()
    if kind not in ("std", "l1", "l2") or factor <= 0 or (kind == "std" and not found.like("std")):
        return None
    return replace(found, terms={f"r{kind}": 1.0 / factor})


def _inverse(finder: Finder, node: Node) -> Statistic | None:
    found = finder.known.get(node.inputs[0])
    return None if found is None else _reciprocal(found)


def _guarded(finder: Finder, node: Node) -> Statistic | None:
    """A norm, or any number but 0 where the norm is 0: all cells of x are 0 there, and so is their quotient by either."""
    condition, chosen, other = node.inputs
    test = finder.made.get(condition)
    if test is None or test.domain or test.op_type not in ("Equal", "Greater"):
        return None
    if test.op_type == "Greater":
        chosen, other = other, chosen
    sides = list(test.inputs) if test.op_type == "Greater" or finder.scalar(test.inputs[1]) is not None else test.inputs[::-1]
    found = finder.known.get(other)
    if found is None or set(found.terms) not in ({"l1"}, {"l2"}) or found.epsilon or not finder.scalar(chosen):
        return None
    same = sides[0] == other and finder.scalar(sides[1]) == 0.0
    return found if same and finder.graph.shapes[node.outputs[0]] == found.places.shape else None


_RULES: dict[str, Callable[[Finder, Node], Statistic | None]] = {
    **dict.fromkeys(("ReduceMean", "ReduceSum", "ReduceSumSquare", "ReduceL1", "ReduceL2", "ReduceLogSumExp"), _reduce),
    "Mul": _scale, "Div": _scale, "Add": _sum, "Sub": _sum, "Max": _floor, "Relu": _floor, "Clip": _floor,
    "Sqrt": _root, "Pow": _root,
    "Reciprocal": _inverse, "Where": _guarded,
}  # fmt: skip
