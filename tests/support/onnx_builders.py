"""Small models for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from verifai.onnx_graph.canonicalise import Canonical, canonicalise
from verifai.onnx_graph.reference import Reference

FLOAT = onnx.TensorProto.FLOAT


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    """Seeded normal float32 values."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def model(
    nodes: Sequence[onnx.NodeProto],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    inputs: Mapping[str, Sequence[Any]] | None = None,
    outputs: Sequence[str] = ("y",),
    opset: int = 18,
    ir: int = 8,
    domains: Mapping[str, int] | None = None,
    input_type: int = FLOAT,
) -> onnx.ModelProto:
    """A model with float32 input ``x`` of shape (1, 4) unless said otherwise; output types are left to inference."""
    graph = helper.make_graph(
        list(nodes),
        "test",
        [helper.make_tensor_value_info(name, input_type, list(shape)) for name, shape in (inputs or {"x": (1, 4)}).items()],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, v) for name, v in (domains or {}).items())]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir)


def node(op_type: str, inputs: Sequence[str], outputs: Sequence[str] = ("y",), **attributes: Any) -> onnx.NodeProto:
    """A node named after its operator unless ``name`` is given."""
    attributes.setdefault("name", f"the_{op_type}")
    return helper.make_node(op_type, list(inputs), list(outputs), **attributes)


def relu() -> onnx.ModelProto:
    """The smallest model."""
    return model([node("Relu", ["x"])])


def canonical(source: onnx.ModelProto, **options: Any) -> Canonical:
    """Canonicalise, and hold the result to the standard checker and to idempotence."""
    result = canonicalise(source.SerializeToString(), where="test.onnx", **options)
    onnx.checker.check_model(result.model.proto, full_check=True)
    again = canonicalise(result.model.data, where="again.onnx")
    assert again.model.data == result.model.data
    return result


def operators(result: Canonical) -> list[str]:
    """Operators in the order of the graph."""
    return [item.op_type for item in result.model.proto.graph.node]


def attributes(result: Canonical, op_type: str) -> dict[str, Any]:
    """Attributes of the first node with this operator."""
    found = next(item for item in result.model.proto.graph.node if item.op_type == op_type)
    return {item.name: helper.get_attribute_value(item) for item in found.attribute}


def largest_gap(source: onnx.ModelProto, result: Canonical, *, seeds: int = 3) -> float:
    """Largest difference between the source, run as it is, and the canonical model, on seeded inputs."""
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    reference = Reference(result.model)
    kinds = {"tensor(double)": np.float64, "tensor(float16)": np.float16}
    gap = 0.0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        inputs = {
            spec.name: rng.normal(size=spec.shape).astype(spec.dtype)
            if spec.dtype == "float32"
            else rng.integers(0, 2, spec.shape).astype(spec.dtype)
            for spec in result.model.inputs
        }
        given_inputs = {
            value.name: inputs[value.name].astype(kinds.get(value.type, inputs[value.name].dtype))
            for value in session.get_inputs()
        }
        for value, ours in zip(session.run(None, given_inputs), reference.run(inputs).values(), strict=True):
            assert np.shape(value) == ours.shape
            gap = max(gap, float(np.max(np.abs(np.asarray(value, dtype=np.float64) - ours), initial=0.0)))
    return gap
