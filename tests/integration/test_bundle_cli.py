"""The bundle verbs on the command line: statuses, JSON, files named in the output, nothing left half-written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.cli import app as cli

V1 = ROOT / "fixtures" / "bundles" / "v1"
FILE = V1 / "accept" / "single-file.vbundle"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = cli.run([*(str(one) for one in arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return status, document


def codes(document: dict[str, Any]) -> set[str]:
    return {one["code"] for one in document["findings"]} | {document.get("error", {}).get("code", "")}


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert run(capsys, "unpack", FILE, "-o", tmp_path / "b")[0] == 0
    return tmp_path / "b"


def test_statuses_of_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit = ("audit", "--no-rederive", "--trust", V1 / "trust.toml")
    assert run(capsys, *audit, FILE, "--expect-context", "frozen")[0] == 0
    status, document = run(capsys, *audit, FILE, "--expect-context", "another")
    assert (status, "context-mismatch" in codes(document)) == (1, True)
    status, document = run(capsys, *audit, V1 / "reject" / "unsigned.vbundle")
    assert (status, "unsigned" in codes(document)) == (3, True)
    status, document = run(capsys, *audit, FILE, V1 / "reject" / "unsigned.vbundle", V1 / "reject" / "proof-byte.vbundle")
    assert status == 1, "rejected comes before policy not met"
    assert [one["verdict"] for one in document["bundles"]] == ["holds", "policy-not-met", "rejected"]
    assert run(capsys, *audit, tmp_path / "none")[0] == 2
    assert run(capsys, *audit, FILE, FILE)[0] == 2
    assert run(capsys, "audit", FILE, "--trust", tmp_path / "none")[0] == 2


def test_reports_are_written_whatever_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, expected in (("accept/single-file", 0), ("reject/archive-cut", 1)):
        html, plain = tmp_path / f"{expected}.html", tmp_path / f"{expected}.json"
        status, document = run(
            capsys, "audit", V1 / f"{name}.vbundle", "--trust", V1 / "trust.toml", "--no-rederive",
            "--report", f"html={html}", "--report", f"json={plain}",
        )  # fmt: skip
        assert status == expected
        assert document["reports"] == [str(html), str(plain)]
        assert html.read_text().startswith("<!doctype html>")
        assert json.loads(plain.read_text())["bundles"] == document["bundles"]
    for bad in ("docx=x", "html", "html=", "=x"):
        assert run(capsys, "audit", FILE, "--trust", V1 / "trust.toml", "--report", bad)[0] == 2


def test_keys_seal_log_and_witness_together(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = {name: tmp_path / f"{name}.key" for name in ("me", "log", "witness")}
    for path in keys.values():
        assert run(capsys, "key", "new", path, "--no-passphrase")[0] == 0
    log = tmp_path / "log"
    assert run(capsys, "log", "init", log, "--origin", "o.example/l", "--key", f"{keys['log']}.pub")[0] == 0
    assert run(capsys, "log", "append", log, folder)[1]["size"] == 3
    assert run(capsys, "log", "checkpoint", log, "--key", keys["log"], "-o", tmp_path / "cp")[0] == 0
    cosign = ("log", "cosign", tmp_path / "cp", "--origin", "o.example/l", "--log-key", f"{keys['log']}.pub")
    witness = ("--name", "w.example/1", "--key", keys["witness"], "--state", tmp_path / "state", "-o", tmp_path / "cosigned")
    assert run(capsys, *cosign, *witness)[0] == 0
    seal = ("seal", folder, "--key", keys["me"], "--log", log, "--log-key", keys["log"], "--checkpoint", tmp_path / "cosigned")
    assert run(capsys, *seal)[0] == 2, "a new bundle needs a name"
    status, sealed = run(capsys, *seal, "-o", tmp_path / "sealed")
    assert status == 0
    verify = ("--origin", "o.example/l", "--key", f"{keys['log']}.pub")
    assert run(capsys, "log", "verify", sealed["sidecar"], tmp_path / "sealed", *verify)[0] == 0
    assert run(capsys, "log", "verify", sealed["sidecar"], folder, *verify)[0] == 1
    assert run(capsys, "log", "check", log, "--seen", tmp_path / "cosigned")[0] == 0
    status, shown = run(capsys, "inspect", tmp_path / "sealed")
    assert (status, shown["log"]["origin"], shown["verified"]) == (0, "o.example/l", False)
    changed = {one["aspect"] for one in run(capsys, "diff", folder, tmp_path / "sealed")[1]["changes"]}
    assert changed == {"evidence", "signers"}


def test_pack_and_unpack_never_overwrite(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "pack", folder, "-o", tmp_path / "again")[0] == 0
    assert (tmp_path / "again").read_bytes() == FILE.read_bytes()
    assert run(capsys, "pack", folder, "-o", tmp_path / "again")[0] == 2
    assert run(capsys, "unpack", tmp_path / "again", "-o", folder)[0] == 2
    assert run(capsys, "pack", V1 / "reject" / "archive-cut.vbundle", "-o", tmp_path / "new")[0] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "b"]


def test_a_passphrase_is_never_asked_for_without_a_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = run(capsys, "key", "new", tmp_path / "k")
    assert (status, document["error"]["code"]) == (2, "bad-passphrase")
    assert list(tmp_path.iterdir()) == []
