"""What a file must satisfy before any of it is interpreted. Everything here costs time and memory in proportion to the file.

Static shapes and sizes are checked later, by :mod:`verifai.onnx_graph.passes.infer`, before anything is computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from verifai.domain.foreign import ONNX, other_than, recognise
from verifai.domain.unicode_14 import is_printable
from verifai.onnx_graph.graph import attribute_kind
from verifai.onnx_graph.limits import MAX_FILE_BYTES, MAX_NAME, MAX_NODES, MAX_OPERANDS, MIN_OPSET, OPSET
from verifai.onnx_graph.passes.contributed import DOMAIN as CONTRIBUTED
from verifai.onnx_graph.passes.contributed import UNDER_STANDARD, known
from verifai.onnx_graph.refusal import printable, refuse

MAX_OPSET: int = onnx.defs.onnx_opset_version()
MAX_IR: int = onnx.IR_VERSION
ML_DOMAIN = "ai.onnx.ml"

_BODIES = frozenset({"Loop", "Scan"})
_CONTROL_FLOW = _BODIES | {"If"}
"""They may stand where shapes and constants decide them; :mod:`.passes.branches` and :mod:`.passes.loops` do."""
_MAX_DEPTH = 8
_STOCHASTIC = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"})
_FOREIGN_TYPES = ("Sequence", "Optional", "String", "RegexFullMatch", "ImageDecoder", "TfIdfVectorizer")
_GRAPH_KINDS = frozenset({AttributeProto.GRAPH, AttributeProto.GRAPHS})
_SPARSE_KINDS = frozenset({AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS})
_VALUE_KINDS = frozenset(
    {
        AttributeProto.INT,
        AttributeProto.FLOAT,
        AttributeProto.STRING,
        AttributeProto.TENSOR,
        AttributeProto.INTS,
        AttributeProto.FLOATS,
        AttributeProto.STRINGS,
    }
)


def parse(data: bytes, where: str) -> ModelProto:
    """Decode the protobuf.

    Raises:
        UnsupportedModel: ``model-too-large``, ``model-malformed``.
    """
    if len(data) > MAX_FILE_BYTES:
        raise refuse("model-too-large", f"{len(data):,} bytes; the limit is {MAX_FILE_BYTES:,}", where)
    # Protobuf decodes some texts to an empty message, and nothing to an empty one.
    model = _decoded(data)
    if model is None or not (model.ir_version or model.HasField("graph")):
        message, hint = other_than("an ONNX file", data, "it cannot be decoded", "Export the model again.")
        if recognise(data) is ONNX:
            message, hint = "an ONNX file that is damaged or ends too early", "Download it again, or export the model again."
        raise refuse("model-malformed", message, where, hint)
    _require_utf8(model, where)
    return model


def _decoded(data: bytes) -> ModelProto | None:
    try:
        model: ModelProto = ModelProto.FromString(data)
    except (DecodeError, RecursionError, ValueError):
        return None
    return model


def _require_utf8(model: ModelProto, where: str) -> None:
    """The decoder hands text that is not UTF-8 over as bytes, which no later step expects."""
    stack: list[Any] = [model]
    while stack:
        message = stack.pop()
        if isinstance(message, TensorProto):
            # Field by field, because listing the fields of a tensor copies its values.
            stack.extend((*message.external_data, *message.metadata_props))
            fields = {"name": message.name, "doc_string": message.doc_string}
        else:
            fields = {}
            for field, value in message.ListFields():
                if field.type == field.TYPE_MESSAGE:
                    stack.extend(value if isinstance(value, Sequence) or hasattr(value, "add") else (value,))
                elif field.type == field.TYPE_STRING:
                    fields[field.name] = value
        for name, value in fields.items():
            texts = (value,) if isinstance(value, str | bytes) else value
            if any(isinstance(text, bytes) for text in texts):
                raise refuse("model-malformed", f"the text of a field {name!r} is not UTF-8", where)


def lint(model: ModelProto, where: str) -> dict[str, int]:
    """Refuse what no later step can handle; return the opset version of each domain (``""`` is the standard one).

    Raises:
        UnsupportedModel: with one of the ``model-…`` codes and the node named.
    """
    opsets = _versions(model, where)
    graph = model.graph
    if not graph.node:
        raise refuse("model-malformed", "the graph has no node", where, "A model must compute something.")
    if len(graph.node) > MAX_NODES:
        raise refuse("model-too-large", f"{len(graph.node)} nodes; the limit is {MAX_NODES}", where)
    if graph.sparse_initializer:
        raise refuse("model-sparse", "the graph holds sparse weights", where, "Store them as dense tensors.")
    if model.training_info:
        raise refuse("model-stochastic", "the file holds a training graph", where, "Export the model for inference.")
    defined = _definitions(model, where)
    _nodes(graph, defined, opsets, where, 0)
    outputs = [value.name for value in graph.output]
    for name in outputs:
        if name not in defined:
            raise refuse("model-malformed", "the graph output is computed by no node", f"output {name!r}")
    if not outputs or len(set(outputs)) != len(outputs):
        raise refuse("model-malformed", "the graph needs outputs of different names", where)
    return opsets


def _nodes(graph: GraphProto, defined: set[str], opsets: dict[str, int], where: str, depth: int) -> int:
    """Each node, and those of the branches in it; adds what they define to ``defined``. Returns how many there are."""
    count = len(graph.node)
    for index, node in enumerate(graph.node):
        _node(node, index, opsets, where)
        for name in node.input:
            if name and name not in defined:
                raise _undefined(graph, node, index, name)
        for attribute in node.attribute:
            if attribute.type == AttributeProto.GRAPH:
                body = node.op_type in _BODIES
                count += _branch(attribute.g, set(defined), opsets, _place(node, index), depth + 1, body=body)
        for name in node.output:
            if name and name in defined:
                raise refuse("model-malformed", f"the value {printable(name)!r} is defined twice", _place(node, index))
            if name:
                _name(name, f"output of {_place(node, index)}")
                defined.add(name)
    if count > MAX_NODES:
        raise refuse("model-too-large", f"{count} nodes; the limit is {MAX_NODES}", where)
    return count


def _branch(graph: GraphProto, defined: set[str], opsets: dict[str, int], where: str, depth: int, *, body: bool) -> int:
    """A branch of an ``If``, or a loop's body, which may read what is defined around it. Returns how many nodes it has."""
    if depth > _MAX_DEPTH:
        raise refuse("model-control-flow", f"branches are nested deeper than {_MAX_DEPTH}", where)
    if (graph.input and not body) or graph.sparse_initializer:
        raise refuse("model-malformed", "a branch has inputs or sparse weights", where)
    for value in graph.input:
        _name(value.name, f"an input in {where}")
        if value.name in defined:
            raise refuse("model-malformed", f"the value {value.name!r} is defined twice", where)
        defined.add(value.name)
    for tensor in graph.initializer:
        _name(tensor.name, f"a weight in a branch of {where}")
        if tensor.name in defined:
            raise refuse("model-malformed", f"the value {tensor.name!r} is defined twice", where)
        if tensor.data_location == TensorProto.EXTERNAL:
            raise refuse("model-external-data", "a branch keeps weights in another file", where, "Store them in the model.")
        defined.add(tensor.name)
    count = _nodes(graph, defined, opsets, where, depth)
    if len({value.name for value in graph.output}) != len(graph.output):
        raise refuse("model-malformed", "a branch or body yields one value twice", where)
    for value in graph.output:
        if value.name not in defined:
            raise refuse("model-malformed", f"a branch's output {printable(value.name)!r} is computed by no node", where)
    return count


def _versions(model: ModelProto, where: str) -> dict[str, int]:
    if not 3 <= model.ir_version <= MAX_IR:
        raise refuse(
            "model-bad-version", f"IR version {model.ir_version}; supported are 3 to {MAX_IR}", where, "Export the model again."
        )
    opsets: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        if opsets.get(domain, entry.version) != entry.version:
            raise refuse("model-bad-version", f"the domain {printable(domain)!r} is imported in two versions", where)
        opsets[domain] = entry.version
    if "" not in opsets and not any(node.domain in ("", "ai.onnx") for node in model.graph.node):
        opsets[""] = OPSET  # nothing needs a version of the standard operators
    version = opsets.get("")
    if version is None:
        raise refuse("model-bad-version", "no version of the standard operators is imported", where, "Export the model again.")
    if not MIN_OPSET <= version <= MAX_OPSET:
        raise refuse(
            "model-bad-version",
            f"opset {version}; supported are {MIN_OPSET} to {MAX_OPSET}",
            where,
            "Export the model with opset 18.",
        )
    return opsets


def _definitions(model: ModelProto, where: str) -> set[str]:
    """The names of weights and inputs, each checked."""
    weights: set[str] = set()
    for tensor in model.graph.initializer:
        _name(tensor.name, f"a weight of {where}")
        if tensor.name in weights:
            raise refuse("model-malformed", f"two weights are named {tensor.name!r}", where)
        weights.add(tensor.name)
    inputs: set[str] = set()
    for value in model.graph.input:
        _name(value.name, f"an input of {where}")
        if value.name in inputs:
            raise refuse("model-malformed", f"two inputs are named {value.name!r}", where)
        inputs.add(value.name)
    if not inputs - weights:
        raise refuse("model-malformed", "the graph has no input", where, "A constant needs no proof.")
    return weights | inputs


def _name(name: str, where: str) -> None:
    if not name or len(name) > MAX_NAME or not is_printable(name) or name != name.strip():
        problem = "an empty name" if not name else f"the name {printable(name)!r}"
        raise refuse(
            "model-bad-name",
            f"{problem}: names are 1 to {MAX_NAME} printable characters without blanks at the ends",
            where,
            "Rename it.",
        )


def _place(node: NodeProto, index: int) -> str:
    return printable(f"node {node.name!r} ({node.op_type})" if node.name else f"node #{index} ({node.op_type})")


def _undefined(graph: GraphProto, node: NodeProto, index: int, name: str) -> Exception:
    later = {output for other in graph.node[index:] for output in other.output}
    if name in later:
        return refuse(
            "model-malformed",
            f"it reads {printable(name)!r}, which is computed from its own result: the graph has a cycle",
            _place(node, index),
            "Export the model again: nodes form a circle, so none of them can be computed first.",
        )
    return refuse("model-malformed", f"it reads {printable(name)!r}, which nothing defines", _place(node, index))


def _node(node: NodeProto, index: int, opsets: dict[str, int], where: str) -> None:
    place = _place(node, index)
    if node.name:
        _name(node.name, place)
    if max(len(node.input), len(node.output)) > MAX_OPERANDS:
        count = max(len(node.input), len(node.output))
        raise refuse("model-too-large", f"{count} operands or results; the limit is {MAX_OPERANDS} of one node", place)
    branching = node.op_type in _CONTROL_FLOW and node.domain in ("", "ai.onnx")
    if node.op_type == "SequenceMap" or (not branching and any(a.type in _GRAPH_KINDS for a in node.attribute)):
        raise refuse(
            "model-control-flow",
            "dynamic control flow cannot be proven",
            place,
            "Export with fixed control flow: unroll the loop, or keep one branch.",
        )
    if any(a.type in _SPARSE_KINDS for a in node.attribute):
        raise refuse("model-sparse", "a sparse tensor", place, "Store it as a dense tensor.")
    if node.op_type in _STOCHASTIC:
        raise refuse("model-stochastic", "it draws random numbers", place, "Make the random values an input of the model.")
    sequences = node.op_type.endswith(("Sequence", "ZipMap")) and node.op_type != "ReverseSequence"
    if node.op_type.startswith(_FOREIGN_TYPES) or sequences:
        raise refuse("model-dtype", "sequences, maps, optionals and strings are not supported", place, "Use plain tensors.")
    _schema(node, index, opsets)


def _schema(node: NodeProto, index: int, opsets: dict[str, int]) -> None:
    place = _place(node, index)
    domain = "" if node.domain == "ai.onnx" else node.domain
    own = domain == CONTRIBUTED or (not domain and node.op_type in UNDER_STANDARD)
    if own and known(node.op_type, len(node.input), len(node.output)):
        _contributed(node, place)
        return
    if domain not in ("", ML_DOMAIN):
        raise refuse(
            "model-unknown-domain",
            f"the operator belongs to the domain {printable(node.domain)!r}, whose meaning is not in the ONNX standard",
            place,
            "Export without vendor optimisations, so that only standard operators remain.",
        )
    if domain not in opsets:
        raise refuse("model-bad-version", f"the domain {domain!r} is used but not imported", place)
    try:
        schema = onnx.defs.get_schema(node.op_type, opsets[domain], domain)
    except onnx.defs.SchemaError:
        raise refuse(
            "model-unknown-operator", f"no such operator in opset {opsets[domain]} of {domain or 'ai.onnx'}", place
        ) from None
    _attributes(node.attribute, schema, place)
    inputs, outputs = len(node.input), len(node.output)
    if not schema.min_input <= inputs <= schema.max_input or not schema.min_output <= outputs <= schema.max_output:
        raise refuse("model-malformed", f"{inputs} inputs and {outputs} outputs: not a form of this operator", place)
    for position, name in enumerate(node.input):
        formal = schema.inputs[min(position, len(schema.inputs) - 1)]
        if not name and formal.option != onnx.defs.OpSchema.FormalParameterOption.Optional:
            raise refuse("model-malformed", f"the input {formal.name!r} is required", place)
    if not any(node.output):
        raise refuse("model-malformed", "it has no output", place)


def _contributed(node: NodeProto, place: str) -> None:
    """An operator whose schema the ONNX package does not have: attributes of plain kinds, each once."""
    names = [attribute.name for attribute in node.attribute]
    if len(set(names)) != len(names):
        raise refuse("model-malformed", "an attribute occurs twice", place)
    for attribute in node.attribute:
        if attribute.ref_attr_name or attribute.type not in _VALUE_KINDS - {AttributeProto.TENSOR}:
            raise refuse("model-malformed", f"the attribute {printable(attribute.name)!r} is not of its type", place)
    if not node.input[0] or not node.output[0]:
        raise refuse("model-malformed", "an operand or a result has no name", place)


def _attributes(attributes: Iterable[AttributeProto], schema: onnx.defs.OpSchema, place: str) -> None:
    seen: set[str] = set()
    for attribute in attributes:
        if attribute.name in seen:
            raise refuse("model-malformed", f"the attribute {printable(attribute.name)!r} occurs twice", place)
        seen.add(attribute.name)
        formal = schema.attributes.get(attribute.name)
        if formal is None:
            raise refuse("model-malformed", f"the operator has no attribute {printable(attribute.name)!r}", place)
        if (
            attribute.ref_attr_name
            or attribute.type not in _VALUE_KINDS | {AttributeProto.GRAPH}
            or attribute.type != attribute_kind(schema, attribute.name)
        ):
            raise refuse("model-malformed", f"the attribute {attribute.name!r} is not of its type", place)
    for name, formal in schema.attributes.items():
        if formal.required and name not in seen:
            raise refuse("model-malformed", f"the attribute {name!r} is required", place)
