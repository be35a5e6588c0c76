"""Whatever foreign code does, the parent gets an answer or one of our errors, and nothing of the child is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.waiting import FOR_EVER, has_ended, until
from verifai.errors import DeadlineExceeded, EngineCrashed, ResourceExhausted
from verifai.execution import child
from verifai.execution.child import ChildReport, Limits
from verifai.execution.scratch import private_directory

SCRIPT = ROOT / "tests" / "support" / "misbehaving.py"
LONG = Limits(wall_seconds=FOR_EVER)
needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc, which this system has not")


@pytest.fixture(autouse=True)
def misbehaving(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_command", lambda module: [sys.executable, "-I", str(SCRIPT)])


def run(*ops: str, limits: Limits | None = None, keep_going: bool = False, **args: object) -> ChildReport:
    steps = [{"op": op, "args": args} for op in ops]
    task = {"steps": steps, "keep_going": keep_going}
    with private_directory() as folder:
        return child.run("unused", task, folder=folder, limits=limits or LONG, environment={"EXTRA": "1"})


def gone(*pids: int) -> bool:
    """Wait until all of them have ended."""
    until(lambda: all(has_ended(pid) for pid in pids), "their end")
    return True


def noted(path: Path) -> list[int]:
    """The child and its grandchild; nothing before both are at work."""
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


@needs_proc
def test_a_deadline_ends_a_hanging_child_and_its_grandchild(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    for seconds in (1, 4, 16, 64, 256):  # a busy machine may need longer to start the two
        report = run("hang", limits=Limits(wall_seconds=seconds), grandchild=str(note))
        assert isinstance(report.death, DeadlineExceeded)
        assert report.death.code == "deadline"
        if noted(note):
            break
    pids = noted(note)
    assert len(pids) == 2 and gone(*pids)


def test_an_end_after_the_deadline_is_late_whenever_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent may have had no turn between the deadline and the child's end: that decides nothing."""
    monkeypatch.setattr(child._Child, "_watch", lambda *arguments: None)
    report = run("echo", limits=Limits(wall_seconds=1e-3))
    assert isinstance(report.death, DeadlineExceeded)


def test_the_processor_limit_ends_a_spinning_child() -> None:
    report = run("spin", limits=Limits(cpu_seconds=1, wall_seconds=FOR_EVER))
    assert isinstance(report.death, DeadlineExceeded)
    assert "processor time" in report.death.message


@needs_proc
def test_the_memory_limit_ends_a_growing_child() -> None:
    report = run("touch_slowly", limits=Limits(memory_bytes=100 * 2**20, wall_seconds=FOR_EVER))
    assert isinstance(report.death, ResourceExhausted)
    assert report.death.code == "out-of-memory"


def test_a_child_that_outruns_the_polling_meets_its_address_space_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "RESERVED_ADDRESS_SPACE", 64 * 2**20)
    monkeypatch.setattr(child, "_peak_resident", lambda pid: 0)
    report = run("allocate", limits=Limits(memory_bytes=200 * 2**20, wall_seconds=FOR_EVER))
    assert report.death is None
    assert [step.failure for step in report.steps] == ["memory"]


@pytest.mark.parametrize(
    ("op", "kind", "code"),
    [
        ("abort", EngineCrashed, "engine-crashed"),
        ("quit", EngineCrashed, "engine-crashed"),
        ("killed", ResourceExhausted, "out-of-memory"),
        ("orphan", EngineCrashed, "engine-crashed"),
        ("not_json", EngineCrashed, "engine-crashed"),
    ],
)
def test_a_death_becomes_an_error_with_a_stable_code(op: str, kind: type, code: str) -> None:
    report = run("echo", op, "echo")
    assert isinstance(report.death, kind)
    assert report.death.code == code
    assert [step.name for step in report.steps] == ["echo"], "the answers before the death are kept, none come after"


@pytest.mark.parametrize(
    "answer",
    [
        "not json",
        "[1]",
        '{"event":"step"}',
        '{"event":"step","step":"x","value":1,"failure":"odd","message":"","seconds":0}',
        '{"event":"end","event":"end","peak_rss_bytes":1}',
        '{"event":"end","peak_rss_bytes":NaN}',
        "[" * 5000,
    ],
)
def test_a_nonsensical_answer_is_a_crash(answer: str) -> None:
    report = run("nonsense", bytes=answer)
    assert isinstance(report.death, EngineCrashed)
    assert report.steps == ()


def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "MAX_ANSWER_BYTES", 10**6)
    report = run("large", size=3 * 10**6)
    assert isinstance(report.death, EngineCrashed)


def test_an_exception_is_an_answer_and_ends_the_task() -> None:
    report = run("fail", "echo")
    assert report.death is None
    assert [(step.failure, step.message) for step in report.steps] == [("error", "RuntimeError: ordinary failure")]


def test_a_panic_is_told_from_an_exception() -> None:
    assert [step.failure for step in run("panic").steps] == ["panic"]


def test_a_batch_can_go_on_after_failures() -> None:
    report = run("fail", "panic", "echo", keep_going=True)
    assert [step.failure for step in report.steps] == ["error", "panic", ""]


def test_a_flood_of_log_lines_neither_blocks_nor_piles_up() -> None:
    report = run("flood")
    assert report.steps[0].value == "still here"
    assert 0 < len(report.log) <= child.MAX_LOG_BYTES


@needs_proc
def test_the_environment_is_made_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EZKL_WORKING_DIR", "LD_PRELOAD_X", "PYTHONPATH", "PYTHONSTARTUP", "SECRET_TOKEN", "https_proxy"):
        monkeypatch.setenv(name, "/nonexistent")
    value = run("environment", secret="0.123456789").steps[0].value
    ours = {"ORT_DISABLE_TELEMETRY"}  # set by the package itself, in every process that imports it
    assert set(value["variables"]) - {"LC_CTYPE"} - ours == {"HOME", "TMPDIR", "PATH", "LANG", "EXTRA"}
    assert value["variables"]["HOME"] == value["cwd"]
    assert value["mode"] == 0o700
    assert value["stdin"] == ""
    assert value["session"]
    assert value["files"] == [], "the task is deleted as soon as it is read"
    assert "0.123456789" not in value["command"], "arguments of a process are visible to every user"


def test_nothing_is_left_of_the_private_folder() -> None:
    with private_directory() as folder:
        (folder / "witness.json").write_text("private")
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_peak_memory_and_time_are_reported() -> None:
    report = run("echo")
    assert report.death is None
    assert report.peak_rss_bytes > 2**20
    assert report.seconds > 0


def test_kill_all_ends_children_of_other_threads(tmp_path: Path) -> None:
    note = tmp_path / "pids"
    reports: list[ChildReport] = []
    thread = threading.Thread(target=lambda: reports.append(run("hang", limits=LONG, grandchild=str(note))))
    thread.start()
    until(lambda: noted(note))
    child.kill_all()
    thread.join()
    assert reports[0].death is not None
    assert gone(*noted(note))


PARENT = """
import sys
from pathlib import Path
from verifai.execution import child
from verifai.execution.child import Limits
from verifai.execution.scratch import private_directory
child._command = lambda module: [sys.executable, "-I", sys.argv[1]]
try:
    with private_directory(Path(sys.argv[2])) as folder:
        task = {"steps": [{"op": "hang", "args": {"grandchild": sys.argv[3]}}], "keep_going": False}
        child.run("unused", task, folder=folder, limits=Limits(wall_seconds=3600))
except KeyboardInterrupt:
    print("interrupted")
"""


def _parent_with_child(tmp_path: Path) -> tuple[subprocess.Popen[str], list[int]]:
    note = tmp_path / "pids"
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(SCRIPT), str(scratch), str(note)], stdout=subprocess.PIPE, text=True
    )
    until(lambda: noted(note) or parent.poll() is not None)
    assert parent.poll() is None
    return parent, noted(note)


def test_ctrl_c_kills_the_whole_group_and_leaves_no_files(tmp_path: Path) -> None:
    parent, pids = _parent_with_child(tmp_path)
    os.kill(parent.pid, signal.SIGINT)
    out, _ = parent.communicate()
    assert out == "interrupted\n"
    assert gone(*pids)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="dying with the parent needs Linux's PR_SET_PDEATHSIG")
def test_the_child_dies_with_its_parent(tmp_path: Path) -> None:
    parent, pids = _parent_with_child(tmp_path)
    parent.kill()
    parent.communicate()
    assert gone(pids[0])
    os.kill(pids[1], signal.SIGKILL)  # the grandchild is this test's own doing; ezkl starts none


@pytest.mark.skipif(not Path("/bin/ps").exists(), reason="/bin/ps is not installed")
def test_memory_can_be_sampled_without_proc() -> None:
    assert child._resident_by_ps(os.getpid()) > 2**20
    assert child._resident_by_ps(2**22 + 1) == 0
