"""No opening number is returned twice: not after a kill at any step or moment, and not to two of many at work on one ledger.

Each child appends a number to a file of its own *after* it got it, as a prover would compute with it only then.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.ledger_children import fork, run_child
from tests.support.waiting import FOR_EVER, until
from verifai.engines.sumcheck.secrets import opening_ledger
from verifai.engines.sumcheck.secrets.opening_ledger import MARKS_VARIABLE, OpeningLedger, create_ledger, open_ledger
from verifai.engines.sumcheck.secrets.opening_ledger_format import parse_ledger
from verifai.errors import UsageError

ROOT = "ef" * 32


@pytest.fixture(autouse=True)
def _marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MARKS_VARIABLE, str(tmp_path / "marks"))


def take(ledger: OpeningLedger, notes: Path, limit: int = 10**9) -> None:
    """Reserve until the budget is spent, and note each number."""
    handle = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for _ in range(limit):
        try:
            number = ledger.reserve(f"process {os.getpid()}")
        except UsageError as problem:
            assert problem.code == "opening-budget-spent"
            return
        os.write(handle, f"{number}\n".encode())


def noted(folder: Path) -> list[int]:
    found = []
    for path in folder.glob("notes-*"):
        *lines, rest = path.read_text().split("\n")
        assert rest == "", "a note was cut short, and would look like another number"
        found += [int(line) for line in lines]
    return found


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_kills_at_random_moments(tmp_path: Path, workers: int) -> None:
    budget = 4096
    create_ledger(tmp_path / "ledger", ROOT, budget)
    generator = random.Random(workers)
    killed = 0
    for round_number in range(60):

        def work(notes: Path) -> None:
            # However fast the disk is, all rounds together cannot spend the budget.
            take(open_ledger(tmp_path / "ledger", ROOT), notes, budget // (60 * workers))
            time.sleep(FOR_EVER)

        began = time.monotonic()
        children = [fork(lambda notes=tmp_path / f"notes-{round_number}-{worker}": work(notes)) for worker in range(workers)]
        wanted = len(noted(tmp_path)) + generator.choice((0, 1, 3, 6))
        until(lambda wanted=wanted: len(noted(tmp_path)) >= wanted)
        time.sleep(generator.random() * min(0.02, time.monotonic() - began))  # about as long as some numbers took
        for child in children:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
            killed += os.WIFSIGNALED(status)
    got = noted(tmp_path)
    state = parse_ledger((tmp_path / "ledger").read_bytes(), "")
    assert killed == 60 * workers, "the budget was spent too soon"
    assert len(got) >= 60
    assert len(set(got)) == len(got), "a number was returned twice"
    assert max(got) < state.used <= budget
    # At most one number is lost per kill.
    assert state.used - len(got) <= killed


@pytest.mark.parametrize("workers", [2, 4])
def test_several_processes_share_all_numbers_without_loss(tmp_path: Path, workers: int) -> None:
    ledger = create_ledger(tmp_path / "ledger", ROOT, 300)
    # The object is made before the fork: it holds nothing that a fork could share.
    children = [fork(lambda notes=tmp_path / f"notes-{worker}": take(ledger, notes)) for worker in range(workers)]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert sorted(noted(tmp_path)) == list(range(300))
    assert parse_ledger((tmp_path / "ledger").read_bytes(), "").torn == ()


def test_several_threads_of_several_processes(tmp_path: Path) -> None:
    ledger = create_ledger(tmp_path / "ledger", ROOT, 200)

    def work(worker: int) -> None:
        threads = [threading.Thread(target=take, args=(ledger, tmp_path / f"notes-{worker}-{number}")) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    children = [fork(lambda worker=worker: work(worker)) for worker in range(2)]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert sorted(noted(tmp_path)) == list(range(200))


def test_one_of_several_creators_wins(tmp_path: Path) -> None:
    def work() -> None:
        try:
            create_ledger(tmp_path / "ledger", ROOT, 4)
        except UsageError as problem:
            assert problem.code == "opening-ledger-exists"
            os._exit(7)

    statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in [fork(work) for _ in range(4)]]
    assert sorted(statuses) == [0, 7, 7, 7]


STEPS = ("lstat", "open", "fstat", "fsync", "pread", "pwrite", "close")


def _dying(step: int, tear: bool) -> Callable[[], None]:
    """Make the ``step``-th system call the last: killed before it, or, for a write, in the middle of it."""
    done = 0

    def wrap(name: str) -> None:
        genuine = getattr(os, name)

        def call(*arguments: object, **named: object) -> object:
            nonlocal done
            done += 1
            if done == step:
                if tear and name == "pwrite":
                    handle, data, place = arguments
                    assert isinstance(data, bytes)
                    genuine(handle, data[: len(data) // 2], place)
                os.kill(os.getpid(), signal.SIGKILL)
            return genuine(*arguments, **named)

        setattr(os, name, call)

    def install() -> None:
        for name in STEPS:
            wrap(name)

    return install


@pytest.mark.parametrize("tear", [False, True])
def test_a_kill_at_every_single_step(tmp_path: Path, tear: bool) -> None:
    ledger = create_ledger(tmp_path / "ledger", ROOT, 4096)
    returned: list[int] = []
    step = 0
    torn = 0
    while True:
        step += 1
        used = ledger.used
        reader, writer = os.pipe()

        def work(step: int = step, writer: int = writer) -> None:
            _dying(step, tear)()
            number = ledger.reserve("proof")
            opening_ledger.os.write(writer, f"{number}".encode())

        child = fork(work)
        os.close(writer)
        with os.fdopen(reader, "rb") as stream:
            text = stream.read().decode()
        _, status = os.waitpid(child, 0)
        returned += [int(text)] if text else []
        assert bool(text) == (not os.WIFSIGNALED(status)), "killed, and yet a number came out, or the other way round"
        torn = len(parse_ledger((tmp_path / "ledger").read_bytes(), "").torn)
        assert used <= ledger.used <= used + 1
        returned.append(ledger.reserve("afterwards"))
        assert len(set(returned)) == len(returned)
        if text:
            break
    assert step > 12, "the steps were not counted"
    assert torn == (1 if tear else 0)


def test_a_kill_at_every_single_step_of_creation(tmp_path: Path) -> None:
    for step in range(1, 40):
        path = tmp_path / f"ledger-{step}"
        root = f"{step:064x}"

        def work(step: int = step, path: Path = path, root: str = root) -> None:
            _dying(step, True)()
            create_ledger(path, root, 8)

        _, status = os.waitpid(fork(work), 0)
        if not path.exists():
            create_ledger(path, root, 8)  # nothing of it was left
            continue
        try:
            assert open_ledger(path, root).reserve("proof") == 0  # it was whole
        except UsageError as problem:
            assert problem.code in ("opening-ledger-malformed", "opening-ledger-unsafe")
            with pytest.raises(UsageError, match="already"):
                create_ledger(path, root, 8)
        if not os.WIFSIGNALED(status):
            break
    else:
        pytest.fail("creation never came to its end")


def test_a_child_forked_in_the_middle_does_not_keep_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that forks while another one reserves gives the child the open file; the lock must not live on in it."""
    ledger = create_ledger(tmp_path / "ledger", ROOT, 4)
    genuine = opening_ledger.pages
    children = []

    def pages(*arguments: object) -> object:
        children.append(fork(lambda: time.sleep(FOR_EVER)))
        return genuine(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(opening_ledger, "pages", pages)
        assert ledger.reserve("proof") == 0
    monkeypatch.setattr(opening_ledger, "LOCK_SECONDS", 2.0)
    try:
        assert ledger.reserve("proof") == 1
    finally:
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)


def test_a_child_without_a_home_says_so(tmp_path: Path) -> None:
    def child() -> str:
        os.environ.pop(MARKS_VARIABLE)
        os.environ.pop("XDG_STATE_HOME", None)
        os.environ["HOME"] = "/proc/self/nowhere"
        try:
            create_ledger(tmp_path / "ledger", ROOT, 2)
        except Exception as problem:
            return f"{type(problem).__name__} {problem}"
        return "made"

    assert run_child(child).startswith("Undecided the opening ledger cannot be used")
    assert not (tmp_path / "ledger").exists()
