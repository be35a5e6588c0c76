"""The gate's decision table: facts about one piece of evidence against the demands of a policy. Pure; the clock is an argument.

Facts hold what verification *established*, with figures from the lock and keys from the trust file; a function here never sees
the evidence itself. Each demand gives one finding, kept or missed, so that a report shows all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from verifai.domain.attestation.circuit import FidelityFigures
from verifai.domain.digest import Sha256, short
from verifai.domain.findings import Finding, Outcome, holds, missed
from verifai.domain.generation import Ending
from verifai.domain.policy.contexts import judge_contexts
from verifai.domain.policy.demands import (
    PRIVACY_ORDER,
    SRS_ORDER,
    ConsensusDemand,
    GateDemand,
    ModelDemand,
    PrivacyLevel,
    ProofDemand,
    SrsLevel,
    TeeDemand,
)
from verifai.domain.statement import EngineName
from verifai.domain.trust import RE_DERIVE, TrustedCircuit
from verifai.domain.utc_time import parse_utc

TEST_SRS = "test-srs"
"""The insecure mode that ``srs = "test"`` stands for."""


@dataclass(frozen=True, slots=True)
class ProofFacts:
    """A proof that holds and is about the pinned model and circuit.

    Attributes:
        statement_id: digest of what was proven, the context left out; equal statements are one inference.
        context_bound: whether the proof binds the context, or a trusted signature does.
        context_bound_by_proof: whether the proof itself does.
        insecure: insecure modes that the lock records.
        fidelity: as the lock pins it.
        answer: whether the statement is of an answer of a language model; its tokens are linked then.
        ending: why that answer ends.
    """

    engine: EngineName
    statement_id: Sha256
    context: str
    context_bound: bool
    privacy: PrivacyLevel
    srs: SrsLevel
    insecure: tuple[str, ...]
    fidelity: FidelityFigures | None
    context_bound_by_proof: bool = False
    answer: bool = False
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class ConsensusFacts:
    """A consensus whose votes were tallied again here, and which accepted.

    Attributes:
        consensus_id: of its attestation.
        agreeing: distinct trusted keys inside the agreed ball.
        environments: distinct environments among them.
        attested: how many of them ran on a machine of their own that the trust file names.
    """

    consensus_id: Sha256
    agreeing: int
    environments: int
    attested: int = 0


@dataclass(frozen=True, slots=True)
class GateFacts:
    """An earlier gate's verdict, signed by keys trusted as gates.

    Attributes:
        gate_id: of its attestation.
        passed: what it said.
        policy: digest of its policy with all anchors.
        waivers: how many waivers it rests on.
        signers: distinct trusted keys that signed it.
    """

    gate_id: Sha256
    passed: bool
    policy: Sha256
    waivers: int
    signers: int


def judge_key(trusted: TrustedCircuit | None, circuit_sha256: str) -> Finding | None:
    """The lock's key against the one that the trust file pins; ``None`` where the trust file does not name the circuit.

    A gate makes no key again: where the trust file wants that, it is said, and an audit does it.
    """
    if trusted is None:
        return None
    if trusted.verification_key == RE_DERIVE:
        return Finding(
            "key-not-rederived",
            Outcome.NOT_CHECKED,
            "the trust file wants the key made again from the model; a gate does not, the lock alone vouches for it",
            where="verification_key",
            remedy="Run: `verifai audit BUNDLE --trust FILE`; or pin the key's SHA-256 in the trust file.",
        )
    if trusted.verification_key == circuit_sha256:
        return Finding("key-pinned", Outcome.HOLDS, "the key is the one that the trust file pins", evidence=circuit_sha256)
    return Finding(
        "key-not-trusted",
        Outcome.REJECTED,
        f"the lock's circuit is {short(circuit_sha256)}, the trust file pins {short(trusted.verification_key)}",
        where="verification_key",
        evidence=f"{circuit_sha256} != {trusted.verification_key}",
        remedy="The evidence is about another circuit than the one you trust: review lock and trust file.",
    )


def judge_engine(demand: ProofDemand, engine: EngineName) -> Finding:
    """Whether the policy allows the engine."""
    if engine in demand.engines:
        return holds("engine-allowed", f"engine {engine.value} is allowed")
    allowed = ", ".join(one.value for one in demand.engines)
    return missed(
        "engine-not-allowed", f"engine {engine.value}, allowed: {allowed}", "Prove with an allowed engine.", where="engines"
    )


def judge_proof(demand: ProofDemand, facts: ProofFacts) -> tuple[Finding, ...]:
    """Privacy, set-up, insecure modes and context of one proof."""
    findings = [_judge_privacy(demand, facts), _judge_srs(demand, facts)]
    # A test set-up has its own code and its own waiver; the other modes are named one by one.
    for mode in facts.insecure:
        named = demand.srs is SrsLevel.TEST if mode == TEST_SRS else mode in demand.insecure
        if named:
            message = f"INSECURE: the policy accepts mode {mode!r}"
            findings.append(Finding("insecure-accepted", Outcome.NOT_CHECKED, message, where="insecure"))
        elif mode != TEST_SRS:
            findings.append(
                missed(
                    "insecure-mode",
                    f"insecure mode {mode!r} is in force, and the policy does not name it",
                    "Make the evidence without it.",
                    where="insecure",
                )
            )
    if demand.answers:
        findings.append(_judge_answer(facts))
    if demand.answers_end is not None and facts.answer:
        findings.append(_judge_ending(demand.answers_end, facts))
    if demand.context is not None:
        findings.append(_judge_context(demand.context, facts))
    if demand.contexts is not None:
        bound, by_proof = facts.context_bound, facts.context_bound_by_proof
        findings.append(judge_contexts(demand.contexts, facts.context, bound=bound, bound_by_proof=by_proof))
    return tuple(findings)


def _judge_answer(facts: ProofFacts) -> Finding:
    if facts.answer:
        return holds("answer-shown", "the proof is of an answer whose tokens are linked")
    return missed(
        "answer-not-shown",
        "the policy demands answers, and the proof is of an inference alone: nothing links its tokens",
        "Make the evidence with `verifai generate`.",
        where="answers",
    )


def _judge_ending(demanded: Ending, facts: ProofFacts) -> Finding:
    if facts.ending is demanded:
        return holds("answer-shown", f"the answer ends as demanded: {demanded.value}")
    found = "unknown" if facts.ending is None else facts.ending.value
    return missed(
        "answer-unfinished",
        f"the policy demands answers that end by {demanded.value}, and this one ends by {found}",
        "Generate it again with a larger `--max-tokens`.",
        where="answers_end",
    )


def _judge_privacy(demand: ProofDemand, facts: ProofFacts) -> Finding:
    if PRIVACY_ORDER.index(facts.privacy) >= PRIVACY_ORDER.index(demand.privacy):
        return holds("privacy-met", f"privacy is {facts.privacy.value}, {demand.privacy.value} is demanded")
    return missed(
        "privacy-below-policy",
        f"privacy is {facts.privacy.value}, {demand.privacy.value} is demanded",
        "Prove with an engine and mode that hide as much as the policy demands.",
        where="privacy",
    )


def _judge_srs(demand: ProofDemand, facts: ProofFacts) -> Finding:
    message = f"the set-up is of level {facts.srs.value}, {demand.srs.value} is demanded"
    if SRS_ORDER.index(facts.srs) >= SRS_ORDER.index(demand.srs):
        return holds("srs-met", message)
    if facts.srs is SrsLevel.TEST:
        return missed(
            "srs-test-only",
            f"{message}; the maker of a test set-up can forge proofs",
            "Compile with the SRS of the public ceremony.",
            where="srs",
        )
    return missed("srs-below-policy", message, "Use a transparent engine, or allow the ceremony.", where="srs")


def _judge_context(expected: str, facts: ProofFacts) -> Finding:
    if facts.context != expected:
        return Finding(
            "context-mismatch",
            Outcome.REJECTED,
            f"the context is {facts.context[:80]!r}, the policy demands {expected[:80]!r}",
            where="context",
            remedy="This may be an older proof shown again.",
        )
    if not facts.context_bound:
        return missed(
            "context-not-bound",
            "neither the proof nor a trusted signature binds the context: it could have been written beside an old proof",
            "Demand signatures = 1, or use an engine that binds the context.",
            where="context",
        )
    return holds("context-matches", "the context is the demanded one, and bound")


def judge_age(demand: ModelDemand, dates: tuple[str, ...], now: datetime, *, signers: int) -> Finding | None:
    """The evidence's dates against the demanded age; ``None`` without a demand.

    A date ahead of the clock by more than the allowed skew is false, with or without a demand. A date that no trusted key
    signed shows nothing, because a fresh date can be written around an old proof; no waiver lifts that.

    Args:
        signers: how many distinct trusted keys signed what carries the dates.
    """
    moments = [parse_utc(one) for one in dates]
    for moment in moments:
        if (moment - now).total_seconds() > demand.skew_seconds:
            return Finding(
                "from-the-future",
                Outcome.REJECTED,
                f"it says it was made at {moment:%Y-%m-%dT%H:%M:%SZ}, which is still to come",
                where="created",
                remedy="Check both clocks.",
            )
    if demand.max_age_seconds is None or not moments:
        return None
    age = (now - min(moments)).total_seconds()
    message = f"made {age / 86400:.1f} days ago, at most {demand.max_age_seconds / 86400:g} days are allowed"
    if age > demand.max_age_seconds:
        return missed("stale", message, "Ask for fresh evidence.", where="max_age")
    if signers < 1:
        return date_not_signed()
    return holds("fresh", message)


def judge_consensus(demand: ConsensusDemand, facts: ConsensusFacts) -> tuple[Finding, ...]:
    """Distinct trusted keys inside the ball, and distinct environments among them."""
    message = f"{facts.agreeing} distinct trusted verifiers agree, {demand.verifiers} are demanded"
    verifiers = holds("verifiers-met", message)
    if facts.agreeing < demand.verifiers:
        remedy = "Ask more verifiers; two votes of one key are one."
        verifiers = missed("too-few-verifiers", message, remedy, where="verifiers")
    findings = [verifiers]
    if facts.environments < demand.environments:
        message = f"they ran in {facts.environments} distinct environments, {demand.environments} are demanded"
        findings.append(missed("too-few-environments", message, "Ask verifiers with other machines.", where="environments"))
    if demand.attested:
        message = f"{facts.attested} of them ran on trusted machines of their own, {demand.attested} are demanded"
        if facts.attested >= demand.attested:
            findings.append(holds("environments-attested", message))
        else:
            remedy = "Attach their reports: `verifai tee attach DECISION REPORT --kind sev-snp --voter KEY.pub -o NEW`."
            findings.append(missed("too-few-attested", message, remedy, where="attested"))
    return tuple(findings)


def judge_tee(demand: TeeDemand, context: str, attested: int) -> tuple[Finding, ...]:
    """Hardware attestations of one bundle.

    Args:
        context: of the statement or receipt that they are about.
        attested: how many of them are genuine, bound to it, and of hardware that the trust file names.
    """
    if not attested:
        return (
            missed(
                "tee-missing", "no hardware evidence that counts is in the bundle", "`verifai tee attach` adds it.", where="tee"
            ),
        )
    if demand.context is not None and context != demand.context:
        return (
            Finding(
                "context-mismatch",
                Outcome.REJECTED,
                f"the context is {context[:80]!r}, the policy demands {demand.context[:80]!r}",
                where="context",
                remedy="This may be older evidence shown again.",
            ),
        )
    return (holds("evidence-met", f"{attested} hardware attestation{'s' * (attested != 1)} count"),)


def judge_gate(demand: GateDemand, facts: GateFacts) -> tuple[Finding, ...]:
    """An earlier verdict: what it said, under which policy, with which waivers, and who signed."""
    findings = []
    if facts.passed:
        findings.append(holds("gate-passed", f"gate verdict {short(facts.gate_id)} says PASSED"))
    else:
        findings.append(
            missed("gate-refused", f"gate verdict {short(facts.gate_id)} says FAILED", "Read why.", where="verificationResult")
        )
    if facts.policy not in demand.policies:
        findings.append(
            missed(
                "gate-policy-unknown",
                f"it was decided under policy {short(facts.policy)}, which is not among those demanded",
                "Review that policy, then add its digest.",
                where="policies",
            )
        )
    if facts.waivers and not demand.waivers:
        findings.append(
            missed("gate-with-waivers", f"it rests on {facts.waivers} waivers", "Decide again without them.", where="waivers")
        )
    if facts.signers < demand.signatures:
        findings.append(below_threshold(facts.signers, demand.signatures, "gate"))
    return tuple(findings)


def below_threshold(signers: int, demanded: int, role: str) -> Finding:
    """The finding for too few distinct keys."""
    return missed(
        "below-threshold",
        f"{signers} distinct trusted keys of role {role!r} signed, {demanded} are demanded",
        "Ask the missing signers; two signatures of one key are one.",
        where="signatures",
    )


def date_not_signed() -> Finding:
    """The finding for a maximum age where no trusted key signed the date."""
    return missed(
        "date-not-signed",
        "a maximum age is demanded, but no trusted key signed the date: it could have been written anew",
        "Ask for a signature; where it is waived, the demand for an age has to go as well.",
        where="max_age",
    )
