"""log: append to the audit log, prove entries and consistency, and watch it as a witness."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verifai.bundle.consistency import ConsistencyProof, cosign, parse_consistency
from verifai.bundle.log import create_log, open_log
from verifai.bundle.merkle import check_inclusion, leaf_hash
from verifai.bundle.note import MAX_NOTE_BYTES, Checkpoint, LogProof, NoteKey, parse_checkpoint, parse_log_proof
from verifai.bundle.reader import open_bundle
from verifai.domain.digest import Sha256, is_sha256
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited


@dataclass(frozen=True)
class LogAppend:
    """What an append came to: place in the log by identifier, and the number of entries afterwards."""

    positions: dict[Sha256, int]
    size: int


def append_entries(log: Path, entries: Sequence[str]) -> LogAppend:
    """Append bundles (their manifest and every attestation) or plain SHA-256 digests, in one transaction.

    Raises:
        UsageError: ``file-missing``, ``bad-log``, ``bad-log-entry``.
        EvidenceRejected: a bundle is not exactly one.
        Undecided: ``log-busy``, ``disk``.
    """
    ids = list(dict.fromkeys(one for entry in entries for one in entry_ids(entry)))
    with open_log(log) as audit_log:
        return LogAppend(dict(zip(ids, audit_log.append(ids), strict=True)), audit_log.size)


def entry_ids(entry: str) -> tuple[Sha256, ...]:
    """The identifiers that ``entry`` stands for: a digest itself, or a bundle's attestations and then its manifest."""
    if is_sha256(entry):
        return (Sha256(entry),)
    with open_bundle(Path(entry)) as bundle:
        return (*sorted(bundle.attestations), bundle.bundle_id)


def prove_entry(log: Path, entry: Sha256, signer: Signer) -> LogProof:
    """Prove that ``entry`` is in the log, by its newest checkpoint. Raises UsageError (``not-in-log``, ``wrong-log-key``)."""
    with open_log(log, read_only=True) as audit_log:
        return audit_log.prove(entry, audit_log.checkpoint(signer))


def verify_entry(proof: Path, entry: Sha256, origin: str, key: PublicKey) -> Checkpoint:
    """Check a ``.tlog-proof`` file: that log signed a tree in which the entry is exactly ``entry``.

    Raises:
        EvidenceRejected: ``log-malformed``, ``log-signature-invalid``, ``log-proof-invalid``.
    """
    where = str(proof)
    parsed = parse_log_proof(read_limited(proof, limit=MAX_NOTE_BYTES), where)
    parsed.checkpoint.check(NoteKey(origin, key), where=where)
    leaf = leaf_hash(bytes.fromhex(entry))
    check_inclusion(leaf, parsed.index, parsed.checkpoint.size, parsed.hashes, parsed.checkpoint.root, where=where)
    return parsed.checkpoint


def sign_checkpoint(log: Path, signer: Signer) -> Checkpoint:
    """Sign the log's current tree head with its own key. Raises UsageError (``wrong-log-key``), Undecided."""
    with open_log(log, read_only=True) as audit_log:
        return audit_log.checkpoint(signer)


def prove_consistency(log: Path, first: int, second: int | None = None) -> ConsistencyProof:
    """Prove that the log's first ``first`` entries are where they were when it had ``second``, by default all that it has now.

    Raises:
        UsageError: sizes that the log never had.
    """
    with open_log(log, read_only=True) as audit_log:
        newer = second if second is not None else audit_log.size
        return ConsistencyProof(first, newer, audit_log.prove_consistency(first, newer))


def cosign_checkpoint(
    checkpoint: Path,
    log: NoteKey,
    *,
    name: str,
    signer: Signer,
    state: Path,
    consistency: Path | None = None,
    seconds: int | None = None,
) -> Checkpoint:
    """Cosign a checkpoint file as witness ``name``, once it extends what this witness saw last.

    Args:
        log: the log's name and public key, from outside.
        state: file that remembers what this witness cosigned last; written first.
        consistency: file with the proof from the last size to this one; needed unless it is the first sight or the same tree.
        seconds: since 1970; by default the clock.

    Raises:
        EvidenceRejected: ``log-malformed``; ``log-signature-invalid``; ``log-inconsistent``, when the past changed.
        PolicyNotMet: ``consistency-missing``.
        UsageError: ``file-missing``; ``bad-option`` for a name that cannot be one.
    """
    proof = None
    if consistency is not None:
        proof = parse_consistency(read_limited(consistency, limit=MAX_NOTE_BYTES), str(consistency))
    return cosign(
        parse_checkpoint(read_limited(checkpoint, limit=MAX_NOTE_BYTES), str(checkpoint)),
        log,
        name=name,
        signer=signer,
        state=state,
        seconds=int(time.time()) if seconds is None else seconds,
        consistency=proof,
    )


def check_log_file(log: Path, seen: Path | None, origin: str | None = None) -> int:
    """Recompute the whole log; with ``seen``, also that an older checkpoint is a prefix of it. Returns the number of entries.

    Raises:
        EvidenceRejected: ``log-corrupt``, ``log-inconsistent``, ``log-signature-invalid``.
    """
    with open_log(log, read_only=True) as audit_log:
        size = audit_log.check()
        if seen is not None:
            old = parse_checkpoint(read_limited(seen, limit=MAX_NOTE_BYTES), str(seen))
            old.check(NoteKey(origin or audit_log.origin, audit_log.key), where=str(seen))
            require_prefix(audit_log.root(old.size) if old.size <= size else None, old, str(seen))
        return size


def require_prefix(root: bytes | None, old: Checkpoint, where: str) -> None:
    """Raises EvidenceRejected (``log-inconsistent``) unless ``root`` is the one that ``old`` shows."""
    if root is None or root != old.root:
        raise EvidenceRejected(
            "log-inconsistent",
            f"the log does not hold the first {old.size} entries that it once signed",
            where=where,
            hint="Do not trust this log; tell its witnesses.",
        )


def make_log(log: Path, origin: str, key: PublicKey) -> None:
    """Make an empty log. Raises UsageError (``file-exists``, ``bad-option``), Undecided (``disk``)."""
    create_log(log, origin=origin, key=key)


def one_entry(entry: str) -> Sha256:
    """The single identifier that ``entry`` stands for: a digest, or a bundle's manifest."""
    ids = entry_ids(entry)
    if not ids:
        raise UsageError("bad-log-entry", "nothing to log", where=entry)
    return ids[-1]
