"""A language model's answer: which of a statement's tokens a person asked, and which the model put out, one after another.

An inference of a decoder shows tokens and, at each position, the token that greedy decoding puts next. It is an *answer* when
every token after the prompt is the one that the position before it put out. Whether it is one, a verifier computes from the
proven tokens (:mod:`verifai.domain.answer`); what it cannot compute, how long prompt and answer are, is bound by the proof
beside the context. Standard library only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from verifai.domain.record import Record
from verifai.errors import EvidenceRejected

MARK = "\0generation/1 "
"""Begins the bytes of a context that carries an answer's lengths; no context of a person begins so."""
_FORM = re.compile(MARK + r"([1-9][0-9]{0,6}) ([1-9][0-9]{0,6}) ([a-z-]{1,16})\0")


class Ending(StrEnum):
    """Why an answer is no longer: its last token ends texts, or as many tokens were asked for."""

    END_OF_TEXT = "end-of-text"
    MAX_TOKENS = "max-tokens"


@dataclass(frozen=True, slots=True)
class Generation:
    """That tokens of a statement are an answer.

    Attributes:
        prompt, answer: how many tokens each has; at least one. The answer's last token is put out and read by nothing.
        ending: why the answer ends.
    """

    prompt: int
    answer: int
    ending: Ending

    def __post_init__(self) -> None:
        if not (1 <= self.prompt < 10**7 and 1 <= self.answer < 10**7):
            raise ValueError("prompt and answer have at least one token each")

    def bound(self, context: str) -> str:
        """What an engine binds in place of ``context``."""
        return f"{MARK}{self.prompt} {self.answer} {self.ending.value}\0{context}"

    def to_json(self) -> dict[str, Any]:
        """Integers and strings only."""
        return {"prompt": self.prompt, "answer": self.answer, "ending": self.ending.value}

    @classmethod
    def from_record(cls, record: Record) -> Generation:
        """The inverse of :meth:`to_json`, strict."""
        found = cls(
            record.integer("prompt", low=1, high=10**7 - 1),
            record.integer("answer", low=1, high=10**7 - 1),
            record.choice("ending", Ending),
        )
        record.done()
        return found

    def words(self) -> str:
        """For people: what the statement claims."""
        why = {
            Ending.END_OF_TEXT: "its last token ends the text",
            Ending.MAX_TOKENS: "it was cut at as many tokens as were asked for, the model would go on",
        }
        return (
            f"The {self.answer:,} tokens of the answer are the greedy continuation of the prompt's {self.prompt:,} tokens: "
            f"each is the most likely next token after all before it, the lowest number on ties; {why[self.ending]}."
        )


def unbound(bound: str) -> tuple[Generation | None, str]:
    """An answer's lengths, if there are any, and the context: the inverse of :meth:`Generation.bound`.

    Raises:
        EvidenceRejected: ``statement-malformed``, for a text that begins as such and is none.
    """
    if not bound.startswith(MARK.rstrip("1 ")):
        return None, bound
    match = _FORM.match(bound)
    if match is None or match[3] not in set(Ending):
        raise EvidenceRejected(
            "statement-malformed", "the lengths of prompt and answer are not as written by us", where="context"
        )
    return Generation(int(match[1]), int(match[2]), Ending(match[3])), bound[match.end() :]
