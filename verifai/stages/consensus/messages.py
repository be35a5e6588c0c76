"""A round's messages on disk: attestations, each in a file of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from verifai.bundle import canonical
from verifai.bundle.dsse import attest
from verifai.domain.attestation.envelope import MAX_ENVELOPE_BYTES, Attestation, Predicate, Subject, parse_envelope
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.consensus.job import VoteSubject
from verifai.domain.digest import Sha256
from verifai.domain.trust_keys import Signer
from verifai.errors import UsageError
from verifai.execution.files import read_limited, write_new

P = TypeVar("P")
M = TypeVar("M", bound=Predicate)


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
    """One message of the type asked for. Raises EvidenceRejected, UsageError."""
    found = parse_attestation(parse_envelope(read_limited(path, limit=MAX_ENVELOPE_BYTES), str(path)), str(path))
    if not isinstance(found.predicate, kind):
        raise UsageError("bad-option", f"this is a {found.predicate.TYPE}, not a {kind.__name__}", where=str(path))
    return found, found.predicate


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
