"""Roots of private weights in a payload: ``registration.bin``, and ``link.bin`` where an epoch root stands for the pinned one.

``registration.bin``: the magic ``verifai/weights-registration/1``, the number of the pinned root's opening, u64, the proof
(:mod:`..protocol.relations`). ``link.bin``: the magic ``verifai/weights-link/1``, the epoch root, 32 bytes, the numbers of the
pinned and of the epoch root's opening, u64 each, the proof. Integers little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from verifai.domain.digest import Sha256, sha256
from verifai.engines.sumcheck.protocol.relations import Kind, OpenedRoot
from verifai.engines.sumcheck.verifier.relations import verify_relation
from verifai.engines.sumcheck.verifier.verify import TrustedCircuit
from verifai.errors import EvidenceRejected

REGISTRATION_FILE, LINK_FILE = "registration.bin", "link.bin"
MAX_RELATION = 1 << 26
_REGISTRATION, _LINK = b"verifai/weights-registration/1", b"verifai/weights-link/1"
_ROOT = 32


@dataclass(frozen=True, slots=True)
class SpentOpening:
    """One opening of a root by a registration or link; ``proof_sha256``: of its file."""

    kind: Kind
    root: Sha256
    number: int
    proof_sha256: Sha256


@dataclass(frozen=True, slots=True)
class WeightRoots:
    """What a payload shows about its weights' root.

    Attributes:
        root: the root that the inference opened, in hex. linked: whether that is an epoch root, proven equal to the pinned one.
        spent: the openings that registration and link took, which the inference may not take again.
    """

    root: Sha256
    linked: bool
    spent: tuple[SpentOpening, ...]


def encode_registration(number: int, proof: bytes) -> bytes:
    """The file's bytes."""
    return _REGISTRATION + struct.pack("<Q", number) + proof


def encode_link(epoch: bytes, number: int, epoch_number: int, proof: bytes) -> bytes:
    """The file's bytes."""
    return _LINK + epoch + struct.pack("<QQ", number, epoch_number) + proof


def check_roots(trusted: TrustedCircuit, pinned: Sha256, files: Mapping[str, bytes]) -> WeightRoots:
    """Check registration and, where there is one, link. The same bytes are checked once in a process.

    Raises:
        EvidenceRejected: ``proof-malformed``, ``proof-invalid``, ``statement-invalid``, ``circuit-invalid``.
    """
    shown = files[REGISTRATION_FILE]
    spent = [_spent(Kind.REGISTRATION, _registered(_Plan(trusted), pinned, shown), shown)]
    linked = files.get(LINK_FILE)
    if linked is None:
        return WeightRoots(pinned, False, tuple(spent))
    roots = _linked(_Plan(trusted), pinned, linked)
    spent += [_spent(Kind.LINK, one, linked) for one in roots]
    if len({(one.root, one.number) for one in spent}) != len(spent):
        raise EvidenceRejected("statement-invalid", "registration and link take one opening", where=LINK_FILE)
    return WeightRoots(Sha256(roots[1].root.hex()), True, tuple(spent))


def _spent(kind: Kind, opened: OpenedRoot, data: bytes) -> SpentOpening:
    return SpentOpening(kind, Sha256(opened.root.hex()), opened.number, sha256(data))


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """A trusted circuit by its digest, so that it can be part of a cache's key."""

    trusted: TrustedCircuit

    def __hash__(self) -> int:
        return hash(self.trusted.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Plan) and other.trusted.digest == self.trusted.digest


@lru_cache(maxsize=8)
def _registered(plan: _Plan, pinned: Sha256, data: bytes) -> OpenedRoot:
    fixed = len(_REGISTRATION) + 8
    if data[: len(_REGISTRATION)] != _REGISTRATION or len(data) < fixed:
        raise EvidenceRejected("proof-malformed", "not a registration of weights", where=REGISTRATION_FILE)
    (number,) = struct.unpack_from("<Q", data, len(_REGISTRATION))
    opened = OpenedRoot(bytes.fromhex(pinned), number)
    _verify(Kind.REGISTRATION, plan, (opened,), data[fixed:], REGISTRATION_FILE)
    return opened


@lru_cache(maxsize=8)
def _linked(plan: _Plan, pinned: Sha256, data: bytes) -> tuple[OpenedRoot, OpenedRoot]:
    fixed = len(_LINK) + _ROOT + 16
    if data[: len(_LINK)] != _LINK or len(data) < fixed:
        raise EvidenceRejected("proof-malformed", "not a link of two roots", where=LINK_FILE)
    epoch = data[len(_LINK) : len(_LINK) + _ROOT]
    number, epoch_number = struct.unpack_from("<QQ", data, len(_LINK) + _ROOT)
    opened = (OpenedRoot(bytes.fromhex(pinned), number), OpenedRoot(epoch, epoch_number))
    _verify(Kind.LINK, plan, opened, data[fixed:], LINK_FILE)
    return opened


def _verify(kind: Kind, plan: _Plan, roots: tuple[OpenedRoot, ...], proof: bytes, where: str) -> None:
    try:
        verify_relation(kind, plan.trusted.circuit, plan.trusted.digest, roots, proof, allowance=plan.trusted.allowance)
    except EvidenceRejected as problem:
        raise EvidenceRejected(problem.code, problem.message, where=f"{where}: {problem.where}") from None
