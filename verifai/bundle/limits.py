"""Limits of what a bundle may be, checked before anything of that size is read or allocated."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, slots=True)
class Limits:
    """Largest sizes, in bytes unless named otherwise.

    Attributes:
        files: how many files, the manifest included.
        file_bytes: of one payload file.
        total_bytes: of all files together.
        document_bytes: of one envelope, checkpoint or log proof, which are read into memory.
    """

    files: int = 4096
    file_bytes: int = 1024 * MIB
    total_bytes: int = 2048 * MIB
    document_bytes: int = 12 * MIB
    documents_bytes: int = 64 * MIB


DEFAULT = Limits()
