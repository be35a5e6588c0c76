"""Masks of −∞ before a softmax, written with a finite number that gives the same probabilities.

Attention masks of transformers are added to, or chosen instead of, what a softmax reads. No integer and no proof knows an
infinity, but −2^100 does the same there: exp(x − 2^100 − max) is 0 in float32 for every max that a row with an unmasked cell
can have, also where two masks are added. A row that is masked in full has no softmax (0/0) and is refused.
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array

NEGLIGIBLE = -(2.0**100)
_AT_MOST = -(2.0**99)
"""What was infinite, and sums of it with finite numbers."""
_CARRIERS = frozenset(
    {
        "Add", "Where", "Constant", "ConstantOfShape", "Expand", "Reshape", "Cast", "CastLike", "Unsqueeze", "Squeeze", "Slice",
        "Gather", "Concat", "Trilu", "Tile", "Transpose", "Identity",
    }
)  # fmt: skip
"""Operators that hand a mask on without computing anything else from it."""
HINT = "Use a finite value. A mask of -inf is taken where it is constant and added or chosen right before a softmax."


def finite_masks(graph: Graph) -> bool:
    """Replace −∞ in constants from which every path leads to a softmax. Returns whether there were any."""
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    found = False
    for name, array in graph.constants.items():
        if _masks(array) and _leads_to_softmax(graph, readers, name):
            graph.constants[name], found = _replaced(array), True
    for node in graph.nodes:
        if node.op_type not in ("Constant", "ConstantOfShape") or node.domain:
            continue
        for key, value in node.attributes.items():
            if not isinstance(value, np.ndarray | float) or not _masks(np.asarray(value)):
                continue
            if _leads_to_softmax(graph, readers, node.outputs[0]):
                node.attributes[key] = _replaced(value) if isinstance(value, np.ndarray) else NEGLIGIBLE
                found = True
    return found


def _masks(array: Array) -> bool:
    """Whether −∞ is in it, and nothing else that is no number."""
    return array.dtype.kind == "f" and bool(np.isneginf(array).any()) and not bool((np.isnan(array) | np.isposinf(array)).any())


def _replaced(array: Array) -> Array:
    return np.where(np.isneginf(array), np.asarray(NEGLIGIBLE, np.float32), array.astype(np.float32))


def _leads_to_softmax(graph: Graph, readers: dict[str, list[Node]], name: str) -> bool:
    pending, seen = [name], {name}
    while pending:
        at = pending.pop()
        following = readers.get(at, [])
        if at in graph.outputs or not following:
            return False
        for node in following:
            if node.op_type == "Softmax" and not node.domain:
                continue
            if node.domain or node.op_type not in _CARRIERS or node.branches:
                return False
            new = [output for output in node.outputs if output not in seen]
            seen.update(new)
            pending.extend(new)
    return True


def require_plain_masks(graph: Graph) -> None:
    """Hold every mask that was infinite to its two forms, once constants are folded; no row may be masked in full.

    Raises:
        UnsupportedModel: ``model-non-finite``.
    """
    masks = {name for name, array in graph.constants.items() if array.dtype.kind == "f" and bool((array <= _AT_MOST).any())}
    softmaxes: dict[str, Node] = {}
    others: set[str] = set(graph.outputs)
    for node in graph.nodes:
        if node.op_type == "Softmax":
            softmaxes.setdefault(node.inputs[0], node)
        else:
            others.update(node.inputs)
    for node in graph.nodes:
        if masks.isdisjoint(node.inputs):
            continue
        reader = softmaxes.get(node.outputs[0])
        masked = None if reader is None or node.outputs[0] in others else _masked(graph, node, masks)
        if reader is None or masked is None:
            raise refuse("model-non-finite", "a mask of -inf reaches more than a softmax", node.where, HINT)
        shape = graph.types[node.outputs[0]].shape
        if bool(np.broadcast_to(masked, shape).all(axis=reader.integer("axis", -1)).any()):
            raise refuse("model-non-finite", "a row is masked in full: its softmax has no value", reader.where, HINT)


def _masked(graph: Graph, node: Node, masks: set[str]) -> Array | None:
    """Which cells of the node's result are masked; None when it is neither an added nor a constantly chosen mask."""
    arrays = [graph.constants.get(name) for name in node.inputs]
    if node.op_type == "Add" and sum(array is None for array in arrays) == 1:
        return next(array for array in arrays if array is not None) <= _AT_MOST
    if node.op_type != "Where" or arrays[0] is None or node.inputs[0] in masks:
        return None
    sides = [np.zeros((), bool) if array is None else array <= _AT_MOST for array in arrays[1:]]
    return np.where(arrays[0], *sides)
