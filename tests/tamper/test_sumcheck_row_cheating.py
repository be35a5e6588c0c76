"""Cheating with operations along rows: softmax's maximum and reciprocal, integer roots, arg-max. Every result is unique."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.sumcheck_cheats import Cheat as Prover
from tests.support.sumcheck_examples import Sketch, Table
from verifai.engines.sumcheck.circuit import ops

pytestmark = pytest.mark.usefixtures("suite")


def Cheat(sketch, *outputs, inputs=None):
    """The provers of the harness, for a sketch that is finished here."""
    return Prover(sketch.finish(*outputs), sketch.cells, inputs)


def _softmax(width=6):
    """x (2, 3, hidden) → maxima and exponentials; sums and reciprocals feed a dense layer. Operation 2 is the RowMax."""
    sketch = Sketch(30)
    x = sketch.requant(sketch.matmul(sketch.input((2, 4)), 3), relu=False, low=-20, high=20, offset=1)
    values = tuple(max(1, 900 - 14 * i) for i in range((1 << width) - 1))
    sketch.tables.append(Table("exp", 0, (*values, 0)))
    maxima = sketch.add(ops.RowMax, x, table=len(sketch.tables) - 1, saturate=(1 << width) - 1 < 40, outs=("out", "exp"))
    total = sketch.add(ops.RowSum, maxima + 1, ops.NONE, multiplier=1, axes=1)
    out = sketch.requant(total, relu=False)
    return Cheat(sketch, out), x, maxima


def _recompute_exponentials(cheat, maxima):
    """E, flags and sums as they follow from the changed maxima: everything but the maxima is consistent."""
    op = cheat.circuit.ops[2]
    table = cheat.circuit.tables[op.table]
    d = cheat.witness.difference(op)
    index = np.clip(d, 0, table.high)
    cheat.witness.tensors[maxima + 1][:] = np.array(table.values)[index]
    cheat.witness.extra[2, 0][:] = index == 0
    for number, column in ((1, d >> table.width), (2, d >> table.width == 0), (3, (d >> table.width != 0) * table.high)):
        if (2, number) in cheat.witness.extra:
            cheat.witness.extra[2, number][:] = column
    exponentials = cheat.witness.tensors[maxima + 1].reshape(2, 4)[:, :3]
    total = cheat.circuit.ops[3].out
    cheat.witness.tensors[total][:] = exponentials.sum(axis=1)
    requant = cheat.circuit.ops[4]
    rounded = cheat.witness.tensors[total] + ((1 << requant.shift) >> 1)
    rest, offset = rounded & ((1 << requant.shift) - 1), 0
    for i, bits in enumerate(requant.limbs):
        cheat.witness.extra[4, i][:] = rest >> offset & ((1 << bits) - 1)
        offset += bits
    out_table = cheat.circuit.tables[requant.table]
    quotient = np.clip(rounded >> requant.shift, out_table.low, out_table.high)
    cheat.witness.tensors[requant.out][:] = np.array(out_table.values)[quotient - out_table.low]


@pytest.mark.parametrize("width", [3, 6])
def test_the_harness_convinces_the_verifier_and_its_recomputation_is_the_interpreters(width):
    cheat, _, maxima = _softmax(width)
    before = [cells.copy() for cells in cheat.witness.tensors]
    _recompute_exponentials(cheat, maxima)
    assert all(np.array_equal(a, b) for a, b in zip(before, cheat.witness.tensors, strict=True))
    assert cheat.verify()


@pytest.mark.parametrize("width", [3, 6])
@pytest.mark.parametrize("change", [1, 5])
def test_softmax_with_a_maximum_too_large(width, change):
    """All differences are in range and every later value follows; no cell of the row attains the maximum."""
    cheat, _, maxima = _softmax(width)
    cheat.witness.tensors[maxima][0] += change
    _recompute_exponentials(cheat, maxima)
    cheat.refused()


def test_softmax_with_a_maximum_too_large_and_a_flag_that_lies():
    cheat, _, maxima = _softmax()
    cheat.witness.tensors[maxima][0] += 1
    _recompute_exponentials(cheat, maxima)
    cheat.witness.extra[2, 0][0] = 1
    cheat.refused()


@pytest.mark.parametrize("width", [3, 6])
def test_softmax_with_a_maximum_too_small(width):
    cheat, x, maxima = _softmax(width)
    rows = cheat.witness.tensors[x].reshape(2, 4)[:, :3]
    row = int(np.flatnonzero(rows.min(axis=1) < rows.max(axis=1))[0])
    cheat.witness.tensors[maxima][row] = max(cell for cell in rows[row] if cell < rows[row].max())
    _recompute_exponentials(cheat, maxima)
    cheat.refused()


def test_an_exponential_off_by_one():
    cheat, _, maxima = _softmax()
    cheat.witness.tensors[maxima + 1][1] += 1
    cheat.refused()


def test_dirty_padding_of_exponentials_and_of_maxima():
    cheat, _, maxima = _softmax()
    cheat.witness.tensors[maxima + 1][3] = 7
    cheat.refused()
    sketch = Sketch(31)
    x = sketch.requant(sketch.matmul(sketch.input((3, 4)), 5), relu=False)
    sketch.tables.append(Table("none", 0, (0,) * 512))
    held = sketch.add(ops.RowMax, x, exp=ops.NONE, table=len(sketch.tables) - 1, saturate=False)
    cheat = Cheat(sketch, sketch.requant(sketch.matmul(held, 2), relu=False))
    assert cheat.circuit.tensors[held].padded == (4,)
    cheat.witness.tensors[held][3] = 9
    cheat.refused()


def _reciprocal(q):
    sketch = Sketch(32)
    x = sketch.input((3,), 0, 2**15)
    cell = sketch.add(ops.LinearCombination, (x,), (3,), 1)
    out = sketch.add(ops.Recip, cell)
    return Cheat(sketch, out, inputs=[np.array(q)]), out


def _set_reciprocal(cheat, out, cell, e, quotient):
    """Everything that follows from e and R for one cell, consistently."""
    q = int(cheat.witness.tensors[1][cell])
    scaled = q << e
    rho = 2**46 - quotient * scaled
    slack = scaled - 1 - rho
    values = (e, 1 << e, scaled, quotient & 511, quotient >> 9, rho & 32767, rho >> 15, (scaled - 2**29) & 32767, slack & 32767)
    for i, value in enumerate(values):
        cheat.witness.extra[1, i][cell] = value
    cheat.witness.tensors[out][cell] = quotient << e


def test_a_reciprocal_set_consistently_is_the_true_one():
    cheat, out = _reciprocal([7, 100, 30000])
    for cell in range(3):
        q = int(cheat.witness.tensors[1][cell])
        e = 30 - q.bit_length()
        _set_reciprocal(cheat, out, cell, e, 2**46 // (q << e))
    assert cheat.verify()


@pytest.mark.parametrize("step", [-1, 1])
def test_a_reciprocal_normalised_by_the_wrong_power_of_two(step):
    """With q·2^e in another octave, R has more or fewer digits and K differs: the octave must be checked."""
    for q in ([7, 100, 30000], [0, 1, 2**15]):
        cheat, out = _reciprocal(q)
        value = int(cheat.witness.tensors[1][1])
        e = 30 - value.bit_length() + step
        _set_reciprocal(cheat, out, 1, e, 2**46 // (value << e))
        cheat.refused()


@pytest.mark.parametrize("step", [-1, 1])
def test_a_reciprocal_off_by_one(step):
    cheat, out = _reciprocal([7, 100, 30000])
    value = int(cheat.witness.tensors[1][2])
    e = 30 - value.bit_length()
    _set_reciprocal(cheat, out, 2, e, 2**46 // (value << e) + step)
    cheat.refused()


def test_a_reciprocals_padding():
    sketch = Sketch(35)
    q = sketch.add(ops.LinearCombination, (sketch.input((1, 3), 0, 90),), (1,), 1)
    held = sketch.add(ops.Recip, q)
    view = sketch.add(ops.View, (ops.Piece(held, (0, 1), ((0,), (0, 2)), (ops.NONE, ops.NONE)),), 0, shape=(1, 2))
    cheat = Cheat(sketch, sketch.requant(view, relu=False))
    cheat.witness.tensors[held][3] -= 1  # a padding cell that no later operation reads
    assert cheat.refused().where == "deferred"


def _root(values):
    sketch = Sketch(33)
    x = sketch.input((3,), 0, 2**15)
    square = sketch.add(ops.Mul, x, x, multiplier=1)
    out = sketch.add(ops.Isqrt, sketch.add(ops.LinearCombination, (square, x), (5, 1), 0))
    return Cheat(sketch, out, inputs=[np.array(values)]), out


def _set_root(cheat, out, cell, root):
    v = int(cheat.witness.tensors[2][cell])
    below = v - root * root
    values = (root & 32767, below & 65535, (2 * root - below) & 65535)
    for i, value in enumerate(values):
        cheat.witness.extra[2, i][cell] = value
    cheat.witness.tensors[out][cell] = root


@pytest.mark.parametrize("step", [-1, 1, 0])
def test_an_integer_root_off_by_one(step):
    cheat, out = _root([3, 0, 2**14])
    for cell in (0, 2):
        _set_root(cheat, out, cell, int(cheat.witness.tensors[out][cell]) + step)
    if step:
        cheat.refused()
    else:
        assert cheat.verify()


def test_the_negative_root():
    cheat, out = _root([3, 0, 2**15])
    _set_root(cheat, out, 0, -int(cheat.witness.tensors[out][0]))
    cheat.refused()


def _arg_max(cells):
    sketch = Sketch(34)
    x = sketch.input((2, 5), -10, 10)
    out = sketch.add(ops.ArgMax, x)
    return Cheat(sketch, out, inputs=[np.array(cells)]), out


def _choose(cheat, out, row, index, value):
    hot = cheat.witness.extra[0, 0].reshape(2, 8)
    hot[row] = 0
    hot[row, index] = 1
    cheat.witness.extra[0, 1][row] = value
    cheat.witness.tensors[out][row] = index


def test_choosing_the_true_index_by_hand_is_accepted():
    cheat, out = _arg_max([[1, 9, 3, 9, 0], [-5, -5, -5, -5, -5]])
    _choose(cheat, out, 0, 1, 9)
    _choose(cheat, out, 1, 0, -5)
    assert cheat.verify()


@pytest.mark.parametrize(
    ("row", "index", "value"), [(0, 3, 9), (0, 2, 3), (0, 2, 9), (0, 0, 1), (1, 4, -5), (1, 5, 0), (0, 1, 10)]
)
def test_another_index_than_the_lowest_maximal_one(row, index, value):
    """A later tie, a smaller cell with its value or with the maximum's, a padding cell, an inflated maximum."""
    cheat, out = _arg_max([[1, 9, 3, 9, 0], [-5, -5, -5, -5, -5]])
    _choose(cheat, out, row, index, value)
    cheat.refused()


def test_flags_that_are_not_one_hot():
    for hot in ([2, -1, 0, 0, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0]):
        cheat, _ = _arg_max([[1, 9, 3, 9, 0], [9, 1, 1, 1, 1]])
        cheat.witness.extra[0, 0].reshape(2, 8)[0, :5] = hot
        cheat.refused()


def test_dirty_padding_of_an_arg_max():
    for column, cell in ((0, 7), (0, 15)):
        cheat, _ = _arg_max([[1, 9, 3, 9, 0], [9, 1, 1, 1, 1]])
        cheat.witness.extra[0, column][cell] = 1
        cheat.refused()
