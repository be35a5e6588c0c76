"""Standard streams that cannot change a verdict: a write that fails is remembered and judged once, at the end.

The exit status says what became of the evidence. Where nobody can read what is printed (a reader that left, a full disk, a
closed stream, a terminal without our characters), the work goes on, and :func:`judge` settles the status when it is done.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from dataclasses import dataclass
from typing import IO, TextIO

ASCII_FORMS = {
    "✓": "+",
    "✗": "x",
    "–": "-",
    "—": "-",
    "…": "...",
    "×": "x",
    "→": "->",
    "←": "<-",
    "≤": "<=",
    "≥": ">=",
    "·": "-",
    "•": "-",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "─": "-",
    "━": "-",
    "│": "|",
}
"""What stands for a character of ours where the stream's encoding has none; any other is written as an escape."""

_HANDLER = "verifai-ascii"
WIDTHS = (40, 1000)
"""The narrowest and the widest line that tables are laid out for."""
_SIZE_VARIABLES = ("COLUMNS", "LINES", "TERMINAL_WIDTH")


def _encode_otherwise(problem: UnicodeError) -> tuple[str, int]:
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    text = problem.object[problem.start : problem.end]
    return "".join(ASCII_FORMS.get(char) or _escape(char) for char in text), problem.end


def _escape(char: str) -> str:
    return char.encode("ascii", errors="backslashreplace").decode("ascii")


codecs.register_error(_HANDLER, _encode_otherwise)


class Outlet(io.TextIOWrapper):
    """A text stream that writing to never fails. The first failure is kept in ``lost``; what follows goes nowhere."""

    lost: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as problem:
            self._lose(problem)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as problem:
            self._lose(problem)

    def _lose(self, problem: OSError) -> None:
        if self.lost is None:
            self.lost = problem
            # What still lies in a buffer has to go somewhere, or Python tries again at its end and changes the status.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)


@dataclass(frozen=True, slots=True)
class Streams:
    """The two streams of a run, after :func:`prepare`."""

    out: Outlet
    err: Outlet


def prepare() -> Streams:
    """Make stdin, stdout and stderr safe to use, whatever the caller left of them.

    A closed one is replaced by the null device, so that no file that is opened later takes its number and gets what is printed.
    """
    closed = [number for number in (0, 1, 2) if not _is_open(number)]
    for _ in closed:
        os.open(os.devnull, os.O_RDWR)  # takes the lowest free number; children inherit nothing of it
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as the process
    for name in _SIZE_VARIABLES:  # libraries read these as numbers, and each in its own way
        if not _is_size(os.environ.get(name, "1")):
            del os.environ[name]
    sys.stdout = out = _outlet(1, sys.stdout, closed=1 in closed)
    sys.stderr = err = _outlet(2, sys.stderr, closed=2 in closed)
    return Streams(out, err)


def judge(streams: Streams, status: int) -> int:
    """The status of a run whose output may have been lost: what was not shown cannot be called accepted.

    A reader that left (``| head``, ``| grep -q``) had what it wanted, so the status stays. Any other loss makes 0 into 4.
    """
    streams.out.flush()
    streams.err.flush()
    lost = streams.out.lost
    if lost is None or lost.errno in (errno.EPIPE, errno.ECONNRESET):
        return status
    streams.err.write(f"undecided [disk] the result cannot be shown on standard output: {lost.strerror}\n")
    streams.err.flush()
    return status or 4


def can_show(stream: IO[str], text: str) -> bool:
    """Whether the stream's encoding has all characters of ``text``."""
    try:
        text.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def width_of(stream: TextIO) -> int:
    """Columns to lay out for: ``COLUMNS``, else the terminal's; without a terminal wide enough for paths and digests."""
    narrowest, widest = WIDTHS
    told = os.environ.get("COLUMNS", "")
    if _is_size(told):
        return min(max(int(told), narrowest), widest)
    try:
        columns = os.get_terminal_size(stream.fileno()).columns if stream.isatty() else 160
    except (OSError, ValueError):
        columns = 80
    return min(max(columns or 80, narrowest), widest)


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def _outlet(number: int, before: TextIO | None, *, closed: bool) -> Outlet:
    encoding = getattr(before, "encoding", None) or "utf-8"
    if isinstance(before, io.TextIOWrapper):
        before.flush()
        binary = before.detach()
    else:
        binary = open(number, "wb", closefd=False)  # noqa: SIM115 - lives as long as the process
    os.set_blocking(number, True)  # a caller's non-blocking pipe would lose what a slow reader has not taken yet
    outlet = Outlet(binary, encoding=encoding, errors=_HANDLER, line_buffering=os.isatty(number))
    if closed:
        outlet.lost = OSError(errno.EBADF, "it is closed")
    return outlet
