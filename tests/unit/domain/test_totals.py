"""Totals over many bundles, in one sentence that stays one."""

from __future__ import annotations

from verifai.domain.totals import SHOWN_CODES, count_outcomes


def test_nothing_one_and_many() -> None:
    words = ("accepted", "rejected", "policy-not-met")
    assert count_outcomes(words, []).sentence() == "0 bundles: none"
    assert count_outcomes(words, [("accepted", [])]).sentence() == "1 bundle: 1 accepted"
    found = [("accepted", []), ("rejected", ["b", "a", "a"]), ("rejected", ["a"]), ("policy-not-met", ["c"])]
    totals = count_outcomes(words, found, others=1)
    assert (
        totals.sentence()
        == "4 bundles: 1 accepted, 2 rejected, 1 policy not met; codes: a 2, b 1, c 1; 1 other entry not looked at"
    )
    assert totals.to_json() == {
        "bundles": 4,
        "outcomes": {"accepted": 1, "rejected": 2, "policy-not-met": 1},
        "codes": {"a": 2, "b": 1, "c": 1},
        "others": 1,
    }


def test_many_codes_are_cut_in_the_sentence_alone() -> None:
    totals = count_outcomes(("rejected",), [("rejected", [f"code-{at}" for at in range(SHOWN_CODES + 3)])], others=2)
    assert "3 more codes" in totals.sentence()
    assert totals.sentence().endswith("2 other entries not looked at")
    assert len(totals.to_json()["codes"]) == SHOWN_CODES + 3
