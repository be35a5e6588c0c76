"""What a canonical model consists of: operators, parameters, multiplications, digests of its weights."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, numpy_helper

from verifai.domain.digest import Sha256
from verifai.domain.tensor import TensorSpec
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.tensors import DTYPES, Array


@dataclass(frozen=True, slots=True)
class NodeDescription:
    """One node.

    Attributes:
        macs: multiply-accumulate operations of matrix products and convolutions; 0 for every other operator.
        outputs: its values, with their static types.
    """

    name: str
    op_type: str
    macs: int
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Description:
    """A model for people.

    Attributes:
        operators: operator → count, most frequent first.
        parameters: number of float32 weights.
        macs: multiply-accumulate operations of one run.
        weights_sha256: see :func:`weights_digest`.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]
    parameters: int
    macs: int
    nodes: tuple[NodeDescription, ...]
    weights_sha256: Sha256


def describe(model: OnnxModel) -> Description:
    """Everything that can be said of a model without running it."""
    values = value_specs(model)
    nodes = tuple(
        NodeDescription(
            node.name,
            node.op_type,
            _macs(node, values),
            tuple(values[name] for name in node.output if name),
        )
        for node in model.proto.graph.node
    )
    counts = Counter(node.op_type for node in nodes)
    operators = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
    parameters = sum(array.size for array in weights(model).values() if array.dtype == np.float32)
    return Description(
        inputs=model.inputs,
        outputs=model.outputs,
        operators=operators,
        parameters=parameters,
        macs=sum(node.macs for node in nodes),
        nodes=nodes,
        weights_sha256=weights_digest(model),
    )


def value_specs(model: OnnxModel) -> dict[str, TensorSpec]:
    """The static type of every value: weights, inputs, intermediate values, outputs."""
    graph = model.proto.graph
    specs: dict[str, TensorSpec] = {}
    for tensor in graph.initializer:
        specs[tensor.name] = TensorSpec(tensor.name, DTYPES[tensor.data_type].name, tuple(tensor.dims))
    for value in (*graph.input, *graph.value_info, *graph.output):
        kind = value.type.tensor_type
        shape = tuple(dim.dim_value for dim in kind.shape.dim)
        specs[value.name] = TensorSpec(value.name, DTYPES[kind.elem_type].name, shape)
    return specs


def weights(model: OnnxModel) -> dict[str, Array]:
    """Every constant by name, in the file's order. Treat the arrays as read-only."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.proto.graph.initializer}


def tensor_digest(array: Array) -> Sha256:
    """SHA-256 of dtype, shape and little-endian values, whatever the tensor is called."""
    head = f"{array.dtype.name}:{','.join(map(str, array.shape))}:".encode()
    body = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<")).tobytes()
    return Sha256(hashlib.sha256(head + body).hexdigest())


def weights_digest(model: OnnxModel) -> Sha256:
    """One digest of all constants: SHA-256 over ``name NUL digest LF`` in the order of names (UTF-8).

    Equal for two models exactly when they hold the same values under the same names, whatever their graphs.
    """
    arrays = weights(model)
    lines = (f"{name}\0{tensor_digest(arrays[name])}\n" for name in sorted(arrays))
    return Sha256(hashlib.sha256("".join(lines).encode("utf-8")).hexdigest())


def _macs(node: NodeProto, values: Mapping[str, TensorSpec]) -> int:
    shapes = [values[name].shape if name else () for name in node.input]
    if node.op_type == "Conv":
        return values[node.output[0]].size * math.prod(shapes[1][1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shapes[0]) * math.prod(shapes[1][1:])
    if node.op_type in ("Gemm", "MatMul"):
        return values[node.output[0]].size * shapes[0][-1]
    if node.op_type in ("LSTM", "GRU", "RNN"):
        return shapes[0][0] * shapes[0][1] * (math.prod(shapes[1]) + math.prod(shapes[2]))
    return 0
