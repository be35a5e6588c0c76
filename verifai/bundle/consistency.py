"""Consistency proofs as files, and witnesses. A witness cosigns a checkpoint only after a proof that the log only grew."""

from __future__ import annotations

import base64
import os
from dataclasses import dataclass
from pathlib import Path

from verifai.bundle import canonical
from verifai.bundle.merkle import MAX_PROOF, check_consistency
from verifai.bundle.note import MAX_NOTE_BYTES, MAX_SIZE, Checkpoint, NoteKey, check_name, parse_checkpoint
from verifai.domain import strict_json
from verifai.domain.record import Record
from verifai.domain.trust_keys import Signer, decode_base64
from verifai.errors import PolicyNotMet, UsageError
from verifai.execution.files import read_limited, write_atomic
from verifai.execution.locks import folder_locked

SCHEMA = "verifai/log-consistency/v1"


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the log of ``second`` entries begins with the log of ``first`` entries. ``hashes``: as in RFC 6962, 2.1.2."""

    first: int
    second: int
    hashes: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """As a JSON file."""
        texts = [base64.b64encode(one).decode() for one in self.hashes]
        return canonical.encode({"schema": SCHEMA, "first": self.first, "second": self.second, "hashes": texts})


def parse_consistency(data: bytes, where: str) -> ConsistencyProof:
    """The inverse of :meth:`ConsistencyProof.to_bytes`. Raises EvidenceRejected (``log-malformed``)."""
    root = Record(
        strict_json.loads(data, where=where, max_bytes=MAX_NOTE_BYTES, code="log-malformed"), where, code="log-malformed"
    )
    root.text("schema", pattern=SCHEMA)
    first, second = (root.integer(name, low=1, high=MAX_SIZE) for name in ("first", "second"))
    try:
        hashes = tuple(decode_base64(text) for text in root.texts("hashes", max_length=MAX_PROOF))
    except ValueError as problem:
        raise root.refuse(str(problem), "hashes") from None
    root.done()
    return ConsistencyProof(first, second, hashes)


def cosign(
    checkpoint: Checkpoint,
    log: NoteKey,
    *,
    name: str,
    signer: Signer,
    state: Path,
    seconds: int,
    consistency: ConsistencyProof | None,
) -> Checkpoint:
    """Cosign ``checkpoint`` as witness ``name``, once it extends what this witness saw last.

    Args:
        log: the log's name and key, from outside.
        state: file with the last checkpoint that this witness cosigned; written before the cosignature is handed out. When it
            does not exist, this is the first sight of the log.
        seconds: since 1970.
        consistency: the proof from the last size to this one; needed unless it is the first sight or the same tree.

    Raises:
        EvidenceRejected: ``log-signature-invalid``, or ``log-inconsistent``: the log changed its past or shrank.
        PolicyNotMet: ``consistency-missing``.
        UsageError: ``bad-option`` for a name that cannot be one.
    """
    try:
        check_name(name)
    except ValueError as problem:
        raise UsageError("bad-option", str(problem), where="--name") from None
    checkpoint.check(log, where="checkpoint")
    # From reading the last checkpoint to storing the next, or two at once would each extend the same one: a split view.
    with folder_locked(state.parent):
        if os.path.lexists(state):
            seen = parse_checkpoint(read_limited(state, limit=MAX_NOTE_BYTES), str(state))
            seen.check(log, where=str(state))
            _check_extends(seen, checkpoint, consistency)
        write_atomic(state, checkpoint.to_bytes(), mode=0o600)
    return checkpoint.cosigned_by(name, signer, seconds)


def _check_extends(seen: Checkpoint, new: Checkpoint, consistency: ConsistencyProof | None) -> None:
    if consistency is None and seen.size != new.size:
        if new.size < seen.size:
            check_consistency(seen.size, new.size, (), seen.root, new.root, where="checkpoint")
        raise PolicyNotMet(
            "consistency-missing",
            f"the last checkpoint had {seen.size} entries, this one has {new.size}",
            where="--consistency",
            hint=f"Get the proof from the log: `verifai log consistency LOG --from {seen.size} --to {new.size} -o FILE`",
        )
    proof = consistency or ConsistencyProof(seen.size, new.size, ())
    if (proof.first, proof.second) != (seen.size, new.size):
        raise PolicyNotMet(
            "consistency-missing",
            f"the proof is about sizes {proof.first} and {proof.second}, needed are {seen.size} and {new.size}",
            where="--consistency",
        )
    check_consistency(proof.first, proof.second, proof.hashes, seen.root, new.root, where="checkpoint")
