"""Both verifiers on proofs with several sums of fractions: of small circuits, where the limit of one sum is lowered in both."""

from __future__ import annotations

import pytest

from tests.support import conformance_cases as made
from tests.support.second_verifier import DRIVER, first, second
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.protocol import buses
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE

pytestmark = pytest.mark.js

OWN = "MOST_LEAVES = mostLeaves(WIDTH)"


def _deep(suite):
    sketch = Sketch(5)
    x = sketch.input((3, 21), private=suite.zero_knowledge)
    for width in (37, 33, 21, 37, 5, 2):
        x = sketch.requant(sketch.matmul(x, width), relu=width == 2, offset=1)
    return sketch.finish(x), sketch.cells


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
@pytest.mark.parametrize(("limit", "sums"), [(4200, 2), (3000, 4)])
def test_both_accept_and_refuse_the_same(suite, limit, sums, monkeypatch, tmp_path):
    monkeypatch.setattr(Sketch, "suite", suite)
    monkeypatch.setattr(buses, "MOST_LEAVES", limit)
    text = DRIVER.read_text(encoding="utf-8")
    assert text.count(OWN) == 1
    driver = tmp_path / "lowered.mjs"
    driver.write_text(text.replace(OWN, f"MOST_LEAVES = {limit}"), encoding="utf-8")
    circuit, cells = _deep(suite)
    assert len(buses.build(circuit).sums) == sums
    case = made.proven("several sums", (circuit, cells))
    cases = [case, *made.mutations(case, 40, 3)]
    mine = [first(one) for one in cases]
    assert mine[0].code == "" and sum(one.code == "proof-invalid" for one in mine) > 10
    assert second(cases, tmp_path, driver) == mine
    (elsewhere,) = second([case], tmp_path)
    assert elsewhere.code == "circuit-invalid"
