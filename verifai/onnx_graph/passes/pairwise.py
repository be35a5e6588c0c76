"""A ``Scan`` that takes the distance of each row to each of another set of rows, as skl2onnx writes it, and ``CDist``.

Of squared Euclidean distances to constant rows, |x − s|² is written as |x|² − 2 x·s + |s|², measured from the rows' middle, so
that little cancels: a matrix product instead of a square per cell. All others are written out for all rows at once.
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Branch, Graph, Node
from verifai.onnx_graph.passes.branches import prepared
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array

_REDUCTIONS = frozenset({"ReduceL1", "ReduceL2", "ReduceMax", "ReduceSum", "ReduceSumSquare"})
_CELLWISE = frozenset({"Abs", "Sqrt"})
_DIRECTED = frozenset({"scan_input_axes", "scan_input_directions", "scan_output_axes", "scan_output_directions"})


def pairwise(graph: Graph, node: Node) -> tuple[int, list[Node]] | None:
    """The nodes of a ``Scan`` of that form; ``None`` for any other.

    Returns:
        The size of its constants in bytes, and its nodes, of the canonical opset.
    """
    branch = node.branches["body"]
    if len(node.inputs) != 2 or len(node.outputs) != 2 or node.integer("num_scan_inputs", 0) != 1:
        return None
    if any(any(node.ints(name) or ()) for name in _DIRECTED) or node.outputs[0] in _read(graph):
        return None
    if [len(graph.types[name].shape) for name in node.inputs] != [2, 2] or len(
        {graph.types[n].shape[1] for n in node.inputs}
    ) != 1:
        return None
    chain = _chain(graph, branch)
    if chain is None:
        return None
    _, size = prepared(graph, Branch([], branch.constants, []))
    writer = _Writer(graph, node)
    rows, points = node.inputs
    if [op for op, _ in chain] == ["Sub", "ReduceSumSquare"] and points in graph.constants:
        squares = writer.squares(rows, graph.constants[points])
        writer.add("Transpose", [squares], node.outputs[1], perm=(1, 0))
        return size, writer.nodes
    if [op for op, _ in chain] == ["Sub", "ReduceSumSquare"] and rows in graph.constants:
        writer.squares(points, graph.constants[rows], node.outputs[1])
        return size, writer.nodes
    value = writer.add("Sub", [rows, writer.add("Unsqueeze", [points, writer.axis(1)])])
    for number, (op, exponent) in enumerate(chain[1:]):
        output = node.outputs[1] if number == len(chain) - 2 else ""
        if op in _REDUCTIONS:
            value = writer.add(op, [value, writer.axis(2)], output, keepdims=0, noop_with_empty_axes=0)
        elif op == "Pow":
            value = writer.add(op, [value, graph.constant(f"{node.name}_exponent", np.array(exponent, np.float32))], output)
        else:
            value = writer.add(op, [value], output)
    return size, writer.nodes


def distances(graph: Graph, node: Node) -> list[Node]:
    """``CDist`` of ``com.microsoft``: (N, K) distances of N rows to K points. Raises UnsupportedModel."""
    metric = node.text("metric", "sqeuclidean")
    if metric not in ("euclidean", "sqeuclidean"):
        raise refuse("model-unknown-operator", f"the metric {metric[:40]!r}", node.where)
    rows, points = node.inputs
    writer = _Writer(graph, node)
    output = node.outputs[0] if metric == "sqeuclidean" else ""
    if points in graph.constants:
        squares = writer.squares(rows, graph.constants[points], output)
    elif rows in graph.constants:
        squares = writer.add("Transpose", [writer.squares(points, graph.constants[rows])], output, perm=(1, 0))
    else:
        gap = writer.add("Sub", [writer.add("Unsqueeze", [rows, writer.axis(1)]), points])
        squares = writer.add("ReduceSumSquare", [gap, writer.axis(2)], output, keepdims=0, noop_with_empty_axes=0)
    if metric == "euclidean":
        writer.add("Sqrt", [squares], node.outputs[0])
    return writer.nodes


def _read(graph: Graph) -> set[str]:
    return {*graph.outputs, *(name for node in graph.pending for name in node.inputs)}


def _chain(graph: Graph, branch: Branch) -> list[tuple[str, float]] | None:
    """The body's operators after each other, the first ``Sub`` and one of them a reduction over columns; else ``None``."""
    if len(branch.inputs) != 2 or len(branch.outputs) != 2 or any(node.branches or node.domain for node in branch.nodes):
        return None
    same = {name: name for name in branch.inputs}
    found: list[tuple[str, float]] = []
    value, reduced = "", False
    for node in branch.nodes:
        if node.op_type == "Identity":
            same[node.outputs[0]] = same.get(node.inputs[0], node.inputs[0])
            continue
        given = [same.get(name, name) for name in node.inputs]
        exponent = 0.0
        if not value:
            if node.op_type != "Sub" or sorted(given) != sorted(branch.inputs):
                return None
        elif node.op_type in _REDUCTIONS:
            if given[0] != value or reduced or _axes(graph, branch, node) not in ((1,), (-1,)) or node.integer("keepdims", 1):
                return None
            reduced = True
        elif node.op_type == "Pow" and given[0] == value and (array := _constant(graph, branch, given[1])) is not None:
            if array.size != 1:
                return None
            exponent = float(array.reshape(-1)[0])
        elif node.op_type not in _CELLWISE or given != [value]:
            return None
        # A gap may be taken from either side where its sign does not count.
        if found and found[-1][0] == "Sub" and given[0] == value and not _even(node.op_type, exponent):
            return None
        value = node.outputs[0]
        same[value] = value
        found.append((node.op_type, exponent))
    outputs = [same.get(name, name) for name in branch.outputs]
    return found if reduced and outputs == [branch.inputs[0], value] else None


def _even(op: str, exponent: float) -> bool:
    return op in ("Abs", "ReduceL1", "ReduceL2", "ReduceSumSquare") or (op == "Pow" and exponent % 2 == 0 and exponent > 0)


def _constant(graph: Graph, branch: Branch, name: str) -> Array | None:
    if name in branch.constants:
        return branch.constants[name]
    for node in branch.nodes:
        value = node.attributes.get("value")
        if node.op_type == "Constant" and name in node.outputs and isinstance(value, np.ndarray):
            return value
    return graph.constants.get(name)


def _axes(graph: Graph, branch: Branch, node: Node) -> tuple[int, ...] | None:
    if len(node.inputs) > 1:
        array = _constant(graph, branch, node.inputs[1])
        return None if array is None else tuple(int(one) for one in array.reshape(-1))
    return node.ints("axes")


class _Writer:
    """Nodes named after the operator that they stand for."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph, self._node = graph, node
        self.nodes: list[Node] = []

    def add(self, op: str, inputs: list[str], output: str = "", **attributes: int | float | tuple[int, ...]) -> str:
        name = self._graph.fresh(f"{self._node.name}_{op.lower()}")
        self.nodes.append(Node(op, inputs, [output or name], dict(attributes), name))
        return output or name

    def axis(self, axis: int) -> str:
        return self._graph.constant(f"{self._node.name}_axis", np.array([axis], np.int64))

    def squares(self, rows: str, points: Array, output: str = "") -> str:
        """(N, K) squared distances of N rows to K constant points."""
        points = points.astype(np.float64)
        middle = points.mean(axis=0)
        away = points - middle
        label = self._node.name
        constants = {
            "middle": middle, "weight": -2 * away.T, "bias": (away**2).sum(axis=1),
        }  # fmt: skip
        name = {
            key: self._graph.constant(f"{label}_{key}", np.ascontiguousarray(a, np.float32)) for key, a in constants.items()
        }
        centred = self.add("Sub", [rows, name["middle"]])
        square = self.add("Mul", [centred, centred])
        size = self.add("ReduceSum", [square, self.axis(1)], keepdims=1, noop_with_empty_axes=0)
        product = [centred, name["weight"], name["bias"]]
        rest = self.add("Gemm", product, alpha=1.0, beta=1.0, transA=0, transB=0)
        return self.add("Relu", [self.add("Add", [rest, size])], output)  # with rounding it may fall a little below 0
