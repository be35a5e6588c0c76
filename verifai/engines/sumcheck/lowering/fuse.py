"""Layer normalisation and softmax that an exporter wrote out in parts, found again and lowered as one operation each.

The parts (square root, reciprocal, division by a value) are rounded to their own scales where each stands alone. Together they
are one function whose integer semantics :mod:`.rows` and :mod:`.division` define, and far more precise.

What is recognised is an identity of real functions, not a list of names: a value is followed through reshapes and broadcasts as
a *statistic* of the rows of some x, a polynomial in the row's mean m and mean square q, and the cell that it stands at for each
cell of x is computed, not assumed. A graph that only resembles a normalisation is left alone: each part has its own rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from verifai.engines.sumcheck.lowering.graph import DOMAIN, SourceGraph
from verifai.engines.sumcheck.lowering.joins import join
from verifai.engines.sumcheck.lowering.row_statistics import VIEWS, Finder, Statistic, broadcasts, close, rows_of
from verifai.onnx_graph.graph import Attribute, Node


def _normalised(finder: Finder, node: Node) -> Node | None:
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


def _per_channel(finder: Finder, name: str, mean: Statistic) -> bool:
    """Whether a constant (or none) varies along the normalised axes alone."""
    if not name:
        return True
    shape, array = finder.graph.shapes[mean.source], finder.graph.constants[name]
    if array.dtype.kind != "f" or not broadcasts(array.shape, shape):
        return False
    sizes = (1,) * (len(shape) - array.ndim) + array.shape
    return all(size == 1 or axis in mean.axes for axis, size in enumerate(sizes))


def _extended(finder: Finder, fused: Node, following: Node) -> Node | None:
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


def _softmax(finder: Finder, node: Node) -> Node | None:
    """Softmax, when the node is exp(x − c)/Σ exp(x − c) with the row's maximum or nothing for c."""
    power = finder.made.get(node.inputs[0]) if node.op_type == "Div" and not node.domain else None
    total = finder.known.get(node.inputs[1]) if power is not None else None
    if power is None or total is None or power.op_type != "Exp" or total.source != node.inputs[0] or len(total.axes) != 1:
        return None
    shape = finder.graph.shapes[total.source]
    count = shape[total.axes[0]]
    if not close(total.terms, {"m": float(count)}) or not finder.at_rows(total):
        return None
    if finder.graph.shapes[node.outputs[0]] != shape:
        return None
    argument = _without_maximum(finder, power.inputs[0], total.axes)
    return Node("Softmax", [argument], list(node.outputs), {"axis": total.axes[0]}, node.name)


def _without_maximum(finder: Finder, name: str, axes: tuple[int, ...]) -> str:
    """x when ``name`` is x − max x along ``axes``, else ``name``: a softmax does not see what is constant along its rows."""
    node = finder.made.get(name)
    if node is None or node.op_type != "Sub" or node.domain:
        return name
    views: list[Node] = []
    at = finder.made.get(node.inputs[1])
    while at is not None and at.op_type in VIEWS and not at.domain:
        views.append(at)
        at = finder.made.get(at.inputs[0])
    shape = finder.graph.shapes[name]
    if at is None or at.op_type != "ReduceMax" or at.inputs[0] != node.inputs[0] or finder.axes(at, len(shape)) != axes:
        return name
    places = np.arange(int(np.prod(finder.graph.shapes[at.outputs[0]]))).reshape(finder.graph.shapes[at.outputs[0]])
    for view in reversed(views):
        target = finder.graph.shapes[view.outputs[0]]
        places = np.broadcast_to(places, target) if view.op_type == "Expand" else places.reshape(target)
    same = broadcasts(places.shape, shape) and finder.graph.shapes[node.inputs[0]] == shape
    return node.inputs[0] if same and bool((np.broadcast_to(places, shape) == rows_of(shape, axes)).all()) else name


def _norm(finder: Finder, node: Node) -> Node | None:
    """Norm, when the node is x over the norm of its own row (times and plus numbers), or the softmax that x is already.

    A softmax's rows sum to 1, so dividing by their sum of magnitudes changes nothing but rounding.
    """
    if node.domain or node.op_type not in ("Div", "Mul"):
        return None
    for position in (0, 1) if node.op_type == "Mul" else (0,):
        name, found = node.inputs[position], finder.known.get(node.inputs[1 - position])
        if found is None or found.source != name or not finder.at_rows(found):
            continue
        if finder.graph.shapes[node.outputs[0]] != finder.graph.shapes[name]:
            continue
        terms = dict(found.terms)
        if node.op_type == "Div" and (close(terms, {"l1": 1.0}) or close(terms, {"m": float(finder.count(found))})):
            softmax = finder.become.get(name) or finder.made.get(name)
            if softmax is not None and softmax.op_type == "Softmax" and found.axes == (softmax.integer("axis", -1),):
                return replace(softmax, outputs=list(node.outputs), name=node.name)
        shift = terms.pop("1", 0.0) if node.op_type == "Div" else 0.0
        kinds = {"l1": 1, "l2": 2} if node.op_type == "Div" else {"rl1": 1, "rl2": 2}
        if len(terms) != 1 or set(terms) - set(kinds) or min(terms.values()) <= 0 or shift < 0:
            continue
        ((kind, factor),) = terms.items()
        over = factor if node.op_type == "Div" else 1.0 / factor
        attributes: dict[str, Attribute] = {
            "p": kinds[kind], "axes": found.axes, "factor": 1.0 / over, "shift": shift / over, "epsilon": found.epsilon,
        }  # fmt: skip
        if node.op_type == "Div":
            attributes["divisor"] = node.inputs[1].encode()
        return Node("Norm", [name], list(node.outputs), attributes, node.name, DOMAIN)
    return None


def _log_softmax(finder: Finder, node: Node) -> Node | None:
    """LogSoftmax, when the node is x − ln Σ exp x of its own row; Softmax, when it is the exponential of that.

    Naive Bayes classifiers of scikit-learn normalise their joint log-likelihoods so.
    """
    if node.domain or node.op_type not in ("Sub", "Exp"):
        return None
    difference = node if node.op_type == "Sub" else finder.made.get(node.inputs[0])
    if difference is None or difference.domain or difference.op_type != "Sub":
        return None
    name, found = difference.inputs[0], finder.known.get(difference.inputs[1])
    if found is None or not found.like("lse") or found.source != name or len(found.axes) != 1 or not finder.at_rows(found):
        return None
    if finder.graph.shapes[node.outputs[0]] != finder.graph.shapes[name]:
        return None
    kind = "LogSoftmax" if node.op_type == "Sub" else "Softmax"
    return Node(kind, [name], list(node.outputs), {"axis": found.axes[0]}, node.name)


def _mixture(finder: Finder, node: Node) -> Node | None:
    """Mixture, when the node is softmax(x) @ v and nothing else reads the softmax, which runs along its rows."""
    if node.domain or node.op_type != "MatMul" or finder.graph.readers.get(node.inputs[0], 0) != 1:
        return None
    softmax = finder.become.get(node.inputs[0]) or finder.made.get(node.inputs[0])
    rank = len(finder.graph.shapes.get(node.inputs[0], ()))
    if softmax is None or softmax.domain or softmax.op_type != "Softmax" or node.inputs[1] in finder.graph.constants:
        return None
    shapes = [finder.graph.shapes.get(name, ()) for name in (node.inputs[0], node.inputs[1], node.outputs[0])]
    if softmax.integer("axis", -1) % max(rank, 1) != rank - 1 or min(map(len, shapes)) < 2 or len(shapes[0]) != len(shapes[2]):
        return None
    if shapes[0][:-2] != shapes[2][:-2]:
        return None
    return Node("Mixture", [softmax.inputs[0], node.inputs[1]], list(node.outputs), {}, node.name, DOMAIN)


_PATTERNS: tuple[Callable[[Finder, Node], Node | None], ...] = (_normalised, _softmax, _norm, _log_softmax)


def fuse(graph: SourceGraph, *, squares: bool = True, mixtures: bool = True) -> SourceGraph:
    """The graph with normalisations and softmaxes as one node each, named as their last part; unread parts are gone.

    ``squares``: as :func:`.joins.join` has it. ``mixtures``: whether a softmax that weights rows is divided after the sum.
    """
    patterns = (*_PATTERNS, _mixture) if mixtures else _PATTERNS
    given, graph = graph, join(graph, squares=squares)
    finder = Finder(graph, {name: node for node in graph.nodes for name in node.outputs if name})
    nodes: list[Node] = []
    made: dict[str, int] = {}
    for node in graph.nodes:
        finder.visit(node)
        found = next((new for pattern in patterns if (new := pattern(finder, node)) is not None), None)
        for name in node.inputs:
            before = nodes[made[name]] if name in made else None
            extensible = before is not None and (before.domain, before.op_type) == (DOMAIN, "Normalize")
            if found is None and before is not None and extensible and graph.readers.get(name, 0) == 1:
                found = _extended(finder, before, node)
        for name in node.outputs:
            made[name] = len(nodes)
            if found is not None:
                finder.become[name] = found
        nodes.append(found or node)
    if graph is given and all(a is b for a, b in zip(nodes, graph.nodes, strict=True)):
        return graph
    fused = alive(graph, nodes)
    return alive(fused, [_normed_layer(fused, node) or node for node in fused.nodes]) if squares else fused


def _normed_layer(graph: SourceGraph, node: Node) -> Node | None:
    """A layer of one row over its norm, W·(x/‖x‖) + b, as (W·x)/‖x‖ + b: the row is not rounded before it is weighted.

    Of a row of unlike columns, one scale for all of x/‖x‖ would leave the small ones a few steps.
    """
    made = {name: one for one in graph.nodes for name in one.outputs}
    norm = made.get(node.inputs[0]) if node.op_type in ("Gemm", "MatMul") and not node.domain else None
    if norm is None or (norm.op_type, norm.domain) != ("Norm", DOMAIN) or graph.readers.get(norm.outputs[0], 0) != 1:
        return None
    shape = graph.shapes[norm.inputs[0]]
    weight = graph.constants.get(node.inputs[1])
    biased = len(node.inputs) > 2 and bool(node.inputs[2])
    bias = graph.constants.get(node.inputs[2]) if biased else None
    one_row = len(shape) == 2 and shape[0] == 1 and norm.ints("axes") == (1,)
    if not one_row or weight is None or weight.ndim != 2 or (biased and bias is None) or node.integer("transA", 0):
        return None
    return Node(
        "NormedLayer",
        [norm.inputs[0], *node.inputs[1:]],
        list(node.outputs),
        {**node.attributes, **norm.attributes},
        node.name,
        DOMAIN,
    )


def alive(graph: SourceGraph, nodes: Sequence[Node]) -> SourceGraph:
    """The graph of those of ``nodes`` that some output depends on."""
    needed, kept = set(graph.outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    readers = Counter(name for node in kept for name in node.inputs if name)
    readers.update(graph.outputs)
    return replace(graph, nodes=tuple(reversed(kept)), readers=readers)
