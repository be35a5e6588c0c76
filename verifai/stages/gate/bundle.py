"""One bundle against a policy: what it shows is verified first, then measured against what was demanded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.bundle.dates import decision_signers
from verifai.bundle.dsse import check_signatures
from verifai.bundle.reader import open_bundle
from verifai.bundle.trust_check import check_trust
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.attestation.predicate_types import (
    CONSENSUS_TYPE,
    DERIVATION_TYPE,
    EVALUATION_TYPE,
    GATE_TYPE,
    PROOF_TYPE,
    RELEASE_TYPE,
    TEE_TYPE,
)
from verifai.domain.attestation.tee import AboutReceipt, AboutVoter, HardwarePredicate
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.digest import Sha256, short
from verifai.domain.evaluation.shown import ShownEvaluation
from verifai.domain.evaluation.words import sentence
from verifai.domain.findings import Finding, Outcome
from verifai.domain.openings import OpenedBy
from verifai.domain.policy.attestation import GatePredicate, VerificationResult
from verifai.domain.policy.contexts import CountedProof
from verifai.domain.policy.demands import PRIVACY_OF, EvidenceKind, ModelDemand, SrsLevel
from verifai.domain.policy.evaluation import judge_evaluation
from verifai.domain.policy.judge import (
    TEST_SRS,
    GateFacts,
    ProofFacts,
    below_threshold,
    judge_age,
    judge_consensus,
    judge_engine,
    judge_fidelity,
    judge_gate,
    judge_key,
    judge_proof,
    judge_tee,
)
from verifai.domain.policy.verdict import Judgement
from verifai.domain.privacy_words import privacy_words
from verifai.domain.progress import SILENT
from verifai.domain.provenance import judge_origin, worst_state
from verifai.domain.shown import ShownTensor, first_items
from verifai.domain.statement import WeightVisibility
from verifai.domain.trust import Trust, TrustRole
from verifai.domain.utc_time import format_utc
from verifai.engines.interface import SectionSummary
from verifai.errors import EvidenceRejected, PolicyNotMet, VerifaiError, undecided
from verifai.stages.attested import check_hardware, receipt_digest
from verifai.stages.consensus.find_round import find_round
from verifai.stages.evaluation.claims import find_evaluation
from verifai.stages.evaluation.judge import ProvenPart, verify_evaluation
from verifai.stages.evaluation.shown import shown_evaluation
from verifai.stages.evidence import fidelity_figures, inference_digests, shows_inputs, statement_digest
from verifai.stages.gate.consensus import check_consensus
from verifai.stages.gate.load import LoadedPolicy
from verifai.stages.origin import check_origin
from verifai.stages.verify import Expectations, find_claims, verify_open

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle
    from verifai.stages.verify import VerifiedBundle

_TYPE_OF = {
    EvidenceKind.PROOF: PROOF_TYPE,
    EvidenceKind.CONSENSUS: CONSENSUS_TYPE,
    EvidenceKind.GATE: GATE_TYPE,
    EvidenceKind.TEE: TEE_TYPE,
    EvidenceKind.EVALUATION: EVALUATION_TYPE,
}

MAX_VALUES = 64
"""Values of a tensor that a judgement keeps: a gate judges thousands of bundles."""

_BALLOTS = VoteCommitment | Vote | VoteReplay


def judge_bundle(loaded: LoadedPolicy, path: Path, now: datetime, budget: Budget) -> Judgement:
    """Judge the bundle at ``path``. Whatever is wrong with it becomes a finding; only a bug of ours or Ctrl-C is raised."""
    try:
        with open_bundle(path) as bundle:
            return _Case(loaded, bundle, str(path), now, budget).judge()
    except VerifaiError as problem:
        return Judgement(str(path), None, {}, (_finding(problem),))
    except (OSError, MemoryError) as problem:
        return Judgement(str(path), None, {}, (_finding(undecided(problem, where=str(path))),))


def _finding(problem: VerifaiError) -> Finding:
    if problem.status in (70, 130):
        raise problem
    finding = Finding.from_error(problem)
    # What the caller asked for was checked before; here such an error says that this bundle could not be looked into.
    return replace(finding, outcome=Outcome.UNDECIDED) if problem.status == 2 else finding


class _Case:
    """One open bundle being judged."""

    def __init__(self, loaded: LoadedPolicy, bundle: OpenBundle, path: str, now: datetime, budget: Budget) -> None:
        self._loaded = loaded
        self._bundle = bundle
        self._path = path
        self._now = now
        self._budget = budget
        self._findings: list[Finding] = []
        self._shows: dict[EvidenceKind, tuple[Sha256, ...]] = {}
        self._facts: dict[str, str] = {}
        self._opened: OpenedBy | None = None
        self._words: tuple[str, ...] = ()
        self._counted: CountedProof | None = None
        self._values: tuple[ShownTensor, ...] = ()
        self._evaluated: ShownEvaluation | None = None

    def judge(self) -> Judgement:
        demands: tuple[ModelDemand, ...] = ()
        try:
            demands = self._demands()
        except VerifaiError as problem:
            self._findings.append(_finding(problem))
        self._check_trust(demands)
        for demand in demands:
            checks: dict[EvidenceKind, Callable[[], None]] = {
                EvidenceKind.PROOF: partial(self._proof, demand),
                EvidenceKind.CONSENSUS: partial(self._consensus, demand),
                EvidenceKind.GATE: partial(self._gate, demand),
                EvidenceKind.TEE: partial(self._tee, demand),
                EvidenceKind.EVALUATION: partial(self._evaluation, demand),
            }
            for kind in self._kinds(demand):
                try:
                    checks[kind]()
                except VerifaiError as problem:
                    self._findings.append(_finding(problem))
        self._findings += self._not_judged({kind for demand in demands for kind in self._asked(demand)})
        return Judgement(
            self._path,
            self._bundle.bundle_id,
            {demand.name: self._loaded.pins[demand.name] for demand in demands},
            tuple(self._findings),
            self._shows,
            self._facts,
            opened=self._opened,
            words=self._words,
            counted=self._counted,
            values=self._values,
            evaluation=self._evaluated,
        )

    def _demands(self) -> tuple[ModelDemand, ...]:
        """The demands that the bundle speaks to: one model's, or for an earlier gate's verdict those of all it names."""
        digests: set[str] = set()
        if self._bundle.of_type(EVALUATION_TYPE):
            digests.add(find_evaluation(self._bundle).circuit.model_sha256)
        elif self._bundle.of_type(PROOF_TYPE):
            digests.add(find_claims(self._bundle)[0].model_sha256)
        if self._bundle.of_type(CONSENSUS_TYPE):
            digests.add(find_round(self._bundle)[2].job.subject.model_sha256)
        digests |= {one.about.model_sha256 for one in self._attested() if isinstance(one.about, AboutReceipt)}
        gates = self._bundle.of_type(GatePredicate.TYPE)
        if len(digests) > 1 or (digests and not all(self._names(gate, digests) for gate in gates)):
            raise EvidenceRejected("broken-chain", "the bundle's evidence is about different models", where=self._path)
        if not digests:
            named = {subject.sha256 for gate in gates for subject in gate.subjects}
            asked = {digest for digest in named if self._asks_for_gate(digest)}
            # Models that the policy leaves to other evidence, or does not know, are none of this policy's business here.
            digests |= asked or named
        if not digests:
            raise PolicyNotMet("no-proof", "the bundle holds no evidence of a kind that a gate knows", where=self._path)
        return tuple(self._demand(digest) for digest in sorted(digests))

    @staticmethod
    def _names(gate: Attestation, digests: set[str]) -> bool:
        return digests <= {subject.sha256 for subject in gate.subjects}

    def _asks_for_gate(self, digest: str) -> bool:
        demand = self._loaded.demand_for(digest)
        return demand is not None and EvidenceKind.GATE in demand.evidence

    def _demand(self, digest: str) -> ModelDemand:
        demand = self._loaded.demand_for(digest)
        if demand is None:
            pinned = ", ".join(f"{name} {short(pin)}" for name, pin in self._loaded.pins.items())
            raise EvidenceRejected(
                "model-not-pinned",
                f"the evidence is about model {short(digest)}, which no lock of the policy pins (pinned: {pinned})",
                where=self._path,
                hint="The model was changed, or the policy does not know it: reject the release, or review the change.",
            )
        return demand

    def _kinds(self, demand: ModelDemand) -> list[EvidenceKind]:
        asked = self._asked(demand)
        if not asked:
            here = ", ".join(self._present())
            self._findings.append(
                Finding(
                    "evidence-not-asked",
                    Outcome.POLICY_NOT_MET,
                    f"the bundle shows {here}, model {demand.name!r} is asked for {', '.join(demand.evidence)}",
                    where=self._path,
                    remedy="Leave the bundle out, or demand that kind of evidence.",
                )
            )
        return asked

    def _present(self) -> list[EvidenceKind]:
        kinds = [kind for kind in EvidenceKind if kind is not EvidenceKind.TEE and self._bundle.of_type(_TYPE_OF[kind])]
        if EvidenceKind.EVALUATION in kinds:  # its proofs are judged with it
            kinds = [kind for kind in kinds if kind is not EvidenceKind.PROOF]
        # What attests to a verifier speaks for the consensus, not by itself.
        attested = any(not isinstance(one.about, AboutVoter) for one in self._attested())
        return [*kinds, *([EvidenceKind.TEE] if attested else [])]

    def _attested(self) -> list[HardwarePredicate]:
        found = (one.predicate for one in self._bundle.of_type(TEE_TYPE))
        return [one for one in found if isinstance(one, HardwarePredicate)]

    def _asked(self, demand: ModelDemand) -> list[EvidenceKind]:
        return [kind for kind in self._present() if kind in demand.evidence]

    def _not_judged(self, asked: set[EvidenceKind]) -> list[Finding]:
        """One finding per attestation that no demanded evidence rests on, so that no reader takes it for judged."""
        if not asked:
            return []  # nothing was judged at all, and that is said
        rounds = {
            one.predicate.round for one in self._bundle.attestations.values() if isinstance(one.predicate, ConsensusDecision)
        }
        # All messages of a round are tallied, also those that the decision does not name because they came late or are false.
        related = {
            one.id
            for one in self._bundle.attestations.values()
            if EvidenceKind.CONSENSUS in asked and isinstance(one.predicate, _BALLOTS) and one.predicate.round in rounds
        }
        if EvidenceKind.PROOF in asked:  # judged with the proof, whether or not the policy demands provenance
            related |= {one.id for kind in (RELEASE_TYPE, DERIVATION_TYPE) for one in self._bundle.of_type(kind)}
        related |= {
            one.id
            for one in self._bundle.of_type(TEE_TYPE)
            if EvidenceKind.CONSENSUS in asked
            and isinstance(one.predicate, HardwarePredicate)
            and isinstance(one.predicate.about, AboutVoter)
        }
        pending = [
            one.id
            for kind in asked
            for one in self._bundle.of_type(_TYPE_OF[kind])
            if not (isinstance(one.predicate, HardwarePredicate) and isinstance(one.predicate.about, AboutVoter))
        ]
        while pending:
            one = self._bundle.attestations.get(pending.pop())
            if one is not None and one.id not in related:
                related.add(one.id)
                pending.extend(one.predicate.parents())
        return [
            Finding(
                "attestation-not-judged",
                Outcome.NOT_CHECKED,
                f"an attestation of type {one.predicate.TYPE} is in the bundle; nothing that the policy asks for rests on it",
                where=f"attestations/{key}.dsse.json",
                remedy="Demand that kind of evidence, or leave it out.",
            )
            for key, one in sorted(self._bundle.attestations.items())
            if key not in related
        ]

    def _check_trust(self, demands: Sequence[ModelDemand]) -> None:
        trust = self._loaded.trust
        if trust is None:
            return
        log = any(demand.log for demand in demands)
        for finding in check_trust(self._bundle, trust, format_utc(self._now)):
            if log and finding.step == "L" and finding.outcome is Outcome.NOT_CHECKED:  # whatever the log lacks is binding here
                finding = replace(finding, outcome=Outcome.POLICY_NOT_MET)
            self._findings.append(finding)
        demanded = max((demand.signatures for demand in demands), default=0)
        if demanded:
            try:
                signers = self._signers(trust, TrustRole.RELEASE)
            except VerifaiError:
                return  # check_trust has reported the false signature
            if signers < demanded:
                self._findings.append(below_threshold(signers, demanded, TrustRole.RELEASE.value))

    def _signers(self, trust: Trust | None, role: TrustRole) -> int:
        """How many distinct keys of ``role`` signed the manifest."""
        rule = trust.roles.get(role) if trust is not None else None
        return 0 if rule is None else len(self._bundle.check_signatures(rule.keys).signers)

    def _proof(self, demand: ModelDemand) -> None:
        assert demand.proof is not None
        lock = self._loaded.locks[demand.name]
        engine = find_claims(self._bundle)[0].engine
        self._findings.append(judge_engine(demand.proof, engine))
        # A test set-up is judged by the policy below: first of all it has to be known whether the proof is true.
        verified = verify_open(self._bundle, lock, Expectations(allow_test_srs=True), budget=self._budget, progress=SILENT)
        summary = self._loaded.summaries[demand.name][engine]
        self._findings += verified.findings
        self._opened = replace(verified.opened, where=self._path)
        self._words = privacy_words(verified.statement)
        # Of a batch, the first items: its number of inferences is among the facts.
        self._values = tuple(one.cut(MAX_VALUES) for one in first_items(verified.values)[0])
        facts = self._proof_facts(verified, summary, self._proof_signers())
        trust = self._loaded.trust
        key = judge_key(None if trust is None else trust.circuits.get(lock.name), summary.circuit_sha256)
        self._findings += [key] if key is not None else []
        self._findings += judge_proof(demand.proof, facts)
        self._findings += judge_fidelity(demand.fidelity, facts.fidelity, verified.proof.clamped_cells)
        self._origin(demand, lock, verified.circuit)
        signers = self._proof_signers()
        self._age(demand, (verified.proof.created, self._bundle.manifest.created), signers)
        self._facts |= {
            "engine": f"{engine.value} {summary.engine_version}",
            "privacy": facts.privacy.value,
            "weights": verified.statement.weights.value,
            "set_up": facts.srs.value,
            "created": verified.proof.created,
            "statement": facts.statement_id,
        }
        if words := [one.words() for one in verified.statement.openings]:
            self._facts["openings"] = "; ".join(words)
        if verified.statement.batch:
            self._facts["inferences"] = str(verified.statement.inferences)
        self._shows[EvidenceKind.PROOF] = inference_digests(verified.statement)
        if demand.proof.by_context:
            shown = shows_inputs(verified.statement)
            claim = verified.statement.generation
            answer = "" if claim is None else f"{claim.prompt} {claim.answer} {claim.ending.value}"
            self._counted = CountedProof(demand.name, facts.context, facts.statement_id, shown, answer)
            if not shown:  # a batch too: its one context was asked for once
                self._shows[EvidenceKind.PROOF] = (self._counted.identity,)

    def _origin(self, demand: ModelDemand, lock: CircuitLock, circuit: CircuitPredicate) -> None:
        """P1 to P3: the chain from a signed release, told wherever there is one, and demanded where the policy does."""
        asked, trust = demand.provenance, self._loaded.trust
        if asked is None and lock.provenance is None and circuit.weights is WeightVisibility.PUBLIC:
            return
        entries = trust.model_signers if trust is not None else ()
        origin = check_origin(
            self._bundle,
            lock,
            circuit,
            trust,
            self._now,
            entries=entries if asked is None else [one for one in entries if one.name in asked.signed_by],
            derived=self._loaded.derived.get(demand.name),
        )
        self._findings += origin.findings() if asked is None else judge_origin(asked, origin)
        if lock.provenance is not None:
            self._facts |= {"release": lock.provenance.release, "origin": worst_state(origin.links).value}

    def _proof_facts(self, verified: VerifiedBundle, summary: SectionSummary, signed: int) -> ProofFacts:
        statement = verified.statement
        return ProofFacts(
            engine=statement.engine,
            statement_id=statement_digest(statement),
            context=statement.context,
            context_bound=statement.context_bound or bool(signed),
            privacy=PRIVACY_OF[statement.privacy],
            srs=srs_level(summary),
            insecure=summary.insecure,
            fidelity=fidelity_figures(summary.fidelity),
            context_bound_by_proof=statement.context_bound,
            answer=statement.generation is not None,
            ending=None if statement.generation is None else statement.generation.ending,
        )

    def _proof_signers(self) -> int:
        """Trusted keys that answer for date and context: the manifest, or the proof's attestation, holds both."""
        trust = self._loaded.trust
        if signed := self._signers(trust, TrustRole.RELEASE):
            return signed
        if trust is None or TrustRole.PROVER not in trust.roles:
            return 0
        (claim,) = self._bundle.of_type(PROOF_TYPE)
        return self._signers_of(claim, TrustRole.PROVER)

    def _signers_of(self, attestation: Attestation, role: TrustRole) -> int:
        trust = self._loaded.trust
        rule = trust.roles.get(role) if trust is not None else None
        if rule is None:
            return 0
        return len(check_signatures(attestation.envelope, rule.keys, where=f"attestations/{attestation.id}").signers)

    def _age(self, demand: ModelDemand, dates: tuple[str, ...], signers: int) -> None:
        finding = judge_age(demand, dates, self._now, signers=signers)
        if finding is not None:
            self._findings.append(finding)

    def _gate(self, demand: ModelDemand) -> None:
        assert demand.gate is not None
        gates = self._bundle.of_type(GatePredicate.TYPE)
        if len(gates) != 1:
            raise EvidenceRejected("ambiguous-proof", f"{len(gates)} gate verdicts in one bundle", where=self._path)
        predicate = gates[0].predicate
        assert isinstance(predicate, GatePredicate)
        facts = GateFacts(
            gate_id=gates[0].id,
            passed=predicate.result is VerificationResult.PASSED,
            policy=predicate.policy,
            waivers=len(predicate.waivers),
            signers=self._signers_of(gates[0], TrustRole.GATE),
        )
        self._findings += judge_gate(demand.gate, facts)
        self._age(demand, (predicate.time_verified, self._bundle.manifest.created), facts.signers)
        self._facts |= {"gate": predicate.result.value, "policy": predicate.policy, "decided": predicate.time_verified}
        if facts.signers:  # a verdict without a trusted signature is no evidence, whatever is waived
            self._shows[EvidenceKind.GATE] = (facts.gate_id,)

    def _tee(self, demand: ModelDemand) -> None:
        assert demand.tee is not None
        assert self._loaded.trust is not None
        trust = self._loaded.trust
        signers = self._signers(trust, TrustRole.RELEASE)
        found = check_hardware(self._bundle, trust.hardware, self._now, date_signed=bool(signers))
        checked = [one for one in found if not isinstance(one.about, AboutVoter)]
        for one in checked:
            self._findings += one.findings
        receipts = {one.about for one in checked if isinstance(one.about, AboutReceipt)}
        if self._bundle.of_type(PROOF_TYPE):
            # The machine signed what the proof states: what it states has to be true of the pinned model first.
            if EvidenceKind.PROOF not in demand.evidence:
                lock = self._loaded.locks[demand.name]
                verified = verify_open(
                    self._bundle, lock, Expectations(allow_test_srs=trust.allow_test_srs), budget=self._budget, progress=SILENT
                )
                self._findings += verified.findings
                summary = self._loaded.summaries[demand.name][verified.statement.engine]
                key = judge_key(trust.circuits.get(verified.circuit.name), summary.circuit_sha256)
                self._findings += [key] if key is not None else []
            statement = find_claims(self._bundle)[1].statement
            context, identity = statement.context, statement_digest(statement)
        elif len(receipts) == 1:
            (receipt,) = receipts
            context, identity = receipt.context, receipt_digest(receipt)
        else:
            raise EvidenceRejected("ambiguous-proof", f"{len(receipts)} receipts in one bundle", where=self._path)
        self._findings += judge_tee(demand.tee, context, sum(one.counts for one in checked))
        self._age(demand, (*(one.created for one in checked), self._bundle.manifest.created), signers)
        self._facts |= {"hardware": ", ".join(sorted({one.facts.kind.value for one in checked if one.facts is not None}))}
        self._shows[EvidenceKind.TEE] = (identity,)

    def _evaluation(self, demand: ModelDemand) -> None:
        """A whole data set: every proof against the policy's terms for proofs, then the metrics counted from all of them."""
        assert demand.evaluation is not None
        assert demand.evaluation_proofs is not None
        lock, data = self._loaded.locks[demand.name], self._loaded.data_locks[demand.name]
        engine = find_evaluation(self._bundle).circuit.engine
        terms = [demand.evaluation_proofs, *([demand.proof] if demand.proof is not None else [])]
        signers = self._evaluation_signers()
        created: list[str] = []
        clamped: list[int | None] = []
        shown: list[Sha256] = []

        def visit(part: ProvenPart) -> tuple[Finding, ...]:
            facts = self._proof_facts(part.verified, self._loaded.summaries[demand.name][engine], signers)
            created.append(part.verified.proof.created)
            clamped.append(part.verified.proof.clamped_cells)
            if demand.proof is not None and not demand.proof.by_context:
                shown.extend(inference_digests(part.verified.statement))
            return tuple(finding for one in terms for finding in (judge_engine(one, facts.engine), *judge_proof(one, facts)))

        # A test set-up is judged by the policy: first of all it has to be known whether the proofs are true.
        verified = verify_evaluation(self._bundle, lock, data, allow_test_srs=True, budget=self._budget, visit=visit)
        summary = self._loaded.summaries[demand.name][verified.circuit.engine]
        self._findings += verified.findings
        self._opened = replace(verified.opened, where=self._path)
        trust = self._loaded.trust
        key = judge_key(None if trust is None else trust.circuits.get(lock.name), summary.circuit_sha256)
        self._findings += [key] if key is not None else []
        counted = None if None in clamped else max((one for one in clamped if one is not None), default=None)
        self._findings += judge_fidelity(demand.fidelity, fidelity_figures(summary.fidelity), counted)
        self._findings += judge_evaluation(demand.evaluation, data, verified.metrics)
        self._origin(demand, lock, verified.circuit)
        self._age(demand, (*created, verified.predicate.created, self._bundle.manifest.created), signers)
        self._evaluated = shown_evaluation(verified, demand.evaluation.confidence)
        self._words = (sentence(data, verified.metrics, demand.evaluation.confidence), *privacy_words(verified.statement))
        self._facts |= {
            "engine": f"{verified.circuit.engine.value} {summary.engine_version}",
            "privacy": PRIVACY_OF[verified.statement.privacy].value,
            "weights": verified.statement.weights.value,
            "set_up": srs_level(summary).value,
            "created": verified.predicate.created,
            "data_root": data.root,
            "samples": str(data.count),
            "proofs": str(len(verified.predicate.proofs)),
        }
        self._shows[EvidenceKind.EVALUATION] = (data.root,)
        if shown:
            self._shows[EvidenceKind.PROOF] = tuple(dict.fromkeys(shown))

    def _evaluation_signers(self) -> int:
        """Trusted keys that answer for date and context: the manifest holds both, or the evaluation and each of its proofs."""
        trust = self._loaded.trust
        if signed := self._signers(trust, TrustRole.RELEASE):
            return signed
        if trust is None or TrustRole.PROVER not in trust.roles:
            return 0
        claims = (*self._bundle.of_type(EVALUATION_TYPE), *self._bundle.of_type(PROOF_TYPE))
        return min(self._signers_of(one, TrustRole.PROVER) for one in claims)

    def _consensus(self, demand: ModelDemand) -> None:
        assert demand.consensus is not None
        assert self._loaded.trust is not None
        lock = self._loaded.locks[demand.name]
        checked = check_consensus(self._bundle, self._loaded.trust, self._now, lock=lock, budget=self._budget)
        self._findings += checked.findings
        self._findings += judge_consensus(demand.consensus, checked.facts)
        created = self._bundle.manifest.created
        # Verifiers may be done before the deadline; the round is never younger than the bundle says. A deadline may lie far
        # ahead of the decision, so it shows no age: somebody trusted has to answer for the manifest's date.
        assert self._loaded.trust is not None
        self._age(demand, (created, min(created, checked.reveal_by)), decision_signers(self._bundle, self._loaded.trust))
        self._facts |= {"verifiers": str(checked.facts.agreeing), "environments": str(checked.facts.environments)}
        self._shows[EvidenceKind.CONSENSUS] = (checked.facts.consensus_id,)


def srs_level(summary: SectionSummary) -> SrsLevel:
    """How the pinned set-up material came about. A set-up that the lock does not call a test one was imported by its owner."""
    if TEST_SRS in summary.insecure:
        return SrsLevel.TEST
    return SrsLevel.CEREMONY if "srs_sha256" in summary.pins else SrsLevel.TRANSPARENT
