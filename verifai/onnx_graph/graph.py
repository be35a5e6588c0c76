"""The graph while passes rewrite it: plain nodes, constants as arrays, static types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, helper

from verifai.onnx_graph.limits import IR_VERSION, MAX_NAME, OPSET
from verifai.onnx_graph.refusal import printable, refuse
from verifai.onnx_graph.tensors import ELEMENT_TYPES, Array, from_array, to_array

_LIST_FIELDS: dict[int, str] = {AttributeProto.INTS: "ints", AttributeProto.FLOATS: "floats", AttributeProto.STRINGS: "strings"}

Attribute = int | float | bytes | Array | tuple[int, ...] | tuple[float, ...] | tuple[bytes, ...]


@dataclass
class Branch:
    """A graph inside a node: one side of an ``If``, or the body of a ``Loop`` or ``Scan``.

    Its nodes may read the values around it. ``inputs``: what a body is given in each step.
    """

    nodes: list[Node]
    constants: dict[str, Array]
    outputs: list[str]
    inputs: list[str] = field(default_factory=list)


@dataclass
class Node:
    """One operator. ``domain`` is empty for ``ai.onnx``; an input named ``""`` is an absent optional one.

    ``branches``: of an ``If``, ``Loop`` or ``Scan``, until it is taken apart; empty for every other operator.
    """

    op_type: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    name: str = ""
    domain: str = ""
    branches: dict[str, Branch] = field(default_factory=dict)

    @property
    def where(self) -> str:
        """The node as messages name it."""
        return printable(f"node {self.name!r} ({self.op_type})")

    def ints(self, name: str) -> tuple[int, ...] | None:
        """An INTS attribute, or ``None`` when absent."""
        value = self.attributes.get(name)
        return tuple(int(v) for v in value) if isinstance(value, tuple) else None

    def integer(self, name: str, default: int) -> int:
        """An INT attribute."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, int) else default

    def number(self, name: str, default: float) -> float:
        """A FLOAT attribute."""
        value = self.attributes.get(name, default)
        return float(value) if isinstance(value, int | float) else default

    def text(self, name: str, default: str) -> str:
        """A STRING attribute."""
        value = self.attributes.get(name)
        return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else default


@dataclass(frozen=True)
class TensorType:
    """Element type and static shape of a value."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        cells = 1
        for dim in self.shape:
            cells *= dim
        return cells * self.dtype.itemsize


@dataclass
class Graph:
    """The model being rewritten.

    Attributes:
        inputs: name → type, in order.
        outputs: names, in order.
        nodes: topologically sorted.
        constants: name → array.
        types: every value's type, once inferred.
        pending: source nodes not yet visited, while types are inferred.
        notices: what a person should know about the changes made.
        unrolled: how many nodes loops were written out as.
        halves, brains: whether the source computes in float16, or in bfloat16, at least in part.
        stored: values that are stored integers of 4 or 16 bits in the source, and real numbers that are whole here.
    """

    name: str
    inputs: dict[str, TensorType]
    outputs: list[str]
    nodes: list[Node]
    constants: dict[str, Array]
    types: dict[str, TensorType] = field(default_factory=dict)
    pending: list[Node] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    unrolled: int = 0
    halves: bool = False
    brains: bool = False
    stored: set[str] = field(default_factory=set)
    _names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._names.update(self.inputs, self.constants, self.outputs)
        for node in self.nodes:
            self._names.update(node.inputs, node.outputs)

    def fresh(self, base: str) -> str:
        """A tensor name that nothing uses yet, deterministic in the order of calls."""
        base = shortened(base)
        name, count = base, 1
        while name in self._names:
            count += 1
            name = f"{base}_{count}"
        self._names.add(name)
        return name

    def constant(self, base: str, array: Array) -> str:
        """Add a constant; returns its name."""
        name = self.fresh(base)
        self.constants[name] = array
        self.types[name] = TensorType(array.dtype, array.shape)
        return name

    def consumers(self) -> dict[str, list[Node]]:
        """Value → nodes that read it, each as often as it reads it."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        return readers

    def note(self, text: str) -> None:
        """Record a notice once."""
        if text not in self.notices:
            self.notices.append(text)


def shortened(base: str) -> str:
    """``base`` with room for a number, within what lint accepts as a name."""
    return base[: MAX_NAME - 20].strip() or "value"


def read_attribute(attribute: AttributeProto, where: str) -> Attribute:
    """The value of a linted attribute. Raises UnsupportedModel (``model-malformed``)."""
    kind = attribute.type
    if kind == AttributeProto.INT:
        return int(attribute.i)
    if kind == AttributeProto.FLOAT:
        return float(attribute.f)
    if kind == AttributeProto.STRING:
        return bytes(attribute.s)
    if kind == AttributeProto.TENSOR:
        return to_array(attribute.t, where)
    if kind == AttributeProto.INTS:
        return tuple(attribute.ints)
    if kind == AttributeProto.FLOATS:
        return tuple(attribute.floats)
    if kind == AttributeProto.STRINGS:
        return tuple(attribute.strings)
    raise refuse("model-malformed", f"attribute {attribute.name!r} has a type that is not supported", where)


def attribute_kind(schema: onnx.defs.OpSchema, name: str) -> int:
    """The schema's type of an attribute, as ``AttributeProto.type`` numbers it."""
    return int(schema.attributes[name].type.value)  # type: ignore[attr-defined]  # onnx's stubs omit the enumeration's base


def write_attribute(name: str, kind: int, value: Attribute) -> AttributeProto:
    """The canonical encoding of an attribute of the schema's type ``kind``."""
    proto = AttributeProto(name=name, type=kind)  # type: ignore[arg-type]
    if isinstance(value, np.ndarray):
        proto.t.CopyFrom(from_array(value, ""))
    elif isinstance(value, bytes):
        proto.s = value
    elif isinstance(value, tuple):
        field_name = _LIST_FIELDS.get(kind, "strings")
        getattr(proto, field_name).extend(value)
    elif kind == AttributeProto.FLOAT:
        proto.f = float(value)
    else:
        proto.i = int(value)
    return proto


def node_proto(node: Node) -> onnx.NodeProto:
    """The canonical encoding of a node: attributes in alphabetical order, types from the schema of the canonical opset."""
    schema = onnx.defs.get_schema(node.op_type, OPSET, node.domain)
    proto = onnx.NodeProto(op_type=node.op_type, name=node.name)
    inputs = list(node.inputs)
    while inputs and not inputs[-1]:
        inputs.pop()
    proto.input.extend(inputs)
    proto.output.extend(node.outputs)
    for name in sorted(node.attributes):
        proto.attribute.append(write_attribute(name, attribute_kind(schema, name), node.attributes[name]))
    return proto


def value_info(name: str, kind: TensorType) -> onnx.ValueInfoProto:
    """A tensor's declaration with its static shape."""
    return helper.make_tensor_value_info(name, ELEMENT_TYPES[kind.dtype], list(kind.shape))


def _used_order(graph: Graph) -> Iterable[str]:
    seen: set[str] = set()
    for node in graph.nodes:
        for name in node.inputs:
            if name in graph.constants and name not in seen:
                seen.add(name)
                yield name


def to_bytes(graph: Graph) -> bytes:
    """The canonical file: initialisers in order of first use, every value typed, nothing else."""
    proto = onnx.ModelProto(ir_version=IR_VERSION, producer_name="verifai")
    proto.opset_import.add(domain="", version=OPSET)
    proto.graph.name = graph.name
    proto.graph.node.extend(node_proto(node) for node in graph.nodes)
    proto.graph.initializer.extend(from_array(graph.constants[name], name) for name in _used_order(graph))
    proto.graph.input.extend(value_info(name, kind) for name, kind in graph.inputs.items())
    proto.graph.output.extend(value_info(name, graph.types[name]) for name in graph.outputs)
    ends = {*graph.inputs, *graph.outputs}
    inner = (name for node in graph.nodes for name in node.outputs if name and name not in ends)
    proto.graph.value_info.extend(value_info(name, graph.types[name]) for name in inner)
    return bytes(proto.SerializeToString(deterministic=True))
