"""The bytes of one sample of a data set, which its Merkle root commits to.

``docs/evaluation.md`` specifies them. They do not depend on any circuit: not on its quantisation, and not on its inputs' names.
Every part is preceded by its length, so two different samples have different bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

PREFIX = b"verifai/sample/v1\n"
INPUTS_PREFIX = b"verifai/sample-inputs/v1\n"


@dataclass(frozen=True, slots=True)
class Cell:
    """One named value of a sample.

    Attributes:
        name: of the array or column.
        kind: of its cells, as NumPy spells it without byte order, such as ``float32``; ``text`` for a text in UTF-8.
        shape: of this sample's value; empty for a single one.
        data: the cells, row-major and little-endian.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    data: bytes


def inputs_head(count: int) -> bytes:
    """What the inputs of every sample begin with, where there are ``count`` of them."""
    return INPUTS_PREFIX + _number(count)


def cell_head(name: str, kind: str, shape: Sequence[int], size: int) -> bytes:
    """What stands before the ``size`` bytes of a value: the same for each sample of an array."""
    sizes = b"".join(map(_number, shape))
    return b"".join([_sized(name.encode()), _sized(kind.encode()), _number(len(shape)), sizes, _number(size)])


def inputs_bytes(cells: Sequence[Cell]) -> bytes:
    """The inputs of a sample, in the data set's order."""
    parts = [inputs_head(len(cells))]
    for cell in cells:
        parts += [cell_head(cell.name, cell.kind, cell.shape, len(cell.data)), cell.data]
    return b"".join(parts)


def sample_bytes(inputs: bytes, label: bytes, group: bytes | None) -> bytes:
    """A whole sample: inputs ‖ label [‖ group], which is the leaf's entry (RFC 6962, section 2.1)."""
    parts = [PREFIX, _sized(inputs), _sized(label)]
    if group is not None:
        parts.append(_sized(group))
    return b"".join(parts)


def _number(value: int) -> bytes:
    return value.to_bytes(8, "little")


def _sized(data: bytes) -> bytes:
    return _number(len(data)) + data
