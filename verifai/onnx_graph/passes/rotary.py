"""Rotary embeddings, of the standard (opset 23) and of onnxruntime: pairs of cells turned by an angle of their place.

A pair (a, b) of a head becomes (a·cos − b·sin, b·cos + a·sin): x · factor + (partner of x) · factor of the partner.
"""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.attention import Sizes, heads_first, heads_last
from verifai.onnx_graph.passes.steps import Steps


def rotary_embedding(graph: Graph, node: Node, opset: int) -> list[Node]:
    """RotaryEmbedding of opset 23, and onnxruntime's, whose positions are its second operand. Raises UnsupportedModel."""
    del opset
    steps = Steps(graph, node)
    own = node.domain != ""
    cos, sin, places = (2, 3, 1) if own else (1, 2, 3)
    if own and node.integer("is_packed_batching", 0):
        raise steps.cannot("packed batches (is_packed_batching)")
    shape, x, heads = steps.shape(0), node.inputs[0], node.integer("num_heads", 0)
    flat = len(shape) == 3
    if flat:
        if not heads:
            heads = shape[2] // max(2 * (steps.shape(cos) or (0,))[-1], 1)
        x = heads_first(steps, x, shape, heads, "heads")
        shape = (shape[0], heads, shape[1], shape[2] // heads)
    if len(shape) != 4:
        raise steps.malformed(f"a tensor of shape {list(shape)}")
    width = node.integer("rotary_embedding_dim", 0) or shape[3]
    tables = rotation(steps, node.inputs[cos], node.inputs[sin], shape[3], width, bool(node.integer("interleaved", 0)))
    if steps.given(places):
        numbers = steps.given(places)
        if own and graph.types[numbers].shape == (1,):
            moves = steps.constant("steps", np.arange(shape[2])[None])
            numbers = steps.add("Add", [numbers, moves], "numbers")
        tables = tuple(steps.add("Gather", [table, numbers], "rows", axis=0) for table in tables)
    middle = steps.constant("middle", np.array([1]))
    tables = tuple(steps.add("Unsqueeze", [table, middle], "per_head") for table in tables)
    result = rotated(steps, x, tables, shape[3], width, bool(node.integer("interleaved", 0)))
    if flat:
        heads_last(steps, result, Sizes(shape[0], heads, heads, shape[2], shape[2], shape[3], shape[3]), node.outputs[0])
    else:
        steps.add("Identity", [result], "result", node.outputs[0])
    return steps.nodes


def rotation(steps: Steps, cos: str, sin: str, size: int, width: int, interleaved: bool) -> tuple[str, ...]:
    """Factors [.., size] of a cell and of its partner, from cosines and sines [.., width/2]. Raises UnsupportedModel."""
    half = width // 2
    if width % 2 or not 0 < width <= size or any(steps.graph.types[one].shape[-1:] != (half,) for one in (cos, sin)):
        raise steps.malformed(f"tables that do not fit a rotation of {width} of {size} cells")
    columns = np.arange(width) // 2 if interleaved else np.arange(width) % half
    signs = np.where(np.arange(width) % 2 == 0 if interleaved else np.arange(width) < half, -1.0, 1.0)
    own = steps.add("Gather", [cos, steps.constant("columns", columns)], "cosines", axis=-1)
    other = steps.add("Gather", [sin, steps.constant("columns", columns)], "sines", axis=-1)
    other = steps.add("Mul", [other, steps.constant("signs", signs.astype(np.float32))], "signed")
    if width < size:
        rank = len(steps.graph.types[cos].shape)
        pads = np.zeros(2 * rank, np.int64)
        pads[-1] = size - width
        wide = steps.constant("rest", pads)
        own = steps.add("Pad", [own, wide, steps.real("one", 1.0)], "own", mode=b"constant")
        other = steps.add("Pad", [other, wide, steps.real("zero", 0.0)], "other", mode=b"constant")
    return own, other


def rotated(steps: Steps, x: str, tables: tuple[str, ...], size: int, width: int, interleaved: bool) -> str:
    """x · factor + (partner of x) · factor of the partner."""
    cells = np.arange(width)
    partners = cells ^ 1 if interleaved else (cells + width // 2) % width
    order = np.concatenate([partners, np.arange(width, size)])
    partner = steps.add("Gather", [x, steps.constant("partners", order)], "partners", axis=-1)
    own = steps.add("Mul", [x, tables[0]], "kept")
    return steps.add("Add", [own, steps.add("Mul", [partner, tables[1]], "moved")], "rotated")
