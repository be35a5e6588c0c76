"""What a statement hides and what it does not, in words: the one place that ``verify``, ``audit``, ``gate``, ``inspect`` and
every report take them from.

The words depend on the statement alone. They say what such a proof hides from a reader who has the evidence and the lock. They
do not say that the statement is true: callers pass a verified statement, or say beside the words that it is not verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from verifai.domain.statement import EngineName, Privacy, Statement, Visibility, WeightVisibility

_PUBLIC = "everyone who holds the proof reads its quantised values."
_TENSORS: Mapping[tuple[EngineName, Privacy], Mapping[Visibility, str]] = {
    (EngineName.EZKL, Privacy.ZERO_KNOWLEDGE): {
        Visibility.PUBLIC: _PUBLIC,
        Visibility.PRIVATE: "the proof hides its values (zero-knowledge) and binds it to nothing: some such tensor exists.",
        Visibility.HASHED: (
            "bound to its unsalted Poseidon digest: a holder of the tensor can match it, and a reader who can guess it (few "
            "possible values) can confirm the guess."
        ),
    },
    (EngineName.SUMCHECK, Privacy.INTEGRITY_ONLY): {
        Visibility.PUBLIC: _PUBLIC,
        Visibility.PRIVATE: (
            "not offered: this suite is integrity-only (not zero-knowledge); use its zero-knowledge suite, or ezkl, for "
            "private tensors."
        ),
        Visibility.HASHED: (
            "bound to the root of an unsalted commitment and not stated, but not hidden: opened columns show parts of it, and "
            "a reader who can guess the tensor can confirm the guess."
        ),
    },
    (EngineName.SUMCHECK, Privacy.ZERO_KNOWLEDGE_UNAUDITED): {
        Visibility.PUBLIC: _PUBLIC,
        Visibility.PRIVATE: (
            "the proof hides its values (zero-knowledge, unaudited) and binds it to nothing: some such tensor exists."
        ),
        Visibility.HASHED: (
            "bound to the root of a salted commitment, which only its secret seed makes again, so that no verifier can match "
            "the tensor itself (seeds of outputs go to the next prover, others are not kept); to all without the seed its "
            "values are hidden (zero-knowledge, unaudited), but equal roots show that two proofs are about one tensor."
        ),
    },
}
_UNKNOWN = "nothing is known to be hidden: this engine makes no proofs of that level."

_WEIGHTS: Mapping[WeightVisibility, str] = {
    WeightVisibility.PUBLIC: "The weights are public: the model travels with the evidence.",
    WeightVisibility.WITHHELD: "The weights are fixed in the verification key and withheld; a commitment would hide more.",
    WeightVisibility.COMMITTED: "The weights are bound by a commitment; their owner keeps them.",
    WeightVisibility.PRIVATE: "The weights are private: bound by the root of a hiding commitment; their owner keeps them.",
}

_FEW, _NAME = 8, 80
"""Tensors named in one sentence, and characters of a name; a statement lists each with its whole name anyway."""

EXTRACTION = "model extraction by queries remains possible"
"""What no proof system prevents: with enough queries, a copy of a model can be trained on its answers."""

WITHHELD_SHOWS = (
    "withheld weights, from a reader who can guess them: the verification key fixes them without hiding them, so a guess can "
    "be confirmed, and each proof shows evaluations of the columns that hold them"
)
"""halo2 sends the evaluation of each fixed column at the challenge point, and commits to it without blinding."""

LONE_PARAMETERS = (
    "parameters that are one number, such as a slope or a summand equal everywhere, which the circuit's tables hold"
)
"""A function of one number is looked up in a public table, with all numbers that it depends on."""


def hides(engine: EngineName, privacy: Privacy, visibility: Visibility) -> str:
    """What a tensor's visibility hides and does not hide in such a proof: one sentence, after "… is private: "."""
    return _TENSORS.get((engine, privacy), {}).get(visibility, _UNKNOWN)


def weights_words(statement: Statement) -> str:
    """How the weights are bound, in one sentence."""
    if statement.weights is WeightVisibility.PRIVATE and not _commitments_hide(statement):
        return "The weights are said to be private, but nothing is known to hide them: a proof of this kind does not."
    return _WEIGHTS[statement.weights]


def hidden(statement: Statement) -> tuple[str, ...]:
    """What the proof hides; empty when nothing."""
    if not _hiding(statement):
        return ()
    seen = {tensor.visibility for tensor in statement.tensors}
    found = []
    if Visibility.PRIVATE in seen:
        found.append(f"the values of {_names(statement, Visibility.PRIVATE)} and of all inner tensors")
    elif seen != {Visibility.PUBLIC} or statement.weights is not WeightVisibility.PUBLIC:
        found.append("the values of all inner tensors")
    if _commitments_hide(statement):
        if Visibility.HASHED in seen:
            found.append(f"the values of {_names(statement, Visibility.HASHED)}, from those who lack the seed")
        if statement.weights is WeightVisibility.PRIVATE:
            found.append("the values of the weights")
    return tuple(found)


def shown(statement: Statement) -> tuple[str, ...]:
    """What the evidence and the lock show or allow to work out, other than what is public by intent."""
    seen = {tensor.visibility for tensor in statement.tensors}
    secret_weights = statement.weights is not WeightVisibility.PUBLIC
    found = ["architecture, shapes, scales, zero points, bounds and lookup counts"]
    found.append("the fidelity figures and the model's SHA-256, which the lock pins")
    if _commitments_hide(statement) and (Visibility.HASHED in seen or statement.weights is WeightVisibility.PRIVATE):
        found.append("how often a commitment was used")
    if Visibility.PUBLIC in seen:
        found.append(f"{_names(statement, Visibility.PUBLIC)}, and what follows from that")
    if Visibility.HASHED in seen and not _commitments_hide(statement):
        found.append(f"{_names(statement, Visibility.HASHED)} to a reader who can guess the values")
    if not _hiding(statement) and (Visibility.HASHED in seen or secret_weights):
        found.append("parts of what is committed to, in the columns that each proof opens")
    if statement.weights is WeightVisibility.PRIVATE and _commitments_hide(statement):
        found.append(LONE_PARAMETERS)
    if _hiding(statement) and statement.weights is WeightVisibility.WITHHELD:
        found.append(WITHHELD_SHOWS)
    if _hiding(statement) and statement.weights is WeightVisibility.COMMITTED:
        found.append("committed weights: the commitment binds them, and is not made to hide them")
    return tuple(found)


def privacy_words(statement: Statement) -> tuple[str, ...]:
    """Label, hidden, not hidden: one sentence each."""
    what = hidden(statement)
    if what:
        first = f"Hidden: {'; '.join(what)}."
    elif _hiding(statement):
        first = "Hidden: nothing, for every tensor and the weights are public."
    else:
        first = "Hidden: nothing."
    last = f"; {EXTRACTION}" if statement.weights is not WeightVisibility.PUBLIC else ""
    return (f"Privacy: {statement.privacy.value}.", first, f"Not hidden: {'; '.join(shown(statement))}{last}.")


def chain_words(statements: Sequence[Statement]) -> str:
    """Of a chain of proofs: its weakest level, and what its hashed boundaries show."""
    order = (Privacy.ZERO_KNOWLEDGE, Privacy.ZERO_KNOWLEDGE_UNAUDITED, Privacy.INTEGRITY_ONLY)
    weakest = max((one.privacy for one in statements), key=order.index)
    if all(_commitments_hide(one) for one in statements):
        return f"Privacy: {weakest.value}. A hashed boundary is bound by its salted root, and hidden from all without its seed."
    return f"Privacy: {weakest.value}. A hashed boundary is bound by its root, not hidden."


def privacy_document(statement: Statement) -> dict[str, Any]:
    """The same for programs."""
    return {
        "level": statement.privacy.value,
        "weights": statement.weights.value,
        "hidden": list(hidden(statement)),
        "not_hidden": list(shown(statement)),
    }


def _hiding(statement: Statement) -> bool:
    """Whether a proof of this engine and level hides anything at all."""
    return statement.privacy is not Privacy.INTEGRITY_ONLY and (statement.engine, statement.privacy) in _TENSORS


def _commitments_hide(statement: Statement) -> bool:
    """Whether the commitments to hashed tensors and private weights are hiding ones: an engine's own affair, not a level's."""
    return statement.engine is EngineName.SUMCHECK and _hiding(statement)


def _names(statement: Statement, visibility: Visibility) -> str:
    found = [one for one in statement.tensors if one.visibility is visibility]
    names = [f"{one.role.value} {one.name[:_NAME]!r}" for one in found[:_FEW]]
    rest = [f"{len(found) - _FEW} more"] if len(found) > _FEW else []
    return f"{visibility.value} {', '.join(names + rest)}"
