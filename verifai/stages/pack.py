"""pack, unpack: folder form ↔ single-file form of a bundle. Neither judges what a bundle says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from verifai.bundle.archive import pack, unpack
from verifai.domain.digest import Sha256


@dataclass(frozen=True)
class WrittenBundle:
    """A bundle that was written; its identifier is that of the one it was made from."""

    path: Path
    bundle_id: Sha256


def pack_bundle(source: Path, target: Path) -> WrittenBundle:
    """Write the bundle at ``source`` as one file; equal bundles give equal bytes.

    Raises:
        UsageError: ``file-missing``, ``file-exists``.
        EvidenceRejected: it is not exactly a bundle.
        Undecided: ``disk``.
    """
    return WrittenBundle(target, pack(source, target))


def unpack_bundle(source: Path, target: Path) -> WrittenBundle:
    """Write the bundle at ``source`` as a new folder. Raises what :func:`pack_bundle` raises."""
    return WrittenBundle(target, unpack(source, target))
