"""``Loop`` and ``Scan`` with as many steps as the shapes and constants say: the steps stand in their place, one after another.

A step's nodes are typed and folded before the next step is written, so a loop may also end by a condition that turns out to be
constant. Whether a loop goes on must never depend on the data.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np

from verifai.onnx_graph.graph import Branch, Graph, Node
from verifai.onnx_graph.limits import MAX_UNROLLED
from verifai.onnx_graph.passes.branches import HINT, prepared, rename_free
from verifai.onnx_graph.passes.pairwise import pairwise
from verifai.onnx_graph.refusal import refuse


@dataclass
class Step(Node):
    """What is left of a loop: the next step, and what the steps before it have yielded.

    Attributes:
        body: the nodes of one step, with constants already part of the graph. place: of the next step, from 0.
        limit: how many steps there are at most; ``None`` where only the condition ends the loop.
        condition: the value that says whether there is a next step; empty for always.
        carried: the values that the next step is given. collected: per scan output, the value of each step.
    """

    body: Branch = field(default_factory=lambda: Branch([], {}, []))
    place: int = 0
    limit: int | None = None
    condition: str = ""
    carried: list[str] = field(default_factory=list)
    collected: list[list[str]] = field(default_factory=list)


def enter_loop(graph: Graph, node: Node, opset: int) -> tuple[int, list[Node]]:
    """Take a loop apart.

    Returns:
        The size of its constants in bytes, and nodes of the canonical opset that come first. The steps are put in front of
        those pending.

    Raises:
        UnsupportedModel: ``model-control-flow`` where the number of steps depends on an input; ``model-malformed``.
    """
    if node.op_type == "Scan":
        if opset < 9:
            raise refuse("model-control-flow", "Scan of opset 8, which goes over a batch", node.where, HINT)
        if (found := pairwise(graph, node)) is not None:
            return found
    body, size = prepared(graph, node.branches["body"])
    step = Step(f"{node.op_type}", node.inputs, node.outputs, node.attributes, node.name, body=body)
    start = _start_scan if node.op_type == "Scan" else _start_loop
    start(graph, step)
    graph.pending.append(step)
    return size, []


def go_on(graph: Graph, step: Step) -> list[Node]:
    """The next step of a loop, put in front of those pending, or its end. Returns nodes of the canonical opset that come first.

    Raises:
        UnsupportedModel: as ``enter_loop``; ``model-too-large``.
    """
    if step.place == step.limit or not _goes_on(graph, step):
        return _ended(graph, step)
    graph.unrolled += len(step.body.nodes) + len(step.body.inputs) + 1
    if graph.unrolled > MAX_UNROLLED:
        raise refuse(
            "model-too-large", f"its steps, written out, are more than {MAX_UNROLLED:,} nodes", step.where, "Use fewer steps."
        )
    first, given = (_scan_slices if step.op_type == "Scan" else _loop_values)(graph, step)
    if len(given) != len(step.body.inputs):
        raise refuse("model-malformed", f"its body takes {len(step.body.inputs)} values, not {len(given)}", step.where)
    fresh = dict(zip(step.body.inputs, given, strict=True))
    nodes = deepcopy(step.body.nodes)
    for one in nodes:
        one.name = f"{one.name}_{step.place}"
        fresh.update((name, graph.fresh(name)) for name in one.outputs if name)
    for one in nodes:
        one.inputs = [fresh.get(name, name) for name in one.inputs]
        one.outputs = [fresh.get(name, name) for name in one.outputs]
        for deeper in one.branches.values():
            rename_free(deeper, fresh)
    yielded = [fresh.get(name, name) for name in step.body.outputs]
    if step.op_type == "Loop":
        step.condition, *yielded = yielded
    step.carried = yielded[: len(step.carried)]
    for values, name in zip(step.collected, yielded[len(step.carried) :], strict=True):
        values.append(name)
    step.place += 1
    graph.pending.extend([*nodes, step][::-1])
    return first


def _start_loop(graph: Graph, step: Step) -> None:
    limit, condition = (*step.inputs, "", "")[:2]
    if limit:
        array = graph.constants.get(limit)
        if array is None or array.size != 1:
            raise refuse("model-control-flow", "how often the loop runs depends on the data", step.where, HINT)
        step.limit = max(int(array.reshape(-1)[0]), 0)
    step.condition = condition
    step.carried = list(step.inputs[2:])
    _fits(step, len(step.body.outputs) - 1)


def _start_scan(graph: Graph, step: Step) -> None:
    count = step.integer("num_scan_inputs", 0)
    if not 1 <= count <= len(step.inputs):
        raise refuse("model-malformed", f"{count} scanned inputs of {len(step.inputs)}", step.where)
    states = len(step.inputs) - count
    lengths = set()
    for number, name in enumerate(step.inputs[states:]):
        shape = graph.types[name].shape
        lengths.add(shape[_listed(step, "scan_input_axes", number, count, len(shape))])
    if len(lengths) != 1:
        raise refuse("model-malformed", f"its scanned inputs have {sorted(lengths)} slices", step.where)
    step.limit = lengths.pop()
    step.carried = list(step.inputs[:states])
    _fits(step, len(step.body.outputs))


def _fits(step: Step, yielded: int) -> None:
    if yielded < len(step.carried) or yielded != len(step.outputs):
        raise refuse("model-malformed", f"its body yields {yielded} values, not {len(step.outputs)}", step.where)
    step.collected = [[] for _ in range(yielded - len(step.carried))]


def _listed(step: Step, name: str, number: int, count: int, rank: int) -> int:
    """The axis of a scanned value, 0 unless said otherwise."""
    axes = step.ints(name) or (0,) * count
    if len(axes) != count or not -rank <= axes[number] < rank:
        raise refuse("model-malformed", f"{name} does not fit its operands", step.where)
    return axes[number] % rank


def _backwards(step: Step, name: str, number: int, count: int) -> bool:
    directions = step.ints(name) or (0,) * count
    if len(directions) != count or set(directions) - {0, 1}:
        raise refuse("model-malformed", f"{name} does not fit its operands", step.where)
    return directions[number] == 1


def _goes_on(graph: Graph, step: Step) -> bool:
    if not step.condition:
        if step.limit is None:
            raise refuse("model-control-flow", "the loop never ends", step.where, HINT)
        return True
    array = graph.constants.get(step.condition)
    if array is None:
        raise refuse("model-control-flow", "whether the loop goes on depends on the data", step.where, HINT)
    if array.size != 1 or array.dtype.kind != "b":
        raise refuse("model-malformed", "its condition is not one boolean", step.where)
    return bool(array.reshape(-1)[0])


def _loop_values(graph: Graph, step: Step) -> tuple[list[Node], list[str]]:
    """Of a Loop's step: its number, that it goes on, and what is carried."""
    number = graph.constant(f"{step.name}_number", np.array(step.place, np.int64))
    going = graph.constant(f"{step.name}_going", np.array(True))
    return [], [number, going, *step.carried]


def _scan_slices(graph: Graph, step: Step) -> tuple[list[Node], list[str]]:
    """Of a Scan's step: what is carried, and its slice of each scanned input."""
    assert step.limit is not None
    states = len(step.carried)
    count = len(step.inputs) - states
    nodes, slices = [], []
    for number, name in enumerate(step.inputs[states:]):
        axis = _listed(step, "scan_input_axes", number, count, len(graph.types[name].shape))
        back = _backwards(step, "scan_input_directions", number, count)
        row = step.limit - 1 - step.place if back else step.place
        index = graph.constant(f"{step.name}_place", np.array(row, np.int64))
        result = graph.fresh(f"{step.name}_slice")
        nodes.append(Node("Gather", [name, index], [result], {"axis": axis}, result))
        slices.append(result)
    return nodes, [*step.carried, *slices]


def _ended(graph: Graph, step: Step) -> list[Node]:
    """The loop's results: what was carried last, and what the steps yielded, side by side."""
    nodes = [
        Node("Identity", [inner], [outer], {}, f"{step.name}_{number}")
        for number, (inner, outer) in enumerate(zip(step.carried, step.outputs, strict=False))
        if outer
    ]
    for number, (values, outer) in enumerate(zip(step.collected, step.outputs[len(step.carried) :], strict=True)):
        if not outer:
            continue
        if not values:
            raise refuse("model-malformed", "the loop runs no step, so its result is empty", step.where)
        axis, back = 0, False
        if step.op_type == "Scan":
            rank = len(graph.types[values[0]].shape) + 1
            axis = _listed(step, "scan_output_axes", number, len(step.collected), rank)
            back = _backwards(step, "scan_output_directions", number, len(step.collected))
        axes = graph.constant(f"{step.name}_axis", np.array([axis], np.int64))
        rows = [graph.fresh(f"{step.name}_row") for _ in values]
        for value, row in zip(values, rows, strict=True):
            nodes.append(Node("Unsqueeze", [value, axes], [row], {}, row))
        nodes.append(Node("Concat", rows[::-1] if back else rows, [outer], {"axis": axis}, f"{step.name}_{outer}"))
    return nodes
