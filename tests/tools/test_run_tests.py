"""What failed beside others is run once more, alone and in sight; what failed for good, and more than a few, fail the run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.run_tests import MOST, run_tests

UNSTEADY = """
import os, pathlib, pytest

def once(name):
    seen = pathlib.Path(__file__).with_name(name + ".seen")
    if not seen.exists():
        seen.touch()
        pytest.fail("the first time")

@pytest.mark.parametrize("number", range({count}))
def test_unsteady(number):
    with open(pathlib.Path(__file__).with_name("log"), "a") as log:
        log.write(f"unsteady {{number}} {{os.environ.get('PYTEST_XDIST_WORKER', 'alone')}}\\n")
    once(f"unsteady-{{number}}")
"""
STEADY = """
import pathlib

def test_passes():
    with open(pathlib.Path(__file__).with_name("log"), "a") as log:
        log.write("passes\\n")
"""
BROKEN = """
def test_is_broken():
    raise ValueError
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of its own, whose options are none of this one's."""
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_steady.py").write_text(STEADY)
    monkeypatch.chdir(tmp_path)
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # it starts sooner
    return tmp_path


def _log(folder: Path) -> list[str]:
    return sorted((folder / "log").read_text().splitlines())


def _run(*options: str) -> int:
    return run_tests(["-q", *options], beside=("-p", "xdist", "-n", "1", "--dist", "loadfile"))


def test_a_few_that_pass_alone_are_named_and_nothing_else_runs_twice(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "test_unsteady.py").write_text(UNSTEADY.format(count=MOST))
    assert _run() == 0
    said = capfd.readouterr().out
    shown = said[said.index("!!! UNSTEADY: failed beside others, passed alone") :]
    assert all(f"!!! test_unsteady.py::test_unsteady[{number}]" in shown for number in range(MOST))
    assert "FAILED twice" not in said
    twice = [f"unsteady {number} {where}" for number in range(MOST) for where in ("alone", "gw0")]
    assert _log(folder) == ["passes", *twice]


def test_more_than_a_few_fail_at_once(folder: Path) -> None:
    (folder / "test_unsteady.py").write_text(UNSTEADY.format(count=MOST + 1))
    assert _run() == 1
    assert "alone" not in " ".join(_log(folder))


def test_what_fails_again_fails_the_run_and_hides_no_unsteady_test(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "test_broken.py").write_text(BROKEN)
    (folder / "test_unsteady.py").write_text(UNSTEADY.format(count=1))
    assert _run() == 1
    said = capfd.readouterr().out
    assert "!!! FAILED twice, beside others and alone:\n!!! test_broken.py::test_is_broken\n" in said
    assert "!!! UNSTEADY" in said and "!!! test_unsteady.py::test_unsteady[0]" in said


def test_what_is_no_failed_test_is_never_tried_again(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert _run("--no-such-option") == 4
    assert _run("-k", "nothing") == 5
    (folder / "test_unreadable.py").write_text("import nothing_of_this_name\n")
    assert _run() == 1
    assert "!!! " not in capfd.readouterr().out.replace("!!! Interrupted", "")
