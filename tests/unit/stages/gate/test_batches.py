"""Many bundles at once: judged in parallel, in order, one by one, with memory that stays flat."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.gate_world import World, codes, fake_engines, judge_with_fakes
from tests.support.paths import ROOT
from tests.support.waiting import FOR_EVER, PATIENCE, has_ended, until
from verifai.domain.circuit_spec import Budget
from verifai.domain.policy.verdict import Judgement
from verifai.domain.progress import Silent
from verifai.errors import InternalError
from verifai.execution.scratch import private_directory
from verifai.execution.workforce.local import _start
from verifai.stages.gate.gate import gate, judge_all
from verifai.stages.gate.load import LoadedPolicy, load_policy

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")
BATCH = 50


class Count(Silent):
    def __init__(self) -> None:
        self.total: int | None = None
        self.done = 0

    def phase(self, name: str, total: int | None = None) -> None:
        self.total = total

    def advance(self, steps: int = 1) -> None:
        self.done += steps


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Fifty bundles of distinct inputs, of which number 33 is forged."""
    world = World(tmp_path_factory.mktemp("batch"))
    for number in range(BATCH):
        world.bundle(f"evidence/{number:03}", number, forged=number == 33)
    return world


def test_one_forged_bundle_among_fifty_is_named_and_fails_the_gate(batch: World) -> None:
    progress = Count()
    policy = load_policy(batch.policy(proof=f"inferences = {BATCH - 1}"))
    verdict = gate(
        policy, [batch.folder / "evidence"], now=_now(), jobs=2, progress=progress, judge=judge_with_fakes
    )  # fmt: skip
    assert (verdict.status, codes(verdict)) == (1, {"proof-invalid"})
    names = [Path(one.judgement.path).name for one in verdict.bundles]
    assert names == [f"{number:03}" for number in range(BATCH)], "in the order given"
    assert [Path(one.judgement.path).name for one in verdict.bundles if not one.accepted] == ["033"]
    assert verdict.models[0].counted == {"proof": BATCH - 1}
    assert (progress.total, progress.done) == (BATCH, BATCH)


def test_parallel_and_serial_judgements_are_the_same(batch: World) -> None:
    policy = load_policy(batch.policy())
    paths = sorted((batch.folder / "evidence").iterdir())[28:36]
    assert _judge(policy, paths, jobs=2) == _judge(policy, paths, jobs=1)


def _now() -> datetime:
    from tests.support.gate_world import NOW

    return NOW


def _judge(policy: LoadedPolicy, paths: list[Path], jobs: int) -> list[Judgement]:
    return list(judge_all(policy, paths, _now(), jobs=jobs, budget=Budget(), progress=Silent(), judge=judge_with_fakes))


def die_on_three(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    """A judge whose process is killed, as by the kernel for lack of memory."""
    if path.name == "003":
        os._exit(9)
    return judge_with_fakes(loaded, path, now, budget)


def test_a_worker_that_dies_leaves_its_bundle_undecided_and_the_others_are_judged(batch: World) -> None:
    policy = load_policy(batch.policy())
    paths = sorted((batch.folder / "evidence").iterdir())[:12]
    verdict = gate(policy, paths, now=_now(), jobs=2, judge=die_on_three)
    assert verdict.status == 4
    assert codes(verdict) == {"worker-died"}
    assert [Path(one.judgement.path).name for one in verdict.bundles if not one.accepted] == ["003"]
    assert len(verdict.bundles) == 12


def fail_with_a_bug(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    raise InternalError("bug", "found while judging")


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_bug_is_no_verdict(batch: World, jobs: int) -> None:
    policy = load_policy(batch.policy())
    with pytest.raises(InternalError):
        gate(policy, sorted((batch.folder / "evidence").iterdir())[:8], now=_now(), jobs=jobs, judge=fail_with_a_bug)


def stay(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    """A worker that cannot leave, as one that waits for a lock nobody gives back; another finds a bug."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if path.name.endswith("0"):
        raise InternalError("bug", "found while judging")
    time.sleep(FOR_EVER)
    raise AssertionError("not reached")


def test_a_worker_that_does_not_leave_is_killed(batch: World) -> None:
    paths = sorted((batch.folder / "evidence").iterdir())[:8]
    assert paths[0].name.endswith("0")
    with pytest.raises(InternalError):
        gate(load_policy(batch.policy()), paths, now=_now(), jobs=2, judge=stay)
    assert not multiprocessing.active_children()


def kill_the_idle(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    """One worker is done and waits for another bundle; it is killed, as by the kernel, while the other is at work."""
    notes = Path(os.environ["NOTES"])
    if path.name == "000" or (notes / "killed").exists():
        (notes / f"idle-{os.getpid()}").touch()
        return judge_with_fakes(loaded, path, now, budget)
    until(lambda: list(notes.glob("idle-*")))
    time.sleep(
        1
    )  # by now it waits for the pool's queue, and holds the lock that goes with it; if not, there is nothing to survive
    (idle,) = notes.glob("idle-*")
    (notes / "killed").touch()
    os.kill(int(idle.name.removeprefix("idle-")), signal.SIGKILL)
    return note_and_wait(loaded, path, now, budget)


def test_a_worker_at_work_ends_when_an_idle_one_died_with_the_lock_of_the_queue(
    batch: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pool asks it to leave and takes its exit for a result; then it must not wait for a lock that nobody gives back."""
    monkeypatch.setenv("NOTES", str(tmp_path))
    paths = sorted((batch.folder / "evidence").iterdir())[:2]
    verdict = gate(load_policy(batch.policy()), paths, now=_now(), jobs=2, judge=kill_the_idle)
    assert [one.accepted for one in verdict.bundles] == [True, True], "what it was at is judged again"
    assert not multiprocessing.active_children()
    assert not [path.name for path in tmp_path.iterdir() if not path.name.startswith(("idle-", "pid-", "killed"))], (
        "no private files"
    )


def swallow(notes: Path) -> None:
    """A worker whose exit the pool took for a result, and that then waits for a queue that nobody fills."""
    _start(None, b"")  # type: ignore[arg-type] - it judges nothing
    with contextlib.suppress(SystemExit):
        (notes / "asleep").touch()
        time.sleep(FOR_EVER)
    time.sleep(FOR_EVER)


def test_a_worker_that_was_asked_to_leave_ends_though_its_exit_was_swallowed(tmp_path: Path) -> None:
    worker = multiprocessing.get_context("spawn").Process(target=swallow, args=(tmp_path,), daemon=True)
    worker.start()
    until((tmp_path / "asleep").exists)
    worker.terminate()
    worker.join(PATIENCE)
    assert worker.exitcode == -signal.SIGALRM


def test_closing_ends_the_workers_at_once(batch: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTES", str(tmp_path))
    policy = load_policy(batch.policy())
    paths = sorted((batch.folder / "evidence").iterdir())[:8]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def press() -> None:
        until(lambda: len(_noted(tmp_path)) == 2)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    presser = threading.Thread(target=press, daemon=True)
    presser.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            judge_all(policy, paths, _now(), jobs=2, budget=Budget(), progress=Silent(), judge=note_and_wait)
    finally:
        presser.join()
        signal.signal(signal.SIGUSR1, before)
    assert not multiprocessing.active_children(), "they would sleep for an hour"


def note_and_wait(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    """A judge that is in the middle of its work, with private files, when somebody kills the gate."""
    with private_directory(Path(os.environ["NOTES"])):
        (Path(os.environ["NOTES"]) / f"pid-{os.getpid()}").touch()
        time.sleep(FOR_EVER)
    raise AssertionError("not reached")


def _noted(notes: Path) -> list[int]:
    return [int(path.name.removeprefix("pid-")) for path in notes.glob("pid-*")]


KILLED = """
import sys
from pathlib import Path
from tests.unit.stages.gate import test_batches as this
if __name__ == "__main__":
    paths = [Path(f"{number:03}") for number in range(8)]
    now, budget, silent = this._now(), this.Budget(), this.Silent()
    list(this.judge_all(None, paths, now, jobs=2, budget=budget, progress=silent, judge=this.note_and_wait))
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc, which this system has not")
def test_after_a_kill_of_the_gate_its_workers_end_and_leave_no_private_files(tmp_path: Path) -> None:
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    notes = tmp_path / "notes"
    notes.mkdir()
    environment = {**os.environ, "NOTES": str(notes), "PYTHONPATH": str(ROOT)}
    gate_process = subprocess.Popen([sys.executable, str(script)], env=environment)
    try:
        until(lambda: len(_noted(notes)) == 2)
    finally:
        gate_process.kill()
        gate_process.wait()
    workers = _noted(notes)
    until(lambda: all(has_ended(pid) for pid in workers))
    assert sorted(path.name for path in notes.iterdir()) == sorted(f"pid-{pid}" for pid in workers)


@pytest.mark.slow
def test_a_thousand_bundles_in_one_gate_with_flat_memory(tmp_path: Path) -> None:
    import tracemalloc

    world = World(tmp_path)
    for number in range(1000):
        world.bundle(f"evidence/{number:04}", number, forged=number == 777)
    policy = load_policy(world.policy(proof="inferences = 999"))
    paths = sorted((tmp_path / "evidence").iterdir())
    tracemalloc.start()
    verdict = gate(policy, [tmp_path / "evidence"], now=_now(), judge=judge_with_fakes)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [Path(one.judgement.path).name for one in verdict.bundles if not one.accepted] == ["0777"]
    assert (verdict.status, len(verdict.bundles)) == (1, len(paths))
    assert peak < 20_000 * len(paths), "judgements are kept, evidence is not"
