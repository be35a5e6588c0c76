"""Remove nodes that compute nothing, and values that are never read."""

from __future__ import annotations

import numpy as np
import onnx

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.limits import OPSET
from verifai.onnx_graph.refusal import refuse


def simplify(graph: Graph) -> None:
    """Remove Identity, Dropout, casts and expansions without effect; then everything that no output depends on."""
    _refuse_training_dropout(graph)
    replaced: dict[str, str] = {}
    kept: list[Node] = []
    producers: set[str] = set()
    for node in graph.nodes:
        node.inputs = [replaced.get(name, name) for name in node.inputs]
        if not _is_identity(graph, node):
            kept.append(node)
            producers.update(node.outputs)
            continue
        source, target = node.inputs[0], node.outputs[0]
        if target not in graph.outputs:
            replaced[target] = source
        elif source in producers and source not in graph.outputs:
            # The output keeps its public name: the node that computed the source now computes it under that name.
            for other in kept:
                other.outputs = [target if name == source else name for name in other.outputs]
                other.inputs = [target if name == source else name for name in other.inputs]
            producers.add(target)
            replaced = {name: target if other == source else other for name, other in replaced.items()}
            replaced[source] = target
        else:
            kept.append(Node("Identity", [source], [target], name=node.name))
    graph.nodes = kept
    _remove_dead(graph)


def _is_identity(graph: Graph, node: Node) -> bool:
    if node.op_type == "Identity":
        return True
    if node.op_type == "Dropout":
        if len(node.outputs) > 1 and node.outputs[1]:
            raise refuse("model-stochastic", "its mask output is used", node.where, "Export the model for inference.")
        return True
    same = graph.types[node.inputs[0]] == graph.types[node.outputs[0]] if node.inputs and node.inputs[0] else False
    return node.op_type in ("Cast", "Expand") and same


def _refuse_training_dropout(graph: Graph) -> None:
    for node in graph.nodes:
        if node.op_type != "Dropout" or len(node.inputs) < 3 or not node.inputs[2]:
            continue
        flag = graph.constants.get(node.inputs[2])
        if flag is None or bool(np.any(flag)):
            raise refuse("model-stochastic", "dropout in training mode", node.where, "Export after model.eval().")


def _remove_dead(graph: Graph) -> None:
    needed = set(graph.outputs)
    kept: list[Node] = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
            _drop_unread_outputs(node, needed)
    graph.nodes = kept[::-1]
    graph.constants = {name: array for name, array in graph.constants.items() if name in needed}
    for name in graph.inputs:
        if name not in needed:
            raise refuse(
                "model-unused-input",
                "no output depends on this input, so no proof could say anything about it",
                f"input {name!r}",
                "Remove the input from the model.",
            )


def _drop_unread_outputs(node: Node, needed: set[str]) -> None:
    schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    for index, formal in enumerate(schema.outputs[: len(node.outputs)]):
        if formal.option == onnx.defs.OpSchema.FormalParameterOption.Optional and node.outputs[index] not in needed:
            node.outputs[index] = ""
    while not node.outputs[-1]:
        node.outputs.pop()
