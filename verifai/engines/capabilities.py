"""What an engine may offer beyond :class:`verifai.engines.interface.ProofEngine`, one protocol each. Ask with ``isinstance``.

Stages and the command line use these protocols, never the modules of one engine; so another engine can offer the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from verifai.domain.circuit_spec import Budget, CircuitSpec
from verifai.domain.digest import Sha256
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding
from verifai.domain.progress import SILENT, Progress
from verifai.engines.interface import CompileRequest, ProofEngine, ProveRequest, ReservedOpening, Tensors, VerifyRequest
from verifai.onnx_graph.model import OnnxModel


@runtime_checkable
class OffersSecondOpinion(ProofEngine, Protocol):
    """A verifier of the engine's proofs that somebody else could run instead."""

    def second_opinion(self, request: VerifyRequest) -> Finding:
        """Put the proof to the other verifier, and compare the two verdicts. False evidence is a finding, not an exception."""


@runtime_checkable
class StatesInputRanges(ProofEngine, Protocol):
    """Circuits that take inputs within a range, which whoever verifies can read."""

    def input_ranges(self, section: Mapping[str, Any], files: Mapping[str, Path]) -> Mapping[str, tuple[int, int]]:
        """By input, the least and the largest integer that the pinned circuit takes, as ``TensorStatement.quantised`` has them.

        Args:
            files: of a payload that was verified against ``section``.

        Raises:
            EvidenceRejected: ``circuit-mismatch``. UsageError: ``bad-lock``.
        """


@runtime_checkable
class KnowsBatches(ProofEngine, Protocol):
    """Circuits that take many samples, which whoever verifies can look at."""

    def treats_alike(self, section: Mapping[str, Any], files: Mapping[str, Path]) -> bool:
        """Whether the pinned circuit does the same with each sample of a batch, wherever it stands.

        Args, Raises: as :meth:`StatesInputRanges.input_ranges`.
        """


@dataclass(frozen=True, slots=True)
class OutsideInput:
    """One input of one sample that a circuit cannot represent.

    Attributes:
        row: the sample's place among those given, from 0.
        tensor: the input's name.
        cells: how many of its cells lie outside; 0 where the engine cannot tell.
        place: indices of the first of them in the tensor's shape; ``None`` likewise.
        column: name of its column, where one is known.
        value: that cell's value, as text; empty where proofs hide the tensor, or where the engine cannot tell.
        low, high: the smallest and the largest value that the circuit takes there; ``None`` where there is no such bound.
        reason: what is wrong where it is no range of this cell; a sentence without values of a hidden tensor.
        gap: that the cell holds no finite number, so that no range would take it.
    """

    row: int
    tensor: str
    cells: int = 0
    place: tuple[int, ...] | None = None
    column: str = ""
    value: str = ""
    low: float | None = None
    high: float | None = None
    reason: str = ""
    gap: bool = False

    @property
    def hidden(self) -> bool:
        """Whether no value may be told; which column it is in is told, so that a person can look there."""
        return not self.value


@runtime_checkable
class FindsOutsideInputs(ProofEngine, Protocol):
    """Finds the samples that a circuit cannot represent without proving anything."""

    def outside_inputs(self, request: CheckInputsRequest) -> tuple[OutsideInput, ...]:
        """What lies outside, by row; at most one entry per input of a sample. What it finds, ``prove`` would refuse.

        Raises:
            InputRejected: an input that is not of the model's shape and dtype.
            UsageError: ``stale-build``, ``bad-lock``, ``engine-version``. Undecided: memory, deadline, or a crash.
        """


@dataclass(frozen=True, slots=True)
class CheckInputsRequest:
    """Inputs of a check of samples.

    Attributes:
        section, build_dir, budget, threads: as in :class:`~verifai.engines.interface.ProveRequest`.
        samples: exact shapes and dtypes of the model (batch included).
    """

    model: OnnxModel
    section: Mapping[str, Any]
    build_dir: Path
    samples: Sequence[Tensors]
    budget: Budget = field(default_factory=Budget)
    threads: int | None = None
    progress: Progress = SILENT


@dataclass(frozen=True, slots=True)
class RootState:
    """One root of private weights. ``used`` of ``budget`` openings are spent; ``pinned``: it is the lock's own, else an epoch
    root for it."""

    root: Sha256
    pinned: bool
    used: int
    budget: int


@runtime_checkable
class RenewsWeightRoots(ProofEngine, Protocol):
    """Private weights under hiding roots, each good for a number of openings, and fresh roots for the pinned one."""

    def weight_roots(self, section: Mapping[str, Any], secrets_dir: Path, *, where: str) -> tuple[RootState, ...]:
        """The pinned root, then its epoch roots, the oldest first.

        Args:
            section: the engine's pinned lock section.
            secrets_dir: as in :class:`~verifai.engines.interface.CompileRequest`.
            where: what errors name: the circuit's folder.

        Raises:
            UsageError: ``weights-not-private``, ``bad-lock``, ``engine-version``; a ledger that is missing or damaged.
        """

    def renew_weight_root(
        self, section: Mapping[str, Any], build_dir: Path, secrets_dir: Path, *, where: str, progress: Progress = SILENT
    ) -> RootState:
        """Make an epoch root, with a proof that spends one opening of each root: both commit to the same weights.

        Args:
            build_dir: what compile wrote.

        Raises:
            UsageError: as :meth:`weight_roots`; ``opening-budget-spent``, ``stale-build``.
        """


@runtime_checkable
class ReservesOpenings(ProofEngine, Protocol):
    """Openings of hidden weights that one process reserves, and others prove with."""

    def reserve_openings(self, section: Mapping[str, Any], secrets_dir: Path, count: int) -> tuple[ReservedOpening, ...]:
        """Up to ``count`` openings, at least one, on disk as spent when this returns; none where the weights are not private.

        Raises:
            UsageError: ``opening-budget-spent``; those of the ledger. Undecided: ``disk``, ``opening-ledger-busy``.
        """

    def secret_files(self, section: Mapping[str, Any], secrets_dir: Path) -> Mapping[str, bytes]:
        """What proving with reserved openings needs of ``secrets_dir``, by name; no ledger is among them.

        Raises:
            UsageError: ``weights-secret-missing`` and the like.
        """


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a circuit puts out, computed without a proof.

    Attributes:
        files: payload files that do not depend on the proof; those that :meth:`Rehearses.constant_files` names, as far as
            there are any.
        cells: integers of each output as a statement shows them, row-major; of a batch, of the items that count.
        outputs, clamped_cells, findings: as in :class:`~verifai.engines.interface.EngineProof`; findings are those that the
            proof itself does not lead to.
    """

    files: Mapping[str, bytes]
    cells: Mapping[str, tuple[int, ...]]
    outputs: Tensors
    clamped_cells: int | None
    findings: tuple[Finding, ...] = ()


@runtime_checkable
class Rehearses(ProofEngine, Protocol):
    """Runs the circuit without proving, so that somebody else's proof can be held to its result."""

    def constant_files(self) -> frozenset[str]:
        """Names of the payload files that are the same in every bundle of a circuit, or follow from the opening."""

    def rehearse(self, request: ProveRequest) -> Rehearsal:
        """Run the circuit on the request's inputs. Raises what ``prove`` raises before it proves; spends nothing."""


@runtime_checkable
class EstimatesMemory(ProofEngine, Protocol):
    """Knows from a compiled circuit what a proof will take."""

    def proof_memory(self, section: Mapping[str, Any], build_dir: Path) -> int:
        """Peak resident bytes of a process that proves, about. Raises UsageError (``stale-build``, ``bad-lock``)."""


@dataclass(frozen=True, slots=True)
class SplitRequest:
    """Inputs of split.

    Attributes:
        model, spec: the whole model and what its author asked for.
        segments: its parts, in order.
        boundaries: names of the tensors that one segment hands to the next.
        samples: calibration data of the whole model: feeds of exact shapes and dtypes, at least one.
    """

    model: OnnxModel
    spec: CircuitSpec
    segments: Sequence[OnnxModel]
    boundaries: Sequence[str]
    samples: Sequence[Tensors]
    progress: Progress = SILENT


@runtime_checkable
class SplitsModels(ProofEngine, Protocol):
    """Proofs of consecutive segments that chain: each takes exactly the integers that the one before put out."""

    def check_split(self, spec: CircuitSpec, *, where: str) -> None:
        """Refuse, before any cost, a circuit that cannot be split. ``where`` is what errors name.

        Raises:
            UsageError: ``privacy-unsupported``; ``bad-spec``, of a segment for instance.
        """

    def split_options(self, request: SplitRequest) -> tuple[Mapping[str, Any], ...]:
        """The engine's options of each segment's ``circuit.toml``: TOML values, with its place in the split and with one scale
        and range per boundary, equal on both sides.

        Raises:
            UnsupportedModel: ``cut-invalid``, and what calibration raises.
        """

    def expect_version(self, section: Mapping[str, Any]) -> None:
        """Refuse a pinned section whose proofs this release does not check: its boundaries may mean something else.

        Raises:
            UsageError: ``bad-lock``, ``engine-version``.
        """


@dataclass(frozen=True, slots=True)
class Prediction:
    """What compile would find on calibration data.

    Attributes:
        fidelity: measured on a circuit that was run, not estimated.
        rows: of that circuit, as in :class:`~verifai.engines.interface.CostEstimate`.
        bits: what was chosen, by the engine's own words for it.
        tried: how many circuits were run.
    """

    fidelity: Fidelity
    rows: int
    bits: Mapping[str, int]
    tried: int


@runtime_checkable
class PredictsCompile(ProofEngine, Protocol):
    """The part of compile that decides whether it succeeds, without keys."""

    def predict(self, request: CompileRequest) -> Prediction:
        """Tune, and measure the circuit that is found; ``request.build_dir`` is scratch, and no secret is made.

        Raises:
            As :meth:`~verifai.engines.interface.ProofEngine.compile`, and for the same reasons.
        """


@runtime_checkable
class WarmsUp(ProofEngine, Protocol):
    """Work that the first proof would have to wait for, and that can be done ahead."""

    def warm_up(self, progress: Progress = SILENT) -> None:
        """Do that work, and check its result. Raises InternalError (``bug``) when a proof of our own does not hold."""

    def ensure_warm(self, progress: Progress = SILENT) -> None:
        """Do it where it was not done in this installation, or not in this process where nothing is kept. Raises likewise."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """Inputs of an answer.

    Attributes:
        model: a decoder: its inputs one after another are one row of tokens, its only output what the last positions put next.
        section, build_dir, budget: as in :class:`~verifai.engines.interface.ProveRequest`.
        prompt: tokens, at least one.
        most: how many tokens the answer has at most; prompt and answer but for its last token fit the model's positions.
        pad: fills positions behind the end.
        ends: tokens that end an answer.
    """

    model: OnnxModel
    section: Mapping[str, Any]
    build_dir: Path
    prompt: tuple[int, ...]
    most: int
    pad: int
    ends: frozenset[int]
    budget: Budget = field(default_factory=Budget)
    progress: Progress = SILENT


@dataclass(frozen=True, slots=True)
class Generated:
    """An answer.

    Attributes:
        tokens: at least one; only the last may be one that ends answers.
        inputs: the model's inputs with prompt and answer, but for the answer's last token.
        seconds: what it took. cached: whether each token cost its own row alone.
    """

    tokens: tuple[int, ...]
    inputs: Tensors
    seconds: float
    cached: bool


@runtime_checkable
class GeneratesTokens(ProofEngine, Protocol):
    """Runs a compiled decoder as its proofs do, token by token."""

    def generate(self, request: GenerateRequest) -> Generated:
        """Continue a prompt greedily, the lowest token on ties.

        Raises:
            InputRejected: a token that the circuit does not know, or an inner value out of its reach.
            UsageError: ``stale-build``, ``bad-lock``, ``engine-version``, ``batch-unsupported``.
            Undecided: memory, deadline.
        """


@dataclass(frozen=True, slots=True)
class SetUpFile:
    """A set-up file (SRS) that was read and judged.

    Attributes:
        logrows: log2 of the circuit rows that it serves.
        sha256: of the whole file. size: in bytes.
        trust: where it comes from, decided by its contents: ``ceremony`` or ``INSECURE-TEST``.
        insecure: whether its maker can forge every proof that is checked with it.
    """

    path: Path
    logrows: int
    sha256: Sha256
    size: int
    trust: str
    insecure: bool


class SetUpStore(Protocol):
    """Set-up files in one folder. Nothing is trusted because it is there: every file is judged whenever it is read."""

    @property
    def root(self) -> Path:
        """The folder; it may not exist yet."""

    def files(self) -> tuple[SetUpFile, ...]:
        """The store's files, smallest first. Raises EvidenceRejected (``srs-malformed``, ``srs-not-ceremony``)."""

    def judge(self, path: Path) -> SetUpFile:
        """Read any file. Raises as :meth:`files`; UsageError (``file-missing``)."""

    def import_file(self, path: Path, *, allow_test: bool = False) -> SetUpFile:
        """Judge a file, then copy it into the store.

        Raises:
            EvidenceRejected: as :meth:`files`; ``srs-not-ceremony`` for test material that was not asked for.
            UsageError: ``file-missing``. Undecided: ``disk``.
        """

    def fetch(self, logrows: int, *, progress: Progress = SILENT) -> SetUpFile:
        """Download the public ceremony's file of this size.

        Raises:
            UsageError: ``bad-option``. Undecided: ``srs-unavailable``, ``deadline``, ``disk``.
            EvidenceRejected: something else came down.
        """

    def generate(self, logrows: int, *, progress: Progress = SILENT) -> SetUpFile:
        """Make INSECURE test material. Raises UsageError (``bad-option``), Undecided."""

    def cut(self, source: Path, logrows: int, output: Path, *, progress: Progress = SILENT) -> SetUpFile:
        """Cut a file to fewer rows, into the new file ``output``, in the store or elsewhere.

        Raises:
            UsageError: ``file-missing``, ``file-exists``, ``bad-option``.
            EvidenceRejected: as :meth:`files`. Undecided: memory, disk, or a crash.
        """


@runtime_checkable
class KeepsSetUpFiles(ProofEngine, Protocol):
    """Set-up files (SRS) that circuits of any model can share, kept in a store."""

    def set_up_store(self, root: Path | None = None) -> SetUpStore:
        """The store in the folder ``root``; by default the user's own."""
