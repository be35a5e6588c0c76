"""The opening ledger: what it returns, what it refuses, and what operators do to it."""

from __future__ import annotations

import os
import resource
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ledger_children import OTHER, ROOT, mark_of, refused, run_child, used_ledger
from verifai.engines.sumcheck.secrets import opening_ledger
from verifai.engines.sumcheck.secrets.opening_ledger import MARKS_VARIABLE, create_ledger, open_ledger
from verifai.engines.sumcheck.secrets.opening_ledger_format import BLANK, LINE_BYTES, parse_ledger, record
from verifai.errors import Undecided


@pytest.fixture(autouse=True)
def _marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKS_VARIABLE, str(tmp_path / "marks"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "build"
    folder.mkdir(mode=0o700)
    return folder / "openings.ledger"


# --- what it returns


def test_numbers_come_in_order_until_the_budget_is_spent(path: Path) -> None:
    ledger = create_ledger(path, ROOT, 3)
    assert (ledger.used, ledger.remaining, ledger.budget) == (0, 3, 3)
    assert [ledger.reserve("proof") for _ in range(3)] == [0, 1, 2]
    problem = refused("opening-budget-spent", lambda: ledger.reserve("proof"))
    assert problem.status == 2
    assert "compile again" in problem.hint
    again = open_ledger(path, ROOT)
    assert (again.used, again.remaining, again.budget) == (3, 0, 3)
    refused("opening-budget-spent", lambda: again.reserve("proof"))


def test_two_objects_share_the_file_and_nothing_else(path: Path) -> None:
    first = create_ledger(path, ROOT, 8)
    second = open_ledger(path, ROOT)
    assert [first.reserve("a"), second.reserve("b"), first.reserve("a")] == [0, 1, 2]


def test_the_file_is_private_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        create_ledger(path, ROOT, 1)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_purposes_are_kept_readable_and_harmless(path: Path) -> None:
    ledger = create_ledger(path, ROOT, 4)
    for purpose in ("proof of sample 7", "\x1b[31mred\n" + BLANK.decode(), "", "é" * 1000):
        ledger.reserve(purpose)
    data = path.read_bytes()
    assert b"proof of sample 7" in data
    assert set(data) <= set(range(32, 127)) | {10}
    assert data.count(b"\n") == 5
    assert parse_ledger(data, "").torn == ()


@pytest.mark.parametrize(("root", "budget"), [("ab", 1), (ROOT.upper(), 1), (ROOT, 0), (ROOT, -1), (ROOT, 4097)])
def test_what_cannot_be_a_ledger_is_a_bug_of_the_caller(path: Path, root: str, budget: int) -> None:
    with pytest.raises(ValueError, match="no ledger"):
        create_ledger(path, root, budget)
    assert not path.exists()


# --- what it refuses


@pytest.mark.parametrize("what", ["ledger", "file", "folder", "link", "dangling link"])
def test_creation_is_exclusive(path: Path, what: str) -> None:
    elsewhere = path.parent / "elsewhere"
    if what == "ledger":
        create_ledger(path, OTHER, 1)
    elif what == "file":
        path.write_bytes(b"")
    elif what == "folder":
        path.mkdir()
    elif what == "link":
        elsewhere.write_bytes(b"kept")
        path.symlink_to(elsewhere)
    else:
        path.symlink_to(elsewhere)
    refused("opening-ledger-exists", lambda: create_ledger(path, ROOT, 2))
    assert what != "link" or elsewhere.read_bytes() == b"kept"
    assert what != "dangling link" or not elsewhere.exists()


def test_a_missing_ledger_is_never_made_anew(path: Path) -> None:
    problem = refused("opening-ledger-missing", lambda: open_ledger(path, ROOT))
    assert "dead" in problem.hint
    assert "compile again" in problem.hint
    assert not path.exists()
    ledger = create_ledger(path, ROOT, 4)
    ledger.reserve("proof")
    path.unlink()
    for call in (lambda: ledger.reserve("proof"), lambda: ledger.used, lambda: open_ledger(path, ROOT)):
        refused("opening-ledger-missing", call)
        assert not path.exists()
    refused("opening-ledger-rolled-back", lambda: create_ledger(path, ROOT, 4))  # not by hand, either
    assert not path.exists()


def test_a_root_is_no_path(path: Path) -> None:
    create_ledger(path, ROOT, 2)
    with pytest.raises(ValueError, match="no root"):
        open_ledger(path, "../" * 20 + "etc/passwd")


def test_a_reader_waits_for_a_record_under_way(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read while records are added, later lines could be newer than earlier ones, and a good ledger look like a broken one."""
    ledger = create_ledger(path, ROOT, 2)
    monkeypatch.setattr(opening_ledger, "LOCK_SECONDS", 0.05)
    with path.open("r+b") as held:
        opening_ledger.fcntl.flock(held, opening_ledger.fcntl.LOCK_EX)
        refused("opening-ledger-busy", lambda: ledger.used)


def test_the_ledger_of_another_root_is_refused(path: Path) -> None:
    create_ledger(path, OTHER, 4)
    refused("opening-ledger-mismatch", lambda: open_ledger(path, ROOT))
    assert parse_ledger(path.read_bytes(), "").used == 0


def _link(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "spoil", [_link, _dangling, _folder, _pipe, lambda path: path.chmod(0o644), lambda path: path.chmod(0o620)]
)
def test_what_is_not_plainly_ours_is_refused(path: Path, spoil: Callable[[Path], None]) -> None:
    ledger = create_ledger(path, ROOT, 4)
    spoil(path)
    for call in (lambda: open_ledger(path, ROOT), lambda: ledger.reserve("proof"), lambda: ledger.used):
        refused("opening-ledger-unsafe", call)


def test_the_file_of_another_user_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = create_ledger(path, ROOT, 4)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    refused("opening-ledger-unsafe", lambda: open_ledger(path, ROOT))
    refused("opening-ledger-unsafe", lambda: ledger.reserve("proof"))


def test_a_ledger_replaced_while_it_was_waited_for_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = create_ledger(path, ROOT, 4)
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    genuine = opening_ledger._check_place

    def swapped(handle: int, where: Path) -> None:
        if copy.exists():
            copy.replace(path)
        genuine(handle, where)

    monkeypatch.setattr(opening_ledger, "_check_place", swapped)
    refused("opening-ledger-missing", lambda: ledger.reserve("proof"))


# --- torn records


def test_a_record_that_is_half_on_disk_is_spent_and_the_next_one_follows_it(path: Path) -> None:
    """Whatever mixture of old and new bytes a power cut leaves of a record, its number is spent once any of it was written."""
    for cut in range(0, LINE_BYTES + 1, 5):
        for tail_first in (False, True):
            data = used_ledger(2, 4)
            line = record(parse_ledger(data, ""), "proof")
            mixed = BLANK[:cut] + line[cut:] if tail_first else line[:cut] + BLANK[cut:]
            place = 3 * LINE_BYTES
            data = data[:place] + mixed + data[place + LINE_BYTES :]
            state = parse_ledger(data, "")
            assert state.used == (2 if mixed == BLANK else 3)
            assert state.torn == (() if mixed in (BLANK, line) else (2,))
            path.unlink(missing_ok=True)
            path.write_bytes(data)
            path.chmod(0o600)
            mark_of().unlink(missing_ok=True)
            ledger = open_ledger(path, ROOT)
            assert ledger.reserve("next") == state.used
            assert open_ledger(path, ROOT).used == state.used + 1


# --- disks


def test_a_full_disk_gives_no_number_and_spends_the_one_it_tore(path: Path) -> None:
    create_ledger(path, ROOT, 8).reserve("proof")

    def child() -> str:
        # Half of the next record fits.
        limit = 2 * LINE_BYTES + 100
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            return f"number {open_ledger(path, ROOT).reserve('proof')}"
        except Undecided as problem:
            return problem.code
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    assert run_child(child) == "disk"
    ledger = open_ledger(path, ROOT)
    assert parse_ledger(path.read_bytes(), "").torn == (1,)
    assert ledger.reserve("proof") == 2


@pytest.mark.parametrize("call", ["pwrite", "fsync"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_refusal_at_any_step_gives_no_number(path: Path, call: str, nth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = create_ledger(path, ROOT, 8)
    ledger.reserve("proof")
    genuine = getattr(os, call)
    calls = 0

    def refusing(*arguments: object) -> object:
        nonlocal calls
        calls += 1
        if calls == nth:
            raise OSError(28, "No space left on device")
        return genuine(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refusing)
        if call == "pwrite" and nth == 3:
            assert ledger.reserve("proof") == 1  # a reservation writes twice: the record, and the mark
            return
        problem = refused("disk", lambda: ledger.reserve("proof"))
    assert problem.status == 4
    assert "No space left" in problem.message
    assert ledger.reserve("proof") in (1, 2)


def test_a_number_is_returned_only_after_its_record_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = create_ledger(path, ROOT, 8)
    done: list[tuple[str, str]] = []
    kinds = {where.stat().st_ino: kind for where, kind in ((path, "ledger"), (path.parent, "folder"), (mark_of(), "mark"))}
    for name in ("pwrite", "fsync"):
        genuine = getattr(os, name)

        def call(handle: int, *rest: object, name: str = name, genuine: Callable[..., int] = genuine) -> int:
            done.append((name, kinds.get(os.fstat(handle).st_ino, "new")))
            return genuine(handle, *rest)

        monkeypatch.setattr(os, name, call)
    ledger.reserve("proof")
    assert done == [
        ("fsync", "ledger"),
        ("pwrite", "ledger"),
        ("fsync", "ledger"),
        ("pwrite", "mark"),
        ("fsync", "mark"),
    ]
    done.clear()
    create_ledger(path.with_name("other.ledger"), OTHER, 8)
    assert done[-3:] == [("pwrite", "new"), ("fsync", "new"), ("fsync", "folder")]


def test_a_failed_creation_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda *_: 0)
        refused("disk", lambda: create_ledger(path, ROOT, 8))
    assert not path.exists()
    assert create_ledger(path, ROOT, 8).reserve("proof") == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "sealed"
    folder.mkdir()
    folder.chmod(0o555)

    def child() -> str:
        os.environ[MARKS_VARIABLE] = "/proc/self/nowhere"  # cannot be made by anybody
        try:
            create_ledger(folder / "ledger", ROOT, 2)
        except Undecided as problem:
            return f"{problem.code} {problem.where} {problem.hint}"
        return "made"

    told = run_child(child)
    assert told.startswith("disk /proc/self/nowhere")
    assert MARKS_VARIABLE in told

    theirs = tmp_path / "theirs"
    theirs.mkdir()
    theirs.chmod(0o777)

    tmp_path.chmod(0o711)

    def unprivileged() -> str:
        os.chdir(tmp_path)  # paths below are relative: the other user may not pass the private folders above
        os.environ[MARKS_VARIABLE] = "theirs"
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)
        try:
            create_ledger(Path("sealed/ledger"), ROOT, 2)
        except Undecided as problem:
            return f"{problem.code} {problem.message} {problem.where}"
        return "made"

    assert run_child(unprivileged) == "disk the opening ledger cannot be used: Permission denied sealed/ledger"


def test_a_file_system_without_locks_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = create_ledger(path, ROOT, 2)

    def no_locks(handle: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(opening_ledger.fcntl, "flock", no_locks)
    assert "local disk" in refused("disk", lambda: ledger.reserve("proof")).hint
    assert parse_ledger(path.read_bytes(), "").used == 0


def test_a_lock_that_nobody_gives_back_ends_in_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = create_ledger(path, ROOT, 2)
    monkeypatch.setattr(opening_ledger, "LOCK_SECONDS", 0.05)
    with path.open("r+b") as held:
        opening_ledger.fcntl.flock(held, opening_ledger.fcntl.LOCK_EX)
        assert refused("opening-ledger-busy", lambda: ledger.reserve("proof")).status == 4
    assert ledger.reserve("proof") == 0
