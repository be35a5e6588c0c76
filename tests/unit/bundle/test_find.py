"""Bundles behind paths: one way of finding them, deterministic, bounded, and silent about nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.bundle import find
from verifai.bundle.archive import pack, unpack
from verifai.bundle.each import each_bundle, free_names
from verifai.bundle.find import find_bundles, find_distinct
from verifai.domain.findings import Outcome
from verifai.domain.proof_index import INDEX_FILE, START
from verifai.errors import EvidenceRejected, Undecided, UsageError, VerifaiError

FILE = ROOT / "fixtures" / "bundles" / "v1" / "accept" / "single-file.vbundle"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three bundles in two forms, as `prove` and `pack` leave them."""
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    for name in ("000001", "000000"):
        unpack(FILE, evidence / name)
    shutil.copyfile(FILE, evidence / "000002.vbundle")
    (evidence / INDEX_FILE).write_bytes(START + b"}\n")
    return evidence


def names(found: find.FoundBundles) -> list[str]:
    return [path.name for path in found.paths]


def test_what_is_no_bundle_is_told_and_links_and_folders_leave_the_whole_undecided(folder: Path) -> None:
    (folder / "notes.txt").write_text("hello")
    np.savez(folder / "heldout.npz", x=np.zeros(3))
    (folder / "empty").touch()
    (folder / "link").symlink_to(folder / "000000")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "sub").mkdir()
    os.mkfifo(folder / "pipe")
    found = find_distinct([folder])
    assert names(found) == ["000000", "000001", "000002.vbundle"]
    told = {Path(one.where).name: one.outcome for one in found.other_findings()}
    assert {name for name, outcome in told.items() if outcome is Outcome.NOT_CHECKED} == {"empty", "heldout.npz", "notes.txt"}
    assert {name for name, outcome in told.items() if outcome is Outcome.UNDECIDED} == {"dangling", "link", "pipe", "sub"}


@pytest.mark.parametrize("left", ["payload", "attestations", "bundle.dsse.json"])
def test_a_bundle_that_lost_its_parts_is_still_one_so_that_its_reader_refuses_it(folder: Path, left: str) -> None:
    broken = folder / "000001"
    for part in broken.iterdir():
        if part.name != left:
            shutil.rmtree(part) if part.is_dir() else part.unlink()
    assert "000001" in names(find_distinct([folder]))
    assert names(find_distinct([broken])) == ["000001"], "named itself, it is no folder of bundles"


def test_a_packed_bundle_is_known_by_its_name_or_by_its_first_bytes(folder: Path) -> None:
    shutil.copyfile(FILE, folder / "release")
    (folder / "cut.vbundle").write_bytes(b"")
    assert names(find_distinct([folder])) == ["000000", "000001", "000002.vbundle", "cut.vbundle", "release"]


def test_nothing_to_look_at_is_undecided(tmp_path: Path, folder: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copyfile(folder / INDEX_FILE, alone / INDEX_FILE)
    nested = tmp_path / "nested"
    shutil.copytree(folder, nested / "run")
    for paths in ([], [empty], [alone], [alone / INDEX_FILE], [nested]):
        with pytest.raises(Undecided) as caught:
            find_distinct(paths)
        assert caught.value.code == "nothing-to-check"


@pytest.mark.parametrize("again", ["evidence/000000", "evidence/./000000", "evidence/../evidence/000000"])
def test_a_bundle_meant_twice_is_refused(folder: Path, again: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_distinct([folder, folder.parent / again])
    assert caught.value.code == "bad-option"


def test_thousands_of_entries_are_bounded_before_they_are_looked_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3000):
        (folder / f"x{number}").touch()
    assert len(find_distinct([folder]).others) == 3000
    monkeypatch.setattr(find, "MAX_ENTRIES", 3000)
    with pytest.raises(UsageError, match="more than 3000 entries"):
        find_distinct([folder])
    monkeypatch.setattr(find, "MAX_INPUTS", 2)
    with pytest.raises(UsageError, match="more than 2 bundles"):
        find_distinct([folder / "000000", folder / "000001", folder / "000002.vbundle"])


def test_the_order_is_that_of_the_paths_and_of_names_in_a_folder(folder: Path) -> None:
    other = folder.parent / "other"
    unpack(FILE, other)
    assert names(find_bundles([other, folder])) == ["other", "000000", "000001", "000002.vbundle"]
    assert find_bundles([other]).folders is False
    assert find_bundles([folder]).folders is True


def test_the_index_is_left_out_also_where_a_shell_named_it_and_only_when_it_is_one(folder: Path) -> None:
    assert names(find_distinct(sorted(folder.iterdir()))) == ["000000", "000001", "000002.vbundle"]
    (folder / INDEX_FILE).write_text("{}")
    assert INDEX_FILE in {entry.path.name for entry in find_bundles([folder]).others}
    (folder / INDEX_FILE).unlink()
    (folder / INDEX_FILE).symlink_to(folder / "000000")
    assert INDEX_FILE in {entry.path.name for entry in find_bundles([folder]).others}


def test_a_path_that_is_not_there_is_its_readers_business_or_refused(folder: Path) -> None:
    assert names(find_distinct([folder, folder / "none"]))[-1] == "none"
    with pytest.raises(UsageError, match="No such file"):
        find_bundles([folder / "none"])


def test_dots_and_sidecars_are_no_entries(folder: Path) -> None:
    (folder / ".000003.tmp").mkdir()
    (folder / "000000.tlog-proof").touch()
    (folder / "000009.tlog-proof").touch()
    assert {entry.path.name for entry in find_bundles([folder]).others} == {"000009.tlog-proof"}


# --- work on each of many


def test_one_bundle_that_cannot_be_worked_on_keeps_no_other_from_it(folder: Path) -> None:
    def work(path: Path) -> str:
        if path.name == "000001":
            raise EvidenceRejected("digest-mismatch", "changed")
        return path.name

    done = each_bundle(find_distinct([folder]).paths, work, what="packing")
    assert [one.result for one in done] == ["000000", None, "000002.vbundle"]
    assert done[1].problem is not None and done[1].problem.code == "digest-mismatch"


def test_a_request_that_no_bundle_could_meet_ends_at_the_first(folder: Path) -> None:
    seen: list[Path] = []

    def work(path: Path) -> None:
        seen.append(path)
        raise UsageError("bad-option", "no")

    with pytest.raises(UsageError):
        each_bundle(find_distinct([folder]).paths, work, what="sealing")
    assert len(seen) == 1


def test_outputs_have_names_of_their_own_and_never_take_a_place(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    targets = free_names(find_distinct([folder]).paths, output, ".vbundle")
    assert [path.name for path in targets.values()] == ["000000.vbundle", "000001.vbundle", "000002.vbundle"]
    output.mkdir()
    pack(folder / "000000", output / "000001.vbundle")
    refused: list[VerifaiError] = []
    for paths in ([folder / "000001"], [folder / "000002.vbundle", folder.parent / "x" / "000002"]):
        with pytest.raises(UsageError) as caught:
            free_names(paths, output, ".vbundle")
        refused.append(caught.value)
    assert [one.code for one in refused] == ["file-exists", "bad-option"]
