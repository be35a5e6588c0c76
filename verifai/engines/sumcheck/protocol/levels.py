"""Levels: what is asked of the openings' combinations, as linear claims about one committed vector.

docs/engine/protocol.md, section "Levels". A *level* commits to a vector U over F: the combinations of the level above, each in
an aligned block, cut into rows of C entries. What is asked of the combinations is a list of linear claims about U. One random
combination of these is shown by a sumcheck, and leaves the same kind of claims about a combination of the level's rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeAlias

from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.channel import Channel
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext, P
from verifai.engines.sumcheck.protocol.hiding import X
from verifai.engines.sumcheck.protocol.suite import LEVEL_TAG
from verifai.engines.sumcheck.protocol.sumcheck import product_rounds


@dataclass(frozen=True, slots=True)
class Block:
    """Where one combination lies: ``length`` coefficients from entry ``offset`` on, which is a multiple of 2^log_size."""

    offset: int
    length: int

    @property
    def log_size(self) -> int:
        """log2 of the length, rounded up."""
        return (self.length - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Level:
    """One level.

    Attributes:
        shape: its code; ``rows`` counts rows over F_p, two for each stored row, the components one after the other.
        log_cells: v; the vector has 2^v entries of F.
        blocks: of the combinations, in the groups' order. stored: the indices of the stored rows, ascending; all others are 0.
    """

    shape: CommitmentShape
    log_cells: int
    blocks: tuple[Block, ...]
    stored: tuple[int, ...]

    @property
    def log_message(self) -> int:
        """log2 C."""
        return self.shape.message.bit_length() - 1

    @property
    def log_rows(self) -> int:
        """Variables of the row index."""
        return self.log_cells - self.log_message


def arrange(lengths: Sequence[int]) -> tuple[tuple[Block, ...], int]:
    """Blocks for combinations of these lengths, the longest first and none overlapping; and v."""
    offsets, end = dict[int, int](), 0
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        offsets[number] = end
        end += 1 << Block(0, lengths[number]).log_size
    return tuple(Block(offsets[number], length) for number, length in enumerate(lengths)), (end - 1).bit_length()


def row_ranges(blocks: Sequence[Block], log_message: int) -> list[range]:
    """The indices of rows of 2^log_message entries that hold an entry of a block, as ascending ranges that do not overlap."""
    found: list[range] = []
    for block in sorted(blocks, key=lambda block: block.offset):
        first, end = block.offset >> log_message, ((block.offset + block.length - 1) >> log_message) + 1
        if found and first < found[-1].stop:  # small blocks share a row
            found[-1] = range(found[-1].start, max(end, found[-1].stop))
        else:
            found.append(range(first, end))
    return found


def rows_in_use(blocks: Sequence[Block], log_message: int) -> tuple[int, ...]:
    """The same, row by row."""
    return tuple(chain.from_iterable(row_ranges(blocks, log_message)))


def level_root(level: Level, merkle_root: bytes) -> bytes:
    """H(tag ‖ v ‖ rows ‖ C ‖ n ‖ Merkle root)."""
    shape = level.shape
    numbers = (level.log_cells, shape.rows, shape.message, shape.length)
    return hashlib.sha256(LEVEL_TAG + b"".join(number.to_bytes(8, "little") for number in numbers) + merkle_root).digest()


def position_point(position: int, log_n: int) -> int:
    """The element ω^bitrev(position) at which a code word of length 2^log_n is evaluated there."""
    return pow(field.root_of_unity(log_n), int(f"{position:0{log_n}b}"[::-1], 2), P)


# --- linear claims about one combination u of ``length`` coefficients --------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PointClaim:
    """``scale``·Σ_j eq(point, j)·u_j = value, over the first 2^len(point) coefficients."""

    point: tuple[Ext, ...]
    value: Ext
    scale: Ext = field.ONE
    falsehood = "a combination does not have the claimed value"

    def of(self, u: Sequence[Ext]) -> Ext:
        """The left side."""
        return field.product(self.scale, field.dot(u[: 1 << len(self.point)], ax.eq_table(self.point)))

    def at(self, point: Sequence[Ext], length: int) -> Ext:
        """The extension of the weights, at a point of the block."""
        skip = len(point) - len(self.point)
        result = field.product(self.scale, ax.eq_points(self.point, point[skip:]))
        for r in point[:skip]:
            result = field.product(result, field.sub(field.ONE, r))
        return result


@dataclass(frozen=True, slots=True)
class SpanClaim:
    """Σ_j coefficients_j·u_(start + j) = value."""

    start: int
    coefficients: tuple[Ext, ...]
    value: Ext
    falsehood = "the final rounds do not end at the committed cells"

    def of(self, u: Sequence[Ext]) -> Ext:
        """The left side."""
        return field.dot(u[self.start : self.start + len(self.coefficients)], self.coefficients)

    def at(self, point: Sequence[Ext], length: int) -> Ext:
        """The extension of the weights, at a point of the block."""
        weights = (ax.eq_index(self.start + j, point) for j in range(len(self.coefficients)))
        return field.total(field.product(c, w) for c, w in zip(self.coefficients, weights, strict=True))


@dataclass(frozen=True, slots=True)
class PowerClaim:
    """Σ_j base^j·u_j = value, over all ``length`` coefficients and none above: u's code word at one position."""

    base: int
    value: Ext

    def at(self, point: Sequence[Ext], length: int) -> Ext:
        """The extension of the weights, at a point of the block: Σ_{j < length} eq(point, j)·base^j, by halves.

        Over all indices below 2^k the sum is Π (1 − r + r·base^(2^i)). The bits of ``length`` cut it into such ranges; the walk
        goes down from the highest bit, ``prefix`` being the factors of the bits above.
        """
        powers, full = [self.base], [field.ONE]
        for r in reversed(point):
            power = powers[-1]
            powers.append(power * power % P)
            full.append(field.product(full[-1], ((1 + r[0] * (power - 1)) % P, r[1] * (power - 1) % P)))
        if length == 1 << len(point):
            return full[-1]
        result, prefix = field.ZERO, field.ONE
        for bit, r in zip(range(len(point) - 1, -1, -1), point, strict=True):
            high = field.product(prefix, r)
            if length >> bit & 1:
                result = field.add(result, field.product(field.sub(prefix, high), full[bit]))
                prefix = field.scale(high, powers[bit])
            else:
                prefix = field.sub(prefix, high)
        return result


LinearClaim: TypeAlias = PointClaim | SpanClaim | PowerClaim


def weight_at(level: Level, claims: Sequence[Sequence[LinearClaim]], powers: Sequence[Ext], point: Sequence[Ext]) -> Ext:
    """W's extension at ``point``: Σ γ^j·w_j over the claims on all blocks, in the blocks' order."""
    result, start = field.ZERO, 0
    for block, asked in zip(level.blocks, claims, strict=True):
        split = level.log_cells - block.log_size
        low = point[split:]
        local = field.dot([claim.at(low, block.length) for claim in asked], powers[start : start + len(asked)])
        result = field.add(result, field.product(local, ax.eq_index(block.offset >> block.log_size, point[:split])))
        start += len(asked)
    return result


def stored_weights(level: Level, point: Sequence[Ext]) -> list[Ext]:
    """eq(z'_row, row) of the stored rows over F_p: a row's high component comes with x."""
    row = point[: level.log_rows]
    table = ax.eq_table(row)
    return [weight for index in level.stored for weight in (table[index], field.product(table[index], X))]


def level_rounds(channel: Channel, level: Level, target: Ext) -> tuple[Ext, list[Ext]]:
    """The rounds of Σ U·W = target, in clear in every suite."""
    claim, point = product_rounds(channel, "level", Claim(target), level.log_cells)
    return claim.value, point
