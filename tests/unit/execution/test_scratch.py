"""Private folders go away with their block, and those of killed processes with the next run; nobody's folder in use does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verifai.errors import Undecided
from verifai.execution import scratch
from verifai.execution.scratch import PREFIX, STALE_SECONDS, UNNAMED, private_directory

HOLD = "import sys,time; from pathlib import Path; from verifai.execution.scratch import private_directory as p\n"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "_swept", set())


def _age(folder: Path) -> None:
    long_ago = time.time() - 2 * STALE_SECONDS
    os.utime(folder, (long_ago, long_ago))


def test_the_folder_of_a_killed_process_is_removed_by_the_next(tmp_path: Path) -> None:
    code = HOLD + "with p(Path(sys.argv[1])) as f: (f / 'private').write_text('x'); print(f, flush=True); time.sleep(3600)"
    child = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    left = Path(child.stdout.readline().strip())
    with private_directory(tmp_path):
        assert left.exists()  # it is in use
    child.kill()
    child.communicate()  # it waits, and closes the pipe
    scratch._swept.clear()
    with private_directory(tmp_path):
        assert not left.exists()


def test_one_that_has_no_name_yet_is_given_time(tmp_path: Path) -> None:
    """Between making and locking it a process may be slow; one that died there leaves an empty folder for a while."""
    young, old = tmp_path / f"{UNNAMED}young", tmp_path / f"{UNNAMED}old"
    for folder in (young, old):
        folder.mkdir()
    _age(old)
    with private_directory(tmp_path) as mine:
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([mine.name, young.name])


def test_what_is_linked_or_named_otherwise_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    for name in ("target", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / f"{PREFIX}link").symlink_to(target)
    _age(target)
    _age(tmp_path / "other")
    with private_directory(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{PREFIX}link", "other", "target"]


def test_no_place_for_it_is_undecided(tmp_path: Path) -> None:
    with pytest.raises(Undecided), private_directory(tmp_path / "absent"):
        pass
