"""Provers that cheat before they commit, and keep their story consistent from there on, are refused.

Each cheat changes the witness, the columns, the weights or the conversation of an otherwise honest prover; Fiat–Shamir runs
over the changed values, so nothing but the protocol's equations can stand in the way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_cheats import WEIGHTS_SEED, Cheat, EncryptingLiar, Liar, PlainLiar
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import log2_ceil
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.storage import stored
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.prover.witness import Witness

pytestmark = pytest.mark.usefixtures("suite")


def _mlp(**more):
    return Cheat(*examples.mlp(**more))


def _cnn():
    return Cheat(*examples.cnn())


@pytest.mark.parametrize("case", [_mlp, _cnn, lambda: _mlp(hashed_input=True, hashed_output=True, committed=True)])
def test_without_a_cheat_the_harness_convinces_the_verifier(case):
    cheat = case()
    assert cheat.verify().circuit == cheat.circuit


@pytest.mark.parametrize("make", [_mlp, _cnn])
@pytest.mark.parametrize("change", [1, -1, 128])
def test_a_hidden_activation_off_by_some(make, change):
    cheat = make()
    cheat.witness.tensors[cheat.op(ops.Requant).out][0] += change
    cheat.refused()


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("hashed", [False, True])
def test_an_output_off_by_one(change, hashed):
    cheat = _mlp(hashed_output=hashed)
    cells = cheat.witness.tensors[cheat.op(ops.Requant, 1).out]
    cells[2] += change if -120 < cells[2] < 120 else -np.sign(cells[2])
    cheat.refused()


def test_a_remainder_of_two_to_the_s_with_the_quotient_one_lower():
    """rem + 2^s and t − 1 satisfy the division, and y = T[t − 1] is in the table: only the limb's range speaks against it."""
    cheat = _mlp()
    number, op = cheat.number(ops.Requant), cheat.op(ops.Requant)
    table = cheat.circuit.tables[op.table]
    top = len(op.limbs) - 1
    t = cheat.witness.rows(number)[0][0]
    cell = int(np.flatnonzero(t[:10] > table.low)[0])
    cheat.witness.extra[number, top][cell] += 1 << op.limbs[top]
    cheat.witness.tensors[op.out][cell] = table.at(int(t[cell]) - 1)
    cheat.refused()


def test_a_negative_remainder_with_the_quotient_one_higher():
    cheat = _mlp()
    number, op = cheat.number(ops.Requant), cheat.op(ops.Requant)
    table = cheat.circuit.tables[op.table]
    top = len(op.limbs) - 1
    t = cheat.witness.rows(number)[0][0]
    cell = int(np.flatnonzero(t[:10] < table.high)[0])
    cheat.witness.extra[number, top][cell] -= 1 << op.limbs[top]
    cheat.witness.tensors[op.out][cell] = table.at(int(t[cell]) + 1)
    cheat.refused()


def test_limbs_exchanged_between_their_offsets():
    """Two limbs of one remainder, each in its own range, but recombined at the other's offset."""
    sketch = Sketch(4)
    out = sketch.requant(sketch.matmul(sketch.input((1, 200)), 9))
    cheat = Cheat(sketch.finish(out), sketch.cells)
    number, op = cheat.number(ops.Requant), cheat.op(ops.Requant)
    assert len(op.limbs) == 2
    low, high = cheat.witness.extra[number, 0].copy(), cheat.witness.extra[number, 1].copy()
    cheat.witness.extra[number, 0][:], cheat.witness.extra[number, 1][:] = high, low
    cheat.refused()


def test_a_quotient_that_is_a_fraction_in_the_field():
    cheat = _mlp()
    number = cheat.number(ops.Requant)
    cheat.witness.extra[number, 0][0] ^= 1
    cheat.refused()


def test_a_quotient_outside_the_tables_domain():
    """z is inflated beyond what the weights allow, so that t leaves T; the value claimed for it is T's last."""
    cheat = _mlp()
    op = cheat.op(ops.Requant)
    table = cheat.circuit.tables[op.table]
    cheat.witness.tensors[op.z][0] += (table.high + 1) << (op.shift + 1)
    cheat.witness.tensors[op.out][0] = table.values[-1]
    cheat.refused()


def test_a_value_of_another_table_under_this_tables_arguments(monkeypatch):
    """The two requantisations have different tables; one cell takes the other's value and is booked under the other's id."""
    cheat = _mlp()
    first, second = cheat.op(ops.Requant), cheat.op(ops.Requant, 1)
    assert first.table != second.table
    t = cheat.witness.rows(cheat.number(ops.Requant))[0][0]
    cheat.witness.tensors[first.out][:] = np.array([cheat.circuit.tables[second.table].at(int(v)) for v in t])
    honest = proving.lookup_blocks

    def misbooked(circuit, bus, witness, counts):
        blocks = honest(circuit, bus, witness, counts)
        ids = {bus.tables[b.table].index: b.table for b in blocks if bus.tables[b.table].kind == "function"}
        return [
            replace(b, table=ids[second.table])
            if b.numerators is None and b.table == ids[first.table] and b.offset in bus.by_operation[1][0].group.addresses
            else b
            for b in blocks
        ]

    monkeypatch.setattr(proving, "lookup_blocks", misbooked)
    cheat.refused()


@pytest.mark.parametrize("change", [1, -1])
def test_a_wrong_multiplicity(change):
    for table in range(3):
        cheat = _mlp()
        counts = cheat.witness.multiplicities()
        counts[table][int(np.argmax(counts[table]))] += change
        cheat.witness.counts = counts
        cheat.refused()


def test_multiplicities_moved_from_one_row_to_another():
    cheat = _mlp()
    counts = cheat.witness.multiplicities()
    rows = np.flatnonzero(counts[0])
    counts[0][rows[0]] -= 1
    counts[0][rows[1]] += 1
    cheat.witness.counts = counts
    cheat.refused()


@pytest.mark.parametrize("which", ["activation", "limb", "maximum"])
def test_dirty_padding(which):
    cheat = _cnn()
    requant, pool = cheat.op(ops.Requant), cheat.op(ops.WindowMax)
    if which == "activation":
        cells, place = cheat.witness.tensors[requant.out], _last_stored(cheat, requant.out)
        assert cells[place] == cheat.circuit.tensors[requant.out].fill
        cells[place] += 1
    elif which == "limb":
        cheat.witness.extra[cheat.number(ops.Requant), 0][_last_stored(cheat, requant.out)] ^= 1
    else:
        cheat.witness.tensors[pool.out][_last_stored(cheat, pool.out)] += 1
    cheat.refused()


def _last_stored(cheat, tensor):
    """The last cell of a tensor that a commitment holds, as a place among its padded cells; it is padding."""
    described = cheat.circuit.tensors[tensor]
    box = stored(described.shape).box
    assert box != described.shape
    return np.ravel_multi_index([size - 1 for size in box], [1 << log2_ceil(size) for size in described.shape])


def test_not_the_maximum_but_another_tap():
    """The product of differences vanishes, but one difference is negative."""
    cheat = _cnn()
    op = cheat.op(ops.WindowMax)
    taps = np.stack([cheat.witness.tap(op, u, v) for u in range(2) for v in range(2)])
    cell = int(np.flatnonzero(taps.max(axis=0) != taps.min(axis=0))[0])
    cheat.witness.tensors[op.out][cell] = taps[:, cell].min()
    cheat.refused()


def test_more_than_the_maximum():
    """All differences are in range, but none is 0."""
    cheat = _cnn()
    op = cheat.op(ops.WindowMax)
    cheat.witness.tensors[op.out][0] += 1
    cheat.refused()


def test_taps_outside_the_image_read_as_zero_instead_of_the_least_value(monkeypatch):
    sketch = Sketch(6)
    x = sketch.input((1, 1, 4, 4), low=-50, high=-1)
    pooled = sketch.pool(x, (2, 2), stride=(2, 2), pads=(1, 1, 1, 1))
    out = sketch.requant(sketch.matmul(pooled, 3, contract=3), relu=False)
    honest = Witness.tap

    def zero_outside(self, op, u, v):
        cells = honest(self, op, u, v)
        grid = cells.reshape(self.circuit.tensors[op.out].padded)
        grid[:, :, 0, :][grid[:, :, 0, :] == -50] = 0
        return cells

    circuit = sketch.finish(out)
    inputs = [np.full((1, 1, 4, 4), -3, dtype=np.int64)]
    assert Cheat(circuit, sketch.cells, inputs).verify()
    cheat = Cheat(circuit, sketch.cells, inputs)
    op = cheat.op(ops.WindowMax)
    grid = cheat.witness.tensors[op.out].reshape(cheat.circuit.tensors[op.out].padded)
    grid[0, 0, 0, :3] = 0
    monkeypatch.setattr(Witness, "tap", zero_outside)
    cheat.refused()


@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_one_wrong_weight_or_bias(which, committed):
    circuit, weights = examples.mlp(committed=committed)
    altered = [cells.copy() for cells in weights]
    cell = altered[which].reshape(-1)
    cell[0] += -1 if cell[0] > 0 else 1
    Cheat(circuit, weights, run_weights=altered).refused()


@pytest.mark.parametrize("committed", [False, True])
def test_another_models_key(committed):
    circuit, weights = examples.mlp(committed=committed)
    other = [cells[::-1].copy() for cells in weights]
    Cheat(circuit, weights, run_weights=other).refused()


def test_weights_under_the_right_root_but_another_matrix():
    """The prover claims the right identity and proves, and opens, with other weights."""
    circuit, weights = examples.mlp(committed=True)
    other = [cells[::-1].copy() for cells in weights]
    cheat = Cheat(circuit, weights, run_weights=other)
    object.__setattr__(cheat.key, "identity", prepare(circuit, weights, weights_seed=WEIGHTS_SEED).identity)
    assert cheat.refused().stopped == "w"


def test_a_public_input_exchanged_between_statement_and_computation():
    cheat = _mlp()
    honest = proving._state

    def other_input(circuit, witness, hashed):
        stated = honest(circuit, witness, hashed)
        first = stated[0]
        return [proving.PublicTensor((first.cells[0] ^ 1, *first.cells[1:])), *stated[1:]]

    original = proving._state
    try:
        proving._state = other_input
        cheat.refused()
    finally:
        proving._state = original


def test_a_fake_public_output():
    cheat = _mlp()
    op = cheat.op(ops.Requant, 1)
    table = cheat.circuit.tables[op.table]
    for cell in range(5):
        cheat.witness.tensors[op.out][cell] = table.values[cell]
    cheat.refused()


def test_a_fake_public_output_with_a_matching_z():
    """y, t and z fit together in the last layer; only the dense layer's sum does not."""
    cheat = _mlp()
    number, op = cheat.number(ops.Requant, 1), cheat.op(ops.Requant, 1)
    z = cheat.witness.tensors[op.z]
    z[0] = -z[0] if z[0] else 1 << op.shift
    rounded = int(z[0]) + (1 << (op.shift - 1))
    rest, offset = rounded & ((1 << op.shift) - 1), 0
    for i, bits in enumerate(op.limbs):
        cheat.witness.extra[number, i][0] = rest >> offset & ((1 << bits) - 1)
        offset += bits
    cheat.witness.tensors[op.out][0] = cheat.circuit.tables[op.table].at(rounded >> op.shift)
    cheat.refused()


def test_a_hashed_input_cell_that_is_no_integer_in_range():
    """(1000 − 5)/7 in the field times a weight of 7 looks like an integer; the range lookup is what refuses it."""
    for value in (128, -129, (1000 - 5) * pow(7, -1, P) % P, P // 2):
        cheat = _mlp(hashed_input=True)
        tensor = cheat.circuit.inputs[0].tensor
        cells = cheat.witness.cells(tensor, masked=False).copy()
        cells[3] = value % P
        cheat.witness._field[tensor, False] = cells
        cheat.refused()


def test_a_hashed_input_with_dirty_padding():
    cheat = _mlp(hashed_input=True)
    tensor = cheat.circuit.inputs[0].tensor
    cheat.witness.tensors[tensor][-1] = 5
    cheat.refused()


def test_a_hashed_output_stored_with_its_fill_instead_of_zero():
    cheat = _mlp(hashed_output=True)
    tensor = cheat.circuit.outputs[0].tensor
    assert cheat.circuit.tensors[tensor].fill != 0
    raw = cheat.witness.cells(tensor, masked=False)
    cheat.witness._field[tensor, True] = raw
    cheat.refused()


def test_a_hashed_input_of_another_run():
    cheat = _mlp(hashed_input=True)
    honest = proving._commit_tensor

    def other(key, cells, *rest):
        changed = cells.copy()
        changed[0] = (int(changed[0]) + 1) % P
        return honest(key, changed, *rest)

    try:
        proving._commit_tensor = other
        cheat.refused()
    finally:
        proving._commit_tensor = honest


def test_a_sum_with_one_operand_of_another_run():
    cheat = _cnn()
    op = cheat.op(ops.LinearCombination)
    cheat.witness.tensors[op.out][1] += 3
    cheat.refused()


@pytest.mark.parametrize("kind", [ops.MatMul, ops.Conv, ops.LinearCombination, ops.WindowSum])
def test_a_linear_result_changed_within_its_rounding(kind):
    """z + 1 with the remainder + 1: the same t and y, every lookup holds."""
    cheat = _cnn()
    z = cheat.op(kind).out
    number = next(i for i, op in enumerate(cheat.circuit.ops) if isinstance(op, ops.Requant) and op.z == z)
    limb = cheat.witness.extra[number, 0]
    true = np.zeros(cheat.circuit.tensors[z].padded, dtype=bool)
    true[cheat.witness.box(z)] = True
    cell = int(np.flatnonzero(true.reshape(-1) & (limb < (1 << cheat.circuit.ops[number].limbs[0]) - 1))[0])
    cheat.witness.tensors[z][cell] += 1
    limb[cell] += 1
    assert cheat.refused().where not in ("lookups.numerators", "lookups.denominators")


def _saturating(*, last=False):
    sketch = Sketch(17)
    z = sketch.matmul(sketch.input((3, 6)), 5)
    sketch.tables.append(examples.Table("narrow", -16, tuple(range(-16, 16))))
    out = sketch.add(ops.Requant, z, table=0, shift=9, limbs=(4, 5), saturate=True)
    outs = (out,) if last else (sketch.requant(sketch.matmul(out, 3), relu=False), out)
    return Cheat(sketch.finish(*outs), sketch.cells)


def _beyond(cheat):
    """A cell whose quotient lies beyond the table."""
    sigma = cheat.witness.extra[1, 3]
    return int(np.flatnonzero(sigma == 0)[0])


def test_a_saturated_cell_that_claims_to_lie_inside():
    """σ = 1, κ = 0 for a quotient beyond the table: u = t leaves T's domain, or (h, σ) is no row."""
    cheat = _saturating()
    cell = _beyond(cheat)
    cheat.witness.extra[1, 3][cell], cheat.witness.extra[1, 4][cell] = 1, 0
    cheat.refused()


@pytest.mark.parametrize("column", [2, 3, 4])
def test_a_split_column_off_by_one(column):
    cheat = _saturating()
    cheat.witness.extra[1, column][_beyond(cheat)] += 1
    cheat.refused()


def test_a_saturated_cell_with_the_other_ends_value():
    cheat = _saturating()
    cell = _beyond(cheat)
    kappa = cheat.witness.extra[1, 4]
    kappa[cell] = 15 if kappa[cell] < 0 else -16
    cheat.witness.tensors[cheat.op(ops.Requant).out][cell] = kappa[cell]
    cheat.refused()


def test_a_split_with_the_lower_part_out_of_its_range():
    """h one lower, so that l is 2^(w−1) too large, with σ and κ of the lower h."""
    cheat = _saturating()
    op, h = cheat.op(ops.Requant), cheat.witness.extra[1, 2]
    inside = np.flatnonzero((h == 0) & (cheat.witness.extra[1, 3] == 1))[0]
    h[inside] = -2
    cheat.witness.extra[1, 3][inside], cheat.witness.extra[1, 4][inside] = 0, -16
    cheat.witness.tensors[op.out][inside] = -16
    cheat.refused()


def test_an_activation_inside_the_table_moved_to_the_clamp_by_a_fake_product(monkeypatch):
    """The prover claims u freely and keeps every lookup; only the product check ties u to σ·t."""
    cheat = _saturating(last=True)
    op = cheat.op(ops.Requant)
    inside = int(np.flatnonzero(cheat.witness.extra[1, 3][:4] == 1)[0])
    honest = Witness.saturated_quotient

    def moved(self, number, op):
        u = honest(self, number, op).copy()
        u[inside] = 15
        return u

    monkeypatch.setattr(Witness, "saturated_quotient", moved)
    cheat.witness.tensors[op.out][inside] = 15
    assert cheat.refused().where == "deferred"


def _one_sided():
    """Every true cell lies below the table's domain; the rows of h that hold the table's own values are there for padding."""
    sketch = Sketch(19)
    z = sketch.add(ops.LinearCombination, (sketch.input((3, 6), 0, 7),), (-1024,), -8704)
    sketch.tables.append(examples.Table("step", -16, (*(0,) * 16, *(1,) * 16)))
    return Cheat(sketch.finish(sketch.add(ops.Requant, z, table=0, shift=8, limbs=(8,), saturate=True)), [])


@pytest.mark.parametrize("h", [0, -1])
def test_a_true_cell_with_the_split_that_only_padding_has(h):
    """(h, σ) = (h, 1) and (h, κ) = (h, 0) are rows, and T has both values: only the lower part's range speaks against it."""
    cheat = _one_sided()
    for column, value in ((1, h), (2, 1), (3, 0)):
        cheat.witness.extra[1, column][0] = value
    cheat.witness.tensors[cheat.op(ops.Requant).out][0] = 1
    cheat.refused()


@pytest.mark.parametrize("h", [-2, -1, 1])
def test_padding_with_another_split_than_its_own(h):
    """Padding of the result that is not T[0]: nothing that reads it takes it for 0."""
    cheat = _one_sided()
    cell = 7  # of a row of 8 places, 6 of them true
    assert cheat.witness.extra[1, 1][cell] == 0
    for column, value in ((1, h), (2, int(h == -1)), (3, 0 if h == -1 else -16 if h < 0 else 15)):
        cheat.witness.extra[1, column][cell] = value
    cheat.witness.tensors[cheat.op(ops.Requant).out][cell] = int(h > 0)
    cheat.refused()


@pytest.mark.parametrize("kind", ["mul", "batched", "rowsum"])
def test_a_product_of_activations_off_by_one_within_its_rounding(kind):
    sketch = Sketch(18)
    x, y = sketch.input((2, 3, 5)), sketch.input((2, 5, 3))
    if kind == "mul":
        z = sketch.add(ops.Mul, x, x, multiplier=5)
    elif kind == "batched":
        z = sketch.add(ops.BatchedMatMul, x, y, multiplier=5)
    else:
        z = sketch.add(ops.RowSum, x, x, multiplier=5, axes=2)
    outs = [sketch.requant(z, relu=False)]
    if kind != "batched":
        outs.append(sketch.requant(sketch.matmul(y, 2), relu=False))
    cheat = Cheat(sketch.finish(*outs), sketch.cells)
    limb = cheat.witness.extra[1, 0]
    cell = int(np.flatnonzero(limb[:2] < (1 << cheat.circuit.ops[1].limbs[0]) - 1)[0])
    cheat.witness.tensors[z][cell] += 1
    limb[cell] += 1
    assert cheat.refused().where == "product"


def _lies(cheat, monkeypatch, thinned):
    """Tell one lie at a time, in the places of each label that ``thinned`` keeps; how many were told."""
    cheat.prove()
    labels = cheat.channel.labels
    monkeypatch.setattr(proving, "ProverChannel", PlainLiar)
    monkeypatch.setattr(proving, "HidingProverChannel", EncryptingLiar)
    first = {}
    for message, (label, count) in enumerate(labels):
        first.setdefault(label, []).append((message, count))
    tried = 0
    for places in first.values():
        for message, count in thinned(places):
            for element in {0, count - 1}:
                Liar.target = (message, element)
                cheat.refused()
                tried += 1
    print(f"lies told: {tried}, in {len(first)} kinds of messages")
    return tried, len(first)


def _cnn_committed():
    return Cheat(*examples.cnn(committed=True))


@pytest.mark.parametrize("make", [_mlp, _cnn_committed])
def test_a_lie_in_any_message_carried_on_consistently(make, suite, monkeypatch):
    """sumcheck/2: 95 and 183 lies. sumcheck-zk/2: 127 and 40."""
    cheat = make()
    one = suite.zero_knowledge and make is _cnn_committed  # a thick proof: one message of each kind

    def thinned(places):
        if one:
            return [places[len(places) // 2]]
        return places if len(places) < 12 else places[:: len(places) // 8]

    tried, kinds = _lies(cheat, monkeypatch, thinned)
    assert tried > 1.3 * kinds and kinds >= 12


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("make", [_mlp, lambda: _mlp(hashed_input=True, hashed_output=True, committed=True), _cnn_committed])
def test_a_lie_in_every_message_carried_on_consistently(make, monkeypatch):
    """No message is left out, nor its first and last element."""
    tried, _ = _lies(make(), monkeypatch, lambda places: places)
    assert tried > 150
