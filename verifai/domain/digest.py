"""Digests: SHA-256 everywhere, lower-case hex in every document."""

from __future__ import annotations

import hashlib
import re
from typing import NewType

Sha256 = NewType("Sha256", str)
"""64 lower-case hex digits."""

_HEX64 = re.compile(r"[0-9a-f]{64}\Z")


def sha256(data: bytes | bytearray | memoryview) -> Sha256:
    """SHA-256 of ``data`` as 64 lower-case hex digits."""
    return Sha256(hashlib.sha256(data).hexdigest())


def is_sha256(text: object) -> bool:
    """Whether ``text`` is exactly 64 lower-case hex digits."""
    return isinstance(text, str) and _HEX64.match(text) is not None


def short(digest: str) -> str:
    """The first 12 digits, for people; never for comparison."""
    return digest[:12]
