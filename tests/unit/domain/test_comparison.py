"""What is far from the float model and what is near, by a lock's figures; and what is not claimed of one number."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import nan
from typing import Any

import pytest

from verifai.domain.comparison import (
    TOLD_ITEMS,
    OutputComparison,
    compare_outputs,
    judge_distance,
    judge_items,
    judge_pinned,
)
from verifai.domain.digest import Sha256
from verifai.domain.fidelity import DEFAULT_FLOORS, POOR_BEYOND, Fidelity, LanguageFigures, OutputFigures, Task
from verifai.domain.findings import Finding, Outcome
from verifai.domain.statement import (
    EngineName,
    Privacy,
    Role,
    Statement,
    TensorStatement,
    Visibility,
    WeightVisibility,
)

PRICE = OutputFigures("y", (50.0,), 0.0, 300.0)
PINNED = Fidelity(100, None, 0.5, 0.2, 0, spread_error=0.008, r2=0.9999, task=Task.REGRESSION, outputs=(PRICE,))
SCORES = OutputFigures("y", (1.0, 1.0, 1.0), -3.0, 3.0)
CLASSES = Fidelity(100, 100, 0.02, 0.01, 0, spread_error=0.01, close_decisions=1, task=Task.CLASSIFICATION, outputs=(SCORES,))
PROBABILITY = OutputFigures("y", (0.3,), 0.0, 1.0, 0.5)
BINARY = replace(CLASSES, outputs=(PROBABILITY,))


def price(proven: float, reference: float, pinned: Fidelity = PINNED, step: float = 0.1) -> OutputComparison:
    return OutputComparison("y", (1, 1), (proven,), (reference,), step, pinned.task, pinned.output("y"))


def scores(proven: tuple[float, ...], reference: tuple[float, ...], pinned: Fidelity = CLASSES) -> OutputComparison:
    return OutputComparison("y", (1, len(proven)), proven, reference, 0.001, pinned.task, pinned.output("y"))


def judged(one: OutputComparison, pinned: Fidelity, **more: Any) -> Finding:
    return judge_distance(one, pinned, "run on the given input", **more)[0]


def test_a_regression_off_by_five_per_cent_of_its_spread_is_far_whatever_is_pinned() -> None:
    poor = replace(PINNED, max_abs_error=20.0, spread_error=0.3)
    for pinned in (PINNED, poor):
        found = judged(price(152.5, 150.0, pinned, step=5.0), pinned)
        assert (found.code, found.outcome) == ("reference-far", Outcome.POLICY_NOT_MET)
        assert "0.05 spreads" in found.message and found.remedy
    assert judged(price(151.4, 150.0, poor), poor).outcome is Outcome.HOLDS
    assert judged(price(151.4, 150.0, poor), poor, cap=0.01).outcome is Outcome.POLICY_NOT_MET
    assert judged(price(154.0, 150.0, poor), poor, cap=0.1).outcome is Outcome.HOLDS


def test_an_error_many_times_the_pinned_one_is_far_though_the_cap_would_allow_it() -> None:
    sharp = replace(PINNED, max_abs_error=0.01, spread_error=0.0002)
    assert judged(price(151.0, 150.0, sharp, step=0.01), sharp).outcome is Outcome.POLICY_NOT_MET
    assert judged(price(150.03, 150.0, sharp, step=0.01), sharp).outcome is Outcome.HOLDS
    exact = replace(PINNED, max_abs_error=0.0, spread_error=0.0)
    assert judged(price(150.1, 150.0, exact), exact).outcome is Outcome.HOLDS, "one step: nothing finer can be stated"
    assert judged(price(150.2, 150.0, exact), exact).outcome is Outcome.POLICY_NOT_MET


def test_each_cell_is_judged_by_its_own_spread() -> None:
    figures = OutputFigures("y", (1.0, 1000.0), 0.0, 9e3)
    pinned = replace(PINNED, max_abs_error=8.0, outputs=(figures,))
    one = OutputComparison("y", (1, 2), (5.5, 3000.0), (5.0, 3000.0), 0.01, Task.REGRESSION, figures)
    assert judged(one, pinned).outcome is Outcome.POLICY_NOT_MET, "half a spread, though 8 was the largest error anywhere"
    other = OutputComparison("y", (1, 2), (5.0, 3008.0), (5.0, 3000.0), 0.01, Task.REGRESSION, figures)
    assert judged(other, pinned).outcome is Outcome.HOLDS


def test_one_number_has_no_class_to_agree_on() -> None:
    assert price(1.0, 200.0).same_class is None
    assert scores((1.0, 2.0), (2.0, 1.0), replace(CLASSES, task=Task.REGRESSION)).same_class is None
    assert OutputComparison("y", (1, 1), (1.0,), (2.0,), task=Task.CLASSIFICATION).same_class is None, "no threshold is pinned"
    assert OutputComparison("y", (1, 3), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0)).same_class is None, "no lock says so"
    assert scores((1.0, 2.0, 0.0), (1.0, 2.0, 0.5)).same_class is True
    assert scores((1.0, 2.0, 0.0), (2.5, 2.0, 0.5)).same_class is False


def test_a_decision_that_differs_is_far_unless_the_models_own_is_within_rounding() -> None:
    assert judged(scores((1.03, 1.0, 0.0), (1.0, 1.03, 0.0)), CLASSES).outcome is Outcome.POLICY_NOT_MET
    assert judged(scores((1.005, 1.0, 0.0), (1.0, 1.005, 0.0)), CLASSES).outcome is Outcome.HOLDS
    # A poor circuit's own error excuses nothing.
    poor = replace(CLASSES, max_abs_error=5.0, spread_error=2.0)
    found = judged(scores((1.3, 1.0, 0.0), (1.0, 1.3, 0.0), poor), poor)
    assert found.outcome is Outcome.POLICY_NOT_MET and "decides otherwise" in found.message


def test_a_probability_on_the_other_side_of_one_half_is_far() -> None:
    loose = replace(BINARY, max_abs_error=0.5)
    one = OutputComparison("y", (1, 1), (0.6,), (0.4,), 0.001, Task.CLASSIFICATION, PROBABILITY)
    assert one.same_class is False and judged(one, loose).outcome is Outcome.POLICY_NOT_MET
    near = OutputComparison("y", (1, 1), (0.501,), (0.499,), 0.001, Task.CLASSIFICATION, PROBABILITY)
    assert near.same_class is False and judged(near, loose).outcome is Outcome.HOLDS


def test_every_row_decides_for_itself() -> None:
    figures = replace(SCORES, spread=(1.0,) * 4)
    pinned = replace(CLASSES, max_abs_error=9.0, outputs=(figures,))
    one = OutputComparison("y", (1, 2, 2), (9.0, 1.0, 0.1, 0.2), (9.0, 1.0, 0.9, 0.2), 0.001, Task.CLASSIFICATION, figures)
    assert one.turned == ((2, 3),) and judged(one, pinned).outcome is Outcome.POLICY_NOT_MET


def test_a_class_put_out_as_an_integer_is_the_models_or_it_is_not() -> None:
    pinned = replace(CLASSES, outputs=(), max_abs_error=9.0, spread_error=None)
    for proven, outcome in ((2.0, Outcome.HOLDS), (1.0, Outcome.POLICY_NOT_MET)):
        one = OutputComparison("y", (1,), (proven,), (2.0,), 1.0, Task.CLASSIFICATION, integers=True)
        (finding,) = judge_distance(one, pinned, "run on the given input")
        assert finding.outcome is outcome, "a difference of one between names of classes is no small error"


def test_an_older_lock_is_judged_by_the_older_rule_and_it_is_said() -> None:
    old = Fidelity(100, 100, 0.02, 0.01, 0)
    for proven, code in ((0.07, "reference-near"), (0.09, "reference-far")):
        finding, said = judge_distance(OutputComparison("y", (1,), (proven,), (0.0,)), old, "run on the given input")
        assert finding.code == code
        assert (said.code, said.outcome) == ("reference-distance", Outcome.NOT_CHECKED) and said.remedy
    assert judge_pinned(old).code == "fidelity-not-judged"


def test_figures_of_another_number_of_cells_are_no_figures() -> None:
    figures = OutputFigures("y", (1.0, 1.0, 1.0), 0.0, 1.0)
    one = OutputComparison("y", (1, 2), (1.0, 2.0), (1.0, 2.0), task=Task.REGRESSION, figures=figures)
    assert one.spread_error is None and len(judge_distance(one, PINNED, "run on the given input")) == 2


def test_no_number_is_never_near() -> None:
    assert judged(price(1.0, nan), PINNED).outcome is Outcome.POLICY_NOT_MET
    assert judged(scores((nan, 1.0, 0.0), (0.0, 1.0, 0.0)), CLASSES).outcome is Outcome.POLICY_NOT_MET


@pytest.mark.parametrize(
    "pinned",
    [
        replace(PINNED, spread_error=0.05),
        replace(CLASSES, spread_error=0.2),
        replace(CLASSES, top1_matches=69),
        replace(CLASSES, outputs=(), spread_error=None, top1_matches=69),
    ],
    ids=["regression", "classification", "agreement", "integers"],
)
def test_a_circuit_that_is_not_its_models_is_poor_whatever_its_author_asked(pinned: Fidelity) -> None:
    found = judge_pinned(pinned)
    assert (found.code, found.outcome) == ("fidelity-poor", Outcome.POLICY_NOT_MET) and found.remedy
    assert judge_pinned(pinned, part=True).outcome is Outcome.NOT_CHECKED


def test_a_limit_of_the_auditors_own_goes_both_ways() -> None:
    assert judge_pinned(replace(PINNED, spread_error=0.05), cap=0.06).outcome is Outcome.HOLDS
    assert judge_pinned(PINNED, cap=0.001).outcome is Outcome.POLICY_NOT_MET
    assert judge_pinned(replace(CLASSES, top1_matches=69), cap=9.0).outcome is Outcome.POLICY_NOT_MET


@pytest.mark.parametrize("task", Task)
def test_what_compile_accepts_by_default_is_never_poor(task: Task) -> None:
    floor, poor = DEFAULT_FLOORS[task], POOR_BEYOND[task]
    if task is Task.GENERATION:  # next tokens have no spread
        assert floor.perplexity_ratio is not None and poor.perplexity_ratio is not None
        assert poor.perplexity_ratio > floor.perplexity_ratio
    else:
        assert floor.spread_error is not None and poor.spread_error is not None and poor.spread_error > floor.spread_error
    assert (floor.top1_agreement is None) == (poor.top1_agreement is None)
    if floor.top1_agreement is not None and poor.top1_agreement is not None:
        assert poor.top1_agreement < floor.top1_agreement


def test_items_of_a_batch_are_judged_each_by_itself() -> None:
    near, far = price(150.1, 150.0), price(152.5, 150.0)
    found = judge_items([(near,), (far,), (price(150.0, 150.0),)], PINNED, "run on the sample")
    assert [(one.code, one.message.split(":")[0]) for one in found][:1] == [("reference-far", "item 1")]
    assert found[1].code == "reference-near"
    assert "in 2 of 3 items" in found[1].message
    assert found[1].evidence.startswith("item 0: ")
    assert judge_items([(far,)], PINNED, "run on the sample") == judge_distance(far, PINNED, "run on the sample")


def test_of_many_far_items_the_rest_is_counted() -> None:
    found = judge_items([(price(152.5, 150.0),)] * (TOLD_ITEMS + 7), PINNED, "run on the sample")
    assert len(found) == TOLD_ITEMS + 1
    assert found[-1].message.startswith("7 more items are far")
    assert {one.outcome for one in found} == {Outcome.POLICY_NOT_MET}


def _texts(pad: int | None, differ: int) -> tuple[Finding, ...]:
    """A decoder's statement of 20 positions, 12 of them text, against a float model that differs at the first few."""
    tokens = (*range(3, 15), *[0] * 8)
    sides = ((Role.INPUT, "tokens", tokens), (Role.OUTPUT, "next", (7,) * 20))
    tensors = tuple(
        TensorStatement(role, name, (1, 20), Visibility.PUBLIC, Fraction(1), quantised=cells) for role, name, cells in sides
    )
    stated = Statement(
        EngineName.SUMCHECK,
        Sha256("a" * 64),
        Sha256("b" * 64),
        tensors,
        "",
        True,
        Privacy.INTEGRITY_ONLY,
        WeightVisibility.PUBLIC,
    )
    pinned = Fidelity(5, 5, 0.0, 0.0, 0, task=Task.GENERATION, language=LanguageFigures(60, 60, 2.0, 2.0))
    reference = {"next": (*[8.0] * differ, *[7.0] * (12 - differ), *[9.0] * 8)}
    (compared,) = compare_outputs(stated, pinned, reference, pad=pad)
    return judge_distance(compared, pinned, "run on the given input")


def test_positions_behind_the_end_of_a_text_decide_nothing() -> None:
    assert [one.code for one in _texts(0, 0)] == ["reference-near"]
    assert [one.code for one in _texts(None, 0)] == ["reference-far"]


def test_single_tokens_may_differ_but_not_many() -> None:
    assert [one.code for one in _texts(0, 1)] == ["reference-near"]
    assert [one.code for one in _texts(0, 2)] == ["reference-far"]


def test_a_language_model_that_is_not_its_float_model_is_poor() -> None:
    good = Fidelity(5, 5, 0.0, 0.0, 0, task=Task.GENERATION, language=LanguageFigures(100, 95, 2.0, 2.05))
    assert judge_pinned(good).outcome is Outcome.HOLDS
    for figures in (LanguageFigures(100, 89, 2.0, 2.0), LanguageFigures(100, 100, 2.0, 2.2)):
        assert judge_pinned(replace(good, language=figures)).code == "fidelity-poor"
