"""onnxruntime's GroupQueryAttention: queries in groups over fewer heads of keys, causal, with rotary embeddings inside it."""

from __future__ import annotations

import math

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.attention import (
    NO_CACHE,
    Masks,
    Sizes,
    attend,
    future,
    heads_first,
    heads_last,
    with_past,
)
from verifai.onnx_graph.passes.rotary import rotated, rotation
from verifai.onnx_graph.passes.steps import Steps


def group_query_attention(graph: Graph, node: Node) -> list[Node]:
    """onnxruntime's GroupQueryAttention, causal, with the numbers of positions as constants. Raises UnsupportedModel."""
    steps = Steps(graph, node)
    heads, groups, shape = node.integer("num_heads", 0), node.integer("kv_num_heads", 0), steps.shape(0)
    if heads < 1 or groups < 1 or len(shape) != 3:
        raise steps.malformed(f"{heads} heads over {groups} of keys")
    lengths = graph.constants.get(steps.given(5))
    past = graph.types[steps.given(3)].shape if steps.given(3) else (shape[0], groups, 0, 0)
    if lengths is None or bool((lengths.reshape(-1) != past[2] + shape[1] - 1).any()):
        raise steps.cannot("numbers of positions that are computed, or fewer than there are (seqlens_k)", NO_CACHE)
    for name, zero in (("smooth_softmax", 0), ("k_quant_type", 0), ("v_quant_type", 0)):
        if node.attributes.get(name, zero) not in (zero, -1, b"NONE"):
            raise steps.cannot(f"its attribute {name}")
    if steps.given(11):
        raise steps.cannot("a sink per head (head_sink)")
    names, size = _grouped(steps, heads, groups, shape)
    if node.integer("do_rotary", 0):
        names = _turned(steps, names, size, past[2], shape)
    shapes: list[tuple[int, ...]] = [(shape[0], count, shape[1], size) for count in (heads, groups, groups)]
    names, seen = with_past(steps, names, shapes, steps.given(3), steps.given(4), steps.wanted(1), steps.wanted(2))
    sizes = Sizes(shape[0], heads, groups, shape[1], seen, size, size)
    masks = Masks(
        [steps.given(10)] if steps.given(10) else [],
        never=future(steps, shape[1], seen, past[2], node.integer("local_window_size", -1)),
    )
    scale = node.number("scale", 0.0) or 1 / math.sqrt(size)
    result, _ = attend(steps, names[0], names[1], names[2], sizes, scale, node.number("softcap", 0.0), masks)
    heads_last(steps, result, sizes, node.outputs[0])
    return steps.nodes


def _grouped(steps: Steps, heads: int, groups: int, shape: tuple[int, ...]) -> tuple[list[str], int]:
    """Queries, keys and values with heads apart, also where one tensor holds all three; and the size of a head."""
    if steps.given(1) and steps.given(2):
        given = [(steps.given(place), steps.shape(place)) for place in range(3)]
        size = shape[2] // heads
    else:
        size = shape[2] // (heads + 2 * groups)
        if size * (heads + 2 * groups) != shape[2]:
            raise steps.malformed(f"{heads} heads over {groups} of keys in a tensor of shape {list(shape)}")
        ends = np.cumsum([0, heads * size, groups * size, groups * size])
        last, given = steps.constant("last", np.array([2])), []
        for place in range(3):
            bounds = [steps.constant(f"part_{place}_{end}", np.array([ends[place + end]], np.int64)) for end in (0, 1)]
            width = int(ends[place + 1] - ends[place])
            given.append((steps.add("Slice", [steps.node.inputs[0], *bounds, last], "part"), (*shape[:2], width)))
    counts = (heads, groups, groups)
    return [
        heads_first(steps, name, kind, count, label) for (name, kind), count, label in zip(given, counts, "qkv", strict=True)
    ], size


def _turned(steps: Steps, names: list[str], size: int, before: int, shape: tuple[int, ...]) -> list[str]:
    """Queries and keys rotated by their positions, which follow those of the past or are given."""
    cos, sin = steps.given(7), steps.given(8)
    if not cos or not sin:
        raise steps.malformed("rotary embeddings without their tables")
    interleaved, width = bool(steps.node.integer("rotary_interleaved", 0)), 2 * (steps.shape(7) or (0,))[-1]
    tables = rotation(steps, cos, sin, size, width, interleaved)
    numbers = steps.given(9) or steps.constant("numbers", before + np.arange(shape[1])[None])
    tables = tuple(steps.add("Gather", [table, numbers], "rows", axis=0) for table in tables)
    middle = steps.constant("middle", np.array([1]))
    tables = tuple(steps.add("Unsqueeze", [table, middle], "per_head") for table in tables)
    return [*(rotated(steps, name, tables, size, width, interleaved) for name in names[:2]), names[2]]
