"""Cutting an SRS to fewer rows, and telling whether one is the cut of another. Runs in the fenced child: it takes seconds.

The cut to k has the first 2^k powers of the source, the Lagrange basis of these, and the source's g2 and τ·g2. That is what
ezkl makes inside every call that is given a larger SRS; keys are the same with either. Nothing about it is free, so the cut of
a file is one sequence of bytes, and is as good or as bad as the file that it was cut from.
"""

from __future__ import annotations

from pathlib import Path

from verifai.engines.ezkl.srs.file import G1_BYTES, G2_BYTES, HEADER, points_of, raw_points, size_of
from verifai.engines.ezkl.srs.lagrange import belongs_together, lagrange_basis


def write_cut(source: Path, logrows: int, output: Path) -> None:
    """Write the cut of ``source`` to ``logrows``, checked.

    Args:
        source: judged by :func:`verifai.engines.ezkl.srs.file.read_srs`, of more than ``logrows``.

    Raises:
        Degenerate: its points are not the powers of a τ.
        ValueError: the basis just made is not the powers' own: a fault of this machine or of ours.
    """
    powers, tail = _head_and_tail(source, logrows)
    points = points_of(powers, str(source))
    basis = lagrange_basis(points)
    if not belongs_together(points, basis):
        raise ValueError("the Lagrange basis just made does not belong to its powers")
    output.write_bytes(b"".join((logrows.to_bytes(HEADER, "little"), powers, raw_points(basis), tail)))


def is_cut(candidate: Path, source: Path) -> bool:
    """Whether ``candidate`` is the cut of ``source`` to its own size; both were judged by ``read_srs``."""
    data = candidate.read_bytes()
    logrows = int.from_bytes(data[:HEADER], "little")
    powers, tail = _head_and_tail(source, logrows)
    middle = HEADER + len(powers)
    if len(data) != size_of(logrows) or data[HEADER:middle] != powers or data[-2 * G2_BYTES :] != tail:
        return False
    basis = points_of(data[middle : -2 * G2_BYTES], str(candidate))
    return belongs_together(points_of(powers, str(source)), basis)


def _head_and_tail(source: Path, logrows: int) -> tuple[bytes, bytes]:
    """The first 2^logrows powers, raw; g2 and τ·g2, raw."""
    with source.open("rb") as stream:
        held = int.from_bytes(stream.read(HEADER), "little")
        if logrows > held:
            raise ValueError(f"a source of k = {held} cannot be cut to k = {logrows}")
        powers = stream.read(G1_BYTES << logrows)
        stream.seek(size_of(held) - 2 * G2_BYTES)
        return powers, stream.read(2 * G2_BYTES)
