"""Reputation: Bradley–Terry, capped, farmed in vain."""

from __future__ import annotations

import math

import pytest

from verifai.domain.consensus.reputation import (
    CANARY,
    WEIGHT_CAP,
    Contest,
    PastRound,
    contests,
    strengths,
    weights,
)


def test_a_long_clean_record_weighs_no_more_than_the_cap() -> None:
    rounds = [PastRound(("a", "b"), ("c",), canary=True)] * 10_000
    found = weights(strengths(contests(rounds)))
    assert found["a"] == found["b"] == WEIGHT_CAP
    assert found["c"] == 0.0
    assert CANARY not in found


def test_nothing_known_is_a_newcomers_weight() -> None:
    assert weights(strengths([])) == {}
    assert weights({"a": 0.0}) == {"a": 1.0}


def test_unanimous_rounds_teach_nothing_unless_the_answer_was_known() -> None:
    assert not contests([PastRound(("a", "b", "c"), ())])
    assert len(contests([PastRound(("a", "b", "c"), (), canary=True)])) == 3


def test_failing_canaries_outweighs_agreeing_with_the_crowd() -> None:
    """A ring that always agrees with itself still fails jobs whose answers are known."""
    ring = [PastRound(("a", "b"), ("c",))] * 5 + [PastRound(("c",), ("a", "b"), canary=True)] * 20
    found = strengths(contests(ring))
    assert found["c"] > found["a"]


def test_strengths_reproduce_win_rates() -> None:
    record = [Contest("a", "b")] * 300 + [Contest("b", "a")] * 100
    found = strengths(record)
    assert math.isclose(found["a"] - found["b"], math.log(3), abs_tol=0.05)


def test_no_order_of_the_record_changes_the_result() -> None:
    record = [Contest("a", "b")] * 3 + [Contest("b", "c")] * 2 + [Contest("c", "a")]
    assert strengths(record) == pytest.approx(strengths(record[::-1]))


def test_nobody_is_compared_with_itself() -> None:
    with pytest.raises(ValueError, match="itself"):
        strengths([Contest("a", "a")])
