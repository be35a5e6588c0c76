"""Circuit folders of segments: what they keep, what they pin, what is refused; and outputs handed to the next prover."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder, render_lock
from verifai.cli.app import run
from verifai.domain.record import Record
from verifai.domain.statement import EngineName, Role, Visibility
from verifai.engines.interface import PinnedScale
from verifai.engines.sumcheck.engine import SumcheckEngine
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Scale, Segment, parse_options
from verifai.errors import UsageError, VerifaiError
from verifai.onnx_graph.arrays import read_npz
from verifai.onnx_graph.npz import write_npz
from verifai.stages.chain.split import split_model
from verifai.stages.compile import compile_circuit

FIXTURE = ROOT / "fixtures" / "digits-cnn"


@pytest.fixture
def circuit(tmp_path: Path) -> Path:
    """The repository's circuit, whose image is hashed."""
    shutil.copytree(
        ROOT / "circuits" / "digits-cnn", tmp_path / "circuits" / "digits-cnn", ignore=shutil.ignore_patterns("build")
    )
    shutil.copytree(FIXTURE, tmp_path / "fixtures" / "digits-cnn")
    return tmp_path / "circuits" / "digits-cnn"


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "circuit.toml").read_text()
    assert old in text
    (folder / "circuit.toml").write_text(text.replace(old, new))


def refused(code: str, path: Path, cuts: list[str], output: Path, calibration: Path | None = None) -> None:
    with pytest.raises(VerifaiError) as caught:
        split_model(path, cuts, output, calibration=calibration)
    assert caught.value.code == code and not output.exists()


def test_what_cannot_be_split_leaves_nothing_behind(circuit: Path, tmp_path: Path) -> None:
    target = tmp_path / "out"
    refused("no-calibration-data", FIXTURE / "model.onnx", ["relu"], target)
    refused("unknown-tensor", circuit, ["nowhere"], target)
    refused("cut-invalid", circuit, ["logits"], target)


def test_a_segment_is_not_split_again_nor_overwritten(circuit: Path, tmp_path: Path) -> None:
    split_model(circuit, ["max_pool2d"], tmp_path / "out")
    refused("bad-spec", tmp_path / "out" / "2", ["relu_1"], tmp_path / "again")
    with pytest.raises(UsageError) as caught:
        split_model(circuit, ["relu"], tmp_path / "out")
    assert caught.value.code == "file-exists"


def test_segments_keep_the_specification_and_hash_their_boundary(circuit: Path, tmp_path: Path) -> None:
    """Both sides of a boundary pin one scale; equal arguments give equal bytes."""
    made = split_model(circuit, ["max_pool2d", "relu_1"], tmp_path / "out")
    assert [one.nodes for one in made] == [3, 2, 2]
    specs = [CircuitFolder(one.folder).spec for one in made]
    assert [dict(spec.tensors) for spec in specs] == [
        {"image": Visibility.HASHED, "max_pool2d": Visibility.HASHED},
        {"max_pool2d": Visibility.HASHED, "relu_1": Visibility.HASHED},
        {"relu_1": Visibility.HASHED, "logits": Visibility.PUBLIC},
    ]
    assert [spec.task.value for spec in specs] == ["regression", "regression", "classification"] and len(
        {spec.name for spec in specs}
    ) == 3
    pinned = [{one["value"]: one for one in spec.options["sumcheck"]["boundary"]} for spec in specs]
    assert pinned[0]["max_pool2d"] == pinned[1]["max_pool2d"] and pinned[1]["relu_1"] == pinned[2]["relu_1"]
    assert all((one.folder / "calibration.npz").stat().st_mode & 0o077 == 0 for one in made)
    again = split_model(circuit, ["relu_1", "max_pool2d"], tmp_path / "again")
    for one, other in zip(made, again, strict=True):
        for file in ("model.onnx", "circuit.toml", "calibration.npz"):
            assert (one.folder / file).read_bytes() == (other.folder / file).read_bytes()


def test_the_lock_of_a_segment_is_reproduced(circuit: Path, tmp_path: Path) -> None:
    made = split_model(circuit, ["max_pool2d"], tmp_path / "out")
    for one in made:
        lock = compile_circuit(CircuitFolder(one.folder)).lock_path.read_bytes()
        assert compile_circuit(CircuitFolder(one.folder), locked=True).reproduced
        assert render_lock(CircuitFolder(one.folder).lock()) == lock


def test_a_narrower_boundary_range_becomes_the_outputs_own(circuit: Path, tmp_path: Path) -> None:
    """A range that the operator before it would not give by itself: the output is clamped to it, and verify compares it."""
    first, _ = split_model(circuit, ["max_pool2d"], tmp_path / "out")
    for number, (old, new) in enumerate((("high = 255", "high = 200"), ("low = 0, high = 200", "low = -300, high = 300")), 1):
        edit(first.folder, old, new)
        compile_circuit(CircuitFolder(first.folder))
        target = tmp_path / f"e{number}"
        tensors = tmp_path / f"{number}.npz"
        assert run(["prove", str(first.folder), str(FIXTURE / "heldout.npz"), "--limit", "1", "-q", "-o", str(target),
                    "--output-tensors", str(tensors)]) == 0  # fmt: skip
        assert run(["verify", str(target / "000000"), "--lock", str(first.folder), "-q"]) == 0
        largest = read_npz(tensors.read_bytes(), "npz")["max_pool2d"].max()
        scale = CircuitFolder(first.folder).spec.options["sumcheck"]["boundary"][0]
        assert largest <= scale["high"] * scale["mantissa"] * 2.0 ** scale["exponent"]


def test_output_tensors_are_refused_before_any_cost(circuit: Path, tmp_path: Path) -> None:
    inputs = str(FIXTURE / "heldout.npz")
    assert (
        run(["prove", str(circuit), inputs, "-q", "-o", str(tmp_path / "e"), "--output-tensors", str(tmp_path / "t.npz")]) == 2
    )
    (tmp_path / "there.npz").write_bytes(b"mine")
    arguments = ["prove", str(circuit), inputs, "-q", "-o", str(tmp_path / "e"), "--engine", "sumcheck"]
    assert run([*arguments, "--output-tensors", str(tmp_path / "there.npz")]) == 2
    assert (tmp_path / "there.npz").read_bytes() == b"mine" and not (tmp_path / "e").exists()


def test_output_tensors_are_private_and_in_the_models_dtype(circuit: Path, tmp_path: Path) -> None:
    compile_circuit(CircuitFolder(circuit), engine=EngineName.SUMCHECK)
    target = tmp_path / "t.npz"
    assert run(["prove", str(circuit), str(FIXTURE / "heldout.npz"), "--limit", "3", "-q", "-o", str(tmp_path / "e"),
                "--engine", "sumcheck", "--output-tensors", str(target)]) == 0  # fmt: skip
    logits = read_npz(target.read_bytes(), "npz")["logits"]
    assert logits.shape == (3, 1, 10) and logits.dtype == np.float32 and target.stat().st_mode & 0o077 == 0


def test_a_segment_s_summary_is_what_its_section_pins(circuit: Path, tmp_path: Path) -> None:
    first, second = split_model(circuit, ["max_pool2d"], tmp_path / "out")
    whole = CircuitFolder(circuit).model.sha256
    for number, made in enumerate((first, second), 1):
        folder = CircuitFolder(made.folder)
        compile_circuit(folder)
        section = folder.lock().section(EngineName.SUMCHECK)
        segment = SumcheckEngine().summarise(section).segment
        assert segment is not None
        assert (segment.model_sha256, segment.number, segment.of) == (whole, number, 2)
        boundary = parse_section(section).options.boundary["max_pool2d"]
        pin = PinnedScale(boundary.step, boundary.low, boundary.high, boundary.zero_point)
        assert {tensor.name: tensor.pin for tensor in segment.tensors} == {
            name: pin if name == "max_pool2d" else None for name in (*made.inputs, *made.outputs)
        }
        assert [tensor.name for tensor in segment.side(Role.INPUT)] == list(made.inputs)
        assert [tensor.shape for tensor in segment.side(Role.OUTPUT)] == [tensor.shape for tensor in folder.model.outputs]


SCALE = {"value": "t", "mantissa": 40000, "exponent": -20, "low": 0, "high": 255, "zero_point": 0}
SEGMENT = {"model_sha256": "a" * 64, "number": 1, "of": 2}


@pytest.mark.parametrize("document", [
    {"boundary": SCALE},
    {"boundary": [SCALE, SCALE]},
    {"boundary": [{**SCALE, "low": 256}]},
    {"boundary": [{**SCALE, "mantissa": 0}]},
    {"boundary": [{**SCALE, "exponent": -20.0}]},
    {"boundary": [{**SCALE, "more": 1}]},
    {"boundary": [{name: value for name, value in SCALE.items() if name != "zero_point"}]},
    {"segment": {**SEGMENT, "number": 3}},
    {"segment": {**SEGMENT, "number": 0}},
    {"segment": {**SEGMENT, "of": 1}},
    {"segment": {**SEGMENT, "model_sha256": "a"}},
    {"segment": {**SEGMENT, "more": 1}},
    {"segment": []},
])  # fmt: skip
def test_boundaries_and_segments_are_read_strictly(document: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        parse_options(Record(document, "options", error=UsageError, code="bad-spec"))


def test_options_round_trip_and_say_nothing_where_nothing_is_split() -> None:
    options = QuantiserOptions(boundary={"t": Scale(40000, -20, 0, 255)}, segment=Segment("a" * 64, 1, 2))
    assert parse_options(Record(options.to_document(), "options")) == options
    assert not {"boundary", "segment"} & set(QuantiserOptions().to_document())


def test_a_boundary_must_be_an_end_of_the_model(circuit: Path, tmp_path: Path) -> None:
    first, _ = split_model(circuit, ["max_pool2d"], tmp_path / "out")
    edit(first.folder, 'value = "max_pool2d"', 'value = "relu"')
    with pytest.raises(UsageError) as caught:
        compile_circuit(CircuitFolder(first.folder))
    assert caught.value.code == "bad-spec"


def test_npz_bytes_depend_on_the_arrays_alone_and_take_every_name() -> None:
    arrays = {"file": np.arange(3), "/a/b": np.float32([[1.5]]), "scalar": np.array(2.0)}
    assert write_npz(arrays) == write_npz(arrays)
    found = read_npz(write_npz(arrays), "npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape and np.array_equal(found[name], array)
