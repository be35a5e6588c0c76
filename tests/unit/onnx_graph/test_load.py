"""Only a canonical file is a model; nothing that a file says of itself is believed."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.onnx_builders import canonical, model, node, relu, weights
from tests.support.paths import ROOT
from verifai.errors import InputRejected, UnsupportedModel, UsageError, VerifaiError
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.describe import describe, tensor_digest, value_specs, weights_digest
from verifai.onnx_graph.load import load_canonical, load_path
from verifai.onnx_graph.reference import Reference

FIXTURES = ROOT / "fixtures"


def refused(data: bytes) -> UnsupportedModel:
    with pytest.raises(UnsupportedModel) as caught:
        load_canonical(data, where="model.onnx")
    return caught.value


def test_a_model_that_was_not_exported_is_refused_with_the_command_to_run() -> None:
    error = refused(relu().SerializeToString())
    assert (error.code, error.status) == ("model-not-canonical", 2)
    assert "verifai export" in error.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda proto: setattr(proto, "doc_string", "x"),
        lambda proto: setattr(proto, "producer_name", "x"),
        lambda proto: setattr(proto, "ir_version", 9),
        lambda proto: setattr(proto.opset_import[0], "version", 17),
        lambda proto: setattr(proto.graph, "name", "x"),
        lambda proto: proto.graph.value_info.add(name="ghost"),
        lambda proto: setattr(proto.graph.output[0].type.tensor_type.shape.dim[0], "dim_value", 9),
        lambda proto: setattr(proto.graph.output[0].type.tensor_type, "elem_type", 7),
    ],
)
def test_a_canonical_file_that_was_touched_is_refused(change: object) -> None:
    proto = onnx.ModelProto.FromString(canonical(relu()).model.data)
    change(proto)  # type: ignore[operator]
    assert refused(proto.SerializeToString()).code == "model-not-canonical"


def test_trailing_bytes_are_refused() -> None:
    assert refused(canonical(relu()).model.data + b"\xf8\x7f\x01").code == "model-not-canonical"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_path(tmp_path / "none.onnx")
    assert (caught.value.code, caught.value.where) == ("file-missing", str(tmp_path / "none.onnx"))


@pytest.mark.parametrize("name", ["digits-mlp", "digits-cnn", "lenet5", "breast-cancer-mlp"])
def test_the_shipped_models_are_canonical(name: str) -> None:
    loaded = load_path(FIXTURES / name / "model.onnx")
    assert len(loaded.inputs) == len(loaded.outputs) == 1


def test_random_mutations_never_crash_hang_or_raise_anything_else() -> None:
    """10,000 mutations of two small models; each either loads as a canonical model or raises one of our errors."""
    rich = canonicalise((FIXTURES / "digits-cnn" / "model.onnx").read_bytes(), where="fixture").model.data
    plain = model(
        [
            node("Conv", ["x", "w"], ["c"], auto_pad="SAME_UPPER"),
            node("Shape", ["c"], ["s"]),
            node("Reshape", ["c", "s"], ["r"]),
            node("Gemm", ["f", "g"], ["h"], transB=1),
            node("Flatten", ["r"], ["f0"]),
            node("Clip", ["h"], min=0.0),
        ],
        {"w": weights(1, 1, 2, 2), "g": weights(2, 9), "f": weights(1, 9)},
        inputs={"x": (1, 1, 3, 3)},
        opset=9,
        outputs=["y", "f0"],
    ).SerializeToString()
    generator = random.Random(20240229)
    outcomes = {"loaded": 0, "refused": 0}
    for source, count in ((plain, 8000), (rich, 2000)):
        for _ in range(count):
            data = mutated(source, generator)
            try:
                found = canonicalise(data, where="mutated.onnx").model
            except VerifaiError:
                outcomes["refused"] += 1
            else:
                outcomes["loaded"] += 1
                assert load_canonical(found.data, where="again").sha256 == found.sha256
    assert sum(outcomes.values()) == 10_000
    assert min(outcomes.values()) > 100  # both outcomes occur, so the mutations reach beyond the decoder


def mutated(source: bytes, generator: random.Random) -> bytes:
    data = bytearray(source)
    for _ in range(generator.choice([1, 1, 1, 2, 4])):
        at = generator.randrange(len(data))
        kind = generator.randrange(6)
        if kind <= 1:
            data[at] ^= 1 << generator.randrange(8)
        elif kind <= 3:
            data[at] = generator.randrange(256)
        elif kind == 4:
            del data[at : at + generator.randrange(1, 16)]
        else:
            data[at:at] = generator.randbytes(generator.randrange(1, 12))
        data = data or bytearray(b"\0")
    return bytes(data)


def test_reference_refuses_tensors_that_are_not_exactly_the_models() -> None:
    reference = Reference(canonical(relu()).model)
    good = np.zeros((1, 4), np.float32)
    for inputs, code in [
        ({}, "input-missing"),
        ({"x": good, "z": good}, "input-unknown"),
        ({"x": good.astype(np.float64)}, "input-dtype"),
        ({"x": good[0]}, "input-shape"),
    ]:
        with pytest.raises(InputRejected) as caught:
            reference.run(inputs)
        assert caught.value.code == code


def test_reference_computes_the_same_bytes_every_time() -> None:
    loaded = load_path(FIXTURES / "lenet5" / "model.onnx")
    sample = {loaded.inputs[0].name: weights(*loaded.inputs[0].shape)}
    runs = {Reference(loaded).run(sample)["logits"].tobytes() for _ in range(3)}
    assert len(runs) == 1
    assert [out["logits"].tobytes() for out in Reference(loaded).run_batch([sample, sample])] == [*runs] * 2


def test_reference_names_a_model_that_onnxruntime_cannot_run() -> None:
    source = model([node("Gather", ["x", "i"])], {"i": np.array([9])})
    with pytest.raises(UnsupportedModel) as caught:
        Reference(canonical(source).model).run({"x": np.zeros((1, 4), np.float32)})
    assert caught.value.code == "reference-failed"


def test_reference_writes_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    source = model([node("Gather", ["x", "i"])], {"i": np.array([9])})
    with pytest.raises(UnsupportedModel):
        Reference(canonical(source).model).run({"x": np.zeros((1, 4), np.float32)})
    assert capfd.readouterr() == ("", "")


def test_description_counts_operators_parameters_and_products() -> None:
    found = describe(load_path(FIXTURES / "digits-mlp" / "model.onnx"))
    assert found.operators == {"Gemm": 2, "Relu": 1}
    assert (found.parameters, found.macs) == (64 * 32 + 32 + 32 * 10 + 10, 64 * 32 + 32 * 10)
    assert [(item.op_type, item.macs) for item in found.nodes] == [("Gemm", 2048), ("Relu", 0), ("Gemm", 320)]


def test_description_counts_the_products_of_convolutions() -> None:
    source = model(
        [node("Conv", ["x", "w"], ["c"], group=2), node("ConvTranspose", ["c", "t"])],
        {"w": weights(4, 1, 3, 3), "t": weights(4, 2, 2, 2)},
        inputs={"x": (1, 2, 5, 5)},
    )
    found = describe(canonical(source).model)
    assert [item.macs for item in found.nodes] == [4 * 9 * (1 * 9), 4 * 9 * (2 * 4)]


def test_every_value_has_a_static_type() -> None:
    loaded = load_path(FIXTURES / "digits-cnn" / "model.onnx")
    specs = value_specs(loaded)
    assert all(name in specs for item in loaded.proto.graph.node for name in (*item.input, *item.output))


def test_weights_digest_changes_with_one_bit_of_one_weight() -> None:
    values = weights(4)
    other = values.copy()
    other.view(np.uint32)[2] ^= 1
    digests = [weights_digest(canonical(model([node("Add", ["x", "w"])], {"w": w})).model) for w in (values, other, values)]
    assert digests[0] == digests[2] != digests[1]


def test_tensor_digest_tells_shapes_and_types_apart() -> None:
    zeros = [np.zeros(4, np.float32), np.zeros((2, 2), np.float32), np.zeros(4, np.int32), np.zeros(2, np.float64)]
    assert len({tensor_digest(array) for array in zeros}) == 4
