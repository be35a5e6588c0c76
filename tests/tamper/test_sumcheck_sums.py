"""Several sums of fractions in one proof: each has to be 0 by itself, and none stands for another.

The limit of one sum is lowered, so that small circuits have four sums, of unlike lengths, and tables that several look up in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.several_sums import LIMIT, deep, lower_limit
from tests.support.sumcheck_cheats import Cheat
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.planning.plan import plan
from verifai.engines.sumcheck.protocol import buses, field
from verifai.engines.sumcheck.protocol import soundness as bounds
from verifai.engines.sumcheck.prover import channel as channels
from verifai.engines.sumcheck.prover import lookups as prover_lookups
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.lookups import Layer
from verifai.engines.sumcheck.verifier.verify import trust_circuit
from verifai.errors import EvidenceRejected, UnsupportedModel

pytestmark = pytest.mark.usefixtures("suite", "several")


@pytest.fixture
def several(monkeypatch):
    lower_limit(monkeypatch)


def _cheat():
    return Cheat(*deep())


def _sum_of(cheat, number):
    return cheat.key.layout.bus.by_operation[number][0].group.sum


def _shared(bus):
    """Tables that two sums look up in: the numbers of two copies of one."""
    found = {}
    for number, table in enumerate(bus.tables):
        found.setdefault((table.kind, table.index), []).append(number)
    return next(numbers for numbers in found.values() if len(numbers) > 1)


def test_the_circuit_has_what_is_attacked():
    cheat = _cheat()
    bus = cheat.key.layout.bus
    assert len(bus.sums) == 4 and len(set(bus.sums)) > 1 and max(bus.sums) <= LIMIT < sum(bus.sums) == bus.leaves
    assert _shared(bus)
    assert len({_sum_of(cheat, number) for number, found in enumerate(bus.by_operation) if found}) > 1
    counts = cheat.witness.multiplicities()
    for share, leaves in enumerate(bus.sums):
        looked_up = sum(int(counts[number].sum()) for number, table in enumerate(bus.tables) if table.sum == share)
        assert looked_up == leaves - sum(1 << table.log_size for table in bus.tables if table.sum == share)


def test_the_error_is_that_of_the_largest_sum():
    layout = plan(_cheat().circuit)
    largest = max(layout.bus.sums)
    rounded = (2 + 2) << (largest - 1).bit_length()
    assert layout.soundness[0].millibits == bounds.millibits(rounded, bounds.FIELD_SIZE)


@pytest.mark.parametrize("which", [0, -1])
def test_a_false_row_in_one_sum(which):
    cheat = _cheat()
    op = cheat.op(ops.Requant, which)
    cells = cheat.witness.tensors[op.out]
    cells[0] += 1 if cells[0] < cheat.circuit.tensors[op.out].high else -1
    assert cheat.refused().where == "lookups.layer2"


def test_counts_moved_to_another_sums_copy_of_the_table():
    """The table is looked up as often as it says; but not in the sum that says it."""
    cheat = _cheat()
    one, other = _shared(cheat.key.layout.bus)[:2]
    counts = cheat.witness.multiplicities()
    row = int(np.argmax(counts[one]))
    counts[one][row] -= 1
    counts[other][row] += 1
    cheat.witness.counts = counts
    assert cheat.refused().where == "lookups.layer2"


def _lie_about(monkeypatch, change):
    """The sums' denominators, as ``change`` makes them of the true ones."""
    honest = prover_lookups._products
    monkeypatch.setattr(prover_lookups, "_products", lambda top, count: change(honest(top, count)))


@pytest.mark.parametrize("share", range(4))
def test_another_denominator_of_a_sum(share, monkeypatch):
    cheat = _cheat()
    cheat.given()
    _lie_about(monkeypatch, lambda roots: [field.add(r, field.ONE) if i == share else r for i, r in enumerate(roots)])
    assert cheat.refused().where == "lookups.layer2"


def test_denominators_of_two_sums_exchanged(monkeypatch):
    cheat = _cheat()
    cheat.given()
    _lie_about(monkeypatch, lambda roots: [roots[1], roots[0], *roots[2:]])
    assert cheat.refused().where == "lookups.layer2"


@pytest.mark.parametrize("share", range(4))
def test_a_denominator_of_zero(share, monkeypatch, suite):
    cheat = _cheat()
    cheat.given()
    monkeypatch.setattr(channels.field, "inverse", lambda value: field.ONE if value == field.ZERO else _inverse(value))
    _lie_about(monkeypatch, lambda roots: [field.ZERO if i == share else r for i, r in enumerate(roots)])
    assert cheat.refused().where == "lookups.root"


_inverse = field.inverse


def test_a_sum_left_out():
    """Its leaves are filler, in a prover's leaves; the verifier adds up what belongs there."""
    cheat = _cheat()
    cheat.given()
    honest = proving.lookup_blocks

    def without(*arguments):
        return [block for block in honest(*arguments) if block.sum != 1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proving, "lookup_blocks", without)
        assert cheat.refused().where in ("lookups.numerators", "lookups.denominators")


def test_leaves_of_two_sums_exchanged():
    """Each sum is 0, wherever it stands; its leaves are not where the circuit has them."""
    cheat = _cheat()
    cheat.given()
    honest = proving.lookup_blocks

    def exchanged(*arguments):
        return [replace(block, sum={0: 1, 1: 0}.get(block.sum, block.sum)) for block in honest(*arguments)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proving, "lookup_blocks", exchanged)
        assert cheat.refused().where in ("lookups.numerators", "lookups.denominators")


def test_a_false_row_made_up_for_in_another_sum():
    """A leaf that is filler in a shorter sum brings the total of all sums back to 0, as one sum of all would have it."""
    cheat = _cheat()
    cheat.given()
    op = cheat.op(ops.Requant)
    cells = cheat.witness.tensors[op.out]
    cells[0] += 1 if cells[0] < cheat.circuit.tensors[op.out].high else -1
    bus, share = cheat.key.layout.bus, _sum_of(cheat, cheat.number(ops.Requant))
    other = min((one for one in range(4) if one != share), key=lambda one: bus.sums[one])
    honest = prover_lookups.build_leaves

    def filled(bus, blocks, alpha, beta):
        layer = honest(bus, blocks, alpha, beta)
        total = _total(layer)
        assert total != field.ZERO
        place = bus.sums[other] * 4 + other
        half = layer.q0.shape[1]
        p, q, at = (layer.p0, layer.q0, place) if place < half else (layer.p1, layer.q1, place - half)
        assert at < p.shape[0] and (int(p[at]), int(q[0, at]), int(q[1, at])) == (0, 1, 0)
        p[at] = 1
        q[:, at] = field.sub(field.ZERO, field.inverse(total))
        assert _total(layer) == field.ZERO
        return layer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("verifai.engines.sumcheck.prover.party.build_leaves", filled)
        found = cheat.refused()
    assert found.where == "lookups.layer2"


def _total(layer: Layer) -> field.Ext:
    """Of all leaves' fractions."""
    total = field.ZERO
    for p, q in ((layer.p0, layer.q0), (layer.p1, layer.q1)):
        for numerator, a, b in zip(p.tolist(), *q.tolist(), strict=True):
            if numerator:
                total = field.add(total, field.scale(field.inverse((a, b)), numerator))
    return total


@pytest.mark.parametrize("elsewhere", [1 << 40, 1000])
def test_a_circuit_planned_with_another_number_of_sums(elsewhere, monkeypatch, suite):
    """A verifier derives the number itself: it is nobody's choice."""
    circuit, _ = deep()
    data = encode(circuit)
    monkeypatch.setattr(buses, "MOST_LEAVES", elsewhere)
    assert len(buses.build(circuit).sums) != 4
    with pytest.raises(EvidenceRejected) as caught:
        trust_circuit(data, circuit_digest(data))
    assert caught.value.code == "circuit-invalid"


def test_one_owner_of_too_many_leaves_is_refused(monkeypatch, suite):
    monkeypatch.undo()
    with pytest.raises(UnsupportedModel) as caught:
        examples.many_lookups(2, suite, rows=11000)
    assert (caught.value.code, caught.value.where) == ("sumcheck-too-large", "lookups: fractions")


@pytest.mark.parametrize(("limit", "sums"), [(1 << 40, 0), (4200, 2)])
def test_honest_proofs_of_other_numbers_of_sums(limit, sums, monkeypatch):
    monkeypatch.setattr(buses, "MOST_LEAVES", limit)
    cheat = _cheat()
    assert len(cheat.key.layout.bus.sums) == sums
    assert cheat.verify().circuit == cheat.circuit


@pytest.mark.parametrize("log_sums", [2, 3])
def test_sums_without_leaves(log_sums, monkeypatch):
    """As where one owner has most leaves: all leaves of such a sum are filler, and its denominator is 1."""
    honest, arranged = buses._sums_of, buses._arranged
    monkeypatch.setattr(buses, "_sums_of", lambda wanted, logs: [one & 2 for one in honest(wanted, 2)])
    monkeypatch.setattr(buses, "_arranged", lambda circuit, wanted, logs: arranged(circuit, wanted, log_sums))
    cheat = _cheat()
    assert len(cheat.key.layout.bus.sums) == 1 << log_sums and cheat.key.layout.bus.sums[1] == 0
    assert cheat.verify().circuit == cheat.circuit
