"""Votes as attestations: the commitment before the seed is known, the reveal after it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from verifai.domain.attestation.predicate_types import VOTE_COMMITMENT_TYPE, VOTE_TYPE
from verifai.domain.consensus.job import MAX_SAMPLES, canonical
from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record
from verifai.domain.trust_keys import decode_base64

_HEX64 = r"[0-9a-f]{64}"
MAX_FINGERPRINT_BYTES = 64 * 1024
MAX_OPENING_BYTES = 4 * 1024 * 1024
_ENVIRONMENT_FIELDS = ("machine", "instruction_set", "runtime", "system")


def commitment_value(outputs_root: str, salt: str, voter: str) -> Sha256:
    """H(output root ‖ salt ‖ voter), with a domain separator. The voter inside keeps a copied commitment from opening."""
    body = b"verifai/vote-commitment/v1\x00" + bytes.fromhex(outputs_root) + bytes.fromhex(salt) + bytes.fromhex(voter)
    return Sha256(hashlib.sha256(body).hexdigest())


@dataclass(frozen=True, slots=True)
class Environment:
    """Where a verifier ran, as it states itself; unverified.

    Attributes:
        machine: architecture, such as ``x86_64``.
        instruction_set: widest vector extension that the runtime may use, such as ``avx512-vnni`` or ``avx2``.
        runtime: name and version, such as ``onnxruntime 1.23.0``.
        system: operating system.
        threads: intra-operator threads.
    """

    machine: str
    instruction_set: str
    runtime: str
    system: str
    threads: int

    @property
    def id(self) -> Sha256:
        """Digest of what can change output bits; threads are left out, so more threads are no further environment."""
        return sha256(canonical({name: getattr(self, name) for name in _ENVIRONMENT_FIELDS}))

    def differences(self, other: Environment) -> tuple[str, ...]:
        """The fields that differ, as ``field: mine / theirs``."""
        fields = (*_ENVIRONMENT_FIELDS, "threads")
        return tuple(
            f"{name}: {getattr(self, name)} / {getattr(other, name)}"
            for name in fields
            if getattr(self, name) != getattr(other, name)
        )

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {**{name: getattr(self, name) for name in _ENVIRONMENT_FIELDS}, "threads": self.threads}

    @classmethod
    def from_record(cls, record: Record) -> Environment:
        """The inverse of :meth:`to_json`, strict."""
        machine, instruction_set, runtime, system = (record.text(name, max_length=128) for name in _ENVIRONMENT_FIELDS)
        environment = cls(machine, instruction_set, runtime, system, record.integer("threads", low=1, high=65536))
        record.done()
        return environment


@dataclass(frozen=True, slots=True)
class VoteCommitment:
    """``urn:verifai:vote-commitment:v1``: a verifier has its outputs, and shows nothing of them yet.

    Attributes:
        round: identifier of the round's terms.
        voter: key identifier of the verifier; the signature must be by this key.
        commitment: :func:`commitment_value`.
    """

    TYPE: ClassVar[str] = VOTE_COMMITMENT_TYPE

    round: Sha256
    voter: str
    commitment: Sha256
    environment: Environment

    def parents(self) -> tuple[Sha256, ...]:
        """The round's terms."""
        return (self.round,)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "round": self.round,
            "voter": self.voter,
            "commitment": self.commitment,
            "environment": self.environment.to_json(),
        }

    @classmethod
    def from_record(cls, record: Record) -> VoteCommitment:
        """The inverse of :meth:`to_json`, strict."""
        predicate = cls(
            record.sha256("round"),
            record.text("voter", pattern=_HEX64),
            record.sha256("commitment"),
            Environment.from_record(record.table("environment")),
        )
        record.done()
        return predicate


@dataclass(frozen=True, slots=True)
class Opening:
    """One output shown in full, because the seed picked it.

    Attributes:
        index: the sample.
        output: the encoded output.
        path: Merkle path of its leaf, from the leaf upwards.
    """

    index: int
    output: bytes
    path: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"index": self.index, "output": base64.b64encode(self.output).decode(), "path": list(self.path)}

    @classmethod
    def from_record(cls, record: Record) -> Opening:
        """The inverse of :meth:`to_json`, strict."""
        text = record.text("output", max_length=MAX_OPENING_BYTES * 4 // 3 + 4)
        try:
            output = decode_base64(text)
        except ValueError as problem:
            raise record.refuse(str(problem), "output") from None
        opening = cls(
            record.integer("index", low=0, high=MAX_SAMPLES - 1),
            output,
            record.array("path", lambda value, place: _sha(record, value, place), max_length=32),
        )
        record.done()
        return opening


@dataclass(frozen=True, slots=True)
class Vote:
    """``urn:verifai:vote:v1``: the reveal.

    Attributes:
        commitment: identifier of this voter's commitment attestation.
        commitments: digest of all commitments that the seed rests on.
        seed: as the voter computed it; a tally computes it again.
        salt: 32 random bytes, hex.
        outputs_root: Merkle root over the encoded outputs.
        fingerprints: one per sample, in order.
        openings: the outputs that the seed picked, in ascending order.
    """

    TYPE: ClassVar[str] = VOTE_TYPE

    round: Sha256
    voter: str
    commitment: Sha256
    commitments: Sha256
    seed: Sha256
    salt: str
    outputs_root: Sha256
    fingerprints: tuple[bytes, ...]
    openings: tuple[Opening, ...]

    def parents(self) -> tuple[Sha256, ...]:
        """The commitment."""
        return (self.commitment,)

    def to_json(self) -> Mapping[str, Any]:
        """Integers and strings only."""
        return {
            "round": self.round,
            "voter": self.voter,
            "commitment": self.commitment,
            "commitments": self.commitments,
            "seed": self.seed,
            "salt": self.salt,
            "outputs_root": self.outputs_root,
            "fingerprints": [one.hex() for one in self.fingerprints],
            "openings": [one.to_json() for one in self.openings],
        }

    @classmethod
    def from_record(cls, record: Record) -> Vote:
        """The inverse of :meth:`to_json`, strict."""
        predicate = cls(
            round=record.sha256("round"),
            voter=record.text("voter", pattern=_HEX64),
            commitment=record.sha256("commitment"),
            commitments=record.sha256("commitments"),
            seed=record.sha256("seed"),
            salt=record.text("salt", pattern=_HEX64),
            outputs_root=record.sha256("outputs_root"),
            fingerprints=record.array("fingerprints", lambda value, place: _hex(record, value, place), max_length=MAX_SAMPLES),
            openings=tuple(Opening.from_record(item) for item in record.tables("openings", max_length=1024)),
        )
        record.done()
        return predicate


def _sha(record: Record, value: Any, place: str) -> str:
    if not isinstance(value, str) or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise record.refuse(f"expected 64 lower-case hex digits at {place}")
    return value


def _hex(record: Record, value: Any, place: str) -> bytes:
    good = isinstance(value, str) and 0 < len(value) <= 2 * MAX_FINGERPRINT_BYTES and len(value) % 2 == 0
    if not good or not set(value) <= set("0123456789abcdef"):
        raise record.refuse(f"expected a fingerprint in lower-case hex at {place}")
    return bytes.fromhex(value)
