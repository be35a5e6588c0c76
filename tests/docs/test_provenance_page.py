"""The worked example of docs/provenance.md, run as it is printed: a release passes the gate, a swapped model does not."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.support.paths import ROOT
from tests.support.provenance_world import PUBLISHER, scorer
from tests.support.releases import public_pem, sign_folder
from verifai.bundle.keys import new_key
from verifai.cli import app as cli
from verifai.onnx_graph.canonicalise import canonicalise

PAGE = (ROOT / "docs" / "provenance.md").read_text(encoding="utf-8")
Sign = Callable[[list[str], Path], None]


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S)


def prepare(folder: Path) -> None:
    """What the page says that there is."""
    (folder / "release").mkdir()
    (folder / "release" / "scorer.onnx").write_bytes(scorer(0))
    (folder / "other.onnx").write_bytes(canonicalise(scorer(77), where="other", dims={"N": 1}).model.data)
    (folder / "publisher.pem").write_bytes(PUBLISHER.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    random = np.random.default_rng(1)
    np.savez(folder / "calibration.npz", x=random.normal(size=(60, 1, 4)).astype(np.float32).clip(-3, 3))
    np.savez(folder / "inputs.npz", x=random.normal(size=(1, 1, 4)).astype(np.float32).clip(-2, 2))
    key = new_key(folder / "notary.key")
    trust, policy = blocks("toml")[:2]
    trust = trust.replace("ed25519:…", str(key)).replace(
        re.search(r"-----BEGIN.*?-----END PUBLIC KEY-----\n", trust, flags=re.S)[0],
        public_pem(PUBLISHER),  # type: ignore[index]
    )
    (folder / "trust.toml").write_text(trust)
    (folder / "policy.toml").write_text(policy)
    (folder / "swapped.toml").write_text(policy.replace("scorer/circuit.lock", "swapped/circuit.lock"))


def run_page(folder: Path, sign: Sign, capsys: pytest.CaptureFixture[str]) -> list[tuple[str, int]]:
    """Every command of the page, in its order, with the status and the code that the page says."""
    prepare(folder)
    seen = []
    for line in "".join(blocks("console")).splitlines():
        command, _, expected = line.removeprefix("$ ").partition("#")
        words = shlex.split(command)
        if words[0] == "model_signing":
            sign(words, folder)
            continue
        status, code = re.fullmatch(r"\s*status (\d): ([a-z-]+)", expected).groups() if expected else ("0", "")  # type: ignore[union-attr]
        assert cli.run([*words[1:], "--json"]) == int(status), command
        assert not code or code in json.dumps(json.loads(capsys.readouterr().out)), command
        capsys.readouterr()
        seen.append((words[1], int(status)))
    return seen


def sign_here(words: list[str], folder: Path) -> None:
    """In place of the tool, which is not installed by default; ``tests/interop`` runs it."""
    sign_folder(folder / words[3], PUBLISHER)


def sign_with_the_tool(words: list[str], folder: Path) -> None:
    """The line as printed."""
    subprocess.run([shutil.which("model_signing") or "", *words[1:]], cwd=folder, check=True, timeout=300)


VERBS = [
    "export",
    "init",
    "compile",
    "provenance",
    "notarise",
    "prove",
    "gate",
    "init",
    "compile",
    "provenance",
    "prove",
    "gate",
]


def test_the_worked_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    seen = run_page(tmp_path, sign_here, capsys)
    assert [verb for verb, _ in seen] == VERBS
    assert [status for verb, status in seen if verb == "gate"] == [0, 3]
