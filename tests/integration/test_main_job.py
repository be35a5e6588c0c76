"""The main job on the shipped circuits: compile what the lock pins, prove real samples, verify, refuse."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.waiting import has_ended, until
from verifai.cli import app as cli

SMALL = ("digits-mlp", "digits-cnn", "breast-cancer-mlp")


@dataclass(frozen=True)
class Workspace:
    """A copy of the checkout with every small circuit compiled from its lock and one sample of each proven."""

    folder: Path

    def circuit(self, name: str) -> Path:
        return self.folder / "circuits" / name

    def bundle(self, name: str) -> Path:
        return self.folder / "evidence" / name / "000000"

    def sample(self, name: str) -> dict[str, Any]:
        with np.load(self.folder / "fixtures" / name / "heldout.npz") as arrays:
            return {key: arrays[key][:1] for key in arrays.files if key != "label"}


def _json(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    status = cli.run([*arguments, "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return status, document


def _codes(document: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in document["findings"]} | {document.get("error", {}).get("code", "")}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "circuits", folder / "circuits", ignore=shutil.ignore_patterns("build", "*.local.lock"))
    shutil.copytree(ROOT / "fixtures", folder / "fixtures")
    space = Workspace(folder)
    for name in SMALL:
        before = (space.circuit(name) / "circuit.lock").read_bytes()
        assert cli.run(["compile", str(space.circuit(name)), "--locked", "-q"]) == 0
        assert (space.circuit(name) / "circuit.lock").read_bytes() == before, "a fresh clone reproduces the committed lock"
        one = folder / f"{name}.npz"
        np.savez(one, **space.sample(name))
        output = folder / "evidence" / name
        assert cli.run(["prove", str(space.circuit(name)), str(one), "-o", str(output), "--context", "nonce-7", "-q"]) == 0
    return space


@pytest.mark.parametrize("name", SMALL)
def test_a_proof_under_a_test_srs_is_not_good_enough(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status, document = _json(capsys, "verify", str(workspace.bundle(name)), "--lock", str(workspace.circuit(name)))
    assert status == 3
    assert "srs-test-only" in _codes(document)


@pytest.mark.parametrize("name", SMALL)
def test_the_statement_is_the_models_answer(workspace: Workspace, capsys: pytest.CaptureFixture[str], name: str) -> None:
    lock = str(workspace.circuit(name) / "circuit.lock")
    status, document = _json(capsys, "verify", str(workspace.bundle(name)), "--lock", lock, "--allow-test-srs")
    assert status == 0
    statement = document["bundles"][0]["statement"]
    output = next(tensor for tensor in statement["tensors"] if tensor["role"] == "output")
    logits = [int(q) * int(output["scale"][0]) / int(output["scale"][1]) for q in output["quantised"]]

    from verifai.onnx_graph.load import load_path
    from verifai.onnx_graph.reference import Reference

    model = load_path(workspace.folder / "fixtures" / name / "model.onnx")
    expected = next(iter(Reference(model).run(workspace.sample(name)).values())).reshape(-1)
    assert int(np.argmax(logits)) == int(np.argmax(expected))
    assert np.abs(np.array(logits) - expected).max() < 0.2
    assert statement["privacy"] == "zero-knowledge"


@pytest.mark.parametrize(("name", "good"), [("digits-mlp", 0), ("digits-cnn", 0), ("breast-cancer-mlp", 3)])
def test_whoever_holds_the_input_can_match_it_unless_it_is_private(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, good: int
) -> None:
    bundle, lock = str(workspace.bundle(name)), str(workspace.circuit(name))
    right = workspace.sample(name)
    np.savez(tmp_path / "right.npz", **right)
    arguments = ["verify", bundle, "--lock", lock, "--allow-test-srs", "--input"]
    status, document = _json(capsys, *arguments, str(tmp_path / "right.npz"))
    assert (status, "input-private" in _codes(document)) == (good, good == 3)
    if good:
        return
    wrong = {key: value.copy() for key, value in right.items()}
    next(iter(wrong.values())).flat[10] += 1 / 16
    np.savez(tmp_path / "wrong.npz", **wrong)
    status, document = _json(capsys, *arguments, str(tmp_path / "wrong.npz"))
    assert status == 1
    assert "input-mismatch" in _codes(document)


def test_a_wrong_output_is_refused_and_the_right_one_matches(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = [
        "verify",
        str(workspace.bundle("digits-mlp")),
        "--lock",
        str(workspace.circuit("digits-mlp")),
        "--allow-test-srs",
    ]
    _, document = _json(capsys, *arguments)
    output = next(t for t in document["bundles"][0]["statement"]["tensors"] if t["role"] == "output")
    values = np.array([int(q) * int(output["scale"][0]) / int(output["scale"][1]) for q in output["quantised"]], np.float32)
    values = values.reshape(output["shape"])
    np.savez(tmp_path / "right.npz", **{output["name"]: values})
    assert _json(capsys, *arguments, "--output", str(tmp_path / "right.npz"))[0] == 0
    values.flat[3] += 1
    np.savez(tmp_path / "wrong.npz", **{output["name"]: values})
    status, document = _json(capsys, *arguments, "--output", str(tmp_path / "wrong.npz"))
    assert status == 1
    assert "output-mismatch" in _codes(document)


def test_the_context_is_compared_when_asked(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "verify",
        str(workspace.bundle("digits-mlp")),
        "--lock",
        str(workspace.circuit("digits-mlp")),
        "--allow-test-srs",
    ]
    status, document = _json(capsys, *arguments, "--expect-context", "nonce-7")
    assert status == 3  # ezkl binds no context, and nobody trusted signed it
    assert "context-not-bound" in _codes(document)
    status, document = _json(capsys, *arguments, "--expect-context", "nonce-8")
    assert status == 1
    assert "context-mismatch" in _codes(document)


def test_another_circuits_lock_refuses_the_bundle(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = _json(
        capsys,
        "verify",
        str(workspace.bundle("digits-mlp")),
        "--lock",
        str(workspace.circuit("digits-cnn")),
        "--allow-test-srs",
    )
    assert status == 1
    assert "model-not-pinned" in _codes(document)


BAD_INPUTS: dict[str, Any] = {
    "NaN": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 3, np.nan, x),
    "infinite": lambda x: np.where(np.arange(x.size).reshape(x.shape) == 3, np.inf, x),
    "far out of range": lambda x: x * 1e6,
    "booleans": lambda x: x > 0,
    "text": lambda x: x.astype(str),
    "complex": lambda x: x.astype(complex),
    "wrong shape": lambda x: x[..., :5],
    "too precise for float32": lambda x: x.astype(np.float64) + 1e-12,
}


@pytest.mark.parametrize("kind", BAD_INPUTS)
def test_a_bad_input_is_named_and_leaves_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path, kind: str
) -> None:
    sample = workspace.sample("digits-mlp")
    (name, array), *_ = sample.items()
    np.savez(tmp_path / "bad.npz", **{name: BAD_INPUTS[kind](array)})
    output = tmp_path / "out"
    status, document = _json(
        capsys, "prove", str(workspace.circuit("digits-mlp")), str(tmp_path / "bad.npz"), "-o", str(output)
    )
    assert status == 2
    assert name in document["error"]["where"] + document["error"]["message"]
    assert not output.exists() or not list(output.iterdir())


def test_bundles_are_never_overwritten(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in workspace.bundle("digits-mlp").rglob("*")}
    status, document = _json(
        capsys,
        "prove",
        str(workspace.circuit("digits-mlp")),
        str(workspace.folder / "digits-mlp.npz"),
        "-o",
        str(workspace.bundle("digits-mlp").parent),
    )
    assert status == 2
    assert "file-exists" in _codes(document)
    assert {path: path.stat().st_mtime_ns for path in workspace.bundle("digits-mlp").rglob("*")} == before


def test_a_changed_build_file_is_refused_before_proving(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    copy = tmp_path / "circuits" / "digits-mlp"
    shutil.copytree(workspace.circuit("digits-mlp"), copy)
    (tmp_path / "fixtures").symlink_to(workspace.folder / "fixtures")
    pk = copy / "build" / "ezkl" / "pk.key"
    data = bytearray(pk.read_bytes())
    data[len(data) // 2] ^= 1
    pk.write_bytes(data)
    status, document = _json(capsys, "prove", str(copy), str(workspace.folder / "digits-mlp.npz"), "-o", str(tmp_path / "out"))
    assert status == 2
    assert "stale-build" in _codes(document)
    data, output = workspace.folder / "digits-mlp.npz", tmp_path / "other"
    prove = ("prove", str(copy), str(data), "-o", str(output), "--engine", "sumcheck")
    status, document = _json(capsys, *prove)
    assert status == 2
    assert "stale-build" in _codes(document)  # it was never built here
    (command,) = re.findall("`verifai (.*)`", document["error"]["hint"])
    assert _json(capsys, *shlex.split(command))[0] == 0
    assert _json(capsys, *prove)[0] == 0


def test_ctrl_c_stops_within_seconds_and_leaves_nothing(workspace: Workspace, tmp_path: Path) -> None:
    output = tmp_path / "out"
    arguments = ["prove", str(workspace.circuit("digits-cnn")), str(workspace.folder / "fixtures/digits-cnn/heldout.npz")]
    process = subprocess.Popen(
        [sys.executable, "-m", "verifai.cli.main", *arguments, "-o", str(output), "--limit", "50", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until(lambda: _children(process.pid) or process.poll() is not None)
    children = _children(process.pid)
    assert children, "a fenced child is at work"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130
    assert json.loads(out)["verdict"] == "interrupted"
    assert "Traceback" not in err
    # A killed child is gone once its own memory is freed and whoever adopted it has taken note: a moment after its parent.
    until(lambda: all(has_ended(int(child)) for child in children), "the end of its children")
    leftovers = [path for path in output.rglob("*") if path.name.endswith(".tmp")] if output.exists() else []
    assert not leftovers


def _children(pid: int) -> list[str]:
    if not Path("/proc").is_dir():
        pytest.skip("needs /proc to find the child processes")
    found = []
    for entry in (path.name for path in Path("/proc").iterdir()):
        if entry.isdigit():
            try:
                stat = Path(f"/proc/{entry}/stat").read_text()
            except OSError:
                continue
            if stat.rsplit(")", 1)[1].split()[1] == str(pid):
                found.append(entry)
    return found
