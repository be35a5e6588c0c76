"""No output takes the place of what is read or of what people rest on, whichever verb writes it and however it is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gate_world import ALICE, World, fake_engines
from verifai.bundle.keys import new_key
from verifai.bundle.log import create_log
from verifai.cli.app import run
from verifai.domain.our_files import DOCUMENTS, kept_file
from verifai.execution.outputs import Kind, check_output

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """A bundle, a lock, a policy, a trust file, keys and a log: everything that a report could destroy."""
    made = World(tmp_path_factory.mktemp("outputs"))
    made.bundle("evidence/a", signers=[ALICE])
    made.policy()
    key = new_key(made.folder / "signing.key")
    create_log(made.folder / "audit.log", origin="example.org/log", key=key)
    (made.folder / "signing.link").symlink_to("signing.key")
    os.link(made.folder / "audit.log", made.folder / "other-name.log")
    os.mkfifo(made.folder / "pipe")
    return made


def _snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _lock(world: World) -> str:
    return str(next(world.folder.rglob("circuit.lock")))


TAKEN: dict[str, Callable[[World], str]] = {
    "the log itself": lambda world: "audit.log",
    "the log by another spelling": lambda world: "evidence/../audit.log",
    "the log by another name": lambda world: "other-name.log",
    "the private key": lambda world: "signing.key",
    "the public key": lambda world: "signing.key.pub",
    "a link to the key": lambda world: "signing.link",
    "a pipe": lambda world: "pipe",
    "a device": lambda world: "/dev/null",
    "a folder": lambda world: "evidence",
    "a lock that only a policy names": _lock,
    "a file of a bundle": lambda world: "evidence/a/bundle.dsse.json",
    "a new file in a bundle": lambda world: "evidence/a/payload/report.json",
    "no folder": lambda world: "absent/report.json",
    "a name that is too long": lambda world: "x" * 300,
}

COMMANDS = {
    "log checkpoint": "log checkpoint audit.log --key signing.key -o {}",
    "log prove": "log prove audit.log evidence/a --key signing.key -o {}",
    "log consistency": "log consistency audit.log --from 1 -o {}",
    "gate": "gate evidence/a --report json={}",
    "gate, JUnit": "gate evidence/a --report junit={}",
    "gate, SARIF": "gate evidence/a --report sarif={}",
    "pack": "pack evidence/a -o {}",
    "page": "page evidence/a --lock circuit.lock -o {}",
    "page, empty": "page --empty -o {}",
    "trust init": "trust init -o {}",
    "key new": "key new {} --no-passphrase",
    "gate-init": "gate-init evidence/a --lock circuit.lock --force -o {}",
}


@pytest.mark.parametrize("taken", TAKEN)
@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_is_taken_is_refused_before_work_begins(
    command: str, taken: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world.folder)
    target = TAKEN[taken](world)
    before = _snapshot(world.folder)
    assert run(COMMANDS[command].format(target).split()) == 2
    assert "hint" in capsys.readouterr().err
    assert _snapshot(world.folder) == before
    assert (world.folder / "signing.link").is_symlink()
    assert (world.folder / "pipe").is_fifo()


@pytest.mark.parametrize("second", ["r.out", "./r.out", "evidence/../r.out"])
def test_two_reports_have_two_files(
    second: str, world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(world.folder)
    command = f"gate evidence/a --report json=r.out --report html={second}"
    assert run(command.split()) == 2
    assert "r.out" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["verifai.toml", "sub/../verifai.toml"])
def test_the_policy_is_no_report(path: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(world.folder)
    (world.folder / "sub").mkdir(exist_ok=True)
    before = (world.folder / "verifai.toml").read_bytes()
    assert run(["gate", "evidence/a", "--report", f"markdown={path}"]) == 2
    assert (world.folder / "verifai.toml").read_bytes() == before


def test_an_older_report_is_written_over(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the same command wrote before is no loss: pipelines name one file for every run."""
    monkeypatch.chdir(world.folder)
    for name in ("json", "junit", "sarif", "markdown", "html", "github"):
        command = ["gate", "evidence/a", "--report", f"{name}={tmp_path / name}"]
        assert [run(command), run(command)] == [0, 0]


@pytest.mark.parametrize("name", sorted(DOCUMENTS))
def test_a_document_of_ours_is_known_as_toml_and_as_json(name: str) -> None:
    for text in (f'# a comment\n\nschema = "{name}/v1"\n', f'{{\n  "schema": "{name}/v1"\n}}', f'{{"schema":"{name}/v12"}}'):
        assert kept_file(text.encode()) == DOCUMENTS[name]


@pytest.mark.parametrize(
    "text",
    [
        '{"schema": "verifai/audit/v1"}',
        "<!doctype html><p>[circuit]</p>",
        "example.org/log\n7\nabcd=\n\n— example.org/log xyz\n",
        "## Gate\n\nschema: verifai/policy/v1\n",
        "",
    ],
)
def test_a_report_or_a_note_may_be_written_again(text: str) -> None:
    assert kept_file(text.encode()) == ""


def test_what_a_circuit_keeps_for_itself_is_no_place_for_an_output(tmp_path: Path) -> None:
    circuit = tmp_path / "circuit"
    for inner in ("build", "secrets", "evidence"):
        (circuit / inner).mkdir(parents=True)
    (circuit / "circuit.toml").write_text("[circuit]\n")
    check_output(circuit / "evidence" / "report.json")
    check_output(circuit / "evidence", Kind.TREE)
    for path, kind in (("build/report.json", Kind.FILE), ("secrets/new", Kind.FOLDER), ("build", Kind.TREE)):
        with pytest.raises(Exception, match="circuit"):
            check_output(circuit / path, kind)
