"""The worked example of docs/evaluation.md runs as printed, and its result is the one that the page quotes."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import tomli_w

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
    policy, _ = blocks("toml")
    (checkout / "verifai.toml").write_text(policy, encoding="utf-8")
    commands = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
    assert len(commands) >= 6
    said = ""
    for command in commands:
        status = cli.run(shlex.split(command)[1:])
        captured = capsys.readouterr()
        assert status == 0, f"{command}\n{captured.out}\n{captured.err}"
        said += captured.out
    assert quotes()[0] in " ".join(said.split())
    for page in ("gate.html", "audit.html"):
        text = (checkout / page).read_text(encoding="utf-8")
        assert 'class="confusion"' in text
        assert "<script" not in text


def test_the_same_counted_inside_with_weights_and_answers_hidden(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(checkout)
    path = checkout / "circuits" / "digits-mlp" / "circuit.toml"
    document = tomllib.loads(path.read_text(encoding="utf-8"))
    for table, fields in tomllib.loads(blocks("toml")[1]).items():
        document[table] |= fields
    path.write_text(tomli_w.dumps(document), encoding="utf-8")
    said = ""
    for command in blocks("sh")[0].splitlines():
        assert cli.run(shlex.split(command)[1:]) == 0, command
        said += capsys.readouterr().out
    assert quotes()[1] in " ".join(said.split())


def quotes() -> list[str]:
    found = re.findall(r"(?:^> .*\n)+", PAGE, flags=re.M)
    return [" ".join(line.removeprefix("> ") for line in one.splitlines()) for one in found]


def test_the_audit_is_not_made_with_a_test_set_up_silently() -> None:
    assert "--allow-test-srs" not in PAGE
