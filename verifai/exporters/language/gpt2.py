"""GPT-2 as an ONNX graph, and as NumPy arithmetic to compare it with."""

from __future__ import annotations

from collections.abc import Mapping
from math import pi, sqrt

import numpy as np

from verifai.domain.tokenizer import NEXT_TOKENS
from verifai.exporters.language.architecture import Gpt2
from verifai.exporters.language.graph import LOGITS, Floats, Writer


def build(sizes: Gpt2, weights: Mapping[str, Floats], positions: int, *, logits: bool, prompt: int = 0) -> bytes:
    """The ONNX file: tokens → next tokens, both (1, positions); or, with ``logits``, these: (1, positions, vocabulary)."""
    writer = Writer(positions, prompt)
    width = sizes.width // sizes.heads
    embedding = writer.constant(weights["wte.weight"], "embedding.weight")
    rows = writer.rows(embedding)
    places = writer.constant(weights["wpe.weight"][None, :positions], "positions.weight")
    stream = writer.node("Add", [rows, places], "stream_0")
    mask = writer.causal()

    def linear(value: str, stem: str, name: str) -> str:
        return writer.linear(value, weights[f"{stem}.weight"], weights[f"{stem}.bias"], name)

    def norm(value: str, stem: str, name: str) -> str:
        return writer.layer_norm(value, weights[f"{stem}.weight"], weights[f"{stem}.bias"], sizes.epsilon, name)

    for layer in range(sizes.layers):
        at, name = f"h.{layer}.", f"layer_{layer}"
        normal = norm(stream, f"{at}ln_1", f"{name}.norm_1")
        parts = []
        for place, letter in enumerate("qkv"):
            cut = slice(place * sizes.width, (place + 1) * sizes.width)
            matrix, bias = weights[f"{at}attn.c_attn.weight"][:, cut], weights[f"{at}attn.c_attn.bias"][cut]
            flat = writer.linear(normal, matrix, bias, f"{name}.{letter}")
            parts.append(writer.heads(flat, sizes.heads, width, f"{name}.{letter}"))
        mixed = writer.attention(parts, mask, width, f"{name}.attention")
        stream = writer.node("Add", [stream, linear(mixed, f"{at}attn.c_proj", f"{name}.o")], f"{name}.stream_1")
        normal = norm(stream, f"{at}ln_2", f"{name}.norm_2")
        inner = _gelu(writer, linear(normal, f"{at}mlp.c_fc", f"{name}.up"), f"{name}.gelu")
        stream = writer.node("Add", [stream, linear(inner, f"{at}mlp.c_proj", f"{name}.down")], f"{name}.stream_2")
    normal = norm(writer.answering(stream), "ln_f", "final_norm")
    scores = writer.linear(normal, weights["wte.weight" if sizes.tied else "lm_head.weight"].T, None, "head")
    if logits:
        return writer.values(scores, LOGITS, (1, writer.answers, sizes.vocabulary))
    return writer.largest(scores, NEXT_TOKENS)


def _gelu(writer: Writer, value: str, name: str) -> str:
    """½x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))."""
    square = writer.node("Mul", [value, value], f"{name}.square")
    cube = writer.node("Mul", [square, value], f"{name}.cube")
    bent = writer.node("Mul", [cube, writer.number(0.044715, "gelu_cubic")], f"{name}.bent")
    inner = writer.node("Add", [value, bent], f"{name}.sum")
    scaled = writer.node("Mul", [inner, writer.number(sqrt(2 / pi), "gelu_scale")], f"{name}.scaled")
    tanh = writer.node("Tanh", [scaled], f"{name}.tanh")
    share = writer.node("Add", [tanh, writer.number(1.0, "one")], f"{name}.share")
    both = writer.node("Mul", [value, share], f"{name}.both")
    return writer.node("Mul", [both, writer.number(0.5, "half")], name)


def run(sizes: Gpt2, weights: Mapping[str, Floats], tokens: np.ndarray) -> dict[str, Floats]:
    """The same in NumPy, float32; one sequence of shape (1, positions)."""
    ids = tokens.reshape(-1)
    count, width = len(ids), sizes.width // sizes.heads
    future = np.triu(np.ones((count, count), bool), 1)

    def normal(cells: Floats, stem: str) -> Floats:
        centred = cells - cells.mean(-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(sizes.epsilon))
        result: Floats = centred / spread * weights[f"{stem}.weight"] + weights[f"{stem}.bias"]
        return result

    def linear(cells: Floats, stem: str) -> Floats:
        result: Floats = cells @ weights[f"{stem}.weight"] + weights[f"{stem}.bias"]
        return result

    stream = weights["wte.weight"][ids] + weights["wpe.weight"][:count]
    for layer in range(sizes.layers):
        at = f"h.{layer}."
        both = linear(normal(stream, f"{at}ln_1"), f"{at}attn.c_attn").reshape(count, 3, sizes.heads, width)
        query, key, value = both.transpose(1, 2, 0, 3)
        scores = np.where(future, np.float32(-np.inf), query @ key.swapaxes(-1, -2) * np.float32(width**-0.5))
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ value
        stream = stream + linear(mixed.transpose(1, 0, 2).reshape(count, -1), f"{at}attn.c_proj")
        up = linear(normal(stream, f"{at}ln_2"), f"{at}mlp.c_fc")
        inner = np.float32(0.5) * up * (1 + np.tanh(np.float32(sqrt(2 / pi)) * (up + np.float32(0.044715) * up**3)))
        stream = stream + linear(inner, f"{at}mlp.c_proj")
    return {LOGITS: (normal(stream, "ln_f") @ weights["wte.weight" if sizes.tied else "lm_head.weight"].T)[None]}
