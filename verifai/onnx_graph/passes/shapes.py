"""Target shapes as plain positive numbers: no ``-1``, no ``0`` for "as before"."""

from __future__ import annotations

import numpy as np

from verifai.onnx_graph.graph import Graph


def plain_shapes(graph: Graph) -> None:
    """Write each Reshape's and Expand's static result as its target."""
    for node in graph.nodes:
        if node.op_type not in ("Reshape", "Expand"):
            continue
        shape = graph.types[node.outputs[0]].shape
        if 0 in shape:
            continue
        if node.op_type == "Reshape":
            node.attributes["allowzero"] = 0
        target = np.array(shape, dtype=np.int64)
        present = graph.constants.get(node.inputs[1])
        if present is None or not np.array_equal(present, target):
            node.inputs[1] = graph.constant(f"{node.name}_shape", target)
