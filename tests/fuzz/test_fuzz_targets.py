"""Every parser survives a few hundred mutated inputs; ``tests/fuzz/fuzz_run.py`` tries many more, guided by coverage."""

from __future__ import annotations

import random
import time

import pytest

from tests.fuzz.fuzz_mutate import mutate, try_one
from tests.fuzz.fuzz_targets import targets
from verifai.errors import InternalError, VerifaiError

TARGETS = targets()
NO_VALID_SEED = {"policy", "vote-output", "npz", "sbom"}


@pytest.mark.parametrize("name", [name for name in TARGETS if name not in NO_VALID_SEED])
def test_the_seeds_are_valid(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].parse(seed)


@pytest.mark.parametrize("name", list(TARGETS))
def test_mutated_input_is_refused_or_read_never_a_crash_or_a_hang(name: str) -> None:
    target = TARGETS[name]
    generator = random.Random(1)
    for _ in range(min(300, target.runs // 20)):
        started = time.process_time()
        try_one(target.parse, mutate(generator, generator.choice(target.seeds), target.max_length))
        assert time.process_time() - started < 30


def test_a_crash_would_be_seen() -> None:
    def broken(data: bytes) -> None:
        raise ZeroDivisionError

    def ours(data: bytes) -> None:
        raise InternalError("bug", "x")

    def refusing(data: bytes) -> None:
        raise VerifaiError("code", "x")

    with pytest.raises(ZeroDivisionError):
        try_one(broken, b"")
    with pytest.raises(InternalError):
        try_one(ours, b"")
    try_one(refusing, b"")
