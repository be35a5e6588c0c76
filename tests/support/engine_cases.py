"""What the contract suite needs to know of each engine: almost nothing. A new engine joins by a line in ``OPTIONS``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.ezkl_small import SAMPLES, SRS, small_onnx, spec_of
from verifai.domain.circuit_spec import Budget, CircuitSpec
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.engines.interface import (
    CompiledCircuit,
    CompileRequest,
    EngineProof,
    ProofEngine,
    ProveRequest,
    VerifyRequest,
)
from verifai.engines.registry import engine_for
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.model import OnnxModel

OPTIONS: dict[EngineName, Mapping[str, Any]] = {
    EngineName.EZKL: {"srs": str(SRS)},
    EngineName.SUMCHECK: {},
}
"""Each engine's ``[engine.NAME]`` table."""
SETUP_MATERIAL: dict[EngineName, tuple[Path, ...]] = {EngineName.EZKL: (SRS,), EngineName.SUMCHECK: ()}
CONTEXT = "contract-nonce"
SECRETS = "secrets"
"""Folder below the build folder of a case; a real one survives rebuilds."""


@dataclass(frozen=True)
class EngineCase:
    """A small circuit, compiled and proven by one engine through its interface alone."""

    engine: ProofEngine
    model: OnnxModel
    spec: CircuitSpec
    circuit: CompiledCircuit
    build_dir: Path
    sample: Mapping[str, Any]
    proof: EngineProof

    def prove_request(self, **changes: Any) -> ProveRequest:
        """A request to prove ``sample``."""
        base = ProveRequest(self.model, self.spec, self.circuit.section, self.build_dir, self.sample, CONTEXT, self.spec.budget)
        return replace(base, secrets_dir=self.build_dir / SECRETS, **changes)

    def verify_request(self, folder: Path, files: Mapping[str, bytes] | None = None, **changes: Any) -> VerifyRequest:
        """A request to verify ``files`` (the genuine ones by default), written into the empty ``folder``."""
        paths = {}
        for name, data in (self.proof.files if files is None else files).items():
            paths[name] = folder / name
            paths[name].write_bytes(data)
        base = VerifyRequest(
            files=paths,
            section=self.circuit.section,
            model_sha256=self.model.sha256,
            context=CONTEXT,
            allow_test_material=True,
            setup_material=SETUP_MATERIAL[self.engine.name],
        )
        return replace(base, **changes)

    def compile_request(self, build_dir: Path, **changes: Any) -> CompileRequest:
        """A request to compile the same circuit."""
        return replace(
            CompileRequest(self.model, self.spec, {"x": SAMPLES}, build_dir, build_dir, secrets_dir=build_dir / "secrets"),
            **changes,
        )


def asked_of(name: EngineName, inputs: Visibility, weights: WeightVisibility = WeightVisibility.PUBLIC) -> CircuitSpec:
    """What the suite asks of an engine; the output is public."""
    budget = Budget(memory_bytes=3 * 2**30, prove_seconds=240, setup_seconds=240, max_logrows=11)
    spec = spec_of(inputs, Visibility.PUBLIC, engine=name, options={name.value: OPTIONS[name]}, budget=budget)
    return replace(spec, weights=weights)


def make_case(
    name: EngineName,
    folder: Path,
    inputs: Visibility,
    weights: WeightVisibility = WeightVisibility.PUBLIC,
    *,
    swapped: bool = False,
) -> EngineCase:
    """Compile and prove. ``swapped``: another model of the same shape. ``folder`` exists and is private."""
    engine = engine_for(name)
    biases = (-0.125, 0.25) if swapped else (0.25, -0.125)
    model = canonicalise(small_onnx(last_bias=biases), where="small.onnx").model
    spec = asked_of(name, inputs, weights)
    secrets = folder / SECRETS
    circuit = engine.compile(CompileRequest(model, spec, {"x": SAMPLES}, folder, folder, secrets_dir=secrets))
    sample = {"x": SAMPLES[0]}
    request = ProveRequest(model, spec, circuit.section, folder, sample, CONTEXT, spec.budget, secrets_dir=secrets)
    proof = engine.prove(request)
    return EngineCase(engine, model, spec, circuit, folder, sample, proof)
