"""Where the bytes of a bundle come from: one interface over the folder form and the single-file form."""

from __future__ import annotations

import errno
from collections.abc import Collection, Generator
from typing import Protocol

from verifai.bundle.limits import Limits
from verifai.domain.attestation.manifest import MANIFEST_NAME, check_distinct, check_path
from verifai.errors import EvidenceRejected, Undecided

CHUNK = 1024 * 1024


class Source(Protocol):
    """An opened bundle whose names were checked. Nothing of it was trusted or extracted yet."""

    sizes: dict[str, int]
    """Size in bytes by path, as found; the copy checks it again."""
    folders: set[str]
    """Paths of files below which there is a folder instead. Only the manifest can say whether a file was meant."""

    def chunks(self, path: str) -> Generator[bytes, None, None]:
        """The listed file's bytes in pieces of at most ``CHUNK``. Raises EvidenceRejected when the container disagrees."""

    def close(self) -> None:
        """Give back file handles."""


def check_listing(sizes: dict[str, int], limits: Limits, where: str, folders: Collection[str] = ()) -> None:
    """Steps R3 and R4: names and sizes, before any content is read.

    Raises:
        EvidenceRejected: codes ``bad-path``, ``path-collision``, ``bundle-too-large``, ``manifest-missing``.
    """
    check_count(len(sizes), limits, where)
    documents = 0
    for path, size in sizes.items():
        is_payload = path != MANIFEST_NAME and check_path(path) == "payload"
        limit = limits.file_bytes if is_payload else limits.document_bytes
        if size > limit:
            raise too_large(f"{size} bytes, more than the limit of {limit}", path)
        documents += 0 if is_payload else size
    check_distinct([*sizes, *folders])
    if sum(sizes.values()) > limits.total_bytes or documents > limits.documents_bytes:
        raise too_large(f"more than {limits.total_bytes} bytes, or {limits.documents_bytes} bytes of documents", where)
    if MANIFEST_NAME not in sizes and MANIFEST_NAME not in folders:
        raise EvidenceRejected(
            "manifest-missing", f"there is no {MANIFEST_NAME}", where=where, hint="Is this the folder that prove or seal wrote?"
        )


def check_count(count: int, limits: Limits, where: str) -> None:
    """Raises EvidenceRejected (``bundle-too-large``) when there are too many files."""
    if count > limits.files:
        raise too_large(f"more than {limits.files} files", where)


GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""What the system says when something was taken away, or a link put in its place, after it was listed."""


def unreadable(problem: OSError, where: str) -> EvidenceRejected | Undecided:
    """The error for a file of a bundle that the system does not give: only what was exchanged meanwhile is false."""
    if problem.errno in GONE:
        hint = "Something changed it meanwhile."
        return EvidenceRejected("file-absent", f"cannot read: {problem.strerror}", where=where, hint=hint)
    hint = "Nothing is known about the evidence: give yourself the right to read it, or copy it to a sound disk."
    return Undecided("disk", f"cannot read: {problem.strerror}", where=where, hint=hint)


def too_large(message: str, where: str) -> EvidenceRejected:
    """The error for a bundle outside the limits."""
    return EvidenceRejected("bundle-too-large", message, where=where, hint="No bundle that verifai writes is this large.")
