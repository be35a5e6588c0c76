"""Weights of 4 and 16 bits and in blocks, activations of 16 bits, and floats that onnxruntime has no operators for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.support.onnx_builders import canonical, model, node, operators, weights
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import Canonical
from verifai.onnx_graph.limits import MAX_TENSOR_BYTES
from verifai.onnx_graph.reference import Reference
from verifai.onnx_graph.runtime import open_session
from verifai.stages.export import export

I4, U4, BF16 = np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4), np.dtype(ml_dtypes.bfloat16)
GENERATOR = np.random.default_rng(3)
SCALE = np.float32(0.03)


def stored(kind: Any, *shape: int) -> np.ndarray:
    low, high = (-8, 8) if kind == I4 else (0, 16) if kind == U4 else (np.iinfo(kind).min, np.iinfo(kind).max)
    return GENERATOR.integers(low, high, shape).astype(kind)


def layer(w: np.ndarray, scale: Any, zero: Any = None, domain: str = "", opset: int = 21, **settings: Any) -> onnx.ModelProto:
    """x · real(w)."""
    given = {"w": w, "s": np.asarray(scale, np.float32)} | ({} if zero is None else {"z": np.asarray(zero, w.dtype)})
    nodes = [node("DequantizeLinear", list(given), ["f"], domain=domain, **settings), node("MatMul", ["x", "f"])]
    return model(nodes, given, opset=opset, ir=10, domains={domain: 1} if domain else None)


def between(
    kind: Any, zero: int, domain: str = "", scale: Any = SCALE, settings: dict[str, Any] | None = None
) -> onnx.ModelProto:
    """x as integers of so many bits, and real again."""
    given = {"s": np.asarray(scale, np.float32), "z": np.full(np.shape(scale), zero).astype(kind)}
    nodes = [
        node("QuantizeLinear", ["x", "s", "z"], ["q"], domain=domain, **(settings or {})),
        node("DequantizeLinear", ["q", "s", "z"], ["f"], domain=domain, **(settings or {})),
        node("Relu", ["f"]),
    ]
    return model(nodes, given, opset=21, ir=10, domains={domain: 1} if domain else None)


def far(source: onnx.ModelProto, result: Canonical) -> float:
    """Largest difference as a share of the largest value. onnxruntime's rewriting would compute int4 products in int8."""
    session, reference, gap = open_session(source.SerializeToString()), Reference(result.model), 0.0
    for seed in range(8):
        inputs = {"x": weights(1, 4, seed=seed)}
        (wanted,), ours = session.run(["y"], inputs), reference.run(inputs)["y"]
        gap = max(gap, float(np.abs(wanted - ours).max() / max(np.abs(wanted).max(), 1.0)))
    return gap


MICROSOFT = "com.microsoft"
ONE_PER_COLUMN = weights(3, seed=4) ** 2 + 0.01
SAME: dict[str, Callable[[], onnx.ModelProto]] = {
    "int4": lambda: layer(stored(I4, 4, 3), SCALE),
    "int4 with a zero point": lambda: layer(stored(I4, 4, 3), SCALE, -3),
    "an odd number of uint4": lambda: layer(stored(U4, 4, 3)[:, :1], SCALE, 9),
    "uint4, a scale per column": lambda: layer(stored(U4, 4, 3), ONE_PER_COLUMN, [3, 9, 15], axis=1),
    "int4 in blocks": lambda: layer(stored(I4, 4, 3), weights(2, 3) + 3, stored(I4, 2, 3), axis=0, block_size=2),
    "uint4 in blocks, the last one short": lambda: layer(stored(U4, 4, 3), weights(2, 3) + 3, axis=0, block_size=3),
    "int8 in blocks": lambda: layer(stored(np.int8, 4, 3), weights(4, 2) + 3, axis=1, block_size=2),
    "int16": lambda: layer(stored(np.int16, 4, 3), SCALE),
    "uint16, a scale per row": lambda: layer(stored(np.uint16, 4, 3), weights(4) + 3, stored(np.uint16, 4), axis=0),
    "int16 of onnxruntime's own domain": lambda: layer(stored(np.int16, 4, 3), SCALE, 77, domain=MICROSOFT, opset=17),
    "int4 of onnxruntime's own domain": lambda: layer(stored(I4, 4, 3), SCALE, 1, domain=MICROSOFT, opset=17),
    "uint16 activations": lambda: between(np.uint16, 31000, scale=1e-4),
    "uint16 activations that end early": lambda: between(np.uint16, 65535, scale=1e-4),
    "int16 activations of onnxruntime's own domain": lambda: between(np.int16, -5, MICROSOFT, 1e-4),
    "int16 activations, a scale per column": lambda: between(
        np.int16, 3, scale=(weights(4, seed=9) ** 2 + 0.1) * 1e-4, settings={"axis": 1}
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_stored_integers_mean_what_onnxruntime_says(name: str) -> None:
    source = SAME[name]()
    result = canonical(source)
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(operators(result))
    assert far(source, result) <= 1e-6


def test_a_type_without_a_zero_point_is_named_by_an_attribute() -> None:
    nodes = [
        node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=TensorProto.UINT16),
        node("DequantizeLinear", ["q", "s"], ["y"]),
    ]
    source = model(nodes, {"s": np.float32(1e-4)}, opset=21, ir=10)
    assert far(source, canonical(source)) < 1e-6


def test_values_may_lie_in_the_typed_field_of_the_file() -> None:
    source = layer(stored(I4, 4, 3), SCALE)
    source.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.INT4, [4, 3], [1, -2, 3] * 4))
    assert far(source, canonical(source)) < 1e-6


def changed(name: str, **fields: Any) -> onnx.ModelProto:
    source = layer(stored(I4, 4, 3), SCALE, 0)
    tensor = next(one for one in source.graph.initializer if one.name == name)
    for key, value in fields.items():
        if key == "dims":
            tensor.dims[:] = value
        else:
            setattr(tensor, key, value)
    return source


def packed_beyond() -> onnx.ModelProto:
    source = layer(stored(I4, 4, 3), SCALE)
    source.graph.initializer[0].CopyFrom(TensorProto(name="w", data_type=TensorProto.INT4, dims=[4, 3], int32_data=[256] * 6))
    return source


def read_otherwise() -> onnx.ModelProto:
    given = {"s": SCALE, "z": np.uint16(3)}
    nodes = [node("QuantizeLinear", ["x", *given], ["q"]), node("Cast", ["q"], to=TensorProto.FLOAT)]
    return model(nodes, given, opset=21, ir=10)


def shown_stored() -> onnx.ModelProto:
    return model([node("QuantizeLinear", ["x", "s", "z"])], {"s": SCALE, "z": np.uint16(3)}, opset=21, ir=10)


def computed_scale() -> onnx.ModelProto:
    nodes = [node("ReduceMax", ["x"], ["m"], keepdims=0), node("DequantizeLinear", ["w", "m"], ["f"])]
    return model([*nodes, node("MatMul", ["x", "f"])], {"w": stored(I4, 4, 3)}, opset=21, ir=10)


def many_of_one_constant() -> onnx.ModelProto:
    """A file of a few kilobytes that asks for hundreds of megabytes, one copy at a time."""
    names = [f"f{number}" for number in range(4000)]
    nodes = [node("DequantizeLinear", ["w", "s"], [name], name=name) for name in names]
    nodes += [node("MatMul", ["x", name], [f"y{name}"], name=f"y{name}") for name in names]
    return model(nodes, {"w": stored(I4, 4, 16384), "s": SCALE}, opset=21, ir=10, outputs=[f"y{name}" for name in names[:3]])


REFUSED = {
    "too few bytes": (lambda: changed("w", raw_data=b"12345"), "model-malformed"),
    "too many bytes": (lambda: changed("w", raw_data=b"1234567"), "model-malformed"),
    "packed values of nine bits": (packed_beyond, "model-malformed"),
    "a huge shape": (lambda: changed("w", dims=[4, MAX_TENSOR_BYTES]), "model-size-bomb"),
    "a block of less than nothing": (lambda: layer(stored(I4, 4, 3), weights(2, 3), block_size=-2, axis=0), "model-malformed"),
    "scales that do not fit": (lambda: layer(stored(I4, 4, 3), weights(2), axis=1), "model-malformed"),
    "blocks that do not fit": (lambda: layer(stored(I4, 4, 3), weights(3, 3), axis=0, block_size=2), "model-malformed"),
    "an axis beyond": (lambda: layer(stored(I4, 4, 3), weights(3), axis=7), "model-malformed"),
    "a scale of 0": (lambda: layer(stored(I4, 4, 3), 0.0), "model-malformed"),
    "a scale that the data decide": (computed_scale, "model-dtype"),
    "stored integers as an output": (shown_stored, "model-dtype"),
    "stored integers that something else reads": (read_otherwise, "model-dtype"),
    "thousands of readers of one constant": (many_of_one_constant, "model-size-bomb"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_is_refused_by_name(name: str) -> None:
    build, code = REFUSED[name]
    with pytest.raises(UnsupportedModel) as caught:
        canonical(build())
    assert caught.value.code == code and caught.value.where, str(caught.value)


def written(folder: Path, source: onnx.ModelProto) -> Path:
    (folder / "m.onnx").write_bytes(source.SerializeToString())
    return folder / "m.onnx"


def mixed(kind: int, array: np.dtype[Any]) -> onnx.ModelProto:
    """A network that computes in another float, with casts around it, as autocast writes it, and a constant inside."""
    nodes = [
        node("Cast", ["x"], ["h"], to=kind, name="in"),
        node("Constant", [], ["c"], value=onnx.numpy_helper.from_array(np.full(2, 0.5, array), "c")),
        node("Conv", ["h", "w"], ["p"]),
        node("Mul", ["p", "c"], ["m"]),
        node("Cast", ["m"], to=TensorProto.FLOAT, name="out"),
    ]
    return model(nodes, {"w": weights(2, 1, 3).astype(array)}, inputs={"x": (1, 1, 4)}, opset=22, ir=10)


@pytest.mark.parametrize(
    ("kind", "array"), [(TensorProto.BFLOAT16, BF16), (TensorProto.DOUBLE, np.dtype(np.float64))], ids=["bfloat16", "float64"]
)
def test_floats_without_operators_are_compared_in_float32_and_that_is_said(kind: int, array: Any, tmp_path: Path) -> None:
    result = export(written(tmp_path, mixed(kind, array)))
    assert operators_of(result.model.data) == ["Conv", "Mul"] and result.parity.max_error < 1e-6
    assert any("the same file in float32" in notice for notice in result.notices)
    assert any(f"The model holds {array.name} tensors" in notice for notice in result.notices)


def operators_of(data: bytes) -> list[str]:
    return [one.op_type for one in onnx.ModelProto.FromString(data).graph.node]


def test_values_that_onnxruntime_takes_and_numpy_cannot_give(tmp_path: Path) -> None:
    source = model([node("Identity", ["x"], ["m"]), node("Cast", ["m"], to=TensorProto.FLOAT)], input_type=TensorProto.BFLOAT16)
    result = export(written(tmp_path, source))
    assert result.model.inputs[0].dtype == "float32" and any("the same file in float32" in one for one in result.notices)


def test_inputs_and_external_weights_in_bfloat16(tmp_path: Path) -> None:
    source = model([node("MatMul", ["x", "w"])], {"w": weights(4, 3).astype(BF16)}, input_type=TensorProto.BFLOAT16, opset=18)
    source.graph.output[0].type.tensor_type.elem_type = TensorProto.BFLOAT16
    onnx.save(source, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    result = export(tmp_path / "m.onnx")
    assert result.model.inputs[0].dtype == result.model.outputs[0].dtype == "float32"
    assert np.array_equal(onnx.numpy_helper.to_array(result.model.proto.graph.initializer[0]), weights(4, 3).astype(BF16))
