"""Estimators that have no rule here, converted by skl2onnx."""

from __future__ import annotations

from typing import Any

from onnx import ModelProto

from verifai.errors import UnsupportedModel
from verifai.exporters.interface import Source
from verifai.exporters.sklearn.build import name_of
from verifai.exporters.sklearn.writer import INPUT
from verifai.onnx_graph.limits import OPSET
from verifai.onnx_graph.outputs import select_outputs

_CONTROL_FLOW = ("If", "Loop", "Scan")
_OPSETS = {"": OPSET, "ai.onnx.ml": 3}


def convert_by_skl2onnx(estimator: Any, width: int, output: str, missing: str, source: Source) -> bytes:
    """The ONNX file with the one output ``output``: of a classifier its scores or probabilities, not its labels.

    Args:
        missing: the method that no rule converts, for the message when skl2onnx finds no fixed formula for it either.

    Raises:
        UnsupportedModel: ``model-unknown-operator``, when skl2onnx has no conversion either.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator

    try:
        model = convert_sklearn(estimator, initial_types=[(INPUT, FloatTensorType([1, width]))], target_opset=_OPSETS)
    except (MissingConverter, MissingShapeCalculator, NotImplementedError):
        raise _no_formula(missing, source) from None
    if any(node.op_type in _CONTROL_FLOW for node in model.graph.node):
        raise _no_formula(missing, source)
    selection = select_outputs(ModelProto.FromString(model.SerializeToString()), ())
    if len(selection.kept) != 1:
        raise UnsupportedModel("model-unknown-operator", f"{name_of(estimator)} yields no scores", where=source.text)
    return _renamed(selection.model, selection.kept[0].name, output)


def _no_formula(missing: str, source: Source) -> UnsupportedModel:
    return UnsupportedModel(
        "model-unknown-operator",
        f"{missing} has no conversion to a fixed formula",
        where=source.text,
        hint="docs/sklearn.md lists what has one. Export the parts that have, or train one of those on its predictions.",
    )


def _renamed(model: ModelProto, old: str, new: str) -> bytes:
    """Call the output ``new``, unless another value has that name."""
    graph = model.graph
    taken = {name for node in graph.node for name in (*node.input, *node.output)}
    if old != new and new not in taken:
        for node in graph.node:
            node.output[:] = [new if name == old else name for name in node.output]
            node.input[:] = [new if name == old else name for name in node.input]
        graph.output[0].name = new
    return bytes(model.SerializeToString())
