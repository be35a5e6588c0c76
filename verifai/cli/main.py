"""The console script: whatever happens inside or around a command, the process ends with a status of the contract.

Python itself ends with 1 when an exception gets away, and here 1 means that evidence is false. So everything that can fail,
imports included, runs inside :func:`main`, and this module imports nothing that could be missing.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

from verifai.cli.apart import Parted, joins_a_cluster, part, status_of, tell
from verifai.cli.streams import judge, prepare

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> None:
    """Run the command line of this process, and end it."""
    streams = prepare()
    status = 70
    parted: Parted | None = None
    try:
        try:
            parted = part() if joins_a_cluster(sys.argv[1:]) else None
            _stop_cleanly()
            status = _run() if parted is None or not parted.child else _awaited(parted)
        finally:
            # From here on only the ending is left: a signal must not turn a verdict into another.
            _ignore_stops()
    except KeyboardInterrupt:
        status = 130  # it came between two of our handlers; the command itself reports its interruption
    status = judge(streams, status)
    if parted is not None and not parted.child:
        tell(parted, status)
    sys.exit(status)


def _awaited(parted: Parted) -> int:
    """The status of the process that runs the command; Ray's core may have ended it, whatever status that gave it."""
    status = status_of(parted)
    if status is not None:
        return status
    from verifai.cli.app import failed
    from verifai.errors import Undecided

    message = "the process that spoke to the cluster was ended; Ray does that when this machine's node or object store dies"
    hint = "What is done stays. When the cluster is up again, give the same command again."
    return failed(sys.argv[1:], Undecided("cluster-lost", message, where="--on", hint=hint))


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
