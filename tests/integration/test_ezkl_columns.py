"""A table's row through the ezkl engine: public, hashed and private; and locks whose columns were edited."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
from onnx import helper

from tests.support.ezkl_small import SRS
from tests.support.sumcheck_models import model
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.domain.fidelity import Task
from verifai.domain.findings import Outcome
from verifai.domain.statement import EngineName, Role, Visibility
from verifai.engines.interface import VerifyRequest
from verifai.engines.registry import engine_for
from verifai.errors import EvidenceRejected, InputRejected, UsageError, VerifaiError
from verifai.stages.compile import compile_circuit
from verifai.stages.init import init_circuit
from verifai.stages.prove import prove
from verifai.stages.verify import Expectations, verify_bundle

SPREAD = np.array([400.0, 0.01, 2.0, 16.0], np.float32)
ROWS = (np.array([1500.0, 0.02, -3.0, 1e6]) + SPREAD * np.random.default_rng(5).uniform(-1, 1, (64, 4))).astype(np.float32)
MEAN, INVERSE = ROWS.mean(0, keepdims=True), (1 / ROWS.std(0, keepdims=True)).astype(np.float32)
WEIGHTS = np.array([[1.5, -0.5], [0.25, 2.0], [-1.0, 0.75], [0.5, 0.5]], np.float32)
BIAS = np.array([0.25, -1.0], np.float32)
TUNED = {
    "input_scale": 9, "param_scale": 9, "scale_rebase_multiplier": 2, "decomp_base": 256, "decomp_legs": 3, "num_inner_cols": 1,
    "lookup_low": -2, "lookup_high": 2, "lookup_margin": 2.0, "logrows": 10, "rewrites": ["affine-into-products"],
    "columns": [{"tensor": "x", "columns": [[0, -1500], [-15, -655], [-8, 768], [-5, -32000000]]}],
}  # fmt: skip
"""What the tuner would find on such rows; given, so that a test needs no search. Hashing needs more rows."""
EXPECT = Expectations(allow_test_srs=True)


def wanted(row: np.ndarray) -> np.ndarray:
    return np.asarray(((row.astype(np.float64) - MEAN) * INVERSE) @ WEIGHTS + BIAS)[0]


@pytest.fixture(scope="module")
def circuits(tmp_path_factory: pytest.TempPathFactory) -> dict[Visibility, CircuitFolder]:
    root = tmp_path_factory.mktemp("columns")
    nodes = [
        helper.make_node("Sub", ["x", "mean"], ["c"]),
        helper.make_node("Mul", ["c", "inverse"], ["z"]),
        helper.make_node("Gemm", ["z", "w", "b"], ["y"]),
    ]
    net = model(nodes, {"x": (1, 4)}, {"y": (1, 2)}, {"mean": MEAN, "inverse": INVERSE, "w": WEIGHTS, "b": BIAS})
    (root / "m.onnx").write_bytes(net.data)
    np.savez(root / "cal.npz", x=ROWS[:32])
    found = {}
    for visibility in Visibility:
        folder = init_circuit(
            root / "m.onnx", net, root / visibility.value, engine=EngineName.EZKL, visibility={"x": visibility},
            calibration=root / "cal.npz", task=Task.REGRESSION, srs=SRS,
        )  # fmt: skip
        tuned = TUNED | {"logrows": 12} if visibility is Visibility.HASHED else TUNED
        spec = tomllib.loads((folder.folder / "circuit.toml").read_text())
        spec["engine"]["ezkl"]["parameters"] = tuned
        (folder.folder / "circuit.toml").write_text(tomli_w.dumps(spec))
        folder = CircuitFolder(folder.folder)
        compile_circuit(folder)
        found[visibility] = folder
    return found


@pytest.mark.parametrize("visibility", list(Visibility))
def test_a_row_is_proven_under_the_scales_of_its_columns(
    circuits: dict[Visibility, CircuitFolder], visibility: Visibility, tmp_path: Path
) -> None:
    folder, row = circuits[visibility], ROWS[40:41]
    (bundle,) = prove(folder, [{"x": row}], tmp_path / "out")
    inputs = None if visibility is Visibility.PRIVATE else {"x": row}
    verified = verify_bundle(bundle.path, folder.lock(), Expectations(inputs=inputs, allow_test_srs=True))
    (tensor,) = verified.statement.of(Role.INPUT)
    assert (tensor.columns[0].scale, tensor.columns[0].zero_point) == (1, -1500)
    if visibility is Visibility.PUBLIC:
        steps = np.array([float(column.scale) for column in tensor.columns])
        assert (np.abs(np.array(tensor.values()) - row[0].astype(np.float64)) <= steps / 2).all()
    (output,) = verified.statement.of(Role.OUTPUT)
    assert np.allclose(output.values(), wanted(row), atol=0.05)


@pytest.mark.parametrize("visibility", [Visibility.PUBLIC, Visibility.HASHED])
def test_another_row_is_told_apart(circuits: dict[Visibility, CircuitFolder], visibility: Visibility, tmp_path: Path) -> None:
    folder, row = circuits[visibility], ROWS[40:41]
    (bundle,) = prove(folder, [{"x": row}], tmp_path / "out")
    other = row.copy()
    other[0, 1] += 0.0001
    with pytest.raises(EvidenceRejected, match="input"):
        verify_bundle(bundle.path, folder.lock(), Expectations(inputs={"x": other}, allow_test_srs=True))


def test_a_value_far_outside_its_column_is_refused_and_a_hidden_one_is_not_told(
    circuits: dict[Visibility, CircuitFolder], tmp_path: Path
) -> None:
    row = ROWS[40:41].copy()
    row[0, 1] = 7e4  # nothing beside the fourth column, and far from what its own held
    with pytest.raises(InputRejected) as refused:
        list(prove(circuits[Visibility.PUBLIC], [{"x": row}], tmp_path / "out"))
    assert refused.value.code == "input-out-of-range" and "cell 1 = 70000.0" in refused.value.message
    with pytest.raises(InputRejected) as hidden:
        list(prove(circuits[Visibility.PRIVATE], [{"x": row}], tmp_path / "out2"))
    assert "70000" not in str(hidden.value)


def test_an_audit_derives_the_folded_graph_again(circuits: dict[Visibility, CircuitFolder], tmp_path: Path) -> None:
    folder = circuits[Visibility.PUBLIC]
    (bundle,) = prove(folder, [{"x": ROWS[40:41]}], tmp_path / "out")
    section = tomllib.loads(folder.lock_path.read_text())["engine"]["ezkl"]
    engine = engine_for(EngineName.EZKL)
    files = {
        path.name: path
        for path in (bundle.path / "payload").rglob("*")
        if path.name in ("proof.json", "settings.json", "vk.key")
    }

    def found(changed: dict[str, Any]) -> dict[str, Outcome]:
        request = VerifyRequest(
            section=changed, files=files, model_sha256=folder.model.sha256, context="", setup_material=(SRS,),
            allow_test_material=True,
        )  # fmt: skip
        return {one.code: one.outcome for one in engine.rederive(request, folder.model)}  # type: ignore[attr-defined]

    assert set(found(section).values()) == {Outcome.HOLDS}
    moved = tomllib.loads(tomli_w.dumps(section))
    moved["parameters"]["columns"][0]["columns"][2][1] += 40
    assert found(moved)["circuit-onnx-not-rederived"] is Outcome.REJECTED


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another step": lambda one: one["columns"][2].__setitem__(0, one["columns"][2][0] + 1),
    "another zero point": lambda one: one["columns"][2].__setitem__(1, one["columns"][2][1] + 40),
    "one column more": lambda one: one["columns"].append([0, 0]),
    "one column less": lambda one: one["columns"].pop(),
    "no numbers": lambda one: one.__setitem__("columns", [["a", 0]] * 4),
    "of an output": lambda one: one.__setitem__("tensor", "y"),
}


@pytest.mark.parametrize("edit", EDITS)
def test_evidence_made_under_other_columns_is_not_this_circuits(
    circuits: dict[Visibility, CircuitFolder], edit: str, tmp_path: Path
) -> None:
    """What the integers stand for is the lock's to say, and the evidence names the whole section of its lock."""
    folder = circuits[Visibility.PUBLIC]
    document = tomllib.loads(folder.lock_path.read_text())
    EDITS[edit](document["engine"]["ezkl"]["parameters"]["columns"][0])
    (tmp_path / "circuit.lock").write_text(tomli_w.dumps(document))
    (bundle,) = prove(folder, [{"x": ROWS[40:41]}], tmp_path / "out")
    with pytest.raises(VerifaiError) as refused:
        verify_bundle(bundle.path, read_lock(tmp_path / "circuit.lock"), EXPECT)
    assert isinstance(refused.value, EvidenceRejected | UsageError)
