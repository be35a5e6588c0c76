"""Ordinary models on raw real data, with default settings: the table of docs/estimators.md in a small form."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.estimators import results
from tools.estimators.measure import measure
from tools.estimators.page import page
from tools.estimators.zoo import SMALL, Case, cases
from verifai.domain.fidelity import DEFAULT_FLOORS
from verifai.domain.statement import EngineName

CASES = {case.slug: case for case in cases()}


def test_the_table_covers_what_people_have() -> None:
    assert len({case.name for case in CASES.values()}) >= 60
    assert set(SMALL) <= set(CASES)


@pytest.mark.parametrize("case", [CASES[slug] for slug in SMALL], ids=SMALL)
def test_a_model_as_people_have_it_is_proven_near_its_float_values(case: Case, tmp_path: Path) -> None:
    row = measure(case, tmp_path, EngineName.SUMCHECK)
    assert row.accepted, row.reason
    limit = DEFAULT_FLOORS[case.task].spread_error
    assert limit is not None and row.spread_error is not None and row.held_out is not None
    assert row.spread_error <= limit and row.held_out <= 3 * limit
    results.write(results.read("sumcheck", tmp_path).with_row(row), tmp_path)
    assert f"| {case.name} | {case.data} |" in page(results.read_all(tmp_path))
