"""Nodes in an order in which each reads only what was computed before it.

The standard demands it, onnxruntime does not, and its own converter to float16 puts the casts of a model's inputs at the end.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from onnx import AttributeProto, GraphProto, NodeProto

from verifai.onnx_graph.limits import MAX_NODES

_MAX_DEPTH = 64
"""Of branches within branches; the linter refuses far fewer."""


def sort_nodes(graph: GraphProto) -> bool:
    """Put the nodes in order, in place, each as early as its place in the file allows; returns whether any moved.

    A graph with a cycle, with a value that two nodes make or with too many nodes stays as it is: the linter refuses it by
    name. Takes time of O(n log n) in nodes and operands.
    """
    if len(graph.node) > MAX_NODES:
        return False
    maker: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in node.output:
            if name and maker.setdefault(name, index) != index:
                return False
    needs = [{maker[name] for name in _read(node, 0) if name in maker} for node in graph.node]
    if all(not sources or max(sources) < index for index, sources in enumerate(needs)):
        return False
    readers: list[list[int]] = [[] for _ in needs]
    for index, sources in enumerate(needs):
        for source in sources:
            readers[source].append(index)
    missing = [len(sources) for sources in needs]
    ready = [index for index, count in enumerate(missing) if not count]
    order: list[int] = []
    while ready:
        order.append(heapq.heappop(ready))
        for index in readers[order[-1]]:
            missing[index] -= 1
            if not missing[index]:
                heapq.heappush(ready, index)
    if len(order) < len(needs):
        return False
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend(nodes[index] for index in order)
    return True


def _read(node: NodeProto, depth: int) -> Iterator[str]:
    """The names that a node reads, those in its branches among them: what a branch defines itself is nobody else's."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        if attribute.type == AttributeProto.GRAPH and depth < _MAX_DEPTH:
            for inner in attribute.g.node:
                yield from _read(inner, depth + 1)
            yield from (value.name for value in attribute.g.output)
