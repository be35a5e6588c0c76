"""Writes one ONNX graph of a single row: float32 values of shape (1, width) in, the same out.

What the converters need and no more. Constants are float64 until the model is written, and rounded once. Linear parts take in
factors and constants that follow, and those that stand side by side are put together: five classifiers on one input are one
product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from verifai.onnx_graph.limits import IR_VERSION, OPSET

INPUT = "features"

Array = NDArray[Any]

_FLOAT = onnx.TensorProto.FLOAT
_CELLWISE = ("Sigmoid", "Tanh", "Relu", "Exp")
"""Operators that give the same cell by cell, whether the cells stand together or apart."""
_SMALL = 10.0


@dataclass(frozen=True, slots=True)
class Row:
    """A value of shape (1, ``width``), float32."""

    name: str
    width: int


@dataclass(slots=True)
class _Node:
    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)


def _rounded(array: Array) -> Array:
    """float64 as float32, infinite where that cannot hold it; canonicalisation refuses such a weight."""
    with np.errstate(over="ignore"):
        return array.astype(np.float32) if array.dtype == np.float64 else array


@dataclass(frozen=True, slots=True)
class _Linear:
    """operand · weightsᵀ + bias, with weights of shape (outputs, inputs)."""

    operand: str
    weights: Array
    bias: Array


class Writer:
    """The graph so far. Rows are values: no call changes what a row that was given out earlier means.

    Attributes:
        features: the model's input.
        notices: what a person should know about the conversion, one sentence each.
    """

    def __init__(self, width: int) -> None:
        self.features = Row(INPUT, width)
        self.notices: list[str] = []
        self._nodes: dict[str, _Node] = {}
        self._constants: dict[str, Array] = {}
        self._rows = {INPUT: self.features}
        # Nodes whose results were put together with what follows. They stay, since their rows may still be read; what
        # nothing reads in the end is left out of the model.
        self._replaced: set[str] = set()
        self._taken = {INPUT}

    def note(self, text: str) -> None:
        """Record a notice once."""
        if text not in self.notices:
            self.notices.append(text)

    # Values of any shape

    def constant(self, array: Any, base: str = "constant") -> str:
        """Add a constant: integers as int64, everything else as float32 (infinite where float32 cannot hold it)."""
        values = np.asarray(array)
        name = self._fresh(base)
        self._constants[name] = values.astype(np.int64 if values.dtype.kind in "iu" else np.float64)
        return name

    def node(self, op: str, inputs: Sequence[str], base: str = "", **attributes: Any) -> str:
        """Add an operator of the canonical opset with one output; returns that."""
        output = self._fresh(base or op.lower())
        self._nodes[output] = _Node(op, list(inputs), [output], attributes)
        return output

    def smallest(self, row: Row, count: int) -> str:
        """Indices, int64 of shape (1, count), of the smallest columns, the smallest first."""
        output = self._fresh("smallest")
        operands = [row.name, self.constant(np.array([count]), "count")]
        attributes = {"axis": 1, "largest": 0, "sorted": 1}
        self._nodes[output] = _Node("TopK", operands, [self._fresh("smallest_values"), output], attributes)
        return output

    # Rows

    def apply(self, op: str, *operands: Row | str, width: int | None = None, base: str = "", **attributes: Any) -> Row:
        """An operator on rows and constants; as wide as its widest row unless said otherwise."""
        names = [operand.name if isinstance(operand, Row) else operand for operand in operands]
        widths = [operand.width for operand in operands if isinstance(operand, Row)]
        row = Row(self.node(op, names, base, **attributes), max(widths) if width is None else width)
        self._rows[row.name] = row
        return row

    def add(self, row: Row, values: Any) -> Row:
        """Row + constants, one per column or one for all; in the bias where the row comes from a linear part."""
        if not np.any(values):
            return row
        return self._in_linear(row, 1.0, values) or self.apply("Add", row, self._vector(values))

    def subtract(self, row: Row, values: Any) -> Row:
        """Row − constants, as :meth:`add`."""
        if not np.any(values):
            return row
        return self._in_linear(row, 1.0, -np.asarray(values, dtype=np.float64)) or self.apply("Sub", row, self._vector(values))

    def multiply(self, row: Row, values: Any) -> Row:
        """Row · constants, one per column or one for all; in the weights where the row comes from a linear part."""
        if np.all(np.asarray(values) == 1):
            return row
        return self._in_linear(row, values, 0.0) or self.apply("Mul", row, self._vector(values))

    def _vector(self, values: Any) -> str:
        return self.constant(np.asarray(values, dtype=np.float64).reshape(-1))

    def linear(self, row: Row, weights: Array, bias: Any = None) -> Row:
        """row · weightsᵀ + bias, for ``weights`` of shape (outputs, row.width) and ``bias`` of shape (outputs,) or ().

        Two linear parts in a row are one, where that has no more weights than both.
        """
        matrix = np.asarray(weights, dtype=np.float64)
        shift = np.broadcast_to(np.asarray(0.0 if bias is None else bias, dtype=np.float64), (len(matrix),))
        before = self._linear_of(row)
        if before is not None and len(matrix) * before.weights.shape[1] <= matrix.size + before.weights.size:
            self._replaced.add(row.name)
            return self._gemm(before.operand, matrix @ before.weights, matrix @ before.bias + shift)
        return self._gemm(row.name, matrix, shift)

    def centred_linear(self, row: Row, middle: Array, weights: Array, bias: Any = 0.0) -> Row:
        """(row − middle) · weightsᵀ + bias; a middle so small that float32 loses nothing by it goes into the bias."""
        if np.abs(middle).max() <= _SMALL:
            return self.linear(row, weights, bias - weights @ middle)
        return self.linear(self.subtract(row, middle), weights, bias)

    def _gemm(self, operand: str, weights: Array, bias: Array) -> Row:
        operands = [operand, self.constant(np.ascontiguousarray(weights.T), "weight")]
        if np.any(bias):
            operands.append(self.constant(bias, "bias"))
        row = Row(self.node("Gemm", operands, "linear"), len(weights))
        self._rows[row.name] = row
        return row

    def _linear_of(self, row: Row) -> _Linear | None:
        """The linear part that makes the row, if nothing else reads the row yet."""
        node = self._unread(row, "Gemm")
        if node is None:
            return None
        weights = self._constants[node.inputs[1]].T
        bias = self._constants[node.inputs[2]] if len(node.inputs) > 2 else np.zeros(len(weights))
        return _Linear(node.inputs[0], weights, bias)

    def _in_linear(self, row: Row, factors: Any, shifts: Any) -> Row | None:
        """row · factors + shifts, put into the linear part that makes the row; ``None`` when none does."""
        found = self._linear_of(row)
        if found is None:
            return None
        self._replaced.add(row.name)
        factor = np.broadcast_to(np.asarray(factors, dtype=np.float64).reshape(-1), (row.width,))
        shift = np.asarray(shifts, dtype=np.float64).reshape(-1)
        return self._gemm(found.operand, factor[:, None] * found.weights, factor * found.bias + shift)

    def columns(self, row: Row, indices: Sequence[int] | Array) -> Row:
        """The columns of these indices, in this order."""
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        if np.array_equal(chosen, np.arange(row.width)):
            return row
        node = self._unread(row, "Gather")
        if node is not None and node.attributes.get("axis") == 1:
            self._replaced.add(row.name)
            return self.columns(self._rows[node.inputs[0]], self._constants[node.inputs[1]][chosen])
        return self.apply("Gather", row, self.constant(chosen, "columns"), width=len(chosen), base="columns", axis=1)

    def total(self, row: Row) -> Row:
        """The sum of the columns, of width 1."""
        return self.apply("ReduceSum", row, self.constant(np.array([1])), width=1, base="sum", keepdims=1)

    def softmax(self, row: Row) -> Row:
        """exp(row) over its sum."""
        return self.apply("Softmax", row, axis=1)

    def concatenate(self, rows: Sequence[Row]) -> Row:
        """The rows side by side; linear parts on one value, and functions cell by cell, are put together first."""
        if len(rows) == 1:
            return rows[0]
        return (
            self._merged_linear(rows)
            or self._merged_cellwise(rows)
            or self.apply("Concat", *rows, width=sum(row.width for row in rows), axis=1)
        )

    def two_sided(self, row: Row) -> Row:
        """[−s, s] for a row s of width 1; in the weights where s comes from a linear part."""
        return self._doubled(row, 0.0)

    def complement(self, row: Row) -> Row:
        """[1 − p, p] for a row p of width 1; a two-sided sigmoid where p is one."""
        logit = self.under_sigmoid(row)
        return self._doubled(row, 1.0) if logit is None else self.apply("Sigmoid", self.two_sided(logit))

    def under_sigmoid(self, row: Row) -> Row | None:
        """s for a row that is the sigmoid of s, and that nothing else reads yet."""
        node = self._unread(row, "Sigmoid")
        if node is None:
            return None
        self._replaced.add(row.name)
        return Row(node.inputs[0], row.width)

    def _doubled(self, row: Row, total: float) -> Row:
        """[total − s, s]."""
        found = self._linear_of(row)
        if found is None:
            return self._gemm(row.name, np.array([[-1.0], [1.0]]), np.array([total, 0.0]))
        self._replaced.add(row.name)
        weights, bias = found.weights, found.bias
        return self._gemm(found.operand, np.concatenate([-weights, weights]), np.concatenate([total - bias, bias]))

    def _merged_linear(self, rows: Sequence[Row]) -> Row | None:
        found = [part for part in (self._linear_of(row) for row in rows) if part is not None]
        if len(found) < len(rows) or len({part.operand for part in found}) > 1:
            return None
        self._replaced.update(row.name for row in rows)
        weights, bias = (np.concatenate([getattr(part, name) for part in found]) for name in ("weights", "bias"))
        return self._gemm(found[0].operand, weights, bias)

    def _merged_cellwise(self, rows: Sequence[Row]) -> Row | None:
        for op in _CELLWISE:
            nodes = [node for node in (self._unread(row, op) for row in rows) if node is not None]
            if len(nodes) == len(rows):
                self._replaced.update(row.name for row in rows)
                inner = [Row(node.inputs[0], row.width) for node, row in zip(nodes, rows, strict=True)]
                return self.apply(op, self.concatenate(inner))
        return None

    def _unread(self, row: Row, op: str) -> _Node | None:
        """The node that makes the row, if it is such an operator and nothing reads it yet."""
        node = self._nodes.get(row.name)
        return None if node is None or node.op != op or self._read(row.name) else node

    def _read(self, name: str) -> bool:
        """Whether a node reads the value; not counting nodes that were replaced, unless their own results are read again."""
        readers = [node.outputs[-1] for node in self._nodes.values() if name in node.inputs]
        return any(reader not in self._replaced or self._read(reader) for reader in readers)

    def _fresh(self, base: str) -> str:
        name, count = base, 1
        while name in self._taken:
            count += 1
            name = f"{base}_{count}"
        self._taken.add(name)
        return name

    def model(self, row: Row, output: str) -> bytes:
        """The ONNX file whose only output is ``row``, called ``output``."""
        named = self.node("Identity", [row.name], output)
        needed, kept = {named}, []
        for node in reversed(list(self._nodes.values())):  # the order in which they were added is topological
            if node.outputs[-1] in needed:
                kept.append(node)
                needed.update(node.inputs)
        nodes = [
            helper.make_node(node.op, node.inputs, node.outputs, name=node.outputs[-1], **node.attributes)
            for node in reversed(kept)
        ]
        constants = [
            numpy_helper.from_array(_rounded(array), name) for name, array in self._constants.items() if name in needed
        ]
        graph = helper.make_graph(
            nodes,
            "estimator",
            [helper.make_tensor_value_info(INPUT, _FLOAT, [1, self.features.width])],
            [helper.make_tensor_value_info(named, _FLOAT, [1, row.width])],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        return bytes(model.SerializeToString())
