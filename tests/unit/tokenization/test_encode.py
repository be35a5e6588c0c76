"""Text to tokens: as the library does it, with lengths and special tokens under control."""

from __future__ import annotations

import json
from typing import Any

import pytest
import tokenizers

from tests.support.language_models import byte_tokenizer, tokenizer_file, word_tokenizer
from verifai.domain.tokenizer import Tokenizer, parse_tokenizer
from verifai.errors import InputRejected, UsageError
from verifai.tokenization.encode import MAX_TEXT, Encoder


def parsed(document: dict[str, Any], pad: int = 0) -> Tokenizer:
    return parse_tokenizer(tokenizer_file(document, pad=pad), "t.json")


TEXTS = ["the walk", "walking, talks!", "The capital of France is Paris.", "é 日本 😀", "  two\n\nlines\t", "'tis"]


@pytest.mark.parametrize("text", TEXTS)
def test_tokens_are_the_librarys_without_its_truncation(text: str) -> None:
    document = word_tokenizer()
    assert document["truncation"]["max_length"] == 4
    plain = tokenizers.Tokenizer.from_str(json.dumps({**document, "truncation": None}))
    assert Encoder(parsed(document)).tokens(text) == plain.encode(text).ids


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_in_bytes_comes_back_whole_and_as_the_library_has_it(text: str) -> None:
    found = parsed(byte_tokenizer(), pad=256)
    tokens = Encoder(found).tokens(text)
    assert found.text(tokens).text == text == tokenizers.Tokenizer.from_str(json.dumps(found.document)).decode(tokens)


def test_a_row_is_filled_with_padding_and_never_cut() -> None:
    encoder = Encoder(parsed(word_tokenizer()))
    assert encoder.row(encoder.tokens("the walk"), 6).tolist() == [[2, 4, 10, 3, 0, 0]]
    assert encoder.row(encoder.tokens("the walk"), 4).shape == (1, 4)
    with pytest.raises(InputRejected, match="4 tokens, and the circuit takes 3"):
        encoder.row(encoder.tokens("the walk"), 3)


@pytest.mark.parametrize("text", ["the [SEP] walk", "[PAD]", "", "x" * (MAX_TEXT + 1), "\ud800"])
def test_a_text_that_pretends_or_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputRejected) as caught:
        Encoder(parsed(word_tokenizer())).tokens(text)
    assert caught.value.code == "input-text"


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["model"].update(merges=["t h", "x x x"]),
        lambda d: d["model"].update(merges=["z y"]),
        lambda d: d["model"].update(merges=7),
        lambda d: d["decoder"].update(add_prefix_space="no"),
    ],
)
def test_what_the_library_does_not_read_is_an_error_of_ours(change: Any) -> None:
    document = byte_tokenizer()
    change(document)
    with pytest.raises(UsageError) as caught:
        Encoder(parsed(document, pad=256))
    assert caught.value.code == "bad-tokenizer"
