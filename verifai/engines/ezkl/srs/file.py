"""Structured reference strings (SRS): reading, judging and cutting them.

Format (halo2 ``ParamsKZG``, raw form, as ezkl writes it): logrows as u32; 2^k points g·τ^i; 2^k points of the Lagrange basis;
g2; τ·g2. A G1 point is x, y; a G2 point is x.c0, x.c1, y.c0, y.c1; a coordinate is 32 bytes in Montgomery form, little-endian.

ezkl reads all of it unchecked: with a file of zero bytes, or with the last 256 bytes zeroed, it accepts any proof. Whoever
knows τ can forge, so every SRS whose τ·g2 is not the ceremony's is test material, whatever it is called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from verifai.domain.digest import Sha256, sha256
from verifai.domain.foreign import recognise
from verifai.engines.ezkl.srs import ceremony
from verifai.engines.ezkl.srs.bn254 import (
    G1,
    G1_GENERATOR,
    G2,
    G2_GENERATOR,
    ORDER,
    PRIME,
    g1_add,
    g1_multiply,
    g1_negate,
    in_g2,
    on_g1,
)
from verifai.errors import EvidenceRejected, UsageError

HEADER = 4
G1_BYTES = 64
G2_BYTES = 128
VERIFIER_BYTES = HEADER + 4 * G1_BYTES + 2 * G2_BYTES
"""Size of the SRS for k = 1; it holds all that verification needs."""
_R = pow(2, 256, PRIME)
_R_INVERSE = pow(_R, -1, PRIME)
_THREE_R3 = 3 * _R * _R * _R % PRIME
_CHUNK_POINTS = 16384


class SrsTrust(StrEnum):
    """Where an SRS comes from, decided by its points."""

    CEREMONY = "ceremony"
    TEST = "INSECURE-TEST"


@dataclass(frozen=True, slots=True)
class Srs:
    """A file that was read and judged.

    Attributes:
        sha256: of the whole file.
        verifier: the SRS cut to k = 1.
    """

    path: Path
    logrows: int
    sha256: Sha256
    trust: SrsTrust
    verifier: bytes


def size_of(logrows: int) -> int:
    """Bytes of an SRS file."""
    return HEADER + 2 * (G1_BYTES << logrows) + 2 * G2_BYTES


def read_srs(path: Path) -> Srs:
    """Read and judge an SRS file.

    Ceremony files are accepted by their digest; test files only when every point is on the curve. Memory stays small.

    Raises:
        UsageError: code ``file-missing``.
        EvidenceRejected: code ``srs-malformed``; or ``srs-not-ceremony``, when the ceremony's points come with other contents.
    """
    where = str(path)
    try:
        if not path.is_file():
            raise UsageError("file-missing", "no such SRS file", where=where, hint="See what there is: `verifai srs list`")
        with path.open("rb") as stream:
            logrows = _read_logrows(stream, path.stat().st_size, where)
            digest = _digest(stream)
            if digest != ceremony.SHA256[logrows]:
                _check_points(stream, logrows, where)
            verifier = _cut(stream, logrows, where)
            trust = judge_verifier_srs(verifier, where)
    except OSError as problem:
        raise UsageError("file-missing", f"cannot read: {problem.strerror}", where=where) from None
    by_digest = ceremony.SHA256.get(logrows) == digest
    if by_digest != (trust is SrsTrust.CEREMONY):
        raise EvidenceRejected(
            "srs-not-ceremony",
            "the file has the ceremony's digest or its points, but not both",
            where=where,
            hint="Fetch it again: `verifai srs fetch -k SIZE`",
        )
    if by_digest and sha256(verifier) != ceremony.SHA256[1]:
        raise EvidenceRejected("srs-not-ceremony", "cut to k = 1 it is not the ceremony's smallest file", where=where)
    return Srs(path, logrows, digest, trust, verifier)


def judge_verifier_srs(data: bytes, where: str) -> SrsTrust:
    """Check an SRS for k = 1 and say whose it is. Verification rests on g, g2 and τ·g2 alone.

    Raises:
        EvidenceRejected: code ``srs-malformed``.
    """
    if len(data) != VERIFIER_BYTES or data[:HEADER] != (1).to_bytes(4, "little"):
        raise _malformed(f"a verifier's SRS is {VERIFIER_BYTES} bytes for k = 1", where)
    generator, tau, *basis = (_g1(data, HEADER + index * G1_BYTES, where) for index in range(4))
    if generator != G1_GENERATOR:
        raise _malformed("its first point is not the generator of G1", where)
    # The Lagrange basis of {1, −1} is (g ± τ·g)/2.
    if [g1_add(point, point) for point in basis] != [g1_add(generator, term) for term in (tau, g1_negate(tau))]:
        raise _malformed("its points do not belong together", where)
    g2 = _g2(data, HEADER + 4 * G1_BYTES, where)
    s_g2 = _g2(data, HEADER + 4 * G1_BYTES + G2_BYTES, where)
    if g2 != G2_GENERATOR:
        raise _malformed("its g2 is not the generator of G2", where)
    if s_g2 == g2 or not in_g2(s_g2):
        raise _malformed("its τ·g2 is not a proper point of G2", where)
    return SrsTrust.CEREMONY if s_g2 == ceremony.S_G2 else SrsTrust.TEST


def cut(path: Path) -> bytes:
    """The SRS cut to k = 1, from a file that is judged on the way. Raises what :func:`read_srs` raises."""
    return read_srs(path).verifier


def points_of(data: bytes, where: str) -> list[G1]:
    """Points of G1 in raw form. Raises EvidenceRejected (``srs-malformed``)."""
    return [_g1(data, offset, where) for offset in range(0, len(data), G1_BYTES)]


def raw_points(points: Iterable[G1]) -> bytes:
    """Points of G1 in raw form."""
    return b"".join(_raw(coordinate) for point in points for coordinate in point)


def _read_logrows(stream: BinaryIO, size: int, where: str) -> int:
    head = stream.read(4096)
    stream.seek(HEADER)
    logrows = int.from_bytes(head[:HEADER], "little")
    if not 1 <= logrows <= ceremony.MAX_LOGROWS:
        found = recognise(head)
        if found is not None:
            raise EvidenceRejected("srs-malformed", f"not an SRS but {found.what}", where=where, hint=found.advice)
        raise _malformed(f"it says k = {logrows}, expected 1 to {ceremony.MAX_LOGROWS}", where)
    if size != size_of(logrows):
        raise _malformed(f"{size} bytes, an SRS of k = {logrows} has {size_of(logrows)}", where)
    return logrows


def _digest(stream: BinaryIO) -> Sha256:
    stream.seek(0)
    state = hashlib.sha256()
    while block := stream.read(1 << 20):
        state.update(block)
    return Sha256(state.hexdigest())


def _cut(stream: BinaryIO, logrows: int, where: str) -> bytes:
    stream.seek(HEADER)
    monomial = stream.read(2 * G1_BYTES)
    if _g1(monomial, 0, where) != G1_GENERATOR:
        raise _malformed("its first point is not the generator of G1", where)
    stream.seek(size_of(logrows) - 2 * G2_BYTES)
    tail = stream.read(2 * G2_BYTES)
    return (1).to_bytes(4, "little") + _k1_points(_g1(monomial, G1_BYTES, where)) + tail


def _k1_points(tau: G1) -> bytes:
    """g, τ·g and the Lagrange basis of {1, −1}: (g + τ·g)/2 and (g − τ·g)/2."""
    half = pow(2, -1, ORDER)
    basis = []
    for term in (tau, g1_negate(tau)):
        total = g1_add(G1_GENERATOR, term)
        point = None if total is None else g1_multiply(total, half)
        basis.append((0, 0) if point is None else point)
    return raw_points((G1_GENERATOR, tau, *basis))


def _check_points(stream: BinaryIO, logrows: int, where: str) -> None:
    stream.seek(HEADER)
    for chunk in _chunks(stream, 2 * 2**logrows):
        for offset in range(0, len(chunk), G1_BYTES):
            x = int.from_bytes(chunk[offset : offset + 32], "little")
            y = int.from_bytes(chunk[offset + 32 : offset + 64], "little")
            # With X = xR and Y = yR, y² = x³ + 3 reads Y²R = X³ + 3R³.
            if x >= PRIME or y >= PRIME or (y * y * _R - x * x * x - _THREE_R3) % PRIME:
                raise _malformed("one of its points is not on the curve", where)


def _chunks(stream: BinaryIO, points: int) -> Iterator[bytes]:
    while points:
        count = min(points, _CHUNK_POINTS)
        yield stream.read(count * G1_BYTES)
        points -= count


def _g1(data: bytes, offset: int, where: str) -> G1:
    point = (_coordinate(data, offset, where), _coordinate(data, offset + 32, where))
    if not on_g1(point):
        raise _malformed("a point of G1 is not on the curve", where)
    return point


def _g2(data: bytes, offset: int, where: str) -> G2:
    a, b, c, d = (_coordinate(data, offset + 32 * index, where) for index in range(4))
    return ((a, b), (c, d))


def _coordinate(data: bytes, offset: int, where: str) -> int:
    raw = int.from_bytes(data[offset : offset + 32], "little")
    if raw >= PRIME:
        raise _malformed("a coordinate is not reduced", where)
    return raw * _R_INVERSE % PRIME


def _raw(coordinate: int) -> bytes:
    return (coordinate * _R % PRIME).to_bytes(32, "little")


def _malformed(message: str, where: str) -> EvidenceRejected:
    return EvidenceRejected(
        "srs-malformed", f"not a usable SRS: {message}", where=where, hint="Fetch it again: `verifai srs fetch -k SIZE`"
    )
