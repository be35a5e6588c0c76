"""Cut a canonical model at named tensors into a chain: each segment reads exactly what the one before hands over."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import onnx

from verifai.errors import UnsupportedModel, UsageError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.limits import IR_VERSION, OPSET
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.refusal import printable

Cut = tuple[str, ...]
"""The tensors that cross from one segment to the next, in the order in which the statement lists them."""

_SHOWN = 12


@dataclass(frozen=True)
class _Source:
    """The model's graph by name: who makes what, and the type of every value."""

    graph: onnx.GraphProto
    producer: Mapping[str, int]
    types: Mapping[str, onnx.ValueInfoProto]
    constants: Mapping[str, onnx.TensorProto]


def cut_model(model: OnnxModel, names: Sequence[str]) -> tuple[tuple[OnnxModel, ...], tuple[Cut, ...]]:
    """Cut ``model`` into ``len(names) + 1`` segments, in the order of computation; deterministic in its arguments.

    Args:
        names: one cut each: a tensor, a node (all its results that are read), or several tensors separated by commas.

    Returns:
        The canonical segments, and the tensors that cross from each to the next.

    Raises:
        UsageError: ``unknown-tensor``, for a name that the model does not have.
        UnsupportedModel: ``cut-invalid``, with the node that the cut does not separate.
    """
    source = _read(model)
    cuts = [_resolve(source, name) for name in names]
    if not cuts:
        raise UsageError("bad-option", "no cut is named", where="--at", hint="Name a tensor or node: --at TENSOR.")
    depth = [len(_ancestors(source, cut)) for cut in cuts]
    ordered = tuple(cuts[number] for number in sorted(range(len(cuts)), key=lambda number: depth[number]))
    return _cut(source, ordered), ordered


def cut_at(model: OnnxModel, cuts: Sequence[Cut]) -> tuple[OnnxModel, ...]:
    """The segments of ``model`` cut at these tensors, in this order. Raises as :func:`cut_model`."""
    source = _read(model)
    for name in (name for cut in cuts for name in cut):
        _require(source, name)
    return _cut(source, cuts)


def _cut(source: _Source, cuts: Sequence[Cut]) -> tuple[OnnxModel, ...]:
    before = [_ancestors(source, cut) for cut in cuts]
    segment_of = _assign(source, cuts, before)
    _check_crossings(source, cuts, segment_of)
    ends = [tuple(value.name for value in side) for side in (source.graph.input, source.graph.output)]
    bounds = [ends[0], *cuts, ends[1]]
    segments = []
    for number in range(len(cuts) + 1):
        nodes = [node for index, node in enumerate(source.graph.node) if segment_of[index] == number]
        segments.append(_segment(source, nodes, bounds[number], bounds[number + 1], number + 1))
    return tuple(segments)


def _read(model: OnnxModel) -> _Source:
    graph = model.proto.graph
    producer = {name: index for index, node in enumerate(graph.node) for name in node.output if name}
    types = {value.name: value for values in (graph.input, graph.value_info, graph.output) for value in values}
    return _Source(graph, producer, types, {tensor.name: tensor for tensor in graph.initializer})


def _resolve(source: _Source, name: str) -> Cut:
    read = {value for node in source.graph.node for value in node.input}
    read.update(value.name for value in source.graph.output)
    if name in source.producer:
        return (name,)
    for node in source.graph.node:
        if node.name == name:
            return tuple(value for value in node.output if value in read)
    parts = tuple(part.strip() for part in name.split(","))
    for part in parts:
        _require(source, part)
    if len(set(parts)) != len(parts):
        raise UsageError("bad-option", "a tensor is named twice in one cut", where="--at", hint="Name each tensor once.")
    return parts


def _require(source: _Source, name: str) -> None:
    if name not in source.producer:
        known = ", ".join(list(source.producer)[:_SHOWN]) + (", …" if len(source.producer) > _SHOWN else "")
        message = f"no node makes a tensor {printable(name)!r}"
        raise UsageError("unknown-tensor", message, where="--at", hint=printable(f"There are: {known}"))


def _ancestors(source: _Source, values: Iterable[str]) -> frozenset[int]:
    """Indices of all nodes that ``values`` depend on."""
    found: set[int] = set()
    pending = list(values)
    while pending:
        index = source.producer.get(pending.pop())
        if index is not None and index not in found:
            found.add(index)
            pending.extend(source.graph.node[index].input)
    return frozenset(found)


def _assign(source: _Source, cuts: Sequence[Cut], before: Sequence[frozenset[int]]) -> list[int]:
    """The segment of each node: the first one whose cut depends on it, else the last."""
    for number in range(1, len(cuts)):
        extra = before[number - 1] - before[number]
        if extra or before[number - 1] == before[number]:
            node = source.graph.node[min(extra)] if extra else source.graph.node[max(before[number])]
            raise _invalid(
                node, f"the cuts at {_names(cuts[number - 1])} and {_names(cuts[number])} are not one after the other"
            )
    count = len(source.graph.node)
    if len(before[-1]) == count:
        raise _invalid(source.graph.node[count - 1], f"nothing is computed after the cut at {_names(cuts[-1])}")
    return [next((n for n, nodes in enumerate(before) if index in nodes), len(cuts)) for index in range(count)]


def _check_crossings(source: _Source, cuts: Sequence[Cut], segment_of: Sequence[int]) -> None:
    """Every value that leaves a segment is in that segment's cut and read by the next segment alone."""
    model_inputs = {value.name for value in source.graph.input}
    read: set[tuple[int, str]] = set()
    for index, node in enumerate(source.graph.node):
        here = segment_of[index]
        for value in node.input:
            origin = 0 if value in model_inputs else segment_of[source.producer[value]] if value in source.producer else here
            if origin == here:
                continue
            if value in model_inputs:
                raise _invalid(node, f"it reads the model input {printable(value)!r} after the cut at {_names(cuts[here - 1])}")
            if origin != here - 1 or value not in cuts[origin]:
                raise _invalid(node, f"it reads {printable(value)!r} past the cut at {_names(cuts[here - 1])}")
            read.add((origin, value))
    for output in source.graph.output:
        if output.name not in source.producer:
            raise UnsupportedModel("cut-invalid", "a model output is a model input", where=printable(output.name))
        if segment_of[source.producer[output.name]] != len(cuts):
            node = source.graph.node[source.producer[output.name]]
            raise _invalid(node, f"it makes the model output {printable(output.name)!r} before the last cut")
    for number, cut in enumerate(cuts):
        for value in cut:
            node = source.graph.node[source.producer[value]]
            if (number, value) not in read or segment_of[source.producer[value]] != number:
                raise _invalid(node, f"the segment after the cut does not read its result {printable(value)!r}")
            if source.types[value].type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
                raise _invalid(node, f"its result {printable(value)!r} is not float32, so it has no scale to hand over")


def _segment(source: _Source, nodes: Sequence[onnx.NodeProto], inputs: Cut, outputs: Cut, number: int) -> OnnxModel:
    proto = onnx.ModelProto(ir_version=IR_VERSION, producer_name="verifai")
    proto.opset_import.add(domain="", version=OPSET)
    proto.graph.name = source.graph.name
    proto.graph.node.extend(nodes)
    used = dict.fromkeys(value for node in nodes for value in node.input)
    proto.graph.initializer.extend(source.constants[value] for value in used if value in source.constants)
    proto.graph.input.extend(source.types[value] for value in inputs)
    proto.graph.output.extend(source.types[value] for value in outputs)
    segment = canonicalise(proto.SerializeToString(deterministic=True), where=f"segment {number}").model
    names = [tuple(tensor.name for tensor in side) for side in (segment.inputs, segment.outputs)]
    if names != [inputs, outputs]:  # the canonical form of a part of a canonical model has the same ends
        raise UnsupportedModel("cut-invalid", "its canonical form has other inputs or outputs", where=f"segment {number}")
    return segment


def _names(cut: Cut) -> str:
    return printable(", ".join(repr(name) for name in cut))


def _invalid(node: onnx.NodeProto, reason: str) -> UnsupportedModel:
    return UnsupportedModel(
        "cut-invalid",
        f"the cuts do not make a chain: {reason}",
        where=printable(f"node {node.name!r} ({node.op_type})"),
        hint="Cut where everything that comes later depends on the tensors named alone; several are named as A,B.",
    )
