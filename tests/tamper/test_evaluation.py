"""A prover who holds every key cannot drop, repeat, exchange or relabel a sample, nor say other metrics than were proven.

Each false evaluation is assembled by an insider, with true proofs, right digests and counted metrics: only the step that the
attack is on is left to refuse it, and it refuses with a code of its own.
"""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.support.batch_circuits import small_circuit
from tests.support.evaluations import BATCH, ROWS, Insider, circuit, lock_of, rows_set
from verifai.circuit_folder import CircuitFolder, read_lock
from verifai.domain.evaluation.data_lock import DataLock
from verifai.domain.statement import EngineName, Visibility
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, decode, encode
from verifai.engines.sumcheck.engine import SumcheckEngine
from verifai.errors import EvidenceRejected, InputRejected, PolicyNotMet, VerifaiError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.npz import write_npz
from verifai.stages.compile import compile_circuit
from verifai.stages.evaluate import evaluate
from verifai.stages.evaluation.data_set import DataSet
from verifai.stages.evaluation.judge import VerifiedEvaluation, verify_evaluation_at
from verifai.stages.prove import prove
from verifai.stages.verify import Expectations, verify_bundle


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluation-attacks")


@pytest.fixture(scope="module")
def folder(root: Path) -> CircuitFolder:
    return circuit(root, "rows")


DATA = rows_set()
PIN = lock_of(DATA)


def judged(folder: CircuitFolder, path: Path, pin: DataLock = PIN, **expect: object) -> VerifiedEvaluation:
    return verify_evaluation_at(path, read_lock(folder.lock_path), pin, Expectations(**expect))  # type: ignore[arg-type]


def refused(folder: CircuitFolder, path: Path, pin: DataLock = PIN) -> str:
    with pytest.raises(VerifaiError) as caught:
        judged(folder, path, pin)
    assert isinstance(caught.value, EvidenceRejected), caught.value
    return caught.value.code


def with_labels(data: DataSet, labels: list[int]) -> DataSet:
    return replace(data, labels=np.array(labels, np.int64))


def test_what_the_insider_assembles_honestly_is_accepted(folder: CircuitFolder, root: Path) -> None:
    found = judged(folder, Insider(folder, DATA, root).write(root / "honest"))
    assert found.metrics.whole.samples == ROWS
    assert set(found.metrics.groups) == {"a", "b"}


def test_a_dropped_sample_is_missed_wherever_it_was(folder: CircuitFolder, root: Path) -> None:
    last = Insider(folder, DATA, root, order=range(ROWS - 1)).write(root / "without-last")
    assert refused(folder, last) == "sample-missing"
    inner = Insider(folder, DATA, root, order=[0, 1, 2, 4, 5, 6, 7, 8, 9]).write(root / "without-inner")
    assert refused(folder, inner) == "sample-out-of-order"


def test_a_sample_counted_twice_is_refused_in_the_place_of_another_and_beyond_the_last(
    folder: CircuitFolder, root: Path
) -> None:
    instead = Insider(folder, DATA, root, order=[0, 1, 2, 2, 4, 5, 6, 7, 8, 9]).write(root / "twice")
    assert refused(folder, instead) == "sample-repeated"
    beyond = Insider(folder, DATA, root, order=[*range(ROWS), 0]).write(root / "beyond")
    assert refused(folder, beyond) == "sample-added"


def test_samples_exchanged_within_a_batch_or_between_batches_are_refused(folder: CircuitFolder, root: Path) -> None:
    within = Insider(folder, DATA, root, order=[1, 0, 2, 3, 4, 5, 6, 7, 8, 9]).write(root / "within")
    assert refused(folder, within) == "sample-out-of-order"
    between = Insider(folder, DATA, root, order=[8, 1, 2, 3, 4, 5, 6, 7, 0, 9]).write(root / "between")
    assert refused(folder, between) == "sample-out-of-order"


def test_proofs_listed_in_another_order_or_left_out_are_refused(folder: CircuitFolder, root: Path) -> None:
    turned = Insider(folder, DATA, root, listed=[1, 0, 2]).write(root / "turned")
    assert refused(folder, turned) == "sample-out-of-order"
    left_out = Insider(folder, DATA, root, listed=[0, 1]).write(root / "left-out")
    assert refused(folder, left_out) == "broken-chain"


def test_another_sample_in_the_place_of_a_hard_one_is_refused(folder: CircuitFolder, root: Path) -> None:
    x = np.array(DATA.inputs["x"])
    x[5] = 0.25
    easy = replace(DATA, inputs={"x": x})
    assert refused(folder, Insider(folder, DATA, root, proven=easy).write(root / "easier")) == "sample-unknown"
    both = Insider(folder, DATA, root, proven=easy, carried=easy).write(root / "easier-carried")
    assert refused(folder, both) == "data-inputs-differ"


def test_labels_changed_or_permuted_are_refused(folder: CircuitFolder, root: Path) -> None:
    labels = DATA.labels.tolist()
    one = with_labels(DATA, [(labels[0] + 1) % 3, *labels[1:]])
    assert refused(folder, Insider(folder, DATA, root, carried=one).write(root / "relabelled")) == "data-labels-differ"
    turned = with_labels(DATA, labels[1:] + labels[:1])
    assert refused(folder, Insider(folder, DATA, root, carried=turned).write(root / "permuted")) == "data-labels-differ"


def test_a_group_renamed_or_exchanged_is_refused(folder: CircuitFolder, root: Path) -> None:
    renamed = replace(DATA, groups=tuple("c" if one == "b" else one for one in DATA.groups))
    assert refused(folder, Insider(folder, DATA, root, carried=renamed).write(root / "renamed")) == "data-groups-differ"
    exchanged = replace(DATA, groups=tuple("a" if one == "b" else "b" for one in DATA.groups))
    assert refused(folder, Insider(folder, DATA, root, carried=exchanged).write(root / "exchanged")) == "data-groups-differ"
    none = replace(DATA, groups=())
    assert refused(folder, Insider(folder, DATA, root, carried=none).write(root / "ungrouped")) == "data-malformed"


@pytest.mark.parametrize(
    ("name", "whole"),
    [
        ("right", {"right": ROWS}),
        ("confusion", {"confusion": [[0, 0, ROWS]]}),
        ("samples", {"samples": ROWS - 1}),
        ("top", {"top_k": [[2, ROWS]]}),
    ],
)
def test_edited_metrics_are_refused(folder: CircuitFolder, root: Path, name: str, whole: dict[str, object]) -> None:
    path = Insider(folder, DATA, root, edit_whole=whole).write(root / f"edited-{name}")
    assert refused(folder, path) == "metrics-differ"


def test_edited_metrics_of_groups_and_another_output_are_refused(folder: CircuitFolder, root: Path) -> None:
    assert refused(folder, Insider(folder, DATA, root, edit={"groups": []}).write(root / "no-groups")) == "metrics-differ"
    assert refused(folder, Insider(folder, DATA, root, output_name="z").write(root / "other-output")) == "metrics-differ"


def test_another_data_set_with_the_same_counts_is_refused(folder: CircuitFolder, root: Path) -> None:
    other = rows_set(seed=8)
    path = Insider(folder, other, root).write(root / "other-data")
    judged(folder, path, lock_of(other))
    assert refused(folder, path) == "data-not-pinned"
    # The same, said to be the pinned one.
    posing = Insider(folder, other, root, stated=PIN).write(root / "posing")
    assert refused(folder, posing) == "data-inputs-differ"
    counted = Insider(folder, DATA, root, count=ROWS - 1, order=range(ROWS - 1)).write(root / "counted")
    assert refused(folder, counted) == "data-not-pinned"


def test_a_batch_proof_that_was_cut_is_refused(folder: CircuitFolder, root: Path) -> None:
    whole = Insider(folder, DATA, root).write(root / "whole")
    proof = (whole / "payload" / "000001-proof.bin").read_bytes()
    cut = Insider(folder, DATA, root, files={"000001-proof.bin": proof[:-64]}).write(root / "cut")
    with pytest.raises(EvidenceRejected):
        judged(folder, cut)
    # A statement about fewer items beside the proof of all of them.
    short = Insider(folder, DATA, root, order=[*range(7)], sizes=[4, 3]).write(root / "short")
    statement = (short / "payload" / "000001-statement.bin").read_bytes()
    mixed = Insider(folder, DATA, root, files={"000001-statement.bin": statement}).write(root / "mixed")
    with pytest.raises(EvidenceRejected):
        judged(folder, mixed)


def test_batches_of_any_sizes_are_accepted_as_long_as_every_sample_is_there(folder: CircuitFolder, root: Path) -> None:
    found = judged(folder, Insider(folder, DATA, root, sizes=[1, 4, 2, 3]).write(root / "uneven"))
    assert found.metrics.whole.samples == ROWS


def test_proofs_under_another_lock_are_refused(folder: CircuitFolder, root: Path) -> None:
    other = circuit(root, "other", batch=2)
    path = Insider(other, DATA, root).write(root / "other-lock")
    judged(other, path)
    assert refused(folder, path) == "circuit-not-pinned"


def test_two_evaluations_and_files_of_nobody_are_refused(folder: CircuitFolder, root: Path) -> None:
    assert refused(folder, Insider(folder, DATA, root, twice=True).write(root / "two")) == "ambiguous-proof"
    stray = Insider(folder, DATA, root, files={"000007-proof.bin": b"x"}).write(root / "stray")
    assert refused(folder, stray) == "subject-mismatch"


def _npz(**arrays: np.ndarray) -> bytes:
    return write_npz({name.replace("_", "."): one for name, one in arrays.items()})


def _pickled() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{"input.0": np.array([object()]), "label": DATA.labels}, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PK\x03\x04 no archive",
        _npz(input_0=np.array(DATA.inputs["x"])),
        _npz(input_0=np.array(DATA.inputs["x"], np.float64), label=DATA.labels, group=np.zeros(3, np.uint8)),
        _npz(input_0=np.array(DATA.inputs["x"]), label=DATA.labels, group=np.frombuffer(b'["a"', np.uint8)),
        _npz(input_0=np.array(DATA.inputs["x"]), label=DATA.labels, group=np.frombuffer(b"[1, 2]", np.uint8)),
        _npz(input_0=np.array(DATA.inputs["x"]), label=DATA.labels + 90, group=np.frombuffer(b"[]", np.uint8)),
        _npz(input_0=np.zeros((0, 4), np.float32), label=np.zeros(0, np.int64), group=np.frombuffer(b"[]", np.uint8)),
        _pickled(),
    ],
)
def test_samples_that_cannot_be_read_are_refused(folder: CircuitFolder, root: Path, data: bytes) -> None:
    number = sum(1 for _ in root.iterdir())
    path = Insider(folder, DATA, root, files={"data.npz": data}).write(root / f"unreadable-{number}")
    assert refused(folder, path) in ("data-malformed", "data-inputs-differ")


def test_an_evaluation_needs_the_judges_pin_and_a_pin_needs_an_evaluation(folder: CircuitFolder, root: Path) -> None:
    path = Insider(folder, DATA, root).write(root / "unasked")
    with pytest.raises(PolicyNotMet) as caught:
        verify_bundle(path, read_lock(folder.lock_path))
    assert caught.value.code == "evaluation-not-asked"
    x = np.array(DATA.inputs["x"])
    (single,) = (one.path for one in prove(folder, [{"x": x[:1]}], root / "single"))
    with pytest.raises(PolicyNotMet) as caught:
        judged(folder, single)
    assert caught.value.code == "no-evaluation"


def test_the_context_that_was_asked_for_is_asked_of_every_proof(folder: CircuitFolder, root: Path) -> None:
    path = Insider(folder, DATA, root).write(root / "context")
    with pytest.raises(EvidenceRejected) as caught:
        judged(folder, path, context="nonce")
    assert caught.value.code == "context-mismatch"


def test_hidden_inputs_and_outputs_are_refused_before_the_first_proof_and_by_the_judge(root: Path) -> None:
    hidden = circuit(root, "hidden", Visibility.PRIVATE)
    with pytest.raises(PolicyNotMet) as caught:
        evaluate(hidden, DATA, PIN, root / "never")
    assert caught.value.code == "evaluation-input-hidden"
    assert not (root / "never").exists()
    path = Insider(hidden, DATA, root).write(root / "hidden-input")
    with pytest.raises(PolicyNotMet) as caught:
        judged(hidden, path)
    assert caught.value.code == "evaluation-input-hidden"


def test_hashed_inputs_are_matched_by_their_digest(root: Path) -> None:
    hashed = circuit(root, "hashed", Visibility.HASHED)
    path = Insider(hashed, DATA, root).write(root / "hashed-input")
    judged(hashed, path)
    exchanged = Insider(hashed, DATA, root, order=[1, 0, 2, 3, 4, 5, 6, 7, 8, 9]).write(root / "hashed-exchanged")
    assert refused(hashed, exchanged) == "sample-unknown"


def test_circuits_without_a_batch_prove_one_sample_each(root: Path) -> None:
    single = circuit(root, "single-circuit", batch=0)
    made = evaluate(single, DATA, PIN, root / "one-each")
    assert made.proofs == ROWS > BATCH
    swapped = Insider(single, DATA, root, order=[1, 0, *range(2, ROWS)]).write(root / "one-each-swapped")
    assert refused(single, swapped) == "sample-out-of-order"


def test_a_circuit_that_knows_the_order_of_the_data_set_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule on the circuit's bytes: one View that leaves out one place of the batch; and what the judge makes of it."""
    honest = views_circuit(root, "views")
    evaluate(honest, DATA, PIN, root / "views-evaluation")
    engine, section = SumcheckEngine(), dict(honest.lock().section(EngineName.SUMCHECK))
    path = honest.built_dir(EngineName.SUMCHECK) / "circuit.bin"
    assert engine.treats_alike(section, {"circuit.bin": path})
    data = leaving_out(path.read_bytes(), 2)
    other = root / "knowing.bin"
    other.write_bytes(data)
    with pytest.raises(EvidenceRejected):  # another circuit than the pinned one
        engine.treats_alike(section, {"circuit.bin": other})
    assert not engine.treats_alike({**section, "circuit_sha256": circuit_digest(data)}, {"circuit.bin": other})
    monkeypatch.setattr(SumcheckEngine, "treats_alike", lambda *arguments: False)
    with pytest.raises(PolicyNotMet) as caught:
        judged(honest, root / "views-evaluation")
    assert caught.value.code == "items-not-alike"


def test_a_circuit_that_chooses_by_the_place_is_not_asked_for_filler_that_it_does_not_repeat(root: Path) -> None:
    """Its owner pins it as if it were the compiled one. The last proof has two rows, and its filler another output."""
    folder = views_circuit(root, "choosing")
    path = folder.built_dir(EngineName.SUMCHECK) / "circuit.bin"
    before = path.read_bytes()
    path.write_bytes(leaving_out(before, 2))
    old, new = circuit_digest(before).encode(), circuit_digest(path.read_bytes()).encode()
    for file in (folder.folder / "circuit.lock", path.with_name("ranges.json")):
        file.write_bytes(file.read_bytes().replace(old, new))
    assert len(DATA) % BATCH == 2
    with pytest.raises(InputRejected) as caught:
        evaluate(CircuitFolder(folder.folder), DATA, PIN, root / "choosing-evaluation")
    assert caught.value.code == "input-shape" and f"takes {BATCH} at once" in caught.value.message


def leaving_out(data: bytes, place: int) -> bytes:
    """A circuit, one of whose Views leaves a place of the batch to its constant."""
    circuit = decode(data)
    number = next(at for at, op in enumerate(circuit.ops) if isinstance(op, ops.View))
    view = circuit.ops[number]
    assert isinstance(view, ops.View)
    first = view.pieces[0]
    indices = (tuple(ops.NONE if at == place else at for at in range(BATCH)), *first.indices[1:])
    changed = replace(view, pieces=(replace(first, indices=indices), *view.pieces[1:]))
    return encode(replace(circuit, ops=(*circuit.ops[:number], changed, *circuit.ops[number + 1 :])))


def views_circuit(root: Path, name: str) -> CircuitFolder:
    """``y = argmax(x·(v, u))``, whose scores are put together of two parts."""
    w = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "v"], ["a"]),
            helper.make_node("MatMul", ["x", "u"], ["b"]),
            helper.make_node("Concat", ["a", "b"], ["z"], axis=1),
            helper.make_node("ArgMax", ["z"], ["y"], axis=1, keepdims=0),
        ],
        "views",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [1])],
        [numpy_helper.from_array(w[:, :2], "v"), numpy_helper.from_array(w[:, 2:], "u")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    made = small_circuit(root, name, Visibility.PUBLIC)
    (root / f"{name}.onnx").write_bytes(canonicalise(proto.SerializeToString(), where="test").model.data)
    fresh = CircuitFolder(made.folder)
    compile_circuit(fresh, batch=BATCH)
    return fresh


def test_what_any_proof_cut_off_is_told_not_what_the_first_did(folder: CircuitFolder, root: Path) -> None:
    path = Insider(folder, DATA, root, clamped=(3, 70_000, 0)).write(root / "clamped")
    (told,) = (one for one in judged(folder, path).findings if one.code == "inner-saturated")
    assert "up to 70,000" in told.message
