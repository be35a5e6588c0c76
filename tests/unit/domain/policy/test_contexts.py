"""Proofs counted by their contexts: one question, one answer."""

from __future__ import annotations

from dataclasses import replace

from verifai.domain.digest import Sha256
from verifai.domain.policy.contexts import CountedProof, repeated_contexts

ANSWER = CountedProof("lm", "batch-7/000001", Sha256("a" * 64), True, "5 4 end-of-text")


def test_one_context_has_one_answer_though_both_splits_of_its_tokens_are_true() -> None:
    """The same tokens, with words of the prompt told as the model's: one inference, but two answers to who asked."""
    other = replace(ANSWER, answer="4 5 end-of-text")
    assert ANSWER.identity == other.identity
    assert [[one.code for one in found] for found in repeated_contexts([ANSWER, None, other])] == [
        ["context-repeated"], [], ["context-repeated"],
    ]  # fmt: skip


def test_one_answer_shown_twice_is_one_answer() -> None:
    assert repeated_contexts([ANSWER, ANSWER, replace(ANSWER, context="batch-7/000002", answer="4 5 end-of-text")]) == [()] * 3
