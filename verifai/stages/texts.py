"""texts: texts become samples of a circuit that pins a tokenizer. What is proven are their tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.shell import shell
from verifai.errors import UsageError
from verifai.tokenization.samples import continued_samples, samples_of


def text_samples(
    folder: CircuitFolder, texts: Sequence[str], *, then: Sequence[str] = (), chat: bool = False
) -> list[dict[str, Any]]:
    """Each text as one sample of the circuit's model, padded to its number of tokens.

    Args:
        then: of a circuit whose prompt is an input of its own, how each of ``texts``, the prompts, goes on: the other input.
        chat: put each text into the tokenizer's chat template first, as a user's message with the opening of the answer.

    Raises:
        UsageError: ``bad-option`` when the circuit pins no tokenizer, or takes other inputs than a row of tokens, or than a
            prompt and what follows it; ``stale-lock`` when its lock pins another tokenizer than ``circuit.toml`` names;
            ``extra-missing``.
        InputRejected: ``input-text``: a text that is empty, too long, or spells a special token.
    """
    if not texts:
        for option in ["--chat"] * chat + ["--then"] * bool(then):
            raise UsageError("bad-option", "there is no text that it belongs to", where=option, hint="Give --text.")
        return []
    tokenizer, divided = folder.tokenizer, folder.divided_inputs
    if tokenizer is None or (folder.text_input is None and divided is None):
        message = "this circuit takes no text: it pins no tokenizer of its inputs"
        raise UsageError("bad-option", message, where="--text", hint="Give its inputs as a file.")
    if divided is None and then:
        message = "this circuit takes one text: its prompt is no input of its own"
        hint = "Give all of it with --text, or export the model with --prompt N."
        raise UsageError("bad-option", message, where="--then", hint=hint)
    if divided is not None and len(then) != len(texts):
        message = (
            f"this circuit takes a prompt and what follows it: {len(texts):,} of the one came with {len(then):,} of the other"
        )
        hint = "Give --then TEXT after each --text PROMPT; for an answer that the model writes, use `verifai generate`."
        raise UsageError("bad-option", message, where="--then", hint=hint)
    pin = folder.lock().names.tokens
    if pin is None or pin.sha256 != tokenizer.sha256:
        hint = f"Run: `verifai compile {shell(folder.folder)}`"
        raise UsageError("stale-lock", "the lock pins another tokenizer", where=str(folder.lock_path), hint=hint)
    if divided is not None:
        return continued_samples(tokenizer, divided, list(zip(texts, then, strict=True)), chat=chat)
    assert folder.text_input is not None
    return samples_of(tokenizer, folder.text_input, texts, chat=chat)
