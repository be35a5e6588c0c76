"""One small ezkl circuit for tests: a 4-3-2 perceptron with ReLU, 2^10 rows, on the repository's INSECURE-TEST SRS.

Its weights are multiples of 1/8, written down, not drawn: the circuit only has to be small and exact. It is compiled through
the locked path, which neither searches nor downloads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.support.paths import ROOT
from verifai.domain.circuit_spec import Budget, CircuitSpec
from verifai.domain.fidelity import FidelityFloor, Task
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.engines.ezkl.engine import EzklEngine
from verifai.engines.ezkl.srs.file import read_srs
from verifai.engines.interface import CompileRequest, ProveRequest, VerifyRequest
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel

SRS_FOLDER = ROOT / "fixtures" / "srs"
SRS = SRS_FOLDER / "INSECURE-TEST-k12.srs"
CUT_SRS = SRS_FOLDER / "INSECURE-TEST-k10.srs"
"""``SRS`` cut to the rows of this circuit."""
PARAMETERS = {
    "input_scale": 7,
    "param_scale": 7,
    "scale_rebase_multiplier": 1,
    "decomp_base": 64,
    "decomp_legs": 4,
    "num_inner_cols": 1,
    "lookup_low": -2,
    "lookup_high": 2,
    "lookup_margin": 0.0,
    "logrows": 10,
    "rewrites": [],
}


def small_onnx(last_bias: tuple[float, float] = (0.25, -0.125)) -> bytes:
    """The model file, canonical."""
    first = np.array([[3, -2, 1], [0, 4, -1], [-5, 1, 2], [2, 2, -3]], np.float32) / 8
    second = np.array([[4, -1], [-2, 3], [1, 5]], np.float32) / 8
    nodes = [
        helper.make_node("Gemm", ["x", "w0", "b0"], ["h"], name="hidden"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "w1", "b1"], ["y"], name="output"),
    ]
    constants = {
        "w0": first,
        "b0": np.array([1, 0, -1], np.float32) / 8,
        "w1": second,
        "b1": np.array(last_bias, np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


@dataclass(frozen=True)
class SmallCircuit:
    """A compiled circuit with one proof.

    Attributes:
        section: the lock section. files: the proof's payload, name → bytes.
    """

    engine: EzklEngine
    model: OnnxModel
    spec: CircuitSpec
    section: Mapping[str, Any]
    build_dir: Path
    inputs: Mapping[str, Any]
    files: Mapping[str, bytes]

    def request(self, folder: Path, files: Mapping[str, bytes] | None = None, **changes: Any) -> VerifyRequest:
        """A request to verify ``files`` (the genuine ones by default), written into the empty ``folder``."""
        paths = {}
        for name, data in (self.files if files is None else files).items():
            paths[name] = folder / name
            paths[name].write_bytes(data)
        base = VerifyRequest(
            files=paths,
            section=self.section,
            model_sha256=self.model.sha256,
            allow_test_material=True,
            setup_material=(SRS,),
        )
        return replace(base, **changes)

    def prove_request(self, **changes: Any) -> ProveRequest:
        """A request to prove ``inputs``."""
        return replace(ProveRequest(self.model, self.spec, self.section, self.build_dir, self.inputs), **changes)


def spec_of(inputs: Visibility, outputs: Visibility, **changes: Any) -> CircuitSpec:
    """The specification that goes with the small model."""
    spec = CircuitSpec(
        name="small",
        model="model.onnx",
        engine=EngineName.EZKL,
        tensors={"x": inputs, "y": outputs},
        weights=WeightVisibility.PUBLIC,
        calibration=None,
        calibration_samples=None,
        task=Task.CLASSIFICATION,
        budget=Budget(memory_bytes=2 * 2**30, prove_seconds=120, setup_seconds=120),
        fidelity=FidelityFloor(),
        options={"ezkl": {"srs": str(SRS)}},
    )
    return replace(spec, **changes)


def starting_section(model: OnnxModel, spec: CircuitSpec) -> dict[str, Any]:
    """A section that pins the tuning only; every digest in it is a placeholder that compile replaces."""
    srs, cut = read_srs(SRS), read_srs(CUT_SRS)
    none = "0" * 64
    sides = [("input", model.inputs), ("output", model.outputs)]
    tensors = [
        {
            "role": role,
            "name": tensor.name,
            "shape": list(tensor.shape),
            "dtype": tensor.dtype,
            "visibility": spec.tensors[tensor.name].value,
            "scale": 7,
        }
        for role, specs in sides
        for tensor in specs
    ]
    return {
        "engine_version": "23.0.5",
        "settings_sha256": none,
        "vk_sha256": none,
        "circuit_onnx_sha256": none,
        "proof_bytes": 64,
        "weights": "public",
        "srs": {
            "trust": srs.trust.value,
            "logrows": srs.logrows,
            "sha256": srs.sha256,
            "cut_sha256": cut.sha256,
            "verifier": srs.verifier.hex(),
        },
        "parameters": dict(PARAMETERS),
        "fidelity": {"samples": 1, "max_abs_error": 0.0, "mean_abs_error": 0.0, "worst_sample": 0},
        "tensors": tensors,
        "tried": [],
    }


SAMPLES = np.array([[[0.5, -0.25, 0.75, 0.125]], [[1.0, 0.0, -0.5, 0.375]], [[-1.0, 0.25, 0.5, 1.5]]], np.float32)


def compile_small(build_dir: Path, inputs: Visibility, outputs: Visibility = Visibility.PUBLIC) -> SmallCircuit:
    """Compile and prove the first sample. ``build_dir`` exists and is private."""
    engine = EzklEngine()
    model = canonicalise(small_onnx(), where="small.onnx").model
    spec = spec_of(inputs, outputs)
    request = CompileRequest(
        model=model,
        spec=spec,
        calibration={"x": SAMPLES},
        build_dir=build_dir,
        spec_dir=build_dir,
        locked=starting_section(model, spec),
    )
    section = json.loads(json.dumps(engine.compile(request).section))
    sample = {"x": SAMPLES[0]}
    proof = engine.prove(ProveRequest(model, spec, section, build_dir, sample))
    return SmallCircuit(engine, model, spec, section, build_dir, sample, proof.files)
