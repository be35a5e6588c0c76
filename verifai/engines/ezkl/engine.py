"""The ezkl engine: halo2 proofs with KZG commitments on BN254, by the foreign package ``ezkl`` in fenced child processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.findings import Finding
from verifai.domain.statement import EngineName, TensorStatement
from verifai.engines.capabilities import CheckInputsRequest, OutsideInput, Prediction, SetUpStore
from verifai.engines.ezkl import tensors
from verifai.engines.ezkl.lock_section import parse_section
from verifai.engines.ezkl.srs.file import SrsTrust
from verifai.engines.interface import (
    CompiledCircuit,
    CompileRequest,
    CostEstimate,
    EngineProof,
    OperatorSupport,
    PrivacySupport,
    ProveRequest,
    SectionSummary,
    VerifiedProof,
    VerifyRequest,
)
from verifai.onnx_graph.model import OnnxModel


class EzklEngine:
    """One implementation of :class:`verifai.engines.interface.ProofEngine`. Stateless.

    Beyond that it checks inputs, offers a second opinion and keeps set-up files (:mod:`verifai.engines.capabilities`).
    """

    @property
    def name(self) -> EngineName:
        """``ezkl``."""
        return EngineName.EZKL

    def operator_support(self, model: OnnxModel) -> tuple[OperatorSupport, ...]:
        """One entry per node, in the graph's order."""
        from verifai.engines.ezkl.cost.estimate import operator_support

        return operator_support(model)

    def privacy_support(self, spec: CircuitSpec) -> PrivacySupport:
        """Every ezkl proof is zero-knowledge; weights are fixed in the key and cannot be private."""
        from verifai.engines.ezkl.privacy import privacy_support

        return privacy_support(spec)

    def estimate(self, model: OnnxModel, spec: CircuitSpec) -> CostEstimate:
        """Predict costs from the graph alone. Raises UnsupportedModel."""
        from verifai.engines.ezkl.cost.estimate import estimate

        return estimate(model, spec)

    def compile(self, request: CompileRequest) -> CompiledCircuit:
        """Tune, set up, pin. Raises UnsupportedModel, UsageError, Undecided."""
        from verifai.engines.ezkl.compiling import compile_circuit

        return compile_circuit(request)

    def predict(self, request: CompileRequest) -> Prediction:
        """What compile would find, without keys. Raises as compile."""
        from verifai.engines.ezkl.compiling import predict

        return predict(request)

    def summarise(self, section: Mapping[str, Any]) -> SectionSummary:
        """Read a pinned section strictly. Raises UsageError (``bad-lock``)."""
        parsed = parse_section(section)
        return SectionSummary(
            engine_version=parsed.engine_version,
            circuit_sha256=parsed.vk_sha256,
            pins={
                "settings_sha256": parsed.settings_sha256,
                "vk_sha256": parsed.vk_sha256,
                "circuit_onnx_sha256": parsed.circuit_onnx_sha256,
                "srs_sha256": parsed.srs.sha256,
            },
            fidelity=parsed.fidelity,
            insecure=("test-srs",) if parsed.srs.trust is SrsTrust.TEST else (),
            weights=parsed.weights,
            tensors={tensor.name: tensor.visibility for tensor in parsed.tensors},
        )

    def prove(self, request: ProveRequest) -> EngineProof:
        """Prove one sample, then verify the proof. Raises InputRejected, UsageError (stale build), Undecided."""
        from verifai.engines.ezkl.proving import prove

        return prove(request)

    def outside_inputs(self, request: CheckInputsRequest) -> tuple[OutsideInput, ...]:
        """The samples that the circuit's tables do not cover, by a forward run of each. Raises InputRejected, UsageError."""
        from verifai.engines.ezkl.input_check import outside_inputs

        return outside_inputs(request)

    def verify(self, request: VerifyRequest) -> VerifiedProof:
        """The numbered steps of ``docs/ezkl.md``. Raises EvidenceRejected, PolicyNotMet (test material), Undecided."""
        from verifai.engines.ezkl.verifying import verify

        return verify(request)

    def quantise(self, tensor: TensorStatement, values: NDArray[Any]) -> tuple[int, ...]:
        """round(value · 2^scale), halves away from zero, exactly as ezkl does it. Raises InputRejected."""
        return tensors.quantise(tensor, values)

    def digest(self, tensor: TensorStatement, values: NDArray[Any]) -> str:
        """Poseidon digest, 32 bytes little-endian in hex. Raises InputRejected, Undecided."""
        return tensors.digest(tensor, values)

    def rederive(self, request: VerifyRequest, model: OnnxModel) -> tuple[Finding, ...]:
        """Rebuild settings and key from the ONNX in a clean place; one finding per comparison."""
        from verifai.engines.ezkl.rederiving import rederive

        return rederive(request, model)

    def second_opinion(self, request: VerifyRequest) -> Finding:
        """What the circuit's Solidity verifier says of the proof, run in an EVM. Raises UsageError (``bad-lock``)."""
        from verifai.engines.ezkl.evm.opinion import second_opinion

        return second_opinion(request)

    def set_up_store(self, root: Path | None = None) -> SetUpStore:
        """SRS files in the folder ``root``; by default the user's own store."""
        from verifai.engines.ezkl.srs.set_up import srs_store

        return srs_store(root)
