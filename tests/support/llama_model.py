"""A Llama in small, node by node as PyTorch's exporter writes it.

RMSNorm in parts, grouped-query attention with rotary positions and a causal mask, SwiGLU, a head tied to the embedding, the
largest logit of each position.
"""

from __future__ import annotations

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel


class _Graph:
    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, NDArray[np.generic]] = {}

    def constant(self, values: NDArray[np.generic] | float | list[int]) -> str:
        array = np.array(values, np.int64) if isinstance(values, list) else np.asarray(values, np.float32)
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def weight(self, inner: int, outer: int) -> str:
        return self.constant(self.random.uniform(-1, 1, (inner, outer)) / inner**0.5)

    def add(self, kind: str, *inputs: str, name: str = "", **attributes: object) -> str:
        out = name or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], name=out, **attributes))
        return out

    def norm(self, x: str, width: int) -> str:
        squares = self.add("ReduceMean", self.add("Pow", x, self.constant(2.0)), self.constant([-1]), keepdims=1)
        root = self.add("Sqrt", self.add("Add", squares, self.constant(1e-5)))
        unit = self.add("Mul", x, self.add("Div", self.constant(1.0), root))
        return self.add("Mul", self.constant(self.random.uniform(0.5, 1.5, width)), unit)

    def heads(self, x: str, count: int, size: int, tokens: int) -> str:
        return self.add("Transpose", self.add("Reshape", x, self.constant([1, tokens, count, size])), perm=[0, 2, 1, 3])

    def rotated(self, x: str, size: int, tokens: int) -> str:
        angles = np.outer(np.arange(tokens), 10000.0 ** -(np.arange(0, size, 2) / size))
        angles = np.concatenate([angles, angles], axis=1)
        ends = [self.constant([at]) for at in (0, size // 2, size, 3)]
        first, second = (self.add("Slice", x, ends[i], ends[i + 1], ends[3]) for i in (0, 1))
        half = self.add("Concat", self.add("Neg", second), first, axis=3)
        parts = self.add("Mul", x, self.constant(np.cos(angles))), self.add("Mul", half, self.constant(np.sin(angles)))
        return self.add("Add", *parts)

    def repeated(self, x: str, groups: int, times: int, size: int, tokens: int) -> str:
        wide = self.add("Unsqueeze", x, self.constant([2]))
        wide = self.add("Expand", wide, self.constant([1, groups, times, tokens, size]))
        return self.add("Reshape", wide, self.constant([1, groups * times, tokens, size]))

    def attention(self, x: str, width: int, heads: int, groups: int, tokens: int) -> str:
        size = width // heads
        q = self.heads(self.add("MatMul", x, self.weight(width, width)), heads, size, tokens)
        k, v = (self.heads(self.add("MatMul", x, self.weight(width, groups * size)), groups, size, tokens) for _ in range(2))
        q, k = self.rotated(q, size, tokens), self.rotated(k, size, tokens)
        k, v = (self.repeated(one, groups, heads // groups, size, tokens) for one in (k, v))
        scores = self.add("MatMul", q, self.add("Transpose", k, perm=[0, 1, 3, 2]))
        scores = self.add("Div", scores, self.constant(size**0.5))
        mask = np.triu(np.full((tokens, tokens), np.finfo(np.float32).min), 1)
        weights = self.add("Softmax", self.add("Add", scores, self.constant(mask)), axis=-1)
        mixed = self.add("Transpose", self.add("MatMul", weights, v), perm=[0, 2, 1, 3])
        return self.add("MatMul", self.add("Reshape", mixed, self.constant([1, tokens, width])), self.weight(width, width))

    def gated(self, x: str, width: int, inner: int, massive: float) -> str:
        gate, up = (self.add("MatMul", x, self.weight(width, inner)) for _ in range(2))
        product = self.add("Mul", self.add("Mul", gate, self.add("Sigmoid", gate)), up)
        down = self.random.uniform(-1, 1, (inner, width)) / inner**0.5
        down[:, 0] *= massive
        return self.add("MatMul", product, self.constant(down))


def llama(
    *, vocabulary: int = 300, width: int = 16, heads: int = 4, groups: int = 2, inner: int = 24, tokens: int = 6,
    layers: int = 2, massive: float = 1.0, seed: int = 4,
) -> OnnxModel:  # fmt: skip
    """``massive``: how many times larger the first cell of what the first layer adds to the residual stream is."""
    g = _Graph(seed)
    table = g.random.uniform(-1, 1, (vocabulary, width))
    x = g.add("Gather", g.constant(table), "ids")
    for layer in range(layers):
        x = g.add("Add", x, g.attention(g.norm(x, width), width, heads, groups, tokens))
        x = g.add("Add", x, g.gated(g.norm(x, width), width, inner, massive if layer == 0 else 1.0))
    logits = g.add("MatMul", g.norm(x, width), g.constant(np.ascontiguousarray(table.T)))
    g.add("ArgMax", logits, name="next", axis=-1, keepdims=0)
    graph = helper.make_graph(
        g.nodes,
        "llama",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, (1, tokens))],
        [helper.make_tensor_value_info("next", TensorProto.INT64, (1, tokens))],
        [numpy_helper.from_array(array, name) for name, array in g.constants.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return canonicalise(proto.SerializeToString(), where="llama").model
