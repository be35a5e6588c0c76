"""The sumcheck engine: transparent proofs of quantised inference, installable with pip alone; integrity-only, or
zero-knowledge and unaudited."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.findings import Finding
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, TensorStatement
from verifai.engines.capabilities import (
    CheckInputsRequest,
    Generated,
    GenerateRequest,
    OutsideInput,
    Prediction,
    Rehearsal,
    RootState,
    SplitRequest,
)
from verifai.engines.interface import (
    CompiledCircuit,
    CompileRequest,
    CostEstimate,
    EngineProof,
    OperatorSupport,
    PrivacySupport,
    ProveRequest,
    ReservedOpening,
    SectionSummary,
    VerifiedProof,
    VerifyRequest,
)
from verifai.engines.sumcheck.boundary import pinned_segment
from verifai.engines.sumcheck.lock_section import expect_suite, parse_section

if TYPE_CHECKING:  # verifying needs neither, and loading NumPy takes longer than verifying a small proof
    from numpy.typing import NDArray

    from verifai.onnx_graph.model import OnnxModel


class SumcheckEngine:
    """One implementation of :class:`verifai.engines.interface.ProofEngine`. Stateless.

    Beyond that it writes answers, checks inputs, rehearses proofs, reserves openings, renews weight roots, splits models and
    warms up (:mod:`verifai.engines.capabilities`).
    """

    @property
    def name(self) -> EngineName:
        """``sumcheck``."""
        return EngineName.SUMCHECK

    def operator_support(self, model: OnnxModel) -> tuple[OperatorSupport, ...]:
        """One entry per node, in the graph's order."""
        from verifai.engines.sumcheck.lowering.operators import operator_support

        return operator_support(model)

    def privacy_support(self, spec: CircuitSpec) -> PrivacySupport:
        """Which suite gives what ``spec`` asks for, and at what cost."""
        from verifai.engines.sumcheck.privacy import privacy_support

        return privacy_support(spec)

    def estimate(self, model: OnnxModel, spec: CircuitSpec) -> CostEstimate:
        """Predict costs from the graph alone. Raises UnsupportedModel, UsageError (``privacy-unsupported``)."""
        from verifai.engines.sumcheck.estimate import estimate

        return estimate(model, spec)

    def compile(self, request: CompileRequest) -> CompiledCircuit:
        """Calibrate, lower, pin. Raises UnsupportedModel, UsageError."""
        from verifai.engines.sumcheck.compiling import compile_circuit

        return compile_circuit(request)

    def predict(self, request: CompileRequest) -> Prediction:
        """What compile would find, without pinning it. Raises as compile."""
        from verifai.engines.sumcheck.compiling import predict

        return predict(request)

    def summarise(self, section: Mapping[str, Any]) -> SectionSummary:
        """Read a pinned section strictly. Raises UsageError (``bad-lock``)."""
        parsed = parse_section(section)
        return SectionSummary(
            engine_version=parsed.suite,
            circuit_sha256=parsed.circuit_sha256,
            pins={"weights_sha256": parsed.weights_sha256},
            fidelity=parsed.fidelity,
            weights=parsed.weights,
            tensors={tensor.name: tensor.visibility for tensor in parsed.tensors},
            segment=pinned_segment(parsed),
            batch=parsed.batch,
            counting=parsed.count_right,
        )

    def generate(self, request: GenerateRequest) -> Generated:
        """Continue a prompt greedily. Raises InputRejected, UsageError (stale build), Undecided."""
        from verifai.engines.sumcheck.generating import generate

        return generate(request)

    def prove(self, request: ProveRequest) -> EngineProof:
        """Prove one sample, then verify the proof. Raises InputRejected, UsageError (stale build)."""
        from verifai.engines.sumcheck.proving import prove

        return prove(request)

    def outside_inputs(self, request: CheckInputsRequest) -> tuple[OutsideInput, ...]:
        """The samples outside the ranges of the circuit's inputs. Raises InputRejected, UsageError."""
        from verifai.engines.sumcheck.input_check import outside_inputs

        return outside_inputs(request)

    def input_ranges(self, section: Mapping[str, Any], files: Mapping[str, Path]) -> Mapping[str, tuple[int, int]]:
        """The ranges of the circuit's inputs. Raises EvidenceRejected, UsageError (``bad-lock``)."""
        from verifai.engines.sumcheck.input_check import input_ranges

        return input_ranges(section, files)

    def treats_alike(self, section: Mapping[str, Any], files: Mapping[str, Path]) -> bool:
        """Whether the circuit does the same with each item of a batch. Raises EvidenceRejected, UsageError (``bad-lock``)."""
        from verifai.engines.sumcheck.input_check import treats_alike

        return treats_alike(section, files)

    def verify(self, request: VerifyRequest) -> VerifiedProof:
        """The numbered steps of the verifier. Raises EvidenceRejected, UsageError (``bad-lock``)."""
        from verifai.engines.sumcheck.verifying import verify_request

        return verify_request(request)

    def quantise(self, tensor: TensorStatement, values: NDArray[Any]) -> tuple[int, ...]:
        """⌊value/scale + ½⌋ + zero_point, exactly. Raises InputRejected."""
        from verifai.engines.sumcheck.tensors import quantise

        return quantise(tensor, values)

    def digest(self, tensor: TensorStatement, values: NDArray[Any]) -> str:
        """The root of the tensor's own commitment, in hex. Raises InputRejected."""
        from verifai.engines.sumcheck.tensor_roots import digest

        return digest(tensor, values)

    def rederive(self, request: VerifyRequest, model: OnnxModel) -> tuple[Finding, ...]:
        """Lower the model again with the pinned scales; one finding per comparison."""
        from verifai.engines.sumcheck.rederiving import rederive

        return rederive(request, model)

    def weight_roots(self, section: Mapping[str, Any], secrets_dir: Path, *, where: str) -> tuple[RootState, ...]:
        """The roots that commit to private weights, with their openings. Raises UsageError."""
        from verifai.engines.sumcheck.root_renewal import weight_roots

        return weight_roots(section, secrets_dir, where)

    def renew_weight_root(
        self, section: Mapping[str, Any], build_dir: Path, secrets_dir: Path, *, where: str, progress: Progress = SILENT
    ) -> RootState:
        """A fresh root for the same private weights, proven equal to the pinned one. Raises UsageError."""
        from verifai.engines.sumcheck.root_renewal import renew_weight_root

        return renew_weight_root(section, build_dir, secrets_dir, where, progress)

    def reserve_openings(self, section: Mapping[str, Any], secrets_dir: Path, count: int) -> tuple[ReservedOpening, ...]:
        """Opening numbers of private weights, spent from here on. Raises UsageError, Undecided."""
        from verifai.engines.sumcheck.secrets.reserved import reserve_openings

        return reserve_openings(parse_section(section), secrets_dir, count)

    def secret_files(self, section: Mapping[str, Any], secrets_dir: Path) -> Mapping[str, bytes]:
        """Seeds, registration and links of private weights. Raises UsageError."""
        from verifai.engines.sumcheck.secrets.reserved import secret_files

        return secret_files(parse_section(section), secrets_dir)

    def constant_files(self) -> frozenset[str]:
        """Circuit, weights, and what is shown of a root."""
        from verifai.engines.sumcheck.payload.files import CIRCUIT_FILE, WEIGHTS_FILE
        from verifai.engines.sumcheck.payload.weight_roots import LINK_FILE, REGISTRATION_FILE

        return frozenset({CIRCUIT_FILE, WEIGHTS_FILE, LINK_FILE, REGISTRATION_FILE})

    def rehearse(self, request: ProveRequest) -> Rehearsal:
        """The integer program, run and not proven. Raises InputRejected, UsageError."""
        from verifai.engines.sumcheck.proving import rehearse

        return rehearse(request)

    def proof_memory(self, section: Mapping[str, Any], build_dir: Path) -> int:
        """From the sizes of the prover's arrays. Raises UsageError (``stale-build``, ``bad-lock``)."""
        from verifai.engines.sumcheck.build_folder import read_circuit
        from verifai.engines.sumcheck.planning.memory import peak_memory_bytes

        return peak_memory_bytes(read_circuit(build_dir, parse_section(section))[1])

    def check_split(self, spec: CircuitSpec, *, where: str) -> None:
        """Refuse what cannot be split. Raises UsageError (``privacy-unsupported``, ``bad-spec``)."""
        from verifai.engines.sumcheck.splitting import check_split

        check_split(spec, where)

    def split_options(self, request: SplitRequest) -> tuple[Mapping[str, Any], ...]:
        """Options of each segment, with equal scales and ranges at every boundary. Raises UnsupportedModel."""
        from verifai.engines.sumcheck.splitting import split_options

        return split_options(request)

    def expect_version(self, section: Mapping[str, Any]) -> None:
        """Refuse a section of a suite unknown to this release. Raises UsageError (``bad-lock``, ``engine-version``)."""
        expect_suite(parse_section(section))

    def warm_up(self, progress: Progress = SILENT) -> None:
        """Compile the kernels, by proving and verifying small circuits. Raises InternalError (``bug``)."""
        from verifai.engines.sumcheck.prover.resources import warm_up

        warm_up(progress)

    def ensure_warm(self, progress: Progress = SILENT) -> None:
        """Compile the kernels that neither this process nor the cache has. Raises InternalError (``bug``)."""
        from verifai.engines.sumcheck.prover.kernel_step import ensure_kernels

        ensure_kernels(progress)
