"""Freed memory stays with the process where glibc takes the advice, and nowhere else is anything changed."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from verifai.execution import allocation

TOUCH = """
import resource, sys
from verifai.execution.allocation import keep_freed_memory
told = keep_freed_memory()
def touch():
    block = bytearray(1 << 27)
    for at in range(0, len(block), 4096):
        block[at] = 1
touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
touch()
print(told, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.fixture
def fresh(monkeypatch):
    for name in allocation._CHOSEN:
        monkeypatch.delenv(name, raising=False)
    allocation.keep_freed_memory.cache_clear()
    yield monkeypatch
    allocation.keep_freed_memory.cache_clear()


def _glibc() -> bool:
    return sys.platform == "linux" and hasattr(ctypes.CDLL(None), "gnu_get_libc_version")


@pytest.mark.parametrize("name", allocation._CHOSEN)
def test_what_the_user_chose_stays(fresh, name):
    fresh.setenv(name, "1")
    fresh.setattr(ctypes, "CDLL", lambda _: pytest.fail("the C library was told all the same"))
    assert not allocation.keep_freed_memory()


@pytest.mark.parametrize("problem", [OSError("static"), AttributeError("mallopt")])
def test_another_c_library_is_left_alone(fresh, problem):
    def missing(_):
        raise problem

    fresh.setattr(ctypes, "CDLL", missing)
    assert not allocation.keep_freed_memory()


def test_no_other_system_is_touched(fresh):
    fresh.setattr(sys, "platform", "darwin")
    fresh.setattr(ctypes, "CDLL", lambda _: pytest.fail("the C library was told all the same"))
    assert not allocation.keep_freed_memory()


@pytest.mark.skipif(not _glibc(), reason="the C library is not glibc, whose mallopt this is about")
def test_a_second_long_array_takes_no_new_pages(fresh):
    done = subprocess.run([sys.executable, "-c", TOUCH], capture_output=True, text=True, check=True)
    told, faults = done.stdout.split()
    assert told == "True" and int(faults) < 1000  # of 32,768 pages
