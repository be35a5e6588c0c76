"""Kernels run whatever becomes of their cache; and nothing is run from it that we did not write."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = """
import numpy as np
from verifai.engines.sumcheck.prover.jit import cache_notes, kernel

@kernel
def total(values):
    found = 0
    for value in values:
        found += value
    return found

if __name__ == "__main__":
    print(total(np.arange(10)), *total._cache_hits.values(), len(cache_notes()))
    print(*cache_notes())
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kernels") / "kernels.py"
    path.write_text(KERNELS)
    return path


@pytest.fixture(scope="module")
def filled(script: Path) -> Path:
    """A cache with one kernel."""
    cache = script.parent / "cache"
    assert run(script, XDG_CACHE_HOME=str(cache)) == ["45", "0"]
    return cache


@pytest.fixture
def cache(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "cache")


def run(script: Path, **environment: str) -> list[str]:
    """The sum, how many kernels came from the cache, and how many notes there are; in a process of its own."""
    plain = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    done = subprocess.run(
        [sys.executable, str(script)], env={**plain, **environment}, capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    assert second == "", "each reason is told once"
    return first.split()


def files(cache: Path, ending: str) -> list[Path]:
    return sorted(cache.rglob(f"*{ending}"))


@pytest.mark.parametrize(
    ("ending", "damage"), [(".nbc", "cut"), (".nbc", "flipped"), (".nbc", "folder"), (".nbi", "empty"), (".nbi", "flipped")]
)
def test_a_damaged_cache_is_made_again(damage: str, ending: str, cache: Path, script: Path) -> None:
    (path,) = files(cache, ending)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"empty": b"", "cut": bytes(data[:-20]), "flipped": bytes(data)}[damage])
    first = run(script, XDG_CACHE_HOME=str(cache))
    assert first[:2] == ["45", "0"] or damage == "folder"
    if damage != "folder":
        assert run(script, XDG_CACHE_HOME=str(cache)) == ["45", "1", "0"], "the next process finds a whole one"


def test_a_pickle_without_its_digest_is_not_opened(cache: Path, script: Path, tmp_path: Path) -> None:
    """Numba's own format, as an attacker or another program would leave it."""
    mark = tmp_path / "opened"
    payload = f"cposix\nsystem\n(Vtouch {mark}\ntR.".encode()
    for path in (*files(cache, ".nbc"), *files(cache, ".nbi")):
        path.write_bytes(payload)
    assert run(script, XDG_CACHE_HOME=str(cache))[0] == "45"
    assert not mark.exists()


TWO_TYPES = (
    KERNELS.partition("if __name__")[0]
    + """
if __name__ == "__main__":
    print(total(np.arange(10)), total(np.full(4, 0.5)), *total._cache_hits.values(), len(cache_notes()))
    print(*cache_notes())
"""
)


def test_code_for_other_types_is_not_run(tmp_path: Path) -> None:
    """Two processes that compile at once may write under one name, and each believes that its own code is there."""
    script, cache = tmp_path / "kernels.py", tmp_path / "cache"
    script.write_text(TWO_TYPES)
    assert run(script, XDG_CACHE_HOME=str(cache)) == ["45", "2.0", "0"]
    first, second = files(cache, ".nbc")
    whole, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    assert run(script, XDG_CACHE_HOME=str(cache)) == ["45", "2.0", "1", "0"], "one is taken, the other compiled again"
    assert run(script, XDG_CACHE_HOME=str(cache)) == ["45", "2.0", "1", "1", "0"], "and it is whole again"
    first.write_bytes(other)
    second.write_bytes(whole)
    assert run(script, XDG_CACHE_HOME=str(cache)) == ["45", "2.0", "0"]


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_folder_that_others_may_write_is_not_used(mode: int, script: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    assert run(script, NUMBA_CACHE_DIR=str(shared)) == ["45", "1"]
    assert files(shared, ".nbc") == []


def test_our_own_folder_is_closed_to_others(script: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "verifai" / "numba"
    folder.mkdir(parents=True)
    folder.chmod(0o775)
    assert run(script, XDG_CACHE_HOME=str(tmp_path / "cache")) == ["45", "0"]
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_without_a_place_for_a_cache_kernels_run_all_the_same(script: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert run(script, XDG_CACHE_HOME=str(tmp_path / "file")) == ["45", "1"]
    assert run(script, XDG_CACHE_HOME="relative", HOME="")[0] == "45"
