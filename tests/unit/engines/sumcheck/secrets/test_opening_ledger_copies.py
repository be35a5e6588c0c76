"""What operators do to ledgers: backups, copies, containers, other homes; and the mark that tells some of it."""

from __future__ import annotations

import os
import shutil
import stat
import threading
from pathlib import Path

import pytest

from tests.support.ledger_children import OTHER, ROOT, mark_of, refused
from verifai.engines.sumcheck.secrets import opening_ledger
from verifai.engines.sumcheck.secrets.opening_ledger import MARKS_VARIABLE, create_ledger, open_ledger
from verifai.engines.sumcheck.secrets.opening_ledger_format import parse_ledger
from verifai.errors import UsageError


@pytest.fixture(autouse=True)
def _marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKS_VARIABLE, str(tmp_path / "marks"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "build"
    folder.mkdir(mode=0o700)
    return folder / "openings.ledger"


def test_a_restored_backup_is_refused(path: Path) -> None:
    ledger = create_ledger(path, ROOT, 8)
    ledger.reserve("before the backup")
    backup = path.read_bytes()
    ledger.reserve("after the backup")
    path.write_bytes(backup)
    for call in (lambda: open_ledger(path, ROOT), lambda: ledger.reserve("proof"), lambda: ledger.used):
        assert "older state" in refused("opening-ledger-rolled-back", call).message
    assert path.read_bytes() == backup


def test_a_copied_folder_is_refused_as_soon_as_the_other_one_is_ahead(path: Path) -> None:
    create_ledger(path, ROOT, 8)
    copy = path.parent.with_name("copied")
    shutil.copytree(path.parent, copy)
    first, second = open_ledger(path, ROOT), open_ledger(copy / path.name, ROOT)
    assert first.reserve("here") == 0
    refused("opening-ledger-rolled-back", lambda: second.reserve("there"))
    assert first.reserve("here") == 1


def test_two_copies_at_once_never_get_one_number(path: Path) -> None:
    ledgers = [create_ledger(path, ROOT, 64)]
    for number in range(3):
        copy = path.parent.with_name(f"copy{number}")
        shutil.copytree(path.parent, copy)
        ledgers.append(open_ledger(copy / path.name, ROOT))
    got: list[int] = []

    def work(ledger: opening_ledger.OpeningLedger) -> None:
        for _ in range(16):
            try:
                got.append(ledger.reserve("proof"))
            except UsageError as problem:
                assert problem.code == "opening-ledger-rolled-back"
                return

    threads = [threading.Thread(target=work, args=(one,)) for one in ledgers]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert got
    assert len(set(got)) == len(got)


def test_containers_with_one_volume_and_homes_of_their_own_share_the_numbers(path: Path, tmp_path: Path) -> None:
    create_ledger(path, ROOT, 8)
    got = []
    for home in ("one", "two", "one", "two", "three"):
        os.environ[MARKS_VARIABLE] = str(tmp_path / home)  # the fixture puts it back
        got.append(open_ledger(path, ROOT).reserve(home))
    assert got == [0, 1, 2, 3, 4]


def test_a_clone_with_a_home_of_its_own_is_not_seen_here(path: Path, tmp_path: Path) -> None:
    """The limit that the documentation states: only two bundles that meet show it (tests/tamper/test_openings_repeated.py)."""
    first = create_ledger(path, ROOT, 8)
    copy = path.parent.with_name("copied")
    shutil.copytree(path.parent, copy)
    here = first.reserve("here")
    os.environ[MARKS_VARIABLE] = str(tmp_path / "another machine")
    assert open_ledger(copy / path.name, ROOT).reserve("there") == here


def test_a_mark_that_cannot_be_written_spends_no_number(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = create_ledger(path, ROOT, 4)
    blocked = path.parent / "a file"
    blocked.write_bytes(b"")
    monkeypatch.setenv(MARKS_VARIABLE, str(blocked))
    assert MARKS_VARIABLE in refused("disk", lambda: ledger.reserve("proof")).hint
    assert parse_ledger(path.read_bytes(), "").used == 0


def test_the_mark_lies_in_the_state_folder_and_is_private(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MARKS_VARIABLE)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    create_ledger(path, ROOT, 4).reserve("proof")
    mark = tmp_path / "state" / "verifai" / "openings" / f"{ROOT}.mark"
    assert mark.stat().st_size == 1
    assert stat.S_IMODE(mark.stat().st_mode) == 0o600
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    create_ledger(path.with_name("second"), OTHER, 4).reserve("proof")
    assert (tmp_path / "home" / ".local" / "state" / "verifai" / "openings" / f"{OTHER}.mark").stat().st_size == 1


def test_a_mark_that_is_a_link_is_refused(path: Path, tmp_path: Path) -> None:
    ledger = create_ledger(path, ROOT, 4)
    target = tmp_path / "precious"
    target.write_bytes(b"")
    mark_of().unlink()
    mark_of().symlink_to(target)
    refused("opening-ledger-unsafe", lambda: ledger.reserve("proof"))
    assert target.read_bytes() == b""
