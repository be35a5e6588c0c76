"""The Llama family as an ONNX graph, and as NumPy arithmetic to compare it with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from verifai.domain.tokenizer import NEXT_TOKENS
from verifai.exporters.language.architecture import Decoder
from verifai.exporters.language.graph import LOGITS, Floats, Writer


def rotations(sizes: Decoder, positions: int) -> tuple[Floats, Floats]:
    """Cosines and sines of shape (positions, head width): cell i of a head turns with cell i + half of it.

    Source: Su et al., RoFormer (arXiv:2104.09864), with the halves of a head as pairs, as in Hugging Face's code.
    """
    half = sizes.head_width // 2
    angles = np.arange(positions)[:, None] * sizes.theta ** (-np.arange(half) / half)
    both = np.concatenate([angles, angles], axis=1)
    return np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)


def build(sizes: Decoder, weights: Mapping[str, Floats], positions: int, *, logits: bool, prompt: int = 0) -> bytes:
    """The ONNX file: tokens → next tokens, both (1, positions); or, with ``logits``, these: (1, positions, vocabulary)."""
    writer = Writer(positions, prompt)
    embedding = writer.constant(weights["embed_tokens.weight"], "embedding.weight")
    stream = writer.rows(embedding)
    mask = writer.causal()
    for layer in range(sizes.layers):
        at, name = f"layers.{layer}.", f"layer_{layer}"
        normal = writer.rms_norm(stream, weights[f"{at}input_layernorm.weight"], sizes.epsilon, f"{name}.norm_1")
        mixed = _attention(writer, sizes, weights, at, name, normal, mask)
        back = writer.linear(
            mixed, weights[f"{at}self_attn.o_proj.weight"].T, weights.get(f"{at}self_attn.o_proj.bias"), f"{name}.o"
        )
        stream = writer.node("Add", [stream, back], f"{name}.stream_1")
        normal = writer.rms_norm(stream, weights[f"{at}post_attention_layernorm.weight"], sizes.epsilon, f"{name}.norm_2")
        gate = writer.linear(normal, weights[f"{at}mlp.gate_proj.weight"].T, None, f"{name}.gate")
        up = writer.linear(normal, weights[f"{at}mlp.up_proj.weight"].T, None, f"{name}.up")
        share = writer.node("Sigmoid", [gate], f"{name}.share")
        swish = writer.node("Mul", [gate, share], f"{name}.swish")
        inner = writer.node("Mul", [swish, up], f"{name}.inner")
        down = writer.linear(inner, weights[f"{at}mlp.down_proj.weight"].T, None, f"{name}.down")
        stream = writer.node("Add", [stream, down], f"{name}.stream_2")
    normal = writer.rms_norm(writer.answering(stream), weights["norm.weight"], sizes.epsilon, "final_norm")
    head = weights["embed_tokens.weight" if sizes.tied else "lm_head.weight"]
    scores = writer.linear(normal, head.T, None, "head")
    if logits:
        return writer.values(scores, LOGITS, (1, writer.answers, sizes.vocabulary))
    return writer.largest(scores, NEXT_TOKENS)


def _attention(
    writer: Writer, sizes: Decoder, weights: Mapping[str, Floats], at: str, name: str, normal: str, mask: str
) -> str:
    cosines, sines = rotations(sizes, writer.positions)
    turned = []
    for letter, heads in (("q", sizes.heads), ("k", sizes.kv_heads), ("v", sizes.kv_heads)):
        stem = f"{at}self_attn.{letter}_proj"
        flat = writer.linear(normal, weights[f"{stem}.weight"].T, weights.get(f"{stem}.bias"), f"{name}.{letter}")
        cells = writer.heads(flat, heads, sizes.head_width, f"{name}.{letter}")
        if letter != "v":
            cells = _rotated(writer, cells, sizes.head_width, cosines, sines, f"{name}.{letter}")
        if letter != "q" and sizes.heads != sizes.kv_heads:
            cells = _repeated(writer, cells, sizes, f"{name}.{letter}")
        turned.append(cells)
    return writer.attention(turned, mask, sizes.head_width, f"{name}.attention")


def _rotated(writer: Writer, value: str, width: int, cosines: Floats, sines: Floats, name: str) -> str:
    half = width // 2
    axis, start, middle, end = (
        writer.constant(np.array([number]), f"number_{number}" if number >= 0 else "last_axis")
        for number in (-1, 0, half, width)
    )
    low = writer.node("Slice", [value, start, middle, axis], f"{name}.low")
    high = writer.node("Slice", [value, middle, end, axis], f"{name}.high")
    negative = writer.node("Neg", [high], f"{name}.negative")
    crossed = writer.node("Concat", [negative, low], f"{name}.crossed", axis=-1)
    straight = writer.node("Mul", [value, writer.constant(cosines, "rotary_cosines")], f"{name}.straight")
    across = writer.node("Mul", [crossed, writer.constant(sines, "rotary_sines")], f"{name}.across")
    return writer.node("Add", [straight, across], f"{name}.rotated")


def _repeated(writer: Writer, value: str, sizes: Decoder, name: str) -> str:
    """Each head of keys or values for all query heads of its group."""
    groups, positions, width = sizes.heads // sizes.kv_heads, writer.positions, sizes.head_width
    apart = writer.reshape(value, (1, sizes.kv_heads, 1, positions, width), f"{name}.group")
    shape = writer.constant(np.array([1, sizes.kv_heads, groups, positions, width]), "grouped_shape")
    spread = writer.node("Expand", [apart, shape], f"{name}.spread")
    return writer.reshape(spread, (1, sizes.heads, positions, width), f"{name}.repeated")


def run(sizes: Decoder, weights: Mapping[str, Floats], tokens: np.ndarray) -> dict[str, Floats]:
    """The same in NumPy, float32, with the groups as an axis; one sequence of shape (1, positions)."""
    ids = tokens.reshape(-1)
    count, groups = len(ids), sizes.heads // sizes.kv_heads
    cosines, sines = rotations(sizes, count)
    future = np.triu(np.ones((count, count), bool), 1)
    zero: Floats = np.zeros(1, np.float32)

    def normal(cells: Floats, gain: Floats) -> Floats:
        result: Floats = cells / np.sqrt((cells * cells).mean(-1, keepdims=True) + np.float32(sizes.epsilon)) * gain
        return result

    def turn(cells: Floats) -> Floats:
        low, high = np.split(cells, 2, axis=-1)
        crossed: Floats = np.concatenate([-high, low], axis=-1)
        return cells * cosines + crossed * sines

    stream = weights["embed_tokens.weight"][ids]
    for layer in range(sizes.layers):
        at = f"layers.{layer}."
        here = normal(stream, weights[f"{at}input_layernorm.weight"])
        cells = {}
        for letter in "qkv":
            stem = f"{at}self_attn.{letter}_proj"
            flat = here @ weights[f"{stem}.weight"].T + weights.get(f"{stem}.bias", zero)
            cells[letter] = flat.reshape(count, sizes.kv_heads, -1, sizes.head_width).transpose(1, 2, 0, 3)
        scores = turn(cells["q"]) @ turn(cells["k"]).swapaxes(-1, -2) * np.float32(sizes.head_width**-0.5)
        scores = np.where(future, np.float32(-np.inf), scores)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = (shares @ cells["v"]).transpose(2, 0, 1, 3).reshape(count, sizes.kv_heads * groups * sizes.head_width)
        stem = f"{at}self_attn.o_proj"
        stream = stream + mixed @ weights[f"{stem}.weight"].T + weights.get(f"{stem}.bias", zero)
        here = normal(stream, weights[f"{at}post_attention_layernorm.weight"])
        gate = here @ weights[f"{at}mlp.gate_proj.weight"].T
        with np.errstate(over="ignore"):
            swish = gate / (1 + np.exp(-gate))
        inner = swish * (here @ weights[f"{at}mlp.up_proj.weight"].T)
        stream = stream + inner @ weights[f"{at}mlp.down_proj.weight"].T
    head = weights["embed_tokens.weight" if sizes.tied else "lm_head.weight"]
    return {LOGITS: (normal(stream, weights["norm.weight"]) @ head.T)[None]}
