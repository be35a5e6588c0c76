"""``python -m tools.run_tests PYTEST-OPTIONS`` runs tests beside each other, one worker per core, and few that fail once more.

A test that fails beside others and passes alone rests on something that it should not rest on: time, load, another test. It
is named in plain sight, at the end, and has to be mended; but it says nothing about the change at hand. So up to three failed
tests are run once more, each alone in a process of its own. More than three, or one that fails again, fail the run. No test
that passed is run twice.

The exit status is pytest's: 0 when all passed in the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

MOST = 3
"""So many unsteady tests may fail in one run. More are no accident."""
# A file's tests stay in one worker and in their order, since some share what their file built.
BESIDE = ("-n", "auto", "--dist", "loadfile")
FAILED = 1
"""pytest's status when tests failed; the others mean that it was interrupted, misused, broken, or had nothing to run."""


def run_tests(options: Sequence[str], beside: Sequence[str] = BESIDE) -> int:
    """Run pytest with ``options``, and what failed once more; the exit status."""
    with tempfile.TemporaryDirectory(prefix="verifai-tests-") as cache:
        status = _pytest([*beside, *options, "-o", f"cache_dir={cache}"])
        failed = _failed(Path(cache)) if status == FAILED else []
    if status != FAILED or not 0 < len(failed) <= MOST or not all("::" in one for one in failed):
        return status  # a file that could not be read is no test
    alone = [one for one in options if not one.startswith("--cov")]  # the figures are those of the whole run
    print(_frame([f"{len(failed)} failed beside others; now each alone:", *failed]), flush=True)
    again = [test for test in failed if _pytest([test, *alone, "-p", "no:cacheprovider"]) != 0]
    unsteady = [test for test in failed if test not in again]
    if unsteady:
        print(_frame(["UNSTEADY: failed beside others, passed alone. Mend what they rest on:", *unsteady]), flush=True)
    if again:
        print(_frame(["FAILED twice, beside others and alone:", *again]), flush=True)
    return FAILED if again else 0


def _pytest(arguments: Sequence[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode


def _failed(cache: Path) -> list[str]:
    """The tests that failed, in the order of their names; none when pytest ended before it could say."""
    try:
        return sorted(json.loads((cache / "v" / "cache" / "lastfailed").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return []


def _frame(lines: Sequence[str]) -> str:
    rule = "!" * 100
    return "\n".join(["", rule, *(f"!!! {line}" for line in lines), rule, ""])


if __name__ == "__main__":
    sys.exit(run_tests(sys.argv[1:]))
