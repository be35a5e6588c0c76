"""Which outputs of a foreign ONNX file are kept: those that are asked for; else all but class labels beside scores.

skl2onnx gives classifiers an output for the label, and their scores as a map from label to number (``ZipMap``). Neither is
arithmetic. The label is the largest score's, and the map's keys are the same for every input, so both can be left to whoever
reads the scores; the labels themselves are read from the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto, NodeProto, TensorProto, ValueInfoProto

from verifai.errors import UsageError
from verifai.onnx_graph.refusal import printable

_ML_DOMAIN = "ai.onnx.ml"
_CLASSIFIERS = frozenset({"LinearClassifier", "SVMClassifier", "TreeEnsembleClassifier"})
_TRANSPARENT = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Flatten"})
_LABEL_ATTRIBUTES = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")
_PRODUCERS = frozenset({"skl2onnx", "OnnxMLTools"})
_MAX_STEPS = 1000


@dataclass(frozen=True)
class Kept:
    """One output that is kept.

    Attributes:
        name: the output's, as in the file.
        tensor: the value that it becomes: itself, or the tensor behind a map.
        keys: of that map, in the tensor's order; empty where it is no map.
    """

    name: str
    tensor: str
    keys: tuple[int, ...] | tuple[str, ...] = ()


@dataclass(frozen=True)
class Selection:
    """A file with the outputs that are kept.

    Attributes:
        model: the file without what only the others need.
        kept: in the file's order.
        dropped: names of the others.
        labels: of classes, in the order of the scores; empty where the file does not say.
        label_output: the first output that was dropped because it is the class label; empty when there is none.
    """

    model: ModelProto
    kept: tuple[Kept, ...]
    dropped: tuple[str, ...]
    labels: tuple[str, ...]
    label_output: str = ""


def select_outputs(model: ModelProto, wanted: Sequence[str]) -> Selection:
    """Choose the outputs of a decoded file that was not linted. Changes ``model``.

    Args:
        wanted: names of outputs; empty for all but labels beside scores.

    Raises:
        UsageError: ``bad-option``, when the file has no such output.
    """
    graph = model.graph
    makers = {name: node for node in graph.node for name in node.output if name}
    names = [value.name for value in graph.output]
    for name in wanted:
        if name not in names:
            listed = ", ".join(printable(name, 60) for name in names[:10])
            raise UsageError("bad-option", f"the model has no output {name!r}", where="--select", hint=f"It has: {listed}")
    labels: tuple[int, ...] | tuple[str, ...] = ()
    kept, dropped, label_output = [], [], ""
    for value in graph.output:
        is_label, found = _label(model, value, makers)
        labels = labels or found
        node = makers.get(value.name)
        if value.name not in wanted if wanted else is_label:
            dropped.append(value.name)
            label_output = label_output or (value.name if is_label else "")
        elif node is not None and _is(node, "ZipMap") and node.input and node.input[0] in makers:
            if node.input[0] in names:
                dropped.append(value.name)
                continue
            kept.append(Kept(value.name, node.input[0], _keys(node)))
        else:
            kept.append(Kept(value.name, value.name))
    if not kept:
        # Labels alone are refused by name later, with a way on.
        return Selection(model, tuple(Kept(name, name) for name in names), (), ())
    labels = labels or next((output.keys for output in kept if output.keys), ())
    if dropped or any(output.keys for output in kept):
        _keep_only(model, kept)
    return Selection(model, tuple(kept), tuple(dropped), tuple(str(label) for label in labels), label_output)


def _is(node: NodeProto | None, op_type: str) -> bool:
    return node is not None and node.op_type == op_type and node.domain == _ML_DOMAIN


def _keys(node: NodeProto) -> tuple[int, ...] | tuple[str, ...]:
    for attribute in node.attribute:
        if attribute.name in _LABEL_ATTRIBUTES and (attribute.ints or attribute.strings):
            if attribute.ints:
                return tuple(attribute.ints)
            return tuple(text.decode("utf-8", errors="replace") for text in attribute.strings)
    return ()


def _label(
    model: ModelProto, value: ValueInfoProto, makers: dict[str, NodeProto]
) -> tuple[bool, tuple[int, ...] | tuple[str, ...]]:
    """Whether the output is a class label, and the labels, where the file holds them."""
    kind = value.type.tensor_type.elem_type
    if kind not in (TensorProto.STRING, TensorProto.INT64, TensorProto.INT32):
        return False, ()
    name = value.name
    for _ in range(_MAX_STEPS):
        node = makers.get(name)
        if node is None or not node.input:
            break
        if node.domain == _ML_DOMAIN and node.op_type in _CLASSIFIERS and name == node.output[0]:
            return True, _keys(node)
        if _is(node, "ArrayFeatureExtractor"):
            return True, _table(model, node.input[0])
        if node.op_type not in _TRANSPARENT:
            break
        name = node.input[0]
    return kind == TensorProto.STRING or model.producer_name in _PRODUCERS, ()


def _table(model: ModelProto, name: str) -> tuple[int, ...] | tuple[str, ...]:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            if tensor.string_data:
                return tuple(text.decode("utf-8", errors="replace") for text in tensor.string_data)
            return tuple(tensor.int64_data) or tuple(tensor.int32_data)
    return ()


def _keep_only(model: ModelProto, kept: Sequence[Kept]) -> None:
    """Drop the other outputs, the nodes and weights that only they need, and inputs that only those read."""
    graph = model.graph
    needed, nodes = {output.tensor for output in kept}, []
    renamed = {output.tensor: output.name for output in kept}
    read_before = {name for node in graph.node for name in node.input}
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            needed.update(node.input)
            copied = NodeProto.FromString(node.SerializeToString())
            copied.input[:] = [renamed.get(name, name) for name in node.input]
            copied.output[:] = [renamed.get(name, name) for name in node.output]
            nodes.append(copied)
    declared = {value.name: value for value in graph.output}
    outputs = []
    for output in kept:
        value = ValueInfoProto(name=output.name)
        if output.name == output.tensor:
            value.CopyFrom(declared[output.name])
        outputs.append(value)
    del graph.output[:], graph.node[:]
    graph.output.extend(outputs)
    graph.node.extend(reversed(nodes))
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in needed]:
        graph.initializer.remove(tensor)
    for value in [value for value in graph.input if value.name in read_before and value.name not in needed]:
        graph.input.remove(value)
