"""Commands run as processes of their own under odd surroundings, at the cost of a fork each.

A server process imports every verb once; for each request it forks, makes the surroundings real in the child (closed streams, a
full disk behind one, a terminal of 20 columns, …) and lets the console script's own ``main`` run to its end.
"""

from __future__ import annotations

import base64
import contextlib
import errno
import fcntl
import gc
import importlib
import io
import json
import os
import pkgutil
import pwd
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

ORDINARY = "ordinary"
STDOUT, STDERR = 1, 2


def _close(number: int) -> None:
    with contextlib.suppress(OSError):
        os.close(number)


def _onto(number: int, opened: int) -> None:
    os.dup2(opened, number)
    if opened != number:
        os.close(opened)


def _left_pipe() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    _onto(STDOUT, writer)


def _ascii() -> None:
    os.environ.update({"LC_ALL": "C", "PYTHONIOENCODING": "ascii"})


def _without_home() -> None:
    for name in ("HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "VERIFAI_OPENINGS_DIR"):
        os.environ.pop(name, None)


def _unknown_user() -> None:
    """A user whom no table knows: without a name, and with no home to be looked up."""

    def nobody(*_: object) -> NoReturn:
        raise KeyError("uid not found")

    _without_home()
    for name in ("USER", "LOGNAME", "LNAME", "USERNAME"):
        os.environ.pop(name, None)
    pwd.getpwuid = pwd.getpwnam = nobody  # type: ignore[assignment]


def _read_only_home() -> None:
    _without_home()
    os.environ["HOME"] = "/proc"  # where not even root can make anything


def _narrow_terminal() -> None:
    """Twenty columns. What is written there is read back by the other side, the only one that can."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 20, 0, 0))
    captured = os.dup(STDOUT)
    if os.fork():  # the command goes on in the parent of the two
        os.close(captured)
        os.close(master)
        os.dup2(slave, STDOUT)
        _onto(STDERR, slave)
        os.environ.pop("COLUMNS", None)
        os.environ["TERM"] = "xterm-256color"
        return
    os.close(slave)
    for number in (0, STDOUT, STDERR):
        _close(number)
    with contextlib.suppress(OSError):
        while shown := os.read(master, 65536):
            os.write(captured, shown)
    os._exit(0)


def _columns(text: str) -> Callable[[], None]:
    return lambda: os.environ.update(COLUMNS=text)


SURROUNDINGS: Mapping[str, Callable[[], object]] = {
    ORDINARY: lambda: None,
    "closed stdin": lambda: _close(0),
    "closed stdout": lambda: _close(STDOUT),
    "full disk": lambda: _onto(STDOUT, os.open("/dev/full", os.O_WRONLY)),
    "closed pipe": _left_pipe,
    "ascii": _ascii,
    "no HOME": _without_home,
    "read-only HOME": _read_only_home,
    "unknown user": _unknown_user,
    "COLUMNS empty": _columns(""),
    "COLUMNS huge": _columns("9" * 12),
    "narrow terminal": _narrow_terminal,
    "umask 077": lambda: os.umask(0o077),
    "names that are not UTF-8": lambda: None,  # made by the test: they are in the folder and in what is typed
}


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


class Surroundings:
    """The server, from the side of the tests. Use it in a ``with`` block."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)

    def __enter__(self) -> Surroundings:
        command = [sys.executable, "-m", "tests.support.surroundings"]
        root = Path(__file__).resolve().parents[2]
        self._process = subprocess.Popen(
            command, cwd=root, env=self._environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def run(self, folder: bytes, words: Sequence[str | bytes], name: str = ORDINARY) -> Ended:
        """One command in ``folder``."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        typed = [base64.b64encode(os.fsencode(word)).decode() for word in words]
        request = {"folder": base64.b64encode(folder).decode(), "words": typed, "name": name}
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return Ended(answer["status"], answer["out"], answer["err"])


def _serve() -> None:
    """Answer requests until standard input ends."""
    _load_all()
    answers = os.fdopen(os.dup(STDOUT), "wb", buffering=0)
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        words = [os.fsdecode(base64.b64decode(one)) for one in request["words"]]
        ended = _fork(base64.b64decode(request["folder"]), words, request["name"])
        answers.write(json.dumps(ended).encode() + b"\n")


_STARTS_SOMETHING = ("__main__", "worker", "torch", "verifai.showcase")
"""Modules that do something when they are imported, or that need what is not always there."""


def _load_all() -> None:
    """Import every module of the package, and what shows results: what a fork has, it need not load."""
    import verifai

    os.environ["MPLBACKEND"] = "Agg"
    for module in pkgutil.walk_packages(verifai.__path__, "verifai."):
        if not any(one in module.name for one in _STARTS_SOMETHING):
            with contextlib.suppress(ImportError):  # an extra that is not installed
                importlib.import_module(module.name)
    from verifai.cli.app import run

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        for words in (["key", "show", "/absent"], ["srs", "list"], ["verify", "/absent", "--lock", "/absent"]):
            run(words)  # what is loaded at the first use only
    gc.freeze()  # else each child would copy what it walks over
    threads = [*Path("/proc/self/task").iterdir()] if sys.platform == "linux" else []
    assert len(threads) < 2, "a fork would lose the other threads"


def _fork(folder: bytes, words: Sequence[str], name: str) -> dict[str, Any]:
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if not child:
            _become(folder, words, name, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        _wait_for_readers()
        texts = []
        for stream in (out, err):
            stream.seek(0)
            texts.append(stream.read().decode("utf-8", errors="backslashreplace"))
    return {"status": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}


def _wait_for_readers() -> None:
    """Whoever read a terminal for a command that ended is a child of it, and so of this process once it is adopted."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def _become(folder: bytes, words: Sequence[str], name: str, out: int, err: int) -> NoReturn:
    status = 99
    try:
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(out, STDOUT)
        os.dup2(err, STDERR)
        for number in range(3, 256):
            _close(number)
        os.chdir(folder)
        os.environ.pop("PYTHONIOENCODING", None)
        SURROUNDINGS[name]()
        _streams_as_python_makes_them()
        sys.argv = ["verifai", *words]
        from verifai.cli.main import main

        main()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 98
    except BaseException:
        import traceback

        with contextlib.suppress(OSError):
            os.write(STDERR, traceback.format_exc().encode(errors="replace"))
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    # The end of an interpreter is not waited for: other tests start whole processes.
    os._exit(status)


def _streams_as_python_makes_them() -> None:
    """The standard streams of a process that was started with what is open now; ``None`` for what is closed."""
    encoding = os.environ.get("PYTHONIOENCODING", "utf-8")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            setattr(sys, name, None)
        else:
            setattr(sys, name, os.fdopen(number, "r" if name == "stdin" else "w", encoding=encoding, closefd=False))


def is_supported(name: str) -> bool:
    """Whether this system has what the surroundings need."""
    if name == "full disk":
        return Path("/dev/full").exists()
    if name == "read-only HOME":
        try:
            Path("/proc/verifai-tests").mkdir()
        except OSError as problem:
            return problem.errno in (errno.ENOENT, errno.EROFS, errno.EACCES, errno.EPERM)
    return True


if __name__ == "__main__":
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: readers of terminals are waited for here
    _serve()
