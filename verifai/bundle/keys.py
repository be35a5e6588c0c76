"""Key files: Ed25519 private keys in PKCS#8 PEM, public keys in SubjectPublicKeyInfo PEM or as ``ed25519:BASE64`` text."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.domain.foreign import other_than
from verifai.domain.shell import shell
from verifai.domain.trust_keys import PublicKey
from verifai.errors import UsageError
from verifai.execution.files import read_limited, write_new

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MAX_KEY_BYTES = 64 * 1024
ENVIRONMENT_NAME = "VERIFAI_PASSPHRASE"


@dataclass(frozen=True)
class FileSigner:
    """A signer whose key was read from a file. Implements :class:`verifai.domain.trust_keys.Signer`."""

    public_key: PublicKey
    _private: Ed25519PrivateKey

    def sign(self, message: bytes) -> bytes:
        """Ed25519 over ``message``: 64 bytes."""
        return self._private.sign(message)

    def __repr__(self) -> str:
        return f"FileSigner({self.public_key})"


def new_key(path: Path, *, passphrase: str | None = None) -> PublicKey:
    """Make a private key at ``path`` (0600) and the public one beside it as ``path`` + ``.pub``.

    Args:
        passphrase: encrypts the file (PBES2, scrypt or PBKDF2 as the library chooses); ``None`` leaves it in clear.

    Raises:
        UsageError: code ``file-exists``; a key is never overwritten. Code ``bad-option`` for an empty passphrase.
        Undecided: code ``disk``.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public_path = public_key_path(path)
    for target in (path, public_path):
        if os.path.lexists(target):
            raise UsageError("file-exists", "a key is never overwritten", where=str(target), hint="Choose another name.")
    if passphrase is not None and not passphrase:
        raise UsageError("bad-option", "the passphrase is empty", hint="Give one, or make the key without a passphrase.")
    private = Ed25519PrivateKey.generate()
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    key = PublicKey(private.public_key().public_bytes_raw())
    write_new(path, pem, mode=0o600)
    try:
        write_new(public_path, public_pem(key))
    except BaseException:  # half a pair is no key
        path.unlink(missing_ok=True)
        raise
    return key


def public_key_path(path: Path) -> Path:
    """Where the public half of ``path`` lies."""
    return path.with_name(path.name + ".pub")


def load_signer(path: Path, *, passphrase: str | None = None) -> FileSigner:
    """Read a private key.

    Args:
        passphrase: by default that of the environment variable ``VERIFAI_PASSPHRASE``, so that it never is on a command line.

    Raises:
        UsageError: codes ``file-missing``, ``bad-key`` (not an Ed25519 PKCS#8 key, or readable by others), ``bad-passphrase``.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = read_limited(path, limit=MAX_KEY_BYTES)
    if b"PRIVATE KEY-----" not in data:
        raise _no_private_key(path, data)
    if path.stat().st_mode & 0o077:
        hint = f"Run: `chmod 600 {shell(path)}`"
        raise UsageError("bad-key", "other users may read this private key", where=str(path), hint=hint)
    encrypted = b"BEGIN ENCRYPTED PRIVATE KEY" in data
    if passphrase is None:
        passphrase = os.environ.get(ENVIRONMENT_NAME)
    if encrypted and passphrase is None:
        hint = f"Set {ENVIRONMENT_NAME} to it."
        raise UsageError("bad-passphrase", "this key has a passphrase", where=str(path), hint=hint)
    try:
        private = load_pem_private_key(data, passphrase.encode() if encrypted and passphrase is not None else None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        if encrypted:
            raise UsageError("bad-passphrase", "the passphrase does not open this key", where=str(path)) from None
        raise _no_private_key(path, data) from None
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError("bad-key", f"not an Ed25519 key but {type(private).__name__}", where=str(path), hint=_NEW)
    return FileSigner(PublicKey(private.public_key().public_bytes_raw()), private)


def _no_private_key(path: Path, data: bytes) -> UsageError:
    message, hint = other_than("a private key in PKCS#8 PEM", data, hint=_NEW)
    if path.suffix == ".pub" and path.with_suffix("").is_file():
        hint = f"Signing takes the private half: {shell(path.with_suffix(''))}."
    return UsageError("bad-key", message, where=str(path), hint=hint)


_NEW = "Make one with: `verifai key new PATH`"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key file that was read: its public half, and whether it holds the private half too."""

    public_key: PublicKey
    private: bool


def read_key(path: Path) -> KeyFile:
    """Read a private or a public key file. Raises UsageError (``file-missing``, ``bad-key``, ``bad-passphrase``)."""
    data = read_limited(path, limit=MAX_KEY_BYTES)
    if b"PRIVATE KEY-----" in data:
        return KeyFile(load_signer(path).public_key, private=True)
    return KeyFile(parse_public_key(data, str(path)), private=False)


def load_public_key(path: Path) -> PublicKey:
    """Read a public key file: PEM, or one line of ``ed25519:BASE64``. Raises UsageError (``file-missing``, ``bad-key``)."""
    return parse_public_key(read_limited(path, limit=MAX_KEY_BYTES), str(path))


def parse_public_key(data: bytes, where: str) -> PublicKey:
    """The key in ``data``. Raises UsageError (``bad-key``)."""
    import base64
    import binascii

    try:
        text = data.decode("ascii").strip()
        if not text.startswith("-----BEGIN PUBLIC KEY-----"):
            return PublicKey.from_text(text)
        body = text.removeprefix("-----BEGIN PUBLIC KEY-----").removesuffix("-----END PUBLIC KEY-----")
        return PublicKey.from_spki(base64.b64decode("".join(body.split()), validate=True))
    except (ValueError, binascii.Error) as problem:
        reason = "" if isinstance(problem, UnicodeDecodeError) else str(problem)
        message, hint = other_than("an Ed25519 public key", data, reason, _NEW)
        raise UsageError("bad-key", message, where=where, hint=hint) from None


def public_pem(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo PEM."""
    import base64

    return b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(key.spki) + b"\n-----END PUBLIC KEY-----\n"
