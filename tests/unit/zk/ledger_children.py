"""Child processes for tests of the opening ledger: forked, because a fork is quick and is one of the things to be survived."""

from __future__ import annotations

import os
from collections.abc import Callable


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
