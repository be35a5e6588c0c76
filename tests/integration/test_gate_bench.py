"""The gate's benchmark measures what it says, on real bundles."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import EngineName
from verifai.errors import UsageError
from verifai.onnx_graph.inputs import read_samples
from verifai.showcase.bench_gate import bench_gate
from verifai.stages.compile import compile_circuit


def test_more_verify_runs_than_bundles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        bench_gate(CircuitFolder(tmp_path), [{}], engine=EngineName.EZKL, verify_runs=2, workspace=tmp_path)


@pytest.mark.slow
def test_both_ways_accept_the_same_bundles_and_are_timed(tmp_path: Path) -> None:
    for name in ("circuits", "fixtures"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("build", "*.local.lock"))
    folder = CircuitFolder(tmp_path / "circuits" / "breast-cancer-mlp")
    compile_circuit(folder, locked=True)
    samples = read_samples(tmp_path / "fixtures" / "breast-cancer-mlp" / "heldout.npz", folder.model).samples[:3]
    work = tmp_path / "work"
    work.mkdir()
    figures = bench_gate(folder, [dict(one) for one in samples], engine=EngineName.EZKL, verify_runs=2, workspace=work)
    assert (figures.bundles, figures.verify_runs, figures.engine) == (3, 2, "ezkl")
    assert figures.ratio == pytest.approx(3 * figures.verify_s / figures.gate_s, rel=0.02)
    assert figures.gate_cpu_s > 0
    assert figures.gate_peak_rss_bytes > 2**20
