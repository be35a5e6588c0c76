"""texts: texts become samples of a circuit that pins a tokenizer. What is proven are their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.shell import shell
from verifai.errors import UsageError
from verifai.tokenization.samples import samples_of


def text_samples(folder: CircuitFolder, texts: Sequence[str], *, chat: bool = False) -> list[dict[str, Any]]:
    """Each text as one sample of the circuit's model, padded to its number of tokens.

    Args:
        chat: put each text into the tokenizer's chat template first, as a user's message with the opening of the answer.

    Raises:
        UsageError: ``bad-option`` when the circuit pins no tokenizer, or takes other inputs than one row of tokens;
            ``stale-lock`` when its lock pins another tokenizer than ``circuit.toml`` names; ``extra-missing``.
        InputRejected: ``input-text``: a text that is empty, too long, or spells a special token.
    """
    if not texts:
        if chat:
            raise UsageError("bad-option", "there is no text to put into the template", where="--chat", hint="Give --text.")
        return []
    tokenizer = folder.tokenizer
    if tokenizer is None or folder.text_input is None:
        message = "this circuit takes no text: it pins no tokenizer of its only input"
        raise UsageError("bad-option", message, where="--text", hint="Give its inputs as a file.")
    pin = folder.lock().names.tokens
    if pin is None or pin.sha256 != tokenizer.sha256:
        hint = f"Run: `verifai compile {shell(folder.folder)}`"
        raise UsageError("stale-lock", "the lock pins another tokenizer", where=str(folder.lock_path), hint=hint)
    return samples_of(tokenizer, folder.text_input, texts, chat=chat)
