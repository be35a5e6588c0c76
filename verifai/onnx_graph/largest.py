"""Outputs that are the place of the largest of some scores, and how to see the scores themselves."""

from __future__ import annotations

import onnx

from verifai.domain.tensor import TensorSpec
from verifai.onnx_graph.model import OnnxModel


def largest_of(model: OnnxModel) -> dict[str, str]:
    """By each output that an ArgMax makes: the tensor whose largest cell it names."""
    outputs = {spec.name for spec in model.outputs}
    return {
        node.output[0]: node.input[0]
        for node in model.proto.graph.node
        if node.op_type == "ArgMax" and node.output[0] in outputs
    }


def with_outputs(model: OnnxModel, names: tuple[str, ...]) -> OnnxModel:
    """``model`` with inner float32 tensors as outputs too, to run and not to keep: it has an identity of no statement."""
    if not names:
        return model
    proto = onnx.ModelProto.FromString(model.data)
    types = {value.name: value for value in proto.graph.value_info}
    specs = []
    for name in names:
        proto.graph.output.append(types[name])
        specs.append(TensorSpec(name, "float32", tuple(dim.dim_value for dim in types[name].type.tensor_type.shape.dim)))
    return OnnxModel(proto.SerializeToString(), model.sha256, model.inputs, (*model.outputs, *specs))
