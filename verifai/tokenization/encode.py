"""Text → token numbers, with Hugging Face's library ``tokenizers``. What is proven are the numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.tokenizer import CODE, Tokenizer
from verifai.errors import InputRejected, UsageError
from verifai.execution.packages import install_hint

MAX_TEXT = 1 << 20
"""Characters."""


class Encoder:
    """A tokenizer that is ready to read texts.

    Raises:
        UsageError: ``extra-missing``; ``bad-tokenizer`` when the library does not read it.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        try:
            import tokenizers
        except ImportError:
            message = "turning text into tokens needs the package tokenizers"
            raise UsageError("extra-missing", message, hint=install_hint("language")) from None
        self.tokenizer = tokenizer
        with _failing():
            self._library: Any = tokenizers.Tokenizer.from_str(json.dumps(tokenizer.document))
            known = dict(self._library.get_vocab(with_added_tokens=True))
        listed = {**tokenizer.document["model"]["vocab"]}
        listed |= {one["content"]: one["id"] for one in tokenizer.document.get("added_tokens") or ()}
        if known != listed:
            text = next(iter(known.items() ^ listed.items()))[0]
            message = f"the library numbers the token {text[:40]!r} in another way than the file"
            raise UsageError(CODE, message, where="the tokenizer")
        self._special = sorted(tokenizer.piece(token) for token in tokenizer.special)

    def tokens(self, text: str, *, special: bool = True) -> list[int]:
        """The tokens of a text.

        Args:
            special: whether the tokenizer adds what it adds to a text, such as a beginning and an end.

        Raises:
            InputRejected: ``input-text``, when it is empty, too long, or spells a special token, which could end it early or
                pretend to be another speaker.
        """
        self.refuse_special(text)
        return self._encoded(text, special=special)

    def refuse_special(self, text: str) -> None:
        """Raise InputRejected (``input-text``) for a text that no person may give."""
        if not text or len(text) > MAX_TEXT:
            raise InputRejected("input-text", f"{len(text):,} characters; 1 to {MAX_TEXT:,} are taken", where="text")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise InputRejected("input-text", "the text is no Unicode", where="text") from None
        for piece in self._special:
            if piece in text:
                message = f"the text spells the special token {piece!r}"
                raise InputRejected("input-text", message, where="text", hint="Write it in another way.")

    def rendered(self, text: str) -> list[int]:
        """The tokens of what a chat template made of checked texts: special tokens count as such, and none is added."""
        return self._encoded(text, special=False)

    def row(self, tokens: list[int], positions: int) -> NDArray[np.int64]:
        """Tokens in ``positions`` places, shape (1, positions), the rest filled with padding.

        Raises:
            InputRejected: ``input-text``, when there are too many.
        """
        if len(tokens) > positions:
            message = f"the text has {len(tokens):,} tokens, and the circuit takes {positions:,}"
            hint = f"Shorten it, or export the model with --positions {len(tokens)}."
            raise InputRejected("input-text", message, where="text", hint=hint)
        return np.array([[*tokens, *[self.tokenizer.pad] * (positions - len(tokens))]], np.int64)

    def _encoded(self, text: str, *, special: bool) -> list[int]:
        with _failing():
            return [int(token) for token in self._library.encode(text, add_special_tokens=special).ids]


@contextmanager
def _failing() -> Iterator[None]:
    """The library's failures as ours; its panics are no ``Exception``."""
    try:
        yield
    except BaseException as problem:
        if not isinstance(problem, Exception) and type(problem).__name__ != "PanicException":
            raise
        message = f"the library tokenizers does not read it: {str(problem).splitlines()[0][:120] if str(problem) else ''}"
        raise UsageError(CODE, message, where="the tokenizer") from None
