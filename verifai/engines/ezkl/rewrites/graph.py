"""A canonical model while it is rewritten: names, shapes and constants at hand, new nodes appended one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper, shape_inference

from verifai.errors import InternalError

Array = NDArray[Any]


@dataclass
class Rewriting:
    """A model while it is rewritten. ``nodes`` replaces the graph's node list at the end."""

    proto: onnx.ModelProto
    shapes: dict[str, tuple[int, ...]]
    constants: dict[str, Array]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, data: bytes) -> Rewriting:
        proto = onnx.ModelProto.FromString(data)
        graph = proto.graph
        shapes = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.output, *graph.value_info)
        }
        constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        shapes.update({name: array.shape for name, array in constants.items()})
        names = {*shapes, *(name for node in graph.node for name in (*node.input, *node.output))}
        return cls(proto, shapes, constants, [], names)

    def fresh(self, base: str) -> str:
        """An unused tensor name, deterministic in the order of calls."""
        name, count = base, 1
        while name in self.names:
            count += 1
            name = f"{base}_{count}"
        self.names.add(name)
        return name

    def constant(self, base: str, array: Array) -> str:
        name = self.fresh(base)
        self.constants[name] = array
        self.shapes[name] = array.shape
        return name

    def emit(self, op_type: str, inputs: Sequence[str], shape: Sequence[int], base: str, **attributes: Any) -> str:
        """Append a node with one output; returns the output's name."""
        output = self.fresh(base)
        self.shapes[output] = tuple(shape)
        self.nodes.append(helper.make_node(op_type, list(inputs), [output], name=output, **attributes))
        return output

    def readers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.proto.graph.node if name in node.input]

    def is_output(self, name: str) -> bool:
        return any(value.name == name for value in self.proto.graph.output)

    def write(self) -> bytes:
        """Serialise: only constants that are read, every value typed, nodes in order."""
        graph = self.proto.graph
        used = {name for node in self.nodes for name in node.input}
        del graph.node[:], graph.initializer[:], graph.value_info[:]
        graph.node.extend(self.nodes)
        graph.initializer.extend(
            numpy_helper.from_array(np.asarray(array, order="C"), name)
            for name, array in self.constants.items()
            if name in used
        )
        inferred = shape_inference.infer_shapes(self.proto, check_type=True, strict_mode=True, data_prop=True)
        onnx.checker.check_model(inferred)
        data: bytes = inferred.SerializeToString(deterministic=True)
        return data


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def take_over(model: Rewriting, produced: str, wanted: str) -> None:
    """The last node emitted takes over the name of the value that it replaces."""
    last = model.nodes[-1]
    if list(last.output) != [produced]:
        raise InternalError("bug", f"rewrite of {wanted!r} does not end in its own node")
    last.output[0] = wanted
    model.shapes[wanted] = model.shapes.pop(produced)
