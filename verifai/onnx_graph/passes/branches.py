"""``If`` whose condition is a constant once shapes are known: the branch that is taken stands in its place.

Exporters of PyTorch write such conditions to ask for a size that the export has fixed already.
"""

from __future__ import annotations

from verifai.onnx_graph.graph import Branch, Graph, Node, TensorType
from verifai.onnx_graph.passes.infinities import drop_infinite_bounds
from verifai.onnx_graph.passes.numbers import require_finite
from verifai.onnx_graph.passes.precision import to_float32
from verifai.onnx_graph.refusal import refuse

HINT = "Export with fixed control flow: unroll the loop, or keep one branch."


def enter_branch(graph: Graph, node: Node) -> int:
    """Put the nodes of the branch that is taken in front of those pending; returns the size of its constants in bytes.

    Raises:
        UnsupportedModel: ``model-control-flow`` when the condition depends on an input; ``model-malformed``; as the passes.
    """
    condition = graph.constants.get(node.inputs[0])
    if condition is None:
        raise refuse("model-control-flow", "dynamic control flow cannot be proven", node.where, HINT)
    if condition.size != 1 or condition.dtype.kind != "b":
        raise refuse("model-malformed", "its condition is not one boolean", node.where)
    branch = node.branches["then_branch" if bool(condition.reshape(-1)[0]) else "else_branch"]
    if len(branch.outputs) != len(node.outputs):
        raise refuse("model-malformed", f"a branch yields {len(branch.outputs)} values, not {len(node.outputs)}", node.where)
    body, size = prepared(graph, branch)
    ends = [
        Node("Identity", [inner], [outer], {}, f"{node.name}_{number}")
        for number, (inner, outer) in enumerate(zip(body.outputs, node.outputs, strict=True))
        if outer
    ]
    graph.pending.extend([*body.nodes, *ends][::-1])
    return size


def prepared(graph: Graph, branch: Branch) -> tuple[Branch, int]:
    """What happens to a whole graph before its types are inferred happens to a part of it now.

    Returns:
        The part under names of its own, with its constants made the graph's, and their size in bytes.
    """
    part = Graph(graph.name, {}, [], branch.nodes, branch.constants)
    to_float32(part)
    drop_infinite_bounds(part)
    require_finite(part)
    graph.halves = graph.halves or part.halves
    graph.brains = graph.brains or part.brains
    for notice in part.notices:
        graph.note(notice)
    inputs = list(branch.inputs)
    fresh = _renamed(graph, part, branch)
    for name, array in part.constants.items():
        graph.constants[fresh[name]] = array
        graph.types[fresh[name]] = TensorType(array.dtype, array.shape)
    outputs = [fresh.get(name, name) for name in branch.outputs]
    size = sum(array.nbytes for array in part.constants.values())
    return Branch(part.nodes, {}, outputs, [fresh[name] for name in inputs]), size


def _renamed(graph: Graph, part: Graph, branch: Branch) -> dict[str, str]:
    """New names for all that the branch defines, in place: both branches, and others, may use the same ones."""
    inner = [*branch.inputs, *part.constants, *(name for node in part.nodes for name in node.outputs if name)]
    fresh = {name: graph.fresh(name) for name in dict.fromkeys(inner)}
    known = {*graph.types, *fresh}
    for node in part.nodes:
        node.inputs = [fresh.get(name, name) for name in node.inputs]
        node.outputs = [fresh.get(name, name) for name in node.outputs]
        for deeper in node.branches.values():
            rename_free(deeper, fresh)
    for name in branch.outputs:
        if name not in known:
            raise refuse("model-malformed", f"a branch yields {name!r}, which nothing defines", "a branch")
    return fresh


def rename_free(branch: Branch, fresh: dict[str, str]) -> None:
    """Names from around a nested part follow, unless it defines the same name itself."""
    own = {*branch.inputs, *branch.constants, *(name for node in branch.nodes for name in node.outputs)}
    outer = {name: new for name, new in fresh.items() if name not in own}
    branch.outputs = [outer.get(name, name) for name in branch.outputs]
    for node in branch.nodes:
        node.inputs = [outer.get(name, name) for name in node.inputs]
        for deeper in node.branches.values():
            rename_free(deeper, outer)
