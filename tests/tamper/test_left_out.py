"""Samples that a circuit does not take: the evaluation goes on without them, they never help, and no other can be left out."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.batch_circuits import small_circuit
from tests.support.evaluations import ROWS, Insider, circuit, counting_circuit, lock_of, rows_set
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.domain.evaluation.data_lock import DataKind, DataLock, DataTask
from verifai.domain.evaluation.metrics import ClassCounts, ErrorSums, RightCount
from verifai.domain.evaluation.words import sentence
from verifai.domain.findings import Outcome
from verifai.domain.statement import Visibility
from verifai.errors import EvidenceRejected, InputRejected, VerifaiError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.reports.html_evaluation import evaluation_html
from verifai.stages.compile import compile_circuit
from verifai.stages.evaluate import evaluate
from verifai.stages.evaluation.data_set import DataSet
from verifai.stages.evaluation.judge import VerifiedEvaluation, verify_evaluation_at
from verifai.stages.evaluation.shown import shown_evaluation

DATA = rows_set()
FAR = (3, 8)


def with_far(data: DataSet, places: tuple[int, ...] = FAR, value: float = 50.0) -> DataSet:
    x = np.array(data.inputs["x"])
    x[list(places), 1] = value
    return replace(data, inputs={"x": x})


OUTLYING = with_far(DATA)
PIN = lock_of(OUTLYING)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("left-out")


@pytest.fixture(scope="module")
def folder(root: Path) -> CircuitFolder:
    return circuit(root, "rows")


@pytest.fixture(scope="module")
def whole(folder: CircuitFolder, root: Path) -> ClassCounts:
    """What the model answers where every sample is taken."""
    found = evaluate(folder, DATA, lock_of(DATA), root / "whole").evaluation.metrics.whole
    assert isinstance(found, ClassCounts)
    return found


def judged(folder: CircuitFolder, path: Path, pin: DataLock = PIN) -> VerifiedEvaluation:
    return verify_evaluation_at(path, read_lock(folder.lock_path), pin)


def refused(folder: CircuitFolder, path: Path, pin: DataLock = PIN) -> str:
    with pytest.raises(VerifaiError) as caught:
        judged(folder, path, pin)
    assert isinstance(caught.value, EvidenceRejected), caught.value
    return caught.value.code


def test_they_are_named_and_count_as_wrong(folder: CircuitFolder, root: Path, whole: ClassCounts) -> None:
    made = evaluate(folder, OUTLYING, PIN, root / "outlying")
    found = made.evaluation
    counts = found.metrics.whole
    assert isinstance(counts, ClassCounts)
    assert (found.left_out, counts.samples, counts.left_out) == (FAR, ROWS, 2)
    assert whole.accuracy.right - 2 <= counts.accuracy.right <= whole.accuracy.right
    (told,) = (one for one in found.findings if one.code == "samples-left-out")
    assert told.outcome is Outcome.NOT_CHECKED
    assert "3, 8" in told.message
    assert "2 of the others have no proven answer" in sentence(PIN, found.metrics)
    page = evaluation_html(shown_evaluation(found))
    assert "no answer to them is proven: 3, 8." in page
    for place in range(3):  # a precision never gains from an answer that is not there
        assert (counts.precision(place).value or 0) <= (whole.precision(place).value or 1)
    assert judged(folder, made.path).metrics == found.metrics


def test_the_same_without_a_batch_and_counted_inside(root: Path) -> None:
    single = evaluate(circuit(root, "single", batch=0), OUTLYING, PIN, root / "single-out").evaluation
    assert single.left_out == FAR
    inside = evaluate(counting_circuit(root, "inside", budget=8), OUTLYING, PIN, root / "inside-out").evaluation
    counts = single.metrics.whole
    assert isinstance(counts, ClassCounts)
    assert inside.metrics.whole == RightCount(ROWS, counts.accuracy.right, 2)
    assert inside.metrics.groups == {}


def test_no_sample_that_the_circuit_takes_can_be_left_out(folder: CircuitFolder, root: Path) -> None:
    order = [place for place in range(ROWS) if place not in (*FAR, 5)]
    dropped = Insider(folder, OUTLYING, root, order=order, left_out=(3, 5, 8)).write(root / "dropped")
    assert refused(folder, dropped) == "sample-not-outside"
    silent = Insider(folder, OUTLYING, root, order=order, left_out=FAR).write(root / "silent")
    assert refused(folder, silent) == "sample-out-of-order"
    none = Insider(folder, OUTLYING, root, order=[one for one in range(ROWS) if one not in FAR], edit={}).write(root / "unsaid")
    assert refused(folder, none) == "sample-out-of-order"


def test_another_sample_in_the_place_of_one_left_out_is_refused(folder: CircuitFolder, root: Path) -> None:
    order = [place for place in range(ROWS) if place not in FAR]
    honest = Insider(folder, OUTLYING, root, order=order, left_out=FAR).write(root / "honest")
    assert judged(folder, honest).left_out == FAR
    instead = Insider(folder, OUTLYING, root, order=[*order, 0], left_out=FAR).write(root / "instead")
    assert refused(folder, instead) == "sample-added"
    near = with_far(OUTLYING, FAR, 0.5)  # proven with values that it takes, in the place of those that it does not
    posing = Insider(folder, OUTLYING, root, proven=near).write(root / "posing")
    assert refused(folder, posing) == "sample-unknown"


def test_a_sample_that_no_integer_stands_for_is_no_way_out(folder: CircuitFolder, root: Path) -> None:
    """What is false is said to be false, also where another sample of the data set cannot be compared at all."""
    beyond = with_far(DATA, (8,), 1e30)
    order = [1, 0, *range(2, 8), 9]
    swapped = Insider(folder, beyond, root, order=order, left_out=(8,)).write(root / "swapped-beyond")
    assert refused(folder, swapped, lock_of(beyond)) == "sample-out-of-order"
    posing = Insider(folder, beyond, root, proven=DATA, order=[1, 0, *range(2, ROWS)]).write(root / "posing-beyond")
    assert refused(folder, posing, lock_of(beyond)) == "sample-out-of-order"
    instead = Insider(folder, beyond, root, proven=DATA).write(root / "instead-beyond")
    assert refused(folder, instead, lock_of(beyond)) == "sample-unknown"


def test_what_is_too_large_for_float32_is_left_out_alone(folder: CircuitFolder, root: Path, whole: ClassCounts) -> None:
    x = np.array(DATA.inputs["x"]).astype(np.float64)
    x[3, 1] = 1e300
    data = replace(DATA, inputs={"x": x})
    found = evaluate(folder, data, lock_of(data), root / "large").evaluation
    assert found.left_out == (3,)
    assert whole.accuracy.right - 1 <= found.metrics.whole.accuracy.right <= whole.accuracy.right  # type: ignore[union-attr]
    names = tuple("abcd")
    table = replace(data, kind=DataKind.TABLE, inputs={name: x[:, at] for at, name in enumerate(names)})
    rows = small_circuit(root, "columns", Visibility.PUBLIC, columns=names)
    again = evaluate(rows, table, lock_of(table), root / "large-table").evaluation
    assert (again.left_out, again.metrics.whole) == ((3,), found.metrics.whole)


def test_the_figures_of_fewer_samples_are_refused(folder: CircuitFolder, root: Path) -> None:
    order = [place for place in range(ROWS) if place not in FAR]
    fewer = {"samples": ROWS - 2}
    path = Insider(folder, OUTLYING, root, order=order, left_out=FAR, edit_whole=fewer).write(root / "fewer")
    assert refused(folder, path) == "metrics-differ"
    more = Insider(folder, OUTLYING, root, order=order, left_out=FAR, edit_whole={"left_out": 1}).write(root / "less-left-out")
    assert refused(folder, more) == "metrics-differ"


def test_a_number_beyond_float32_is_outside_too(folder: CircuitFolder, root: Path) -> None:
    x = np.array(DATA.inputs["x"], np.float64)
    x[FAR, 1] = (1e300, -1e39)
    huge = replace(DATA, inputs={"x": x})
    made = evaluate(folder, huge, lock_of(huge), root / "huge")
    assert made.evaluation.left_out == FAR
    assert judged(folder, made.path, lock_of(huge)).metrics == made.evaluation.metrics


def test_without_a_range_that_others_can_read_the_evaluation_is_refused(
    folder: CircuitFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("verifai.engines.sumcheck.engine.SumcheckEngine.input_ranges")
    with pytest.raises(InputRejected) as caught:
        evaluate(folder, OUTLYING, PIN, root / "no-range")
    assert caught.value.code == "input-out-of-range"


def test_where_nothing_is_taken_nothing_is_proven(folder: CircuitFolder, root: Path) -> None:
    all_far = with_far(DATA, tuple(range(ROWS)))
    with pytest.raises(InputRejected) as caught:
        evaluate(folder, all_far, lock_of(all_far), root / "never")
    assert caught.value.code == "input-out-of-range"
    assert not (root / "never").exists()


def test_the_same_command_goes_on_after_a_run_that_was_interrupted(folder: CircuitFolder, root: Path) -> None:
    made = evaluate(folder, OUTLYING, PIN, root / "again")
    again = evaluate(folder, OUTLYING, PIN, root / "again")
    assert again.evaluation.metrics == made.evaluation.metrics
    assert again.earlier == again.proofs


def regression(root: Path) -> CircuitFolder:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "numbers",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(np.array([[1.0], [2.0], [-1.0], [0.5]], np.float32), "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    folder = small_circuit(root, "numbers", Visibility.PUBLIC)
    (root / "numbers.onnx").write_bytes(canonicalise(proto.SerializeToString(), where="test").model.data)
    path = folder.folder / "circuit.toml"
    path.write_text(path.read_text().replace("[circuit]", '[circuit]\ntask = "regression"\nbatch = 4', 1))
    written = CircuitFolder(folder.folder)
    compile_circuit(written)
    return written


def test_a_regression_is_of_the_others_and_says_how_many_are_missing(root: Path) -> None:
    x = np.array(DATA.inputs["x"])
    labels = (x @ np.array([1.0, 2.0, -1.0, 0.5])).astype(np.float64)
    data = DataSet(DataKind.ARRAYS, DataTask.REGRESSION, {"x": x}, labels, (), DATA.groups)
    data = with_far(data, (4,))
    folder = regression(root)
    found = evaluate(folder, data, lock_of(data), root / "numbers-out").evaluation
    sums = found.metrics.whole
    assert isinstance(sums, ErrorSums)
    assert (sums.samples, sums.left_out, found.left_out) == (ROWS - 1, 1, (4,))
    assert sums.mean_absolute_error < Fraction(1, 50)
    assert "no answer to them is proven" in sentence(found.data, found.metrics)
    assert shown_evaluation(found).worst[0].place != 4
