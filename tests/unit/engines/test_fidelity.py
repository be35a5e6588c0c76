"""The one measure of fidelity: what it counts as a decision, and that it can fail."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.llama_model import llama
from verifai.domain.fidelity import DEFAULT_FLOORS, FidelityFloor, LanguageFigures, Task
from verifai.engines.fidelity import Measure, losses_of, reference_measure
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference


def measure(task: Task, values: np.ndarray, dtype: str = "float32") -> Measure:
    return Measure(task, [{"y": row} for row in np.asarray(values, dtype)])


def test_agreement_of_one_number_is_that_of_its_side_and_can_fail() -> None:
    probabilities = np.array([[0.9], [0.1], [0.8], [0.2]])
    found = measure(Task.CLASSIFICATION, probabilities).compare({"y": np.array([[0.9], [0.6], [0.8], [0.2]])})
    assert found.top1_matches == 3 and found.top1_agreement == 0.75
    scores = np.array([[3.0], [-1.0], [2.0]])
    assert measure(Task.CLASSIFICATION, scores).compare({"y": -scores}).top1_matches == 0


def test_a_regression_has_no_decision_and_its_error_is_told_in_spreads() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(150.0, 50.0, (400, 1))
    found = measure(Task.REGRESSION, values).compare({"y": values + 0.05 * values.std()})
    assert found.top1_matches is None and found.close_decisions is None
    assert found.spread_error == pytest.approx(0.05, rel=1e-3)
    assert DEFAULT_FLOORS[Task.REGRESSION].missed(found), "off by 5 % of the spread"
    near = measure(Task.REGRESSION, values).compare({"y": values + 0.005 * values.std()})
    assert not DEFAULT_FLOORS[Task.REGRESSION].missed(near) and near.r2 is not None and near.r2 > 0.9999


def test_outputs_laid_end_to_end_are_not_one_class() -> None:
    # The largest of all cells is always the first output's, whatever the second one says.
    first, second = np.array([[9.0, 1.0]]), np.array([[0.2, 0.1]])
    reference = Measure(Task.CLASSIFICATION, [{"a": first[0], "b": second[0]}])
    assert reference.compare({"a": first, "b": second[:, ::-1]}).top1_matches == 0


def test_every_row_of_an_output_is_a_decision() -> None:
    values = np.array([[[2.0, 1.0], [0.0, 1.0]]])
    assert measure(Task.CLASSIFICATION, values).compare({"y": values}).top1_matches == 1
    turned = values.copy()
    turned[0, 1] = turned[0, 1, ::-1]
    assert measure(Task.CLASSIFICATION, values).compare({"y": turned}).top1_matches == 0


def test_each_label_of_several_is_a_decision() -> None:
    values = np.array([[0.9, 0.8, 0.1]])
    found = measure(Task.MULTI_LABEL, values).compare({"y": np.array([[0.9, 0.4, 0.1]])})
    assert found.top1_matches == 0


def test_integer_outputs_agree_when_equal() -> None:
    labels = np.array([[1], [2], [0]])
    found = measure(Task.CLASSIFICATION, labels, "int64").compare({"y": np.array([[1], [2], [1]])})
    assert found.top1_matches == 2 and found.spread_error is None
    assert FidelityFloor(spread_error=0.1).missed(found), "what was not measured meets nothing"


def test_whole_numbers_alone_have_spreads_of_their_own_in_a_regression() -> None:
    wanted = np.arange(200).reshape(100, 2)
    exact = measure(Task.REGRESSION, wanted, "int64").compare({"y": wanted})
    assert exact.spread_error == 0.0 and exact.r2 is None and not exact.outputs
    assert not DEFAULT_FLOORS[Task.REGRESSION].missed(exact)
    far = measure(Task.REGRESSION, wanted, "int64").compare({"y": wanted + 30})
    assert far.spread_error is not None and far.spread_error > 0.4 and DEFAULT_FLOORS[Task.REGRESSION].missed(far)


def test_spreads_are_per_column_and_a_constant_column_borrows_the_wholes() -> None:
    rng = np.random.default_rng(1)
    values = np.stack([rng.normal(0, 1, 200), rng.normal(0, 1000, 200), np.full(200, 7.0)], axis=1)
    reference = measure(Task.REGRESSION, values)
    small, large, constant = reference.spread("y")
    assert small == pytest.approx(1, rel=0.2) and large == pytest.approx(1000, rel=0.2) and constant > 1
    off = values + np.array([0.5, 0.0, 0.0])
    assert reference.compare({"y": off}).spread_error > 0.4, "the wide column does not hide the narrow one"


def test_a_bad_column_among_hundreds_of_good_ones_is_seen() -> None:
    values = np.random.default_rng(2).normal(0, 1, (300, 200))
    found = values + 0.001
    found[:, 17] += 0.5
    compared = measure(Task.REGRESSION, values).compare({"y": found})
    assert compared.spread_error is not None and compared.spread_error < 0.01, "of all cells, it is less than one in a hundred"
    assert compared.column_error == pytest.approx(0.5, rel=0.2)
    (missed,) = DEFAULT_FLOORS[Task.REGRESSION].missed(compared)
    assert "worst output column" in missed
    assert not DEFAULT_FLOORS[Task.REGRESSION].missed(measure(Task.REGRESSION, values).compare({"y": values + 0.001}))


def test_an_output_of_one_column_beside_others_is_a_column_too() -> None:
    rng = np.random.default_rng(4)
    samples = [{"wide": rng.normal(0, 1, 150), "single": rng.normal(0, 1, 1)} for _ in range(200)]
    samples = [{name: value.astype(np.float32) for name, value in one.items()} for one in samples]
    exact = {name: np.stack([one[name] for one in samples]) for name in ("wide", "single")}
    compared = Measure(Task.REGRESSION, samples).compare({**exact, "single": exact["single"] + 0.5})
    assert compared.spread_error == 0.0 and compared.column_error == pytest.approx(0.5, rel=0.2)
    assert DEFAULT_FLOORS[Task.REGRESSION].missed(compared)


def test_one_column_alone_is_all_there_is() -> None:
    values = np.random.default_rng(5).normal(0, 1, (50, 1))
    assert measure(Task.REGRESSION, values).compare({"y": values}).column_error is None


def test_decisions_within_rounding_are_counted() -> None:
    values = np.array([[0.50, 0.49], [0.9, 0.1], [0.2, 0.8]])
    found = measure(Task.CLASSIFICATION, values).compare({"y": values + np.array([0.01, 0.0])})
    assert found.close_decisions == 1


@pytest.mark.parametrize("values", [[[3.0]], [[0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])
def test_constant_models_and_single_samples_have_a_spread(values: list[list[float]]) -> None:
    found = measure(Task.REGRESSION, np.array(values)).compare({"y": np.array(values) + 0.5})
    assert found.spread_error is not None and np.isfinite(found.spread_error) and found.spread_error > 0


def test_a_lock_gets_what_a_later_value_is_judged_by() -> None:
    values = np.array([[0.2, 0.8], [0.4, 0.6], [0.9, 0.1]])
    found = measure(Task.CLASSIFICATION, values).compare({"y": values})
    assert found.task is Task.CLASSIFICATION
    (figures,) = found.outputs
    assert figures.spread == pytest.approx(tuple(values.std(axis=0)), rel=1e-5)
    assert (figures.low, figures.high, figures.threshold) == (0.1, 0.9, None)
    assert all(one == float(f"{one:.6g}") for one in figures.spread), "six digits, so that another machine pins the same"


@pytest.mark.parametrize(
    ("task", "values", "threshold"),
    [
        (Task.CLASSIFICATION, [[0.1], [0.9]], 0.5),
        (Task.CLASSIFICATION, [[-3.0], [4.0]], 0.0),
        (Task.MULTI_LABEL, [[0.1, 0.2], [0.9, 0.3]], 0.5),
        (Task.REGRESSION, [[0.1], [0.9]], None),
    ],
)
def test_a_threshold_is_pinned_where_cells_decide(task: Task, values: list[list[float]], threshold: float | None) -> None:
    (figures,) = measure(task, np.array(values)).compare({"y": np.array(values)}).outputs
    assert figures.threshold == threshold


def test_large_outputs_get_one_spread_and_integers_none() -> None:
    values = np.random.default_rng(3).normal(0, 2, (50, 300))
    (figures,) = measure(Task.REGRESSION, values).compare({"y": values}).outputs
    squares = values.std(axis=0) ** 2
    assert figures.spread == pytest.approx((float(np.sqrt((squares**2).sum() / squares.sum())),), rel=1e-5)
    labels = np.array([[1], [2]])
    assert measure(Task.CLASSIFICATION, labels, "int64").compare({"y": labels}).outputs == ()


def _measured(task: Task, wanted: Any, found: Any) -> float:
    samples = [{"y": row.astype(np.float32)} for row in wanted]
    worst = Measure(task, samples).compare({"y": found}).column_error
    assert worst is not None
    return worst


@pytest.mark.parametrize("width", [0.5, 1e-2, 1e-5])
def test_a_narrow_column_of_a_table_is_an_answer_of_its_own(width: float) -> None:
    """An income and a rate: a rate that is always the same is wrong, however wide the income is."""
    random = np.random.default_rng(0)
    wanted = np.stack([random.normal(0, 1e6, 200), random.normal(0, width, 200)], axis=1)[:, None]
    lost = wanted.copy()
    lost[..., 1] = 0
    assert _measured(Task.REGRESSION, wanted, wanted.astype(np.float32)) < 1e-3
    assert _measured(Task.REGRESSION, wanted, lost) > 1


def test_what_is_next_to_nothing_beside_the_others_is_not_asked_for() -> None:
    """A class that never comes up, a dead cell of an embedding, and a column that float32 cannot move."""
    random = np.random.default_rng(0)
    shares = random.dirichlet([1, 1, 1], 200)[:, None] * np.array([1, 1, 1e-9])
    dead = np.stack([random.normal(0, 0.3, 200), random.normal(0, 1e-33, 200)], axis=1)[:, None]
    fixed = np.stack([random.normal(0, 3, 200), np.full(200, 7.0) + random.normal(0, 1e-7, 200)], axis=1)[:, None]
    for task, wanted in ((Task.CLASSIFICATION, shares), (Task.REGRESSION, shares), (Task.REGRESSION, dead)):
        lost = wanted.copy()
        lost[..., -1] = 0
        assert _measured(task, wanted, lost) < 1e-3
    near = fixed.copy()
    near[..., 1] = 7.003
    assert _measured(Task.REGRESSION, fixed, near) < 1e-3
    near[..., 1] = 9.0
    assert _measured(Task.REGRESSION, fixed, near) > 0.2


def _decoder() -> OnnxModel:
    return llama()


def test_a_language_model_is_measured_by_its_positions() -> None:
    """What is behind a text's end is not counted, whatever is put out there."""
    feeds = [{"ids": np.array([[5, 6, 7, 0, 0, 0]])}, {"ids": np.array([[8, 9, 0, 0, 0, 0]])}]
    measure = reference_measure(Task.GENERATION, _decoder(), feeds, 0)
    wanted = np.stack([np.asarray(Reference(_decoder()).run(feed)["next"]) for feed in feeds])
    assert measure.texts is not None and measure.texts.losses is not None
    assert (measure.texts.counted.sum(), (measure.texts.targets >= 0).sum()) == (5, 3)
    behind = wanted.copy()
    behind[:, :, 3:] += 1
    exact = measure.compare({"next": behind}, measure.texts.losses).language
    assert exact == LanguageFigures(5, 5, exact.perplexity, exact.perplexity) and exact.ratio == 1.0  # type: ignore[union-attr]
    wrong = wanted.copy()
    wrong[0, 0, 1] += 1
    found = measure.compare({"next": wrong}, measure.texts.losses + 0.01 * (measure.texts.targets >= 0))
    assert found.language is not None and found.language.matches == 4 and found.top1_agreement == 0.8
    assert found.top1_matches == 1 and found.worst_sample == 0
    assert found.language.ratio == pytest.approx(np.exp(0.01), rel=1e-4)
    floor = FidelityFloor(top1_agreement=0.99, perplexity_ratio=1.005)
    assert len(floor.missed(found)) == 2 and "4/5 positions" in floor.missed(found)[0]
    assert floor.missed(measure.compare({"next": wanted}, measure.texts.losses)) == ()


def test_without_padding_every_position_counts() -> None:
    measure = reference_measure(Task.GENERATION, _decoder(), [{"ids": np.array([[5, 6, 0, 0, 0, 0]])}])
    assert measure.texts is not None and measure.texts.counted.all()


def test_losses_are_those_of_a_softmax() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])) + 300.0
    assert losses_of(logits[None], np.array([1, -1])) == pytest.approx([np.log(4), 0.0])


def test_the_probability_of_a_rare_class_is_judged_beside_the_others() -> None:
    generator = np.random.default_rng(0)
    common = generator.uniform(0.1, 0.9, 400)
    rare = 0.002 + 0.0005 * generator.uniform(size=400)
    values = np.column_stack([common, 1 - common - rare, rare])
    off = np.column_stack([np.zeros((400, 2)), np.full(400, 5e-5)])  # a third of the column's own spread
    found = measure(Task.CLASSIFICATION, values).compare({"y": values + off})
    assert found.column_error == pytest.approx(5e-5 / (0.1 * values[:, :2].std(axis=0).mean()), rel=1e-3)
    assert not DEFAULT_FLOORS[Task.CLASSIFICATION].missed(found)
    assert DEFAULT_FLOORS[Task.CLASSIFICATION].missed(measure(Task.CLASSIFICATION, values).compare({"y": values + 40 * off}))


def test_narrow_columns_of_a_table_are_judged_by_themselves() -> None:
    values = np.random.default_rng(0).normal(size=(400, 2)) * np.array([1e6, 1.0])
    found = measure(Task.REGRESSION, values).compare({"y": values + np.array([0.0, 0.1])})
    assert found.column_error == pytest.approx(0.1, rel=0.1)


def test_more_columns_than_a_lock_has_room_for_have_the_one_spread_that_it_pins() -> None:
    scales = np.where(np.arange(300) % 2, 10.0, 0.1)
    values = np.random.default_rng(0).normal(size=(50, 300)) * scales
    one = measure(Task.REGRESSION, values)
    (pinned,) = one.compare({"y": values}).outputs[0].spread
    assert one.spread("y") == pytest.approx(np.full(300, pinned), rel=1e-5)
    assert one.compare({"y": values + 0.07}).column_error == pytest.approx(0.07 / pinned, rel=1e-3)


@pytest.mark.parametrize("classes", [10, 200, 5000])
def test_classes_that_never_occur_do_not_make_the_floor_harder(classes: int) -> None:
    """Ten letters that occur, and so many that do not: an error of a twentieth of a letter's spread is the same in all."""
    likely = np.random.default_rng(0).dirichlet(np.ones(10), 80)
    values = np.concatenate([likely, np.zeros((80, classes - 10))], axis=1)[:, None]
    off = np.zeros(classes)
    off[:10] = 0.05 * likely.std(axis=0)
    found = measure(Task.CLASSIFICATION, values).compare({"y": values + off})
    assert found.column_error == pytest.approx(0.05, rel=0.2)


def detected(generator: np.random.Generator, samples: int = 12, places: int = 400) -> np.ndarray:
    """Like a detector's: four places of a box in pixels, and two scores, each for many anchors."""
    boxes = generator.uniform(0, 320, (samples, 1, 4, places))
    scores = generator.beta(0.2, 8, (samples, 1, 2, places))
    return np.concatenate([boxes, scores], axis=2)


@pytest.mark.parametrize("last", [False, True])
def test_wrong_scores_do_not_hide_behind_boxes(last: bool) -> None:
    """In a box's unit, scores that are all zero are a ten-thousandth wrong."""
    values = detected(np.random.default_rng(0))
    lost = values.copy()
    lost[:, :, 4:] = 0.0
    if last:
        values, lost = values.swapaxes(2, 3), lost.swapaxes(2, 3)
    reference = measure(Task.REGRESSION, values)
    found = reference.compare({"y": lost})
    assert found.column_error is not None and found.column_error > 1
    assert DEFAULT_FLOORS[Task.REGRESSION].missed(found)
    (figures,) = found.outputs
    assert len(figures.spread) == 6 and figures.stride == (1 if last else 400)
    cells = reference.spread("y")
    assert [figures.spread_of(at) for at in range(cells.size)] == pytest.approx(cells.tolist(), rel=1e-5)
    assert figures.suits(cells.size) and not figures.suits(cells.size + 1) and not figures.suits(6 + 6 * figures.stride)
    near = measure(Task.REGRESSION, values).compare({"y": values + 0.001 * cells.reshape(values.shape[1:])})
    assert not DEFAULT_FLOORS[Task.REGRESSION].missed(near)


def test_scores_beside_boxes_that_fill_one_range_share_its_unit() -> None:
    values = detected(np.random.default_rng(0)) / np.array([320, 320, 320, 320, 1, 1])[:, None]
    (figures,) = measure(Task.REGRESSION, values).compare({"y": values}).outputs
    assert len(figures.spread) == 1 and figures.stride == 1


@pytest.mark.parametrize("classes", [5, 140])
def test_one_class_of_a_detector_that_is_lost_is_seen(classes: int) -> None:
    """Of 144 places, one is less than a hundredth of all cells, and of each anchor's."""
    generator = np.random.default_rng(0)
    boxes = generator.uniform(0, 320, (30, 1, 4, 70))
    scores = generator.beta(0.2, 8, (30, 1, classes, 70))
    values = np.concatenate([boxes, scores], axis=2)
    lost = values.copy()
    lost[:, :, 4 + classes // 2] = 0.0
    found = measure(Task.REGRESSION, values).compare({"y": lost})
    assert found.column_error is not None and found.column_error > 0.5
    assert DEFAULT_FLOORS[Task.REGRESSION].missed(found)


def test_a_massive_cell_does_not_excuse_errors_of_all_others() -> None:
    """An embedding with one cell that moves 300 times as far as each of the others, which are off by as much as they move."""
    widths = np.where(np.arange(400) == 7, 300.0, 1.0)
    values = np.random.default_rng(0).normal(size=(60, 400)) * widths
    reference = measure(Task.REGRESSION, values)
    found = reference.compare({"y": values + np.where(widths > 1, 0.0, 1.0)})
    assert found.judged_error is not None and found.judged_error > 0.05
    assert DEFAULT_FLOORS[Task.REGRESSION].missed(found)
    assert not DEFAULT_FLOORS[Task.REGRESSION].missed(reference.compare({"y": values + 0.005 * widths}))
    places = range(60)
    assert reference.judged({"y": values + np.where(widths > 1, 0.0, 1.0)}, places)[0] == pytest.approx(found.judged_error)


def test_an_error_of_few_cells_is_not_held_against_all_of_them() -> None:
    """Ten of 5,000 classes occur; what half of all cells are off by is nothing."""
    likely = np.random.default_rng(0).dirichlet(np.ones(10), 80)
    values = np.concatenate([likely, np.full((80, 4990), 1e-9)], axis=1)[:, None]
    off = np.where(np.arange(5000) < 10, 0.03 * likely.std(), 1e-9)
    found = measure(Task.CLASSIFICATION, values).compare({"y": values + off})
    assert not DEFAULT_FLOORS[Task.CLASSIFICATION].missed(found)


@pytest.mark.parametrize("cells", [3, 300])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_meets_no_floor(cells: int, bad: float) -> None:
    values = np.random.default_rng(0).normal(size=(50, cells))
    given = values.copy()
    given[3, 1] = bad
    with np.errstate(invalid="ignore"):
        found = measure(Task.REGRESSION, given).compare({"y": values})
    for floor in (DEFAULT_FLOORS[Task.REGRESSION], FidelityFloor(max_abs_error=1.0)):
        assert floor.missed(found)
