"""Cheating with what language models need: wide sums, gated products, rows of a weight, the largest of many logits.

Every cheat has an honest twin, which is proven and verified first (:class:`tests.support.sumcheck_cheats.Cheat`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_cheats import Cheat as Prover
from tests.support.sumcheck_cheats import EncryptingLiar, Liar, PlainLiar
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.program import Port, Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.payload.statement import decode_statement, encode_statement
from verifai.engines.sumcheck.protocol.buses import columns_of
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.storage import stored
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.verifier.verify import verify
from verifai.errors import EvidenceRejected, InputRejected

pytestmark = pytest.mark.usefixtures("suite")


def Cheat(sketch, *outputs, inputs=None):
    """The provers of the harness, for a sketch that is finished here."""
    return Prover(sketch.finish(*outputs), sketch.cells, inputs)


# --- Rescale ---


def _rescale(values, *, shift=4, limbs=(4,), digits=(3, 4), factor=5):
    """factor·x, rescaled, then read as it is. Operation 1 is the Rescale; its columns are limbs, then digits."""
    sketch = Sketch(40)
    x = sketch.input((len(values),), -2000, 2000)
    z = sketch.add(ops.LinearCombination, (x,), (factor,), 0)
    y = sketch.add(ops.Rescale, z, shift=shift, limbs=limbs, digits=digits)
    table = sketch.table(-(1 << sum(digits)), (1 << sum(digits)) - 1)
    out = sketch.add(ops.Requant, y, table=table, shift=0, limbs=(), saturate=False)
    return Cheat(sketch, out, inputs=[np.array(values)]), z, y, out


def _set(cheat, z, y, out, cell, value, remainder=None):
    """Say ``value`` for one cell; remainder and digits as they would be, modulo the widths."""
    op = cheat.circuit.ops[1]
    rest = int(cheat.witness.tensors[z][cell]) + (1 << (op.shift - 1)) - (value << op.shift)
    columns = [(rest if remainder is None else remainder, op.limbs), (value + (1 << (sum(op.digits) - 1)), op.digits)]
    number = 0
    for whole, widths in columns:
        for bits in widths[:-1]:
            cheat.witness.extra[1, number][cell] = whole & ((1 << bits) - 1)
            whole >>= bits
            number += 1
    for tensor in (y, out):
        cheat.witness.tensors[tensor][cell] = value


def test_the_true_value_by_hand_is_accepted():
    for shift, limbs, digits in ((4, (4,), (3, 4)), (4, (1, 3), (12,)), (5, (2, 2, 1), (5, 5, 2))):
        cheat, z, y, out = _rescale([7, -100, 0], shift=shift, limbs=limbs, digits=digits)
        for cell in range(3):
            _set(cheat, z, y, out, cell, int(cheat.witness.tensors[y][cell]))
        assert cheat.verify()


@pytest.mark.parametrize("step", [-1, 1, 2, -40, 1 << 7, -(1 << 7), 1 << 8])
@pytest.mark.parametrize("limbs", [(4,), (1, 3)])
def test_another_rounding(step, limbs):
    """A remainder below 0 or from 2^s on, a value out of reach, a value that only its lower digits hold."""
    cheat, z, y, out = _rescale([7, -100, 3], limbs=limbs)
    _set(cheat, z, y, out, 1, int(cheat.witness.tensors[y][1]) + step)
    cheat.refused()


def test_a_half_rounded_down():
    """x·5 = 40 = 2·16 + 8: the half goes up to 3."""
    cheat, z, y, out = _rescale([8, 1, 1])
    assert cheat.witness.tensors[y][0] == 3
    _set(cheat, z, y, out, 0, 2)
    cheat.refused()


def test_a_quotient_in_the_field():
    """y = (z + 2^(s−1) − r)/2^s modulo p, for a remainder that does not fit: the digits are those of a huge number."""
    cheat, z, y, _ = _rescale([7, -100, 3])
    rounded = int(cheat.witness.tensors[z][0]) + 8
    quotient = (rounded - (rounded + 3) % 16) * pow(16, -1, P) % P
    signed = quotient - P if quotient >= 1 << 63 else quotient
    cheat.witness.tensors[y][0] = signed
    cheat.refused()


@pytest.mark.parametrize("what", ["y", "limb", "digit"])
def test_dirty_padding_of_a_rescale(what):
    cheat, _, y, out = _rescale([7, -100, 3], limbs=(1, 3))
    cells = {"y": cheat.witness.tensors[y], "limb": cheat.witness.extra[1, 0], "digit": cheat.witness.extra[1, 1]}[what]
    cells[3] += 1
    if what == "y":
        cheat.witness.tensors[out][3] += 1
    cheat.refused()


def test_padding_that_keeps_its_own_equations():
    """y = 1 on a padding cell, with digits and limbs to match: z reads 0 there."""
    cheat, z, y, out = _rescale([7, -100, 3], limbs=(1, 3))
    _set(cheat, z, y, out, 3, 1)
    cheat.refused()


@pytest.mark.parametrize("value", [(1 << 31) - 1, 1 - (1 << 31)])
def test_a_public_result_beyond_32_bits_has_a_place_in_the_statement(value):
    sketch = Sketch(47)
    x = sketch.input((3,), -(1 << 31) + 1, (1 << 31) - 1)
    z = sketch.add(ops.LinearCombination, (x,), (16,), 0)
    cheat = Cheat(sketch, sketch.add(ops.Rescale, z, shift=1, limbs=(1,), digits=(16, 16, 8)), inputs=[np.array([value, 5, 7])])
    proven = cheat.prove(b"a context")
    data = encode_statement(cheat.circuit, proven.statement)
    statement = decode_statement(cheat.circuit, data)
    assert statement == proven.statement
    assert statement.tensors[1].cells == (8 * value, 40, 56)
    assert verify(*cheat.given(), statement, proven.proof)


def test_an_input_out_of_reach_is_refused_before_it_is_proven():
    sketch = Sketch(41)
    z = sketch.add(ops.LinearCombination, (sketch.input((2,), -2000, 2000),), (5,), 0)
    y = sketch.add(ops.Rescale, z, shift=1, limbs=(1,), digits=(4, 4))
    circuit = sketch.finish(sketch.requant(y, relu=False))
    assert (circuit.tensors[y].low, circuit.tensors[y].high) == (-128, 127)
    assert run(circuit, [], [np.array([50, -51])]).true(y).tolist() == [125, -127]
    for values in ([51, 0], [0, -52], [2000, 2000]):
        with pytest.raises(InputRejected) as caught:
            run(circuit, [], [np.array(values)])
        assert (caught.value.code, caught.value.where) == ("input-out-of-range", circuit.tensors[y].name)


def test_a_value_out_of_reach_has_no_digits():
    """The prover's own arithmetic says 130: neither 130, nor 127, nor 130 − 256 passes."""
    for said in (130, 127, -126, -128):
        cheat, z, y, out = _rescale([7, 0, 3], shift=1, limbs=(1,), digits=(4, 4))
        cheat.witness.tensors[z][1] = 260  # as if x were 52
        cheat.witness.tensors[0][1] = 52
        _set(cheat, z, y, out, 1, said)
        cheat.refused()


# --- TopIndex ---


def _top(cells, digits=(2, 3)):
    sketch = Sketch(42)
    x = sketch.input((2, 5), -10, 10)
    z = sketch.add(ops.LinearCombination, (x,), (1,), 0)
    out = sketch.add(ops.TopIndex, z, digits=digits)
    return Cheat(sketch, out, inputs=[np.array(cells)]), out


LOGITS = [[1, 9, 3, 9, 0], [-5, -5, -5, -5, -5]]


def _choose(cheat, out, row, index, value):
    """Show ``index`` as the row's largest, with ``value``; digits as they would be, modulo the widths."""
    cheat.witness.tensors[out][row] = index
    cheat.witness.extra[1, 0][row] = value
    x = np.array(LOGITS[row])
    slack = value - x - (np.arange(5) < index)
    for i, bits in enumerate(cheat.circuit.ops[1].digits[:-1]):
        cheat.witness.extra[1, 1 + i].reshape(2, 8)[row, :5] = slack & ((1 << bits) - 1)
        slack = slack >> bits


@pytest.mark.parametrize("digits", [(5,), (2, 3), (1, 2, 2)])
def test_the_true_index_by_hand_is_accepted(digits):
    cheat, out = _top(LOGITS, digits)
    assert cheat.trace.tensors[out].tolist() == [1, 0]
    _choose(cheat, out, 0, 1, 9)
    _choose(cheat, out, 1, 0, -5)
    assert cheat.verify()


@pytest.mark.parametrize("digits", [(5,), (2, 3), (1, 2, 2)])
@pytest.mark.parametrize(
    ("row", "index", "value"),
    [
        (0, 3, 9),
        (0, 2, 3),
        (0, 2, 9),
        (0, 0, 1),
        (0, 0, 9),
        (1, 4, -5),
        (1, 1, -4),
        (0, 1, 10),
        (0, 1, 8),
        (0, 4, 0),
        (0, 1, 40),
    ],
)
def test_another_index_than_the_lowest_largest(row, index, value, digits):
    """A later tie, a smaller cell with its value or with the largest's, the right one with another value."""
    cheat, out = _top(LOGITS, digits)
    _choose(cheat, out, row, index, value)
    cheat.refused()


def test_a_cell_left_out():
    """The largest cell is said to be small: the digits of all others hold, and only what made the cells sees it."""
    cheat, out = _top(LOGITS)
    cheat.witness.tensors[1].reshape(2, 8)[0, 1] = -3
    x = cheat.witness.tensors[1].reshape(2, 8)[0, :5]
    cheat.witness.tensors[out][0], cheat.witness.extra[1, 0][0] = 3, 9
    cheat.witness.extra[1, 1].reshape(2, 8)[0, :5] = (9 - x - (np.arange(5) < 3)) & 3
    assert cheat.refused().where == "sum"


@pytest.mark.parametrize("cell", [5, 7, 13])
def test_dirty_padding_of_digits(cell):
    cheat, _ = _top(LOGITS)
    cheat.witness.extra[1, 1][cell] = 1
    cheat.refused()


def test_a_value_on_a_padding_row():
    sketch = Sketch(43)
    x = sketch.input((3, 5), -10, 10)
    out = sketch.add(ops.TopIndex, x, digits=(2, 3))
    cheat = Cheat(sketch, out)
    cheat.witness.extra[0, 0][3] = 1
    cheat.refused()


def _odd_rows(shape):
    """A Rescale and a TopIndex on rows that are stored in pieces, but not as many of them as maxima are."""
    sketch = Sketch(46)
    z = sketch.add(ops.LinearCombination, (sketch.input(shape),), (37,), 3)
    y = sketch.add(ops.Rescale, z, shift=3, limbs=(1, 2), digits=(5, 4, 4))
    return Cheat(sketch, sketch.add(ops.TopIndex, y, digits=(6, 7)), sketch.requant(y))


@pytest.mark.parametrize("row", [37, 38, 63])
def test_a_value_on_a_row_that_is_stored_of_the_largest_alone(row):
    """37 rows are stored as 38, of the largest cells as 64: no lookup has a place for the others."""
    for value in (1, 1 << 6):
        cheat = _odd_rows((37, 5))
        number = cheat.number(ops.TopIndex)
        assert stored(cheat.circuit.tensors[cheat.op(ops.TopIndex).x].shape).box == (38, 8)
        assert cheat.witness.extra[number, 0].size == 64
        cheat.witness.extra[number, 0][row] = value
        cheat.refused()


@pytest.mark.parametrize("shape", [(37, 5), (3, 70), (133,)])
def test_every_corner_of_every_stored_box(shape):
    """Of each column of both operations, the last stored place of every axis, and the last place of a true row."""
    honest = _odd_rows(shape)
    for number in (honest.number(ops.Rescale), honest.number(ops.TopIndex)):
        for column, (_, storage) in enumerate(columns_of(honest.circuit, honest.circuit.ops[number])):
            padded = tuple(1 << bits for bits in storage.bits)
            last = [size - 1 for size in storage.box]
            for place in {tuple(last), (*last[:-1], 0), (0, *last[1:])}:
                cheat = _odd_rows(shape)
                cheat.witness.extra[number, column][np.ravel_multi_index(place, padded)] ^= 1
                cheat.refused()


def test_rows_that_differ_too_much_are_refused_before_they_are_proven():
    sketch = Sketch(44)
    x = sketch.input((1, 4), -100, 100)
    circuit = sketch.finish(sketch.add(ops.TopIndex, x, digits=(3, 2)))
    assert run(circuit, [], [np.array([[0, 31, 0, 31]])]).outputs()[0].tolist() == [1]
    with pytest.raises(InputRejected) as caught:
        run(circuit, [], [np.array([[0, 31, -1, 31]])])
    assert caught.value.code == "input-out-of-range"


@pytest.mark.parametrize("visibility", [Visibility.HASHED, Visibility.PRIVATE])
def test_an_index_that_is_not_public_is_no_circuit(visibility, suite):
    sketch = Sketch(45)
    ids = sketch.input((2,), 0, 4)
    rows = sketch.add(ops.WeightRows, ids, sketch.weight((5, 3)))
    circuit = sketch.finish(sketch.add(ops.TopIndex, rows, digits=(9,)), sketch.requant(rows))
    for changed in (
        replace(circuit, inputs=(Port(ids, visibility),)),
        replace(circuit, outputs=(Port(circuit.outputs[0].tensor, visibility), circuit.outputs[1])),
        replace(circuit, outputs=circuit.outputs[1:]),
    ):
        with pytest.raises(EvidenceRejected) as caught:
            check(changed)
        assert caught.value.code == "circuit-invalid"


# --- rows of a weight, gated products, scaled rows ---


@pytest.mark.parametrize("committed", [False, True])
def test_another_tokens_row(committed):
    """The prover computes with another token than the one it states: row, and everything behind it, are consistent."""
    circuit, weights = examples.language_model(committed=committed)
    inputs = examples.random_input(circuit)
    other = [inputs[0].copy(), *inputs[1:]]
    other[0][1] = (other[0][1] + 5) % 37
    cheat = Prover(circuit, weights, other)
    honest = run(circuit, weights, inputs)
    assert not np.array_equal(honest.tensors[circuit.ops[0].out], cheat.trace.tensors[circuit.ops[0].out])
    cheat.witness.tensors[0][:] = honest.tensors[0]
    assert cheat.refused().where in ("rows", "top")  # public weights: the claim itself; committed: the openings


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("kind", [ops.GatedMatMul, ops.RowScale, ops.WeightRows])
def test_a_wrong_cell_of_a_virtual_result(kind, committed):
    """What reads it sees the wrong cell and is consistent with it; only the operation's own claim is false."""
    circuit, weights = examples.language_model(committed=committed)
    for cell in (0, 5):
        cheat = Prover(circuit, weights)
        out = cheat.op(kind).out
        cheat.witness.tensors[out][cell] += 1
        cheat.refused()


@pytest.mark.slow
def test_a_lie_in_any_message(suite, monkeypatch):
    for make, committed in ((examples.wide_sums, False), (examples.language_model, True)):
        with monkeypatch.context() as patched:
            _lie(make, committed, suite, patched)


def _lie(make, committed, suite, monkeypatch):
    cheat = Prover(*make(committed=committed))
    cheat.given()
    cheat.prove()
    labels = cheat.channel.labels
    monkeypatch.setattr(proving, "ProverChannel", PlainLiar)
    monkeypatch.setattr(proving, "HidingProverChannel", EncryptingLiar)
    places = {}
    for message, (label, count) in enumerate(labels):
        if label.startswith(("rescale.", "top.", "gated.", "scale.", "rows.")):
            places.setdefault(label, []).append((message, count))
    wanted = {"rescale.z", "rescale.y", "rescale.rem", "rescale.digit"}
    if make is examples.language_model:
        wanted |= {"top.v", "top.x", "top.digit", "top.round", "gated.round", "gated.x", "scale.x", "scale.f", "scale.round"}
        wanted |= {"gated.w", "gated.bias", "rows.w"} if committed else set()
    assert set(places) >= wanted
    for found in places.values():
        for message, count in found[:: 1 + len(found) // (1 if suite.zero_knowledge else 4)]:
            Liar.target = (message, count - 1)
            cheat.refused()
