"""Secrets of hiding commitments on disk: seed and ledger of the weights, by root; ledgers of tensors from other provers.

A file is named by its root, so compiling again never overwrites what an older lock still needs. The seed makes the root again
and opens it; the ledger says which openings are spent (:mod:`.opening_ledger`). Without both files the root cannot be opened.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from verifai.domain.digest import Sha256, is_sha256
from verifai.domain.record import Record
from verifai.domain.strict_json import loads
from verifai.engines.interface import CompileRequest, ProveRequest, TensorSecret
from verifai.engines.sumcheck.payload.weight_roots import LINK_FILE, MAX_RELATION, REGISTRATION_FILE
from verifai.engines.sumcheck.planning.plan_hiding import TENSOR_BUDGET
from verifai.engines.sumcheck.protocol.suite import SEED_BYTES
from verifai.engines.sumcheck.secrets.opening_ledger import OpeningLedger, create_ledger, open_ledger
from verifai.errors import InternalError, UsageError
from verifai.execution.files import read_limited, write_atomic
from verifai.execution.locks import folder_locked

SCHEMA = "verifai/weights-secret/v1"
_LIMIT = 4096


def secrets_folder(request: CompileRequest | ProveRequest) -> Path:
    """Where the request keeps secrets. Raises InternalError (``bug``) when it names no place."""
    if request.secrets_dir is None:
        raise InternalError("bug", "private weights and hashed tensors need a folder for their secrets", where="secrets_dir")
    return request.secrets_dir


def _named(folder: Path, root: str, ending: str) -> Path:
    return folder / f"weights-{root[:16]}.{ending}"


def seed_path(folder: Path, root: Sha256) -> Path:
    """Where the seed of ``root`` lies."""
    return _named(folder, root, "secret")


def shown_path(folder: Path, root: Sha256) -> Path:
    """Where the registration of a pinned root lies."""
    return _named(folder, root, "registration")


def make_weights_secret(folder: Path, root: Sha256, seed: bytes, budget: int) -> None:
    """Keep a new root's seed, and begin its ledger. Raises UsageError, Undecided as :func:`.opening_ledger.create_ledger`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        write_atomic(ignore, b"*\n")
    document = {"schema": SCHEMA, "root": root, "seed": seed.hex()}
    write_atomic(seed_path(folder, root), (json.dumps(document, indent=1) + "\n").encode(), mode=0o600)
    create_ledger(_named(folder, root, "openings"), root, budget)


def weights_seed(folder: Path, root: Sha256) -> bytes:
    """The seed of a pinned root.

    Raises:
        UsageError: ``weights-secret-missing``, ``weights-secret-malformed``.
    """
    path = seed_path(folder, root)
    if not path.is_file():
        raise UsageError(
            "weights-secret-missing",
            "the seed of the pinned commitment to weights is not here, so the commitment cannot be opened",
            where=str(path),
            hint="Only its owner has it. Without it the root is dead: compile again, which makes a new one.",
        )
    code = "weights-secret-malformed"
    document = loads(read_limited(path, limit=_LIMIT), where=str(path), error=UsageError, code=code)
    record = Record(document, str(path), error=UsageError, code=code)
    if record.text("schema") != SCHEMA:
        raise record.refuse(f"expected {SCHEMA!r}", "schema")
    if record.sha256("root") != root:
        raise record.refuse("it belongs to another root", "root")
    seed = bytes.fromhex(record.sha256("seed"))
    record.done()
    return seed


def weights_ledger(folder: Path, root: Sha256) -> OpeningLedger:
    """The ledger of a pinned root; a lost one is never made again. Raises as :func:`.opening_ledger.open_ledger`."""
    return open_ledger(_named(folder, root, "openings"), root)


@dataclass(frozen=True, slots=True)
class UsableRoot:
    """A root of private weights with openings left.

    Attributes:
        files: what a payload shows of it.
        kept: how many of its last openings no proof may take: the pinned root's last one is for a link to a fresh root.
    """

    root: Sha256
    ledger: OpeningLedger
    files: dict[str, bytes]
    kept: int

    def reserve(self, count: int) -> tuple[int, ...]:
        """Numbers for proofs, as ``ledger.reserve_block`` gives them. Others may have taken some meanwhile."""
        return self.ledger.reserve_block(count, "proof", keep=self.kept)


def keep_registration(folder: Path, root: Sha256, data: bytes) -> None:
    """Keep what every payload shows of a pinned root."""
    write_atomic(shown_path(folder, root), data)


def keep_link(folder: Path, pinned: Sha256, epoch: Sha256, data: bytes) -> None:
    """Keep an epoch root's link: from here on it stands for the pinned one."""
    write_atomic(folder / f"weights-{pinned[:16]}-epoch-{epoch}.link", data)


def registration(folder: Path, root: Sha256) -> bytes | None:
    """The pinned root's registration, if it was made."""
    path = shown_path(folder, root)
    return read_limited(path, limit=MAX_RELATION) if path.is_file() else None


def epochs(folder: Path, pinned: Sha256) -> list[tuple[Sha256, Path]]:
    """Epoch roots with their links, the newest last."""
    start = f"weights-{pinned[:16]}-epoch-"
    found = [path for path in folder.glob(f"{start}*.link") if is_sha256(path.stem.removeprefix(start))]
    found.sort(key=lambda path: path.stat().st_mtime_ns)
    return [(Sha256(path.stem.removeprefix(start)), path) for path in found]


def usable_root(folder: Path, pinned: Sha256) -> UsableRoot:
    """The newest epoch root with openings left; without any, the pinned one, whose last opening is kept for a link.

    Raises:
        UsageError: ``opening-budget-spent``, with what to do; ``weights-not-registered``; those of the ledger.
    """
    shown = registration(folder, pinned)
    if shown is None:
        raise _unregistered(folder)
    for epoch, path in reversed(epochs(folder, pinned)):
        ledger = weights_ledger(folder, epoch)
        if ledger.remaining > 0:
            files = {REGISTRATION_FILE: shown, LINK_FILE: read_limited(path, limit=MAX_RELATION)}
            return UsableRoot(epoch, ledger, files, 0)
    ledger = weights_ledger(folder, pinned)
    left = ledger.remaining
    if left > 1:
        return UsableRoot(pinned, ledger, {REGISTRATION_FILE: shown}, 1)
    hint = "Run: `verifai weights renew CIRCUIT`" if left else "Make a new root: compile again."
    message = "no opening of the weights' roots is left for a proof"
    raise UsageError("opening-budget-spent", message, where=str(folder), hint=hint)


def root_files(folder: Path, pinned: Sha256, root: Sha256) -> dict[str, bytes]:
    """What a payload shows of ``root``, the pinned one or an epoch root for it.

    Raises:
        UsageError: ``weights-not-registered``; ``weights-secret-missing`` for a root that is not among those of ``pinned``.
    """
    shown = registration(folder, pinned)
    if shown is None:
        raise _unregistered(folder)
    if root == pinned:
        return {REGISTRATION_FILE: shown}
    for epoch, path in epochs(folder, pinned):
        if epoch == root:
            return {REGISTRATION_FILE: shown, LINK_FILE: read_limited(path, limit=MAX_RELATION)}
    message = "the reserved opening is of a root that is not one of the pinned weights"
    raise UsageError("weights-secret-missing", message, where=str(folder), hint="Reserve an opening of this circuit's root.")


def _unregistered(folder: Path) -> UsageError:
    return UsageError(
        "weights-not-registered",
        "the pinned root has no proof that its weights keep the circuit's bounds",
        where=str(folder),
        hint="Compile again.",
    )


def reserve_tensor(folder: Path, secret: TensorSecret) -> int:
    """An unused opening number, at least 1, for a tensor from another prover, which made opening number 0.

    The first use here makes the ledger. Give a tensor's secret to one party only: two parties would count openings separately,
    and use a number twice.
    """
    if len(secret.seed) != SEED_BYTES:
        raise UsageError("tensor-secret-malformed", f"a seed has {SEED_BYTES} bytes", where=secret.root[:16])
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"tensor-{secret.root[:16]}.openings"
    with folder_locked(folder):  # a process that reads the ledger while another one makes it would call the root dead
        if not os.path.lexists(path):
            create_ledger(path, secret.root, TENSOR_BUDGET - 1)
    return 1 + open_ledger(path, secret.root).reserve("proof that takes this tensor")
