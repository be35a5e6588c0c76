"""Layer normalisation and softmax that an exporter wrote out in parts, found again and lowered as one operation each.

The parts (square root, reciprocal, division by a value) have no rule of their own: alone, their results are not determined to
useful precision by small integers. Together they are one function whose integer semantics :mod:`.rows` defines.

What is recognised is an identity of real functions, not a list of names: a value is followed through reshapes and broadcasts as
a *statistic* of the rows of some x, a polynomial in the row's mean m and mean square q, and the cell that it stands at for each
cell of x is computed, not assumed. A graph that only resembles a normalisation is left alone, and refused at its square root.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.lowering.graph import SourceGraph
from verifai.onnx_graph.graph import Attribute, Node

DOMAIN = "verifai"
"""Of nodes that no ONNX file has: Normalize (x, gain, bias; attributes ``axes`` and ``epsilon``)."""
_TOLERANCE = 1e-6
"""Relative: 1/n as a float32."""
_VIEWS = frozenset({"Reshape", "Expand", "Squeeze", "Unsqueeze", "Identity", "Flatten"})
_VARIANCE = {"q": 1.0, "mm": -1.0}
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Statistic:
    """A value that is a function of rows of x.

    Attributes:
        source, axes: x and the axes that a row runs along.
        terms: factor by monomial: ``m`` mean, ``q`` mean square, ``mm`` squared mean, ``1``; or alone one of ``std`` and
            ``rstd``, the square root of variance + epsilon and its reciprocal.
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
        return _close(self.terms, wanted)

    def same_rows(self, other: Statistic) -> bool:
        """Whether two statistics are cell by cell of the same rows."""
        same = (self.source, self.axes) == (other.source, other.axes)
        return same and self.places.shape == other.places.shape and bool((self.places == other.places).all())


def _close(found: Mapping[str, float], wanted: Mapping[str, float]) -> bool:
    return all(abs(found.get(k, 0.0) - wanted.get(k, 0.0)) <= _TOLERANCE for k in {*found, *wanted})


@dataclass
class _Finder:
    graph: SourceGraph
    made: Mapping[str, Node]
    known: dict[str, Statistic | None]

    def scalar(self, name: str) -> float | None:
        array = self.graph.constants.get(name)
        one = array is not None and array.size == 1 and array.dtype.kind == "f"
        return float(array.reshape(-1)[0]) if one and array is not None else None

    def statistic(self, name: str) -> Statistic | None:
        """What ``name`` is of the rows of some x, or None. Nodes are visited in topological order, so nothing recurses."""
        return self.known.get(name)

    def visit(self, node: Node) -> None:
        rule = _RULES.get(node.op_type) if not node.domain and len(node.outputs) == 1 else None
        if node.op_type in _VIEWS and not node.domain:
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

    def at_rows(self, found: Statistic) -> bool:
        """Whether broadcasting against x puts every cell's own row's statistic beside it."""
        shape = self.graph.shapes[found.source]
        rows = _rows(shape, found.axes)
        return _broadcasts(found.places.shape, shape) and bool((np.broadcast_to(found.places, shape) == rows).all())

    def axes(self, node: Node, rank: int) -> tuple[int, ...] | None:
        if len(node.inputs) > 1 and node.inputs[1]:
            given = self.graph.constants.get(node.inputs[1])
            axes = None if given is None else tuple(int(axis) for axis in given.reshape(-1))
        else:
            axes = node.ints("axes") or ()
        if axes is None or (not axes and node.integer("noop_with_empty_axes", 0)):
            return None
        return tuple(sorted({axis % rank for axis in axes})) if axes else tuple(range(rank))


def _broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    return len(shape) <= len(target) and all(a in (1, b) for a, b in zip(shape[::-1], target[::-1], strict=False))


def _rows(shape: tuple[int, ...], axes: tuple[int, ...]) -> Places:
    """The row of every cell of ``shape``; rows are numbered in the order of the axes that remain."""
    kept = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
    return np.broadcast_to(np.arange(int(np.prod(kept))).reshape(kept), shape)


def _reduce(finder: _Finder, node: Node) -> Statistic | None:
    name = node.inputs[0]
    shape = finder.graph.shapes.get(name)
    axes = None if not shape else finder.axes(node, len(shape))
    if not shape or axes is None:
        return None
    count = int(np.prod([shape[axis] for axis in axes]))
    factor = 1.0 if node.op_type == "ReduceMean" else float(count)
    places = np.arange(int(np.prod(shape)) // count).reshape(finder.graph.shapes[node.outputs[0]])
    squared = finder.squared(name)
    if squared is None:
        return Statistic(name, axes, {"m": factor}, places)
    mean = finder.centred(squared)
    if mean is not None and mean.axes == axes:
        return Statistic(mean.source, axes, {k: factor * v for k, v in _VARIANCE.items()}, places)
    return Statistic(squared, axes, {"q": factor}, places)


def _scale(finder: _Finder, node: Node) -> Statistic | None:
    """Products and quotients with a number, a squared mean, and 1 / std."""
    first, second = (finder.known.get(name) for name in node.inputs)
    numbers = [finder.scalar(name) for name in node.inputs]
    if node.op_type == "Div":
        if first is not None and numbers[1]:
            return _times(first, 1.0 / numbers[1])
        if second is not None and numbers[0] == 1.0 and second.like("std"):
            return replace(second, terms={"rstd": 1.0})
        return None
    if first is not None and second is not None:
        product = first.same_rows(second) and first.like("m") and second.like("m")
        return replace(first, terms={"mm": 1.0}) if product else None
    one, number = (first, numbers[1]) if first is not None else (second, numbers[0])
    return None if one is None or number is None else _times(one, number)


def _times(one: Statistic, number: float) -> Statistic:
    return replace(one, terms={key: value * number for key, value in one.terms.items()})


def _sum(finder: _Finder, node: Node) -> Statistic | None:
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
    if second is None or not first.same_rows(second):
        return None
    keys = {*first.terms, *second.terms}
    return replace(first, terms={k: first.terms.get(k, 0.0) + sign * second.terms.get(k, 0.0) for k in keys})


def _floor(finder: _Finder, node: Node) -> Statistic | None:
    """A variance is not negative, so its maximum with 0 is itself."""
    if node.op_type == "Relu":
        found = finder.known.get(node.inputs[0])
    elif len(node.inputs) == 2 and 0.0 in (numbers := [finder.scalar(name) for name in node.inputs]):
        found = finder.known.get(node.inputs[1 - numbers.index(0.0)])
    else:
        return None
    same = found is not None and found.places.shape == finder.graph.shapes.get(node.outputs[0])
    return found if found is not None and same and found.like("variance") else None


def _root(finder: _Finder, node: Node) -> Statistic | None:
    found = finder.known.get(node.inputs[0])
    exponent = 0.5 if node.op_type == "Sqrt" else finder.scalar(node.inputs[1])
    kind = {0.5: "std", -0.5: "rstd"}.get(exponent or 0.0)
    if node.op_type == "Pow" and exponent == 2.0 and found is not None and found.like("m"):
        return replace(found, terms={"mm": 1.0})
    if found is None or kind is None:
        return None
    epsilon = found.terms.get("1", 0.0)
    spread = {key: value for key, value in found.terms.items() if key != "1"}
    if epsilon <= 0 or not _close(spread, _VARIANCE):
        return None
    return replace(found, terms={kind: 1.0}, epsilon=epsilon)


def _inverse(finder: _Finder, node: Node) -> Statistic | None:
    found = finder.known.get(node.inputs[0])
    return replace(found, terms={"rstd": 1.0}) if found is not None and found.like("std") else None


_RULES: dict[str, Callable[[_Finder, Node], Statistic | None]] = {
    "ReduceMean": _reduce, "ReduceSum": _reduce, "Mul": _scale, "Div": _scale, "Add": _sum, "Sub": _sum, "Max": _floor,
    "Relu": _floor, "Sqrt": _root, "Pow": _root, "Reciprocal": _inverse,
}  # fmt: skip


def _normalised(finder: _Finder, node: Node) -> Node | None:
    """Normalize, when the node is (x − mean)/std, (x − mean)·rstd or (x − mean)·(rstd·gain)."""
    if node.domain or node.op_type not in ("Mul", "Div"):
        return None
    for position in (0, 1) if node.op_type == "Mul" else (0,):
        mean, other, gain = finder.centred(node.inputs[position]), node.inputs[1 - position], ""
        if mean is None:
            continue
        spread, product = finder.known.get(other), finder.made.get(other)
        if spread is None and product is not None and product.op_type == "Mul" and node.op_type == "Mul":
            for side in (0, 1):
                if product.inputs[1 - side] in finder.graph.constants:
                    spread, gain = finder.known.get(product.inputs[side]), product.inputs[1 - side]
        wanted = "std" if node.op_type == "Div" else "rstd"
        if spread is None or not spread.like(wanted) or (spread.source, spread.axes) != (mean.source, mean.axes):
            continue
        shape = finder.graph.shapes[mean.source]
        if finder.at_rows(spread) and finder.graph.shapes[node.outputs[0]] == shape and _per_channel(finder, gain, mean):
            attributes: dict[str, Attribute] = {"axes": mean.axes, "epsilon": spread.epsilon}
            return Node("Normalize", [mean.source, gain, ""], list(node.outputs), attributes, node.name, DOMAIN)
    return None


def _per_channel(finder: _Finder, name: str, mean: Statistic) -> bool:
    """Whether a constant (or none) varies along the normalised axes alone."""
    if not name:
        return True
    shape, array = finder.graph.shapes[mean.source], finder.graph.constants[name]
    if array.dtype.kind != "f" or not _broadcasts(array.shape, shape):
        return False
    sizes = (1,) * (len(shape) - array.ndim) + array.shape
    return all(size == 1 or axis in mean.axes for axis, size in enumerate(sizes))


def _extended(finder: _Finder, fused: Node, following: Node) -> Node | None:
    """Normalize with the constant that only reader ``following`` multiplies or adds."""
    position = 1 if following.op_type == "Mul" else 2 if following.op_type == "Add" else 0
    if not position or following.domain or fused.inputs[position] or (position == 1 and fused.inputs[2]):
        return None
    others = [name for name in following.inputs if name != fused.outputs[0]]
    shape = finder.graph.shapes[fused.inputs[0]]
    if len(others) != 1 or others[0] not in finder.graph.constants or finder.graph.shapes[following.outputs[0]] != shape:
        return None
    axes = fused.ints("axes") or ()
    if not _per_channel(finder, others[0], Statistic(fused.inputs[0], axes, {}, np.zeros(0, np.int64))):
        return None
    inputs = [others[0] if place == position else name for place, name in enumerate(fused.inputs)]
    return Node("Normalize", inputs, list(following.outputs), fused.attributes, following.name, DOMAIN)


def _softmax(finder: _Finder, node: Node) -> Node | None:
    """Softmax, when the node is exp(x − c)/Σ exp(x − c) with the row's maximum or nothing for c."""
    power = finder.made.get(node.inputs[0]) if node.op_type == "Div" and not node.domain else None
    total = finder.known.get(node.inputs[1]) if power is not None else None
    if power is None or total is None or power.op_type != "Exp" or total.source != node.inputs[0] or len(total.axes) != 1:
        return None
    shape = finder.graph.shapes[total.source]
    count = shape[total.axes[0]]
    if not _close(total.terms, {"m": float(count)}) or not finder.at_rows(total):
        return None
    if finder.graph.shapes[node.outputs[0]] != shape:
        return None
    argument = _without_maximum(finder, power.inputs[0], total.axes)
    return Node("Softmax", [argument], list(node.outputs), {"axis": total.axes[0]}, node.name)


def _without_maximum(finder: _Finder, name: str, axes: tuple[int, ...]) -> str:
    """x when ``name`` is x − max x along ``axes``, else ``name``: a softmax does not see what is constant along its rows."""
    node = finder.made.get(name)
    if node is None or node.op_type != "Sub" or node.domain:
        return name
    views: list[Node] = []
    at = finder.made.get(node.inputs[1])
    while at is not None and at.op_type in _VIEWS and not at.domain:
        views.append(at)
        at = finder.made.get(at.inputs[0])
    shape = finder.graph.shapes[name]
    if at is None or at.op_type != "ReduceMax" or at.inputs[0] != node.inputs[0] or finder.axes(at, len(shape)) != axes:
        return name
    places = np.arange(int(np.prod(finder.graph.shapes[at.outputs[0]]))).reshape(finder.graph.shapes[at.outputs[0]])
    for view in reversed(views):
        target = finder.graph.shapes[view.outputs[0]]
        places = np.broadcast_to(places, target) if view.op_type == "Expand" else places.reshape(target)
    same = _broadcasts(places.shape, shape) and finder.graph.shapes[node.inputs[0]] == shape
    return node.inputs[0] if same and bool((np.broadcast_to(places, shape) == _rows(shape, axes)).all()) else name


def fuse(graph: SourceGraph) -> SourceGraph:
    """The graph with normalisations and softmaxes as one node each, named as their last part; unread parts are gone."""
    finder = _Finder(graph, {name: node for node in graph.nodes for name in node.outputs if name}, {})
    nodes: list[Node] = []
    made: dict[str, int] = {}
    for node in graph.nodes:
        finder.visit(node)
        found = _normalised(finder, node) or _softmax(finder, node)
        for name in node.inputs:
            before = nodes[made[name]] if name in made else None
            if found is None and before is not None and before.domain == DOMAIN and graph.readers.get(name, 0) == 1:
                found = _extended(finder, before, node)
        for name in node.outputs:
            made[name] = len(nodes)
        nodes.append(found or node)
    if all(a is b for a, b in zip(nodes, graph.nodes, strict=True)):
        return graph
    return _alive(graph, nodes)


def _alive(graph: SourceGraph, nodes: list[Node]) -> SourceGraph:
    needed, kept = set(graph.outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    readers = Counter(name for node in kept for name in node.inputs if name)
    readers.update(graph.outputs)
    return replace(graph, nodes=tuple(reversed(kept)), readers=readers)
