"""Both verifiers on proofs with several sums of fractions: of small circuits, where the limit of one sum is lowered in both."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import conformance_cases as made
from tests.support import second_verifier
from tests.support import several_sums as sums
from tests.support import sumcheck_examples as examples
from tests.support.second_verifier import DRIVER, case_of, first, second
from tests.support.sumcheck_cheats import Cheat
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol import buses
from verifai.engines.sumcheck.protocol.relations import Kind
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE

pytestmark = pytest.mark.js

OWN = "MOST_LEAVES = mostLeaves(WIDTH)"
SUITES = pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)


def _lowered(monkeypatch: pytest.MonkeyPatch, folder: Path, limit: int) -> Path:
    """The limit of one sum, in Python; and a driver of the second verifier that has the same one."""
    sums.lower_limit(monkeypatch, limit)
    second_verifier._trusted.cache_clear()  # two limits may give a circuit the same bytes
    text = DRIVER.read_text(encoding="utf-8")
    assert text.count(OWN) == 1
    driver = folder / f"lowered-{limit}.mjs"
    driver.write_text(text.replace(OWN, f"MOST_LEAVES = {limit}"), encoding="utf-8")
    return driver


@SUITES
@pytest.mark.parametrize(("limit", "count"), [(4200, 2), (3000, 4)])
def test_both_accept_and_refuse_the_same(suite, limit, count, monkeypatch, tmp_path):
    monkeypatch.setattr(Sketch, "suite", suite)
    driver = _lowered(monkeypatch, tmp_path, limit)
    circuit, cells = sums.deep(private=suite.zero_knowledge)
    assert len(buses.build(circuit).sums) == count
    case = made.proven("several sums", (circuit, cells))
    cases = [case, *made.mutations(case, 40, 3)]
    mine = [first(one) for one in cases]
    assert mine[0].code == "" and sum(one.code == "proof-invalid" for one in mine) > 10
    assert second(cases, tmp_path, driver) == mine
    (elsewhere,) = second([case], tmp_path)
    assert elsewhere.code == "circuit-invalid"


@SUITES
def test_both_refuse_forged_proofs(suite, monkeypatch, tmp_path):
    monkeypatch.setattr(Sketch, "suite", suite)
    driver = _lowered(monkeypatch, tmp_path, sums.LIMIT)
    cases = []
    for forgery in sums.FORGERIES:
        cheat = Cheat(*sums.deep())
        with pytest.MonkeyPatch.context() as patch:
            forgery(cheat, patch)
            cases.append(case_of(forgery.__name__, cheat.key, cheat.prove(), cheat.true_weights))
    mine = [first(one) for one in cases]
    assert {one.code for one in mine} == {"proof-invalid"}
    assert second(cases, tmp_path, driver) == mine


OTHERS = {
    "rows": lambda shown: examples.odd_rows(committed=True, **shown),
    "sums": lambda shown: examples.wide_sums(**shown),
    "image": lambda shown: examples.odd_image(committed=True, **shown),
    "language model": lambda shown: examples.language_model(),
}


@SUITES
@pytest.mark.parametrize("name", OTHERS)
def test_both_divide_other_circuits_alike(name, suite, monkeypatch, tmp_path):
    """Every kind of owner: along rows, windows and columns, hashed and private inputs; and sums that are empty."""
    monkeypatch.setattr(Sketch, "suite", suite)
    shown = {"private": True} if suite.zero_knowledge else {"hashed": True}
    alone = buses.build(OTHERS[name](shown)[0])
    tables = sum(1 << table.log_size for table in alone.tables)
    found = set()
    for limit in (alone.leaves - 1, tables + (alone.leaves - tables) // 4):
        driver = _lowered(monkeypatch, tmp_path, limit)
        circuit, cells = OTHERS[name](shown)
        found.add(len(buses.build(circuit).sums))
        case = made.proven(f"{name}, {limit}", (circuit, cells))
        cases = [case, *made.mutations(case, 6, limit)]
        mine = [first(one) for one in cases]
        assert mine[0].code == ""
        assert second(cases, tmp_path, driver) == mine
    assert max(found) > 1


def test_both_divide_registrations_alike(monkeypatch, tmp_path):
    (case, *_) = made.private_weights()
    circuit = made.decode(case.files["circuit.bin"])
    limit = plan_relation(Kind.REGISTRATION, circuit).layout.bus.leaves - 1
    plan_relation.cache_clear()
    try:
        driver = _lowered(monkeypatch, tmp_path, limit)
        assert len(plan_relation(Kind.REGISTRATION, circuit).layout.bus.sums) > 1
        divided = list(made.private_weights())
        cases = [*divided, *made.mutations(divided[0], 30, 5)]
        mine = [first(one) for one in cases]
        assert [one.code for one in mine[:2]] == ["", ""] and len({one.code for one in mine}) > 2
        assert second(cases, tmp_path, driver) == mine
        (elsewhere,) = second([divided[0]], tmp_path)
        assert elsewhere.code != ""
    finally:
        plan_relation.cache_clear()
