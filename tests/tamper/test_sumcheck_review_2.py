"""Cheating provers from the review of the second suite: stored padding, and what pieces and levels leave to the prover.

Every cheat has an honest twin, which the harness proves and verifies first.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.sumcheck_cheats import Cheat
from tests.support.sumcheck_examples import Sketch, Table
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.protocol.storage import stored


def _grid(cheat, tensor):
    return cheat.witness.tensors[tensor].reshape(cheat.circuit.tensors[tensor].padded)


def _follow_requant(cheat, number):
    """Quotient, remainder and result of operation ``number``, which does not saturate, from z as it stands."""
    op, padded = cheat.circuit.ops[number], cheat.witness
    table = cheat.circuit.tables[op.table]
    rounded = padded.tensors[op.z] + ((1 << op.shift) >> 1)
    rest, offset = rounded & ((1 << op.shift) - 1), 0
    for i, bits in enumerate(op.limbs):
        padded.extra[number, i][:] = rest >> offset & ((1 << bits) - 1)
        offset += bits
    padded.tensors[op.out][:] = np.array(table.values)[(rounded >> op.shift) - table.low]
    padded.counts = None


# --- maxima whose box has more rows than their operand's ---


def _maxima(rows):
    """Rows of four cells are stored in pieces, 38 for 37; their maxima are stored whole, all 64."""
    sketch = Sketch(31)
    x, y = sketch.input((1, rows, 4), -15, 0), sketch.input((rows, 1, 4), 0, 15)
    sketch.tables.append(Table("none", 0, (0,) * 16))
    maxima = [sketch.add(ops.RowMax, one, exp=ops.NONE, table=0, saturate=False) for one in (x, y)]
    z = sketch.add(ops.BatchedMatMul, *maxima, multiplier=1)
    sketch.add(ops.LinearCombination, (z,), (1,), 0)
    out = sketch.requant(z + 1, relu=False, low=-500, high=500)
    return Cheat(sketch.finish(out), sketch.cells), maxima, z, out


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("place", [37, 38, 40, 63])
def test_padding_of_maxima_that_no_stored_row_of_the_operand_belongs_to(place):
    """Two such cells meet in a product over padded rows and change a true cell; all that follows is consistent."""
    cheat, maxima, z, out = _maxima(37)
    assert stored((1, 37, 4)).box == (1, 38, 4) and stored((1, 37)).box == (1, 64)
    before = int(cheat.witness.tensors[out].reshape(-1)[0])
    _grid(cheat, maxima[0])[0, place] = 15
    _grid(cheat, maxima[1])[place, 0] = 9
    for tensor in (z, z + 1):
        cheat.witness.tensors[tensor].reshape(-1)[0] += 15 * 9
    _follow_requant(cheat, len(cheat.circuit.ops) - 1)
    assert int(cheat.witness.tensors[out].reshape(-1)[0]) != before
    cheat.refused()


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("shape", [(37, 4), (4, 37), (2, 37, 3), (37, 37)])
def test_maxima_of_many_shapes_have_no_free_padding(shape):
    """Each stored cell of padding, wherever operand and maxima differ in their boxes."""
    sketch = Sketch(33)
    x = sketch.requant(sketch.matmul(sketch.input((*shape[:-1], 3)), shape[-1]), relu=False)
    sketch.tables.append(Table("none", 0, (0,) * 512))
    held = sketch.add(ops.RowMax, x, exp=ops.NONE, table=len(sketch.tables) - 1, saturate=False)
    circuit, tried = sketch.finish(sketch.requant(sketch.matmul(held, 2), relu=False)), 0
    described = circuit.tensors[held]
    padding = np.ones(stored(described.shape).box, dtype=bool)
    padding[tuple(slice(0, size) for size in described.shape)] = False
    places = np.argwhere(padding)
    for place in [*places[:1], *places[-1:]]:
        cheat = Cheat(circuit, sketch.cells)
        _grid(cheat, held)[tuple(place)] = 9
        cheat.refused()
        tried += 1
    assert tried or not padding.any()
