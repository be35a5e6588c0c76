"""A command that joins a cluster runs in a process of its own: a library that ends that process gives no verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import has_ended, until
from verifai.cli.apart import joins_a_cluster

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork, and Ray's core is not run apart")

PROGRAM = """
import os, pathlib, sys, time
from verifai.cli import app, main

def run(arguments):
    {body}

app.run = run
sys.argv = ["verifai", "prove", "circuit", "data.npz", "-o", "e", "--on", "ray", "--json"]
main.main()
"""


def command(body: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM.format(body=body)]


@pytest.mark.parametrize("status", [0, 1, 2, 3, 4, 70, 130])
def test_the_status_is_that_of_the_command(status: int) -> None:
    done = subprocess.run(command(f"print('told'); return {status}"), cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (status, "told\n", "")


@pytest.mark.parametrize("end", ["os._exit(0)", "os._exit(1)", "os.kill(os.getpid(), 9)", "os.abort()"])
def test_a_process_that_was_ended_gives_no_verdict(end: str) -> None:
    """Neither false evidence (1) nor success (0)."""
    done = subprocess.run(command(end), cwd=ROOT, capture_output=True, text=True)
    document = json.loads(done.stdout)
    assert (done.returncode, document["status"], document["error"]["code"]) == (4, 4, "cluster-lost")


def test_what_happens_after_the_last_word_changes_nothing() -> None:
    body = "import atexit; atexit.register(os._exit, 1); return 0"
    assert subprocess.run(command(body), cwd=ROOT, capture_output=True).returncode == 0


def test_what_cannot_be_printed_is_no_success() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(command("print('told'); return 0"), cwd=ROOT, stdout=full, stderr=subprocess.DEVNULL)
    assert done.returncode == 4


WAITS = "pathlib.Path(r'{mark}').write_text(str(os.getpid())); time.sleep(3600)"


def begun(mark: Path) -> tuple[subprocess.Popen[bytes], int]:
    """A command that waits, and the process that runs it."""
    ignored = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # below nohup it is, and children inherit that
    try:
        parent = subprocess.Popen(
            command(WAITS.format(mark=mark)), cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
    finally:
        signal.signal(signal.SIGHUP, ignored)
    until(lambda: mark.exists() and mark.read_text())
    return parent, int(mark.read_text())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_who_stops_the_command_stops_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    parent, child = begun(tmp_path / "mark")
    assert parent.pid != child
    parent.send_signal(number)
    assert parent.wait(300) == 130


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc, which this system has not")
def test_who_kills_the_command_kills_all_of_it(tmp_path: Path) -> None:
    parent, child = begun(tmp_path / "mark")
    parent.kill()
    parent.wait()
    until(lambda: has_ended(child))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["prove", "--on", "ray"], True),
        (["prove", "--on", "ray://head:10001"], True),
        (["prove", "--on=ray://head:10001"], True),
        (["prove", "--on", "local"], False),
        (["prove", "ray"], False),
        (["prove", "--on"], False),
        ([], False),
    ],
)
def test_only_who_names_a_cluster_is_parted(arguments: list[str], expected: bool) -> None:
    assert joins_a_cluster(arguments) is expected
