"""Every honest witness of a circuit that the checks accept is proven, wherever the bounds lie: padding is not within them."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support import sumcheck_batches
from tests.support.ranged_circuits import STEPS, ranged, ranged_case
from tests.support.second_verifier import case_of, first
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import requant_t
from verifai.engines.sumcheck.circuit.program import Table
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.protocol.buses import split_range
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.engines.sumcheck.prover.prove import prepare, prove

SUITES = pytest.mark.parametrize("suite", (INTEGRITY, ZERO_KNOWLEDGE), ids=lambda suite: suite.name)

EVERY = range(len(STEPS))


def _refused(suite, seeds, monkeypatch, steps=EVERY):
    monkeypatch.setattr(Sketch, "suite", suite)
    cases = [ranged_case(seed, step) for step in steps for seed in seeds]
    return [(case.name, answer.detail) for case, answer in zip(cases, map(first, cases), strict=True) if answer.code]


@SUITES
def test_whatever_the_range_an_honest_run_is_proven(suite, monkeypatch):
    assert _refused(suite, range(4), monkeypatch) == []


@SUITES
def test_a_quotient_of_any_range_is_proven(suite, monkeypatch):
    assert _refused(suite, range(4, 24), monkeypatch, steps=(0,)) == []


@pytest.mark.slow
@pytest.mark.parametrize("start", range(30, 330, 60))
@SUITES
def test_many_more_ranges_are_proven(suite, start, monkeypatch):
    assert _refused(suite, range(start, start + 60), monkeypatch) == []


def test_the_drawn_quotients_are_of_every_kind():
    """Else the tests above say little: on either side of 0 and on both, of one value, with padding and without."""
    kinds = Counter()
    for seed in range(30):
        circuit, _ = ranged(seed, 0)
        (op,) = (one for one in circuit.ops if isinstance(one, ops.Requant))
        z = circuit.tensors[op.z]
        side = "below" if z.high < 0 else "above" if z.low > 0 else "both"
        kinds[op.saturate, side, z.padded != z.shape] += 1
        kinds["one value"] += z.low == z.high
        kinds["no shift"] += op.shift == 0
    wanted = [(True, side, padded) for side in ("below", "above") for padded in (False, True)]
    assert all(kinds[one] for one in (*wanted, (False, "both", True), "one value", "no shift")), kinds


def _one_sided(shape, low, high):
    """A quotient by 2^8, by a table of 64 values, of a tensor whose bounds are given."""
    sketch = Sketch()
    z = sketch.add(ops.LinearCombination, (sketch.input(shape, 0, (high - low) >> 10),), (1 << 10,), low)
    assert (sketch.tensors[z].low, sketch.tensors[z].high) == (low, high)
    sketch.tables.append(Table("step", -32, (*(0,) * 32, *(1,) * 32)))
    return sketch.finish(sketch.add(ops.Requant, z, table=0, shift=8, limbs=(8,), saturate=True))


@pytest.mark.parametrize(("low", "high"), [(-512 - 8191 * 1024, -512), (512, 512 + 8191 * 1024), (1 << 20, 1 << 20)])
def test_h_of_padding_is_in_its_table_where_padding_is_stored(low, high):
    """`Less(y, 0)` of a positive y is the first of these."""
    padded, full = _one_sided((1, 6, 8), low, high), _one_sided((1, 8, 8), low, high)
    least, bits = split_range(padded, padded.ops[1])
    assert least <= 0 < least + (1 << bits)
    ends = [requant_t(end, 8) >> 5 for end in (low, high)]
    assert least <= min(ends) and max(ends) < least + (1 << bits)
    assert split_range(full, full.ops[1]) == (ends[0], max(1, (ends[1] - ends[0]).bit_length()))  # as it always was


@SUITES
def test_one_sided_quotients_of_a_batch_are_proven(suite, monkeypatch):
    """One item has no padding, but three items in places for four have."""
    monkeypatch.setattr(Sketch, "suite", suite)
    single = _one_sided((4, 8), -512 - 8191 * 1024, -512)
    circuit, _ = sumcheck_batches.in_batch((single, []), 3)
    _, whole = sumcheck_batches.stacked(single, 2, 3)
    key = prepare(circuit, [])
    shown = prove(key, run(circuit, [], whole), opening_number=0 if circuit.opening_budget else None, items=2)
    assert first(case_of("batch", key, shown, [])).code == ""
