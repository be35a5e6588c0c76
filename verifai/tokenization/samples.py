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


def samples_of(
    tokenizer: Tokenizer, spec: TensorSpec, texts: Sequence[str], *, chat: bool = False, cut: bool = False
) -> list[dict[str, Any]]:
    """Each text as one sample, padded to the input's number of tokens.

    Args:
        cut: take the beginning of a text that is too long, which is a text too, where a model only learns ranges from it.
        chat: put each text into the tokenizer's chat template first, as a user's message with the opening of the answer.

    Raises:
        InputRejected: ``input-text``: a text that is empty, too long, or spells a special token.
        UsageError: ``bad-tokenizer``, ``extra-missing``.
    """
    encoder, positions = Encoder(tokenizer), spec.shape[-1]
    samples = []
    for text in texts:
        tokens = encoder.rendered(chat_text(encoder, [("user", text)])) if chat else encoder.tokens(text)
        tokens = tokens[:positions] if cut else tokens
        samples.append({spec.name: encoder.row(tokens, positions).reshape(spec.shape).astype(spec.dtype)})
    return samples


def divided_samples(tokenizer: Tokenizer, specs: Sequence[TensorSpec], texts: Sequence[str]) -> list[dict[str, Any]]:
    """Each text as one sample of a decoder whose row of tokens is divided into several inputs, as a prompt and what follows.

    A text begins so late that half of it, at least, lies behind the first input; before it stand tokens as between two texts.
    Of one that is too long, the beginning is taken. Raises as :func:`samples_of`.
    """
    encoder, positions = Encoder(tokenizer), sum(spec.size for spec in specs)
    front = min(tokenizer.ends) if tokenizer.ends else tokenizer.pad
    samples = []
    for text in texts:
        tokens = encoder.tokens(text)[:positions]
        before = max(0, min(specs[0].size - len(tokens) // 2, positions - len(tokens)))
        row, at, sample = encoder.row([*[front] * before, *tokens], positions), 0, {}
        for spec in specs:
            sample[spec.name] = row[:, at : at + spec.size].reshape(spec.shape).astype(spec.dtype)
            at += spec.size
        samples.append(sample)
    return samples


def continued_samples(
    tokenizer: Tokenizer, specs: Sequence[TensorSpec], texts: Sequence[tuple[str, str]], *, chat: bool = False
) -> list[dict[str, Any]]:
    """Each prompt and what follows it, as one sample of a decoder with an input for either.

    The tokens are those of both as one text. A prompt that is shorter than its input is filled in front, as between two texts;
    what follows it is padded at its end.

    Args:
        chat: put each prompt into the tokenizer's chat template first, as a user's message with the opening of the answer.

    Raises:
        InputRejected: ``input-text``: a text that is empty, too long, or spells a special token; or whose tokens cross from
            the one part into the other.
        UsageError: ``bad-tokenizer``, ``extra-missing``.
    """
    encoder, (head, tail) = Encoder(tokenizer), specs
    front = min(tokenizer.ends) if tokenizer.ends else tokenizer.pad
    samples = []
    for prompt, after in texts:
        encoder.refuse_special(after)
        if chat:
            opened = chat_text(encoder, [("user", prompt)])
            before, whole = encoder.rendered(opened), encoder.rendered(opened + after)
        else:
            before, whole = encoder.tokens(prompt), encoder.tokens(prompt + after)
        if whole[: len(before)] != before:
            message = "a token reaches from the prompt's end into what follows it, so the two cannot be told apart"
            hint = "End the prompt with a whole word, and begin what follows with the space after it."
            raise InputRejected("input-text", message, where="text", hint=hint)
        if len(before) > head.size:
            message = f"the prompt has {len(before):,} tokens, and the circuit takes {head.size:,}"
            raise InputRejected("input-text", message, where="text", hint=f"Shorten it, or export with --prompt {len(before)}.")
        if len(whole) - len(before) > tail.size:
            message = f"what follows the prompt has {len(whole) - len(before):,} tokens, and the circuit takes {tail.size:,}"
            hint = f"Shorten it, or export the model with --positions {head.size + len(whole) - len(before)}."
            raise InputRejected("input-text", message, where="text", hint=hint)
        filled = [*[front] * (head.size - len(before)), *before]
        rows = (encoder.row(filled, head.size), encoder.row(whole[len(before) :], tail.size))
        samples.append({spec.name: row.reshape(spec.shape).astype(spec.dtype) for spec, row in zip(specs, rows, strict=True)})
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
