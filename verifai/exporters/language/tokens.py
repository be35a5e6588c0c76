"""The tokenizer that a language model's files bring along, as the file that circuits pin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verifai.domain.tokenizer import CODE, MAX_BYTES, tokenizer_bytes
from verifai.errors import UsageError, VerifaiError
from verifai.exporters.language.hf_files import has, read_file, read_json

_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"


def _split(pattern: str) -> dict[str, Any]:
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [cut, {**_LEVEL, "use_regex": False}]}


_SPLITS: Mapping[str, dict[str, Any]] = {
    "gpt-2": _LEVEL,
    "smollm": {"type": "Sequence", "pretokenizers": [_DIGITS, _LEVEL]},
    "qwen2": _split(f"{_WORDS}\\p{{N}}{_REST}"),
    "llama-bpe": _split(f"{_WORDS}\\p{{N}}{{1,3}}{_REST}"),
}
"""How llama.cpp's names for splitting rules are written in the library's terms."""
_CONTROL, _USER, _UNKNOWN = 3, 4, 2
"""ggml's types of tokens that are not made of others."""


def of_folder(folder: Path, rows: int, pad: int | None) -> bytes | None:
    """The tokenizer of a Hugging Face folder; ``None`` when it has no ``tokenizer.json``.

    Args:
        rows: of the embedding. pad: the padding token that the model's own arithmetic knows, if any.

    Raises:
        UsageError: ``bad-tokenizer`` when it is not taken; ``source-failed``.
    """
    if not has(folder, "tokenizer.json"):
        return None
    document = read_json(folder, "tokenizer.json", MAX_BYTES)
    config = read_json(folder, "tokenizer_config.json") if has(folder, "tokenizer_config.json") else {}
    if not isinstance(document, dict) or not isinstance(config, dict):
        raise UsageError(CODE, "it is no JSON object", where=str(folder / "tokenizer.json"))
    numbers = _numbers(document)
    end = numbers.get(_content(config.get("eos_token")))
    filling = numbers.get(_content(config.get("pad_token")), end)
    template = config.get("chat_template", "")
    if has(folder, "chat_template.jinja"):
        template = read_file(folder, "chat_template.jinja", 1 << 16).decode("utf-8", errors="replace")
    return tokenizer_bytes(
        document,
        pad=pad if pad is not None else filling or 0,
        ends=() if end is None else (end,),
        chat_template=template if isinstance(template, str) else "",
        size=rows,
    )


def _content(token: Any) -> str:
    """Texts of special tokens are stored alone, or in an object."""
    text = token.get("content") if isinstance(token, Mapping) else token
    return text if isinstance(text, str) else ""


def _numbers(document: Mapping[str, Any]) -> dict[str, int]:
    model = document.get("model")
    found = dict(model["vocab"]) if isinstance(model, Mapping) and isinstance(model.get("vocab"), Mapping) else {}
    for token in document.get("added_tokens") or ():
        if isinstance(token, Mapping) and isinstance(token.get("content"), str):
            found[token["content"]] = token.get("id")
    return {text: number for text, number in found.items() if type(number) is int}


def of_gguf(metadata: Mapping[str, Any], rows: int) -> bytes | None:
    """The tokenizer of a GGUF file; ``None`` when it has none.

    Raises:
        UsageError: ``bad-tokenizer`` when it is not taken.
    """
    kind = metadata.get("tokenizer.ggml.model")
    if kind is None:
        return None
    rule = metadata.get("tokenizer.ggml.pre", "")
    if kind != "gpt2" or rule not in _SPLITS:
        message = f"the tokenizer {str(kind)[:40]!r} with the rule {str(rule)[:40]!r} is not taken"
        raise UsageError(CODE, message, where="the tokenizer", hint=f"Rules that are taken: {', '.join(sorted(_SPLITS))}.")
    tokens, merges = metadata.get("tokenizer.ggml.tokens"), metadata.get("tokenizer.ggml.merges")
    kinds = metadata.get("tokenizer.ggml.token_type")
    sound = _texts(tokens) and _texts(merges) and isinstance(kinds, np.ndarray) and kinds.dtype.kind in "iu"
    if not sound or tokens is None or kinds is None or len(kinds) != len(tokens) or len(set(tokens)) < len(tokens):
        raise UsageError(CODE, "its tokens, merges or types are missing or do not fit", where="the tokenizer")
    added = [
        {
            "id": number, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": int(kinds[number]) != _USER,
        }
        for number, text in enumerate(tokens)
        if int(kinds[number]) in (_CONTROL, _USER, _UNKNOWN)
    ]  # fmt: skip
    document = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if rule == "qwen2" else None,
        "pre_tokenizer": _SPLITS[rule],
        "post_processor": _begin(metadata, tokens),
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            # Special tokens stand here too, or the library would give them numbers of its own.
            "vocab": {text: number for number, text in enumerate(tokens)},
            "merges": list(merges or ()),
            "ignore_merges": rule == "llama-bpe",
        },
    }
    end = _token(metadata, "eos_token_id", len(tokens))
    pad = _token(metadata, "padding_token_id", len(tokens))
    template = metadata.get("tokenizer.chat_template", "")
    return tokenizer_bytes(
        document,
        pad=pad if pad is not None else end or 0,
        ends=[token for token in (end, _token(metadata, "eot_token_id", len(tokens))) if token is not None],
        chat_template=template if isinstance(template, str) else "",
        size=rows,
    )


def _texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _token(metadata: Mapping[str, Any], name: str, count: int) -> int | None:
    value = metadata.get(f"tokenizer.ggml.{name}")
    return value if type(value) is int and 0 <= value < count else None


def _begin(metadata: Mapping[str, Any], tokens: Sequence[str]) -> dict[str, Any] | None:
    """What puts the beginning's token first, where the file asks for one."""
    token = _token(metadata, "bos_token_id", len(tokens))
    if metadata.get("tokenizer.ggml.add_bos_token") is not True or token is None:
        return None
    text = tokens[token]
    first, a = {"SpecialToken": {"id": text, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "type": "TemplateProcessing",
        "single": [first, a],
        "pair": [first, a, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {text: {"id": text, "ids": [token], "tokens": [text]}},
    }


def or_notice(found: bytes | None, problem: VerifaiError | None) -> str:
    """What a person should know about the tokenizer; empty when it was taken."""
    if problem is not None:
        return f"Its tokenizer was left out, so texts cannot be given: {problem}."
    return "" if found is not None else "It brings no tokenizer, so texts cannot be given."
