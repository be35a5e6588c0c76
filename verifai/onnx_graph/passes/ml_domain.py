"""Operators of ``ai.onnx.ml`` → plain operators with exactly the same meaning, or a refusal by name."""

from __future__ import annotations

from verifai.onnx_graph.graph import Graph
from verifai.onnx_graph.lint import ML_DOMAIN
from verifai.onnx_graph.refusal import refuse


def lower_ml_domain(graph: Graph) -> None:
    """Lower every ``ai.onnx.ml`` node.

    Raises:
        UnsupportedModel: ``model-unknown-domain`` for an operator without an exact lowering.
    """
    for node in graph.nodes:
        if node.domain == ML_DOMAIN:
            raise refuse(
                "model-unknown-domain", f"{ML_DOMAIN}.{node.op_type} has no exact form in standard operators", node.where
            )
