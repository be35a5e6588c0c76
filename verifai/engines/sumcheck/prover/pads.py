"""The pads of one zero-knowledge proof: drawn, multiplied where they form triples, and laid out as columns and as a list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.hiding import LEFT, MESSAGES, PRODUCT, RIGHT, PadPlan
from verifai.engines.sumcheck.protocol.layout import Key
from verifai.engines.sumcheck.prover.arrays import vector
from verifai.engines.sumcheck.prover.coins import Coins
from verifai.engines.sumcheck.prover.commitment import extension_values
from verifai.engines.sumcheck.prover.kernels import U64


@dataclass(frozen=True, slots=True)
class DrawnPads:
    """All pads.

    Attributes:
        columns: by column of pads, (2, 2^k): low components, then high ones.
        values: one element per pad, in the order of :meth:`..protocol.hiding.Pads.index`.
    """

    columns: dict[int, U64]
    values: list[Ext]

    def committed(self) -> dict[Key, U64]:
        """As columns of the witness commitment."""
        return {("pad", column, 0): cells.reshape(-1) for column, cells in self.columns.items()}


def draw_pads(plan: PadPlan, coins: Coins) -> DrawnPads:
    """Uniform pads; the third of each triple is the product of the first two."""
    columns = {}
    for column, purpose in ((MESSAGES, "messages"), (LEFT, "left"), (RIGHT, "right")):
        size = 1 << plan.log_size(column)
        columns[column] = np.ascontiguousarray(coins.field(f"pads.{purpose}", 2 * size).reshape(2, size))
    lists = {column: extension_values(cells) for column, cells in columns.items()}
    lists[PRODUCT] = [field.product(a, b) for a, b in zip(lists[LEFT], lists[RIGHT], strict=True)]
    columns[PRODUCT] = vector(lists[PRODUCT])
    return DrawnPads(columns, [value for column in (MESSAGES, LEFT, RIGHT, PRODUCT) for value in lists[column]])
