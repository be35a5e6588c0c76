"""Signed notes (C2SP signed-note v1.0.0), checkpoints (C2SP tlog-checkpoint v1.0.0) and witnesses' cosignatures (C2SP
tlog-cosignature, ``cosignature/v1``), Ed25519 only."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from verifai.bundle.dsse import verifies
from verifai.bundle.merkle import HASH_BYTES
from verifai.domain.foreign import other_than
from verifai.domain.trust_keys import PublicKey, Signer, decode_base64
from verifai.domain.unicode_14 import is_printable
from verifai.errors import EvidenceRejected

NOTE_SIGNATURE: Final = 0x01
COSIGNATURE: Final = 0x04
MAX_NOTE_BYTES = 64 * 1024
MAX_SIGNATURES = 64
MAX_SIZE = 2**53


@dataclass(frozen=True, slots=True)
class NoteKey:
    """A key with the name it signs under.

    Attributes:
        name: without spaces and ``+``, such as ``example.org/log``.
        kind: ``NOTE_SIGNATURE`` for a log, ``COSIGNATURE`` for a witness.
    """

    name: str
    key: PublicKey
    kind: int = NOTE_SIGNATURE

    @property
    def id(self) -> bytes:
        """SHA-256(name ‖ newline ‖ kind ‖ key)[:4]; a hint, not a proof."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.key.raw).digest()[:4]


def check_name(name: str) -> str:
    """``name``, once it can be a key name. Raises ValueError."""
    if not name or len(name) > 255 or "+" in name or " " in name or not is_printable(name):
        raise ValueError(f"{name[:80]!r} cannot be the name of a log or witness")
    return name


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line."""

    name: str
    key_id: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's signed tree head.

    Attributes:
        origin: the log's name.
        size: number of entries, at least 1.
        root: 32 bytes.
    """

    origin: str
    size: int
    root: bytes
    signatures: tuple[NoteSignature, ...] = ()

    @property
    def text(self) -> bytes:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n".encode()

    def to_bytes(self) -> bytes:
        """The whole note."""
        lines = [f"— {one.name} {base64.b64encode(one.key_id + one.value).decode()}\n" for one in self.signatures]
        return self.text + b"\n" + "".join(lines).encode()

    def signed_by(self, signer: Signer) -> Checkpoint:
        """With the log's signature under its origin; an older one of the same key is replaced."""
        note_key = NoteKey(self.origin, signer.public_key)
        return self._with(NoteSignature(note_key.name, note_key.id, signer.sign(self.text)))

    def cosigned_by(self, name: str, signer: Signer, seconds: int) -> Checkpoint:
        """With a witness' cosignature made at ``seconds`` since 1970. Checking consistency first is the caller's duty."""
        note_key = NoteKey(name, signer.public_key, COSIGNATURE)
        value = seconds.to_bytes(8, "big") + signer.sign(_cosigned(self.text, seconds))
        return self._with(NoteSignature(note_key.name, note_key.id, value))

    def _with(self, signature: NoteSignature) -> Checkpoint:
        kept = [old for old in self.signatures if (old.name, old.key_id) != (signature.name, signature.key_id)]
        return Checkpoint(self.origin, self.size, self.root, (*kept, signature))

    def check(self, log: NoteKey, witnesses: Iterable[NoteKey] = (), *, where: str) -> dict[PublicKey, int]:
        """Check the log's signature and those of known witnesses; lines of unknown keys are ignored, as the format asks.

        Returns:
            Distinct witness keys whose cosignature holds, with its time in seconds since 1970.

        Raises:
            EvidenceRejected: ``log-signature-invalid`` for the wrong log, or a known key whose signature does not verify.
        """
        if self.origin != log.name:
            raise _refuse("log-signature-invalid", f"this is log {self.origin[:80]!r}, not {log.name!r}", where)
        by_line = {(one.name, one.id): one for one in (log, *witnesses)}
        signed, cosigned = False, dict[PublicKey, int]()
        for line in self.signatures:
            known = by_line.get((line.name, line.key_id))
            if known is None:
                continue
            seconds, message = 0, self.text
            value = line.value
            if known.kind == COSIGNATURE:
                seconds, value = int.from_bytes(value[:8], "big"), value[8:]
                message = _cosigned(self.text, seconds)
            if not verifies(known.key, value, message):
                raise _refuse("log-signature-invalid", f"the signature of {known.name!r} does not verify", where)
            if known.kind == COSIGNATURE:
                cosigned[known.key] = seconds
            else:
                signed = True
        if not signed:
            raise _refuse("log-signature-invalid", f"log {log.name!r} did not sign this checkpoint", where)
        return cosigned


def _cosigned(text: bytes, seconds: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % seconds + text


def parse_checkpoint(data: bytes, where: str) -> Checkpoint:
    """Read a checkpoint strictly; extension lines are refused because nothing here checks them.

    Raises:
        EvidenceRejected: code ``log-malformed``.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise _refuse("log-malformed", f"more than {MAX_NOTE_BYTES} bytes", where)
    try:
        text = data.decode("utf-8")
        if any(ord(char) < 0x20 and char != "\n" for char in text):
            raise ValueError("it holds control characters")
        body, gap, tail = text.rpartition("\n\n")
        lines = body.split("\n")
        if not gap or not tail.endswith("\n") or len(lines) != 3:
            raise ValueError("expected three lines, an empty line, and signatures")
        origin, size, root = check_name(lines[0]), _decimal(lines[1]), decode_base64(lines[2])
        if not 1 <= size <= MAX_SIZE:
            raise ValueError(f"size {size}: an empty log proves nothing")
        if len(root) != HASH_BYTES:
            raise ValueError(f"the root has {len(root)} bytes instead of {HASH_BYTES}")
        signatures = tuple(_signature(line) for line in tail.removesuffix("\n").split("\n"))
        if len(signatures) > MAX_SIGNATURES:
            raise ValueError(f"more than {MAX_SIGNATURES} signatures")
        if len({(one.name, one.key_id) for one in signatures}) != len(signatures):
            raise ValueError("one key signed twice")
    except ValueError as problem:
        message, hint = other_than("a checkpoint", data, str(problem))
        raise _refuse("log-malformed", message, where, hint) from None
    return Checkpoint(origin, size, root, signatures)


def _decimal(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and str(int(text)) == text):
        raise ValueError(f"{text[:40]!r} is not a plain decimal number")
    return int(text)


def _signature(line: str) -> NoteSignature:
    words = line.split(" ")
    if len(words) != 3 or words[0] != "—":
        raise ValueError("expected '— NAME SIGNATURE'")
    value = decode_base64(words[2])
    if len(value) not in (4 + 64, 4 + 8 + 64):
        raise ValueError(f"a signature of {len(value)} bytes")
    return NoteSignature(check_name(words[1]), value[:4], value[4:])


def _refuse(code: str, message: str, where: str, hint: str = "") -> EvidenceRejected:
    return EvidenceRejected(code, message, where=where, hint=hint)


@dataclass(frozen=True, slots=True)
class LogProof:
    """A ``.tlog-proof`` file (C2SP tlog-proof, version 1): an entry's place in a log, and the checkpoint that it is in."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: Checkpoint

    def to_bytes(self) -> bytes:
        """The file's content."""
        lines = ["c2sp.org/tlog-proof@v1", f"index {self.index}", *(base64.b64encode(one).decode() for one in self.hashes)]
        return ("\n".join(lines) + "\n\n").encode() + self.checkpoint.to_bytes()


def parse_log_proof(data: bytes, where: str) -> LogProof:
    """Read a ``.tlog-proof`` strictly; extra data is refused because nothing authenticates it.

    Raises:
        EvidenceRejected: code ``log-malformed``.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise _refuse("log-malformed", f"more than {MAX_NOTE_BYTES} bytes", where)
    head, gap, checkpoint = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
        if not gap or len(lines) < 2 or lines[0] != "c2sp.org/tlog-proof@v1" or not lines[1].startswith("index "):
            raise ValueError("expected the format's name, the index, hashes, and a checkpoint")
        hashes = tuple(decode_base64(line) for line in lines[2:])
        if len(hashes) > 64 or any(len(one) != HASH_BYTES for one in hashes):
            raise ValueError(f"expected at most 64 hashes of {HASH_BYTES} bytes")
        index = _decimal(lines[1].removeprefix("index "))
    except ValueError as problem:
        message, hint = other_than("a log proof", data, str(problem))
        raise _refuse("log-malformed", message, where, hint) from None
    return LogProof(index, hashes, parse_checkpoint(checkpoint, where))
