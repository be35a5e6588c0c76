"""Which codes an opening uses: the rows' length of commitments, and the levels that take the place of their combinations.

Every candidate has a *price*: bytes of the proof, and the prover's work at :data:`WORK_PER_BYTE`. The least price is taken. A
function of sizes alone, in integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from verifai.engines.sumcheck.circuit.program import CommitmentShape
from verifai.engines.sumcheck.protocol import soundness
from verifai.engines.sumcheck.protocol.layout import MIN_LOG_MESSAGE
from verifai.engines.sumcheck.protocol.levels import Level, arrange, row_ranges, rows_in_use
from verifai.engines.sumcheck.protocol.proof import opening_bytes, salt_bytes
from verifai.engines.sumcheck.protocol.suite import SECURITY_BITS

ELEMENT_BYTES = 16
"""Of a message of one element of F."""
WORK_PER_BYTE = 192
"""Words of a code word, encoded, that are worth one byte of the proof. A thread makes about 100 million of them a second: 5 kB
are worth 10 ms."""
_HASH_BLOCK_WORK = 4
"""A block of SHA-256, in words encoded."""
_SALT_WORK = 8
"""A salt, in words encoded."""
_CELL_WORK = 2
"""A cell of the final rounds, in words encoded."""
_LOG_RATES = (2, 3, 4)
"""Of levels. Lower rates save few positions."""


def shape_price(shape: CommitmentShape) -> int:
    """Price of making and opening one commitment, without its combination."""
    salt = salt_bytes(shape)
    leaf = 8 * (1 + shape.rows) + salt
    blocks = -(-(leaf + 9) // 64) + 2  # of a leaf, and of the node that it brings
    work = shape.length * (shape.rows + _HASH_BLOCK_WORK * blocks + (_SALT_WORK if salt else 0))
    return WORK_PER_BYTE * opening_bytes(shape) + work


def cells_price(log_cells: int) -> int:
    """Price of the final rounds over 2^log_cells cells."""
    return _CELL_WORK << log_cells


def combination_price(length: int) -> int:
    """Price of a combination of ``length`` coefficients, sent or proven, by itself."""
    return _cheapest((length,))[0]


def plan_levels(lengths: Sequence[int]) -> tuple[Level, ...]:
    """The levels that prove combinations of these lengths at the least price; none where it is to send them."""
    levels: list[Level] = []
    for log_message, log_rate in _cheapest(tuple(lengths))[1]:
        levels.append(_level(f"level:{len(levels) + 1}", lengths, log_message, log_rate))
        lengths = [1 << log_message]
    return tuple(levels)


def level_steps(levels: Sequence[Level], claims: int) -> list[tuple[str, int, int]]:
    """(label, numerator, denominator) of every step of the levels. ``claims``: what is asked of the first one's vector."""
    field, steps = soundness.FIELD_SIZE, list[tuple[str, int, int]]()
    for number, level in enumerate(levels, 1):
        shape = level.shape
        steps += [
            (f"claims of level {number}", claims, field),
            (f"rounds of level {number}", soundness.FINAL_ROUND_DEGREE, field),
            (f"proximity of level {number}", max(1, level.log_rows) * shape.length, field),
            (f"queries of level {number}", *soundness.query_error(shape.degree, shape.length, shape.queries)),
        ]
        claims = 1 + shape.queries
    return steps


@lru_cache(maxsize=1024)
def _cheapest(lengths: tuple[int, ...]) -> tuple[int, tuple[tuple[int, int], ...]]:
    """(price, (log2 C, log2 1/rate) per level)."""
    best: tuple[int, tuple[tuple[int, int], ...]] = (WORK_PER_BYTE * ELEMENT_BYTES * sum(lengths), ())
    for log_message in range(MIN_LOG_MESSAGE, arrange(lengths)[1]):
        below, rest = _cheapest((1 << log_message,))
        if below >= best[0]:
            break  # longer rows cost more below, whatever they cost here
        for log_rate in _LOG_RATES:
            try:
                shape, log_cells = _code("", lengths, log_message, log_rate)
            except ValueError:
                continue
            price = below + shape_price(shape) + cells_price(log_cells)
            price += WORK_PER_BYTE * ELEMENT_BYTES * 2 * log_cells
            if price < best[0]:
                best = price, ((log_message, log_rate), *rest)
    return best


def _level(label: str, lengths: Sequence[int], log_message: int, log_rate: int) -> Level:
    """One level. Raises ValueError when its code is too weak."""
    shape, log_cells = _code(label, lengths, log_message, log_rate)
    blocks, _ = arrange(lengths)
    return Level(shape, log_cells, blocks, rows_in_use(blocks, log_message))


def _code(label: str, lengths: Sequence[int], log_message: int, log_rate: int) -> tuple[CommitmentShape, int]:
    """A level's code, and v: all that its price depends on. Raises ValueError when it is too weak."""
    blocks, log_cells = arrange(lengths)
    rows, size = sum(map(len, row_ranges(blocks, log_message))), 1 << log_message
    queries = soundness.queries_needed(size, size << log_rate)
    shape = CommitmentShape(label, 2 * rows, size, size, size << log_rate, queries, 0)
    if not strong(max(1, log_cells - log_message) * shape.length):
        raise ValueError("too many positions for the field")
    return shape, log_cells


def strong(numerator: int) -> bool:
    """Whether a step of ``numerator``/|F′| has the bits that every step needs."""
    return numerator << SECURITY_BITS <= soundness.FIELD_SIZE
