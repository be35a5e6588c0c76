"""Tokenizers of GGUF files and folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.language_models import BERT, LLAMA, byte_tokenizer, random_weights, word_tokenizer, write_folder, write_gguf
from verifai.domain.tokenizer import parse_tokenizer
from verifai.errors import UsageError
from verifai.exporters.language.tokens import of_folder, of_gguf
from verifai.stages.export import export
from verifai.tokenization.encode import Encoder


def metadata(**changes: Any) -> dict[str, Any]:
    vocabulary = byte_tokenizer()["model"]["vocab"]
    tokens = sorted(vocabulary, key=lambda text: vocabulary[text])
    found = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.merges": ["t h", "th e"],
        "tokenizer.ggml.token_type": np.array([3 if token == "<|end|>" else 1 for token in tokens], np.int32),
        "tokenizer.ggml.eos_token_id": 256,
        "tokenizer.chat_template": "{{ messages }}",
    }
    changed = {f"tokenizer.ggml.{name}": value for name, value in changes.items()}
    return {name: value for name, value in {**found, **changed}.items() if value is not None}


def test_a_gguf_tokenizer_becomes_the_librarys() -> None:
    found = parse_tokenizer(of_gguf(metadata(), 300) or b"", "t")
    assert (found.pad, found.ends, found.special, found.chat_template) == (256, {256}, {256}, "{{ messages }}")
    encoder = Encoder(found)
    assert [found.piece(token) for token in encoder.tokens("the 123")] == ["the", " ", "1", "2", "3"]
    with_begin = Encoder(parse_tokenizer(of_gguf(metadata(add_bos_token=True, bos_token_id=256), 300) or b"", "t"))
    assert with_begin.tokens("the") == [256, *encoder.tokens("the")]


@pytest.mark.parametrize(("rule", "count"), [("gpt-2", 1), ("smollm", 4), ("qwen2", 4), ("llama-bpe", 2)])
def test_digits_are_split_as_each_rule_says(rule: str, count: int) -> None:
    """Pairs of digits are one token here, so that only the rule keeps them apart."""
    given = metadata(pre=rule)
    given["tokenizer.ggml.tokens"] = [*given["tokenizer.ggml.tokens"], "12", "34", "1234", "123"]
    given["tokenizer.ggml.token_type"] = np.concatenate([given["tokenizer.ggml.token_type"], [1, 1, 1, 1]])
    given["tokenizer.ggml.merges"] = [*given["tokenizer.ggml.merges"], "1 2", "3 4", "12 34", "12 3"]
    encoder = Encoder(parse_tokenizer(of_gguf(given, 300) or b"", "t"))
    assert len(encoder.tokens("1234")) == count


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "llama"},
        {"pre": "something-new"},
        {"tokens": None},
        {"tokens": ["a", "a"]},
        {"merges": [1, 2]},
        {"token_type": None},
        {"token_type": np.array([1], np.int32)},
    ],
)
def test_a_gguf_tokenizer_that_is_not_taken_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        of_gguf(metadata(**changes), 300)
    assert caught.value.code == "bad-tokenizer"


def test_a_folders_tokenizer_goes_with_the_model(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", "bert", random_weights(BERT), sentence=True)
    assert of_folder(folder, 96, 0) is None
    (folder / "tokenizer.json").write_text(json.dumps(word_tokenizer()))
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]", "eos_token": {"content": "[SEP]"}}))
    result = export(folder, positions=16)
    found = parse_tokenizer(result.tokenizer or b"", "t")
    assert (found.pad, found.ends) == (0, {3})
    assert result.parity.samples == 6
    assert result.parity.max_error < 1e-4


def test_a_model_whose_tokenizer_is_not_taken_is_exported_without(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", "bert", random_weights(BERT))
    (folder / "tokenizer.json").write_text(json.dumps({**word_tokenizer(), "normalizer": {"type": "Precompiled"}}))
    result = export(folder, positions=8)
    assert result.tokenizer is None
    assert any("texts cannot be given" in notice and "Precompiled" in notice for notice in result.notices)
    assert any(
        "brings no tokenizer" in one
        for one in export(write_gguf(tmp_path / "m.gguf", "llama", random_weights(LLAMA)), positions=4).notices
    )
