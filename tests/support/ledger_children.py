"""What tests of the opening ledger share; children are forked, for a fork is quick and is one of the things to be survived."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from verifai.engines.sumcheck.secrets.opening_ledger import MARKS_VARIABLE
from verifai.engines.sumcheck.secrets.opening_ledger_format import BLANK, LINE_BYTES, new_ledger, parse_ledger, record
from verifai.errors import VerifaiError

ROOT = "ab" * 32
OTHER = "cd" * 32


def refused(code: str, call: Callable[[], object]) -> VerifaiError:
    with pytest.raises(VerifaiError) as caught:
        call()
    assert caught.value.code == code, caught.value
    assert caught.value.where
    assert caught.value.hint
    return caught.value


def mark_of(root: str = ROOT) -> Path:
    return Path(os.environ[MARKS_VARIABLE]) / f"{root}.mark"


def used_ledger(records: int, budget: int, torn: int | None = None) -> bytes:
    data = new_ledger(ROOT, budget)
    for number in range(records):
        line = record(parse_ledger(data, ""), f"proof {number}")
        if number == torn:
            line = line[:100] + BLANK[100:]
        data = data[: LINE_BYTES * (number + 1)] + line + data[LINE_BYTES * (number + 2) :]
    return data


def fork(work: Callable[[], None]) -> int:
    """Run ``work`` in a child; it exits with 0, or with 1 when ``work`` raised. Returns its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def run_child(work: Callable[[], str]) -> str:
    """What ``work`` returns in a child."""
    reader, writer = os.pipe()

    def told() -> None:
        os.write(writer, work().encode())

    child = fork(told)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read().decode()
    _, status = os.waitpid(child, 0)
    assert status == 0, f"the child ended with {status}, after {text!r}"
    return text
