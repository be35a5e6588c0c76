"""Writes the ONNX graph of a language model: nodes in order, weights as initializers, one output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from verifai.domain.tokenizer import PROMPT, TOKENS
from verifai.onnx_graph.limits import IR_VERSION, OPSET

LOGITS = "logits"
"""Output of a decoder where it is asked for: float32 of shape (1, positions, vocabulary)."""

Floats = NDArray[np.float32]

_FAR = -30000.0
"""Instead of a masked score: the exponential of its distance to any other is 0 in float32."""


class Writer:
    """The graph so far. ``prompt``: how many positions, from the first, are an input of their own; 0 where there is none."""

    def __init__(self, positions: int, prompt: int = 0) -> None:
        self.positions = positions
        self.prompt = prompt
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._taken: dict[str, int] = {}

    def constant(self, array: NDArray[Any], name: str) -> str:
        """Add a constant; the same name is the same constant."""
        if name not in self._constants:
            kind = onnx.TensorProto.FLOAT if array.dtype.kind == "f" else onnx.TensorProto.INT64
            array = np.ascontiguousarray(array, np.float32 if array.dtype.kind == "f" else np.int64)
            tensor = onnx.TensorProto(name=name, data_type=kind, dims=array.shape)
            tensor.raw_data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            self._constants[name] = tensor
        return name

    def number(self, value: float, name: str) -> str:
        """Add one real number."""
        return self.constant(np.array(value, np.float32), name)

    def node(self, op: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Add an operator with one output, named ``name`` (numbered where that is taken); returns that."""
        self._taken[name] = count = self._taken.get(name, 0) + 1
        output = name if count == 1 else f"{name}.{count}"
        self._nodes.append(helper.make_node(op, list(inputs), [output], name=output, **attributes))
        return output

    def rows(self, table: str) -> str:
        """The rows of a table that the tokens choose: (1, positions, width)."""
        if not self.prompt:
            return self.node("Gather", [table, TOKENS], "embedding", axis=0)
        parts = [self.node("Gather", [table, name], f"{name}_rows", axis=0) for name in (PROMPT, TOKENS)]
        return self.node("Concat", parts, "embedding", axis=1)

    def answering(self, value: str) -> str:
        """Of (1, positions, width), the positions whose next token is put out: all, or the prompt's last and those behind."""
        if not self.prompt:
            return value
        ends = (("first_answering", self.prompt - 1), ("positions", self.positions), ("position_axis", 1))
        return self.node("Slice", [value, *(self.constant(np.array([at]), name) for name, at in ends)], "answering")

    @property
    def answers(self) -> int:
        """How many positions :meth:`answering` has."""
        return self.positions - max(self.prompt - 1, 0)

    def reshape(self, value: str, shape: Sequence[int], name: str) -> str:
        """``value`` in another shape."""
        target = self.constant(np.array(shape), "shape_" + "_".join(str(size) for size in shape))
        return self.node("Reshape", [value, target], name)

    def linear(self, value: str, weights: Floats, bias: Floats | None, name: str) -> str:
        """value · weights + bias; ``weights`` of shape (inputs, outputs)."""
        result = self.node("MatMul", [value, self.constant(weights, f"{name}.weight")], f"{name}.product")
        return result if bias is None else self.node("Add", [result, self.constant(bias, f"{name}.bias")], name)

    def layer_norm(self, value: str, weights: Floats, bias: Floats, epsilon: float, name: str) -> str:
        """Layer normalisation over the last axis."""
        operands = [value, self.constant(weights, f"{name}.weight"), self.constant(bias, f"{name}.bias")]
        return self.node("LayerNormalization", operands, name, axis=-1, epsilon=epsilon)

    def rms_norm(self, value: str, weights: Floats, epsilon: float, name: str) -> str:
        """value / √(mean of squares + ε) · weights, over the last axis."""
        squares = self.node("Mul", [value, value], f"{name}.squares")
        axes = self.constant(np.array([-1]), "last_axis")
        mean = self.node("ReduceMean", [squares, axes], f"{name}.mean", keepdims=1)
        safe = self.node("Add", [mean, self.number(epsilon, "rms_epsilon")], f"{name}.safe")
        root = self.node("Sqrt", [safe], f"{name}.root")
        normal = self.node("Div", [value, root], f"{name}.normal")
        return self.node("Mul", [normal, self.constant(weights, f"{name}.weight")], name)

    def heads(self, value: str, heads: int, width: int, name: str) -> str:
        """(1, positions, heads·width) → (1, heads, positions, width)."""
        apart = self.reshape(value, (1, self.positions, heads, width), f"{name}.apart")
        return self.node("Transpose", [apart], f"{name}.heads", perm=(0, 2, 1, 3))

    def attention(self, parts: Sequence[str], mask: str, width: int, name: str, *, chosen: bool = False) -> str:
        """softmax(query·keyᵀ/√width)·value of the three ``parts``: (1, positions, heads·width).

        ``mask``: what is added to the scores; with ``chosen`` instead, where they stay and are not replaced by −30,000.
        """
        query, key, value = parts
        turned = self.node("Transpose", [key], f"{name}.key_transposed", perm=(0, 1, 3, 2))
        scores = self.node("MatMul", [query, turned], f"{name}.scores")
        scaled = self.node("Mul", [scores, self.number(width**-0.5, "attention_scale")], f"{name}.scaled")
        operands = [mask, scaled, self.number(_FAR, "far")] if chosen else [scaled, mask]
        masked = self.node("Where" if chosen else "Add", operands, f"{name}.masked")
        shares = self.node("Softmax", [masked], f"{name}.shares", axis=-1)
        mixed = self.node("MatMul", [shares, value], f"{name}.mixed")
        together = self.node("Transpose", [mixed], f"{name}.together", perm=(0, 2, 1, 3))
        return self.reshape(together, (1, self.positions, -1), f"{name}.flat")

    def causal(self) -> str:
        """The mask that keeps a position from what comes after it: (1, 1, positions, positions), 0 and −∞."""
        cells = np.triu(np.full((self.positions, self.positions), -np.inf, np.float32), 1)
        return self.constant(cells[None, None], "causal_mask")

    def values(self, result: str, name: str, shape: Sequence[int]) -> bytes:
        """The ONNX file with the one output ``result``, float32, under ``name``."""
        self._nodes.append(helper.make_node("Identity", [result], [name], name=name))
        return self._written(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, tuple(shape)))

    def largest(self, scores: str, name: str) -> bytes:
        """The ONNX file with the one output ``name``: per position the place of the largest of ``scores``, lowest on ties."""
        self.node("ArgMax", [scores], name, axis=-1, keepdims=0, select_last_index=0)
        return self._written(helper.make_tensor_value_info(name, onnx.TensorProto.INT64, (1, self.answers)))

    def _written(self, output: onnx.ValueInfoProto) -> bytes:
        graph = onnx.GraphProto(name="language_model", node=self._nodes, output=[output])
        # One by one, and let go of: the weights are large.
        while self._constants:
            graph.initializer.append(self._constants.pop(next(iter(self._constants))))
        for name, count in ((PROMPT, self.prompt), (TOKENS, self.positions - self.prompt)):
            if count:
                graph.input.append(helper.make_tensor_value_info(name, onnx.TensorProto.INT32, (1, count)))
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)])
        return bytes(model.SerializeToString())
