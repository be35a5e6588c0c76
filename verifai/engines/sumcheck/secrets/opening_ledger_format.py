"""The bytes of an opening ledger (``docs/decisions/0701-opening-ledger.md``). Pure: no files, no clock.

A ledger has one fixed size from the day it is made: a header line, then one line of 256 bytes per opening number, all blank.
Reserving number ``i`` fills line ``i`` in place, so a number and its place are one thing, a file that is too short or too long
is seen at once, and a record torn by a crash cannot shift the ones after it.

::

    verifai/opening-ledger/v1 ROOT BUDGET            CHECK
    NUMBER LINK PURPOSE                              CHECK
    -----------------------------------------------------

``CHECK`` is a digest of its own line, ``LINK`` one of every byte of the file before the line, torn lines included.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from verifai.domain.digest import is_sha256
from verifai.domain.statement import MAX_OPENINGS
from verifai.errors import UsageError

LINE_BYTES = 256
LINES_PER_PAGE = 16
"""Of the smallest page that disks write whole: 4 KiB."""
BLANK = b"-" * (LINE_BYTES - 1) + b"\n"
MAX_LEDGER_BYTES = LINE_BYTES * (MAX_OPENINGS + 1)
MAX_PURPOSE = 160
"""Characters of a purpose that are kept."""
COMMIT_ANEW = "The root is dead: compile again, which commits anew and makes a ledger of its own."

_TAG = "verifai/opening-ledger/v1"
_DIGITS = 32
"""Hex digits of a check or link: 128 bits of SHA-256. They are against accidents; who can write the file can also compute."""
_HEADER = re.compile(rf"{_TAG} ([0-9a-f]{{64}}) ([1-9][0-9]{{0,4}})")


@dataclass(frozen=True, slots=True)
class LedgerState:
    """What a ledger says.

    Attributes:
        root: 64 hex digits of the commitment's root.
        budget: how many openings the root allows.
        used: how many numbers are spent; the next one, while ``used < budget``.
        torn: spent numbers whose record is incomplete: a crash, or a changed byte.
        link: digest of the header and of every spent line, for the next record.
    """

    root: str
    budget: int
    used: int
    torn: tuple[int, ...]
    link: str


def new_ledger(root: str, budget: int) -> bytes:
    """An unused ledger. Raises ValueError for a root that is not 64 hex digits, or a budget outside [1, MAX_OPENINGS]."""
    if not is_sha256(root) or not 1 <= budget <= MAX_OPENINGS:
        raise ValueError(f"no ledger for root {root[:80]!r} and budget {budget}")
    return _line(f"{_TAG} {root} {budget}") + BLANK * budget


def record(state: LedgerState, purpose: str) -> bytes:
    """The line that spends the next number."""
    return _line(f"{state.used:05d} {state.link} {clean(purpose)}")


@dataclass(frozen=True, slots=True)
class Lines:
    """Consecutive records from number ``first`` on, within one page of a disk."""

    first: int
    data: bytes


def pages(state: LedgerState, purpose: str, count: int, ledger: bytes) -> Iterator[Lines]:
    """The lines that spend the next ``count`` numbers of ``ledger``, cut where a page of the disk ends."""
    chain = hashlib.sha256(ledger[: LINE_BYTES * (state.used + 1)])
    first, data = state.used, b""
    for number in range(state.used, state.used + count):
        line = record(replace(state, used=number, link=chain.hexdigest()[:_DIGITS]), purpose)
        chain.update(line)
        data += line
        if (number + 2) % LINES_PER_PAGE == 0:  # the header is a line too
            yield Lines(first, data)
            first, data = number + 1, b""
    if data:
        yield Lines(first, data)


def clean(purpose: str) -> str:
    """``purpose`` as a ledger holds it: printable ASCII, shortened; anything else becomes a question mark."""
    return "".join(one if " " <= one <= "~" else "?" for one in purpose[:MAX_PURPOSE]).strip() or "?"


def parse_ledger(data: bytes, where: str) -> LedgerState:
    """Read a ledger, strictly.

    A spent line that fails its own check counts as spent: it is what a crash leaves. A line that is whole but does not follow
    from the bytes before it, or anything after the first blank line, is no accident of an append.

    Raises:
        UsageError: code ``opening-ledger-malformed``.
    """
    if len(data) < 2 * LINE_BYTES:
        raise _malformed(f"{len(data)} bytes are too few for a ledger", where)
    header = data[:LINE_BYTES]
    body = _body(header)
    found = None if body is None else _HEADER.fullmatch(body)
    if found is None or _line(found[0]) != header:
        raise _malformed("the first line is not that of a ledger", where)
    root, budget = found[1], int(found[2])
    if budget > MAX_OPENINGS:
        raise _malformed(f"a budget over {MAX_OPENINGS}", where)
    if len(data) != LINE_BYTES * (budget + 1):
        message = f"{len(data)} bytes, where a ledger of {budget} numbers has {LINE_BYTES * (budget + 1)}"
        raise _malformed(message, where)
    lines = [data[place : place + LINE_BYTES] for place in range(LINE_BYTES, len(data), LINE_BYTES)]
    used = next((number for number, line in enumerate(lines) if line == BLANK), budget)
    if any(line != BLANK for line in lines[used:]):
        raise _malformed(f"number {used} is unused although a later one is used", where)
    chain = hashlib.sha256(header)
    torn = []
    for number, line in enumerate(lines[:used]):
        body = _body(line)
        if body is None:
            torn.append(number)
        else:
            start = f"{number:05d} {chain.hexdigest()[:_DIGITS]} "
            purpose = body.removeprefix(start)
            if not body.startswith(start) or clean(purpose) != purpose or _line(body) != line:
                raise _malformed(f"the record of number {number} does not follow from those before it", where)
        chain.update(line)
    return LedgerState(root, budget, used, tuple(torn), chain.hexdigest()[:_DIGITS])


def _line(body: str) -> bytes:
    text = body.ljust(LINE_BYTES - _DIGITS - 1)
    return f"{text}{_check(text)}\n".encode("ascii")


def _body(line: bytes) -> str | None:
    """What a line says, or ``None`` when its check fails."""
    try:
        text = line.decode("ascii")
    except UnicodeDecodeError:
        return None
    start, end = text[: LINE_BYTES - _DIGITS - 1], text[LINE_BYTES - _DIGITS - 1 :]
    return start.rstrip(" ") if end == f"{_check(start)}\n" else None


def _check(text: str) -> str:
    return hashlib.sha256(f"{_TAG}\n{text}".encode("ascii")).hexdigest()[:_DIGITS]


def _malformed(message: str, where: str) -> UsageError:
    return UsageError("opening-ledger-malformed", f"not an opening ledger: {message}", where=where, hint=COMMIT_ANEW)
