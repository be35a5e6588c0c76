"""all-MiniLM-L6-v2 as an ONNX file, from the weights that its package ships: tokens to the mean of the last layer."""

from __future__ import annotations

import inspect
import json
import re
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TOKENS = 16


class _Graph:
    """Nodes with names of their own."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def weight(self, name: str, array: Any) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def number(self, value: float) -> str:
        return self.weight(f"number_{len(self.weights)}", np.float32(value))

    def ints(self, *values: int) -> str:
        return self.weight(f"ints_{len(self.weights)}", np.array(values, np.int64))


def _safetensors(data: bytes) -> dict[str, Any]:
    (size,) = struct.unpack("<Q", data[:8])
    head = json.loads(data[8 : 8 + size])
    head.pop("__metadata__", None)
    arrays = {}
    for name, entry in head.items():
        start, end = entry["data_offsets"]
        if entry["dtype"] == "F32":
            arrays[name] = np.frombuffer(data[8 + size + start : 8 + size + end], np.float32).reshape(entry["shape"])
    return arrays


def build(safetensors: bytes, config: Mapping[str, Any]) -> bytes:
    """The encoder with its embedding tables, as exporters write it."""
    w, g = _safetensors(safetensors), _Graph()
    heads, width = config["num_attention_heads"], config["hidden_size"]

    def norm(x: str, prefix: str) -> str:
        names = (g.weight(f"{prefix}.{part}", w[f"{prefix}.{part}"]) for part in ("weight", "bias"))
        return g.op("LayerNormalization", x, *names, axis=-1, epsilon=config["layer_norm_eps"])

    def linear(x: str, prefix: str) -> str:
        product = g.op("MatMul", x, g.weight(f"{prefix}.weight", w[f"{prefix}.weight"].T))
        return g.op("Add", product, g.weight(f"{prefix}.bias", w[f"{prefix}.bias"]))

    def split(x: str) -> str:
        return g.op("Transpose", g.op("Reshape", x, g.ints(1, TOKENS, heads, width // heads)), perm=[0, 2, 1, 3])

    table = "embeddings.word_embeddings.weight"
    x = g.op("Gather", g.weight(table, w[table]), "tokens", axis=0)
    places = w["embeddings.position_embeddings.weight"][:TOKENS] + w["embeddings.token_type_embeddings.weight"][0]
    x = norm(g.op("Add", x, g.weight("places", places)), "embeddings.LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        p = f"encoder.layer.{layer}."
        q, k, v = (split(linear(x, f"{p}attention.self.{part}")) for part in ("query", "key", "value"))
        scores = g.op("Div", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2])), g.number((width / heads) ** 0.5))
        mixed = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3])
        mixed = g.op("Reshape", mixed, g.ints(1, TOKENS, width))
        x = norm(g.op("Add", linear(mixed, p + "attention.output.dense"), x), p + "attention.output.LayerNorm")
        y = linear(x, p + "intermediate.dense")
        y = g.op(
            "Mul", g.op("Mul", y, g.op("Add", g.op("Erf", g.op("Div", y, g.number(2**0.5))), g.number(1.0))), g.number(0.5)
        )
        x = norm(g.op("Add", linear(y, p + "output.dense"), x), p + "output.LayerNorm")
    g.nodes.append(helper.make_node("ReduceMean", [x, g.ints(1)], ["sentence"], keepdims=0, name="mean"))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        g.nodes, "minilm", [value("tokens", TensorProto.INT64, [1, TOKENS])],
        [value("sentence", TensorProto.FLOAT, [1, width])], g.weights,
    )  # fmt: skip
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString())


def token_rows(tokenizer: Mapping[str, Any], count: int) -> Any:
    """Sentences of Python's documentation that the vocabulary has whole words for: int64 [count, 1, TOKENS]."""
    import argparse
    import collections
    import email
    import subprocess

    vocabulary = tokenizer["model"]["vocab"]
    rows = []
    for module in (subprocess, argparse, collections, email, json, inspect, re, struct):
        for _, thing in sorted(inspect.getmembers(module)):
            for sentence in re.split(r"\.\s", inspect.getdoc(thing) or ""):
                words = re.findall(r"[a-z]+|[.,;:()]", sentence.lower())
                if len(words) >= TOKENS - 2 and all(word in vocabulary for word in words[: TOKENS - 2]):
                    inner = [vocabulary[word] for word in words[: TOKENS - 2]]
                    rows.append([vocabulary["[CLS]"], *inner, vocabulary["[SEP]"]])
    unique = list(dict.fromkeys(map(tuple, rows)))[:count]
    return np.array(unique, np.int64)[:, None]
