"""A circuit so small that hundreds of proofs are made in seconds, in every visibility that batches differ by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from verifai.circuit_folder import CircuitFolder
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.stages.compile import compile_circuit


def small_circuit(
    root: Path,
    name: str,
    visibility: Visibility,
    weights: WeightVisibility = WeightVisibility.PUBLIC,
    *,
    columns: Sequence[str] = (),
    budget: int | None = None,
) -> CircuitFolder:
    """``y = argmax(x·w)``: rows of four numbers in [-1, 1] become one of three classes, so that outputs collide."""
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["z"]),
            helper.make_node("ArgMax", ["z"], ["y"], axis=1, keepdims=0),
        ],
        "batch",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, [1])],
        [numpy_helper.from_array(rng.standard_normal((4, 3)).astype(np.float32), "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    net = canonicalise(proto.SerializeToString(), where="test").model
    (root / f"{name}.onnx").write_bytes(net.data)
    write_rows(root / f"{name}-cal.npz", 64, seed=1)
    folder = CircuitFolder(root / name)
    folder.folder.mkdir()
    (folder.folder / "circuit.toml").write_text(
        f'''
        [circuit]
        name = "{name}"
        model = "../{name}.onnx"
        engine = "sumcheck"
        [tensors]
        x = "{visibility.value}"
        y = "public"
        [weights]
        visibility = "{weights.value}"
        [fidelity]
        floor = "none"
        [calibration]
        data = "../{name}-cal.npz"
        {f"[engine.sumcheck]{chr(10)}opening_budget = {budget}" if budget else ""}
        {f"[inputs]{chr(10)}columns = {json.dumps(columns)}" if columns else ""}
        '''
    )
    compile_circuit(folder)
    return folder


def write_rows(path: Path, count: int, *, seed: int = 2, **outside: float) -> Path:
    """``count`` rows inside the circuit's range; ``row_column=value`` such as ``r3_2=1e6`` puts one value outside."""
    rows = np.random.default_rng(seed).uniform(-0.9, 0.9, (count, 4)).astype(np.float32)
    for place, value in outside.items():
        row, column = place.removeprefix("r").split("_")
        rows[int(row), int(column)] = value
    np.savez(path, x=rows)
    return path
