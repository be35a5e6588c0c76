"""Checking that evidence is in the trusted audit log: the steps L1 to L4 of ``docs/bundle-format.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from verifai.bundle.merkle import check_inclusion, leaf_hash
from verifai.bundle.note import COSIGNATURE, Checkpoint, LogProof, NoteKey, parse_checkpoint, parse_log_proof
from verifai.domain.digest import Sha256
from verifai.domain.trust import LogTrust
from verifai.errors import EvidenceRejected, PolicyNotMet

CHECKPOINT_FILE = "checkpoint"


def proof_file(one: Sha256) -> str:
    """Name below ``log/`` of an entry's proof."""
    return f"{one}.tlog-proof"


@dataclass(frozen=True, slots=True)
class LogEvidence:
    """Entries that are in the trusted log; made only by :func:`check_log`.

    Attributes:
        positions: place in the log by identifier.
        witnesses: how many distinct witness keys cosigned.
    """

    checkpoint: Checkpoint
    positions: Mapping[Sha256, int]
    witnesses: int


def check_log(files: Mapping[str, bytes], ids: Sequence[Sha256], trust: LogTrust) -> LogEvidence:
    """Check that every one of ``ids`` is in the trusted log, by the proofs in a bundle's ``log/`` folder.

    Raises:
        EvidenceRejected: a malformed or false checkpoint, signature or proof.
        PolicyNotMet: ``not-logged`` when a proof is missing; ``below-witnesses`` when too few cosigned.
    """
    if CHECKPOINT_FILE not in files:
        raise _not_logged("the bundle carries no checkpoint of a log", "log/checkpoint")
    checkpoint = parse_checkpoint(files[CHECKPOINT_FILE], "log/checkpoint")  # L1
    witnesses = check_checkpoint(checkpoint, trust, "log/checkpoint")  # L2
    positions: dict[Sha256, int] = {}
    for one in ids:
        where = f"log/{proof_file(one)}"
        data = files.get(proof_file(one))
        if data is None:
            raise _not_logged(f"there is no log proof for {one}", where)
        positions[one] = _check_entry(parse_log_proof(data, where), one, checkpoint, where)
    return LogEvidence(checkpoint, positions, witnesses)


def check_checkpoint(checkpoint: Checkpoint, trust: LogTrust, where: str) -> int:
    """L2: the log signed it, and enough distinct witnesses. Returns how many. Raises as :func:`check_log` does."""
    witnesses = [NoteKey(one.name, one.key, COSIGNATURE) for one in trust.witnesses]
    cosigned = checkpoint.check(NoteKey(trust.origin, trust.key), witnesses, where=where)
    if len(cosigned) < trust.witness_threshold:
        raise PolicyNotMet(
            "below-witnesses",
            f"{len(cosigned)} of the known witnesses cosigned, {trust.witness_threshold} are required",
            where=where,
            hint="Get cosignatures, then: `verifai seal BUNDLE --log LOG --log-key KEY --checkpoint FILE -o NEW`",
        )
    return len(cosigned)


def _check_entry(proof: LogProof, one: Sha256, checkpoint: Checkpoint, where: str) -> int:
    # L3: one checkpoint with its signatures, so that all entries were seen in one history by the same witnesses.
    if proof.checkpoint != checkpoint:
        raise EvidenceRejected("log-proof-invalid", "the proof is about another checkpoint than log/checkpoint", where=where)
    # L4: the leaf is computed from this attestation; a valid proof of some other entry leads to another root (CVE-2022-36056).
    check_inclusion(leaf_hash(bytes.fromhex(one)), proof.index, checkpoint.size, proof.hashes, checkpoint.root, where=where)
    return proof.index


def _not_logged(message: str, where: str) -> PolicyNotMet:
    return PolicyNotMet("not-logged", message, where=where, hint="Log it: `verifai seal BUNDLE --log LOG --log-key KEY -o NEW`")
