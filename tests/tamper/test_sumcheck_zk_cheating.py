"""Provers of the zero-knowledge suite that cheat with its pads, masks, blind rows and openings are refused.

109 cheats. The same run without one is verified first (:class:`tests.support.sumcheck_cheats.Cheat`). Tools that a cheat needs
of its own are verified too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_cheats import WEIGHTS_SEED, Cheat
from tests.support.sumcheck_levels import SHORT, force_levels
from tests.support.sumcheck_zk_forging import arm, blind_rows_to_fit, cheat_when_committing
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.hiding import LEFT, MESSAGES, PRODUCT, RIGHT
from verifai.engines.sumcheck.protocol.statement import HashedTensor
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.channel import HidingProverChannel
from verifai.engines.sumcheck.prover.commitment import CommittedMatrix, extension_values
from verifai.engines.sumcheck.prover.prove import TensorOpening, prepare
from verifai.engines.sumcheck.verifier.verify import TrustedWeights, verify
from verifai.errors import EvidenceRejected

LIE = (3, 1)

pytestmark = pytest.mark.usefixtures("hiding")


@pytest.fixture(autouse=True, params=[(), SHORT], ids=["combinations", "levels"])
def levels(request, monkeypatch):
    """Every cheat, with its combinations sent and with levels below them."""
    force_levels(monkeypatch, *request.param)
    return request.param


def _stopped(refusal, levels, label):
    """At the commitment's own code words; where levels follow, a false combination is only found at their end."""
    return refusal.stopped == (f"level:{len(levels)}" if levels else label)


def _private(**more):
    """A private input; the twin is verified when the prover is made."""
    return Cheat(*examples.mlp(private_input=True, **more))


def _everything():
    return _private(committed=True, hashed_output=True)


# --- pads and products ---


@pytest.mark.parametrize("place", ["triple 0", "first", "last", "padding"])
def test_a_committed_product_of_pads_that_is_wrong_by_one(place, monkeypatch):
    """Whether any message uses the triple or not: triple 0 and padding are not, and only the products' check sees them."""
    cheat = _private()
    plan = cheat.key.layout.pads
    number = {"triple 0": 0, "first": 1, "last": plan.products - 1, "padding": (1 << plan.log_products) - 1}[place]
    assert plan.products <= number if place == "padding" else number < plan.products
    honest = proving.draw_pads

    def off_by_one(plan, coins):
        pads = honest(plan, coins)
        pads.columns[PRODUCT][0, number] = (int(pads.columns[PRODUCT][0, number]) + 1) % P
        start = len(pads.values) - (1 << plan.log_products)
        pads.values[start:] = extension_values(pads.columns[PRODUCT])
        return pads

    monkeypatch.setattr(proving, "draw_pads", off_by_one)
    refusal = cheat.refused()
    assert bool(refusal.equations) == (place in ("first", "last"))


class _Products(HidingProverChannel):
    """Sends other factors than the operands for one product."""

    target, change = 0, staticmethod(lambda left, right: (left, right))

    def multiply(self, left, right):
        number = self.pads.next_product()
        pair = self.truth(left), self.truth(right)
        if number == self.target:
            pair = self.change(*pair)
        sent = [field.add(value, self._pad(column, number)) for column, value in zip((LEFT, RIGHT), pair, strict=True)]
        self.send_open("product", sent)
        return self.pads.product(self, (left, right), sent, number)


def _halved(left, right):
    return field.scale(left, 2), field.scale(right, pow(2, -1, P))


@pytest.mark.parametrize("number", [1, 2, -1])
@pytest.mark.parametrize(
    "change",
    [
        lambda left, right: (field.add(left, field.ONE), right),
        lambda left, right: (left, field.add(right, field.ONE)),
        lambda left, right: (right, left),
        _halved,
    ],
    ids=["left", "right", "exchanged", "same product"],
)
def test_a_product_of_other_factors_than_its_operands(number, change, monkeypatch):
    """Even where the product stays the same: each factor is held to its own operand."""
    cheat = _private()
    monkeypatch.setattr(_Products, "target", number % cheat.key.layout.pads.products)
    monkeypatch.setattr(_Products, "change", staticmethod(change))
    monkeypatch.setattr(proving, "HidingProverChannel", _Products)
    assert cheat.refused().where == "product"


class _WrongPad(HidingProverChannel):
    """Encrypts one message element with another's pad."""

    target, other = 0, 0

    def _pad(self, column, number):
        if column == MESSAGES and number == self.target:
            number = self.other
        return super()._pad(column, number)


@pytest.mark.parametrize(("target", "other"), [(1, 0), (0, 1), (5, 4), (30, 200), (-1, 0), (-1, -2)])
def test_a_message_under_another_messages_pad(target, other, monkeypatch):
    cheat = _private()
    count = cheat.key.layout.pads.messages
    monkeypatch.setattr(_WrongPad, "target", target % count)
    monkeypatch.setattr(_WrongPad, "other", other % count)
    monkeypatch.setattr(proving, "HidingProverChannel", _WrongPad)
    cheat.refused()


class _Inverse(HidingProverChannel):
    """Says anything about the root of the lookups and its inverse."""

    root, inverse = staticmethod(lambda value: value), staticmethod(field.inverse)

    def send(self, label, values):
        if label == "lookups.root":
            values = [self.root(values[0])]
        return super().send(label, values)

    def invert(self, claim, where):
        return self.send(f"{where}.inverse", [self.inverse(self.truth(claim))])[0]


@pytest.mark.parametrize(
    ("root", "inverse"),
    [
        (lambda value: value, lambda value: field.add(field.inverse(value), field.ONE)),
        (lambda value: value, lambda value: field.ZERO),
        (lambda value: field.ZERO, lambda value: field.ONE),
        (lambda value: field.ZERO, lambda value: field.ZERO),
    ],
    ids=["wrong inverse", "no inverse", "root zero", "both zero"],
)
def test_a_denominator_whose_inverse_is_a_lie_or_that_is_zero(root, inverse, monkeypatch):
    cheat = _private()
    monkeypatch.setattr(_Inverse, "root", staticmethod(root))
    monkeypatch.setattr(_Inverse, "inverse", staticmethod(inverse))
    monkeypatch.setattr(proving, "HidingProverChannel", _Inverse)
    assert cheat.refused().where == "lookups.root"


# --- masks ---


def _set(row, column, value=5):
    def change(plan, rows):
        place = {"C": 3, "G": plan.shape.message + 1, "tail": -1}[column]
        rows[row, place] = (int(rows[row, place]) + value) % P

    return change


@pytest.mark.parametrize("row", [-1, -2])
@pytest.mark.parametrize("lie", [None, LIE])
def test_mask_rows_that_hold_something_among_the_values(row, lie, monkeypatch, levels):
    """g on C enters u's value with κ; so a lie in v that it was to make up for must guess κ."""
    cheat = _everything()
    cheat_when_committing(monkeypatch, "witness", _set(row, "C"))
    if lie is not None:
        arm(monkeypatch, values={0: lie}, repair=False)
    assert _stopped(cheat.refused(), levels, "x")


@pytest.mark.parametrize("row", ["blind", "values"])
def test_weights_that_hold_something_on_the_mask_region(row, monkeypatch, levels):
    """The root is the owner's own, so it is pinned as it is; λ shows what C_w must not have there."""
    cheat = _everything()
    number = 0 if row == "blind" else cheat.key.layout.weights.shape.reserved_rows
    cheat_when_committing(monkeypatch, "weights", _set(number, "G"))
    cheat.key = prepare(cheat.circuit, cheat.true_weights, weights_seed=WEIGHTS_SEED)
    _, given = cheat.given()
    assert given.identity == cheat.key.identity  # the verifier's harness commits the same way
    assert _stopped(cheat.refused(), levels, "x")


@pytest.mark.parametrize(("row", "place"), [(0, "G"), (2, "G"), (2, "tail"), (-1, "G"), (-1, "tail"), (0, "C"), (1, "C")])
def test_coins_of_any_value_are_nothing_that_is_stated(row, place, monkeypatch):
    """Masks, tails and blind rows, and whatever a row of values holds on the mask region: a prover may choose them all."""
    cheat = _everything()
    cheat_when_committing(monkeypatch, "witness", _set(row, place))
    assert cheat.verify().circuit == cheat.circuit


@pytest.mark.parametrize("label", ["witness", "weights", "tensor"])
@pytest.mark.parametrize("row", [0, 2, -1])
@pytest.mark.parametrize("beyond", [0, 9])
def test_rows_whose_degree_exceeds_k(label, row, beyond, monkeypatch, levels):
    """The tail ends at K: one more coefficient, in any row, and no combination of K coefficients has the same code word."""
    cheat = _everything()
    layout = cheat.key.layout
    plan = {"witness": layout.witness, "weights": layout.weights, "tensor": next(iter(layout.hashed.values()))}[label]
    shape = plan.shape
    row = {2: shape.reserved_rows, -1: shape.rows - 1}.get(row, row)
    cheat_when_committing(monkeypatch, label, lambda plan, rows: None, wider={(row, shape.degree + beyond): 7})
    cheat.key = prepare(cheat.circuit, cheat.true_weights, weights_seed=WEIGHTS_SEED)
    assert _stopped(cheat.refused(), levels, ("x" if label != "tensor" else shape.label))


# --- the opening ---

_LIES = {
    "first final message": {"final": {0: LIE}},
    "last final message": {"final": {21: LIE}},
    "two final messages": {"final": {2: LIE, 9: (7, 0)}},
    "x2": {"shown": LIE},
    "v of the witness": {"values": {0: LIE}},
    "v of the weights": {"values": {1: LIE}},
    "v of a tensor": {"values": {2: LIE}},
    "all of them": {"final": {0: LIE, 5: (1, 1)}, "values": {0: (4, 4), 1: LIE, 2: (0, 9)}, "shown": (8, 2)},
}


@pytest.mark.parametrize("lies", _LIES.values(), ids=_LIES.keys())
def test_lies_of_the_opening_that_nothing_makes_up_for(lies, monkeypatch):
    cheat = _everything()
    arm(monkeypatch, **lies, repair=False)
    with pytest.raises(EvidenceRejected) as caught:
        cheat.verify()
    assert caught.value.code == "proof-invalid" and "code word" not in caught.value.message


@pytest.mark.parametrize("lies", _LIES.values(), ids=_LIES.keys())
def test_lies_of_the_opening_made_up_for_in_the_combination(lies, monkeypatch, levels):
    """As if g, the blind rows or the values had been committed otherwise: every sum is right; only the code words differ."""
    cheat = _everything()
    arm(monkeypatch, **lies)
    with pytest.raises(EvidenceRejected) as caught:
        cheat.verify()
    assert caught.value.code == "proof-invalid" and (levels or "code word" in caught.value.message)


def test_a_forger_without_lies_convinces(monkeypatch):
    cheat = _everything()
    arm(monkeypatch)
    assert cheat.verify()


def test_a_wrong_output_made_up_for_by_blind_rows_after_the_fact(monkeypatch):
    """v_x is a lie, u fits it, and the opened blind cells are rewritten so that u's code word fits: only the tree is left."""
    force_levels(monkeypatch)  # with levels, u is not in the proof to be fitted
    cheat = _private()
    arm(monkeypatch, values={0: LIE})
    proven = cheat.prove()
    proof = proofs.decode(proven.proof, cheat.circuit.commitments)
    forged = blind_rows_to_fit(cheat, proof)
    assert forged.openings[0].columns != proof.openings[0].columns
    assert all(a[2:] == b[2:] for a, b in zip(forged.openings[0].columns, proof.openings[0].columns, strict=True))
    with pytest.raises(EvidenceRejected) as caught:
        verify(*cheat.given(), proven.statement, proofs.encode(forged))
    assert caught.value.message == "an opened column is not in the commitment"


@pytest.mark.parametrize(("stated", "used"), [(0, 1), (1, 0), (3, 15), (15, 14)])
def test_weights_opened_under_the_blind_pair_of_another_number(stated, used, monkeypatch, levels):
    cheat = _everything()
    assert cheat.verify(opening_number=stated)
    honest = CommittedMatrix.for_opening
    monkeypatch.setattr(CommittedMatrix, "for_opening", lambda self, number: honest(self, used))
    assert _stopped(cheat.refused(opening_number=stated), levels, "x")


@pytest.mark.parametrize(("stated", "used"), [(0, 1), (1, 0), (3, 2)])
def test_a_tensor_opened_under_the_blind_pair_of_another_number(stated, used, monkeypatch, levels):
    cheat = _everything()
    tensor = cheat.circuit.outputs[0].tensor
    assert cheat.verify(secrets={tensor: TensorOpening(bytes(32), stated)})
    honest = proving._state

    def misstated(circuit, witness, hashed):
        return [replace(s, number=stated) if isinstance(s, HashedTensor) else s for s in honest(circuit, witness, hashed)]

    monkeypatch.setattr(proving, "_state", misstated)
    name = f"io:{cheat.circuit.tensors[tensor].name}"
    assert _stopped(cheat.refused(secrets={tensor: TensorOpening(bytes(32), used)}), levels, name)


@pytest.mark.parametrize("claimed", [False, True])
def test_the_same_weights_under_the_root_of_another_seed(claimed):
    """Whoever does not know the seed cannot open the root, whether they say that they have or not."""
    cheat = _everything()
    other = prepare(cheat.circuit, cheat.true_weights, weights_seed=bytes(32))
    assert other.identity != cheat.key.identity
    cheat.key = replace(other, identity=cheat.key.identity) if claimed else other
    assert cheat.refused().stopped == "w"  # trees are compared with roots before anything else
    trusted, _ = cheat.given()
    cheat._given = trusted, TrustedWeights(other.identity, None)
    cheat.key = other
    assert cheat.verify()


# --- private tensors ---


@pytest.mark.parametrize("value", [128, -129, (1000 - 5) * pow(7, -1, P) % P, P // 2, 2**32])
def test_a_private_input_cell_that_is_no_integer_in_range(value):
    cheat = _private()
    tensor = cheat.circuit.inputs[0].tensor
    cells = cheat.witness.cells(tensor, masked=False).copy()
    cells[3] = value % P
    cheat.witness._field[tensor, False] = cells
    cheat.refused()


@pytest.mark.parametrize(("low", "high"), [(-100, 99), (0, 1), (3, 200), (-7, -7)])
def test_a_private_cell_beyond_either_end_of_a_range_that_is_no_power_of_two(low, high):
    for value in sorted({low - 1, high + 1, low + 255, high - 255}):
        sketch = examples.Sketch(50)
        x = sketch.input((1, 13), low, high, private=True)
        cheat = Cheat(sketch.finish(sketch.requant(sketch.matmul(x, 5), relu=False)), sketch.cells)
        if not low <= value <= high:
            cheat.witness.tensors[x][3] = value
            assert cheat.refused().where.startswith("lookups")


@pytest.mark.parametrize("value", [1, -1, 5, 127])
def test_a_private_input_with_dirty_padding(value, levels):
    """Above 0 every cell is in its range; only the second claim, on true cells alone, differs."""
    cheat = _private()
    cheat.witness.tensors[cheat.circuit.inputs[0].tensor][-1] = value
    refusal = cheat.refused()
    assert _stopped(refusal, levels, "x") and bool(refusal.equations) == (value < 0)


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("committed", [False, True])
def test_a_wrong_public_output_of_a_private_input(change, committed):
    cheat = _private(committed=committed)
    cells = cheat.witness.tensors[cheat.op(ops.Requant, 1).out]
    cells[2] += change if -120 < cells[2] < 120 else -np.sign(cells[2])
    cheat.refused()


def test_a_wrong_public_output_with_a_matching_quotient_and_remainder():
    """Only the dense layer's sum is false, as the openings find out."""
    cheat = _private(committed=True)
    number, op = cheat.number(ops.Requant, 1), cheat.op(ops.Requant, 1)
    z = cheat.witness.tensors[op.z]
    z[0] = -z[0] if z[0] else 1 << op.shift
    rounded = int(z[0]) + (1 << (op.shift - 1))
    rest, offset = rounded & ((1 << op.shift) - 1), 0
    for i, bits in enumerate(op.limbs):
        cheat.witness.extra[number, i][0] = rest >> offset & ((1 << bits) - 1)
        offset += bits
    cheat.witness.tensors[op.out][0] = cheat.circuit.tables[op.table].at(rounded >> op.shift)
    assert cheat.refused().equations[:1] == ("matmul",)


@pytest.mark.parametrize("change", [1, -1, 128])
def test_a_private_output_is_held_to_the_computation_like_any_hidden_tensor(change):
    sketch = examples.Sketch(62)
    x = sketch.input((1, 6), private=True)
    hidden = sketch.requant(sketch.matmul(x, 5), offset=1)
    logits = sketch.requant(sketch.matmul(hidden, 4), relu=False)
    index = sketch.add(ops.ArgMax, logits)
    cheat = Cheat(sketch.finish(index, logits, private=(logits,)), sketch.cells)
    cheat.witness.tensors[logits][0] += change
    cheat.refused()
