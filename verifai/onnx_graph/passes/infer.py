"""Static types of every value, constants folded on the way: one walk in topological order.

Each node's output shapes are known, and within the limits, before anything of that size is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

import numpy as np
import onnx
from onnx import TypeProto, helper, shape_inference

from verifai.onnx_graph.graph import Graph, Node, TensorType, node_proto
from verifai.onnx_graph.limits import (
    IR_VERSION,
    MAX_FOLDED_BYTES,
    MAX_FOLDED_TOTAL_BYTES,
    MAX_FOLDS,
    MAX_TOTAL_BYTES,
    OPSET,
    SMALL_TOTAL_BYTES,
    TOTAL_PER_WEIGHT_BYTE,
)
from verifai.onnx_graph.passes.branches import enter_branch
from verifai.onnx_graph.passes.contributed import DOMAIN as CONTRIBUTED
from verifai.onnx_graph.passes.fold import evaluate, foldable, foldable_alone
from verifai.onnx_graph.passes.loops import Step, enter_loop, go_on
from verifai.onnx_graph.passes.stored_integers import require_dequantised
from verifai.onnx_graph.passes.upgrade import upgrade
from verifai.onnx_graph.refusal import printable, refuse
from verifai.onnx_graph.tensors import ELEMENT_TYPES, checked_size, element_dtype, from_array

_HINT_CELLS = 4096
"""Constants up to this size are shown to shape inference: shapes, axes, pads, repeats."""

_TYPE_NAMES = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.float16): "float16",
    np.dtype(np.bool_): "bool",
}
_OPSETS = [helper.make_opsetid("", OPSET)]


def infer(graph: Graph, opsets: Mapping[str, int]) -> None:
    """Bring each node to the canonical opset, type its outputs, fold what is constant.

    Raises:
        UnsupportedModel: ``model-size-bomb``, ``model-dynamic-shape``, ``model-malformed``, ``model-dtype``,
            ``model-unknown-operator``; the node is named.
    """
    graph.pending, graph.nodes = graph.nodes[::-1], []
    graph.types = {**graph.inputs}
    for name, array in graph.constants.items():
        graph.types[name] = TensorType(array.dtype, array.shape)
    budget = _Budget(sum(array.nbytes for array in graph.constants.values()))
    budget.charge(sum(kind.nbytes for kind in graph.inputs.values()), "the inputs")
    while graph.pending:
        node = graph.pending.pop()
        if isinstance(node, Step) or node.branches:
            for fresh in _opened(graph, node, opsets[""], budget):
                _take(graph, fresh, budget)
            continue
        # Before it is rewritten, since rewriting relies on the operator's own rules.
        if not require_dequantised(graph, node) and node.domain != CONTRIBUTED:
            _check_operand_types(graph, node, onnx.defs.get_schema(node.op_type, opsets[node.domain], node.domain))
        known = len(graph.constants)
        for fresh in upgrade(graph, node, opsets[""]):
            _take(graph, fresh, budget)
        made = islice(reversed(graph.constants), max(0, len(graph.constants) - known))
        budget.charge(sum(graph.constants[name].nbytes for name in made), node.where)


def _opened(graph: Graph, node: Node, opset: int, budget: _Budget) -> list[Node]:
    """What is inside an ``If`` or a loop is put in front of those pending. Returns nodes of the canonical opset before it."""
    first: list[Node] = []
    if isinstance(node, Step):
        return go_on(graph, node)
    if node.op_type == "If":
        size = enter_branch(graph, node)
    else:
        size, first = enter_loop(graph, node, opset)
    budget.charge(size, node.where)
    return first


def _take(graph: Graph, node: Node, budget: _Budget) -> None:
    """Type a node of the canonical opset; keep it unless it is constant."""
    budget.charge(_type_node(graph, node), node.where)
    if not _fold(graph, node, budget):
        graph.nodes.append(node)


class _Budget:
    """What one model may still use."""

    def __init__(self, weights: int) -> None:
        self._used = weights
        self._limit = min(MAX_TOTAL_BYTES, max(SMALL_TOTAL_BYTES, TOTAL_PER_WEIGHT_BYTE * weights))
        self._folds = 0
        self._grown = 0

    def charge(self, size: int, where: str) -> None:
        """Count a value. Raises UnsupportedModel (``model-size-bomb``)."""
        self._used += size
        if self._used > self._limit:
            raise refuse(
                "model-size-bomb",
                f"all values up to here need {self._used:,} bytes; the limit is {self._limit:,}",
                where,
                "Use a smaller batch (`verifai export MODEL -o FILE --dim NAME=SIZE`), or a part of the model.",
            )

    def fold(self, growth: int, where: str) -> None:
        """Count an evaluated expression. Raises UnsupportedModel (``model-size-bomb``)."""
        self._folds += 1
        self._grown += max(growth, 0)
        if self._folds > MAX_FOLDS or self._grown > MAX_FOLDED_TOTAL_BYTES:
            raise refuse("model-size-bomb", "too many constant expressions", where, "Store their results as weights.")


def _type_node(graph: Graph, node: Node) -> int:
    """Add the types of the node's outputs; returns their size in bytes."""
    schema = _schema_of(node)
    _check_operand_types(graph, node, schema)
    if node.op_type in ("Shape", "Size"):
        graph.types[node.outputs[0]] = TensorType(np.dtype(np.int64), _shape_of_shape(graph, node))
        return 0
    _guard_inference(graph, node)
    inferred = _infer_outputs(graph, node, schema)
    size = 0
    for name in node.outputs:
        if not name:
            continue
        kind = _static(inferred.get(name), node, name)
        if kind is None and _bounded(graph, node):
            continue
        if kind is None:
            raise refuse(
                "model-dynamic-shape",
                f"the shape of its output {printable(name)!r} depends on the data",
                node.where,
                "Make every shape constant: replace boolean indexing, nonzero and reshapes computed from values.",
            )
        graph.types[name] = kind
        size += kind.nbytes
    return size


def _guard_inference(graph: Graph, node: Node) -> None:
    """Refuse what ONNX's shape inference (1.23) reads or writes outside its memory for; found by trying random graphs.

    ``tests/unit/onnx_graph/test_random_graphs.py`` keeps looking.
    """
    ranks = [len(graph.types[name].shape) for name in node.inputs if name]
    largest = max(ranks, default=0)
    axes = [node.attributes[name] for name in ("axis", "batch_axis", "time_axis") if name in node.attributes]
    axes += list(node.ints("axes") or ())
    # One beyond the rank is a legal axis of Flatten and OneHot; the operators' own bounds are checked by inference itself.
    if any(isinstance(axis, int) and not -largest - 1 <= axis <= largest for axis in axes):
        raise refuse("model-malformed", f"an axis beyond the {largest} of its operands", node.where)
    if not 0 <= node.integer("batch_dims", 0) <= min(ranks, default=0):
        raise refuse("model-malformed", f"batch_dims {node.integer('batch_dims', 0)} does not fit its operands", node.where)
    if node.op_type == "LayerNormalization" and not -ranks[0] <= node.integer("axis", -1) < ranks[0]:
        raise refuse("model-malformed", f"axis {node.integer('axis', -1)} of a tensor of {ranks[0]} axes", node.where)
    if node.op_type == "Split":
        sizes = graph.constants.get(node.inputs[1]) if len(node.inputs) > 1 else None
        counts = [node.attributes.get("num_outputs"), None if sizes is None else sizes.size]
        if any(count not in (None, len(node.outputs)) for count in counts):
            raise refuse("model-malformed", f"{len(node.outputs)} outputs do not fit the parts asked for", node.where)


def _schema_of(node: Node) -> onnx.defs.OpSchema:
    try:
        schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    except onnx.defs.SchemaError:
        raise refuse(
            "model-unknown-operator",
            f"the operator has no equivalent in opset {OPSET}",
            node.where,
            "Export the model with opset 18.",
        ) from None
    for name in node.attributes:
        if name not in schema.attributes:
            raise refuse("model-unknown-operator", f"the attribute {name!r} has no equivalent in opset {OPSET}", node.where)
    if not schema.min_input <= len(node.inputs) <= schema.max_input:
        raise refuse("model-malformed", f"{len(node.inputs)} inputs: not a form of this operator", node.where)
    if not schema.min_output <= len(node.outputs) <= schema.max_output:
        raise refuse("model-malformed", f"{len(node.outputs)} outputs: not a form of this operator", node.where)
    return schema


def _type_name(dtype: np.dtype[Any]) -> str:
    return f"tensor({_TYPE_NAMES.get(dtype, dtype.name)})"


def _check_operand_types(graph: Graph, node: Node, schema: onnx.defs.OpSchema) -> None:
    """Shape inference does not check operand types, and onnxruntime's message for a wrong one names no node."""
    allowed = {c.type_param_str: set(c.allowed_type_strs) for c in schema.type_constraints}
    bound: dict[str, str] = {}
    for index, name in enumerate(node.inputs):
        if not name:
            continue
        formal = schema.inputs[min(index, len(schema.inputs) - 1)]
        actual = _type_name(graph.types[name].dtype)
        if actual not in allowed.get(formal.type_str, {formal.type_str}):
            raise refuse("model-dtype", f"its input {formal.name!r} cannot be {actual}", node.where)
        if formal.is_homogeneous and bound.setdefault(formal.type_str, actual) != actual:
            raise refuse("model-dtype", f"its inputs mix {bound[formal.type_str]} and {actual}", node.where)


def _shape_of_shape(graph: Graph, node: Node) -> tuple[int, ...]:
    return () if node.op_type == "Size" else (len(_shape_values(graph, node)),)


def _shape_values(graph: Graph, node: Node) -> tuple[int, ...]:
    start = node.integer("start", 0)
    end = node.attributes.get("end")
    return graph.types[node.inputs[0]].shape[start : end if isinstance(end, int) else None]


def _infer_outputs(graph: Graph, node: Node, schema: onnx.defs.OpSchema) -> dict[str, TypeProto]:
    kinds: dict[str, TypeProto] = {}
    hints: dict[str, onnx.TensorProto] = {}
    for name in node.inputs:
        if not name:
            continue
        kind = graph.types[name]
        kinds[name] = helper.make_tensor_type_proto(ELEMENT_TYPES[kind.dtype], list(kind.shape))
        array = graph.constants.get(name)
        if array is not None and array.size <= _HINT_CELLS:
            hints[name] = from_array(array, name)
    try:
        return shape_inference.infer_node_outputs(
            schema, node_proto(node), kinds, hints, opset_imports=_OPSETS, ir_version=IR_VERSION
        )
    except (shape_inference.InferenceError, onnx.checker.ValidationError, RuntimeError, ValueError, IndexError) as problem:
        text = " ".join(str(problem).split())
        raise refuse("model-malformed", f"its operands do not fit: {printable(text, 200)}", node.where) from None


def _static(kind: TypeProto | None, node: Node, name: str) -> TensorType | None:
    if kind is None or not kind.HasField("tensor_type"):
        return None
    where = f"{node.where}, output {printable(name)!r}"
    tensor = kind.tensor_type
    if not tensor.HasField("shape") or not all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        return None
    dtype = element_dtype(tensor.elem_type, where)
    shape = [dim.dim_value for dim in tensor.shape.dim]
    checked_size(shape, dtype, where)
    return TensorType(dtype, tuple(shape))


def _bounded(graph: Graph, node: Node) -> bool:
    """Whether a result of unknown shape is at most a small multiple of constant operands, so that folding is safe."""
    return (
        node.op_type == "NonZero"
        and node.inputs[0] in graph.constants
        and graph.types[node.inputs[0]].nbytes <= MAX_FOLDED_BYTES
    )


def _fold(graph: Graph, node: Node, budget: _Budget) -> bool:
    """Replace the node by constants where it depends on no input."""
    if node.op_type == "Shape":
        graph.constants[node.outputs[0]] = np.array(_shape_values(graph, node), dtype=np.int64)
        return True
    if node.op_type == "Size":
        graph.constants[node.outputs[0]] = np.array(np.prod(graph.types[node.inputs[0]].shape, dtype=np.int64))
        return True
    if not all(name in graph.constants for name in node.inputs if name):
        return False
    operands = {name: graph.constants[name] for name in node.inputs if name}
    if not foldable(node) and not foldable_alone(node, operands):
        return False
    size = sum(graph.types[name].nbytes for name in node.outputs if name in graph.types)
    given = sum(array.nbytes for array in operands.values())
    if size > max(MAX_FOLDED_BYTES, given):
        return False
    budget.fold(size - given, node.where)
    for name, array in evaluate(node, operands).items():
        graph.constants[name] = array
        graph.types[name] = TensorType(array.dtype, array.shape)
    return True
