"""Texts → samples of a model whose only input is one row of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verifai.domain.tensor import TensorSpec
from verifai.domain.tokenizer import Tokenizer
from verifai.errors import InputRejected
from verifai.execution.files import read_limited
from verifai.tokenization.chat import chat_text
from verifai.tokenization.encode import MAX_TEXT, Encoder

SUFFIX = ".txt"
"""Of a file with one text per line."""
MAX_LINES = 100_000


def samples_of(tokenizer: Tokenizer, spec: TensorSpec, texts: Sequence[str], *, chat: bool = False) -> list[dict[str, Any]]:
    """Each text as one sample, padded to the input's number of tokens.

    Args:
        chat: put each text into the tokenizer's chat template first, as a user's message with the opening of the answer.

    Raises:
        InputRejected: ``input-text``: a text that is empty, too long, or spells a special token.
        UsageError: ``bad-tokenizer``, ``extra-missing``.
    """
    encoder, positions = Encoder(tokenizer), spec.shape[-1]
    samples = []
    for text in texts:
        tokens = encoder.rendered(chat_text(encoder, [("user", text)])) if chat else encoder.tokens(text)
        samples.append({spec.name: encoder.row(tokens, positions).reshape(spec.shape).astype(spec.dtype)})
    return samples


def read_text(path: Path, limit: int = 4 * MAX_TEXT) -> str:
    """A text file; one line break at its end is none of the text.

    Raises:
        UsageError: ``file-missing``. InputRejected: ``input-text`` when it is no UTF-8.
    """
    data = read_limited(path, limit=limit)
    try:
        return data.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError:
        raise InputRejected("input-text", "the text is not UTF-8", where=str(path)) from None


def read_lines(path: Path) -> list[str]:
    """The texts of a file, one per line; empty lines are none. Raises as :func:`read_text`."""
    lines = [line for line in read_text(path, 64 * MAX_TEXT).split("\n") if line.strip()]
    if not 0 < len(lines) <= MAX_LINES:
        raise InputRejected("input-text", f"{len(lines):,} lines of text; 1 to {MAX_LINES:,} are taken", where=str(path))
    return lines
