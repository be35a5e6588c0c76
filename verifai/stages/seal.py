"""seal: finish a bundle: sign its manifest, and put its attestations on the audit log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.bundle import canonical
from verifai.bundle.archive import contents
from verifai.bundle.dsse import sign
from verifai.bundle.keyless import sidecar_path
from verifai.bundle.log import open_log
from verifai.bundle.log_check import CHECKPOINT_FILE, proof_file
from verifai.bundle.note import MAX_NOTE_BYTES, NoteKey, parse_checkpoint
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle, write_folder
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.domain.digest import Sha256
from verifai.domain.trust_keys import PublicKey, Signer
from verifai.domain.utc_time import format_utc
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited, write_atomic, write_new
from verifai.execution.locks import folder_locked

if TYPE_CHECKING:
    from verifai.bundle.keyless import KeylessSigner
    from verifai.bundle.log import AuditLog
    from verifai.bundle.note import Checkpoint
    from verifai.bundle.reader import OpenBundle


@dataclass(frozen=True)
class SealedBundle:
    """A bundle with signatures or log proofs added.

    Attributes:
        signers: the keys that signed now.
        positions: place in the log by attestation; empty when no log was asked for.
        sidecar: log proof of the manifest itself, beside the bundle, which cannot hold it.
    """

    path: Path
    bundle_id: Sha256
    signers: tuple[PublicKey, ...]
    positions: dict[Sha256, int]
    sidecar: Path | None


def seal_bundle(
    path: Path,
    *,
    signers: Sequence[Signer] = (),
    output: Path | None = None,
    log: Path | None = None,
    log_signer: Signer | None = None,
    checkpoint: Path | None = None,
    keyless: KeylessSigner | None = None,
) -> SealedBundle:
    """Add signatures to the bundle at ``path``, and with ``log`` also log proofs.

    Signatures alone leave the identifier as it is; they are written in place unless ``output`` is given. Log proofs are files,
    so with them it becomes a new bundle at ``output`` that names the old one.

    Args:
        keyless: vouches for the manifest under an identity, in a file beside the bundle.
        checkpoint: a checkpoint of ``log`` to prove by, such as one that witnesses cosigned; by default a new one.

    Raises:
        UsageError: nothing to do, no ``output`` where one is needed, ``file-exists``, or the wrong log key.
        EvidenceRejected: it is not exactly a bundle; ``log-inconsistent`` when ``checkpoint`` is not of this log.
        Undecided: ``disk``, ``log-busy``.
    """
    check_seal_options(
        signs=bool(signers) or keyless is not None,
        log=log is not None,
        log_key=log_signer is not None,
        checkpoint=checkpoint is not None,
    )
    if not os.path.lexists(path):
        raise UsageError("file-missing", "cannot read: no such file or folder", where=str(path))
    if output is None and (log is not None or not path.is_dir()):
        raise UsageError("bad-option", "this makes a new bundle", where="--output", hint="Give --output NEW.")
    if log is not None and log_signer is not None and output is not None:
        with open_bundle(path) as bundle:
            sealed = _logged(bundle, signers, output, log, log_signer, checkpoint)
    elif output is not None:
        with open_bundle(path) as bundle:
            sealed = _signed(bundle, signers, output)
    else:
        # Two at once would each add their signature to the manifest as it was, and one would be lost.
        with folder_locked(path), open_bundle(path) as bundle:
            sealed = _signed(bundle, signers, None)
    if keyless is not None:
        _vouch(sealed.path, keyless)
    return sealed


def check_seal_options(*, signs: bool, log: bool, log_key: bool, checkpoint: bool) -> None:
    """Refuse options that do not go together, whatever the bundle. Raises UsageError (``bad-option``)."""
    if not signs and not log:
        raise UsageError("bad-option", "there is nothing to do", hint="Give --key or --sigstore to sign, or --log to log.")
    if checkpoint and not log:
        raise UsageError("bad-option", "--checkpoint goes with --log")
    if log != log_key:
        raise UsageError("bad-option", "--log and --log-key go together", hint="The log signs its checkpoint with its own key.")


def _vouch(path: Path, keyless: KeylessSigner) -> None:
    with open_bundle(path) as bundle:
        write_atomic(sidecar_path(path), keyless.sign(bundle.envelope.payload))


def _signed(bundle: OpenBundle, signers: Sequence[Signer], output: Path | None) -> SealedBundle:
    manifest = canonical.encode(sign(bundle.envelope, signers).to_json())
    if output is None:
        write_atomic(bundle.path / MANIFEST_NAME, manifest)
    else:
        write_folder(output, {**dict(contents(bundle)), MANIFEST_NAME: manifest})
    keys = tuple(signer.public_key for signer in signers)
    return SealedBundle(output or bundle.path, bundle.bundle_id, keys, {}, None)


def _logged(
    bundle: OpenBundle, signers: Sequence[Signer], output: Path, log: Path, log_signer: Signer, given: Path | None
) -> SealedBundle:
    ids = sorted(bundle.attestations)
    sidecar = output.with_name(output.name + ".tlog-proof")
    for target in (output, sidecar):
        if target.exists():
            raise UsageError("file-exists", "the output exists already", where=str(target), hint="Choose another name.")
    with open_log(log) as audit_log:
        audit_log.require_key(log_signer)
        positions = dict(zip(ids, audit_log.append(ids), strict=True))
        checkpoint = audit_log.checkpoint(log_signer) if given is None else _own_checkpoint(audit_log, given)
        proofs = {proof_file(one): audit_log.prove(one, checkpoint).to_bytes() for one in ids}
        bundle_id = write_bundle(
            output,
            payload=bundle.payload,
            attestations=list(bundle.attestations.values()),
            signers=signers,
            created=format_utc(datetime.now(UTC)),
            log={CHECKPOINT_FILE: checkpoint.to_bytes(), **proofs},
            succeeds=bundle.bundle_id,
        )
        audit_log.append([bundle_id])
        write_new(sidecar, audit_log.prove(bundle_id, audit_log.checkpoint(log_signer)).to_bytes())
    return SealedBundle(output, bundle_id, tuple(signer.public_key for signer in signers), positions, sidecar)


def _own_checkpoint(audit_log: AuditLog, path: Path) -> Checkpoint:
    """A checkpoint that this very log signed and still holds."""
    where = str(path)
    checkpoint = parse_checkpoint(read_limited(path, limit=MAX_NOTE_BYTES), where)
    checkpoint.check(NoteKey(audit_log.origin, audit_log.key), where=where)
    if checkpoint.size > audit_log.size or audit_log.root(checkpoint.size) != checkpoint.root:
        raise EvidenceRejected("log-inconsistent", "the log does not hold the tree that this checkpoint shows", where=where)
    return checkpoint
