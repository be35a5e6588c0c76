"""A table's row through the whole way: public, hashed and private; and locks whose columns were edited."""

from __future__ import annotations

import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from onnx import helper
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression

from tests.support.sumcheck_models import model
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.domain.fidelity import Task
from verifai.domain.statement import EngineName, Role, Visibility
from verifai.errors import EvidenceRejected, InputRejected, UsageError, VerifaiError
from verifai.stages.compile import compile_circuit
from verifai.stages.init import init_circuit
from verifai.stages.prove import prove
from verifai.stages.verify import Expectations, verify_bundle

DATA, TARGET = load_wine(return_X_y=True)
NET = LogisticRegression(max_iter=5000).fit(DATA, TARGET)


@pytest.fixture(scope="module")
def circuits(tmp_path_factory: pytest.TempPathFactory) -> dict[Visibility, CircuitFolder]:
    root = tmp_path_factory.mktemp("wine")
    constants = {"w": NET.coef_.T.astype(np.float32), "b": NET.intercept_.astype(np.float32)}
    net = model([helper.make_node("Gemm", ["x", "w", "b"], ["y"])], {"x": (1, 13)}, {"y": (1, 3)}, constants)
    (root / "m.onnx").write_bytes(net.data)
    np.savez(root / "cal.npz", x=DATA[::2].astype(np.float32))
    found = {}
    for visibility in Visibility:
        folder = init_circuit(
            root / "m.onnx", net, root / visibility.value, engine=EngineName.SUMCHECK, visibility={"x": visibility},
            calibration=root / "cal.npz", task=Task.CLASSIFICATION,
        )  # fmt: skip
        compile_circuit(folder)
        found[visibility] = folder
    return found


@pytest.mark.parametrize("visibility", list(Visibility))
def test_a_gap_is_not_said_to_need_other_calibration_data(
    circuits: dict[Visibility, CircuitFolder], visibility: Visibility, tmp_path: Path
) -> None:
    row = DATA[1:2].astype(np.float32)
    for value, word in ((np.nan, "stands for it"), (np.inf, "stands for it"), (1e9, "calibration data")):
        row[0, 2] = value
        with pytest.raises(InputRejected) as caught:
            list(prove(circuits[visibility], [{"x": row}], tmp_path / "out"))
        assert word in caught.value.hint


@pytest.mark.parametrize("visibility", list(Visibility))
def test_a_row_is_proven_under_the_scales_of_its_columns(
    circuits: dict[Visibility, CircuitFolder], visibility: Visibility, tmp_path: Path
) -> None:
    folder, row = circuits[visibility], DATA[1:2].astype(np.float32)
    (bundle,) = prove(folder, [{"x": row}], tmp_path / "out")
    expect = Expectations(inputs=None if visibility is Visibility.PRIVATE else {"x": row})
    # A hashed tensor of the suite that hides nothing is matched by its root; the other suite's needs its seed.
    if visibility is Visibility.HASHED and folder.spec.zero_knowledge:
        expect = Expectations()
    verified = verify_bundle(bundle.path, folder.lock(), expect)
    (tensor,) = verified.statement.of(Role.INPUT)
    assert len(tensor.columns) == 13
    if visibility is Visibility.PUBLIC:
        steps = np.array([float(column.scale) for column in tensor.columns])
        assert (np.abs(np.array(tensor.values()) - row[0]) <= steps / 2).all()
    (output,) = verified.statement.of(Role.OUTPUT)
    assert np.allclose(output.values(), NET.decision_function(row)[0], atol=0.05)


def test_another_row_is_told_apart(circuits: dict[Visibility, CircuitFolder], tmp_path: Path) -> None:
    folder, row = circuits[Visibility.PUBLIC], DATA[1:2].astype(np.float32)
    (bundle,) = prove(folder, [{"x": row}], tmp_path / "out")
    other = row.copy()
    other[0, 7] += 0.01
    with pytest.raises(EvidenceRejected, match="input"):
        verify_bundle(bundle.path, folder.lock(), Expectations(inputs={"x": other}))


def test_a_value_far_outside_its_column_is_refused_with_its_place(
    circuits: dict[Visibility, CircuitFolder], tmp_path: Path
) -> None:
    row = DATA[1:2].astype(np.float32)
    row[0, 3] = 1e6
    with pytest.raises(InputRejected) as refused:
        list(prove(circuits[Visibility.PUBLIC], [{"x": row}], tmp_path / "out"))
    assert refused.value.code == "input-out-of-range" and "cell [0, 3] is 1e+06" in refused.value.message
    with pytest.raises(InputRejected) as hidden:
        list(prove(circuits[Visibility.PRIVATE], [{"x": row}], tmp_path / "out2"))
    assert "1e+06" not in str(hidden.value)


@pytest.mark.parametrize(
    "edit",
    [
        lambda scale: scale["columns"][2].__setitem__(0, scale["columns"][2][0] + 1),
        lambda scale: scale["columns"][2].__setitem__(1, scale["columns"][2][1] + 40),
        lambda scale: scale["columns"].append([0, 0]),
        lambda scale: scale["columns"].pop(),
        lambda scale: scale.__setitem__("columns", [["a", 0]] * 13),
        lambda scale: scale.__setitem__("zero_point", 1),
    ],
    ids=["step", "zero-point", "one-more", "one-less", "no-numbers", "zero-of-the-whole"],
)
def test_evidence_made_under_other_columns_is_not_this_circuits(
    circuits: dict[Visibility, CircuitFolder], edit: object, tmp_path: Path
) -> None:
    """What the integers stand for is the lock's to say, and the evidence names the whole section of its lock."""
    folder = circuits[Visibility.PUBLIC]
    document = tomllib.loads(folder.lock_path.read_text())
    (scale,) = [one for one in document["engine"]["sumcheck"]["scales"] if one["value"] == "x"]
    edit(scale)  # type: ignore[operator]
    (tmp_path / "circuit.lock").write_text(tomli_w.dumps(document))
    (bundle,) = prove(folder, [{"x": DATA[1:2].astype(np.float32)}], tmp_path / "out")
    with pytest.raises(VerifaiError) as refused:
        verify_bundle(bundle.path, read_lock(tmp_path / "circuit.lock"))
    assert isinstance(refused.value, EvidenceRejected | UsageError)
