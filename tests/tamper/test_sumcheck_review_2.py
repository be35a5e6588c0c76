"""Cheating provers from the review of the second suite: stored padding, and what pieces and levels leave to the prover.

Every cheat has an honest twin, which the harness proves and verifies first.
"""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_cheats import Cheat, EncryptingLiar, Liar, PlainLiar
from tests.support.sumcheck_examples import Sketch, Table
from tests.support.sumcheck_levels import SHORT, force_levels
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.levels import position_point
from verifai.engines.sumcheck.protocol.storage import stored
from verifai.engines.sumcheck.prover import levels as proving
from verifai.engines.sumcheck.prover import prove
from verifai.engines.sumcheck.verifier.verify import verify
from verifai.errors import EvidenceRejected


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


# --- every stored cell of every column is constrained, padding included ---


def _along_rows():
    """Columns over (37, 4), in pieces along the rows, beside columns over (37,), which are stored whole.

    Each result is summed over its true cells, so that nothing else in the witness depends on its padding.
    """
    sketch = Sketch(34)
    x, y = sketch.input((37, 4), 0, 100), sketch.input((37,), 1, 127)
    exponentials = (*(max(0, 90 - i) for i in range(127)), 0)
    sketch.tables += [Table("exp", 0, exponentials), Table("square", -128, tuple(i * i for i in range(-128, 128)))]
    held = [sketch.add(ops.RowMax, x, table=0, saturate=False, outs=("out", "exp"))]
    held += [held[0] + 1, sketch.add(ops.ArgMax, x), sketch.add(ops.Recip, y), sketch.add(ops.Isqrt, y)]
    held += [sketch.add(ops.Lookup, y, table=1), sketch.requant(x, offset=3), sketch.requant(y, offset=3)]
    sums = [sketch.add(ops.RowSum, one, ops.NONE, multiplier=1, axes=len(sketch.tensors[one].shape)) for one in held]
    total = sketch.add(ops.LinearCombination, tuple(sums), (1,) * len(sums), 4)
    return sketch.finish(sketch.requant(total, relu=False)), sketch.cells


def _windows():
    """Windows and convolutions whose results have odd channels, and an image of one row in pieces."""
    sketch = Sketch(35)
    a = sketch.requant(sketch.conv(sketch.input((1, 2, 9, 10)), 5, (2, 3), pads=(1, 0, 0, 1)), offset=4)
    pooled = sketch.pool(a, (2, 2), stride=(1, 2))
    return sketch.finish(sketch.requant(sketch.matmul(pooled, 3, 3), relu=False)), sketch.cells


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("make", [_along_rows, _windows])
def test_no_stored_padding_is_free(make):
    """The first and last stored cell of padding of each column, one more than it should be; the rest as it was."""
    circuit, cells = make()
    first, tried = Cheat(circuit, cells), 0
    for (kind, number, part), column in first.key.layout.witness.columns.items():
        if kind not in ("tensor", "column"):
            continue
        box = column.storage.box
        if kind == "tensor":
            shape = circuit.tensors[number].shape
        else:
            op = circuit.ops[number]
            tensors = (circuit.tensors[one] for one in (*ops.results(op), *ops.operands(op)))
            shape = next(one.shape for one in tensors if stored(one.shape) == column.storage)
        padding = np.ones(box, dtype=bool)
        padding[tuple(slice(0, size) for size in shape)] = False
        places = np.argwhere(padding)
        for place in [*places[:1], *places[1:][-1:]]:
            cheat = Cheat(circuit, cells)
            held = cheat.witness.tensors[number] if kind == "tensor" else cheat.witness.extra[number, part]
            held.reshape([1 << bits for bits in column.storage.bits])[tuple(place)] += 1
            cheat.witness.counts = None
            cheat.refused()
            tried += 1
    assert tried >= 6


# --- a plan of the prover's own ---


def _columns_exchanged(layout):
    """Two columns of one storage, each at the other's addresses."""
    columns = layout.witness.columns
    a, b = [key for key in columns if key[0] == "column" and len(columns[key].addresses) > 1][:2]
    assert columns[a].storage == columns[b].storage
    return replace(layout, witness=replace(layout.witness, columns={**columns, a: columns[b], b: columns[a]}))


def _pieces_exchanged(layout):
    """The longest pieces of two columns, the shorter ones where they belong."""
    columns = layout.witness.columns
    a, b = [key for key in columns if key[0] == "column" and len(columns[key].addresses) > 1][:2]
    mixed = {
        key: replace(columns[key], addresses=(columns[other].addresses[0], *columns[key].addresses[1:]))
        for key, other in ((a, b), (b, a))
    }
    return replace(layout, witness=replace(layout.witness, columns={**columns, **mixed}))


def _two_columns_in_one_place(layout):
    """One column's cells serve two."""
    columns = layout.witness.columns
    a, b = [key for key in columns if key[0] == "column" and len(columns[key].addresses) > 1][:2]
    return replace(layout, witness=replace(layout.witness, columns={**columns, a: columns[b]}))


def _lookups_moved(layout):
    """The leaves of two groups of lookups exchanged."""
    blocks = [block for found in layout.bus.by_operation for block in found if len(block.group.addresses) > 1]
    first = blocks[0].group
    second = next(
        block.group
        for block in blocks
        if block.group.storage == first.storage and block.group.log_members == first.log_members and block.group != first
    )
    other = {first: replace(first, addresses=second.addresses), second: replace(second, addresses=first.addresses)}
    moved = tuple(
        tuple(replace(block, group=other.get(block.group, block.group)) for block in found) for found in layout.bus.by_operation
    )
    return replace(layout, bus=replace(layout.bus, by_operation=moved))


PLANS = [_columns_exchanged, _pieces_exchanged, _two_columns_in_one_place, _lookups_moved]


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("change", PLANS, ids=lambda one: one.__name__)
def test_another_plan_of_the_pieces(change):
    cheat = Cheat(*examples.odd_rows())
    cheat.given()
    layout = change(cheat.key.layout)
    assert layout != cheat.key.layout
    cheat.key = replace(cheat.key, layout=layout)
    cheat.refused()


# --- levels ---


@pytest.fixture
def leveled(suite, monkeypatch):
    """Three combinations over two levels, in both suites."""
    force_levels(monkeypatch, *SHORT)
    made = Cheat(*examples.mlp(hashed_input=True, hashed_output=True, committed=True))
    assert len(made.key.layout.levels) == 2
    return made


def _rolled(full, level):
    return np.roll(full, 1, axis=1)


def _doubled(full, level):
    return (full.astype(object) * 2 % P).astype(np.uint64)


def _components_exchanged(full, level):
    return full[::-1].copy()


def _first_component_alone(full, level):
    return np.stack([full[0], np.zeros_like(full[1])])


def _rows_exchanged(full, level):
    size, (first, *_, last) = level.shape.message, level.stored
    changed = full.reshape(2, -1, size).copy()
    changed[:, [first, last]] = changed[:, [last, first]]
    return changed.reshape(2, -1)


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    "change", [_rolled, _doubled, _components_exchanged, _first_component_alone, _rows_exchanged], ids=lambda one: one.__name__
)
def test_a_level_over_another_vector_with_rounds_that_fit_it(leveled, number, change, monkeypatch):
    """The prover's array is changed too, so rounds and the combination below speak of what is committed."""
    honest = proving.commit_level

    def commit_level(level, full, threads):
        if level.shape.label == f"level:{number}":
            full[:] = change(full, level)
        return honest(level, full, threads)

    monkeypatch.setattr(proving, "commit_level", commit_level)
    assert leveled.refused().code == "proof-invalid"


def _recoded(monkeypatch, number, change):
    """Level ``number`` commits to a code word that ``change`` was applied to."""
    honest = proving.commit_level

    def commit_level(level, full, threads):
        tree = honest(level, full, threads)
        if level.shape.label != f"level:{number}":
            return tree
        codeword = tree.codeword.copy()
        change(codeword, level.shape)
        return replace(tree, codeword=codeword, layers=proving.merkle_layers(codeword, threads))

    monkeypatch.setattr(proving, "commit_level", commit_level)


@pytest.mark.parametrize("number", [1, 2])
def test_a_row_of_a_level_of_degree_c(leveled, number, monkeypatch):
    """One coefficient more than a row has: every position speaks against the combination below, which has no such entry."""

    def change(codeword, shape):
        log = shape.length.bit_length() - 1
        for position in range(shape.length):
            power = pow(position_point(position, log), shape.message, P)
            codeword[position, 1] = (int(codeword[position, 1]) + power) % P

    _recoded(monkeypatch, number, change)
    assert leveled.refused().stopped == "level:2"


@pytest.mark.parametrize("number", [1, 2])
def test_a_code_word_of_a_level_with_more_errors_than_decode(leveled, number, monkeypatch):
    def change(codeword, shape):
        radius = (shape.length - shape.degree) // 2
        wrong = random.Random(number).sample(range(shape.length), radius + 1)
        codeword[wrong, 1] = (codeword[wrong, 1].astype(object) + 1) % P

    _recoded(monkeypatch, number, change)
    assert leveled.refused().stopped == "level:2"


def test_a_code_word_of_a_level_that_is_shorter_and_repeated(leveled, monkeypatch):
    """Half as many different columns, so half as many to be honest at."""
    _recoded(monkeypatch, 1, lambda codeword, shape: codeword.__setitem__(slice(1, None, 2), codeword[::2]))
    assert leveled.refused().stopped == "level:2"


@pytest.mark.parametrize("label", ["level.round", "openings.values", "openings.combination"])
def test_a_lie_in_a_message_of_the_levels(leveled, suite, label, monkeypatch):
    """Told, absorbed, and gone on with."""
    leveled.given()
    leveled.prove()
    labels = leveled.channel.labels
    monkeypatch.setattr(prove, "ProverChannel", PlainLiar)
    monkeypatch.setattr(prove, "HidingProverChannel", EncryptingLiar)
    found = [(message, count) for message, (name, count) in enumerate(labels) if name == label]
    for message, count in [*found[:2], *found[2:][-1:]]:
        for element in {0, count - 1}:
            Liar.target = (message, element)
            assert leveled.refused().code == "proof-invalid"


def _mutated(rng, proof):
    """One change anywhere in a proof."""
    openings, messages = list(proof.openings), list(proof.messages)
    which = rng.randrange(len(openings))
    one = openings[which]
    i, j = rng.sample(range(len(one.columns)), 2)
    kind = rng.choice(["cell", "columns", "path", "paths", "cap", "caps", "message", "messages", "zero", "component"])
    if kind == "cell":
        column = list(one.columns[i])
        at = rng.randrange(len(column))
        column[at] = (column[at] + rng.choice([1, P - 1, rng.randrange(1, P)])) % P
        openings[which] = replace(one, columns=(*one.columns[:i], tuple(column), *one.columns[i + 1 :]))
    elif kind in ("columns", "paths"):
        parts = list(getattr(one, kind))
        parts[i], parts[j] = parts[j], parts[i]
        openings[which] = replace(one, **{kind: tuple(parts)})
    elif kind == "path" and one.paths[i]:
        path = list(one.paths[i])
        at = rng.randrange(len(path))
        path[at] = rng.randbytes(32)
        openings[which] = replace(one, paths=(*one.paths[:i], tuple(path), *one.paths[i + 1 :]))
    elif kind in ("cap", "path"):
        at = rng.randrange(len(one.cap))
        openings[which] = replace(one, cap=(*one.cap[:at], rng.randbytes(32), *one.cap[at + 1 :]))
    elif kind == "caps":
        openings[which] = replace(one, cap=one.cap[1:] + one.cap[:1])
    else:
        at, other = rng.sample(range(len(messages)), 2)
        if kind == "messages":
            messages[at], messages[other] = messages[other], messages[at]
        else:
            a, b = messages[at]
            messages[at] = {"message": (a, (b + 1) % P), "zero": (0, 0), "component": (b, a)}[kind]
    return replace(proof, openings=tuple(openings), messages=tuple(messages))


def test_a_hundred_random_changes_of_a_proof_with_levels(leveled, suite):
    """Per suite."""
    proven, given = leveled.prove(), leveled.given()
    proof = proofs.decode(proven.proof, leveled.key.layout.commitments())
    rng, tried = random.Random(suite.name), 0
    while tried < 100:
        data = proofs.encode(_mutated(rng, proof))
        if data == proven.proof:
            continue
        with pytest.raises(EvidenceRejected) as caught:
            verify(*given, proven.statement, data)
        assert caught.value.code in ("proof-invalid", "proof-malformed")
        tried += 1
