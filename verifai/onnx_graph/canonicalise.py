"""Any acceptable ONNX file → the one canonical file that means the same.

Canonical: opset 18, IR 8, static shapes, float32, every default written out, no constant subexpressions, no identities, weights
as raw bytes inside the file, no documentation or metadata. Canonicalising a canonical file gives the same bytes, which is how
:func:`verifai.onnx_graph.load.load_canonical` recognises one.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onnx import AttributeProto, GraphProto, ModelProto, TensorShapeProto, ValueInfoProto

from verifai.domain.digest import sha256
from verifai.domain.tensor import TensorSpec
from verifai.onnx_graph.external import pull_in
from verifai.onnx_graph.functions import inlined
from verifai.onnx_graph.graph import Branch, Graph, Node, TensorType, read_attribute, shortened, to_bytes
from verifai.onnx_graph.limits import LARGEST_EXACT_INTEGER, MAX_NAME, MAX_TOTAL_BYTES
from verifai.onnx_graph.lint import lint, parse
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.order import sort_nodes
from verifai.onnx_graph.passes.batch_norm import fold_batch_norm
from verifai.onnx_graph.passes.contributed import DOMAIN as CONTRIBUTED
from verifai.onnx_graph.passes.contributed import UNDER_STANDARD
from verifai.onnx_graph.passes.defaults import explicit_defaults
from verifai.onnx_graph.passes.gemm import plain_gemm
from verifai.onnx_graph.passes.infer import infer
from verifai.onnx_graph.passes.infinities import drop_infinite_bounds
from verifai.onnx_graph.passes.masks import bounded_masks, finite_masks, require_plain_masks
from verifai.onnx_graph.passes.numbers import require_finite, require_safe_division
from verifai.onnx_graph.passes.precision import to_float32
from verifai.onnx_graph.passes.shapes import plain_shapes
from verifai.onnx_graph.passes.simplify import simplify
from verifai.onnx_graph.refusal import printable, refuse
from verifai.onnx_graph.tensors import NIBBLES, Array, checked_size, element_dtype, to_array

_SHOWN_AXES = 8
"""Open axes in a hint."""


@dataclass(frozen=True)
class Canonical:
    """A canonical model and what was changed that a person should know.

    Attributes:
        model: the canonical model.
        notices: one sentence each, in the order of the passes; empty when nothing of note changed.
        halves, brains: whether the source computes in float16, or in bfloat16, at least in part, and so rounds what this
            model does not.
    """

    model: OnnxModel
    notices: tuple[str, ...]
    halves: bool = False
    brains: bool = False


def canonicalise(data: bytes, *, where: str, dims: Mapping[str, int] | None = None, folder: Path | None = None) -> Canonical:
    """Lint ``data`` and bring it to the canonical form.

    Args:
        data: the ONNX file.
        where: its name, for messages.
        dims: value of each symbolic dimension, by its name (``N``), or by input and axis (``x:0``) where it has none.
        folder: where external data may lie; ``None`` refuses external data.

    Raises:
        UnsupportedModel: with a ``model-…`` code and the node, tensor or field named.
    """
    proto = inlined(parse(data, where), where)
    moved = sort_nodes(proto.graph)
    opsets = lint(proto, where)
    pull_in(proto, folder, where)
    graph = _read(proto, dims or {}, where)
    if moved:
        graph.note("The file's nodes were not in the order in which they are computed; they were sorted.")
    _name_outputs_apart(graph)
    to_float32(graph)
    drop_infinite_bounds(graph)
    masked = finite_masks(graph)
    require_finite(graph)
    infer(graph, opsets)
    simplify(graph)
    _refuse_constant_outputs(graph)
    fold_batch_norm(graph)
    plain_gemm(graph)
    plain_shapes(graph)
    explicit_defaults(graph)
    bounded_masks(graph)
    simplify(graph)
    _name_nodes(graph)
    require_finite(graph)
    if masked:
        require_plain_masks(graph)
    require_safe_division(graph)
    _note_large_integers(graph)
    return Canonical(_model(graph), tuple(graph.notices), graph.halves, graph.brains)


def _model(graph: Graph) -> OnnxModel:
    data = to_bytes(graph)
    return OnnxModel(
        data=data,
        sha256=sha256(data),
        inputs=tuple(TensorSpec(name, kind.dtype.name, kind.shape) for name, kind in graph.inputs.items()),
        outputs=tuple(TensorSpec(name, graph.types[name].dtype.name, graph.types[name].shape) for name in graph.outputs),
    )


def _read(proto: ModelProto, dims: Mapping[str, int], where: str) -> Graph:
    source = proto.graph
    constants = {}
    total = 0
    for tensor in source.initializer:
        array = to_array(tensor, where)
        total += array.nbytes
        if total > MAX_TOTAL_BYTES:
            raise refuse("model-size-bomb", f"the weights need more than {MAX_TOTAL_BYTES:,} bytes", where)
        constants[tensor.name] = array
    nodes = _nodes(source, {node.name for node in source.node}, where)
    used: set[str] = set()
    inputs = {}
    given = [value for value in source.input if value.name not in constants]
    one = {key: label for key, label in _batch_axes(given).items() if key not in dims and label not in dims}
    sizes = {**dims, **dict.fromkeys(one, 1)}
    for value in given:
        inputs[value.name] = _input_type(value, sizes, used, lambda: _open_axes(given, sizes))
    used -= set(one)
    if spare := sorted(set(dims) - used):
        raise refuse("model-dynamic-shape", f"the model has no open dimension {spare[0]!r}", where, "Remove it from --dim.")
    graph = Graph("verifai", inputs, [value.name for value in source.output], nodes, constants)
    for label in dict.fromkeys(one.values()):
        other = f"`--dim {shlex.quote(label)}=SIZE`"
        graph.note(f"The batch axis {printable(label)!r} is 1: one sample per proof. Another size: {other} at export.")
    return graph


def _batch_axes(values: list[ValueInfoProto]) -> dict[str, str]:
    """Open first axes that stand for a number of samples, as ``input:0``, with the name that --dim knows them by.

    An axis with a name is one only where no later axis has that name; the only axis of an input, only where another input has
    it too. An axis that is written as -1 says nothing, and is asked for.
    """
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values if value.type.HasField("tensor_type")}
    later = {dim.dim_param for shape in shapes.values() for dim in shape[1:]}
    first = {shape[0].dim_param for shape in shapes.values() if len(shape) > 1} - later
    found = {}
    for name, shape in shapes.items():
        if not shape or shape[0].HasField("dim_value"):
            continue
        label = shape[0].dim_param
        if (label and label in first) or (not label and len(shape) > 1):
            found[f"{name}:0"] = label or f"{name}:0"
    return found


def _open(dim: TensorShapeProto.Dimension) -> bool:
    """Whether an axis has no size. Some exporters write -1 for that, which onnxruntime reads so."""
    return not dim.HasField("dim_value") or dim.dim_value == -1


def _open_axes(values: list[ValueInfoProto], sizes: Mapping[str, int]) -> list[str]:
    """Every open axis that has no size yet, by the name that --dim knows it by."""
    found = []
    for value in values:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            key = f"{value.name}:{axis}"
            if _open(dim) and dim.dim_param not in sizes and key not in sizes:
                found.append(dim.dim_param or key)
    return list(dict.fromkeys(found))


def _nodes(source: GraphProto, taken: set[str], where: str) -> list[Node]:
    """The graph's nodes. Names are the file's where they are its only ones, and new otherwise: only messages use them."""
    nodes, seen = [], set()
    for index, node in enumerate(source.node):
        domain = "" if node.domain == "ai.onnx" else node.domain
        domain = CONTRIBUTED if not domain and node.op_type in UNDER_STANDARD else domain
        again = node.name in seen
        name = _free(node.name or f"{node.op_type}_{index}", taken) if again or not node.name else node.name
        seen.add(node.name)
        place = printable(f"node {name!r} ({node.op_type})")
        plain = [attribute for attribute in node.attribute if attribute.type != AttributeProto.GRAPH]
        attributes = {attribute.name: read_attribute(attribute, place) for attribute in plain}
        made = Node(node.op_type, list(node.input), list(node.output), attributes, name, domain)
        inner = {attribute.name: attribute.g for attribute in node.attribute if attribute.type == AttributeProto.GRAPH}
        made.branches = {key: _branch(graph, taken, where) for key, graph in inner.items()}
        nodes.append(made)
    return nodes


def _branch(source: GraphProto, taken: set[str], where: str) -> Branch:
    constants = {tensor.name: to_array(tensor, where) for tensor in source.initializer}
    outputs, inputs = ([value.name for value in values] for values in (source.output, source.input))
    return Branch(_nodes(source, taken, where), constants, outputs, inputs)


def _free(base: str, taken: set[str]) -> str:
    if base in taken or len(base) > MAX_NAME:
        base = shortened(base)
    name, count = base, 1
    while name in taken:
        count += 1
        name = f"{base}_{count}"
    taken.add(name)
    return name


def _input_type(value: object, dims: Mapping[str, int], used: set[str], open_axes: Callable[[], list[str]]) -> TensorType:
    where = f"input {value.name!r}"  # type: ignore[attr-defined]
    kind = value.type  # type: ignore[attr-defined]
    if not kind.HasField("tensor_type"):
        raise refuse("model-dtype", "only dense tensors can be inputs", where)
    tensor = kind.tensor_type
    dtype = element_dtype(tensor.elem_type, where)
    if dtype in NIBBLES:
        raise refuse("model-dtype", f"{dtype.name} tensors cannot be inputs", where, "Give int8, or the real numbers.")
    if not tensor.HasField("shape"):
        raise refuse("model-dynamic-shape", "the input's shape is not declared", where, "Export the model with a shape.")
    shape = []
    for axis, dim in enumerate(tensor.shape.dim):
        if not _open(dim):
            size = dim.dim_value
        else:
            key = f"{value.name}:{axis}"  # type: ignore[attr-defined]
            name = dim.dim_param if dim.dim_param in dims else key
            if name not in dims:
                label = dim.dim_param or key
                raise refuse(
                    "model-dynamic-shape",
                    f"axis {axis} has no fixed size ({printable(label)})",
                    where,
                    _dim_hint(open_axes()),
                )
            used.add(name)
            size = dims[name]
        if size < 1:
            raise refuse("model-malformed", f"axis {axis} has size {size}", where)
        shape.append(size)
    checked_size(shape, dtype, where)
    return TensorType(dtype, tuple(shape))


def _dim_hint(labels: list[str]) -> str:
    """The command that fixes every open axis; the sizes are the reader's to choose."""
    options = " ".join(f"--dim {shlex.quote(printable(label))}=1" for label in labels[:_SHOWN_AXES])
    more = f" {len(labels) - _SHOWN_AXES} more axes are open." if len(labels) > _SHOWN_AXES else ""
    return f"Fix it: `verifai export MODEL -o FILE {options}`, with the sizes that you use.{more}"


def _name_outputs_apart(graph: Graph) -> None:
    """An input that is an output too gets another name as one: circuits and statements tell tensors by their names."""
    for position, name in enumerate(graph.outputs):
        if name in graph.inputs:
            other = graph.fresh(f"{name}_output")
            graph.nodes.append(Node("Identity", [name], [other], {}, other))
            graph.outputs[position] = other
            graph.note(f"The input {printable(name)!r} is an output as well; as an output it is named {printable(other)!r}.")


def _refuse_constant_outputs(graph: Graph) -> None:
    for name in graph.outputs:
        if name in graph.constants:
            raise refuse("model-malformed", "the output is a constant", f"output {name!r}", "Remove the output.")


def _name_nodes(graph: Graph) -> None:
    """Names are unique already for source nodes; nodes that passes added may collide."""
    taken: set[str] = set()
    for node in graph.nodes:
        node.name = _free(node.name or node.op_type, taken)


def _note_large_integers(graph: Graph) -> None:
    for name, array in graph.constants.items():
        if array.dtype.kind in "iu" and array.size and _beyond_exact(array):
            graph.note(
                f"Integer constant {printable(name)!r} exceeds 2^24 in absolute value; "
                "ezkl reads constants as float32 and loses digits."
            )


def _beyond_exact(array: Array) -> bool:
    return int(array.max()) > LARGEST_EXACT_INTEGER or int(array.min()) < -LARGEST_EXACT_INTEGER
