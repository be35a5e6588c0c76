"""The console script: whatever happens inside or around a command, the process ends with a status of the contract.

Python itself ends with 1 when an exception gets away, and here 1 means that evidence is false. So everything that can fail,
imports included, runs inside :func:`main`, and this module imports nothing that could be missing.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from verifai.cli.streams import judge, prepare

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run the command line of this process, and end it."""
    streams = prepare()
    status = 70
    try:
        try:
            _stop_cleanly()
            status = _run()
        finally:
            # From here on only the ending is left: a signal must not turn a verdict into another.
            _ignore_stops()
    except KeyboardInterrupt:
        status = 130  # it came between two of our handlers; the command itself reports its interruption
    sys.exit(judge(streams, status))


def _run() -> int:
    try:
        from verifai.cli.app import run  # imports third-party packages, any of which may be missing or broken

        return run(sys.argv[1:])
    except KeyboardInterrupt:
        _last_words("interrupted", "interrupted", "stopped")
        return 130
    except MemoryError:
        _last_words("undecided", "out-of-memory", "no memory left")
        return 4
    except ImportError as problem:
        _last_words("undecided", "package-missing", f"verifai cannot start: {problem}; install it again with its dependencies")
        return 4
    except OSError as problem:
        _last_words("undecided", "disk", str(problem))
        return 4
    except BaseException as problem:  # noqa: BLE001 - anything else would end as Python's own status 1
        if os.environ.get("VERIFAI_TRACEBACK") == "1":
            import traceback

            traceback.print_exc()
        _last_words("bug", "bug", f"{type(problem).__name__}: {str(problem)[:300]}")
        return 70


def _last_words(word: str, code: str, text: str) -> None:
    """One line on stderr, written with as little as possible: what usually writes may be what failed."""
    safe = "".join(char if char.isprintable() else "?" for char in text)
    sys.stderr.write(f"{word} [{code}] {safe}\n")


def _stop_cleanly() -> None:
    """A job is stopped with SIGTERM, a closed terminal sends SIGHUP; both deserve the same clean ending as Ctrl-C."""
    for number in _STOPS[1:]:
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup stays nohup
            signal.signal(number, _terminate)


def _ignore_stops() -> None:
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
