"""MatMulNBits and DynamicQuantizeLSTM, which onnxruntime's quantisers write, mean what onnxruntime computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.support.onnx_builders import canonical, model, node, operators, weights
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.reference import Reference
from verifai.onnx_graph.runtime import open_session
from verifai.stages.export import export

MICROSOFT = "com.microsoft"
K, N = 40, 6
GENERATOR = np.random.default_rng(5)


def product(bits: int = 4, block: int = 16, zeros: str = "", bias: bool = False, **changes: Any) -> onnx.ModelProto:
    """x [2, K] · W [K, N], stored in blocks; ``zeros``: packed, or real."""
    blocks = -(-K // block)
    arrays: dict[str, np.ndarray] = {
        "w": GENERATOR.integers(0, 256, (N, blocks, block * bits // 8)).astype(np.uint8),
        "s": (weights(N * blocks) ** 2 + 0.01).astype(np.float32),
    }
    if zeros == "packed":
        arrays["z"] = GENERATOR.integers(0, 256, N * -(-blocks * bits // 8)).astype(np.uint8)
    elif zeros == "real":
        arrays["z"] = np.full(N * blocks, 5.5, np.float32)
    elif bias:
        arrays[""] = np.zeros(0, np.float32)
    names = ["x", *arrays]
    if bias:
        arrays["b"] = weights(N, seed=3)
        names = ["x", "w", "s", "z" if zeros else "", "", "b"]
    arrays.pop("", None)
    arrays.update({name: changes.pop(name) for name in list(changes) if name in arrays})
    settings = {"K": K, "N": N, "bits": bits, "block_size": block, **changes}
    made = node("MatMulNBits", names, domain=MICROSOFT, **settings)
    return model([made], arrays, inputs={"x": (2, K)}, domains={MICROSOFT: 1})


FORMS: dict[str, Callable[[], onnx.ModelProto]] = {
    "4 bits, the middle is 0": lambda: product(),
    "4 bits, packed zero points": lambda: product(zeros="packed"),
    "4 bits, real zero points": lambda: product(zeros="real"),
    "4 bits, blocks of 32 and a short one": lambda: product(block=32, zeros="packed"),
    "8 bits": lambda: product(bits=8, zeros="packed"),
    "a bias": lambda: product(bias=True),
}


@pytest.mark.parametrize("name", FORMS)
def test_products_with_packed_weights(name: str) -> None:
    source = FORMS[name]()
    result = canonical(source)
    assert set(operators(result)) <= {"MatMul", "Add"}
    x = weights(2, K, seed=8)
    (wanted,) = open_session(source.SerializeToString()).run(["y"], {"x": x})
    ours = Reference(result.model).run({"x": x})["y"]
    assert np.abs(wanted - ours).max() < 1e-4 * np.abs(wanted).max()


def recurrent(kind: type, per_column: bool, direction: str = "forward") -> onnx.ModelProto:
    count, hidden, width, steps = 2 if direction == "bidirectional" else 1, 5, 3, 4
    low, high = np.iinfo(kind).min, np.iinfo(kind).max + 1
    shape = (count, 4 * hidden) if per_column else (count,)
    arrays = {
        "w": GENERATOR.integers(low, high, (count, width, 4 * hidden)).astype(kind),
        "r": GENERATOR.integers(low, high, (count, hidden, 4 * hidden)).astype(kind),
        "b": weights(count, 8 * hidden, seed=1) * np.float32(0.1),
        "ws": np.full(shape, 0.006, np.float32) * (1 + np.arange(shape[-1], dtype=np.float32) / 40),
        "wz": np.full(shape, 0 if kind is np.int8 else 128, kind),
        "rs": np.full(shape, 0.004, np.float32),
        "rz": np.full(shape, 0 if kind is np.int8 else 128, kind),
    }
    names = ["x", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"]
    made = node("DynamicQuantizeLSTM", names, ["y"], domain=MICROSOFT, hidden_size=hidden, direction=direction)
    return model([made], arrays, inputs={"x": (steps, 1, width)}, domains={MICROSOFT: 1})


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "per_column"), [(np.uint8, False), (np.int8, True)])
def test_layers_with_stored_weights_are_near_and_that_they_round_is_said(
    kind: type, per_column: bool, direction: str, tmp_path: Path
) -> None:
    source = recurrent(kind, per_column, direction)
    (tmp_path / "m.onnx").write_bytes(source.SerializeToString())
    result = export(tmp_path / "m.onnx")
    assert result.parity.max_error < 0.02
    assert any("rounds its activations to 8 bits" in notice for notice in result.notices)
    assert all(not one.domain for one in result.model.proto.graph.node)


def groups() -> onnx.ModelProto:
    source = product(zeros="packed")
    source.graph.node[0].input.append("g")
    source.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(K, np.int32), "g"))
    return source


def computed() -> onnx.ModelProto:
    source = product()
    del source.graph.initializer[0]
    source.graph.input.append(helper.make_tensor_value_info("w", onnx.TensorProto.UINT8, [N, 3, 8]))
    return source


REFUSED = {
    "weights of another size": (lambda: product(N=N + 1), "model-malformed"),
    "a shape that no memory holds": (lambda: product(N=1 << 40), "model-size-bomb"),
    "blocks of nothing": (lambda: product(block_size=0), "model-malformed"),
    "blocks of less than nothing": (lambda: product(block_size=-16), "model-malformed"),
    "bits that no byte holds": (lambda: product(bits=4, s=np.ones(3, np.float32)), "model-malformed"),
    "scales that are not numbers": (lambda: product(s=np.full(N * 3, np.nan, np.float32)), "model-non-finite"),
    "columns in groups": (groups, "model-unknown-operator"),
    "weights that the data decide": (computed, "model-unknown-operator"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_by_name(name: str) -> None:
    build, code = REFUSED[name]
    with pytest.raises(UnsupportedModel) as caught:
        canonical(build())
    assert caught.value.code == code and caught.value.where
