"""What a proof engine must offer. ``tests/contract/test_engines.py`` holds every engine to it.

An engine owns the meaning of its lock section and of its files in a bundle; it never decides where they are stored, who signs
them, or whether a policy is met. What only some engines can do is in :mod:`.capabilities`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from verifai.domain.circuit_spec import Budget, CircuitSpec
from verifai.domain.counting import PinnedCount
from verifai.domain.digest import Sha256
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding
from verifai.domain.generation import Generation
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, Privacy, Role, Statement, TensorStatement, Visibility, WeightVisibility
from verifai.errors import UsageError

if TYPE_CHECKING:  # a proof is verified without a model, and so without ONNX
    from numpy.typing import NDArray

    from verifai.onnx_graph.model import OnnxModel

Tensors: TypeAlias = "Mapping[str, NDArray[Any]]"
"""Arrays by tensor name, exactly of the model's shapes and dtypes."""


@dataclass(frozen=True, slots=True)
class OperatorSupport:
    """Whether an engine can prove one node."""

    node: str
    op_type: str
    supported: bool
    reason: str = ""
    suggestion: str = ""


@dataclass(frozen=True, slots=True)
class PrivacySupport:
    """Whether an engine's proofs can hide what a specification asks them to.

    Attributes:
        offered: whether it can be compiled, as far as privacy is concerned; what is not offered, ``verifai compile`` refuses.
        level: what the statement of such a proof will say; when not offered, the most that this engine can give it.
        reason: what is hidden and what is not, or why it is not offered and what to do; sentences for a person.
        cost: what it costs beside a proof that hides less, one sentence; empty when not offered.
    """

    offered: bool
    level: Privacy
    reason: str
    cost: str

    def require(self, engine: EngineName) -> None:
        """Raise UsageError (``privacy-unsupported``) unless it is offered."""
        if not self.offered:
            raise UsageError(
                "privacy-unsupported",
                self.reason,
                where=f"engine {engine.value}",
                hint="See what each engine offers with `verifai check MODEL`, or ask for less in circuit.toml.",
            )


@dataclass(frozen=True, slots=True)
class CostEstimate:
    """What a circuit will cost, before any cost. ``None`` where the engine has no such figure.

    Attributes:
        rows: ezkl: circuit rows; sumcheck: committed cells.
        size_log2: ezkl: logrows; sumcheck: log2 of the committed cells.
        basis: where the figures come from, in one sentence.
    """

    rows: int
    size_log2: int
    memory_bytes: int
    key_bytes: int
    proof_bytes: int
    setup_seconds: float
    prove_seconds: float
    basis: str


@dataclass(frozen=True, slots=True)
class CompileRequest:
    """Inputs of compile.

    Attributes:
        calibration: one entry per model input, axis 0 = sample, the rest exactly the model's shape (its batch axis included).
        build_dir: existing private folder for generated files (0700); the engine writes atomically below it.
        spec_dir: folder of ``circuit.toml``; relative paths in engine options start here.
        secrets_dir: private folder (0700) for what must outlive every rebuild and never leave its owner, such as the seed of a
            hiding commitment; made when it is needed. ``None`` when nothing that is asked for needs it.
        locked: the engine's pinned section to reproduce without searching, or ``None`` to search.
        pad: of a language model, the token that stands behind the end of a text; ``None`` where none does.
    """

    model: OnnxModel
    spec: CircuitSpec
    calibration: Tensors
    build_dir: Path
    spec_dir: Path
    locked: Mapping[str, Any] | None = None
    progress: Progress = SILENT
    secrets_dir: Path | None = None
    pad: int | None = None


@dataclass(frozen=True, slots=True)
class CompiledCircuit:
    """Result of compile.

    Attributes:
        section: the engine's lock section, TOML values only.
        fidelity: measured in this run; with ``locked`` too.
        tried: the tuner's table, one row per candidate, with equal keys; empty when nothing was searched.
        seconds: phase → seconds. peak_rss_bytes: of the heaviest child.
    """

    section: Mapping[str, Any]
    fidelity: Fidelity
    tried: tuple[Mapping[str, Any], ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_rss_bytes: int = 0
    key_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PinnedScale:
    """How a tensor between two segments is represented: real value = x·scale with integers x in [low, high], shown as
    q = x + zero_point."""

    scale: Fraction
    low: int
    high: int
    zero_point: int


@dataclass(frozen=True, slots=True)
class SegmentTensor:
    """One input or output of a segment, shape as in its model. ``pin`` is ``None`` where the section pins no boundary."""

    role: Role
    name: str
    shape: tuple[int, ...]
    visibility: Visibility
    pin: PinnedScale | None


@dataclass(frozen=True, slots=True)
class PinnedSegment:
    """Which part of a split model a section pins.

    Attributes:
        model_sha256: of the whole model.
        number: the segment's place among ``of`` segments, from 1.
        tensors: inputs, then outputs, each in the model's order.
    """

    model_sha256: Sha256
    number: int
    of: int
    tensors: tuple[SegmentTensor, ...]

    def side(self, role: Role) -> tuple[SegmentTensor, ...]:
        """Its inputs, or its outputs."""
        return tuple(tensor for tensor in self.tensors if tensor.role is role)


@dataclass(frozen=True, slots=True)
class SectionSummary:
    """What a pinned lock section says, in terms that do not depend on the engine.

    Attributes:
        engine_version: the version that proofs depend on.
        circuit_sha256: the digest that identifies the circuit to its engine, as in ``Statement.circuit_sha256``.
        pins: further digests, by name (lower case, underscores), such as ``settings_sha256``, ``vk_sha256``, ``srs_sha256``.
        fidelity: as measured by compile.
        insecure: insecure modes in force, sorted: ``test-srs``, or none.
        weights: how the weights are bound. tensors: visibility of each input and output, by name.
        segment: of a part of a split model, which part it is and what it pins of its boundaries.
        batch: how many inferences one proof takes; 0 where it is of one.
        counting: over which samples a proof counts right answers; ``None`` where it counts none.
    """

    engine_version: str
    circuit_sha256: str
    pins: Mapping[str, str]
    fidelity: Fidelity
    insecure: tuple[str, ...] = ()
    weights: WeightVisibility | None = None
    tensors: Mapping[str, Visibility] = field(default_factory=dict)
    segment: PinnedSegment | None = None
    batch: int = 0
    counting: PinnedCount | None = None


@dataclass(frozen=True, slots=True)
class TensorSecret:
    """What makes a hashed tensor's hiding root again, together with its values. Handed to the next party, to nobody else.

    Attributes:
        root: 64 hex digits.
        seed: 32 bytes.
        number: the opening that its maker spent. Whoever takes the tensor makes another, from a ledger of its own.
    """

    root: str
    seed: bytes = field(repr=False)
    number: int


@dataclass(frozen=True, slots=True)
class ReservedOpening:
    """An opening number of a hiding root that the ledger has recorded as spent, for one proof and no other."""

    root: Sha256
    number: int


@dataclass(frozen=True, slots=True)
class ProveRequest:
    """Inputs of prove: one sample, or the samples of a batch.

    Attributes:
        section: the engine's pinned lock section; build files that do not match it are refused.
        inputs: exact shapes and dtypes of the model (batch included); of a circuit that takes a batch, with a first axis in
            front, of as many samples as it takes, or fewer.
        secrets_dir: as in :class:`CompileRequest`.
        context: the caller's text, such as a nonce.
        input_secrets: by hashed input, what its maker handed over with it, where the engine's commitments hide.
        budget: limits for the child processes.
        threads: worker threads, or ``None`` for the engine's choice.
        require_space: to be called with the size in bytes of what the engine will hand back, about, once that is known and
            before anything scarce is spent; raises Undecided when there is no room for it.
        check_outputs: to be called with what the circuit puts out, by name, before anything scarce is spent; raises to stop.
        generation: what the proof binds beside the context, where the inputs are a prompt and its answer; only for engines
            that offer :class:`~verifai.engines.capabilities.GeneratesTokens`.
        opening: of private weights, the opening to prove with, which was reserved for this proof alone; without one the engine
            takes the next number of its ledger itself.
    """

    model: OnnxModel
    spec: CircuitSpec
    section: Mapping[str, Any]
    build_dir: Path
    inputs: Tensors
    context: str = ""
    budget: Budget = field(default_factory=Budget)
    threads: int | None = None
    progress: Progress = SILENT
    secrets_dir: Path | None = None
    input_secrets: Mapping[str, TensorSecret] = field(default_factory=dict)
    require_space: Callable[[int], None] = lambda count: None
    check_outputs: Callable[[Tensors], None] = lambda outputs: None
    generation: Generation | None = None
    opening: ReservedOpening | None = None


@dataclass(frozen=True, slots=True)
class EngineProof:
    """Result of prove, already verified by the engine.

    Attributes:
        files: what goes into the bundle's ``payload/``: name → bytes. Never keys, witnesses or private tensors.
        statement: as decoded from the proof.
        seconds: of the prove call itself.
        outputs: what the circuit put out, by name, as exact float64 (integer outputs as integers), for whoever proves the next
            segment; never in the bundle. Empty when the engine does not offer it.
        secrets: by hashed output, what that somebody needs to make its hiding root again; never in the bundle.
        findings: what a reader of the statement will be told beside that it holds, such as ``output-saturated``.
        clamped_cells: how many inner cells were cut off at the range that calibration gave them, for others to read: of hidden
            tensors and weights, a bound. ``None`` when the engine does not count.
    """

    files: Mapping[str, bytes]
    statement: Statement
    seconds: float
    peak_rss_bytes: int
    outputs: Tensors = field(default_factory=dict)
    secrets: Mapping[str, TensorSecret] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    clamped_cells: int | None = None


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """Inputs of verify.

    Attributes:
        files: the bundle's payload files as private, stable copies: name → path. Hostile.
        section: the engine's pinned lock section. Trusted.
        model_sha256: the pinned model digest. Trusted.
        context: the context the bundle's manifest states; engines that bind it check it.
        allow_test_material: whether test-only set-up material (a test SRS) may be accepted.
        setup_material: files or folders where ``rederive`` may look for set-up material; what it finds is checked by digest.
        secrets_dir: as in :class:`CompileRequest`, for a ``rederive`` by somebody who may see the weights: then the root of
            private weights is made again, too.
    """

    files: Mapping[str, Path]
    section: Mapping[str, Any]
    model_sha256: str
    context: str = ""
    allow_test_material: bool = False
    setup_material: tuple[Path, ...] = ()
    secrets_dir: Path | None = None
    budget: Budget = field(default_factory=Budget)
    progress: Progress = SILENT


@dataclass(frozen=True, slots=True)
class VerifiedProof:
    """Result of verify; holding one means that the proof holds.

    Attributes:
        statement: decoded from authenticated data only.
        findings: one per step, in the order of the engine's numbered steps.
    """

    statement: Statement
    findings: tuple[Finding, ...]


class ProofEngine(Protocol):
    """One proof engine. Stateless; safe to share between threads."""

    @property
    def name(self) -> EngineName:
        """Its name in specs, locks and statements."""

    def operator_support(self, model: OnnxModel) -> tuple[OperatorSupport, ...]:
        """One entry per node, in the graph's order."""

    def privacy_support(self, spec: CircuitSpec) -> PrivacySupport:
        """Whether its proofs can hide what ``spec`` asks for, and at what cost; never raises."""

    def estimate(self, model: OnnxModel, spec: CircuitSpec) -> CostEstimate:
        """Predict costs from the graph alone, in well under a second. Raises UnsupportedModel."""

    def compile(self, request: CompileRequest) -> CompiledCircuit:
        """Tune, set up, pin. Raises UnsupportedModel, UsageError, PolicyNotMet (fidelity floor), Undecided."""

    def summarise(self, section: Mapping[str, Any]) -> SectionSummary:
        """Read a pinned section strictly. Raises UsageError (``bad-lock``)."""

    def prove(self, request: ProveRequest) -> EngineProof:
        """Prove one sample, then verify the proof. Raises InputRejected, UsageError (stale build), Undecided."""

    def verify(self, request: VerifyRequest) -> VerifiedProof:
        """Check a proof. Raises EvidenceRejected, PolicyNotMet (test material), Undecided."""

    def quantise(self, tensor: TensorStatement, values: NDArray[Any]) -> tuple[int, ...]:
        """The integers that the engine's circuit would see for ``values``; deterministic, exact.

        Numbers of any type are values: an integer 1 given for a tensor of reals is the real 1. Only a tensor that is itself of
        integers (``tensor.stored``) is compared with them as they are.

        Raises InputRejected for a shape mismatch or a value that cannot be represented.
        """

    def digest(self, tensor: TensorStatement, values: NDArray[Any]) -> str:
        """The binding digest of ``values`` under the hashed ``tensor``'s scheme. Raises InputRejected."""

    def rederive(self, request: VerifyRequest, model: OnnxModel) -> tuple[Finding, ...]:
        """Audit: rebuild keys and circuit from the ONNX and the pinned section in a clean place; compare bytes.

        Never raises for false evidence: one finding per comparison.
        """
