"""BERT encoders as an ONNX graph, and as NumPy arithmetic to compare it with.

The model's one input are the tokens of a sentence. Which positions lie after its end is computed from them (they hold the
padding token), so that no second input could contradict the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt

import numpy as np
import onnx

from verifai.domain.tokenizer import TOKENS
from verifai.exporters.language.architecture import Encoder
from verifai.exporters.language.graph import Floats, Writer


def output(sizes: Encoder) -> str:
    """The output's name."""
    return "hidden" if sizes.pooling == "none" else "embedding"


def build(sizes: Encoder, weights: Mapping[str, Floats], positions: int) -> bytes:
    """The ONNX file: tokens (1, positions) → embedding (1, width), or hidden (1, positions, width) without pooling."""
    writer = Writer(positions)
    width = sizes.width // sizes.heads
    there = _there(writer, sizes)
    mask = writer.reshape(there, (1, 1, 1, positions), "there_keys")
    table = writer.constant(weights["embeddings.word_embeddings.weight"], "embedding.weight")
    rows = writer.node("Gather", [table, TOKENS], "rows", axis=0)
    stream = writer.node("Add", [rows, writer.constant(_places(weights, positions), "positions.weight")], "stream_0")

    def linear(value: str, stem: str, name: str) -> str:
        return writer.linear(value, weights[f"{stem}.weight"].T, weights[f"{stem}.bias"], name)

    def norm(value: str, stem: str, name: str) -> str:
        return writer.layer_norm(value, weights[f"{stem}.weight"], weights[f"{stem}.bias"], sizes.epsilon, name)

    stream = norm(stream, "embeddings.LayerNorm", "norm_0")
    for layer in range(sizes.layers):
        at, name = f"encoder.layer.{layer}.", f"layer_{layer}"
        parts = [
            writer.heads(linear(stream, f"{at}attention.self.{part}", f"{name}.{part}"), sizes.heads, width, f"{name}.{part}")
            for part in ("query", "key", "value")
        ]
        mixed = writer.attention(parts, mask, width, f"{name}.attention", chosen=True)
        stream = writer.node("Add", [stream, linear(mixed, f"{at}attention.output.dense", f"{name}.o")], f"{name}.sum_1")
        stream = norm(stream, f"{at}attention.output.LayerNorm", f"{name}.norm_1")
        inner = _gelu(writer, linear(stream, f"{at}intermediate.dense", f"{name}.up"), f"{name}.gelu")
        stream = writer.node("Add", [stream, linear(inner, f"{at}output.dense", f"{name}.down")], f"{name}.sum_2")
        stream = norm(stream, f"{at}output.LayerNorm", f"{name}.norm_2")
    if sizes.pooling == "none":
        return writer.values(stream, output(sizes), (1, positions, sizes.width))
    vector = _pooled(writer, sizes, stream, there)
    if sizes.normalise:
        length = writer.node("ReduceL2", [vector, writer.constant(np.array([-1]), "last_axis")], "length", keepdims=1)
        vector = writer.node("Div", [vector, length], "normalised")
    return writer.values(vector, output(sizes), (1, sizes.width))


def _there(writer: Writer, sizes: Encoder) -> str:
    """Whether a token is there, not padding: booleans (1, positions)."""
    pad = writer.node("Cast", [writer.constant(np.array(sizes.pad), "pad")], "pad_token", to=onnx.TensorProto.INT32)
    return writer.node("Not", [writer.node("Equal", [TOKENS, pad], "padding")], "there")


def _places(weights: Mapping[str, Floats], positions: int) -> Floats:
    """What is added to the rows of tokens: positions, and the first token type."""
    places = weights["embeddings.position_embeddings.weight"][:positions]
    return (places + weights["embeddings.token_type_embeddings.weight"][:1])[None]


def _gelu(writer: Writer, value: str, name: str) -> str:
    """½x·(1 + erf(x/√2))."""
    scaled = writer.node("Mul", [value, writer.number(sqrt(0.5), "gelu_scale")], f"{name}.scaled")
    error = writer.node("Erf", [scaled], f"{name}.erf")
    share = writer.node("Add", [error, writer.number(1.0, "one")], f"{name}.share")
    both = writer.node("Mul", [value, share], f"{name}.both")
    return writer.node("Mul", [both, writer.number(0.5, "half")], name)


def _pooled(writer: Writer, sizes: Encoder, stream: str, there: str) -> str:
    """One vector for the sentence: (1, width)."""
    if sizes.pooling == "cls":
        return writer.node("Gather", [stream, writer.constant(np.array(0), "first")], "first_token", axis=1)
    kept = writer.node("Cast", [there], "kept", to=onnx.TensorProto.FLOAT)
    row = writer.reshape(kept, (1, 1, writer.positions), "kept_row")
    total = writer.reshape(writer.node("MatMul", [row, stream], "total_row"), (1, sizes.width), "total")
    if sizes.normalise:
        return total  # dividing by the number of tokens does not change the direction
    axes = writer.constant(np.array([-1]), "last_axis")
    count = writer.node("ReduceSum", [kept, axes], "count", keepdims=1)
    return writer.node("Div", [total, count], "mean")


def run(sizes: Encoder, weights: Mapping[str, Floats], tokens: np.ndarray) -> dict[str, Floats]:
    """The same in NumPy, float32; one sentence of shape (1, positions). Positions after the end are left out, not masked."""
    from scipy.special import erf

    ids = tokens.reshape(-1)
    there = ids != sizes.pad
    count, width = len(ids), sizes.width // sizes.heads

    def normal(cells: Floats, stem: str) -> Floats:
        centred = cells - cells.mean(-1, keepdims=True)
        spread = np.sqrt((centred * centred).mean(-1, keepdims=True) + np.float32(sizes.epsilon))
        result: Floats = centred / spread * weights[f"{stem}.weight"] + weights[f"{stem}.bias"]
        return result

    def linear(cells: Floats, stem: str) -> Floats:
        result: Floats = cells @ weights[f"{stem}.weight"].T + weights[f"{stem}.bias"]
        return result

    places = weights["embeddings.position_embeddings.weight"][:count] + weights["embeddings.token_type_embeddings.weight"][0]
    stream = normal(weights["embeddings.word_embeddings.weight"][ids] + places, "embeddings.LayerNorm")
    for layer in range(sizes.layers):
        at = f"encoder.layer.{layer}."
        query, key, value = (
            linear(stream, f"{at}attention.self.{part}").reshape(count, sizes.heads, width).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = query @ key[:, there].swapaxes(-1, -2) * np.float32(width**-0.5)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (shares / shares.sum(-1, keepdims=True)) @ value[:, there]
        back = linear(mixed.swapaxes(0, 1).reshape(count, -1), f"{at}attention.output.dense")
        stream = normal(stream + back, f"{at}attention.output.LayerNorm")
        up = linear(stream, f"{at}intermediate.dense")
        inner = np.float32(0.5) * up * (1 + erf(up * np.float32(sqrt(0.5))))
        stream = normal(stream + linear(inner, f"{at}output.dense"), f"{at}output.LayerNorm")
    if sizes.pooling == "none":
        return {output(sizes): stream[None]}
    vector = stream[there].mean(0) if sizes.pooling == "mean" else stream[0]
    if sizes.normalise:
        vector = vector / np.sqrt((vector * vector).sum())
    return {output(sizes): vector[None]}
