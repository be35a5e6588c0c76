"""Parcels: a JSON document and named pieces of bytes as one string of bytes, for other processes and other machines.

Nothing in a parcel is code, and reading one makes no object but JSON values and bytes: so it may come from anybody. Its sender
is not authenticated; whoever reads one judges what it says.

::

    verifai/parcel/v1\\n   8 bytes: length of the head, big-endian   head: JSON   the pieces, one after the other
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verifai.domain.record import Record
from verifai.domain.strict_json import loads
from verifai.errors import VerifaiError

TAG = b"verifai/parcel/v1\n"
MAX_HEAD = 16 * 2**20
MAX_PIECES = 4096
_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Parcel:
    """A document of JSON values, and bytes by name."""

    document: Record
    pieces: Mapping[str, bytes]


def pack(document: Mapping[str, Any], pieces: Mapping[str, bytes] | None = None) -> bytes:
    """The parcel's bytes. Raises ValueError for what cannot be JSON."""
    pieces = pieces or {}
    sizes = [[name, len(data)] for name, data in pieces.items()]
    head = json.dumps({"document": dict(document), "pieces": sizes}, allow_nan=False).encode()
    return b"".join([TAG, len(head).to_bytes(_LENGTH, "big"), head, *pieces.values()])


def unpack(data: bytes, *, where: str, error: type[VerifaiError], code: str) -> Parcel:
    """Read a parcel, strictly: every byte of it has its place.

    Raises:
        VerifaiError: of class ``error`` with ``code``.
    """
    start = len(TAG) + _LENGTH
    length = int.from_bytes(data[len(TAG) : start], "big")
    if not data.startswith(TAG) or len(data) < start or length > min(MAX_HEAD, len(data) - start):
        raise error(code, "it is no parcel of this release", where=where)
    head = Record(
        loads(data[start : start + length], where=where, floats=True, max_bytes=MAX_HEAD, error=error, code=code),
        where,
        error=error,
        code=code,
    )
    document = head.table("document")
    sizes = head.take("pieces")
    head.done()
    if not isinstance(sizes, list) or len(sizes) > MAX_PIECES:
        raise error(code, f"no list of at most {MAX_PIECES} pieces", where=where)
    pieces: dict[str, bytes] = {}
    place = start + length
    for one in sizes:
        if not (isinstance(one, list) and len(one) == 2 and isinstance(one[0], str) and type(one[1]) is int and one[1] >= 0):
            raise error(code, "a piece is not a name and a size", where=where)
        name, size = one
        if name in pieces or size > len(data) - place:
            raise error(code, "a piece comes twice, or is cut off", where=where)
        pieces[name] = data[place : place + size]
        place += size
    if place != len(data):
        raise error(code, f"{len(data) - place} bytes follow the last piece", where=where)
    return Parcel(document, pieces)
