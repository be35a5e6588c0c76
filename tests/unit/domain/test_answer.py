"""What makes tokens an answer is computed from them, and each way not to be one has a code."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from verifai.domain.answer import check_generation, sequences_of
from verifai.domain.digest import Sha256
from verifai.domain.generation import Ending, Generation, unbound
from verifai.domain.names import PlaceNames
from verifai.domain.record import Record
from verifai.domain.shown import shown_line, shown_values
from verifai.domain.statement import (
    EngineName,
    Privacy,
    Role,
    Statement,
    TensorStatement,
    Visibility,
    WeightVisibility,
    check_context,
)
from verifai.domain.tokenizer import TokenPin
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError

PAD, END = 0, 2
PIN = TokenPin(Sha256("a" * 64), ("tokens", "next"), next="next", pad=PAD, ends=(END,))
PROMPT = (11, 12, 13)
TOKENS = (*PROMPT, 21, 22, PAD, PAD, PAD)
NEXT = (12, 99, 21, 22, END, 7, 8, 9)
CLAIM = Generation(3, 3, Ending.END_OF_TEXT)


def tensor(role: Role, name: str, cells: tuple[int, ...] | None) -> TensorStatement:
    seen = Visibility.PRIVATE if cells is None else Visibility.PUBLIC
    return TensorStatement(role, name, (1, 8 if cells is None else len(cells)), seen, Fraction(1), quantised=cells)


def statement(
    claim: Generation | None = CLAIM,
    tokens: tuple[int, ...] = TOKENS,
    following: tuple[int, ...] = NEXT,
    hidden: int = 0,
) -> Statement:
    inputs = [tensor(Role.INPUT, "tokens", tokens)]
    if hidden:
        secret = replace(tensor(Role.INPUT, "prompt", None), shape=(1, hidden))
        inputs = [secret, tensor(Role.INPUT, "tokens", tokens[hidden:])]
    return Statement(
        EngineName.SUMCHECK, Sha256("b" * 64), Sha256("c" * 64), (*inputs, tensor(Role.OUTPUT, "next", following)), "nonce",
        True, Privacy.INTEGRITY_ONLY, WeightVisibility.PUBLIC, generation=claim,
    )  # fmt: skip


def refusal(stated: Statement, pin: TokenPin | None = PIN) -> VerifaiError:
    with pytest.raises(VerifaiError) as caught:
        check_generation(stated, pin)
    return caught.value


def test_an_answer_is_linked_and_read_from_the_tokens() -> None:
    (finding,) = check_generation(statement(), PIN)
    assert finding.code == "answer-linked"
    found = sequences_of(statement(), PIN)
    assert (found.prompt_of(CLAIM), found.answer_of(CLAIM)) == (PROMPT, (21, 22, END))


def test_an_inference_that_claims_no_answer_is_none() -> None:
    assert check_generation(statement(None), PIN) == []


def test_an_answer_cut_at_the_tokens_asked_for_says_so() -> None:
    claim = Generation(3, 2, Ending.MAX_TOKENS)
    tokens = (*PROMPT, 21, PAD, PAD, PAD, PAD)
    (finding,) = check_generation(statement(claim, tokens), PIN)
    assert "max-tokens" in finding.message
    assert "the model would go on" in claim.words()


def test_a_hidden_prompt_leaves_the_answer_readable() -> None:
    stated = statement(hidden=3, following=NEXT[2:])
    (finding,) = check_generation(stated, PIN)
    assert "hidden prompt" in finding.message
    lines = [shown_line(one) for one in shown_values(stated, PlaceNames(tokens=PIN))]
    assert any(line.startswith("answer = 21, 22, 2") for line in lines)
    assert not any(line.startswith("prompt") for line in lines)


@pytest.mark.parametrize("place", range(3, 5))
def test_a_token_of_the_answer_that_no_position_put_out(place: int) -> None:
    tokens = tuple(77 if at == place else token for at, token in enumerate(TOKENS))
    assert refusal(statement(tokens=tokens)).code == "answer-not-linked"


@pytest.mark.parametrize("place", (2, 3))
def test_a_next_token_that_is_not_the_answers(place: int) -> None:
    following = tuple(77 if at == place else token for at, token in enumerate(NEXT))
    assert refusal(statement(following=following)).code == "answer-not-linked"


def test_an_answer_whose_end_was_cut_off() -> None:
    assert refusal(statement(Generation(3, 2, Ending.MAX_TOKENS))).code == "answer-cut"
    assert refusal(statement(Generation(3, 1, Ending.MAX_TOKENS))).code == "answer-cut"


def test_an_answer_with_a_token_appended() -> None:
    assert refusal(statement(Generation(3, 4, Ending.MAX_TOKENS))).code == "answer-not-linked"
    tokens = (*PROMPT, 21, 22, END, PAD, PAD)
    assert refusal(statement(Generation(3, 4, Ending.MAX_TOKENS), tokens)).code == "answer-past-end"


def test_text_hidden_behind_the_answer() -> None:
    assert refusal(statement(tokens=(*TOKENS[:-1], 55))).code == "answer-cut"


def test_the_ending_is_the_last_tokens() -> None:
    assert refusal(statement(Generation(3, 3, Ending.MAX_TOKENS))).code == "answer-ending"
    cut = statement(Generation(3, 2, Ending.END_OF_TEXT), (*PROMPT, 21, PAD, PAD, PAD, PAD))
    assert refusal(cut).code == "answer-ending"


def test_a_prompt_that_ends_elsewhere_is_another_claim() -> None:
    """A token of the answer may be called one of the prompt: that claims less, and is as true."""
    assert check_generation(statement(Generation(4, 2, Ending.END_OF_TEXT)), PIN)
    assert refusal(statement(Generation(2, 4, Ending.END_OF_TEXT))).code == "answer-not-linked"


@pytest.mark.parametrize(
    "claim",
    [Generation(8, 2, Ending.MAX_TOKENS), Generation(9, 1, Ending.MAX_TOKENS), Generation(3, 9_999_999, Ending.MAX_TOKENS)],
)
def test_lengths_that_the_positions_do_not_have(claim: Generation) -> None:
    assert refusal(statement(claim)).code == "answer-malformed"


def test_an_answer_that_begins_before_the_first_position_put_out() -> None:
    assert refusal(statement(Generation(2, 3, Ending.MAX_TOKENS), following=NEXT[2:])).code == "answer-malformed"


def test_an_answer_is_not_hidden() -> None:
    """The link is between tokens that everybody reads; a hidden input holds no part of an answer."""
    assert refusal(statement(hidden=4, following=NEXT[2:])).code == "answer-not-linked"
    hidden_end = replace(statement(), tensors=(tensor(Role.INPUT, "tokens", TOKENS), tensor(Role.OUTPUT, "next", None)))
    assert refusal(hidden_end).code == "answer-malformed"


def test_tensors_that_are_no_tokens() -> None:
    scaled = replace(tensor(Role.INPUT, "tokens", TOKENS), scale=Fraction(1, 2))
    assert refusal(replace(statement(), tensors=(scaled, statement().tensors[1]))).code == "answer-malformed"
    second = replace(statement().tensors[1], name="other")
    assert refusal(replace(statement(), tensors=(*statement().tensors, second))).code == "answer-malformed"


def test_a_lock_without_next_tokens_cannot_check_it() -> None:
    for pin in (None, replace(PIN, next="")):
        problem = refusal(statement(), pin)
        assert (type(problem), problem.code) == (PolicyNotMet, "answer-not-pinned")


def test_lengths_travel_before_the_context() -> None:
    for context in ("", "a nonce", "\0", "generation/1 3 3"):
        assert unbound(CLAIM.bound(context)) == (CLAIM, context)
        assert unbound(context) == (None, context)


@pytest.mark.parametrize(
    "text",
    ["\0generation/", "\0generation/2 3 3 max-tokens\0", "\0generation/1 03 3 max-tokens\0", "\0generation/1 3 0 max-tokens\0",
     "\0generation/1 3 3 tired\0", "\0generation/1 3 3 max-tokens", "\0generation/1 3 99999999 max-tokens\0",
     "\0generation/1 ³ 3 max-tokens\0"],
)  # fmt: skip
def test_lengths_have_one_spelling(text: str) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        unbound(text)
    assert caught.value.code == "statement-malformed"
    with pytest.raises(UsageError):
        check_context(text)


def test_a_statement_keeps_its_claim() -> None:
    for stated in (statement(), statement(None)):
        assert Statement.from_record(Record(stated.to_json(), "statement")) == stated
    assert "generation" not in statement(None).to_json()
    for bad in ({"prompt": 0}, {"answer": 0}, {"ending": "tired"}, {"more": 1}):
        document = {**statement().to_json(), "generation": {**CLAIM.to_json(), **bad}}
        with pytest.raises(VerifaiError):
            Statement.from_record(Record(document, "statement"))


def test_shown_words_between_a_hidden_prompt_and_its_answer_are_told() -> None:
    """Two hidden tokens, then one that everybody sees: who hears of a hidden prompt alone looks for no words behind it."""
    for hidden, told in ((2, "its prompt of 3 tokens is hidden but for 1 of them"), (3, "its prompt of 3 tokens is hidden)")):
        stated = statement(hidden=hidden)
        (answer, *_) = shown_values(stated, PlaceNames(tokens=PIN))
        assert answer.part == "answer"
        assert told in f"{answer.note})"
