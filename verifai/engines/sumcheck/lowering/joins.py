"""Chains of small nodes that scikit-learn's converters write, each joined into one node where one operation does its work.

Products of columns (PolynomialFeatures): every product of the same number of columns of one x is a part of one product of two
or more rearrangements of x. Weighted sums of squares (Gaussian naive Bayes): Σ v²/c becomes Σ (v/√c)², whose terms all have one
range, so that a variance of 10^-6 beside one of 10^5 costs no precision; and squares are not rounded before they are summed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from verifai.engines.sumcheck.lowering.graph import DOMAIN, Array, SourceGraph
from verifai.engines.sumcheck.lowering.row_statistics import Finder
from verifai.onnx_graph.graph import Attribute, Node


def join(graph: SourceGraph, *, squares: bool = True) -> SourceGraph:
    """The graph with such chains as one node each; parts that nothing reads any more are still there.

    ``squares``: whether sums of squares are joined; circuits pinned before that were lowered without.
    """
    graph = _join_products(graph)
    return _join_squares(graph) if squares else graph


def _with(
    graph: SourceGraph, nodes: Iterable[Node], constants: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> SourceGraph:
    """The graph with these nodes, new constants, and new real values of these shapes."""
    types = dict.fromkeys(shapes, "float32")
    shapes = {**graph.shapes, **{name: array.shape for name, array in constants.items()}, **shapes}
    return replace(
        graph, nodes=tuple(nodes), constants={**graph.constants, **constants}, shapes=shapes, types={**graph.types, **types}
    )


def _fresh(graph: SourceGraph, name: str) -> str:
    while name in graph.shapes:
        name += "'"
    return name


def _join_products(graph: SourceGraph) -> SourceGraph:
    made = {name: node for node in graph.nodes for name in node.outputs}
    nodes: list[Node] = []
    shapes: dict[str, tuple[int, ...]] = {}
    for node in graph.nodes:
        if node.op_type != "Concat" or node.domain:
            nodes.append(node)
            continue
        inputs: list[str] = []
        runs: list[tuple[str, list[tuple[int, ...]], Node]] = []
        for name in node.inputs:
            found = _columns(graph, made, name, node)
            if found is None:
                runs.append((name, [], node))
            elif runs and runs[-1][1] and runs[-1][0] == found[0] and len(runs[-1][1][0]) == len(found[1]):
                runs[-1][1].append(found[1])
            else:
                runs.append((found[0], [found[1]], made[name]))
        for source, columns, first in runs:
            if len(columns) < 2:
                inputs.append(first.outputs[0] if columns else source)
                continue
            name = _fresh(graph, f"{first.outputs[0]}.{len(columns)}")
            shapes[name] = (graph.shapes[source][0], len(columns))
            nodes.append(Node("Products", [source], [name], {"columns": np.array(columns)}, first.name, DOMAIN))
            inputs.append(name)
        nodes.append(replace(node, inputs=inputs))
    return _with(graph, nodes, {}, shapes) if shapes else graph


def _columns(graph: SourceGraph, made: Mapping[str, Node], name: str, concat: Node) -> tuple[str, tuple[int, ...]] | None:
    """(x, columns) when ``name`` is the product of these columns of x, read by the Concat along the columns alone."""
    product = made.get(name)
    if product is None or product.op_type != "ReduceProd" or product.domain or graph.readers.get(name, 0) != 1:
        return None
    gather = made.get(product.inputs[0])
    shape = graph.shapes.get(name, ())
    if gather is None or gather.op_type != "Gather" or gather.domain or len(shape) != 2 or shape[1] != 1:
        return None
    axes = Finder(graph, made).axes(product, 2)
    places = graph.constants.get(gather.inputs[1])
    size = graph.shapes[gather.inputs[0]][1] if len(graph.shapes[gather.inputs[0]]) == 2 else 0
    along = (gather.integer("axis", 0), concat.integer("axis", 0), axes) == (1, 1, (1,))
    if places is None or not along or places.size == 0 or int(places.min()) < -size or int(places.max()) >= size:
        return None
    return gather.inputs[0], tuple(int(place) % size for place in places.reshape(-1))


def _join_squares(graph: SourceGraph) -> SourceGraph:
    finder = Finder(graph, {name: node for node in graph.nodes for name in node.outputs})
    nodes: list[Node] = []
    constants: dict[str, Array] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for node in graph.nodes:
        quotient = finder.made.get(node.inputs[0]) if node.op_type == "ReduceSum" and not node.domain else None
        found = None if quotient is None or graph.readers.get(node.inputs[0], 0) != 1 else _weighted(finder, quotient)
        axes = None if found is None else finder.axes(node, len(graph.shapes[node.inputs[0]]))
        if found is None or axes is None:
            nodes.append(node)
            continue
        value, root = found
        factor, scaled = (_fresh(graph, f"{node.inputs[0]}.{part}") for part in ("factor", "root"))
        constants[factor], shapes[scaled] = root, graph.shapes[node.inputs[0]]
        nodes.append(Node("Mul", [value, factor], [scaled], {}, node.name))
        attributes: dict[str, Attribute] = {"axes": axes, "squares": node.inputs[0].encode()}
        nodes.append(Node("SquaresSum", [scaled], list(node.outputs), attributes, node.name, DOMAIN))
    return _with(graph, nodes, constants, shapes) if shapes else graph


def _weighted(finder: Finder, node: Node) -> tuple[str, Array] | None:
    """(v, f) when the node is (f·v)² for constants f of more than one number."""
    if node.domain or node.op_type not in ("Div", "Mul"):
        return None
    for position in (0, 1) if node.op_type == "Mul" else (0,):
        squared, weights = finder.squared(node.inputs[position]), finder.graph.constants.get(node.inputs[1 - position])
        if squared is None or weights is None or weights.size < 2 or finder.graph.readers.get(node.inputs[position], 0) != 1:
            continue
        if weights.dtype.kind == "f" and bool((weights > 0).all()):
            exact = weights.astype(np.float64)
            return squared, np.sqrt(exact if node.op_type == "Mul" else 1.0 / exact)
    return None
