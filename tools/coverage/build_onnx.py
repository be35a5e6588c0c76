"""Models written by hand with onnx.helper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tools.coverage.case import Array, Case, Data, Made, drawn

KINDS = {
    "float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "int32": TensorProto.INT32, "bool": TensorProto.BOOL,
    "float64": TensorProto.DOUBLE, "float16": TensorProto.FLOAT16, "uint8": TensorProto.UINT8, "int8": TensorProto.INT8,
}  # fmt: skip


class Writer:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.functions: list[onnx.FunctionProto] = []
        self.outputs: list[str] = []
        self.rng = np.random.default_rng(3)

    def add(self, op: str, *inputs: str, domain: str = "", count: int = 1, **attributes: Any) -> Any:
        """A node; its output's name, or a list of them."""
        outputs = [f"t{len(self.nodes)}_{at}" for at in range(count)]
        self.nodes.append(helper.make_node(op, list(inputs), outputs, domain=domain, **attributes))
        return outputs[0] if count == 1 else outputs

    def const(self, value: Any, dtype: str = "float32") -> str:
        """An initializer."""
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def ints(self, *values: int) -> str:
        """An initializer of int64."""
        return self.const(values, "int64")

    def weight(self, *shape: int, scale: float = 0.5) -> str:
        """Random weights."""
        return self.const(self.rng.standard_normal(shape) * scale)

    def ms(self, op: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        """A node of com.microsoft."""
        return self.add(op, *inputs, domain="com.microsoft", count=count, **attributes)


Body = Callable[[Writer], "str | Sequence[str]"]


def written(slug: str, opset: int, data: dict[str, Data], body: Body, work: Path) -> Made:
    """The file. Raises whatever onnx or onnxruntime raises where the model is none."""
    inputs = drawn(slug, data)
    writer = Writer()
    ends = body(writer)
    ends = [ends] if isinstance(ends, str) else list(ends)
    given = [helper.make_tensor_value_info(n, KINDS[a.dtype.name], a.shape[1:]) for n, a in inputs.items()]
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1), helper.make_opsetid("local", 1)]
    graph = helper.make_graph(writer.nodes, "g", given, [onnx.ValueInfoProto(name=n) for n in ends], writer.weights)
    model = helper.make_model(graph, opset_imports=opsets, functions=writer.functions, ir_version=10)
    path = work / "model.onnx"
    for info, kind in zip(graph.output, _kinds(model, ends, inputs), strict=True):
        info.CopyFrom(helper.make_tensor_value_info(info.name, KINDS[kind[0]], kind[1]))
    model = helper.make_model(graph, opset_imports=opsets, functions=writer.functions, ir_version=10)
    onnx.save(model, path)
    return Made(path, inputs)


def _kinds(model: onnx.ModelProto, ends: Sequence[str], inputs: dict[str, Array]) -> list[tuple[str, tuple[int, ...]]]:
    """Types of the outputs, as onnxruntime computes them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found = session.run(list(ends), {name: array[0] for name, array in inputs.items()})
    return [(array.dtype.name, array.shape) for array in found]


def onnx_case(prefix: str, route: str, slug: str, opset: int, data: dict[str, Data], body: Body) -> Case:
    """A case of a model that a function writes."""
    name = f"{prefix}-{slug}"
    return Case(name, route, partial(written, name, opset, data, body))
