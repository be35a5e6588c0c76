"""Nothing that runs a model leaves anything about it anywhere, or asks for a host: onnxruntime's telemetry is off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FIXTURE = ROOT / "fixtures" / "digits-mlp"

JOURNEY = """
import sys
from pathlib import Path
from verifai.cli.app import run
fixture, work = Path(sys.argv[1]), Path(sys.argv[2])
model, data = str(fixture / "model.onnx"), str(fixture / "calibration.npz")
def do(*words):
    status = run([str(word) for word in words])
    assert status == 0, (words, status)
do("export", model, "-o", work / "model.onnx")
do("init", model, "-o", work / "c", "--engine", "sumcheck", "--calibration", data, "--yes")
do("compile", work / "c")
do("prove", work / "c", fixture / "heldout.npz", "-o", work / "e", "--limit", "1")
do("verify", work / "e" / "000000", "--lock", work / "c")
do("trust", "init", "-o", work / "trust.toml", "--lock", work / "c" / "circuit.lock")
do("audit", work / "e" / "000000", "--trust", work / "trust.toml")
for name in "abc":
    do("key", "new", work / f"key-{name}", "--no-passphrase")
voters = [word for name in "abc" for word in ("--voter", work / f"key-{name}.pub")]
beacon = ["--beacon-source", "x", "--beacon-number", "1"]
do("vote-open", model, work / "two.npz", *voters, "--kind", "exact", *beacon, "-o", work / "round")
do("vote-commit", work / "round", model, work / "two.npz", "--key", work / "key-a", "-o", work / "commitment")
"""


def test_a_journey_leaves_nothing_in_the_users_folders_and_asks_for_no_host(tmp_path: Path) -> None:
    import numpy as np

    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    home.mkdir()
    with np.load(FIXTURE / "heldout.npz") as rows:
        np.savez(work / "two.npz", pixels=rows["pixels"][:2])
    script = tmp_path / "journey.py"
    script.write_text(JOURNEY)
    # Our own folders are elsewhere, so that whatever appears below HOME was put there by somebody else.
    ours = {f"XDG_{kind}_HOME": str(tmp_path / kind) for kind in ("STATE", "DATA")}
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    environment = {**_plain(), **ours, "HOME": str(home), "NUMBA_CACHE_DIR": f"{cache}/verifai/numba", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(script), str(FIXTURE), str(work)]
    calls = tmp_path / "calls"
    if strace := shutil.which("strace"):
        command = [strace, "-f", "-qq", "-e", "trace=connect,sendto,sendmmsg", "-o", str(calls), *command]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if strace and "ptrace" in done.stderr:
        pytest.skip("no process may be traced here")
    assert done.returncode == 0, done.stderr[-2000:]
    assert [str(path.relative_to(home)) for path in home.rglob("*")] == []
    if strace:
        asked = [line for line in calls.read_text(errors="replace").splitlines() if "AF_INET" in line]
        assert asked == []


def _plain() -> dict[str, str]:
    """This process's environment without what the package sets, and without a user's own folders."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "ORT_"))}


@pytest.mark.parametrize(
    "module", ["verifai", "verifai.cli.main", "verifai.onnx_graph.runtime", "verifai.execution.child_entry"]
)
def test_it_is_off_before_anything_of_ours_can_load_it(module: str) -> None:
    code = (
        f"import os, sys, json, {module}\n"
        "print(json.dumps([os.environ.get('ORT_DISABLE_TELEMETRY'), 'onnxruntime' in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=_plain(), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["1", False]
