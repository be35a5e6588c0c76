"""Outputs of very different spread: each has a step of its own, in the lock and in the statement, and each meets the floor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import verifai
from tests.support.lowering_runs import n, net
from verifai.circuit_folder import CircuitFolder
from verifai.domain.fidelity import Task
from verifai.domain.statement import Role, Visibility
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

RNG = np.random.default_rng(4)
SPREADS = np.array([3000.0, 1.0, 0.002, 50.0])
ROWS = (RNG.normal(size=(120, 5)) * [1, 20, 0.1, 5, 1]).astype(np.float32)
W = (RNG.normal(size=(5, 4)) / ROWS.std(axis=0)[:, None] * SPREADS).astype(np.float32)
BIAS = (SPREADS * [2, -300, 5, 0]).astype(np.float32)


def layer() -> OnnxModel:
    return net((1, 5), (1, 4), n("Gemm", "x", "w", "b"), w=W, b=BIAS)


def rectified() -> OnnxModel:
    """No layer makes its cells: a function does."""
    return net(
        (1, 5),
        (1, 4),
        n("Gemm", "x", "w", out="v"),
        n("Softplus", "v"),
        w=W / SPREADS.astype(np.float32) * np.array([15, 0.5, 5, 8], np.float32),
    )


def row() -> OnnxModel:
    """Columns of the input themselves, moved and stretched."""
    return net((1, 5), (1, 5), n("Mul", "x", "f"), f=np.array([[1, 1000, 0.01, 1, 7]], np.float32))


@pytest.mark.parametrize("build", [layer, row, rectified])
@pytest.mark.parametrize("visibility", [Visibility.PUBLIC, Visibility.PRIVATE])
def test_each_output_meets_the_floor(tmp_path: Path, build: object, visibility: Visibility) -> None:
    source = build()  # type: ignore[operator]
    circuit = verifai.init_circuit(
        _written(tmp_path, source, ROWS), source, tmp_path / "circuit", calibration=tmp_path / "rows.npz", task=Task.REGRESSION,
        visibility={"x": visibility},
    )  # fmt: skip
    compiled = verifai.compile_circuit(circuit)
    assert compiled.circuit.fidelity.spread_error is not None and compiled.circuit.fidelity.spread_error <= 0.01
    section = parse_section(circuit.pinned_section(compiled.engine), "lock")  # type: ignore[arg-type]
    assert len(section.scales["y"].columns) == source.outputs[0].size
    (bundle,) = verifai.prove(circuit, [{"x": ROWS[:1]}], tmp_path / "evidence")
    verified = verifai.verify_bundle(bundle.path, circuit.lock())
    (output,) = verified.statement.of(Role.OUTPUT)
    expected = np.asarray(Reference(source).run({"x": ROWS[:1]})["y"], np.float64).reshape(-1)
    spread = np.std([Reference(source).run({"x": one[None]})["y"].reshape(-1) for one in ROWS], axis=0)
    assert (np.abs(np.array(output.values(), float) - expected) <= 0.01 * spread).all()
    assert len(output.columns) == source.outputs[0].size
    assert verifai.compile_circuit(circuit, locked=True).reproduced  # by the pinned columns, the same bytes


@pytest.mark.parametrize("build", [layer, row])
def test_a_value_beyond_its_own_range_is_told_whatever_the_others_reach(tmp_path: Path, build: object) -> None:
    source = build()  # type: ignore[operator]
    seen = np.concatenate([ROWS * np.float32(0.05), ROWS[:1] * 0])
    verifai.init_circuit(
        _written(tmp_path, source, seen), source, tmp_path / "circuit", calibration=tmp_path / "rows.npz", task=Task.REGRESSION
    )
    toml = tmp_path / "circuit" / "circuit.toml"
    text = toml.read_text().replace("top1_agreement", "# top1_agreement")
    toml.write_text(text + "\n[engine.sumcheck]\ncolumn_margin = 16.0\noutput_margin = 0.0\n")
    circuit = CircuitFolder(tmp_path / "circuit")
    verifai.compile_circuit(circuit)
    (quiet,) = verifai.prove(circuit, [{"x": seen[-1:]}], tmp_path / "quiet")
    (bundle,) = verifai.prove(circuit, [{"x": ROWS[:1] * np.float32(0.3)}], tmp_path / "loud")
    assert "output-saturated" in [one.code for one in bundle.findings]
    assert "output-saturated" not in [one.code for one in quiet.findings]


def _written(folder: Path, source: OnnxModel, rows: np.ndarray) -> Path:
    np.savez(folder / "rows.npz", x=rows)
    (folder / "model.onnx").write_bytes(source.data)
    return folder / "model.onnx"
