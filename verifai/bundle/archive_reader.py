"""The single-file form, read strictly over its raw bytes. Nothing is decompressed and nothing is extracted."""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Callable, Generator
from pathlib import Path

from verifai.bundle.archive_format import CENTRAL_SIZE, END_SIZE, MAX_NAME, Member, end_record, parse_central, parse_end
from verifai.bundle.limits import Limits
from verifai.bundle.source import CHUNK, check_count, check_listing, too_large, unreadable
from verifai.domain.foreign import other_than
from verifai.errors import EvidenceRejected, UsageError

_PACK = "Make single files with: `verifai pack BUNDLE -o FILE`"
_ZIP_MAGIC = b"PK\x03\x04"
_HEAD = 4096


class ArchiveSource:
    """A single-file bundle, listed once.

    Args:
        check: of names and sizes, before anything is read; another one for another kind of archive of ours.
    """

    def __init__(
        self, path: Path, limits: Limits, check: Callable[[dict[str, int], Limits, str], None] = check_listing
    ) -> None:
        self._where = str(path)
        self.sizes: dict[str, int] = {}
        self.folders: set[str] = set()  # in an archive, an entry for a folder is refused
        self._members: dict[str, Member] = {}
        try:
            self._handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as problem:
            raise UsageError("file-missing", f"cannot read: {problem.strerror}", where=self._where) from None
        try:
            kind = os.fstat(self._handle)
            if not stat.S_ISREG(kind.st_mode):
                raise UsageError("file-missing", "not a regular file", where=self._where)
            self._list(kind.st_size, limits)
            check(self.sizes, limits, self._where)
        except BaseException:
            self.close()
            raise

    def _list(self, size: int, limits: Limits) -> None:
        if size > limits.total_bytes + limits.files * (CENTRAL_SIZE + 2 * MAX_NAME) + END_SIZE:
            raise too_large(f"{size} bytes, more than any bundle", self._where)
        if size < END_SIZE:
            raise self._not_one(size, "too short for a zip archive")
        tail = self._read(size - END_SIZE, END_SIZE)
        count, directory, length = parse_end(tail)
        if tail != end_record(count, directory, length) or directory + length + END_SIZE != size:
            raise self._not_one(size, "it does not end with a plain end-of-archive record: cut off, or something is behind it")
        check_count(count, limits, self._where)
        if length > count * (CENTRAL_SIZE + MAX_NAME):
            raise self._refuse("the central directory is larger than its entries")
        self._walk(self._read(directory, length), count, directory)

    def _walk(self, central: bytes, count: int, directory: int) -> None:
        """Each entry is exactly where the one before it ends, so no byte of the archive is left unexplained."""
        position = data_end = 0
        previous = ""
        for _ in range(count):
            try:
                member = parse_central(central, position)
            except ValueError as problem:
                raise self._refuse(str(problem)) from None
            header = member.central_header()
            if central[position : position + len(header)] != header:
                raise self._refuse(f"{member.name!r} is compressed, encrypted, dated, linked or otherwise not plainly stored")
            if member.name in self._members:
                raise EvidenceRejected("path-collision", f"{member.name!r} is there twice", where=self._where)
            if member.name < previous:
                raise self._refuse(f"{member.name!r} is not in ascending order")
            if member.offset != data_end or member.end > directory:
                raise self._refuse(f"{member.name!r} does not begin where the one before it ends")
            local = member.local_header()
            if self._read(member.offset, len(local)) != local:
                raise self._refuse(f"the two headers of {member.name!r} disagree")
            self._members[member.name] = member
            self.sizes[member.name] = member.size
            position, data_end, previous = position + len(header), member.end, member.name
        if position != len(central) or data_end != directory:
            raise self._refuse("there are bytes that belong to no file")

    def _not_one(self, size: int, message: str) -> EvidenceRejected:
        """The refusal of a file that is no bundle at all, or a bundle that was cut off."""
        head = self._read(0, min(size, _HEAD))
        if head.startswith(_ZIP_MAGIC):
            return self._refuse(message)
        message, hint = other_than("a bundle", head, message, _PACK)
        return EvidenceRejected("bad-archive", message, where=self._where, hint=hint)

    def _refuse(self, message: str) -> EvidenceRejected:
        return EvidenceRejected("bad-archive", message, where=self._where, hint=_PACK)

    def _read(self, offset: int, length: int) -> bytes:
        try:
            data = os.pread(self._handle, length, offset)
        except OSError as problem:
            raise unreadable(problem, self._where) from None
        if len(data) != length:
            raise self._refuse("it shrank while it was read")
        return data

    def chunks(self, path: str) -> Generator[bytes, None, None]:
        """The bytes of one member, then the check of its CRC-32."""
        member = self._members[path]
        position, crc32 = member.data_offset, 0
        while position < member.end:
            chunk = self._read(position, min(CHUNK, member.end - position))
            crc32 = zlib.crc32(chunk, crc32)
            position += len(chunk)
            yield chunk
        if crc32 != member.crc32:
            raise EvidenceRejected("digest-mismatch", "the archive's checksum does not match", where=path)

    def close(self) -> None:
        """Close the file."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
