"""Right answers counted inside proofs: who holds every key can say no other count, and count by no other labels or samples.

As in ``test_evaluation.py``, each false evaluation is assembled of true proofs with right digests; one step has to refuse it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.batch_circuits import small_circuit
from tests.support.evaluations import BATCH, ROWS, Insider, circuit, counting_circuit, lock_of, rows_set
from verifai.bundle.reader import open_bundle
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.domain.counting import LABELS as LABEL_INPUT
from verifai.domain.counting import RIGHT, PinnedCount
from verifai.domain.evaluation.data_lock import DataLock
from verifai.domain.evaluation.metrics import RightCount
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.sumcheck import verifying
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.lock_section import LockSection
from verifai.engines.sumcheck.quantise.scales import ColumnScale, Scale
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.stages.compile import compile_circuit
from verifai.stages.evaluate import evaluate
from verifai.stages.evaluation.data_set import DataSet
from verifai.stages.evaluation.judge import VerifiedEvaluation, verify_evaluation_at
from verifai.stages.prove import prove
from verifai.stages.verify import verify_bundle

DATA = rows_set(groups=())
PIN = lock_of(DATA)
LABELS = DATA.labels.tolist()
NONE = [-1, -1]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("counts")


@pytest.fixture(scope="module")
def folder(root: Path) -> CircuitFolder:
    return counting_circuit(root, "counting", budget=64)


def judged(folder: CircuitFolder, path: Path, pin: DataLock = PIN) -> VerifiedEvaluation:
    return verify_evaluation_at(path, read_lock(folder.lock_path), pin)


def refused(folder: CircuitFolder, path: Path, pin: DataLock = PIN) -> str:
    with pytest.raises(VerifaiError) as caught:
        judged(folder, path, pin)
    assert isinstance(caught.value, EvidenceRejected), caught.value
    return caught.value.code


def with_labels(labels: list[int]) -> DataSet:
    return replace(DATA, labels=np.array(labels, np.int64))


def test_the_count_is_that_of_an_evaluation_that_shows_every_answer(folder: CircuitFolder, root: Path) -> None:
    shown = evaluate(circuit(root, "showing"), DATA, PIN, root / "shown").evaluation.metrics.whole
    found = evaluate(folder, DATA, PIN, root / "honest").evaluation
    assert found.metrics.whole == RightCount(ROWS, shown.accuracy.right)  # type: ignore[union-attr]
    assert {one.name for one in found.statement.tensors} == {"x", "y"}
    (code,) = [one.code for one in found.findings if one.code == "sumcheck-counts"]
    assert code
    assert judged(folder, Insider(folder, DATA, root).write(root / "insider")).metrics == found.metrics


def test_a_batch_shows_its_count_and_nothing_of_its_answers(folder: CircuitFolder, root: Path) -> None:
    path = Insider(folder, DATA, root).write(root / "little")
    with open_bundle(path) as bundle:
        for one in bundle.of_type("urn:verifai:proof:v1"):
            tensors = one.predicate.statement.tensors  # type: ignore[union-attr]
            assert [t.name for t in tensors if t.quantised is None and t.quantised_sha256 is None] == ["y"]


def test_another_count_than_the_proven_one_is_refused(folder: CircuitFolder, root: Path) -> None:
    right = judged(folder, Insider(folder, DATA, root).write(root / "true")).metrics.whole.accuracy.right  # type: ignore[union-attr]
    more = {"right": right + 1}
    assert refused(folder, Insider(folder, DATA, root, edit_whole=more).write(root / "more")) == "metrics-differ"
    # The same in the proof's own statement: its last four bytes are the count.
    path = root / "true" / "payload" / "000000-statement.bin"
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    forged = Insider(folder, DATA, root, files={"000000-statement.bin": bytes(data)}).write(root / "forged")
    with pytest.raises(EvidenceRejected):
        judged(folder, forged)


def test_labels_of_another_order_or_of_another_data_set_are_refused(folder: CircuitFolder, root: Path) -> None:
    first, second = next((a, b) for a in range(ROWS) for b in range(ROWS) if LABELS[a] != LABELS[b])
    turned = list(LABELS)
    turned[first], turned[second] = turned[second], turned[first]
    for name, labels in (
        ("turned", turned),
        ("shifted", LABELS[1:] + LABELS[:1]),
        ("other", [(one + 1) % 3 for one in LABELS]),
    ):
        path = Insider(folder, DATA, root, labels=[*labels, *NONE]).write(root / name)
        assert refused(folder, path) == "count-labels-differ", name
    kept = Insider(folder, DATA, root, labels=[*LABELS[:-1], -1, *NONE]).write(root / "one-not-counted")
    assert refused(folder, kept) == "count-labels-differ"
    carried = with_labels([(one + 1) % 3 for one in LABELS])
    assert refused(folder, Insider(folder, carried, root, stated=PIN).write(root / "relabelled")) == "data-labels-differ"
    other = rows_set(seed=8, groups=())
    assert refused(folder, Insider(folder, other, root).write(root / "other-data")) == "data-not-pinned"


def test_samples_repeated_exchanged_or_left_away_are_refused(folder: CircuitFolder, root: Path) -> None:
    cases = {
        "within": ([0, 1, 2, 2, 4, 5, 6, 7, 8, 9], "sample-repeated"),
        "across": ([0, 1, 2, 3, 4, 5, 6, 7, 8, 0], "sample-repeated"),
        "exchanged": ([1, 0, 2, 3, 4, 5, 6, 7, 8, 9], "sample-out-of-order"),
        "short": ([0, 1, 2, 3, 4, 5, 6, 7], "sample-missing"),
    }
    for name, (order, code) in cases.items():
        labels = [*LABELS[: len(order)], *NONE][: -(-len(order) // BATCH) * BATCH]
        path = Insider(folder, DATA, root, order=order, labels=labels).write(root / name)
        assert refused(folder, path) == code, name
    more = Insider(folder, DATA, root, order=[*range(ROWS), 0, 1, 2], labels=[*LABELS, *LABELS[:3], -1, -1, -1])
    assert refused(folder, more.write(root / "more-batches")) == "sample-added"


def test_what_fills_the_last_batch_is_counted_by_nothing(folder: CircuitFolder, root: Path) -> None:
    counted = Insider(folder, DATA, root, labels=[*LABELS, LABELS[-1], -1]).write(root / "filler-counted")
    assert refused(folder, counted) == "sample-added"
    other = Insider(folder, DATA, root, order=[*range(ROWS), 0, 1], labels=[*LABELS, -1, -1]).write(root / "filler-other")
    assert refused(folder, other) == "sample-added"


def test_a_batch_left_away_or_taken_from_another_circuit_is_refused(folder: CircuitFolder, root: Path) -> None:
    assert refused(folder, Insider(folder, DATA, root, listed=[0, 1]).write(root / "unlisted")) == "broken-chain"
    assert refused(folder, Insider(folder, DATA, root, listed=[2, 1, 0]).write(root / "turned-batches")) != ""
    wider = counting_circuit(root, "wider", batch=5, budget=8)
    assert refused(folder, Insider(wider, DATA, root).write(root / "other-circuit")) == "circuit-not-pinned"


def test_a_proof_by_itself_is_no_evidence_and_no_answer_is_asked_of_the_circuit(folder: CircuitFolder, root: Path) -> None:
    x = np.array(DATA.inputs["x"])
    with pytest.raises(UsageError) as caught:
        prove(folder, [{"x": x[:1]}], root / "unlabelled").__next__()
    assert caught.value.code == "count-only"
    samples = [{"x": x[at : at + 1], "count.labels": np.full((1,) * 1, LABELS[at])[:1]} for at in range(BATCH)]
    shape = folder.lock().section("sumcheck")["count_right"]["label_shape"]  # type: ignore[index]
    samples = [{**one, "count.labels": one["count.labels"].reshape(shape)} for one in samples]
    (made,) = prove(folder, samples, root / "alone")
    with pytest.raises(PolicyNotMet) as unmet:
        verify_bundle(made.path, read_lock(folder.lock_path))
    assert unmet.value.code == "count-only"


def told(root: Path, name: str) -> CircuitFolder:
    """A model that is told: it answers with the largest cell of an input that is called as the count is."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("Add", ["z", RIGHT], ["s"]),
            helper.make_node("ArgMax", ["s"], ["y"], axis=1, keepdims=0),
        ],
        "told",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
            helper.make_tensor_value_info(RIGHT, TensorProto.FLOAT, [1, 3]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [1])],
        [numpy_helper.from_array(np.ones((4, 3), np.float32), "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    folder = counting_text(root, name)
    (root / f"{name}.onnx").write_bytes(canonicalise(proto.SerializeToString(), where="test").model.data)
    rng = np.random.default_rng(1)
    rows = {"x": rng.uniform(-0.9, 0.9, (64, 4)), RIGHT: rng.uniform(-50, 50, (64, 3))}
    np.savez(root / f"{name}-cal.npz", **{one: array.astype(np.float32) for one, array in rows.items()})  # type: ignore[arg-type]
    path = folder.folder / "circuit.toml"
    path.write_text(path.read_text().replace('x = "public"', f'x = "public"\n"{RIGHT}" = "public"'))
    compile_circuit(CircuitFolder(folder.folder), batch=BATCH)
    return CircuitFolder(folder.folder)


def counting_text(
    root: Path, name: str, seen: str = "private", weights: WeightVisibility = WeightVisibility.PRIVATE
) -> CircuitFolder:
    """A folder whose circuit.toml asks for a count, not compiled."""
    folder = small_circuit(root, name, Visibility.PUBLIC, weights)
    path = folder.folder / "circuit.toml"
    text = path.read_text().replace('        y = "public"', f'        y = "{seen}"')
    path.write_text(text.replace('engine = "sumcheck"', 'engine = "sumcheck"\ncount_right = true', 1))
    folder.lock_path.unlink()
    return CircuitFolder(folder.folder)


class Telling(Insider):
    """Feeds the second input with the labels."""

    def _labelled(self, samples: Sequence[dict[str, Any]], order: Sequence[int], counting: PinnedCount) -> list[dict[str, Any]]:
        rows = super()._labelled(samples, order, counting)
        known = [int(one[LABEL_INPUT].reshape(-1)[0]) for one in rows]
        return [
            {**one, RIGHT: np.float32([[45.0 * (at == label) for at in range(3)]])}
            for one, label in zip(rows, known, strict=True)
        ]


def test_an_input_that_is_called_as_the_count_is_matched_or_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it was dropped with the count before inputs were matched: whatever it held, such as the labels, was proven."""
    with monkeypatch.context() as dishonest:
        dishonest.setattr("verifai.engines.sumcheck.lowering.counted.RIGHT", "elsewhere")
        dishonest.setattr("verifai.engines.sumcheck.lock_section._require_count", lambda *_: None)
        cheat = told(root, "told")
        path = Telling(cheat, DATA, root).write(root / "told-labels")
        with pytest.raises(PolicyNotMet) as unmatched:  # the second line: it is an input, and the data set has none for it
            judged(cheat, path)
    assert unmatched.value.code == "evaluation-other-inputs"
    with pytest.raises(UsageError) as refusal:
        judged(cheat, path)
    assert refusal.value.code == "bad-lock"


def test_scores_with_a_scale_per_column_are_not_counted(
    folder: CircuitFolder, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiler makes no such circuit: integers would be compared that mean other things, column by column."""
    path = root / "columns"
    evaluate(folder, DATA, PIN, path)
    real = verifying._check_count

    def stated(section: LockSection, circuit: Circuit) -> None:
        assert section.count_right is not None
        name = section.count_right.answer
        columns = Scale(1, 0, -9, 9, columns=(ColumnScale(0, 0), ColumnScale(-3, 0), ColumnScale(5, 0)))
        real(replace(section, scales={**section.scales, name: columns}), circuit)

    assert judged(folder, path).metrics.whole is not None
    monkeypatch.setattr(verifying, "_check_count", stated)
    with pytest.raises(UsageError, match="a scale per column") as refusal:
        judged(folder, path)
    assert refusal.value.code == "bad-lock"


def test_hashed_inputs_and_outputs_are_matched_and_counted(root: Path) -> None:
    folder = counting_text(root, "hashed", "hashed", WeightVisibility.PUBLIC)
    path = folder.folder / "circuit.toml"
    path.write_text(path.read_text().replace('x = "public"', 'x = "hashed"'))
    compile_circuit(CircuitFolder(folder.folder), batch=BATCH)
    hashed = CircuitFolder(folder.folder)
    found = evaluate(hashed, DATA, PIN, root / "hashed-out").evaluation.metrics
    shown = evaluate(circuit(root, "hashed-shown"), DATA, PIN, root / "hashed-shown-out").evaluation.metrics.whole
    assert found.whole == RightCount(ROWS, shown.accuracy.right)  # type: ignore[union-attr]
    swapped = Insider(hashed, DATA, root, order=[1, 0, *range(2, ROWS)], labels=[*LABELS, *NONE]).write(root / "hashed-swapped")
    assert refused(hashed, swapped) == "sample-unknown"
    other = Insider(hashed, DATA, root, order=[*range(ROWS), 0, 1], labels=[*LABELS, *NONE]).write(root / "hashed-filler")
    assert refused(hashed, other) == "sample-unknown"
    x = np.array(DATA.inputs["x"])
    x[:, 0] = 99.0
    far = replace(DATA, inputs={"x": x})
    none = Insider(hashed, far, root, proven=DATA, order=range(BATCH), labels=NONE * 2, left_out=tuple(range(ROWS)))
    assert refused(hashed, none.write(root / "all-left-out"), lock_of(far)) == "sample-added"


def test_a_batch_that_is_no_power_of_two_counts_no_padding(root: Path) -> None:
    five = evaluate(counting_circuit(root, "five", batch=5), DATA, PIN, root / "five-out").evaluation.metrics.whole
    shown = evaluate(circuit(root, "five-shown", batch=5), DATA, PIN, root / "five-shown-out").evaluation.metrics.whole
    assert five == RightCount(ROWS, shown.accuracy.right)  # type: ignore[union-attr]


def test_hidden_inputs_are_refused_as_without_a_count(root: Path) -> None:
    hidden = circuit(root, "hidden-input", Visibility.PRIVATE, batch=0)
    path = hidden.folder / "circuit.toml"
    text = path.read_text().replace('y = "public"', 'y = "private"')
    path.write_text(text.replace('engine = "sumcheck"', 'engine = "sumcheck"\ncount_right = true\nbatch = 4', 1))
    from verifai.stages.compile import compile_circuit

    compile_circuit(CircuitFolder(hidden.folder))
    with pytest.raises(PolicyNotMet) as caught:
        evaluate(CircuitFolder(hidden.folder), DATA, PIN, root / "hidden-never")
    assert caught.value.code == "evaluation-input-hidden"


def test_a_class_that_the_circuit_lacks_is_never_right(root: Path, folder: CircuitFolder) -> None:
    four = replace(DATA, labels=np.array([3, *LABELS[1:]], np.int64), classes=("0", "1", "2", "3"))
    found = evaluate(folder, four, lock_of(four), root / "four").evaluation.metrics.whole
    base = evaluate(folder, DATA, PIN, root / "three").evaluation.metrics.whole
    assert isinstance(found, RightCount)
    assert isinstance(base, RightCount)
    assert found.right in (base.right, base.right - 1)


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('y = "public"', "bad-spec"),  # everybody can count then
        ("batch = 1", "bad-spec"),
        ('task = "regression"', "bad-spec"),
        ('engine = "ezkl"', "batch-unsupported"),
    ],
)
def test_what_cannot_count_is_refused_before_any_cost(tmp_path: Path, line: str, code: str) -> None:
    from tests.support.batch_circuits import small_circuit
    from verifai.stages.compile import compile_circuit

    folder = small_circuit(tmp_path, "odd", Visibility.PUBLIC)
    path = folder.folder / "circuit.toml"
    text = path.read_text().replace('y = "public"', 'y = "private"').replace("[circuit]", "[circuit]\ncount_right = true", 1)
    text = {
        'y = "public"': text.replace('y = "private"', line),
        'engine = "ezkl"': text.replace('engine = "sumcheck"', line),
    }.get(line, text.replace("count_right = true", f"count_right = true\n{line}"))
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        compile_circuit(CircuitFolder(folder.folder), batch=None if "batch" in line else 4)
    assert caught.value.code == code
