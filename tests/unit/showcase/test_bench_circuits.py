"""The rows of bench: what each hides, and that measuring spends nothing of the user's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.domain.progress import SILENT
from verifai.domain.statement import EngineName, Privacy, Visibility, WeightVisibility
from verifai.engines.registry import engine_names
from verifai.engines.sumcheck.secrets.opening_ledger import MARKS_VARIABLE
from verifai.errors import UsageError
from verifai.showcase import bench
from verifai.showcase.bench import BenchRow, Skipped, privacy_costs, run_bench
from verifai.showcase.bench_circuits import (
    BESIDES,
    VARIANTS,
    copy_circuit,
    engine_of,
    own_marks,
    refuse_too_many_runs,
    row_names,
)

HIDDEN = {  # inputs, weights
    "ezkl-private": ("private", "public"),
    "sumcheck-zk-a": ("private", "public"),
    "sumcheck-zk-b": ("public", "private"),
    "sumcheck-zk-c": ("private", "private"),
}


def row(engine: str, privacy: Privacy, prove_s: float = 1.0, circuit: str = "c") -> BenchRow:
    return BenchRow(circuit, engine, 1, 0.0, prove_s, 2.0, 3.0, 400, 5, 600, 1.0, privacy=privacy.value)


def small(tmp_path: Path, name: str = "digits-mlp") -> CircuitFolder:
    for part in ("circuits", "fixtures"):
        shutil.copytree(ROOT / part / name, tmp_path / part / name, ignore=shutil.ignore_patterns("build", "secrets"))
    (tmp_path / "fixtures" / "srs").symlink_to(ROOT / "fixtures" / "srs", target_is_directory=True)
    return CircuitFolder(tmp_path / "circuits" / name)


def test_every_variant_has_its_row_after_its_engine() -> None:
    names = row_names(engine_names())
    assert set(names) == {"ezkl-default", *(name.value for name in engine_names()), *HIDDEN}
    assert names.index("ezkl") < names.index("ezkl-private") < names.index("sumcheck") < names.index("sumcheck-zk-a")
    assert [engine_of(name) for name in HIDDEN] == [EngineName.EZKL] + 3 * [EngineName.SUMCHECK]


@pytest.mark.parametrize("name", list(VARIANTS))
@pytest.mark.parametrize("circuit", ["digits-mlp", "digits-cnn", "breast-cancer-mlp"])
def test_a_variant_hides_what_it_says_and_takes_over_no_lock(tmp_path: Path, circuit: str, name: str) -> None:
    folder = CircuitFolder(ROOT / "circuits" / circuit)
    copy = copy_circuit(folder, name, tmp_path, SILENT)
    inputs, weights = HIDDEN[name]
    assert {copy.spec.tensors[tensor.name].value for tensor in copy.model.inputs} == {inputs}
    assert {copy.spec.tensors[tensor.name] for tensor in copy.model.outputs} == {Visibility.PUBLIC}
    assert copy.spec.weights.value == weights
    assert not copy.lock_path.exists() and not copy.local_lock_path.exists()
    assert copy.secrets_dir(EngineName.SUMCHECK).is_relative_to(tmp_path)


def test_the_private_row_of_ezkl_takes_what_was_tuned(tmp_path: Path) -> None:
    folder = CircuitFolder(ROOT / "circuits" / "digits-cnn")
    copy = copy_circuit(folder, "ezkl-private", tmp_path, SILENT)
    pinned = folder.pinned_section(EngineName.EZKL)
    assert pinned is not None and copy.spec.options["ezkl"]["parameters"] == pinned["parameters"]


def test_a_level_that_the_variant_contradicts_is_left_out(tmp_path: Path) -> None:
    folder = small(tmp_path)
    path = folder.folder / "circuit.toml"
    path.write_text(path.read_text("utf-8").replace("[weights]", '[privacy]\nlevel = "integrity-only"\n\n[weights]'), "utf-8")
    copy = copy_circuit(CircuitFolder(folder.folder), "sumcheck-zk-c", tmp_path / "scratch", SILENT)
    assert copy.spec.zero_knowledge
    plain = copy_circuit(CircuitFolder(folder.folder), "sumcheck", tmp_path / "plain", SILENT)
    assert "privacy" in tomllib.loads((plain.folder / "circuit.toml").read_text("utf-8"))


def test_more_runs_than_a_root_serves_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    copy = copy_circuit(CircuitFolder(ROOT / "circuits" / "digits-mlp"), "sumcheck-zk-b", tmp_path, SILENT)
    assert copy.spec.weights is WeightVisibility.PRIVATE
    refuse_too_many_runs(copy, 16 - BESIDES)
    with pytest.raises(UsageError, match="serves 16 proofs") as refusal:
        refuse_too_many_runs(copy, 17 - BESIDES)
    assert refusal.value.code == "bad-option" and "--runs 14" in (refusal.value.hint or "")
    public = copy_circuit(CircuitFolder(ROOT / "circuits" / "digits-mlp"), "sumcheck-zk-a", tmp_path / "a", SILENT)
    refuse_too_many_runs(public, 1000)


def test_marks_are_kept_apart_and_the_variable_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKS_VARIABLE, "mine")
    with pytest.raises(RuntimeError), own_marks(tmp_path):
        assert os.environ[MARKS_VARIABLE] == str(tmp_path)
        raise RuntimeError
    assert os.environ[MARKS_VARIABLE] == "mine"
    monkeypatch.delenv(MARKS_VARIABLE)
    with own_marks(tmp_path):
        assert MARKS_VARIABLE in os.environ
    assert MARKS_VARIABLE not in os.environ


def test_costs_are_against_the_integrity_only_row_of_the_same_circuit() -> None:
    plain, hidden = Privacy.INTEGRITY_ONLY, Privacy.ZERO_KNOWLEDGE_UNAUDITED
    rows = [
        row("ezkl", Privacy.ZERO_KNOWLEDGE, 100.0),
        row("sumcheck", plain, 2.0),
        row("sumcheck-zk-a", hidden, 3.0),
        row("sumcheck", hidden, 7.0, "asks for privacy itself"),
        row("sumcheck-zk-a", hidden, 8.0, "asks for privacy itself"),
        row("sumcheck-zk-b", hidden, 9.0, "alone"),
    ]
    (cost,) = privacy_costs(rows)
    assert (cost["circuit"], cost["engine"], cost["against"], cost["prove_times"]) == ("c", "sumcheck-zk-a", "sumcheck", 1.5)
    assert {cost[name] for name in ("verify_times", "proof_bytes_times", "memory_times")} == {1.0}


def test_a_row_measured_in_a_child_arrives_as_it_was_or_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = CircuitFolder(ROOT / "circuits" / "digits-mlp")
    wanted = row("sumcheck-zk-a", Privacy.ZERO_KNOWLEDGE_UNAUDITED)
    answers = [
        ({"rows": [wanted.to_json()], "skipped": []}, 0),
        ({"rows": [], "skipped": [{"circuit": "c", "engine": "e", "code": "bad-option", "message": "too many"}]}, 4),
        ({"error": {"code": "file-missing", "message": "gone", "where": "x", "hint": None}}, 2),
    ]
    commands = []

    def child(command: list[str], **how: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        document, status = answers[len(commands) - 1]
        return subprocess.CompletedProcess(command, status, json.dumps(document), "")

    monkeypatch.setattr(bench.subprocess, "run", child)
    measured, refused, failed = list(run_bench([folder] * 3, engines=["sumcheck-zk-a"], runs=4, max_memory=5))
    assert measured == wanted
    assert isinstance(refused, Skipped) and (refused.error.code, refused.error.message) == ("bad-option", "too many")
    assert isinstance(failed, Skipped) and failed.error.code == "file-missing"
    assert commands[0][3:] == [
        "bench", str(folder.folder), "--engine", "sumcheck-zk-a", "--runs", "4", "--json", "--max-memory", "5 B",
    ]  # fmt: skip


def test_private_weights_are_measured_without_touching_the_user_s_secrets_or_marks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small(tmp_path)
    before = sorted(path.name for path in folder.folder.iterdir())
    monkeypatch.setenv(MARKS_VARIABLE, str(tmp_path / "marks"))
    (measured,) = run_bench([folder], engines=["sumcheck-zk-c"], runs=1)
    assert isinstance(measured, BenchRow), measured
    assert (measured.engine, measured.privacy, measured.runs) == ("sumcheck-zk-c", "zero-knowledge, unaudited", 1)
    assert measured.prove_cold_s is not None and measured.prove_cold_s > measured.prove_s > 0
    assert measured.setup_s > 0 and measured.verify_s > 0 and measured.proof_bytes > 0 and measured.top1_agreement == 1.0
    assert sorted(path.name for path in folder.folder.iterdir()) == before and not (tmp_path / "marks").exists()
