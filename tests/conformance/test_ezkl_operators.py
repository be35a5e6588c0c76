"""What check says of ezkl is true: a form of an operator is called provable only where ezkl came to the right result."""

from __future__ import annotations

import json

from tests.conformance.make_ezkl_operators import TARGET, reaching, read
from tests.conformance.make_ezkl_page import PAGE, render
from verifai.engines.ezkl.cost.operators import DIVISIONS, EXACT, REFUSED, TABLES
from verifai.engines.ezkl.settings import VERSION

TOO_LARGE = {
    "averagepool_3d_default": "32 × 32 × 32 cells: more rows than the circuit of the measurement has",
    "maxpool_3d_default": "32 × 32 × 32 cells: more rows than the circuit of the measurement has",
    "reduce_prod_default_axes_keepdims_example": "a product of 479,001,600, beyond the measurement's range",
    "reduce_prod_default_axes_keepdims_random": "a product beyond the measurement's range",
}
"""Refused by ezkl for their size, which an estimate or the tuner says; the same operator came out right with other cases."""


def test_every_form_that_check_lets_through_came_out_right_in_ezkl() -> None:
    outcomes = {one["case"]: one for many in read().values() for one in many}
    assert json.loads(TARGET.read_text("utf-8"))["ezkl"] == VERSION
    let_through = {case.name for case in reaching()}
    assert len(let_through) > 400
    wrong = {
        name: outcomes.get(name, {"outcome": "not measured"})
        for name in let_through - set(TOO_LARGE)
        if outcomes.get(name, {}).get("outcome") != "right"
    }
    assert not wrong, f"refuse them in cost/operators.py, or measure them: {wrong}"


def test_every_operator_with_a_node_test_came_out_right_once_and_most_were_proven() -> None:
    let_through = {case.operator for case in reaching()} & (EXACT | TABLES | DIVISIONS)
    outcomes = read()
    assert not {name for name in let_through if not any(one["outcome"] == "right" for one in outcomes[name])}
    proven = {name for name, many in outcomes.items() if any(one.get("proven") for one in many)}
    assert len(proven & let_through) > len(let_through) / 2


def test_what_is_known_to_be_wrong_is_refused_by_name() -> None:
    assert {"Trilu", "DequantizeLinear", "QuantizeLinear"} <= set(REFUSED)
    assert not (EXACT | TABLES | DIVISIONS) & set(REFUSED)


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m tests.conformance.make_ezkl_page"
