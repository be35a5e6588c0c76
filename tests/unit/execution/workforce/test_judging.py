"""Items judged by processes of this machine: one that kills its process, or hangs, is named, and all others are judged."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import FOR_EVER, has_ended, until
from verifai.errors import InternalError, Undecided
from verifai.execution.workforce import local
from verifai.execution.workforce.judging import judge_by_processes
from verifai.execution.workforce.local import DIED


def judge(notes: Path, path: Path) -> str:
    """What an item comes to is its name; some names are traps."""
    name = path.name
    if name == "dies" or (name == "dies-once" and not (notes / "died").exists()):
        (notes / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "hangs":
        (notes / f"hangs-{os.getpid()}").touch()
        time.sleep(FOR_EVER)
    if name == "full":
        raise Undecided("disk", "no space left", where=name)
    if name == "bug":
        raise ValueError(name)
    return name


def judged(notes: Path, names: Iterable[str]) -> dict[int, str]:
    """What each came to, by its number."""
    paths, found = [Path(name) for name in names], dict[int, str]()

    def take(number: int, told: str) -> None:
        assert number not in found, "each item comes to one thing"
        found[number] = told

    judge_by_processes(judge, notes, paths, 2, take, lambda number, why: f"{paths[number].name}: {why}")
    assert not multiprocessing.active_children()
    return found


def test_what_kills_its_process_is_named_and_the_others_are_judged(tmp_path: Path) -> None:
    names = ["a", "dies-once", "b", "dies", "c", "d"]
    assert judged(tmp_path, names) == {**dict(enumerate(names)), 3: f"dies: {DIED}"}


def test_what_hangs_is_named_and_the_others_are_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is up as soon as nothing ended and something hangs: no test waits for hours, and none depends on a clock."""

    def hanging() -> bool:
        return any(not has_ended(int(path.name.removeprefix("hangs-"))) for path in tmp_path.glob("hangs-*"))

    def wait(futures: Iterable[Future[bytes]], seconds: float, return_when: str) -> tuple[set[Any], set[Any]]:
        assert seconds > 3600 and return_when == FIRST_COMPLETED
        until(lambda: hanging() or any(one.done() for one in futures))
        return {one for one in futures if one.done()}, set()

    monkeypatch.setattr(local, "wait", wait)
    names = ["a", "hangs", "b", "c", "d"]
    found = judged(tmp_path, names)
    assert found == {**dict(enumerate(names)), 1: "hangs: there was no answer within 21,600 s"}
    assert len(list(tmp_path.glob("hangs-*"))) == 2, "given out again once, alone"


@pytest.mark.parametrize(
    ("name", "kind", "said"), [("full", Undecided, "no space left"), ("bug", InternalError, "ValueError: bug")]
)
def test_what_is_raised_ends_the_whole_and_waits_for_nobody(
    tmp_path: Path, name: str, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        judged(tmp_path, [name, "hangs"])
    assert not multiprocessing.active_children()


def test_no_verdict_comes_from_a_cluster() -> None:
    """What judges does not even load what talks to one."""
    program = """
import sys
import verifai.stages.gate.gate, verifai.stages.audit.several, verifai.stages.consensus.take_part
print([name for name in sys.modules if name.split(".")[0] == "ray" or "ray_crew" in name])
"""
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip() == "[]"
