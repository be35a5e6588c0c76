"""A model that ends its process, or eats memory or time, ends as one error of ours; others give what they give unfenced."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.onnx_builders import canonical, model, node, relu
from tests.support.paths import ROOT
from verifai.bundle.reader import open_bundle
from verifai.domain.digest import sha256
from verifai.domain.findings import Outcome
from verifai.domain.tensor import TensorSpec
from verifai.errors import DeadlineExceeded, EngineCrashed, InputRejected, ResourceExhausted, UnsupportedModel, UsageError
from verifai.execution import child
from verifai.execution.child import ChildReport, Limits, Step
from verifai.onnx_graph import fenced
from verifai.onnx_graph.fenced import load_path_fenced, run_reference_fenced
from verifai.onnx_graph.load import load_path
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference
from verifai.stages.audit import reference as audit_reference
from verifai.stages.audit import steps as audit_steps
from verifai.stages.audit.options import AuditOptions
from verifai.stages.audit.several import audit_all
from verifai.trust_file import read_trust

V1 = ROOT / "fixtures" / "bundles" / "v1"
GOOD = V1 / "accept" / "folder"
LEAST = -(2**63)


def graph(nodes: list[Any], shape: tuple[int, ...], kind: int = TensorProto.INT64) -> OnnxModel:
    """A model that the lint would not let through, so it is made without it. Input x: int64, of one cell."""
    proto = helper.make_model(
        helper.make_graph(
            nodes,
            "hostile",
            [helper.make_tensor_value_info("x", TensorProto.INT64, [1])],
            [helper.make_tensor_value_info("y", kind, shape)],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    data = bytes(proto.SerializeToString())
    return OnnxModel(data, sha256(data), (TensorSpec("x", "int64", (1,)),), (TensorSpec("y", "int64", shape),))


def division() -> OnnxModel:
    """Divides by −1: for the least integer the processor faults, and onnxruntime with it."""
    return graph([helper.make_node("Constant", [], ["c"], value_ints=[-1]), helper.make_node("Div", ["x", "c"], ["y"])], (1,))


def expansion() -> OnnxModel:
    """Fills as many cells as the input says."""
    return graph([helper.make_node("ConstantOfShape", ["x"], ["f"]), helper.make_node("Shape", ["f"], ["y"])], (1,))


def hoard() -> OnnxModel:
    """Fills as many cells as the input says, and holds them in a loop without end."""
    loop = helper.make_node("Loop", ["n", "yes", "f"], ["held"], body=_idle([None]))
    nodes = [
        helper.make_node("Constant", [], ["n"], value=helper.make_tensor("n", TensorProto.INT64, [], [2**62])),
        helper.make_node("Constant", [], ["yes"], value=helper.make_tensor("yes", TensorProto.BOOL, [], [True])),
        helper.make_node("ConstantOfShape", ["x"], ["f"]),
        loop,
        helper.make_node("Shape", ["held"], ["y"]),
    ]
    return graph(nodes, (1,))


def _idle(shape: list[Any]) -> Any:
    """A loop's body that hands on what it was given."""
    return helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["a"], ["b"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, shape),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, shape),
        ],
    )


def endless() -> OnnxModel:
    """A loop of as many rounds as the input says."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("a", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("d", TensorProto.BOOL, []), helper.make_tensor_value_info("b", TensorProto.INT64, [1])],
    )
    return graph([helper.make_node("Loop", ["x", "", "x"], ["y"], body=body)], (1,))


def cell(value: int) -> dict[str, Any]:
    return {"x": np.array([value], np.int64)}


def test_the_hostile_models_run_on_harmless_inputs() -> None:
    """So that what follows is about what they do, not about a model that does not load."""
    for hostile, value, expected in ((division(), 5, -5), (expansion(), 7, 7), (endless(), 3, 24)):
        assert run_reference_fenced(hostile, cell(value))["y"].tolist() == [expected]


def test_a_model_that_ends_its_process_is_one_error() -> None:
    with pytest.raises(EngineCrashed) as caught:
        run_reference_fenced(division(), cell(LEAST))
    assert (caught.value.status, caught.value.code) == (4, "engine-crashed")
    assert "SIGFPE" in caught.value.message


def test_a_model_that_eats_memory_is_one_error() -> None:
    with pytest.raises((ResourceExhausted, UnsupportedModel)) as caught:
        run_reference_fenced(expansion(), cell(10**12))  # 4 TB: refused by the allocator
    assert "\n" not in str(caught.value)
    with pytest.raises(ResourceExhausted) as exhausted:
        run_reference_fenced(hoard(), cell(400 * 10**6), Limits(memory_bytes=600 * 2**20))  # 1.6 GB: granted, and seen
    assert (exhausted.value.status, exhausted.value.code) == (4, "out-of-memory")


def test_a_model_that_does_not_end_is_one_error() -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        run_reference_fenced(endless(), cell(2**62), Limits(wall_seconds=5))
    assert (caught.value.status, caught.value.code) == (4, "deadline")


def test_a_limit_that_does_not_let_onnxruntime_load_is_refused_before_anything_runs() -> None:
    with pytest.raises(ResourceExhausted) as refused:
        run_reference_fenced(division(), cell(5), Limits(memory_bytes=1))
    assert (refused.value.code, refused.value.status) == ("out-of-memory", 4)
    assert "--max-memory" in refused.value.hint


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "lenet5"])
def test_fenced_and_unfenced_agree_in_every_bit(name: str) -> None:
    path = ROOT / "fixtures" / name / "model.onnx"
    loaded = load_path_fenced(path)
    assert loaded == load_path(path)
    sample = {spec.name: np.linspace(-1, 1, spec.size, dtype=spec.dtype).reshape(spec.shape) for spec in loaded.inputs}
    found, expected = run_reference_fenced(loaded, sample), Reference(loaded).run(sample)
    assert {one: (value.dtype, value.shape, value.tobytes()) for one, value in found.items()} == {
        one: (value.dtype, value.shape, value.tobytes()) for one, value in expected.items()
    }


def test_values_that_are_no_numbers_come_back() -> None:
    loaded = canonical(model([node("Log", ["x"])])).model
    found = run_reference_fenced(loaded, {"x": np.array([[0.0, -1.0, 1.0, np.inf]], np.float32)})
    (value,) = found.values()
    assert np.array_equal(value, np.array([[-np.inf, np.nan, 0.0, np.inf]], np.float32), equal_nan=True)


def test_a_refusal_is_the_one_that_the_reader_gives(tmp_path: Path) -> None:
    rows: dict[str, bytes] = {
        "noise": b"\x00\xff" * 50,
        "empty": b"",
        "not canonical": relu().SerializeToString(),
        "an operator that is none": model([node("NoSuchOperator", ["x"])]).SerializeToString(),
    }
    for name, data in rows.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(data)
        with pytest.raises(UsageError) as unfenced:
            load_path(path)
        with pytest.raises(UsageError) as caught:
            load_path_fenced(path)
        for part in ("code", "message", "where", "hint"):
            assert getattr(caught.value, part) == getattr(unfenced.value, part), name
        assert type(caught.value) is type(unfenced.value)
    with pytest.raises(UsageError) as missing:
        load_path_fenced(tmp_path / "nothing.onnx")
    assert missing.value.code == "file-missing"


def test_inputs_are_refused_as_by_the_reference() -> None:
    loaded = canonical(relu()).model
    good = np.zeros((1, 4), np.float32)
    for inputs, code in [
        ({}, "input-missing"),
        ({"x": good.astype(np.float64)}, "input-dtype"),
        ({"x": good[0]}, "input-shape"),
    ]:
        with pytest.raises(InputRejected) as caught:
            run_reference_fenced(loaded, inputs)
        assert caught.value.code == code
    broken = canonical(model([node("Gather", ["x", "i"])], {"i": np.array([9])})).model
    with pytest.raises(UnsupportedModel) as refused:
        run_reference_fenced(broken, {"x": good})
    assert refused.value.code == "reference-failed"


ANSWERS: dict[str, Any] = {
    "nothing": None,
    "a list": [],
    "no values": {},
    "no output": {"values": {}},
    "an output too many": {"values": {"y": {"data": base64.b64encode(bytes(8)).decode()}, "z": {"data": "AAAA"}}},
    "too short": {"values": {"y": {"data": base64.b64encode(bytes(7)).decode()}}},
    "too long": {"values": {"y": {"data": base64.b64encode(bytes(16)).decode()}}},
    "not base64": {"values": {"y": {"data": "!" * 12}}},
    "a number": {"values": {"y": {"data": 5}}},
    "something beside": {"values": {"y": {"data": base64.b64encode(bytes(8)).decode()}}, "more": 1},
    "a refusal of no known kind": {
        "refused": {"kind": "KeyboardInterrupt", "code": "a", "message": "", "where": "", "hint": ""}
    },
    "a refusal without a code": {"refused": {"kind": "UsageError", "code": "A B", "message": "", "where": "", "hint": ""}},
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_of_another_form_is_a_crash(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    step = Step("reference", ANSWERS[answer], "", "", 0.0)
    monkeypatch.setattr(child, "run", lambda *arguments, **named: ChildReport((step,), None, 0, 0.0))
    with pytest.raises(EngineCrashed) as caught:
        run_reference_fenced(division(), cell(5))
    assert caught.value.status == 4


def test_shapes_that_no_model_has_are_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"name": "x", "dtype": "float32", "shape": [1, 4]}
    for change in ({"shape": [0]}, {"shape": [1] * 17}, {"shape": "4"}, {"name": ""}, {"dtype": "__import__"}, {"more": 1}):
        answer = {"inputs": [{**spec, **change}], "outputs": [spec]}
        report = ChildReport((Step("load", answer, "", "", 0.0),), None, 0, 0.0)
        monkeypatch.setattr(child, "run", lambda *arguments, report=report, **named: report)
        with pytest.raises(EngineCrashed):
            load_path_fenced(ROOT / "fixtures" / "digits-mlp" / "model.onnx")


def test_an_audit_outlives_a_model_that_ends_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that a bundle brings is replaced behind the checks that would refuse such a one."""
    real = fenced.run_references_fenced

    def dies(*arguments: Any) -> Any:
        return real(division(), [cell(LEAST)], *arguments[2:])

    monkeypatch.setattr(audit_reference, "run_references_fenced", dies)
    options = AuditOptions(rederive=False, now="2026-12-01T00:00:00Z")
    (report,) = audit_all([GOOD], read_trust(V1 / "trust.toml"), options)
    (finding,) = [one for one in report.findings if one.code == "engine-crashed"]
    assert (finding.step, finding.outcome) == ("A5", Outcome.UNDECIDED)
    assert report.status == 4
    assert {"proof-valid", "sbom-matches"} <= {one.code for one in report.findings}, "what was found before and after is there"


def test_an_audit_outlives_a_model_that_ends_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fenced, "WORKER", "verifai.no_such_worker")
    options = AuditOptions(rederive=False, now="2026-12-01T00:00:00Z")
    (report,) = audit_all([GOOD], read_trust(V1 / "trust.toml"), options)
    assert ("engine-crashed", "A2") in {(one.code, one.step) for one in report.findings}
    assert report.status == 4


def test_an_audit_parses_no_model_in_its_own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx.ModelProto, "FromString", lambda *arguments: pytest.fail("it was parsed here"), raising=False)
    monkeypatch.setattr("verifai.onnx_graph.canonicalise.canonicalise", lambda *arguments, **named: pytest.fail("read here"))
    monkeypatch.setattr("verifai.onnx_graph.runtime.open_session", lambda *arguments: pytest.fail("run here"))
    with open_bundle(GOOD) as bundle:
        loaded = audit_steps.load_model(bundle, AuditOptions())
    assert loaded is not None
    sample = {spec.name: np.zeros(spec.shape, spec.dtype) for spec in loaded.inputs}
    assert set(run_reference_fenced(loaded, sample)) == {spec.name for spec in loaded.outputs}
