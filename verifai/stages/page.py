"""page: bundles, lock, tokenizer and trust file as one HTML file that checks itself when it is opened. Nothing is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from verifai.bundle.archive import pack
from verifai.circuit_folder import MAX_TOML_BYTES, read_lock
from verifai.domain.digest import Sha256, sha256
from verifai.domain.tokenizer import FILE, MAX_BYTES
from verifai.errors import UsageError
from verifai.execution.files import read_limited, write_atomic
from verifai.execution.scratch import private_directory
from verifai.reports.evidence_page import HeldFile, HeldKind, compose, empty_page, program_digest
from verifai.trust_file import read_trust

MAX_HELD = 256 * 2**20
"""Bytes of bundles in one page: a browser keeps them in memory, and as text a third longer."""


@dataclass(frozen=True)
class WrittenPage:
    """A page that was written.

    Attributes:
        sha256: of the file. program_sha256: of the program in it, which is the same in every page of a release.
        bundle_ids: of the bundles that it holds, in order; their claims were not judged.
        untold: whether the lock pins a tokenizer that does not lie beside it, so that the page shows tokens as numbers.
    """

    path: Path
    sha256: Sha256
    program_sha256: Sha256
    size: int
    bundle_ids: tuple[Sha256, ...]
    untold: bool = False


def write_page(bundles: Sequence[Path], lock: Path, target: Path, *, trust: Path | None = None) -> WrittenPage:
    """Write a page that holds ``bundles``, the lock, the tokenizer that lies beside it where it pins one, and the trust file.

    Raises:
        EvidenceRejected: a bundle is not well formed.
        UsageError: ``bad-lock``, ``bad-tokenizer``, ``bad-trust``, ``file-missing``, ``page-too-large``.
        Undecided: ``disk``.
    """
    lock_file = lock / "circuit.lock" if lock.is_dir() else lock
    found = read_lock(lock_file)  # a broken one is told here, not to whom the page is sent
    files = [HeldFile(HeldKind.LOCK, lock_file.name, read_limited(lock_file, limit=MAX_TOML_BYTES))]
    if found.names.tokenizer is not None:
        files.append(HeldFile(HeldKind.TOKENIZER, FILE, read_limited(lock_file.parent / FILE, limit=MAX_BYTES)))
    if trust is not None:
        read_trust(trust)
        files.append(HeldFile(HeldKind.TRUST, trust.name, read_limited(trust, limit=MAX_TOML_BYTES)))
    ids, total = [], 0
    for path in bundles:
        with private_directory() as folder:
            ids.append(pack(path, folder / "bundle"))
            total += (folder / "bundle").stat().st_size
            if total > MAX_HELD:
                message = f"the bundles have more than {MAX_HELD // 2**20} MiB, too much for a page"
                hint = "Take fewer bundles, or send `verifai page --empty` beside them."
                raise UsageError("page-too-large", message, where=str(path), hint=hint)
            files.append(HeldFile(HeldKind.BUNDLE, path.name, (folder / "bundle").read_bytes()))
    untold = found.names.tokens is not None and found.names.tokenizer is None
    return replace(_written(target, compose(files), tuple(ids)), untold=untold)


def write_empty_page(target: Path) -> WrittenPage:
    """Write the page without any bundle. Raises Undecided (``disk``)."""
    return _written(target, empty_page(), ())


def _written(target: Path, data: bytes, ids: tuple[Sha256, ...]) -> WrittenPage:
    write_atomic(target, data)
    return WrittenPage(target, sha256(data), program_digest(), len(data), ids)
