"""The worked example of docs/evaluation.md runs as printed, and its result is the one that the page quotes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.cli import app as cli

PAGE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.S)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "circuits" / "digits-mlp").mkdir(parents=True)
    for name in ("circuit.toml", "circuit.lock"):
        (tmp_path / "circuits" / "digits-mlp" / name).write_bytes((ROOT / "circuits" / "digits-mlp" / name).read_bytes())
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures", target_is_directory=True)
    return tmp_path


def test_the_worked_example(checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(checkout)
    (policy,) = blocks("toml")
    (checkout / "verifai.toml").write_text(policy, encoding="utf-8")
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    assert len(commands) >= 6
    said = ""
    for command in commands:
        status = cli.run(shlex.split(command)[1:])
        captured = capsys.readouterr()
        assert status == 0, f"{command}\n{captured.out}\n{captured.err}"
        said += captured.out
    (quoted,) = re.findall(r"(?:^> .*\n)+", PAGE, flags=re.M)
    sentence = " ".join(line.removeprefix("> ") for line in quoted.splitlines())
    assert sentence in " ".join(said.split())
    for page in ("gate.html", "audit.html"):
        text = (checkout / page).read_text(encoding="utf-8")
        assert 'class="confusion"' in text
        assert "<script" not in text


def test_the_audit_is_not_made_with_a_test_set_up_silently() -> None:
    assert "--allow-test-srs" not in PAGE
