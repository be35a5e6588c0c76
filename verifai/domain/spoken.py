"""Digests that two people compare on the telephone: groups of digits instead of 64 hex digits."""

from __future__ import annotations

import re

GROUPS = 12
"""Groups of five digits: 10^60 values, so 199 bits of a SHA-256 digest; two texts of one fingerprint cost about 2^99 tries."""
BITS = 199


def spoken(digest: str) -> str:
    """The telephone fingerprint of a digest of 64 hex digits: twelve groups of five digits."""
    text = f"{int(digest, 16) % 10 ** (5 * GROUPS):0{5 * GROUPS}d}"
    return " ".join(text[start : start + 5] for start in range(0, len(text), 5))


def is_spoken(text: str, digest: str) -> bool:
    """Whether ``text`` is that fingerprint, or the digest itself, however its groups are set apart. A part of it is not."""
    plain = _plain(text)
    return plain == digest or plain == spoken(digest).replace(" ", "")


def is_whole(text: str) -> bool:
    """Whether ``text`` has the form of a fingerprint or of a digest, of whatever."""
    return re.fullmatch(rf"[0-9]{{{5 * GROUPS}}}|[0-9a-f]{{64}}", _plain(text)) is not None


def _plain(text: str) -> str:
    return re.sub(r"[\s-]", "", text).lower()
