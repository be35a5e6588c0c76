"""Whether a statement's tokens are a prompt and its greedy continuation: computed from the proven tokens."""

from __future__ import annotations

from dataclasses import dataclass

from verifai.domain.findings import Finding, holds
from verifai.domain.generation import Ending, Generation
from verifai.domain.statement import Role, Statement, TensorStatement
from verifai.domain.tokenizer import TokenPin
from verifai.errors import EvidenceRejected, PolicyNotMet

STEP = "V6"


@dataclass(frozen=True, slots=True)
class Sequences:
    """A decoder's tokens, as a statement shows them.

    Attributes:
        tokens: of all positions; ``None`` at those that the proof hides.
        following: what the last positions put next, as many as there are.
    """

    tokens: tuple[int | None, ...]
    following: tuple[int, ...]

    @property
    def first(self) -> int:
        """The position that the first of ``following`` belongs to."""
        return len(self.tokens) - len(self.following)

    def prompt_of(self, generation: Generation) -> tuple[int | None, ...]:
        """The prompt's tokens."""
        return self.tokens[: generation.prompt]

    def answer_of(self, generation: Generation) -> tuple[int, ...]:
        """The answer's tokens, as the positions put them out. Raises ValueError where the statement shows no such positions."""
        start = generation.prompt - 1 - self.first
        if start < 0 or start + generation.answer > len(self.following):
            raise ValueError("prompt and answer do not fit the positions")
        return self.following[start : start + generation.answer]


def sequences_of(statement: Statement, pin: TokenPin) -> Sequences:
    """The tokens of a decoder's statement: its inputs one after another, and the output that ``pin`` names.

    Raises:
        ValueError: its tensors are not those of a decoder.
    """
    outputs = statement.of(Role.OUTPUT)
    if statement.batch or [one.name for one in outputs] != [pin.next]:
        raise ValueError("a decoder has one output, its next tokens, and no batch")
    tokens = [token for one in statement.of(Role.INPUT) for token in _tokens(one)]
    following = _tokens(outputs[0])
    shown = tuple(token for token in following if token is not None)
    if len(shown) < len(following) or len(following) > len(tokens):
        raise ValueError("the next tokens are hidden, or more than there are positions")
    return Sequences(tuple(tokens), shown)


def _tokens(tensor: TensorStatement) -> tuple[int | None, ...]:
    if len(tensor.shape) != 2 or tensor.shape[0] != 1 or tensor.scale != 1 or tensor.zero_point or tensor.columns:
        raise ValueError(f"{tensor.name} is no row of tokens")
    if tensor.quantised is not None:
        return tensor.quantised
    if tensor.quantised_sha256 is not None:
        raise ValueError(f"{tensor.name} is stated by its digest")
    return (None,) * tensor.shape[1]


def check_generation(statement: Statement, pin: TokenPin | None) -> list[Finding]:
    """Compute from the proven tokens that what a statement calls an answer is one; nothing where it calls nothing so.

    Every token of the answer but the first is computed twice: put out at one position, read at the next. Behind what is read
    stands padding alone, so no end is cut off; the first token that ends texts is the last one.

    Raises:
        EvidenceRejected: ``answer-malformed``, ``answer-not-linked``, ``answer-cut``, ``answer-past-end``, ``answer-ending``.
        PolicyNotMet: ``answer-not-pinned``: the lock says nothing of next tokens.
    """
    claim = statement.generation
    if claim is None:
        return []
    if pin is None or not pin.next:
        message = "the statement is about an answer, and the lock does not say which output holds next tokens"
        hint = 'Ask for a lock of a circuit that says next = "…" in [tokenizer].'
        raise PolicyNotMet("answer-not-pinned", message, where="circuit.tokenizer.next", hint=hint)
    try:
        found = sequences_of(statement, pin)
        answer = found.answer_of(claim)
    except ValueError as problem:
        raise EvidenceRejected(
            "answer-malformed", f"no answer can be read from the statement: {problem}", where="generation"
        ) from None
    for place, token in enumerate(answer[:-1]):
        at = claim.prompt + place
        if found.tokens[at] != token:
            read = "hidden" if found.tokens[at] is None else str(found.tokens[at])
            message = f"position {at - 1} puts out token {token}, and the token at position {at} is {read}"
            raise EvidenceRejected("answer-not-linked", message, where=f"position {at}")
    behind = claim.prompt + claim.answer - 1
    for at, filler in enumerate(found.tokens[behind:], behind):
        if filler != pin.pad:
            message = f"the answer is said to end, and position {at} behind it holds a token that is no padding"
            raise EvidenceRejected("answer-cut", message, where=f"position {at}")
    for place, token in enumerate(answer[:-1]):
        if token in pin.ends:
            message = f"token {place} of the answer ends texts, and {claim.answer - place - 1} more follow it"
            raise EvidenceRejected("answer-past-end", message, where=f"position {claim.prompt + place}")
    if (answer[-1] in pin.ends) != (claim.ending is Ending.END_OF_TEXT):
        said, ends = claim.ending.value, "ends" if answer[-1] in pin.ends else "does not end"
        raise EvidenceRejected(
            "answer-ending", f"the answer is said to end by {said}, and its last token {ends} texts", where="ending"
        )
    shown = "hidden " if None in found.prompt_of(claim) else ""
    message = (
        f"the answer's {claim.answer:,} tokens are the greedy continuation of the {shown}prompt's {claim.prompt:,}, "
        f"computed from the proven tokens; it ends by {claim.ending.value}"
    )
    return [holds("answer-linked", message, STEP)]
