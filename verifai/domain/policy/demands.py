"""The gate's policy as values: what a release must show. ``docs/gate.md`` describes the file that they are read from.

A policy names its trust anchors (a circuit lock per model, one trust file); nothing that it demands is ever read from the
evidence that it judges.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from verifai.domain.digest import Sha256
from verifai.domain.generation import Ending
from verifai.domain.policy.evaluation import EvaluationDemand
from verifai.domain.policy.waiver import WaiverBook
from verifai.domain.provenance import ProvenanceDemand
from verifai.domain.statement import EngineName, Privacy

SCHEMA = "verifai/policy/v1"
DEFAULT_SKEW_SECONDS = 300
"""How far ahead of our clock a prover's clock may be."""


class EvidenceKind(StrEnum):
    """What can speak for a model."""

    PROOF = "proof"
    CONSENSUS = "consensus"
    GATE = "gate"
    TEE = "tee"
    EVALUATION = "evaluation"


class SrsLevel(StrEnum):
    """How a proof's set-up material came about, weakest first."""

    TEST = "test"
    CEREMONY = "ceremony"
    TRANSPARENT = "transparent"


class PrivacyLevel(StrEnum):
    """What a proof must hide, weakest first."""

    INTEGRITY_ONLY = "integrity-only"
    ZERO_KNOWLEDGE_UNAUDITED = "zero-knowledge-unaudited"
    ZERO_KNOWLEDGE = "zero-knowledge"


SRS_ORDER = tuple(SrsLevel)
PRIVACY_ORDER = tuple(PrivacyLevel)
PRIVACY_OF: dict[Privacy, PrivacyLevel] = {
    Privacy.INTEGRITY_ONLY: PrivacyLevel.INTEGRITY_ONLY,
    Privacy.ZERO_KNOWLEDGE_UNAUDITED: PrivacyLevel.ZERO_KNOWLEDGE_UNAUDITED,
    Privacy.ZERO_KNOWLEDGE: PrivacyLevel.ZERO_KNOWLEDGE,
}


class Distinct(StrEnum):
    """What makes two proofs two inferences."""

    STATEMENTS = "statements"
    CONTEXTS = "contexts"


@dataclass(frozen=True, slots=True)
class ContextsDemand:
    """Contexts that a policy expects: ``prefix`` and a number of six digits, from 0.

    Attributes:
        prefix: ends in ``#``.
        numbers: how many numbers there are; larger ones are refused.
        counts: whether proofs are counted by these contexts (``distinct = "contexts"``).
    """

    prefix: str
    numbers: int
    counts: bool = False


@dataclass(frozen=True, slots=True)
class ProofDemand:
    """What proofs of a model must be.

    Attributes:
        engines: allowed engines; each must be pinned in the model's lock.
        inferences: how many distinct inferences must be shown; the same statement twice is one.
        privacy: least that a proof must hide.
        srs: least trust in the set-up.
        insecure: insecure modes accepted beside those that ``srs`` implies, by name.
        context: the text that every statement must carry; ``None`` accepts any.
        contexts: the numbered contexts of which every statement must carry one; ``None`` accepts any.
        answers: whether every proof must be of an answer of a language model, whose tokens are linked.
        answers_end: why every answer must end; ``None`` accepts one that was cut at the number of tokens asked for.
    """

    engines: tuple[EngineName, ...]
    inferences: int = 1
    privacy: PrivacyLevel = PrivacyLevel.ZERO_KNOWLEDGE
    srs: SrsLevel = SrsLevel.CEREMONY
    insecure: tuple[str, ...] = ()
    context: str | None = None
    contexts: ContextsDemand | None = None
    answers: bool = False
    answers_end: Ending | None = None

    @property
    def by_context(self) -> bool:
        """Whether proofs are counted by the contexts that they bear."""
        return self.contexts is not None and self.contexts.counts


@dataclass(frozen=True, slots=True)
class FidelityDemand:
    """Floors under the figures that the lock pins; the bundle's own figures are never used.

    Attributes:
        top1_agreement: least share of calibration samples whose decisions agree, in [0, 1].
        max_abs_error: largest error of any output value.
        spread_error: largest 99th percentile of error / spread of the output.
        perplexity_ratio: of a language model, how much larger the circuit's perplexity may be than the float model's.
        samples: how many calibration samples the figures must rest on.
        clamped_cells: most inner cells that may have been cut off at their range, as the prover counted: its word, not the
            lock's.
    """

    top1_agreement: float | None = None
    max_abs_error: float | None = None
    spread_error: float | None = None
    perplexity_ratio: float | None = None
    samples: int = 1
    clamped_cells: int | None = None


@dataclass(frozen=True, slots=True)
class ConsensusDemand:
    """What agreement between verifiers must be.

    Attributes:
        verifiers: distinct keys, trusted as voters, whose answers agree.
        environments: distinct environments among them, as the verifiers state them.
        attested: how many of them must have shown that trusted hardware ran them.
    """

    verifiers: int = 3
    environments: int = 1
    attested: int = 0


@dataclass(frozen=True, slots=True)
class TeeDemand:
    """What hardware attestations must be; which machines and code count stands in the trust file.

    Attributes:
        inferences: how many distinct inferences must be attested.
        context: the text that every one of them must carry; ``None`` accepts any.
    """

    inferences: int = 1
    context: str | None = None


@dataclass(frozen=True, slots=True)
class GateDemand:
    """What an earlier gate must have said.

    Attributes:
        policies: digests of the policies (with their anchors) whose verdict counts.
        signatures: distinct keys, trusted as gates, that signed the verdict.
        waivers: whether a verdict that rests on waivers counts.
    """

    policies: tuple[Sha256, ...]
    signatures: int = 1
    waivers: bool = False


@dataclass(frozen=True, slots=True)
class ModelDemand:
    """Everything that one model must show.

    Attributes:
        name: for people and reports.
        lock: path of the circuit lock, relative to the policy's folder.
        release: path of the file that is being released, which must be the pinned model byte for byte; relative likewise.
        evidence: each of these kinds must be there; with ``any_kind``, one of them is enough.
        evaluation_proofs: what each proof of an evaluation must be; its number of inferences is the data set's affair.
        max_age_seconds: how old evidence may be by its signed date; ``None`` for no limit.
        skew_seconds: how far in the future a date may lie.
        signatures: distinct keys, trusted as provers, that signed bundle and proof; 0 for none.
        log: whether the trusted log must hold the evidence.
        provenance: what must tie the model to a signed release; ``None`` asks for nothing.
    """

    name: str
    lock: str
    evidence: tuple[EvidenceKind, ...]
    release: str | None = None
    proof: ProofDemand | None = None
    consensus: ConsensusDemand | None = None
    gate: GateDemand | None = None
    tee: TeeDemand | None = None
    evaluation: EvaluationDemand | None = None
    evaluation_proofs: ProofDemand | None = None
    fidelity: FidelityDemand = field(default_factory=FidelityDemand)
    max_age_seconds: int | None = None
    skew_seconds: int = DEFAULT_SKEW_SECONDS
    signatures: int = 0
    log: bool = False
    any_kind: bool = False
    provenance: ProvenanceDemand | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """A whole policy file.

    Attributes:
        sha256: of the file's bytes.
        trust: path of the trust file, relative to the policy's folder; ``None`` when nothing in the policy needs one.
        waivers: the waivers, good and bad.
    """

    name: str
    sha256: Sha256
    models: tuple[ModelDemand, ...]
    trust: str | None = None
    waivers: WaiverBook = field(default_factory=WaiverBook)
