"""Batches proven by several processes: the same evidence as one by one, whoever is killed; no opening is used twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.batch_circuits import small_circuit, write_rows
from tests.support.crews import Noted, verified_digests, whole
from tests.support.kill_agent import forked_workers
from tests.support.kills import Killer, command, commands, finish, local_workers, require_same, rows_done
from tests.support.waiting import FOR_EVER, has_ended, until
from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.domain.workforce import Workforce
from verifai.execution.workforce import local, sizing
from verifai.execution.workforce.interface import work_through
from verifai.execution.workforce.local import DIED, LocalCrew
from verifai.onnx_graph.inputs import read_samples
from verifai.stages.batch import many
from verifai.stages.batch.report import BatchOptions
from verifai.stages.batch.run import prove_batch
from verifai.stages.batch.shipping import Item
from verifai.stages.batch.worker import prove_here

ROWS = 8


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("at-once")


@pytest.fixture(scope="module")
def public(root: Path) -> CircuitFolder:
    return small_circuit(root, "public", Visibility.PUBLIC)


@pytest.fixture(scope="module")
def hidden(root: Path) -> CircuitFolder:
    return small_circuit(root, "hidden", Visibility.PRIVATE, WeightVisibility.PRIVATE, budget=64)


@pytest.fixture(scope="module")
def samples(root: Path, public: CircuitFolder) -> list[Mapping[str, Any]]:
    return list(read_samples(write_rows(root / "rows.npz", ROWS), public.model))


def test_two_processes_make_the_evidence_that_one_makes(
    public: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path
) -> None:
    prove_batch(public, samples, tmp_path / "one")
    report = prove_batch(public, samples, tmp_path / "two", BatchOptions(workforce=Workforce(2)))
    assert (report.status, len(report.made)) == (0, ROWS)
    assert verified_digests(public, tmp_path / "two") == verified_digests(public, tmp_path / "one")
    assert [one.index for one in report.made] == list(range(ROWS))


# --- a pool whose processes die


def tiny(shared: bytes, data: bytes) -> bytes:
    """Kills its process once, or always, or does nothing but answer."""
    mark = Path(shared.decode()) / data.decode()
    if data.startswith(b"always") or (data.startswith(b"once") and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return data


def test_what_dies_again_by_itself_is_told_and_everything_else_is_done(tmp_path: Path) -> None:
    items = [b"a", b"once", b"always", b"b", b"c", b"once2", b"d"]
    crew = LocalCrew(tiny, str(tmp_path).encode(), 2)
    answers: dict[int, bytes | None] = {}
    attempts = [0] * len(items)

    def make(number: int) -> bytes:
        attempts[number] += 1
        return items[number]

    def take(answer: Any) -> bool:
        assert answer.data is not None or answer.lost == DIED
        if answer.data is None and attempts[answer.number] < 4:
            return False
        answers[answer.number] = answer.data
        return True

    try:
        work_through(crew, range(len(items)), make, take)
    finally:
        crew.close()
    assert answers == {number: None if item == b"always" else item for number, item in enumerate(items)}


# --- a process that hangs

HANGS = 1
ALWAYS = "VERIFAI_TEST_HANGS_ALWAYS"


def prove_or_hang(shared: bytes, data: bytes) -> bytes:
    """What a worker does; it hangs at one row: at the first attempt, or at each."""
    folder = Path(os.environ["VERIFAI_TEST_HANGS"])
    if Item.from_bytes(data).context.endswith(f"{HANGS:06}") and (ALWAYS in os.environ or not list(folder.iterdir())):
        (folder / str(os.getpid())).touch()
        time.sleep(FOR_EVER)
    return prove_here(shared, data)


@pytest.mark.parametrize("always", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["once", "always"])
def test_a_process_that_hangs_keeps_nobody_and_its_sample_is_proven_by_others(
    public: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, always: bool
) -> None:
    """Time is up when nothing ended and a process hangs: no test waits for a day, and none depends on a clock."""
    hung = tmp_path / "hung"
    hung.mkdir()
    monkeypatch.setenv("VERIFAI_TEST_HANGS", str(hung))
    if always:
        monkeypatch.setenv(ALWAYS, "1")
    monkeypatch.setattr(many, "prove_here", prove_or_hang)

    def hanging() -> bool:
        return any(not has_ended(int(path.name)) for path in hung.iterdir())

    def wait(futures: Iterable[Any], seconds: float, return_when: str) -> tuple[set[Any], set[Any]]:
        assert seconds == 24 * 3600
        last = len(list(futures)) == 1  # the others end, though one hangs
        until(lambda: any(one.done() for one in futures) or (last and hanging()))
        return {one for one in futures if one.done()}, set()

    monkeypatch.setattr(local, "wait", wait)
    rows, listener = 4, Noted()
    given = BatchOptions(context="c", context_per_sample=True, keep_going=True, workforce=Workforce(2))
    report = prove_batch(public, samples[:rows], tmp_path / "e", given, progress=listener)
    assert any("there was no answer within 86,400 s" in note for note in listener.notes), listener.notes
    proven = [one.index for one in report.made]
    if always:
        assert sorted(proven) == [row for row in range(rows) if row != HANGS]
        assert (report.status, report.problems[HANGS].code, len(list(hung.iterdir()))) == (4, "worker-died", 2)
    else:
        assert (report.status, sorted(proven)) == (0, list(range(rows)))
    assert len(verified_digests(public, tmp_path / "e")) == len(proven) and whole(tmp_path / "e")


# --- how many fit


@pytest.mark.parametrize(
    ("asked", "each", "items", "free", "jobs"),
    [
        (8, 100, 50, 1000, 8),
        (8, 200, 50, 1000, 4),
        (8, 5000, 50, 1000, 1),
        (8, 100, 3, 1000, 3),
        (2, 1, 50, 10**12, 2),
        (4, 0, 9, 1000, 4),
    ],
)
def test_jobs_are_as_many_as_the_memory_holds(asked: int, each: int, items: int, free: int, jobs: int) -> None:
    assert sizing.fitting_jobs(asked, each, items, free=free) == jobs
    assert 1 <= sizing.fitting_jobs(None, each, items, free=free) <= sizing.cores()


def test_fewer_jobs_than_asked_for_are_said(
    public: CircuitFolder, samples: list[Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "available_bytes", lambda: 2**28)
    listener = Noted()
    prove_batch(public, samples[:2], tmp_path / "e", BatchOptions(workforce=Workforce(2)), progress=listener)
    assert any("1 at once instead of 2" in note for note in listener.notes)


# --- roots of hidden weights


def test_roots_are_renewed_as_often_as_a_long_batch_needs(tmp_path: Path) -> None:
    """Each fresh root costs an opening of the pinned one: were all of those spent on proofs, the second would be the last."""
    folder = small_circuit(tmp_path, "few", Visibility.PUBLIC, WeightVisibility.PRIVATE, budget=6)
    rows = list(read_samples(write_rows(tmp_path / "rows.npz", 14), folder.model))
    report = prove_batch(folder, rows, tmp_path / "e", BatchOptions(renew_roots=True))
    assert (report.status, len(report.made)) == (0, 14)
    assert len(verified_digests(folder, tmp_path / "e")) == 14
    assert len(list((folder.folder / "secrets").rglob("*.link"))) > 2


# --- kills


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc, which this system has not")
def test_kills_of_the_command_and_of_workers_lose_and_double_nothing(hidden: CircuitFolder, tmp_path: Path) -> None:
    """One kill of each; hundreds are below."""
    rows = 5
    data = write_rows(tmp_path / "rows.npz", rows)
    prove_batch(hidden, list(read_samples(data, hidden.model)), tmp_path / "one", BatchOptions(renew_roots=True))
    arguments = command(hidden, data, tmp_path / "e", "--jobs", "2")
    with commands() as starter:
        starter.start(arguments)
        until(lambda: rows_done(tmp_path / "e") >= 1)
        (worker, *_) = local_workers(starter.running)
        os.kill(worker, signal.SIGKILL)
        until(lambda: rows_done(tmp_path / "e") >= 2)
        os.kill(starter.running, signal.SIGKILL)
        assert starter.status() == -signal.SIGKILL
        finish(starter, arguments)
    require_same(hidden, tmp_path / "e", verified_digests(hidden, tmp_path / "one"), rows)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # four minutes of processor time
@pytest.mark.parametrize("kind", ["public", "hidden"])
def test_two_hundred_kills_over_two_hundred_samples(request: pytest.FixtureRequest, tmp_path: Path, kind: str) -> None:
    folder, rows = request.getfixturevalue(kind), 200
    data = write_rows(tmp_path / "rows.npz", rows)
    prove_batch(folder, list(read_samples(data, folder.model)), tmp_path / "one", BatchOptions(renew_roots=True))
    expected = verified_digests(folder, tmp_path / "one")
    arguments = command(folder, data, tmp_path / "e", "--jobs", "2")
    warm = command(folder, data, tmp_path / "warm", "--limit", "1")
    with commands(warm=warm, nursery=True) as starter:
        killer = Killer(starter, arguments, tmp_path / "e", rows, tmp_path / "kills.log", workers=forked_workers)
        killer.until(200)
        print(killer.told())
        finish(starter, arguments)
    require_same(folder, tmp_path / "e", expected, rows)
    assert killer.killed.total() >= 200 and min(killer.of("command"), killer.of("worker")) >= 50, killer.told()
