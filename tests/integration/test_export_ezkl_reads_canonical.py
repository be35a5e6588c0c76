"""What ezkl refuses as exporters write it (missing strides, Gelu, Mish, float64, open batch), it reads in canonical form."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from verifai.onnx_graph.canonicalise import canonicalise

CHILD = """
import json, sys
import ezkl
results = {}
for path in sys.argv[1:]:
    try:
        results[path] = bool(ezkl.gen_settings(path, path + ".json"))
    except BaseException as problem:  # panics are no Exceptions
        results[path] = f"{type(problem).__name__}: {str(problem)[:200]}"
print("RESULTS" + json.dumps(results))
"""


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def node(op_type: str, inputs: list[str], outputs: list[str] | None = None, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op_type, inputs, outputs or ["y"], **attributes)


IMAGE = [1, 1, 6, 6]
VECTOR = [1, 6]
CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, np.ndarray], list[Any], int]] = {
    "conv": ([node("Conv", ["x", "w"], auto_pad="SAME_UPPER")], {"w": weights(2, 1, 3, 3)}, IMAGE, 11),
    "max-pool": ([node("MaxPool", ["x"], kernel_shape=[2, 2])], {}, IMAGE, 11),
    "average-pool": ([node("AveragePool", ["x"], kernel_shape=[2, 2])], {}, IMAGE, 11),
    "transposed-conv": ([node("ConvTranspose", ["x", "w"], strides=[2, 2])], {"w": weights(1, 2, 3, 3)}, IMAGE, 11),
    "upsample": ([node("Upsample", ["x", "s"])], {"s": np.array([1, 1, 2, 2], np.float32)}, IMAGE, 9),
    "gelu": ([node("Gelu", ["x"])], {}, VECTOR, 20),
    "mish": ([node("Mish", ["x"])], {}, VECTOR, 18),
    "mean": ([node("ReduceMean", ["x"], axes=[1])], {}, VECTOR, 13),
    "sum": ([node("ReduceSum", ["x"], axes=[1])], {}, VECTOR, 11),
    "softmax": ([node("Softmax", ["x"])], {}, VECTOR, 13),
    "layer-norm": ([node("LayerNormalization", ["x", "s", "b"])], {"s": weights(6), "b": weights(6)}, VECTOR, 17),
    "split": ([node("Split", ["x"], ["a", "b"], axis=1), node("Add", ["a", "b"])], {}, VECTOR, 13),
    "squeeze": ([node("Unsqueeze", ["x"], ["a"], axes=[1]), node("Squeeze", ["a"], axes=[1])], {}, VECTOR, 11),
    "clip": ([node("Clip", ["x"], min=0.0, max=6.0)], {}, VECTOR, 9),
    "pad": ([node("Pad", ["x"], pads=[0, 1, 0, 1])], {}, VECTOR, 9),
    "slice": ([node("Slice", ["x"], starts=[1], ends=[4], axes=[1])], {}, VECTOR, 9),
    "gemm": ([node("Gemm", ["x", "w"], transB=1, alpha=0.5)], {"w": weights(3, 6)}, VECTOR, 13),
    "open-batch": ([node("MatMul", ["x", "w"])], {"w": weights(6, 3)}, ["N", 6], 13),
    "float64": ([node("Gemm", ["x", "w"])], {"w": weights(6, 3).astype(np.float64)}, VECTOR, 13),
    "dropout": ([node("Dropout", ["x"], ["a"]), node("Relu", ["a"])], {}, VECTOR, 13),
}


def test_ezkl_reads_every_operator_in_canonical_form(tmp_path: Path) -> None:
    for name, (nodes, constants, shape, opset) in CASES.items():
        kind = onnx.TensorProto.DOUBLE if name == "float64" else onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            nodes,
            name,
            [helper.make_tensor_value_info("x", kind, shape)],
            [onnx.ValueInfoProto(name="y")],
            [numpy_helper.from_array(array, key) for key, array in constants.items()],
        )
        source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        dims = {"N": 1} if "N" in shape else {}
        data = canonicalise(source.SerializeToString(), where=name, dims=dims).model.data
        (tmp_path / f"{name}.onnx").write_bytes(data)
    paths = sorted(str(path) for path in tmp_path.glob("*.onnx"))
    child = subprocess.run(
        [sys.executable, "-c", CHILD, *paths],
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
    )
    results = json.loads(child.stdout.rpartition("RESULTS")[2])
    assert len(results) == len(CASES)
    assert {Path(path).stem: result for path, result in results.items() if result is not True} == {}
