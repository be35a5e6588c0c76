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
HINT = (
    "Use a finite value. A mask of -inf is taken where it is added or chosen right before a softmax, and read by nothing else."
)


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


MASKED = -1024.0
"""What a mask that depends on the input adds instead of −∞, or of a number that stands for it: exp of it is 0 in float32."""
_STANDS_FOR_INFINITY = -1e3
_HANDS_ON = frozenset({"Expand", "Reshape", "Unsqueeze", "Squeeze", "Slice", "Gather", "Transpose", "Tile", "Identity", "Cast"})


def bounded_masks(graph: Graph) -> None:
    """Masks that depend on the input, as attention masks of padded texts do, with a number in place of −∞ or the least float.

    Three forms, where nothing but softmaxes reads what they lead to: a choice between a large negative number and another one,
    added to scores; the scores chosen or such a number; and 1 − mask times it. In float32 the probabilities are the same where
    scores differ by less than 900.
    """
    readers = graph.consumers()
    changed: list[Node] = []
    absorbing: dict[str, Node] = {}
    found = False
    for node in graph.nodes:
        made = _bounded(graph, readers, node)
        if made is not None:
            found = True
            if (
                node.op_type == "Where"
                and len(made) == 1
                and _least(graph, node)
                and graph.constants.get(node.inputs[1]) is not None
            ):
                absorbing[node.outputs[0]] = node
        changed += [node] if made is None else made
    graph.nodes = changed
    if found:
        graph.note(
            f"Masks that depend on the input add {MASKED:g} in place of an infinite or huge number, which gives the same "
            "probabilities where scores differ by less than 900. A row that is masked in full, where it may give no number, "
            "gets probabilities too."
        )
    _absorb(graph, readers, absorbing)


def _least(graph: Graph, node: Node) -> bool:
    """Whether the mask's number swallows whatever is added to it, as the least float does."""
    arrays = [graph.constants.get(name) for name in node.inputs[1:]]
    return any(array is not None and array.size and bool((array <= -1e30).all()) for array in arrays)


def _absorb(graph: Graph, readers: dict[str, list[Node]], masks: dict[str, Node]) -> None:
    """Scores under such a mask are 0 beside it, so that a row that is masked in full has equal probabilities; where the model
    fills in a number for such a row, whose softmax would be 0/0, the probabilities are 0."""
    of: dict[str, str] = {name: name for name in masks}
    flags: dict[str, str] = {}
    infinite = {
        name
        for name, node in masks.items()
        if any(bool((graph.constants[one] == NEGLIGIBLE).all()) for one in node.inputs[1:] if one in graph.constants)
    }
    nodes: list[Node] = []
    sums: dict[str, tuple[str, bool]] = {}
    filled = {node.outputs[0]: found for node in graph.nodes if (found := _fills(graph, node)) is not None}
    for node in graph.nodes:
        operands = [name for name in node.inputs if name in of]
        if node.outputs[0] in masks and not _adds_nothing(graph, node):
            flags[node.outputs[0]] = flag = graph.fresh(f"{node.name}_keeps")
            nodes.append(_flag(graph, node, flag))
        if node.op_type in _HANDS_ON and node.inputs[0] in of:
            of[node.outputs[0]] = of[node.inputs[0]]
            if node.inputs[0] in flags:
                flags[node.outputs[0]] = flag = graph.fresh(f"{node.name}_keeps")
                graph.types[flag] = graph.types[node.outputs[0]]
                nodes.append(Node(node.op_type, [flags[node.inputs[0]], *node.inputs[1:]], [flag], dict(node.attributes), flag))
        if node.op_type == "Add" and len(operands) == 1:
            scores = next((name for name in node.inputs if name != operands[0]), "")
            if scores and scores not in graph.constants:
                flag = flags.get(operands[0], "")
                kept, made = (flag, []) if flag else _kept(graph, operands[0])
                under = graph.fresh(f"{node.name}_kept_scores")
                graph.types[under] = graph.types[node.outputs[0]]
                nodes += [*made, Node("Mul", [scores, kept], [under], {}, under)]
                node.inputs = [under, operands[0]]
                sums[node.outputs[0]] = kept, of[operands[0]] in infinite
        if node.op_type == "Softmax" and node.inputs[0] in sums:
            sums[node.outputs[0]] = sums[node.inputs[0]]
        if node.outputs[0] in filled and filled[node.outputs[0]] in sums:
            p = filled[node.outputs[0]]
            kept, gaps = sums[p]
            # Beside the least float a row that is masked in full has no gap: all its cells are equal.
            node.op_type, node.inputs, node.attributes = ("Mul", [p, kept], {}) if gaps else ("Identity", [p], {})
        nodes.append(node)
    graph.nodes = nodes


def _adds_nothing(graph: Graph, node: Node) -> bool:
    """Whether a mask is 0 where it keeps a cell; else a bias is in it, such as T5's of relative positions."""
    return any(array is not None and not array.any() for array in (graph.constants.get(name) for name in node.inputs[1:]))


def _flag(graph: Graph, node: Node, name: str) -> Node:
    """1 where a mask keeps a cell, else 0, in the mask's shape, from the condition that it is chosen by."""
    kind = graph.types[node.outputs[0]]
    sides = [graph.constants.get(one) for one in node.inputs[1:]]
    values = [float(array is None or not bool((array == MASKED).all())) for array in sides]
    graph.types[name] = kind
    chosen = [graph.constant(f"{name}_{value:g}", np.full(kind.shape, value, np.float32)) for value in values]
    return Node("Where", [node.inputs[0], *chosen], [name], {}, name)


def _kept(graph: Graph, mask: str) -> tuple[str, list[Node]]:
    """1 where a mask of 0 and ``MASKED`` keeps a cell, else 0; and the nodes that make it."""
    share = graph.constant(f"{mask}_share", np.array(-1 / MASKED, np.float32))
    one = graph.constant(f"{mask}_one", np.array(1, np.float32))
    part, kept = graph.fresh(f"{mask}_part"), graph.fresh(f"{mask}_keeps")
    graph.types[part] = graph.types[kept] = graph.types[mask]
    return kept, [Node("Mul", [mask, share], [part], {}, part), Node("Add", [part, one], [kept], {}, kept)]


def _bounded(graph: Graph, readers: dict[str, list[Node]], node: Node) -> list[Node] | None:
    """The nodes that stand for a mask; ``None`` where the node is none, or is bounded already."""
    if node.op_type not in ("Where", "Mul") or not _masks_only(graph, readers, node.outputs[0]):
        return None
    constants = [graph.constants.get(name) for name in node.inputs]
    huge = [place for place, array in enumerate(constants) if array is not None and _huge(array)]
    if len(huge) != 1:
        return None
    (place,) = huge
    shape_of = graph.types[node.inputs[place]].shape
    bounded = graph.constant(f"{node.name}_masked", np.full(shape_of, MASKED, np.float32))
    inputs = [bounded if at == place else name for at, name in enumerate(node.inputs)]
    if node.op_type == "Mul":
        return [Node("Mul", inputs, node.outputs, node.attributes, node.name)] if _unit(graph, node.inputs[1 - place]) else None
    other = 3 - place
    if constants[0] is not None or place == 0:
        return None
    kept = constants[other]
    if kept is not None:
        near = bool((kept > -100).all() and (kept < 100).all())
        return [Node("Where", inputs, node.outputs, node.attributes, node.name)] if near else None
    return [Node("Where", inputs, node.outputs, node.attributes, node.name)]


def _huge(array: Array) -> bool:
    return (
        array.dtype.kind == "f"
        and array.size > 0
        and bool((array < _STANDS_FOR_INFINITY).all())
        and not bool((array == MASKED).all())
    )


def _masks_only(graph: Graph, readers: dict[str, list[Node]], name: str) -> bool:
    """Whether every path from a value ends in a softmax, over operators that hand it on and sums."""
    pending, seen = [name], {name}
    while pending:
        at = pending.pop()
        following = readers.get(at, [])
        if at in graph.outputs or not following:
            return False
        for node in following:
            if node.op_type == "Softmax":
                continue
            moved = node.op_type in _HANDS_ON and node.inputs[0] == at and graph.types[node.outputs[0]].dtype.kind == "f"
            if not (moved or node.op_type == "Add"):
                return False
            new = [output for output in node.outputs if output not in seen]
            seen.update(new)
            pending.extend(new)
    return True


def _unit(graph: Graph, name: str) -> bool:
    """Whether a value is a mask of zeros and ones, or 1 less one: made from booleans, or from integers that stand for them."""
    made = {output: node for node in graph.nodes for output in node.outputs}
    for _ in range(8):
        node = made.get(name)
        if node is None:
            return False
        if node.op_type == "Cast":
            return graph.types[node.inputs[0]].dtype.kind in "biu"
        if node.op_type == "Sub":
            one = graph.constants.get(node.inputs[0])
            if one is None or not bool((one == 1).all()):
                return False
            name = node.inputs[1]
        elif node.op_type in _HANDS_ON:
            name = node.inputs[0]
        else:
            return False
    return False


def _fills(graph: Graph, node: Node) -> str | None:
    """p of ``Where(IsNaN(p), 0, p)``, probabilities whose gaps are filled; ``None`` for any other node."""
    made = {output: other for other in graph.nodes for output in other.outputs} if node.op_type == "Where" else {}
    if not made or node.inputs[0] not in made or node.inputs[2] not in made:
        return None
    absent, p, number = made[node.inputs[0]], node.inputs[2], graph.constants.get(node.inputs[1])
    same = made.get(absent.inputs[0]) if absent.op_type == "Not" else None
    gaps = same is not None and same.op_type == "Equal" and list(same.inputs) == [p, p] and made[p].op_type == "Softmax"
    zero = number is not None and not number.any()
    return p if gaps and zero and graph.types[p] == graph.types[node.outputs[0]] else None
