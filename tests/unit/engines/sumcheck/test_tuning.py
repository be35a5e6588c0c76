"""The tuner meets the floor with the coarsest bits that do, says what it tried, and advises only what it has seen."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

from tests.support.sumcheck_models import model
from verifai.domain.circuit_spec import CircuitSpec, parse_spec
from verifai.domain.progress import SILENT
from verifai.engines.sumcheck.building import options_of, suite_of
from verifai.engines.sumcheck.tuning import Tuned, Tuner
from verifai.errors import PolicyNotMet
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel

DATA, TARGET = load_diabetes(return_X_y=True, scaled=False)


def ridge() -> tuple[OnnxModel, list[dict[str, np.ndarray]]]:
    from onnx import helper

    fitted = Ridge().fit(DATA, TARGET)
    constants = {"w": fitted.coef_.reshape(-1, 1).astype(np.float32), "b": np.array([fitted.intercept_], np.float32)}
    net = model([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"x": (1, 10)}, {"y": (1, 1)}, constants)
    return net, [{"x": row[None].astype(np.float32)} for row in DATA]


def classifier(bits: int = 0) -> tuple[OnnxModel, list[dict[str, np.ndarray]]]:
    from onnx import helper

    rng = np.random.default_rng(5)
    constants = {"w": rng.standard_normal((10, 24)).astype(np.float32), "v": rng.standard_normal((24, 3)).astype(np.float32)}
    make = helper.make_node
    nodes = [make("MatMul", ["x", "w"], ["h"]), make("Tanh", ["h"], ["t"]), make("MatMul", ["t", "v"], ["y"])]
    net = model(nodes, {"x": (1, 10)}, {"y": (1, 3)}, constants)
    return net, [{"x": rng.standard_normal((1, 10)).astype(np.float32)} for _ in range(200)]


def spec(task: str, fidelity: dict[str, Any] | None = None, engine: dict[str, Any] | None = None) -> CircuitSpec:
    return parse_spec(
        {
            "circuit": {"name": "c", "model": "m.onnx", "engine": "sumcheck", "task": task},
            "tensors": {"x": "public", "y": "public"},
            **({} if fidelity is None else {"fidelity": fidelity}),
            **({} if engine is None else {"engine": {"sumcheck": engine}}),
        },
        "circuit.toml",
    )


def tune(net: OnnxModel, feeds: list[dict[str, np.ndarray]], asked: CircuitSpec) -> Tuned:
    given = frozenset(asked.options.get("sumcheck", {}))
    return Tuner(net, asked, feeds, options_of(asked), given, suite_of(asked), SILENT).run()


def test_a_regression_on_raw_columns_meets_one_per_cent_of_its_spread_by_default() -> None:
    found = tune(*ridge(), spec("regression"))
    assert found.fidelity.spread_error is not None and found.fidelity.spread_error < 0.01
    assert found.fidelity.top1_matches is None


def test_sharper_floors_get_more_bits_and_no_more_than_needed() -> None:
    net, feeds = classifier()
    chosen = []
    for limit in (0.1, 0.01, 0.003):
        found = tune(net, feeds, spec("classification", {"spread_error": limit}))
        assert found.fidelity.spread_error is not None and found.fidelity.spread_error <= limit
        chosen.append(found.options.activation_bits)
        rows = {row["activation_bits"]: row["outcome"] for row in found.tried}
        assert rows[found.options.activation_bits] == "chosen"
        assert found.options.activation_bits == 8 or rows.get(found.options.activation_bits - 1, "meets").startswith("error")
    assert chosen == sorted(chosen) and chosen[0] < chosen[-1]


def test_a_floor_out_of_reach_is_refused_with_a_floor_that_was_reached() -> None:
    net, feeds = classifier()
    with pytest.raises(PolicyNotMet) as refused:
        tune(net, feeds, spec("classification", {"spread_error": 1e-7}))
    assert refused.value.code == "fidelity-below-floor"
    advised = re.search(r"spread_error = ([0-9.e-]+)", refused.value.hint)
    assert advised is not None
    found = tune(net, feeds, spec("classification", {"spread_error": float(advised[1])}))
    assert found.fidelity.spread_error is not None and found.fidelity.spread_error <= float(advised[1])


def test_given_bits_are_kept_and_named_when_they_are_what_is_in_the_way() -> None:
    net, feeds = classifier()
    found = tune(net, feeds, spec("classification", {"spread_error": 0.2}, {"activation_bits": 11}))
    assert found.options.activation_bits == 11 and len(found.tried) == 1
    with pytest.raises(PolicyNotMet) as refused:
        tune(net, feeds, spec("classification", {"spread_error": 0.005}, {"activation_bits": 4}))
    assert "activation_bits" in refused.value.hint


def test_without_a_floor_the_coarsest_circuit_is_taken() -> None:
    net, feeds = classifier()
    found = tune(net, feeds, spec("classification", {"floor": "none"}))
    assert found.options.activation_bits == 8 and len(found.tried) == 1


def test_a_dead_output_cell_asks_for_no_scale_of_its_own() -> None:
    """As in sentence embeddings, where some cells are the rounding noise of their sums."""
    from onnx import helper

    rng = np.random.default_rng(3)
    weights = rng.standard_normal((10, 4)).astype(np.float32)
    weights[:, 2] *= np.float32(1e-33)
    net = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (1, 10)}, {"y": (1, 4)}, {"w": weights})
    feeds = [{"x": rng.standard_normal((1, 10)).astype(np.float32)} for _ in range(120)]
    tuned = tune(net, feeds, spec("regression", {"spread_error": 0.01}))
    assert not tuned.scales["y"].columns


def test_a_cell_of_a_long_vector_that_hardly_moves_spoils_no_other() -> None:
    """Embeddings have such cells: their layer's weights are of 1e-8. A scale of its own would leave none for the others."""
    size = 300
    gain = np.where(np.arange(size) == 7, 1e-8, 1.0).astype(np.float32)
    nodes = [
        helper.make_node("Mul", ["x", "gain"], ["scaled"]),
        helper.make_node("ReduceMean", ["scaled", "axes"], ["y"], keepdims=0),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "g", [value("x", TensorProto.FLOAT, [1, 4, size])], [value("y", TensorProto.FLOAT, [1, size])],
        [numpy_helper.from_array(gain, "gain"), numpy_helper.from_array(np.array([1]), "axes")],
    )  # fmt: skip
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    net = canonicalise(source.SerializeToString(), where="m").model
    generator = np.random.default_rng(0)
    feeds = [{"x": generator.normal(size=(1, 4, size)).astype(np.float32)} for _ in range(12)]
    found = tune(net, feeds, spec("regression")).fidelity
    assert found.r2 is not None and found.r2 > 0.999


def near_ties() -> tuple[OnnxModel, list[dict[str, np.ndarray]]]:
    """Two scores that differ by 0.02 in each of 60 samples, and spread over 20."""
    rng = np.random.default_rng(3)
    weights = np.array([[1.0, 1.0], [0.0, 0.02]], np.float32)
    net = model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": (1, 2)}, {"y": (1, 2)}, {"w": weights})
    sides = np.where(np.arange(60) % 2, 1.0, -1.0)
    return net, [
        {"x": np.array([[value, side]], np.float32)} for value, side in zip(rng.uniform(-10, 10, 60), sides, strict=True)
    ]


def test_decisions_that_the_outputs_own_step_turned_get_a_finer_step() -> None:
    net, feeds = near_ties()
    found = tune(net, feeds, spec("classification"))
    assert found.fidelity.top1_matches == 60
    assert found.tried[0]["outcome"].startswith("decisions agree on") and found.tried[0]["output_bits"] < 15
    assert found.options.output_bits == 15


def test_an_output_step_that_its_author_chose_is_kept() -> None:
    net, feeds = near_ties()
    with pytest.raises(PolicyNotMet) as refused:
        tune(net, feeds, spec("classification", engine={"output_bits": 10}))
    assert "Remove output_bits" in refused.value.hint
