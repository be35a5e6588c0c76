"""Verifiers in processes of their own: hanging, dying and lying ones take nobody with them. And what is portable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifai.consensus.portability import check_graph, check_runs, precision_of
from verifai.consensus.runner import VoteRunner
from verifai.domain.consensus.job import OutputKind, PrecisionClass, RuntimeOptions, VoteSubject
from verifai.domain.digest import sha256
from verifai.errors import DeadlineExceeded, EngineCrashed, InputRejected, UnsupportedModel, UsageError
from verifai.execution.child import Limits
from verifai.stages.consensus.process import run_apart
from verifai.stages.consensus.vote import make_job, require_inputs

INPUT = [{"x": np.ones((1, 4), dtype=np.float32)}]


def _model(nodes, weights=(), opset: int = 21, shape=("b", 4), out=("b", 4)) -> bytes:  # type: ignore[no-untyped-def]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, out)],
        list(weights),
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9).SerializeToString())


PLAIN = _model([helper.make_node("Relu", ["x"], ["y"])])


def _endless() -> bytes:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["again"]),
            helper.make_node("Sin", ["state"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    weights = [numpy_helper.from_array(np.array(10**15), "n"), numpy_helper.from_array(np.array(True), "yes")]
    return _model([helper.make_node("Loop", ["n", "yes", "x"], ["y"], body=body)], weights)


def _job(model: bytes):  # type: ignore[no-untyped-def]
    return make_job(VoteSubject(sha256(model), sha256(b""), OutputKind.EXACT, PrecisionClass.FP32, tensors=("y",)), INPUT)


def _write(folder: Path, model: bytes) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(model)
    return path


def test_a_model_that_never_ends_is_stopped_at_its_deadline(tmp_path: Path) -> None:
    model = _endless()
    with pytest.raises(DeadlineExceeded):
        run_apart(_write(tmp_path, model), _job(model), INPUT, limits=Limits(wall_seconds=4))


@pytest.mark.parametrize("worker", ["verifai.no_such_verifier", "this"])
def test_a_verifier_that_dies_or_answers_nothing_is_named(worker: str, tmp_path: Path) -> None:
    with pytest.raises(EngineCrashed) as caught:
        run_apart(_write(tmp_path, PLAIN), _job(PLAIN), INPUT, worker=worker)
    assert caught.value.code == "verifier-process"


def test_a_model_swapped_after_the_check_is_not_run(tmp_path: Path) -> None:
    path = _write(tmp_path, _model([helper.make_node("Neg", ["x"], ["y"])]))
    with pytest.raises(UsageError, match="changed"):
        run_apart(path, _job(PLAIN), INPUT)


def test_an_honest_verifier_gives_what_a_direct_run_gives(tmp_path: Path) -> None:
    (apart,) = run_apart(_write(tmp_path, PLAIN), _job(PLAIN), INPUT)
    (direct,) = VoteRunner(PLAIN, RuntimeOptions()).run(INPUT)
    assert np.array_equal(apart["y"], direct["y"])


@pytest.mark.parametrize("batch", [1, 2])
def test_parts_in_several_processes_give_what_one_gives(tmp_path: Path, batch: int) -> None:
    """Batches stay whole: a model may answer differently to another batch."""
    model = _model(
        [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=1), helper.make_node("Sub", ["x", "m"], ["y"])]
    )  # over the batch as well
    samples = [{"x": np.full((1, 4), number, dtype=np.float32)} for number in (5, 1, 4, 2, 3)]
    runtime = RuntimeOptions(batch)
    subject = VoteSubject(sha256(model), sha256(b""), OutputKind.EXACT, PrecisionClass.FP32, runtime, tensors=("y",))
    job, path = make_job(subject, samples), _write(tmp_path, model)
    one, more = run_apart(path, job, samples), run_apart(path, job, samples, jobs=3)
    assert [found["y"].tolist() for found in more] == [found["y"].tolist() for found in one]
    assert (len({found["y"].max() for found in one}) == 1) == (batch == 1), "the batch changes the answer"


def test_one_part_that_is_stopped_stops_the_others(tmp_path: Path) -> None:
    model = _endless()
    job = make_job(VoteSubject(sha256(model), sha256(b""), OutputKind.EXACT, PrecisionClass.FP32, tensors=("y",)), INPUT * 2)
    with pytest.raises(DeadlineExceeded):
        run_apart(_write(tmp_path, model), job, INPUT * 2, jobs=2, limits=Limits(wall_seconds=4))


def test_other_inputs_than_the_jobs_are_refused() -> None:
    with pytest.raises(InputRejected) as caught:
        require_inputs(_job(PLAIN), [{"x": np.zeros((1, 4), dtype=np.float32)}])
    assert caught.value.code == "job-input"


def test_rubbish_is_no_model() -> None:
    with pytest.raises(UnsupportedModel):
        VoteRunner(b"rubbish", RuntimeOptions())


@pytest.mark.parametrize("sample", [{}, {"x": INPUT[0]["x"], "z": INPUT[0]["x"]}, {"z": INPUT[0]["x"]}])
def test_wrong_names_are_refused(sample) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputRejected):
        VoteRunner(PLAIN, RuntimeOptions()).run([sample])


def test_batches_split_into_samples_again() -> None:
    rows = [{"x": np.full((1, 4), float(i), dtype=np.float32)} for i in range(5)]
    alone = VoteRunner(PLAIN, RuntimeOptions(batch=1)).run(rows)
    together = VoteRunner(PLAIN, RuntimeOptions(batch=2)).run(rows)
    assert all(np.array_equal(a["y"], b["y"]) for a, b in zip(alone, together, strict=True))


def _dynamic_int8() -> bytes:
    weights = numpy_helper.from_array(np.arange(-8, 8, dtype=np.int8).reshape(4, 4), "w")
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="quantise"),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["i"]),
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "s"], ["y"]),
    ]
    return _model(nodes, [weights])


def test_dynamic_int8_is_not_portable_and_batch_1_is_named_as_the_remedy() -> None:
    found = check_graph(_dynamic_int8(), RuntimeOptions(batch=4), PrecisionClass.INT8_DYNAMIC)
    assert all(one.code == "not-portable" for one in found)
    assert any("batch 1" in one.remedy for one in found)
    assert found[0].where == "quantise"


def test_dynamic_int8_is_seen_to_depend_on_its_company_in_the_batch() -> None:
    rows = [{"x": np.array([[0.1, 0.2, 0.3, 0.41]], dtype=np.float32) * scale} for scale in (1.0, 57.0, 3.0)]
    assert any("company" in one.message for one in check_runs(_dynamic_int8(), RuntimeOptions(), rows))
    assert [one.code for one in check_runs(PLAIN, RuntimeOptions(), rows)] == ["portable"]


def _static_int8(largest: int) -> bytes:
    weights = numpy_helper.from_array(np.full((4, 4), largest, dtype=np.int8), "w")
    scale, zero = numpy_helper.from_array(np.float32(0.1), "s"), numpy_helper.from_array(np.uint8(0), "z")
    wzero = numpy_helper.from_array(np.int8(0), "wz")
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["dw"]),
        helper.make_node("MatMul", ["d", "dw"], ["y"]),
    ]
    return _model(nodes, [weights, scale, zero, wzero])


@pytest.mark.parametrize(
    ("largest", "x64quantprecision", "code"),
    [(127, False, "not-portable"), (127, True, "portable"), (64, False, "portable")],
)
def test_static_int8_saturates_unless_an_option_or_the_weights_prevent_it(
    largest: int, x64quantprecision: bool, code: str
) -> None:
    options = RuntimeOptions(x64quantprecision=x64quantprecision)
    found = check_graph(_static_int8(largest), options, PrecisionClass.INT8_STATIC)
    assert [one.code for one in found] == [code]


def test_the_precision_class_is_read_from_the_graph_and_a_false_one_is_named() -> None:
    from onnx import ModelProto

    assert precision_of(ModelProto.FromString(_dynamic_int8())) is PrecisionClass.INT8_DYNAMIC
    assert precision_of(ModelProto.FromString(_static_int8(1))) is PrecisionClass.INT8_STATIC
    assert precision_of(ModelProto.FromString(PLAIN)) is PrecisionClass.FP32
    (found,) = check_graph(PLAIN, RuntimeOptions(), PrecisionClass.FP16)
    assert found.code == "not-portable"


def test_a_model_that_draws_random_numbers_is_sent_to_the_samples_kind() -> None:
    model = _model([helper.make_node("RandomNormalLike", ["x"], ["y"], name="dice")])
    (found,) = check_graph(model, RuntimeOptions(), PrecisionClass.FP32)
    assert (found.code, found.where) == ("not-portable", "dice")
    assert "samples" in found.remedy
