"""From a source model to a canonical one that was shown to compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.support.paths import ROOT
from verifai.domain.digest import sha256
from verifai.errors import InputRejected, UnsupportedModel, UsageError
from verifai.exporters import registry
from verifai.exporters.interface import Exported, Source
from verifai.onnx_graph.load import load_canonical
from verifai.stages import export as stage
from verifai.stages.export import export

FIXTURES = ROOT / "fixtures"


def small(path: Path, *, dtype: type = np.float32, shape: tuple[Any, ...] = (1, 4)) -> Path:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    weight = np.random.default_rng(0).normal(size=(4, 3)).astype(dtype)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Softmax", ["m"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def test_a_shipped_model_is_exported_to_itself() -> None:
    path = FIXTURES / "digits-cnn" / "model.onnx"
    result = export(path)
    assert result.model.data == path.read_bytes()
    assert (result.notices, result.parity.max_abs_error) == ((), 0.0)


def test_the_result_is_what_every_other_command_accepts(tmp_path: Path) -> None:
    result = export(small(tmp_path / "m.onnx", shape=("N", 4)), dims={"N": 2})
    assert load_canonical(result.model.data, where="m").sha256 == result.model.sha256 == sha256(result.model.data)
    assert result.model.inputs[0].shape == (2, 4)


def test_parity_is_measured_against_the_wider_source(tmp_path: Path) -> None:
    result = export(small(tmp_path / "m.onnx", dtype=np.float64))
    assert 0 < result.parity.max_abs_error < 1e-6
    assert any("float64" in notice for notice in result.notices)


def test_parity_beyond_the_limit_is_refused_with_the_output_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        export(small(tmp_path / "m.onnx", dtype=np.float64), parity_limit=0.0)
    assert (caught.value.code, caught.value.status, "'y'" in caught.value.where) == ("parity-exceeded", 2, True)


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), -1.0])
def test_a_limit_that_limits_nothing_is_refused(limit: float, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        export(small(tmp_path / "m.onnx"), parity_limit=limit)
    assert caught.value.code == "bad-option"


def test_given_samples_are_compared_besides_generated_ones(tmp_path: Path) -> None:
    samples = [{"x": np.full((1, 4), value, np.float32)} for value in (0.5, 100.0)]
    parity = export(small(tmp_path / "m.onnx"), samples=samples).parity
    assert (parity.samples, parity.generated) == (10, 8)


def test_samples_may_depend_on_the_exported_model(tmp_path: Path) -> None:
    parity = export(small(tmp_path / "m.onnx"), samples=lambda model, columns: stage.generated_inputs(model, 3)).parity
    assert (parity.samples, parity.generated) == (11, 8)


def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRejected) as caught:
        export(small(tmp_path / "m.onnx"), samples=[{"x": np.zeros((1, 5), np.float32)}])
    assert caught.value.code == "input-shape"


def test_external_data_beside_the_model_is_pulled_in(tmp_path: Path) -> None:
    inside = export(small(tmp_path / "m.onnx")).model.sha256
    proto = onnx.load(tmp_path / "m.onnx")
    onnx.save(proto, tmp_path / "e.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (tmp_path / "w.bin").is_file()
    assert export(tmp_path / "e.onnx").model.sha256 == inside


def test_external_data_outside_the_folder_is_refused_before_the_source_runs(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    proto = onnx.load(small(tmp_path / "m.onnx"))
    onnx.save(proto, tmp_path / "e.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    data = (tmp_path / "e.onnx").read_bytes()
    moved = onnx.ModelProto.FromString(data)
    next(entry for entry in moved.graph.initializer[0].external_data if entry.key == "location").value = "../w.bin"
    (tmp_path / "deep" / "e.onnx").write_bytes(moved.SerializeToString())
    with pytest.raises(UnsupportedModel) as caught:
        export(tmp_path / "deep" / "e.onnx")
    assert caught.value.code == "model-external-data"


@pytest.mark.parametrize(
    "outputs",
    [
        lambda inputs: {"y": np.zeros((1, 3), np.float32)},
        lambda inputs: {"y": np.full((1, 3), np.nan, np.float32)},
        lambda inputs: {"y": np.zeros((1, 4), np.float32)},
        lambda inputs: {"z": np.zeros((1, 3), np.float32)},
    ],
)
def test_a_source_that_computes_something_else_is_noticed(
    outputs: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = small(tmp_path / "m.onnx").read_bytes()

    def found(source: Source) -> Exported:
        return Exported(data=data, where=source.text, run=outputs)

    monkeypatch.setattr(stage, "export_source", found)
    with pytest.raises(UnsupportedModel) as caught:
        export("any.onnx")
    assert caught.value.code == "parity-exceeded"


def test_generated_inputs_are_the_same_every_time() -> None:
    model = export(FIXTURES / "digits-mlp" / "model.onnx").model
    first, second = stage.generated_inputs(model, 3), stage.generated_inputs(model, 3)
    assert all(np.array_equal(a["pixels"], b["pixels"]) for a, b in zip(first, second, strict=True))
    assert not np.array_equal(first[0]["pixels"], first[1]["pixels"])


def test_the_registry_knows_every_exporter() -> None:
    assert [exporter.name for exporter in registry.exporters()] == [
        "ONNX",
        "PyTorch",
        "scikit-learn",
        "GGUF",
        "Hugging Face",
        "boosting library",
    ]
