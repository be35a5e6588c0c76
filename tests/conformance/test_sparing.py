"""Both verifiers on a circuit that was lowered for few lookups: a mixture's divisor is a multiple of a sum, and bounds tell."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support import conformance_cases as made
from tests.support.second_verifier import first, second
from tests.unit.engines.sumcheck.lowering.test_sparing import lowered
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol.suite import INTEGRITY

pytestmark = pytest.mark.js


def test_both_know_the_bounds_of_a_mixture(tmp_path):
    draft = lowered(True)
    circuit = planned(replace(draft.circuit, suite="draft"), INTEGRITY)
    made_by = {out: op for op in circuit.ops for out in ops.results(op)}
    divisors = [made_by[op.q] for op in circuit.ops if isinstance(op, ops.Recip)]
    assert any(isinstance(op, ops.RowSum) and op.multiplier > 1 for op in divisors)
    case = made.proven("few lookups", (circuit, list(draft.weights)))
    cases = [case, *made.mutations(case, 10, 3)]
    mine = [first(one) for one in cases]
    assert mine[0].code == ""
    assert second(cases, tmp_path) == mine
