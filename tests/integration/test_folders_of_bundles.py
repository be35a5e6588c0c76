"""Folders of bundles: every verb takes them, finds the same bundles in them, and ends in totals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate_world import ALICE, ENGINE_USERS, FakeEngine, World
from tests.support.paths import ROOT
from verifai.bundle.reader import open_bundle
from verifai.cli import app as cli
from verifai.cli.folders import FAILED_SHOWN, SHOWN
from verifai.domain.proof_index import INDEX_FILE, START

V1 = ROOT / "fixtures" / "bundles" / "v1"
COUNT = SHOWN + 10


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    for name in ENGINE_USERS:
        monkeypatch.setattr(f"{name}.engine_for", FakeEngine)
    monkeypatch.chdir(tmp_path)
    world = World(tmp_path)
    world.write_lock()
    for number in range(COUNT):
        world.bundle(f"evidence/{number:06d}", number)
    (tmp_path / "evidence" / INDEX_FILE).write_bytes(START + b"}\n")
    return world


def spoil(world: World) -> None:
    """A forged proof, a bundle that lost a file, a link, a folder and a file that are none."""
    world.bundle("evidence/000098", 1, forged=True)
    (world.bundle("evidence/000099", 2) / "payload" / "model.onnx").unlink()
    (world.folder / "evidence" / "link").symlink_to(world.folder / "evidence" / "000000")
    (world.folder / "evidence" / "old").mkdir()
    (world.folder / "evidence" / "notes.txt").write_text("notes")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return status, document


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    status = cli.run([*map(str, arguments)])
    return status, capsys.readouterr().out.splitlines()


VERIFY = ("verify", "--lock", "circuit.lock")


def test_a_folder_that_is_no_bundle_is_not_called_false(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = run(capsys, *VERIFY, "evidence")
    assert (status, document["totals"]["outcomes"]["accepted"]) == (0, COUNT)
    assert [Path(one["path"]).name for one in document["bundles"]] == [f"{number:06d}" for number in range(COUNT)]
    status, lines = printed(capsys, *VERIFY, "evidence")
    assert (status, lines[-1]) == (0, f"{COUNT} bundles: {COUNT} accepted")
    assert not any("REJECTED" in line for line in lines)
    assert len(lines) < SHOWN + 25, "what all of them say is said once"
    assert printed(capsys, *VERIFY, "evidence", "-q") == (0, [f"{COUNT} bundles: {COUNT} accepted"])
    assert printed(capsys, *VERIFY, *sorted((world.folder / "evidence").iterdir()), "-q")[1] == lines[-1:], (
        "the shell's pattern"
    )


def test_what_is_false_is_listed_and_what_is_none_is_told(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(world)
    status, document = run(capsys, *VERIFY, "evidence")
    assert status == 1
    assert document["totals"] == {
        "bundles": COUNT + 2,
        "outcomes": {"accepted": COUNT, "rejected": 2, "policy-not-met": 0, "undecided": 0, "not-checked": 0},
        "codes": {"file-absent": 1, "proof-invalid": 1},
        "others": 3,
    }
    told = {Path(one["where"]).name: one["outcome"] for one in document["findings"] if one["code"] == "not-a-bundle"}
    assert told == {"link": "undecided", "notes.txt": "not-checked", "old": "undecided"}
    status, lines = printed(capsys, *VERIFY, "evidence")
    assert sum(line.startswith("REJECTED") for line in lines) == 2
    end = f"{COUNT + 2} bundles: {COUNT} accepted, 2 rejected; codes: file-absent 1, proof-invalid 1; 3 other entries "
    end += "not looked at"
    assert lines[-1] == end
    assert printed(capsys, *VERIFY, "evidence", "-q") == (1, [end])


@pytest.mark.parametrize(("stray", "status"), [("notes.txt", 0), ("link", 4), ("old", 4)])
def test_a_link_or_a_folder_may_be_evidence_that_nobody_looked_at(
    world: World, capsys: pytest.CaptureFixture[str], stray: str, status: int
) -> None:
    spoil(world)
    for name in {"000098", "000099", "notes.txt", "link", "old"} - {stray}:
        path = world.folder / "evidence" / name
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    found, document = run(capsys, *VERIFY, "evidence")
    assert found == status
    assert {one["code"] for one in document["findings"] if one["outcome"] == "undecided"} == (
        {"not-a-bundle"} if status else set()
    )


def test_very_many_failures_are_bounded_and_counted(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(FAILED_SHOWN + 20):
        (world.folder / "evidence" / f"x{number}.vbundle").touch()
    status, lines = printed(capsys, *VERIFY, "evidence")
    assert status == 1
    assert sum(line.startswith("REJECTED") for line in lines) == FAILED_SHOWN
    assert any("20 more bundles" in line for line in lines)
    assert f"{FAILED_SHOWN + 20} rejected" in lines[-1]


@pytest.mark.parametrize("verb", [VERIFY, ("inspect",), ("pack", "-o", "out"), ("seal", "--key", "alice.key"), ("gate",)])
def test_a_folder_without_bundles_is_nothing_to_check(
    world: World, capsys: pytest.CaptureFixture[str], verb: tuple[str, ...]
) -> None:
    world.policy()
    ALICE.write(world.folder / "alice.key")
    (world.folder / "empty").mkdir()
    status, document = run(capsys, *verb, "empty")
    assert (status, document["error"]["code"]) == (4, "nothing-to-check")
    if verb[0] != "gate":
        assert run(capsys, *verb, "evidence", "evidence/000003")[1]["error"]["code"] == "bad-option"
    assert not (world.folder / "out").exists()


def test_the_gate_finds_the_same_bundles_and_still_fails_on_strays(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.policy()
    status, document = run(capsys, "gate", "evidence", "--jobs", "1")
    assert (status, len(document["bundles"])) == (0, COUNT)
    (world.folder / "evidence" / "notes.txt").write_text("notes")
    assert run(capsys, "gate", "evidence", "--jobs", "1")[0] == 1
    (world.folder / "evidence" / "notes.txt").unlink()
    (world.folder / "evidence" / INDEX_FILE).write_text("no index")
    assert run(capsys, "gate", "evidence", "--jobs", "1")[0] == 1


def test_packing_and_sealing_folders_end_in_totals(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    ALICE.write(world.folder / "alice.key")
    status, lines = printed(capsys, "pack", "evidence", "-o", "packed")
    assert (status, lines[-2]) == (0, f"{COUNT} bundles: {COUNT} packed")
    assert "`verifai handover evidence --lock LOCK -o CASE`" in lines[-1], "one file of all of them is a case"
    assert sorted(path.name for path in Path("packed").iterdir()) == [f"{number:06d}.vbundle" for number in range(COUNT)]
    assert printed(capsys, *VERIFY, "packed", "-q")[1] == [f"{COUNT} bundles: {COUNT} accepted"]
    assert run(capsys, "pack", "evidence", "-o", "packed")[1]["error"]["code"] == "bad-output"
    Path("half").mkdir()
    Path("half/000007").touch()
    assert run(capsys, "seal", "evidence", "--key", "alice.key", "-o", "half")[1]["error"]["code"] == "file-exists"
    assert [path.name for path in Path("half").iterdir()] == ["000007"]
    assert printed(capsys, "seal", "evidence", "--key", "alice.key", "-q") == (0, [f"{COUNT} bundles: {COUNT} sealed"])
    status, document = run(capsys, "seal", "packed", "--key", "alice.key", "-o", "sealed")
    assert (status, document["totals"]["outcomes"]) == (0, {"sealed": COUNT, "not-sealed": 0})
    for folder in ("evidence", "sealed"):
        for path in sorted(Path(folder).glob("0*")):
            with open_bundle(path) as bundle:
                assert len(bundle.envelope.signatures) == 1
    assert run(capsys, "seal", "evidence", "-o", "nothing")[1]["error"]["code"] == "bad-option"
    assert not Path("nothing").exists()


def test_one_that_cannot_be_packed_keeps_no_other_from_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(world)
    status, document = run(capsys, "pack", "evidence", "-o", "packed")
    assert status == 1
    assert document["totals"]["outcomes"] == {"packed": COUNT + 1, "not-packed": 1}
    assert [(Path(one["path"]).name, one["code"]) for one in document["failed"]] == [("000099", "file-absent")]
    assert not Path("packed/000099.vbundle").exists()
    status, lines = printed(capsys, "inspect", "evidence")
    assert status == 1
    assert lines[-1].startswith(f"{COUNT + 2} bundles: {COUNT + 1} readable, 1 not readable; codes: file-absent 1;")
    status, document = run(capsys, "inspect", "evidence")
    assert [one["verified"] for one in document["bundles"]] == [False] * (COUNT + 1)


def test_one_bundle_is_told_of_as_ever(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    status, document = run(capsys, "inspect", "evidence/000000")
    assert (status, "bundles" in document, "totals" in document) == (0, False, False)
    status, document = run(capsys, "pack", "evidence/000000", "-o", "one")
    assert (status, document["path"], Path("one").is_file()) == (0, "one", True)
    shutil.rmtree("evidence/000001/payload")
    status, document = run(capsys, "pack", "evidence/000001", "-o", "two")
    assert (status, document["error"]["code"]) == (1, "file-absent")


def test_an_audit_of_a_folder_ends_in_totals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "e"
    folder.mkdir()
    for name in ("accept/single-file", "accept/other-digit", "reject/archive-cut", "reject/unsigned"):
        shutil.copyfile(V1 / f"{name}.vbundle", folder / f"{Path(name).name}.vbundle")
    audit = ("audit", folder, "--trust", V1 / "trust.toml", "--no-rederive")
    status, lines = printed(capsys, *audit)
    assert status == 1
    assert lines[-1].startswith("4 bundles: 2 accepted, 1 rejected, 1 policy not met; codes: ")
    assert any("[key-not-rederived] 3 of 4" in line for line in lines)
    status, quiet = printed(capsys, *audit, "-q")
    assert quiet == lines[-1:]
    assert run(capsys, *audit)[1]["totals"]["outcomes"] == {
        "accepted": 2, "rejected": 1, "policy-not-met": 1, "undecided": 0,
    }  # fmt: skip
