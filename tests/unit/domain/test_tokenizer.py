"""Tokenizers as values: every token's text, and nothing taken that is not understood."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest

from tests.support.language_models import byte_tokenizer, tokenizer_file, word_tokenizer
from verifai.domain.digest import sha256
from verifai.domain.names import PlaceNames
from verifai.domain.shown import shown_line, shown_values
from verifai.domain.statement import EngineName, Privacy, Role, Statement, TensorStatement, Visibility, WeightVisibility
from verifai.domain.tokenizer import TokenPin, parse_tokenizer, tokenizer_bytes
from verifai.errors import UsageError

SPLIT = {"type": "Split", "pattern": {"Regex": "x*"}}


def refusal(data: bytes) -> str:
    with pytest.raises(UsageError) as caught:
        parse_tokenizer(data, "t.json")
    assert caught.value.code == "bad-tokenizer"
    return str(caught.value)


def changed(change: Any) -> bytes:
    document = json.loads(tokenizer_file(word_tokenizer()))
    change(document)
    return json.dumps(document).encode()


def test_words_are_joined_and_parts_of_words_glued() -> None:
    found = parse_tokenizer(tokenizer_file(word_tokenizer()), "t.json")
    tokens = [found.pieces.index(word) for word in (b"[CLS]", b"walk", b"##ing", b"the", b"[SEP]", b"[PAD]", b"[PAD]")]
    assert found.text(tokens).text == "[CLS] walking the [SEP]"
    assert found.text(tokens).words() == '"[CLS] walking the [SEP]", then 2 × "[PAD]"'


def test_bytes_become_text_and_what_is_no_text_is_escaped_not_lost() -> None:
    found = parse_tokenizer(tokenizer_file(byte_tokenizer(), pad=256), "t.json")
    number = {piece: at for at, piece in enumerate(found.pieces)}
    tokens = [number[bytes([byte])] for byte in "né\n".encode()]
    assert found.text(tokens).text == "né\n"
    assert found.text(tokens[:2]).text == "n\\xc3"
    assert found.text([*tokens, 256]).words() == '"né\\n", then 1 × "<|end|>"'
    assert found.text([10_000, -1]).text == "<no token 10000><no token -1>"


def test_padding_before_the_end_is_text() -> None:
    found = parse_tokenizer(tokenizer_file(word_tokenizer()), "t.json")
    assert found.text([0, 4, 0]).text == "[PAD] the"
    assert found.text([0, 0]).padding == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(schema="verifai/tokenizer/v2"), "schema"),
        (lambda d: d.update(more=1), "more"),
        (lambda d: d.update(pad=96), "no token 96"),
        (lambda d: d.update(ends=[-1]), "ends"),
        (lambda d: d.update(tokenizer=[]), "expected an object"),
        (lambda d: d["tokenizer"]["model"].update(type="Unigram"), "Unigram"),
        (lambda d: d["tokenizer"]["model"].update(vocab=None), "no vocabulary"),
        (lambda d: d["tokenizer"]["model"]["vocab"].update(x=200), "gaps"),
        (lambda d: d["tokenizer"]["model"]["vocab"].update(x=5), "no number of its own"),
        (lambda d: d["tokenizer"]["model"]["vocab"].update(x=True), "no number of its own"),
        (lambda d: d["tokenizer"]["added_tokens"].append({"id": 5, "content": "new"}), "number of another"),
        (lambda d: d["tokenizer"].update(normalizer={"type": "Precompiled"}), "Precompiled"),
        (lambda d: d["tokenizer"].update(pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a+)+$"}}), "pattern"),
        (lambda d: d["tokenizer"].update(normalizer={"type": "Replace", "pattern": {"Regex": "(a+)+$"}}), "pattern"),
        (lambda d: d["tokenizer"].update(pre_tokenizer={"type": "Sequence", "pretokenizers": [SPLIT]}), "pattern"),
        (lambda d: d["tokenizer"].update(decoder={"type": ["Fuse"]}), "is not taken"),
        (lambda d: d["tokenizer"].update(normalizer={"type": "Replace", "pattern": {"Regex": ["x"]}}), "pattern"),
        (lambda d: d["tokenizer"].update(added_tokens=[{"id": 5, "content": ["x"]}]), "without number or text"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused(change: Any, words: str) -> None:
    assert words in refusal(changed(change))


def test_a_tokenizer_with_more_tokens_than_the_model_has_rows_does_not_fit() -> None:
    with pytest.raises(UsageError, match="the model knows 95"):
        tokenizer_bytes(word_tokenizer(), pad=0, ends=(), chat_template="", size=95)


def test_equal_tokenizers_are_equal_bytes() -> None:
    turned = dict(reversed(list(word_tokenizer().items())))
    assert tokenizer_file(word_tokenizer()) == tokenizer_file(turned)


def test_a_proven_tensor_is_shown_as_text_by_the_locks_tokenizer_alone() -> None:
    found = parse_tokenizer(tokenizer_file(word_tokenizer()), "t.json")
    names = PlaceNames(tokens=TokenPin(found.sha256, ("tokens",)), tokenizer=found)
    statement = one_tensor((2, 4, 3, 0))
    (shown,) = shown_values(statement, names)
    assert shown_line(shown) == 'input tokens = "[CLS] the [SEP]", then 1 × "[PAD]" (4 tokens)'
    assert (shown.to_json()["text"], shown.to_json()["padding"], shown.to_json()["values"]) == (
        "[CLS] the [SEP]",
        1,
        [2, 4, 3, 0],
    )
    (untold,) = shown_values(statement, PlaceNames(tokens=names.tokens))
    assert shown_line(untold).endswith("tokens, whose text needs tokenizer.json beside the lock")
    (plain,) = shown_values(statement)
    assert shown_line(plain) == "input tokens = 2, 4, 3, 0"


def one_tensor(cells: tuple[int, ...]) -> Statement:
    digest = sha256(b"x")
    tensor = TensorStatement(Role.INPUT, "tokens", (1, len(cells)), Visibility.PUBLIC, Fraction(1), quantised=cells)
    return Statement(
        EngineName.SUMCHECK, digest, digest, (tensor,), "", True, Privacy.INTEGRITY_ONLY, WeightVisibility.PUBLIC
    )  # fmt: skip


def test_plain_text_that_looks_like_a_special_token_is_told_from_one() -> None:
    """Whoever proves tokens of their own choice could write a turn of somebody else that the model never saw as one."""
    found = parse_tokenizer(tokenizer_file(byte_tokenizer(), pad=256), "t.json")
    number = {piece: at for at, piece in enumerate(found.pieces)}
    spelled = [number[bytes([byte])] for byte in b"a<|end|>b"]
    real = [number[b"a"], number[b"<|end|>"], number[b"b"]]
    assert found.text(spelled).text == found.text(real).text
    assert found.text(real).words() == '"a<|end|>b"'
    assert found.text([*spelled, *real, *spelled]).spelled == {"<|end|>": 2}
    assert found.text(spelled).words() == '"a<|end|>b"; 1 × "<|end|>" in it spelled by ordinary tokens, no special token'
    assert found.text([number[b"<"], *real]).spelled == {}
