"""A round's messages on disk: attestations, each in a file of its own."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from verifai.bundle import canonical
from verifai.bundle.dsse import attest, check_signatures
from verifai.domain.attestation.envelope import MAX_ENVELOPE_BYTES, Attestation, Predicate, Subject, parse_envelope
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.consensus.job import VoteSubject
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.digest import Sha256, short
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.errors import EvidenceRejected, UsageError, VerifaiError
from verifai.execution.files import read_limited, write_new


class RoundMessage(Protocol):
    """What a verifier says in a round."""

    @property
    def round(self) -> Sha256:
        """Identifier of the round's terms."""

    @property
    def voter(self) -> str:
        """Identifier of the key that must sign it."""


P = TypeVar("P")
M = TypeVar("M", bound=Predicate)
R = TypeVar("R", bound=RoundMessage)


@dataclass(frozen=True, slots=True)
class WrittenMessage(Generic[M]):
    """A message that was signed and written.

    Attributes:
        id: of the attestation.
        message: what it says.
    """

    path: Path
    id: Sha256
    message: M


def read_attestation(path: Path, kind: type[P]) -> tuple[Attestation, P]:
    """One message of the type asked for.

    Raises:
        UsageError: ``file-missing``; ``malformed``, when it is none at all, which says nothing about any evidence;
            ``bad-option``, when it is of another type.
        EvidenceRejected: what it says contradicts itself.
    """
    data = read_limited(path, limit=MAX_ENVELOPE_BYTES)
    try:
        found = parse_attestation(parse_envelope(data, str(path)), str(path))
    except EvidenceRejected as problem:
        if problem.code != "malformed":
            raise
        raise UsageError("malformed", problem.message, where=problem.where, hint=problem.hint) from None
    if not isinstance(found.predicate, kind):
        raise UsageError("bad-option", f"this is a {found.predicate.TYPE}, not a {kind.__name__}", where=str(path))
    return found, found.predicate


@dataclass(frozen=True, slots=True)
class Heard(Generic[R]):
    """What was heard of a round.

    Attributes:
        messages: those of verifiers who were asked, for this round, each once.
        ignored: what else there was, and why it has no effect; one sentence each.
        unchecked: verifiers whose messages nobody could check, for want of their keys.
    """

    messages: tuple[tuple[Attestation, R], ...]
    ignored: tuple[str, ...]
    unchecked: frozenset[str]


def hear(paths: Sequence[Path], kind: type[R], terms: RoundTerms, round_id: Sha256, keys: Mapping[str, PublicKey]) -> Heard[R]:
    """The messages of one kind among ``paths`` that count in a round: anybody can put a file there, in anybody's name.

    Args:
        keys: of verifiers, by identifier, as far as they are known. A message of one whose key is known must be signed by it.

    Raises:
        UsageError: ``file-missing``; ``doubtful-message``, when one verifier whose key is not known said two things.
    """
    found: dict[Sha256, tuple[Attestation, R]] = {}
    ignored: list[str] = []
    unchecked: dict[str, Sha256] = {}
    for path in paths:
        if not os.path.lexists(path):
            raise UsageError("file-missing", "cannot read: no such file", where=str(path))
        try:
            one, message = read_attestation(path, kind)
            _require_of_round(one, message, terms, round_id, keys)
        except VerifaiError as problem:
            ignored.append(f"{path}: {problem.message}")
            continue
        if message.voter not in keys and unchecked.setdefault(message.voter, one.id) != one.id:
            raise UsageError(
                "doubtful-message",
                f"there are two messages in the name of {short(message.voter)}, and no key to tell which one it signed",
                where=str(path),
                hint="Give the public keys of the verifiers: --voter KEY.pub",
            )
        found[one.id] = (one, message)
    return Heard(tuple(found.values()), tuple(ignored), frozenset(unchecked))


def _require_of_round(
    one: Attestation, message: RoundMessage, terms: RoundTerms, round_id: Sha256, keys: Mapping[str, PublicKey]
) -> None:
    if message.round != round_id:
        raise EvidenceRejected("malformed", f"it is of another round ({short(message.round)})")
    if message.voter not in terms.voters:
        raise EvidenceRejected("malformed", f"the round does not ask {short(message.voter)}")
    if message.voter not in {signature.keyid for signature in one.envelope.signatures}:
        raise EvidenceRejected("malformed", f"{short(message.voter)}, whom it names, did not sign it")
    key = keys.get(message.voter)
    if key is not None:
        check_signatures(one.envelope, [key], where=one.id)


def require_free(*paths: Path) -> None:
    """Nothing is written over. Raises UsageError (``file-exists``)."""
    for path in paths:
        if os.path.lexists(path):
            raise UsageError("file-exists", "the output exists already", where=str(path), hint="Choose another name.")


def write_message(path: Path, message: M, subject: VoteSubject, signers: Sequence[Signer]) -> WrittenMessage[M]:
    """Sign and write; never over an existing file. Raises UsageError (``file-exists``), Undecided (``disk``)."""
    require_free(path)
    made = attest(message, (Subject("model", subject.model_sha256), Subject("subject", subject.id)), signers)
    write_new(path, canonical.encode(made.envelope.to_json()))
    return WrittenMessage(path, made.id, message)
