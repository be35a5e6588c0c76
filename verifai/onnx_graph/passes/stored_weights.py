"""onnxruntime's operators that hold stored weights: MatMulNBits and DynamicQuantizeLSTM, as their real numbers.

Meaning as onnxruntime documents them (docs/ContribOperators.md). Both may round their activations to 8 bits as they run; the
export does not, as it does not for dynamic quantisation (docs/decisions/0618).
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.recurrent import unrolled
from verifai.onnx_graph.passes.stored_integers import keep
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array, checked_size

_BITS = (2, 4, 8)
_FLOAT32 = np.dtype(np.float32)


def matmul_nbits(graph: Graph, node: Node) -> list[Node]:
    """A·Wᵀ + bias, where W [N, K] is stored in blocks of each row, low bits of a byte first.

    Raises:
        UnsupportedModel: ``model-malformed``, ``model-unknown-operator``, ``model-size-bomb``.
    """
    rows, columns, block, bits = (node.integer(name, 0) for name in ("N", "K", "block_size", "bits"))
    bits = bits or 4
    blocks = -(-columns // block) if block > 0 else 0
    if bits not in _BITS or rows < 1 or columns < 1 or blocks < 1 or block * bits % 8:
        raise refuse("model-malformed", "its numbers of rows, columns, bits and blocks do not fit", node.where)
    checked_size([rows, blocks * block], _FLOAT32, node.where)
    stored = _given(graph, node, 1)
    if stored.dtype != np.uint8 or stored.size != rows * blocks * (block * bits // 8):
        raise refuse("model-malformed", f"its weights are {stored.dtype.name} of shape {stored.shape}", node.where)
    whole = _unpacked(stored.reshape(rows * blocks, -1), bits).reshape(rows, blocks, block)
    scales = _given(graph, node, 2)
    if scales.size != rows * blocks or scales.dtype.kind != "f":
        raise refuse("model-malformed", f"its scales are {scales.dtype.name} of shape {scales.shape}", node.where)
    zeros = _zeros(graph, node, rows, blocks, bits)
    real = (whole.astype(np.float32) - zeros) * scales.astype(np.float32).reshape(rows, blocks, 1)
    if len(node.inputs) > 4 and node.inputs[4]:
        raise refuse("model-unknown-operator", "its columns are in groups of an order of their own (g_idx)", node.where)
    weight = graph.constant(f"{node.name}_real", np.ascontiguousarray(real.reshape(rows, -1)[:, :columns].T))
    graph.halves = graph.halves or node.integer("accuracy_level", 0) > 1
    if len(node.inputs) > 5 and node.inputs[5]:
        product = graph.fresh(f"{node.name}_product")
        layer = Node("MatMul", [node.inputs[0], weight], [product], {}, f"{node.name}_product")
        return [layer, Node("Add", [product, node.inputs[5]], node.outputs, {}, f"{node.name}_bias")]
    return [Node("MatMul", [node.inputs[0], weight], node.outputs, {}, node.name)]


def _unpacked(packed: Array, bits: int) -> Array:
    """[rows, bytes] → [rows, cells], low bits first."""
    parts = [(packed >> shift) & ((1 << bits) - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(len(packed), -1)


def _zeros(graph: Graph, node: Node, rows: int, blocks: int, bits: int) -> Array:
    """Zero points [N, blocks, 1]: the middle by default, packed row by row, or given as real numbers."""
    if len(node.inputs) < 4 or not node.inputs[3]:
        return np.array(1 << (bits - 1), np.float32)
    given = _given(graph, node, 3)
    if given.dtype == np.uint8 and given.size == rows * (-(-blocks * bits // 8)):
        whole: Array = _unpacked(given.reshape(rows, -1), bits)[:, :blocks].astype(np.float32)
        return whole.reshape(rows, blocks, 1)
    if given.dtype.kind == "f" and given.size == rows * blocks:
        return given.astype(np.float32).reshape(rows, blocks, 1)
    raise refuse("model-malformed", f"its zero points are {given.dtype.name} of shape {given.shape}", node.where)


def dynamic_lstm(graph: Graph, node: Node) -> list[Node]:
    """An LSTM whose weights are stored, transposed, with a scale for each direction or each of its columns.

    Raises:
        UnsupportedModel: ``model-malformed``, ``model-unknown-operator``; as :func:`.recurrent.unrolled`.
    """
    inputs = [*node.inputs[:8]]
    for position, scale, zero in ((1, 8, 9), (2, 10, 11)):
        stored = _given(graph, node, position)
        if stored.ndim != 3 or stored.dtype not in (np.int8, np.uint8):
            raise refuse("model-malformed", f"its weights are {stored.dtype.name} of shape {stored.shape}", node.where)
        step, centre = (_by_column(_given(graph, node, at), stored, node) for at in (scale, zero))
        real = (stored.astype(np.float32) - centre) * step
        inputs[position] = graph.fresh(f"{node.name}_weights_{position}")
        keep(graph, inputs[position], np.ascontiguousarray(real.transpose(0, 2, 1)))
    graph.halves = True
    graph.note("A layer rounds its activations to 8 bits of their own range as it runs; the circuit does not.")
    while inputs and not inputs[-1]:
        inputs.pop()
    return unrolled(graph, Node("LSTM", inputs, node.outputs, node.attributes, node.name), 18)


def _by_column(values: Array, stored: Array, node: Node) -> Array:
    """Scales or zero points [directions] or [directions, columns], to broadcast with [directions, rows, columns]."""
    if values.shape not in ((stored.shape[0],), (stored.shape[0], stored.shape[2])):
        raise refuse("model-malformed", f"scales of shape {values.shape} do not fit its weights", node.where)
    return values.astype(np.float32).reshape(stored.shape[0], 1, -1)


def _given(graph: Graph, node: Node, position: int) -> Array:
    """A constant operand."""
    array = graph.constants.get(node.inputs[position]) if position < len(node.inputs) else None
    if array is None:
        raise refuse("model-unknown-operator", "its weights, scales and zero points must be constants", node.where)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise refuse("model-malformed", "a scale is infinite or not a number", node.where)
    return array
