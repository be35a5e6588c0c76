"""Attention of the standard (opset 23) and of onnxruntime, as products and a softmax.

Meaning as the ONNX specification and onnxruntime (docs/ContribOperators.md) define them: y = softmax(q·kᵀ·scale + bias)·v per
head, heads of queries in groups over heads of keys. Tensors inside are [batch, heads, positions, size].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from verifai.onnx_graph.graph import Graph, Node
from verifai.onnx_graph.passes.masks import NEGLIGIBLE
from verifai.onnx_graph.passes.steps import Steps
from verifai.onnx_graph.tensors import ELEMENT_TYPES, Array, checked_size

_BOOL = ELEMENT_TYPES[np.dtype(np.bool_)]
_FLOAT = ELEMENT_TYPES[np.dtype(np.float32)]
NO_CACHE = "Export the model without a cache of keys and values (use_cache=False), or with one of a fixed length."


@dataclass(frozen=True)
class Sizes:
    """Of one attention: batch, heads of queries and of keys, positions asked and looked at, sizes of a head."""

    batch: int
    heads: int
    groups: int
    asked: int
    seen: int
    size: int
    value_size: int


@dataclass
class Masks:
    """What is added to the scores, and which cells are looked at.

    Attributes:
        added: values that broadcast to [batch, heads, asked, seen].
        kept: truth values that broadcast to it; empty where all are.
        never: constant truth values [asked, seen] of cells that no one looks at; ``None`` where there are none.
        nothing: whether a position that looks at no cell gets 0, as the standard's attention gives; else shares of all cells.
    """

    added: list[str]
    kept: str = ""
    never: Array | None = None
    nothing: bool = False


def attend(steps: Steps, q: str, k: str, v: str, sizes: Sizes, scale: float, softcap: float, masks: Masks) -> tuple[str, str]:
    """(result [batch, heads, asked, value size], scores before the softmax). Raises UnsupportedModel."""
    checked_size([sizes.batch, sizes.heads, sizes.asked, sizes.seen], np.dtype(np.float32), steps.node.where)
    if sizes.groups != sizes.heads:
        if sizes.heads % sizes.groups:
            raise steps.malformed(f"{sizes.heads} heads of queries over {sizes.groups} of keys")
        whose = steps.constant("groups", np.repeat(np.arange(sizes.groups), sizes.heads // sizes.groups))
        k, v = (steps.add("Gather", [x, whose], label, axis=1) for x, label in ((k, "keys"), (v, "values")))
    turned = steps.add("Transpose", [k], "turned", perm=(0, 1, 3, 2))
    scores = steps.add("MatMul", [q, turned], "products")
    scores = steps.add("Mul", [scores, steps.real("scale", scale)], "scores")
    if softcap:
        small = steps.add("Mul", [scores, steps.real("part", 1 / softcap)], "small")
        scores = steps.add("Mul", [steps.add("Tanh", [small], "cut"), steps.real("cap", softcap)], "capped")
    for number, mask in enumerate(masks.added):
        scores = steps.add("Add", [scores, mask], f"biased_{number}")
    masked = scores
    if masks.kept:
        kept = masks.kept
        if masks.never is not None:
            kept = steps.add("And", [kept, steps.constant("causal", ~masks.never)], "kept")
        masked = steps.add("Where", [kept, scores, steps.real("never", NEGLIGIBLE)], "masked")
    elif masks.never is not None:
        addend = np.where(masks.never, np.float32(NEGLIGIBLE), np.float32(0))
        masked = steps.add("Add", [scores, steps.constant("causal", addend)], "masked")
    p = steps.add("Softmax", [masked], "shares", axis=-1)
    if masks.kept and masks.nothing:
        bits = steps.add("Cast", [kept], "kept_bits", to=_FLOAT)
        some = steps.add(
            "ReduceMax", [bits, steps.constant("keys", np.array([-1]))], "some", keepdims=1, noop_with_empty_axes=0
        )
        p = steps.add("Mul", [p, some], "shares_or_nothing")
    return steps.add("MatMul", [p, v], "mixed"), scores


def future(steps: Steps, asked: int, seen: int, before: int, window: int = -1) -> Array:
    """Cells [asked, seen] that come after the position that asks, or too long before it; ``before`` positions precede it.

    Raises:
        UnsupportedModel: ``model-size-bomb``.
    """
    checked_size([asked, seen], np.dtype(np.int64), steps.node.where)
    gap = np.arange(seen)[None, :] - (np.arange(asked)[:, None] + before)
    never = gap > 0
    if window > 0:
        never = never | (gap <= -window)
    return never


def heads_first(steps: Steps, x: str, shape: tuple[int, ...], heads: int, label: str) -> str:
    """[batch, positions, heads · size] → [batch, heads, positions, size]. Raises UnsupportedModel."""
    if len(shape) != 3 or heads < 1 or shape[2] % heads:
        raise steps.malformed(f"a tensor of shape {list(shape)} for {heads} heads")
    apart = steps.reshaped(x, [shape[0], shape[1], heads, shape[2] // heads], f"{label}_apart")
    return steps.add("Transpose", [apart], label, perm=(0, 2, 1, 3))


def heads_last(steps: Steps, x: str, sizes: Sizes, result: str) -> None:
    """[batch, heads, positions, size] → [batch, positions, heads · size]."""
    turned = steps.add("Transpose", [x], "positions", perm=(0, 2, 1, 3))
    steps.reshaped(turned, [sizes.batch, sizes.asked, sizes.heads * sizes.value_size], "joined", result)


_KNOWN = frozenset(
    {"is_causal", "kv_num_heads", "q_num_heads", "qk_matmul_output_mode", "scale", "softcap", "softmax_precision"}
)


def attention(graph: Graph, node: Node, opset: int) -> list[Node]:
    """Attention of opsets 23 and 24. Raises UnsupportedModel."""
    steps = Steps(graph, node)
    # Opset 25 has windows of positions, -1 for none; whatever is not read would change the result.
    if odd := sorted(name for name, value in node.attributes.items() if name not in _KNOWN and value != -1):
        raise steps.cannot(f"the attribute {odd[0][:40]!r}", "Give a mask instead.")
    if steps.given(6):
        raise steps.cannot("numbers of positions that are not padding (nonpad_kv_seqlen)", "Give a mask instead.")
    if steps.wanted(3) and node.integer("qk_matmul_output_mode", 0):
        raise steps.cannot("an output of scores after their mask (qk_matmul_output_mode)")
    flat = len(steps.shape(0)) == 3
    names = [steps.given(place) for place in range(3)]
    shapes = [steps.shape(place) for place in range(3)]
    if flat:
        counts = [node.integer("q_num_heads", 0), *[node.integer("kv_num_heads", 0)] * 2]
        names = [
            heads_first(steps, name, shape, count, label)
            for name, shape, count, label in zip(names, shapes, counts, "qkv", strict=True)
        ]
        shapes = [(s[0], count, s[1], s[2] // count) for s, count in zip(shapes, counts, strict=True)]
    names, seen = with_past(steps, names, shapes, steps.given(4), steps.given(5), steps.wanted(1), steps.wanted(2))
    q, k, v = shapes
    if any(len(shape) != 4 for shape in shapes) or q[3] != k[3] or k[:3] != v[:3]:
        raise steps.malformed(f"queries, keys and values of shapes {', '.join(str(list(shape)) for shape in shapes)}")
    sizes = Sizes(q[0], q[1], k[1], q[2], seen, q[3], v[3])
    masks = Masks([], nothing=True)
    if steps.given(3):
        if graph.types[node.inputs[3]].shape[-1] != seen:
            raise steps.cannot("a mask shorter than what is looked at", "Give a mask of every position.")
        if graph.types[node.inputs[3]].dtype == np.bool_:
            masks.kept = steps.given(3)
        else:
            masks.added.append(steps.given(3))
    if node.integer("is_causal", 0):
        masks.never = future(steps, q[2], seen, seen - k[2])
    scale = node.number("scale", 0.0) or 1 / math.sqrt(q[3])
    if steps.wanted(3) and (node.number("softcap", 0.0) or masks.added):
        raise steps.cannot("an output of scores before their bias (qk_matmul_output)")
    result, scores = attend(steps, names[0], names[1], names[2], sizes, scale, node.number("softcap", 0.0), masks)
    if steps.wanted(3):
        steps.add("Identity", [scores], "asked_scores", steps.wanted(3))
    if flat:
        heads_last(steps, result, sizes, node.outputs[0])
    else:
        steps.add("Identity", [result], "result", node.outputs[0])
    return steps.nodes


def with_past(
    steps: Steps, names: list[str], shapes: list[tuple[int, ...]], past_k: str, past_v: str, present_k: str, present_v: str
) -> tuple[list[str], int]:
    """Keys and values with those from before, handed out where they are asked for; and how many positions they are."""
    q, k, v = names
    seen = shapes[1][2] if len(shapes[1]) == 4 else 0
    if bool(past_k) != bool(past_v):
        raise steps.malformed("keys or values of the past without the others")
    if past_k:
        kinds = [steps.graph.types[name].shape for name in (past_k, past_v)]
        if any(len(kind) != 4 for kind in kinds):
            raise steps.malformed("a past that has not four axes")
        k, v = (steps.add("Concat", [past, new], "present", axis=2) for past, new in ((past_k, k), (past_v, v)))
        seen += kinds[0][2]
    for inner, asked in ((k, present_k), (v, present_v)):
        if asked:
            steps.add("Identity", [inner], "handed_out", asked)
    return [q, k, v], seen


def key_mask(steps: Steps, position: int, batch: int, seen: int) -> str:
    """Truth values [batch, 1, 1 or asked, seen] of a mask as onnxruntime takes it: ones, or the number of positions."""
    name, shape = steps.given(position), steps.shape(position)
    if shape == (batch,):
        places = steps.constant("places", np.arange(seen, dtype=steps.graph.types[name].dtype)[None])
        count = steps.add("Unsqueeze", [name, steps.constant("last", np.array([1]))], "count")
        kept = steps.add("Less", [places, count], "inside")
    elif shape in ((batch, seen), (1, seen)) or (len(shape) == 3 and shape[-1] == seen):
        kept = steps.add("Cast", [name], "seen", to=_BOOL)
    else:
        raise steps.cannot(f"a mask of shape {list(shape)}", "Give a mask of zeros and ones of every position.")
    axes = np.array([1] if len(shape) == 3 else [1, 2])
    return steps.add("Unsqueeze", [kept, steps.constant("axes", axes)], "mask")


def plain_attention(graph: Graph, node: Node) -> list[Node]:
    """onnxruntime's Attention: queries, keys and values by one matrix. Raises UnsupportedModel."""
    steps = Steps(graph, node)
    shape, weight, heads = steps.shape(0), steps.shape(1), node.integer("num_heads", 0)
    if steps.given(4) or steps.wanted(1):
        raise steps.cannot("a cache of keys and values", NO_CACHE)
    if node.integer("do_rotary", 0):
        raise steps.cannot("rotary embeddings inside it (do_rotary)", "Optimise the model without that fusion.")
    if len(weight) != 2:
        raise steps.malformed(f"weights of shape {list(weight)}")
    widths = list(node.ints("qkv_hidden_sizes") or [weight[-1] // 3] * 3)
    if len(shape) != 3 or len(widths) != 3 or sum(widths) != weight[-1] or heads < 1 or any(one % heads for one in widths):
        raise steps.malformed(f"weights of shape {list(weight)} for {heads} heads")
    x = steps.add("MatMul", node.inputs[:2], "projected")
    if steps.given(2):
        x = steps.add("Add", [x, steps.given(2)], "biased")
    ends = np.cumsum([0, *widths])
    last = steps.constant("last", np.array([2]))
    parts = []
    for place, label in enumerate("qkv"):
        bounds = [steps.constant(f"{label}_{end}", np.array([ends[place + end]], np.int64)) for end in (0, 1)]
        part = steps.add("Slice", [x, *bounds, last], f"{label}_part")
        parts.append(heads_first(steps, part, (shape[0], shape[1], widths[place]), heads, label))
    sizes = Sizes(shape[0], heads, heads, shape[1], shape[1], widths[0] // heads, widths[2] // heads)
    return _own(steps, parts, sizes, 3, 5)


def multi_head_attention(graph: Graph, node: Node) -> list[Node]:
    """onnxruntime's MultiHeadAttention: queries, keys and values given. Raises UnsupportedModel."""
    steps = Steps(graph, node)
    heads, q = node.integer("num_heads", 0), steps.shape(0)
    if len(q) != 3 or not steps.given(1) or not steps.given(2):
        raise steps.cannot("queries, keys and values packed into one tensor", "Give them apart.")
    if steps.given(8) or steps.given(9) or steps.wanted(3):
        raise steps.cannot("a cache of a length of its own", NO_CACHE)
    k, v = steps.shape(1), steps.shape(2)
    if heads < 1 or q[2] % heads or any(len(one) not in (3, 4) for one in (k, v)):
        raise steps.malformed(f"{heads} heads of queries of shape {list(q)}")
    names = node.inputs[:3]
    if steps.given(3):
        widths = [q[2], *(one[2] if len(one) == 3 else one[1] * one[3] for one in (k, v))]
        names = _biased(steps, names, widths, [q, k, v])
    shapes: list[tuple[int, ...]] = []
    for place, (name, shape) in enumerate(zip(names, (q, k, v), strict=True)):
        apart = len(shape) == 3
        names[place] = heads_first(steps, name, shape, heads, "qkv"[place]) if apart else name
        shapes.append((shape[0], heads, shape[1], shape[2] // heads) if apart else shape)
    names, seen = with_past(steps, names, shapes, steps.given(6), steps.given(7), steps.wanted(1), steps.wanted(2))
    sizes = Sizes(q[0], heads, heads, q[1], seen, q[2] // heads, shapes[2][3])
    return _own(steps, names, sizes, 4, 5)


def _biased(steps: Steps, names: list[str], widths: list[int], shapes: list[tuple[int, ...]]) -> list[str]:
    """Each with its part of the bias [q + k + v]."""
    ends, found = np.cumsum([0, *widths]), []
    first = steps.constant("first", np.array([0]))
    for place, name in enumerate(names):
        if len(shapes[place]) != 3:
            found.append(name)
            continue
        bounds = [steps.constant(f"bias_{place}_{end}", np.array([ends[place + end]], np.int64)) for end in (0, 1)]
        part = steps.add("Slice", [steps.given(3), *bounds, first], f"bias_{place}")
        found.append(steps.add("Add", [name, part], f"biased_{place}"))
    return found


def _own(steps: Steps, names: list[str], sizes: Sizes, mask: int, bias: int) -> list[Node]:
    """What onnxruntime's attentions have in common after heads are apart."""
    node = steps.node
    masks = Masks([steps.given(bias)] if steps.given(bias) else [])
    if steps.given(mask):
        masks.kept = key_mask(steps, mask, sizes.batch, sizes.seen)
    if node.integer("unidirectional", 0):
        masks.never = future(steps, sizes.asked, sizes.seen, sizes.seen - sizes.asked)
    scale = node.number("scale", 0.0) or 1 / math.sqrt(sizes.size)
    result, _ = attend(steps, names[0], names[1], names[2], sizes, scale, 0.0, masks)
    heads_last(steps, result, sizes, node.outputs[0])
    return steps.nodes
