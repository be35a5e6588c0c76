"""Estimators that have no rule here, converted by skl2onnx."""

from __future__ import annotations

from typing import Any

from verifai.errors import UnsupportedModel
from verifai.exporters.interface import Source
from verifai.exporters.sklearn.build import name_of
from verifai.exporters.sklearn.writer import INPUT
from verifai.onnx_graph.limits import OPSET

_OPSETS = {"": OPSET, "ai.onnx.ml": 3}


def convert_by_skl2onnx(estimator: Any, width: int, output: str, source: Source) -> bytes:
    """The ONNX file with the one output ``output``: of a classifier its scores or probabilities, not its labels.

    Raises:
        UnsupportedModel: ``model-unknown-operator``, when skl2onnx has no conversion either.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    kind = [(INPUT, FloatTensorType([1, width]))]
    options = {id(estimator): {"zipmap": False}} if _has_option(estimator, "zipmap") else None
    try:
        model = convert_sklearn(estimator, initial_types=kind, target_opset=_OPSETS, options=options)
    except (MissingConverter, MissingShapeCalculator, NotImplementedError):
        raise UnsupportedModel(
            "model-unknown-operator",
            f"{name_of(estimator)} has no conversion to ONNX",
            where=source.text,
            hint="docs/sklearn.md lists what has one; or export its parts, or a model that was distilled from it.",
        ) from None
    floats = [value.name for value in model.graph.output if value.type.tensor_type.elem_type == 1]
    if len(floats) != 1:
        raise UnsupportedModel("model-unknown-operator", f"{name_of(estimator)} yields no scores", where=source.text)
    return _renamed(model, floats[0], output)


def _has_option(estimator: Any, option: str) -> bool:
    """Whether the converter of the estimator (of a pipeline: of its last step) knows the option."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common._registration import get_allowed_options

    for _ in range(32):
        steps = getattr(estimator, "steps", None)
        if not isinstance(steps, list) or not steps:
            break
        estimator = steps[-1][1]
    alias = sklearn_operator_name_map.get(type(estimator))
    if alias is None:
        return False
    allowed: Any = get_allowed_options(alias)
    return isinstance(allowed, dict) and option in allowed


def _renamed(model: Any, kept: str, output: str) -> bytes:
    """Drop the other outputs and what only they need, and give the kept one its name."""
    graph = model.graph
    for value in [value for value in graph.output if value.name != kept]:
        graph.output.remove(value)
    needed, nodes = {kept}, []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(type(node).FromString(node.SerializeToString()))
            needed.update(node.input)
    del graph.node[:]
    graph.node.extend(reversed(nodes))
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in needed]:
        graph.initializer.remove(tensor)
    if kept != output:
        taken = {name for node in graph.node for name in (*node.input, *node.output)}
        if output in taken:
            return bytes(model.SerializeToString())
        for node in graph.node:
            node.output[:] = [output if name == kept else name for name in node.output]
            node.input[:] = [output if name == kept else name for name in node.input]
        graph.output[0].name = output
    return bytes(model.SerializeToString())
