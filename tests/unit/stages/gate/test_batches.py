"""Many bundles at once: judged in parallel, in order, one by one, with memory that stays flat."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.gate_world import World, codes, fake_engines, judge_with_fakes
from tests.support.paths import ROOT
from verifai.domain.circuit_spec import Budget
from verifai.domain.policy.verdict import Judgement
from verifai.domain.progress import Silent
from verifai.errors import InternalError
from verifai.execution.scratch import private_directory
from verifai.stages.gate.gate import gate
from verifai.stages.gate.load import LoadedPolicy, load_policy
from verifai.stages.gate.pool import judge_all

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


def test_a_worker_that_dies_leaves_its_bundles_undecided(batch: World) -> None:
    policy = load_policy(batch.policy())
    paths = sorted((batch.folder / "evidence").iterdir())[:12]
    verdict = gate(policy, paths, now=_now(), jobs=2, judge=die_on_three)
    assert verdict.status == 4
    assert len(verdict.bundles) == 12
    assert codes(verdict) == {"worker-died"}
    assert not verdict.bundles[3].accepted


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
    time.sleep(200)
    raise AssertionError("not reached")


def test_a_worker_that_does_not_leave_is_killed(batch: World) -> None:
    paths = sorted((batch.folder / "evidence").iterdir())[:8]
    assert paths[0].name.endswith("0")
    began = time.monotonic()
    with pytest.raises(InternalError):
        gate(load_policy(batch.policy()), paths, now=_now(), jobs=2, judge=stay)
    assert time.monotonic() - began < 100
    assert not multiprocessing.active_children()


def interrupt(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    import time

    time.sleep(60)
    raise AssertionError("not reached")


def test_closing_ends_the_workers_at_once(batch: World) -> None:
    import multiprocessing
    import signal
    import time

    policy = load_policy(batch.policy())
    paths = sorted((batch.folder / "evidence").iterdir())[:8]

    def alarm(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, alarm)
    signal.alarm(3)
    started = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(judge_all(policy, paths, _now(), jobs=2, budget=Budget(), progress=Silent(), judge=interrupt))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - started < 30, "the workers would sleep for a minute"
    assert not multiprocessing.active_children()


def note_and_wait(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    """A judge that is in the middle of its work, with private files, when somebody kills the gate."""
    with private_directory(Path(os.environ["NOTES"])):
        (Path(os.environ["NOTES"]) / f"pid-{os.getpid()}").touch()
        time.sleep(60)
    raise AssertionError("not reached")


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
    _until(lambda: len(list(notes.glob("pid-*"))) == 2)
    workers = [int(path.name.removeprefix("pid-")) for path in notes.glob("pid-*")]
    gate_process.kill()
    gate_process.wait()
    _until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))
    assert sorted(path.name for path in notes.iterdir()) == sorted(f"pid-{pid}" for pid in workers)


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


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
