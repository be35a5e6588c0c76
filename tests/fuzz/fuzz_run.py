"""Coverage-guided fuzzing of every parser with atheris, for a fixed number of runs.

    python -m tests.fuzz.fuzz_run                 every target, each in a process of its own, with its fixed number of runs
    python -m tests.fuzz.fuzz_run TARGET [-runs=N …]   one target; further options go to libFuzzer

A crash, a hang of 30 s (of all runs: ten minutes) or 2 GiB of memory ends it with a status other than 0 and leaves the input
as ``crash-*``. atheris has wheels for Linux x86-64 and CPython up to 3.13; elsewhere this says so and mutates at random
instead, without coverage.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

try:
    import atheris
except ImportError:
    atheris = None
if atheris is None or len(sys.argv) < 2:
    from tests.fuzz.fuzz_targets import Target, targets
else:
    # Only our own modules are instrumented; numpy and onnx would slow every run down and tell nothing about the parsers.
    with atheris.instrument_imports(include=["verifai"]):
        from tests.fuzz.fuzz_targets import Target, targets
from tests.fuzz.fuzz_mutate import mutate, try_one
from tests.support.paths import ROOT

HANG_SECONDS, MEMORY_MIB, SEED = 30, 2048, 20260131
TARGET_SECONDS = 600
"""Many times what any target takes: for a hang in which nobody looks at the clock."""


def main(arguments: list[str]) -> int:
    if not arguments:
        return _all()
    name, options = arguments[0], arguments[1:]
    target = targets()[name]
    if atheris is None:
        return _at_random(name, target)
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(target.seeds):
            (Path(corpus) / str(number)).write_bytes(seed)
        limits = [f"-timeout={HANG_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}", f"-max_len={target.max_length}"]
        defaults = [f"-runs={target.runs}", f"-seed={SEED}", *limits]
        atheris.Setup([sys.argv[0], *defaults, *options, corpus], lambda data: try_one(target.parse, data))
        atheris.Fuzz()  # ends the process
    return 0


def _all() -> int:
    """Every target, as many beside each other as there are processors; what became of each is printed in their order."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return (
            1 if [name for name, done in zip(targets(), pool.map(_run, targets()), strict=True) if not _told(name, done)] else 0
        )


def _run(name: str) -> tuple[float, subprocess.CompletedProcess[str] | None]:
    """Seconds and the end of a target's process; ``None`` for one that was not done within its time."""
    started = time.monotonic()
    command = [sys.executable, "-m", "tests.fuzz.fuzz_run", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=TARGET_SECONDS)
    except subprocess.TimeoutExpired:
        return time.monotonic() - started, None
    return time.monotonic() - started, done


def _told(name: str, ended: tuple[float, subprocess.CompletedProcess[str] | None]) -> bool:
    """Print what became of a target. Returns whether it held."""
    seconds, done = ended
    if done is None:
        print(f"FAILED {name:16} it was not done within {TARGET_SECONDS} s and was ended", flush=True)
        return False
    word = "FAILED" if done.returncode else "ok"
    print(f"{word:6} {name:16} {targets()[name].runs:>7} runs  {seconds:6.1f} s", flush=True)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-6000:], sep="\n")
    return not done.returncode


def _at_random(name: str, target: Target) -> int:
    print(f"atheris is not installed (no wheel for this platform?): {name} is fuzzed without coverage")
    generator = random.Random(SEED)
    for _ in range(target.runs):
        data = mutate(generator, generator.choice(target.seeds), target.max_length)
        started = time.monotonic()
        try_one(target.parse, data)
        assert time.monotonic() - started < HANG_SECONDS, data.hex()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
