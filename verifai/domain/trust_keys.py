"""Ed25519 public keys as values. A key is its 32 bytes. Its identifier is derived from them, so it cannot be another key's."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Protocol

# SubjectPublicKeyInfo (RFC 8410 section 4) of an Ed25519 key, up to the 32 raw bytes.
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")
_TEXT_PREFIX = "ed25519:"
_FIELD = 2**255 - 19
_ORDER_8 = int.from_bytes(bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little")
_SMALL_ORDER = frozenset({0, 1, _FIELD - 1, _ORDER_8, _FIELD - _ORDER_8})
"""The y coordinates of the eight points whose order divides the curve's cofactor."""


def is_weak_point(encoded: bytes) -> bool:
    """Whether 32 bytes are a point of small order, or a second spelling of some point (RFC 8032, section 5.1.3).

    With a key of small order one signature verifies for many messages, or for all, and nobody needs a private key to make it.
    Libraries do not agree on such points: what one takes, another refuses. No honest key or signature has one.
    """
    y = int.from_bytes(encoded, "little") & (2**255 - 1)
    return y >= _FIELD or y in _SMALL_ORDER


@dataclass(frozen=True, slots=True, order=True)
class PublicKey:
    """An Ed25519 public key (RFC 8032).

    Attributes:
        raw: 32 bytes.

    Raises:
        ValueError: not 32 bytes, or a weak point (:func:`is_weak_point`).
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != 32:
            raise ValueError(f"an Ed25519 public key has 32 bytes, not {len(self.raw)}")
        if is_weak_point(self.raw):
            raise ValueError("not a key that anybody can own: with it, signatures are made without a private key")

    @property
    def keyid(self) -> str:
        """SHA-256 of the DER SubjectPublicKeyInfo, 64 lower-case hex digits."""
        return hashlib.sha256(self.spki).hexdigest()

    @property
    def spki(self) -> bytes:
        """DER SubjectPublicKeyInfo, 44 bytes."""
        return _SPKI_PREFIX + self.raw

    def __str__(self) -> str:
        return _TEXT_PREFIX + base64.b64encode(self.raw).decode()

    @classmethod
    def from_text(cls, text: str) -> PublicKey:
        """The inverse of ``str``. Raises ValueError on anything else."""
        if not text.startswith(_TEXT_PREFIX):
            raise ValueError(f"a public key starts with {_TEXT_PREFIX!r}")
        return cls(decode_base64(text.removeprefix(_TEXT_PREFIX)))

    @classmethod
    def from_spki(cls, der: bytes) -> PublicKey:
        """From DER SubjectPublicKeyInfo. Raises ValueError when it is not exactly an Ed25519 key."""
        if len(der) != 44 or not der.startswith(_SPKI_PREFIX):
            raise ValueError("not an Ed25519 public key in SubjectPublicKeyInfo form")
        return cls(der[len(_SPKI_PREFIX) :])


class Signer(Protocol):
    """Anything that signs with one Ed25519 key: a key file, or a substitute for a hardware key."""

    @property
    def public_key(self) -> PublicKey:
        """The key that verifies."""

    def sign(self, message: bytes) -> bytes:
        """Ed25519 over ``message``: 64 bytes."""


def decode_base64(text: str) -> bytes:
    """Standard base64 (RFC 4648 section 4) in its one canonical spelling.

    Raises:
        ValueError: for other alphabets, white space, missing padding, or unused bits that are not zero.
    """
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error) as problem:
        raise ValueError(f"not base64: {problem}") from None
    if base64.b64encode(data).decode() != text:
        raise ValueError("not canonical base64")
    return data
