"""Hidden float32 numbers: two limbs each in the circuit's input, which hold every cell to its table, and their sum inside.

A hidden cell is looked up in a table of its range, of at most 2^16 rows, and the place of a float32 number in their order has
32 bits. So the input has an axis more, of (high, low); the place is high · 2^16 + low, a virtual tensor that nothing stores,
and what follows is as for public ones. See :mod:`verifai.domain.ordered_floats`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifai.domain.ordered_floats import LARGEST, LIMB_BITS, LIMBS
from verifai.engines.sumcheck.circuit.check import MAX_ITEM_RANK
from verifai.engines.sumcheck.circuit.ops import LinearCombination
from verifai.engines.sumcheck.lowering.builder import Builder
from verifai.engines.sumcheck.lowering.values import Floats, Held
from verifai.engines.sumcheck.lowering.views import materialise
from verifai.engines.sumcheck.quantise.scales import ORDERED
from verifai.errors import UnsupportedModel

_HALF = 1 << (LIMB_BITS - 1)
LEAST, GREATEST = -(_HALF << LIMB_BITS) - _HALF, ((_HALF - 1) << LIMB_BITS) + _HALF - 1
"""What two limbs can make: a little more than the finite numbers have."""


def limbed_input(builder: Builder, name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """The circuit input of limbs, and the tensor of places that it makes, of the shape given ((1,) for a single number).

    Raises:
        UnsupportedModel: ``operator-unsupported``, where the input has as many axes as a tensor may have.
    """
    shape = shape or (1,)
    if len(shape) == MAX_ITEM_RANK:
        message = f"a hidden input that is compared has more than {MAX_ITEM_RANK - 1} axes"
        raise UnsupportedModel("operator-unsupported", message, where=name, hint="Reshape it, or make it public.")
    number = builder.input(name, (*shape, LIMBS), replace(ORDERED, low=-_HALF, high=_HALF - 1, ordered=False))
    places = np.arange(int(np.prod(shape)) * LIMBS, dtype=np.int64).reshape(*shape, LIMBS)
    high, low = (
        materialise(builder, Held(number, places[..., at], ORDERED.step), f"{name}.{label}")
        for at, label in enumerate(("high", "low"))
    )
    return number, builder.emit(LinearCombination((high, low), (1 << LIMB_BITS, 1), 0, builder.next), f"{name}.places")[0]


def beyond_all(edges: Floats) -> Floats:
    """Edges above the largest finite number, and below the least, moved beyond whatever limbs can make.

    So limbs that make no finite number decide every comparison as the largest, or the least: no proof says what no finite row
    would give.
    """
    return np.where(edges > LARGEST, GREATEST + 0.5, np.where(edges < -LARGEST, LEAST - 0.5, edges))
