"""What check says before any cost: refusals by name, and figures that agree with ezkl's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.statement import Visibility
from verifai.engines.ezkl import calls
from verifai.engines.ezkl.calls import Fence, call
from verifai.engines.ezkl.cost.estimate import estimate, operator_support
from verifai.engines.ezkl.cost.flow import Scales, count, flow
from verifai.engines.ezkl.cost.model import CircuitSize, predict
from verifai.engines.ezkl.cost.operators import GraphFacts, support
from verifai.engines.ezkl.parameters import CircuitParameters
from verifai.engines.ezkl.rewrites import registry as rewrites
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel

CIRCUITS = ROOT / "circuits"
SMALL = ("digits-mlp", "digits-cnn", "breast-cancer-mlp")


def loaded(name: str) -> tuple[OnnxModel, CircuitSpec]:
    folder = CircuitFolder(CIRCUITS / name)
    return folder.model, folder.spec


NOTHING_KNOWN = GraphFacts({}, {}, frozenset())


@pytest.mark.parametrize(
    ("kind", "attributes", "reason"),
    [
        ("Gelu", {}, "no Gelu"),
        ("Trilu", {}, "wrong"),
        ("Round", {}, "halves"),
        ("QuantizeLinear", {}, "identity"),
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 2]}, "dilations"),
        ("AveragePool", {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]}, "border"),
        ("Pad", {"mode": "reflect"}, "constant"),
        ("Resize", {"mode": "linear"}, "nearest"),
        ("Cast", {"to": TensorProto.INT64}, "infinity"),
        ("Pow", {}, "constant"),
        ("NonMaxSuppression", {}, "not known"),
    ],
)
def test_operators_that_ezkl_gets_wrong_or_refuses_are_named_with_a_remedy(
    kind: str, attributes: dict[str, object], reason: str
) -> None:
    answer = support(helper.make_node(kind, ["x", "z"], ["y"], name="the-node", **attributes), NOTHING_KNOWN)
    assert not answer.supported
    assert answer.node == "the-node"
    assert reason in answer.reason
    assert answer.suggestion


def test_an_operator_of_another_domain_is_refused() -> None:
    answer = support(helper.make_node("Relu", ["x"], ["y"], domain="com.example"), NOTHING_KNOWN)
    assert not answer.supported and "com.example" in answer.reason


def test_a_model_with_an_unsupported_node_has_no_estimate() -> None:
    graph = helper.make_graph(
        [helper.make_node("Round", ["x"], ["y"], name="rounding")],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model = canonicalise(proto.SerializeToString(), where="test").model
    _, spec = loaded("digits-mlp")
    with pytest.raises(UnsupportedModel) as caught:
        estimate(model, spec)
    assert caught.value.code == "operator-unsupported"


def test_a_circuit_beyond_every_ceremony_is_refused() -> None:
    size = 40_000
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["a"]), helper.make_node("MatMul", ["a", "v"], ["y"])],
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [
            numpy_helper.from_array(np.ones((1, size), np.float32), "w"),
            numpy_helper.from_array(np.ones((size, 2), np.float32), "v"),
        ],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    model = canonicalise(proto.SerializeToString(), where="test").model
    _, spec = loaded("digits-mlp")
    hashed = replace(
        spec, tensors={"x": Visibility.HASHED, "y": Visibility.PUBLIC}, budget=replace(spec.budget, max_logrows=None)
    )
    assert estimate(model, hashed).size_log2 >= 21  # 41 rows for each hashed cell


def test_what_does_not_fit_has_no_cost() -> None:
    assert predict(CircuitSize(cells=100, range_rows=1024), 10, 1) is None, "the range table"
    assert predict(CircuitSize(cells=100, range_rows=256, hashed_cells=64), 11, 1) is None, "the hash"
    assert predict(CircuitSize(cells=100, range_rows=256, instances=3000), 11, 1) is None, "the instances"


def test_more_cells_never_cost_less() -> None:
    costs = [predict(CircuitSize(cells=cells, range_rows=256), 12, 2) for cells in (1_000, 10_000, 100_000, 1_000_000)]
    assert all(cost is not None for cost in costs)
    keys = [cost.key_bytes for cost in costs if cost is not None]
    times = [cost.prove_seconds for cost in costs if cost is not None]
    assert keys == sorted(set(keys)) and times == sorted(set(times))


@pytest.mark.parametrize(
    ("size", "logrows", "inner", "key_bytes"),
    [
        (CircuitSize(cells=5704, range_rows=16384), 15, 2, 138_479_371),
        (CircuitSize(cells=3774, range_rows=1000), 10, 1, 7_676_643),
        (CircuitSize(cells=4123, range_rows=512), 10, 1, 9_251_619),
        (CircuitSize(cells=6674, range_rows=512), 12, 4, 43_794_131),
        (CircuitSize(cells=15313, range_rows=1500, hashed_cells=64), 12, 1, 62_156_195),
        (CircuitSize(cells=15313, range_rows=1500), 12, 1, 30_696_675),
        (CircuitSize(cells=190_580, range_rows=16000, einsum_cells=46_188, einsum_longest=400), 15, 2, 963_343_379),
    ],
)
def test_keys_are_as_large_as_ezkl_made_them(size: CircuitSize, logrows: int, inner: int, key_bytes: int) -> None:
    cost = predict(size, logrows, inner)
    assert cost is not None
    assert cost.key_bytes == pytest.approx(key_bytes, rel=0.08)


@pytest.mark.parametrize("name", [*SMALL, "lenet5"])
def test_cells_agree_with_what_ezkl_counts(name: str) -> None:
    model, _ = loaded(name)
    for names in ((), rewrites.PLANS[2]):
        data = rewrites.apply(model.data, names)
        parameters = CircuitParameters(4, 6, 10, 512, 3, 1, -128, 128, 1.0, 20)
        run_args = parameters.run_args(Visibility.PUBLIC, Visibility.PUBLIC)
        target = Path("settings.json")
        step = call("gen_settings", model="model.onnx", output=str(target), run_args=run_args)
        stated = _settings(step, data)
        proto = onnx.ModelProto.FromString(data)
        run = flow(proto, Scales(4, 6, 10))
        assert stated["model_output_scales"] == [run.scales[proto.graph.output[0].name]]
        assert count(proto, run, 3, 1).main == pytest.approx(stated["total_assignments"], rel=0.12)


def _settings(step: dict[str, object], data: bytes) -> dict[str, object]:
    from verifai.execution.scratch import private_directory

    with private_directory() as folder:
        calls.run([step], Fence(), inputs={"model.onnx": data}, outputs={"settings.json": folder / "out.json"})
        document: dict[str, object] = json.loads((folder / "out.json").read_bytes())
        return document


@pytest.mark.parametrize("name", [*SMALL, "lenet5"])
def test_every_node_of_the_shipped_models_is_supported_and_estimated(name: str) -> None:
    model, spec = loaded(name)
    nodes = operator_support(model)
    assert len(nodes) == len(model.proto.graph.node)
    assert all(node.supported for node in nodes)
    cost = estimate(model, spec)
    assert cost.size_log2 <= (spec.budget.max_logrows or 0)
    assert cost.prove_seconds > 0 and 0 < cost.proof_bytes < cost.key_bytes < cost.memory_bytes


def test_hashing_the_input_costs_more_than_showing_it() -> None:
    model, spec = loaded("digits-cnn")
    shown = replace(spec, tensors=dict.fromkeys(spec.tensors, Visibility.PUBLIC))
    assert estimate(model, spec).key_bytes > 1.5 * estimate(model, shown).key_bytes
