"""The single-file form: one stored zip per bundle, byte for byte determined by the content (PKWARE APPNOTE 6.3.10).

Every field that a zip leaves open is fixed here, so a reader compares headers instead of interpreting them, and nothing is left
for two readers to disagree about.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

LOCAL_SIZE = 30
CENTRAL_SIZE = 46
END_SIZE = 22
MAX_NAME = 256

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_MADE_BY = (3 << 8) | 20  # Unix
_TIME, _DATE = 0, 0x0021  # 1980-01-01 00:00:00, the earliest that the format can say
_ATTRIBUTES = 0o100644 << 16
DATE_TIME = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Attributes:
        size: in bytes; stored, so also the size in the archive.
        offset: of its local header.
    """

    name: str
    size: int
    crc32: int
    offset: int

    @property
    def data_offset(self) -> int:
        """Where its bytes begin."""
        return self.offset + LOCAL_SIZE + len(self.name)

    @property
    def end(self) -> int:
        """Where its bytes end and the next header begins."""
        return self.data_offset + self.size

    def local_header(self) -> bytes:
        """The only local header this member can have, name included."""
        name = self.name.encode("ascii")
        fields = (b"PK\x03\x04", _VERSION, 0, 0, _TIME, _DATE, self.crc32, self.size, self.size, len(name), 0)
        return _LOCAL.pack(*fields) + name

    def central_header(self) -> bytes:
        """The only central directory entry this member can have, name included."""
        name = self.name.encode("ascii")
        versions = (b"PK\x01\x02", _MADE_BY, _VERSION, 0, 0, _TIME, _DATE)
        sizes = (self.crc32, self.size, self.size, len(name), 0, 0, 0, 0, _ATTRIBUTES, self.offset)
        return _CENTRAL.pack(*versions, *sizes) + name


def parse_central(data: bytes, position: int) -> Member:
    """The member that a central directory entry at ``position`` describes.

    Only size, checksum, name and offset are read; the caller compares all bytes with :meth:`Member.central_header`.

    Raises:
        ValueError: when the entry is cut off or its name is not printable ASCII.
    """
    if position + CENTRAL_SIZE > len(data):
        raise ValueError("the central directory is cut off")
    fields = _CENTRAL.unpack_from(data, position)
    crc32, size, name_length, offset = fields[7], fields[9], fields[10], fields[16]
    name = data[position + CENTRAL_SIZE : position + CENTRAL_SIZE + name_length]
    if not 0 < len(name) == name_length <= MAX_NAME or not all(0x21 <= byte <= 0x7E for byte in name):
        raise ValueError(f"the file name {name[:80]!r} is not allowed")
    return Member(name.decode("ascii"), size, crc32, offset)


def end_record(members: int, directory_offset: int, directory_size: int) -> bytes:
    """The only end-of-central-directory record an archive can have."""
    return _END.pack(b"PK\x05\x06", 0, 0, members, members, directory_size, directory_offset, 0)


def parse_end(data: bytes) -> tuple[int, int, int]:
    """``(members, directory offset, directory size)`` of the last 22 bytes; compare with :func:`end_record`."""
    fields = _END.unpack(data)
    return fields[4], fields[6], fields[5]
