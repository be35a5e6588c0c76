"""Nodes that are added one after another in place of one operator, named after it."""

from __future__ import annotations

import numpy as np

from verifai.errors import UnsupportedModel
from verifai.onnx_graph.graph import Attribute, Graph, Node
from verifai.onnx_graph.refusal import refuse
from verifai.onnx_graph.tensors import Array


class Steps:
    """The nodes that stand for ``node``. Every operand that the node reads may be given by its position."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self.graph, self.node = graph, node
        self.nodes: list[Node] = []

    def given(self, position: int) -> str:
        """The operand's name; empty where the node leaves it out."""
        inputs = self.node.inputs
        return inputs[position] if position < len(inputs) else ""

    def wanted(self, position: int) -> str:
        """The result's name; empty where nobody asks for it."""
        outputs = self.node.outputs
        return outputs[position] if position < len(outputs) else ""

    def shape(self, position: int) -> tuple[int, ...]:
        """The shape of an operand that has to be there. Raises UnsupportedModel (``model-malformed``)."""
        name = self.given(position)
        if not name:
            raise self.malformed(f"its operand {position} is missing")
        return self.graph.types[name].shape

    def constant(self, label: str, array: Array) -> str:
        """A weight."""
        return self.graph.constant(f"{self.node.name}_{label}", array)

    def real(self, label: str, value: float) -> str:
        """A number of float32."""
        return self.constant(label, np.array(value, np.float32))

    def add(self, op: str, inputs: list[str], label: str, result: str = "", **attributes: Attribute) -> str:
        """One more node of the canonical opset; the name of its result."""
        name = self.graph.fresh(f"{self.node.name}_{label}")
        self.nodes.append(Node(op, inputs, [result or name], dict(attributes), name))
        return result or name

    def reshaped(self, x: str, shape: list[int], label: str, result: str = "") -> str:
        """The same cells under another shape."""
        target = self.constant(f"{label}_shape", np.array(shape, np.int64))
        return self.add("Reshape", [x, target], label, result, allowzero=0)

    def cannot(self, what: str, hint: str = "") -> UnsupportedModel:
        """The refusal of a form that has no rule."""
        return refuse("model-unknown-operator", what, self.node.where, hint)

    def malformed(self, what: str) -> UnsupportedModel:
        """The refusal of a node that does not fit its own operands."""
        return refuse("model-malformed", what, self.node.where)
