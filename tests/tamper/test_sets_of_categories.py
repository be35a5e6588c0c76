"""Splits by sets of categories: which end of an interval a cell has reached cannot be said otherwise than it is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.sumcheck_cheats import Cheat
from tests.unit.engines.sumcheck.lowering.test_ordered_inputs import made
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.tensors import circuit_inputs
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

ODD = (1.0, 3.0, 5.0, 9.0)


def odd_numbers() -> OnnxModel:
    """10 for a first cell that is 1, 3, 5 or 9; else 20 or 30, by the second cell."""
    tensor = lambda values, kind=np.float32: numpy_helper.from_array(np.array(values, kind))  # noqa: E731
    attributes = {
        "nodes_splits": tensor([0.0, 0.5]), "nodes_featureids": [0, 1], "nodes_modes": tensor([6, 1], np.uint8),
        "nodes_truenodeids": [0, 1], "nodes_trueleafs": [1, 1], "nodes_falsenodeids": [1, 2], "nodes_falseleafs": [0, 1],
        "tree_roots": [0], "leaf_targetids": [0, 0, 0], "leaf_weights": tensor([10.0, 20.0, 30.0]),
        "membership_values": tensor([*ODD, np.nan]), "aggregate_function": 1, "n_targets": 1, "post_transform": 0,
    }  # fmt: skip
    node = helper.make_node("TreeEnsemble", ["x"], ["y"], domain="ai.onnx.ml", name="trees", **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 5)]
    return canonicalise(onnx.helper.make_model(graph, opset_imports=imports, ir_version=8).SerializeToString(), where="m").model


ROWS = [{"x": np.array([[first, second]], np.float32)} for first in range(11) for second in (0.0, 1.0)]


def cheat(row: int, seen: Visibility = Visibility.PUBLIC) -> Cheat:
    lowered = made(odd_numbers(), np.concatenate([row["x"] for row in ROWS]), seen)
    circuit = planned(lowered.circuit, INTEGRITY if seen is Visibility.PUBLIC else ZERO_KNOWLEDGE)
    return Cheat(circuit, lowered.weights, circuit_inputs(circuit, ["x"], ROWS[row], lowered.scales))


@pytest.mark.parametrize("seen", [Visibility.PUBLIC, Visibility.PRIVATE])
@pytest.mark.parametrize("row", range(0, len(ROWS), 5))
def test_the_proven_leaf_is_that_of_the_set(row: int, seen: Visibility) -> None:
    proven, expected = cheat(row, seen), Reference(odd_numbers()).run(ROWS[row])["y"].item()
    (port,) = proven.circuit.outputs
    step = float(Fraction(*proven.circuit.tensors[port.tensor].scale))
    assert expected == (10 if ROWS[row]["x"][0, 0] in ODD else 20 if ROWS[row]["x"][0, 1] <= 0.5 else 30)
    assert abs(proven.trace.tensors[port.tensor].item() * step - expected) <= 2 * step


def test_no_bit_of_a_comparison_can_be_another() -> None:
    """Every bit that was committed, in turn: whether an end is reached, and whether a leaf is."""
    honest = cheat(6)
    tensors = honest.circuit.tensors
    rounded = [op.out for op in honest.circuit.ops if isinstance(op, ops.Requant)]
    said = [out for out in rounded if (tensors[out].low, tensors[out].high) == (0, 1)]
    bits = [(out, cell) for out in said for cell in range(tensors[out].size)]
    assert len(said) == 2 and len(bits) > 2 * len(ODD)
    for out, cell in bits:
        lying = cheat(6)
        lying.witness.tensors[out][cell] = 1 - lying.witness.tensors[out][cell]
        lying.refused()
