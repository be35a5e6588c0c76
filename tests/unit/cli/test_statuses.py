"""A mistake is a mistake, and no false evidence: what is named wrongly is status 2, and said before anything is spent."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.gate_world import ALICE, LOG_KEY, World, fake_engines
from tests.support.paths import ROOT
from verifai.bundle.keys import new_key, public_pem
from verifai.bundle.log import create_log, open_log
from verifai.cli.app import run
from verifai.errors import Undecided

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")
MODEL = ROOT / "fixtures" / "digits-mlp" / "model.onnx"
VOTERS = "--voter a.key.pub --voter b.key.pub --voter c.key.pub"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two bundles, a policy, a lock, keys of three people, a log, a model with inputs, and junk of several kinds."""
    world = World(tmp_path)
    for number in (1, 2):
        world.bundle(f"evidence/{number}", number, signers=[ALICE])
    world.policy()
    ALICE.write(tmp_path / "alice.key")
    LOG_KEY.write(tmp_path / "log.key")
    for name in "abc":
        new_key(tmp_path / f"{name}.key")
    (tmp_path / "alice.key.pub").write_bytes(public_pem(ALICE.public_key))
    create_log(tmp_path / "a.log", origin="example.org/log", key=LOG_KEY.public_key)
    shutil.copyfile(MODEL, tmp_path / "model.onnx")
    np.savez(tmp_path / "data.npz", pixels=np.zeros((2, 64), np.float32))
    (tmp_path / "junk.json").write_text('{"a": 1}')
    (tmp_path / "junk.txt").write_text("hello")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "beacon.json").write_text(json.dumps({"source": "l", "number": 1, "value": "5a" * 32}))
    (tmp_path / "nothing").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(words: str | Sequence[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = run([*(words.split() if isinstance(words, str) else words), "--json"])
    document = json.loads(capsys.readouterr().out)
    return status, document.get("error") or {}


@pytest.mark.parametrize("path", ["evidence", "nothing"])
@pytest.mark.parametrize(
    "command",
    ["unpack {} -o out", "log prove a.log {} --key log.key", "diff {} evidence/1", "diff evidence/1 {}"],
)  # fmt: skip
def test_a_folder_that_is_no_bundle_is_a_mistake(
    command: str, path: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = told(command.format(path), capsys)
    assert (status, error["code"]) == (2, "not-a-bundle")
    assert ("evidence/1" in error["hint"]) is (path == "evidence")


def test_a_bundle_that_lost_all_but_one_part_is_still_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever takes parts away does not make a rejection into a mistake."""
    shutil.rmtree(folder / "evidence" / "1" / "payload")
    (folder / "evidence" / "1" / "bundle.dsse.json").unlink()
    assert told("unpack evidence/1 -o out", capsys)[0] == 1


@pytest.mark.parametrize("junk", ["junk.json", "junk.txt", "empty", "data.npz", "alice.key", "circuit.lock"])
@pytest.mark.parametrize(
    "command",
    [
        "vote-commit {} model.onnx data.npz --key a.key -o out",
        f"vote-reveal {{}} a.json --beacon beacon.json --secret s --key a.key {VOTERS} -o out",
        f"vote-open model.onnx data.npz --calibration {{}} {VOTERS} --beacon-source l --beacon-number 1 -o out",
    ],
)
def test_what_is_no_message_at_all_is_a_mistake(
    command: str, junk: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = told(command.format(junk), capsys)
    assert status == 2, error
    assert error["hint"]
    assert not (folder / "out").exists()


@pytest.mark.parametrize("word", ["sys:exit", "builtins:quit", "os:getcwd"])
def test_what_foreign_code_ends_with_is_its_own(word: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(f"export {word} -o out.onnx", capsys)[0] == 2
    assert not (folder / "out.onnx").exists()


@pytest.mark.parametrize("name", ['a"b', "a'b", "a\nb", "\udcff", "x" * 65, "Ä", "[x]"])
def test_a_circuit_is_not_called_what_no_lock_can_hold(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, error = told(["init", "model.onnx", "-o", "circuit", "--yes", "--name", name], capsys)
    assert (status, error["code"]) == (2, "bad-spec")
    assert not (folder / "circuit").exists()


def test_a_long_folder_gives_a_circuit_a_short_name(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(["init", "model.onnx", "-o", "y" * 200, "--yes"], capsys)[0] == 0


@pytest.mark.parametrize("source", ["\udcff", "", "a\nb", "x" * 257])
def test_a_beacon_has_a_name_that_terms_can_hold(source: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["vote-open", "model.onnx", "data.npz", "--kind", "exact", *VOTERS.split(), "--beacon-number", "1", "-o", "out"]
    status, error = told([*words, "--beacon-source", source], capsys)
    assert (status, error["where"]) == (2, "--beacon-source")


@pytest.mark.parametrize("verb", ["verify evidence/1 --lock circuit.lock", "verify evidence --lock circuit.lock"])
@pytest.mark.parametrize("context", ["\udcff", "x" * 5000, ""])
def test_a_context_that_no_statement_can_carry_rejects_nothing(
    verb: str, context: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does an empty one, as of an unset variable, accept what nobody asked for."""
    status, error = told([*verb.split(), "--expect-context", context], capsys)
    assert (status, error["code"]) == (2, "bad-context")


@pytest.mark.parametrize(
    "command",
    [
        "seal evidence/1 --key alice.key --log a.log --log-key alice.key -o out",
        "gate evidence --attest out --key alice.key --log a.log --log-key alice.key",
        f"consensus junk.json --beacon beacon.json {VOTERS} -o out --key alice.key --log a.log --log-key alice.key",
    ],
)
def test_a_log_gets_nothing_that_its_key_cannot_sign(command: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is on a log is there for ever."""
    status, error = told(command, capsys)
    assert (status, error["code"]) == (2, "wrong-log-key")
    with open_log(folder / "a.log", read_only=True) as log:
        assert log.size == 0
    assert not (folder / "out").exists()


def test_a_log_takes_all_bundles_of_a_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert told("log append a.log evidence", capsys)[0] == 0
    with open_log(folder / "a.log", read_only=True) as log:
        assert log.size == 5  # the two have one circuit
    assert told("log append a.log evidence/1 evidence/2", capsys)[0] == 0
    with open_log(folder / "a.log", read_only=True) as log:
        assert log.size == 5  # the two have one circuit


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("seal absent --key alice.key", "file-missing", "absent"),
        ("seal evidence/1 --key alice.key.pub", "bad-key", "alice.key"),
        ("key show verifai.toml", "bad-key", "verifai key new"),
        ("gate evidence --policy circuit.lock", "bad-policy", "a circuit.lock"),
        ("verify evidence/1 --lock verifai.toml", "bad-lock", "a policy"),
        ("audit evidence/1 --trust circuit.lock", "bad-trust", "a circuit.lock"),
        ("verify evidence/1 --lock absent", "file-missing", "Check the path"),
        ("pack evidence/1 -o absent/x", "bad-output", "absent"),
    ],
)
def test_a_mistake_says_what_it_is_and_what_to_do(
    command: str, code: str, said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = told(command, capsys)
    assert (status, error["code"]) == (2, code)
    assert said in f"{error['message']} {error['where']} {error['hint']}"
    assert error["hint"]


def test_a_quiet_gate_sums_up(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["gate", "evidence", "-q"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("ACCEPTED 2 of 2 bundles accepted")


# False evidence stays false, whatever becomes of its report.


@pytest.mark.parametrize(("forged", "status"), [(True, 1), (False, 4)])
def test_a_report_that_is_lost_changes_no_rejection(
    forged: bool, status: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(path: Path, data: bytes, **_: object) -> None:
        raise Undecided("disk", "cannot write: No space left on device", where=str(path))

    World(folder).bundle("forged", 3, forged=True)
    monkeypatch.setattr("verifai.reports.write.write_atomic", full)
    bundle = "forged" if forged else "evidence/1"
    assert told(f"gate {bundle} --report json=r.json", capsys)[0] == status


@pytest.mark.parametrize("size", ["0 B", "1 B", "1023 KiB", "-1 GiB", "", "1e400 GiB", f"{'9' * 30} GiB", "4"])
@pytest.mark.parametrize(
    "command", ["verify evidence/1 --lock circuit.lock", "gate evidence", "verify absent --lock circuit.lock"]
)
def test_a_memory_limit_that_nothing_can_be_held_to_is_a_mistake(
    command: str, size: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = told([*command.split(), "--max-memory", size], capsys)
    assert (status, error["where"]) == (2, "--max-memory")
