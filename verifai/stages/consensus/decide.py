"""consensus: the round's messages → who agrees, who dissents, by how much, and what that comes to.

Steps, numbered as in docs/consensus.md:
    1  the calibration holds for this job, at this time
    2  every message is signed by the verifier that it names
    3  commitments, seed, reveals: the round's rules (verifai.domain.consensus.round)
    4  all pairs are compared; the tally decides
    5  a claimed or proven output is placed in the ball
    6  faults and dissent are explained
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from verifai.bundle.dsse import check_signatures
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.consensus.beacons import PublishedBeacon
from verifai.domain.consensus.calibration import Calibration
from verifai.domain.consensus.decision import MAX_FAULTS, ConsensusDecision, CountedVote
from verifai.domain.consensus.round import Beacon, Fault, Round, RoundTerms, sample_seed
from verifai.domain.consensus.tally import MAX_RATIO, SAME, Comparison, Relation, Tally, TallyOutcome, tally
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.digest import Sha256
from verifai.domain.findings import Finding, Outcome
from verifai.domain.trust_keys import PublicKey
from verifai.errors import EvidenceRejected, PolicyNotMet
from verifai.fingerprints.interface import Fingerprint
from verifai.fingerprints.output import Output, decode_output
from verifai.fingerprints.registry import fingerprint_for
from verifai.fingerprints.tokens import Replay, decide_by_replay
from verifai.stages.consensus.beacon import require_beacon

NO_TOLERANCE = 0.0


@dataclass(frozen=True, slots=True)
class Claim:
    """An output whose place is asked for: what a proof proved, or a service answered.

    Attributes:
        identifier: of the proof attestation, or the SHA-256 of the claimed output.
        outputs: one per sample.
        proven: whether a verified proof shows the outputs; else they were only given.
    """

    identifier: Sha256
    outputs: tuple[Output, ...]
    proven: bool = False


@dataclass(frozen=True, slots=True)
class ConsensusRequest:
    """Everything a decision rests on.

    Attributes:
        terms: read from ``terms_id``; the caller has checked that a key which may call rounds signed them.
        keys: the verifiers' public keys by identifier, from outside the votes.
        late: identifiers of messages that arrived after their deadline, as the coordinator or the log saw it.
        weights: reputation per voter; ``None`` for none.
        openings: shares of the randomness, when the voters make it. published: what proves it, when it is a drand chain's.
        failures: why verifiers produced nothing, where that is known: voter → reason.
    """

    terms: RoundTerms
    terms_id: Sha256
    commitments: Sequence[Attestation]
    beacon: Beacon
    votes: Sequence[Attestation]
    keys: Mapping[str, PublicKey]
    calibration: Calibration | None
    now: datetime
    replays: Sequence[Attestation] = ()
    late: frozenset[str] = frozenset()
    weights: Mapping[str, float] | None = None
    claim: Claim | None = None
    openings: Sequence[Attestation] = ()
    published: PublishedBeacon | None = None
    failures: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeReport:
    """One verifier, explained.

    Attributes:
        ratio: distance to the centre as a multiple of τ. distance: the same in the fingerprint's unit; ``None`` without τ.
        beyond: samples outside the tolerance, ascending.
        looks_like: the attack of the calibration whose signature is nearest; empty inside the ball.
        differences: environment fields that differ from the centre's, as ``field: theirs / centre's``.
    """

    voter: str
    relation: Relation
    ratio: float
    distance: float | None
    beyond: tuple[int, ...]
    looks_like: str
    differences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ConsensusResult:
    """What a round came to.

    Attributes:
        status_outcome: all findings together.
        tau: the tolerance, or ``None`` when the kind has none.
    """

    decision: ConsensusDecision
    tally: Tally
    nodes: tuple[NodeReport, ...]
    findings: tuple[Finding, ...]
    tau: float | None


_OUTCOMES = {
    TallyOutcome.ACCEPT: ("consensus-reached", Outcome.HOLDS),
    TallyOutcome.REJECT: ("consensus-dissent", Outcome.REJECTED),
    TallyOutcome.NO_QUORUM: ("no-quorum", Outcome.POLICY_NOT_MET),
    TallyOutcome.INDETERMINATE: ("consensus-indeterminate", Outcome.UNDECIDED),
}
_CLAIMS = {
    Relation.WITHIN: ("claim-inside-ball", Outcome.HOLDS),
    Relation.BEYOND: ("claim-outside-ball", Outcome.REJECTED),
    Relation.INDETERMINATE: ("claim-indeterminate", Outcome.UNDECIDED),
}


def decide(request: ConsensusRequest) -> ConsensusResult:
    """Carry the round out and decide.

    Raises:
        PolicyNotMet: the calibration is missing, stale or for something else.
        EvidenceRejected: ``beacon-mismatch``, ``beacon-false``, ``beacon-unproven``, ``beacon-early``.
    """
    job = request.terms.job
    fingerprint = fingerprint_for(job.subject.kind)
    parameters = fingerprint.parameters(job.subject.parameters)
    tau = _tolerance(request, fingerprint)  # step 1
    round_ = Round(
        request.terms,
        request.terms_id,
        lambda output, seed: fingerprint.make(decode_output(output), seed, parameters),
        runtime=request.calibration.runtime if request.calibration is not None and job.subject.tensors else "",
    )
    _commit_and_draw(round_, request)  # steps 2 and 3
    votes = _reveal(round_, request)
    replays, used = _read_replays(round_, request, votes)
    voters = tuple(votes)
    pairs = [[_compare(votes, one, other, request, tau, replays) for other in voters] for one in voters]  # step 4
    matrix = [[one.comparison for one in row] for row in pairs]
    late = {one.voter for one in round_.faults if one.fault is Fault.LATE_COMMITMENT}
    # A verifier's silence cannot be told from a vote that was dropped, or marked late, because it dissents.
    absent = (round_.commitments().keys() | late) - votes.keys() - round_.liars
    result = tally(
        voters,
        matrix,
        tolerated_faults=request.terms.tolerated_faults,
        liars=len(round_.liars),
        absent=len(absent),
        weights=request.weights,
    )
    claim = _place_claim(request, votes, result, round_, tau)  # step 5
    nodes = _explain(request, round_, result, pairs, voters, tau)  # step 6
    decision = _decision(request, round_, votes, used, result, claim)
    findings = _findings(request, round_, result, nodes, claim)
    return ConsensusResult(decision, result, nodes, findings, None if request.calibration is None else tau)


def _tolerance(request: ConsensusRequest, fingerprint: Fingerprint) -> float:
    if not fingerprint.needs_calibration:
        return NO_TOLERANCE
    if request.calibration is None:
        raise PolicyNotMet(
            "calibration-missing",
            "this kind of output is decided by a measured tolerance",
            hint="Run: `verifai calibrate MODEL DATA -o FILE`",
        )
    calibration = request.calibration
    return calibration.require_valid(request.terms.job.subject, calibration.runtime, request.now).tau


def _commit_and_draw(round_: Round, request: ConsensusRequest) -> None:
    for message in sorted(request.commitments, key=lambda one: one.id):
        predicate = message.predicate
        if not isinstance(predicate, VoteCommitment):
            raise EvidenceRejected("malformed", f"{predicate.TYPE} is no commitment", where=message.id)
        signer = _signer(message, predicate.voter, request.keys, round_)
        if signer is not None:
            round_.commit(message.id, predicate, signer, late=message.id in request.late)
    round_.shares = require_beacon(round_, request.beacon, request.openings, request.published, request.keys)
    round_.draw(request.beacon)


def _reveal(round_: Round, request: ConsensusRequest) -> Mapping[str, tuple[Sha256, Vote]]:
    for message in sorted(request.votes, key=lambda one: one.id):
        predicate = message.predicate
        if not isinstance(predicate, Vote):
            raise EvidenceRejected("malformed", f"{predicate.TYPE} is no vote", where=message.id)
        signer = _signer(message, predicate.voter, request.keys, round_)
        if signer is not None:
            round_.reveal(message.id, predicate, signer, late=message.id in request.late)
    return round_.close()


def _signer(message: Attestation, claimed: str, keys: Mapping[str, PublicKey], round_: Round) -> str | None:
    """The key that signed, when it is the one that the message names; else the fault is noted."""
    key = keys.get(claimed)
    if key is None:
        round_.refuse_message(claimed, Fault.UNKNOWN_VOTER, "no key of that identifier is trusted")
        return None
    try:
        signers = check_signatures(message.envelope, [key], where=message.id).signers
    except EvidenceRejected as problem:
        round_.refuse_message(claimed, Fault.BAD_SIGNATURE, problem.message)
        return None
    if key not in signers:
        round_.refuse_message(claimed, Fault.BAD_SIGNATURE, "the verifier that it names did not sign it")
        return None
    return key.keyid


MAX_REPLAYS_OF_ONE = 16
"""Replays of one verifier that are read, by identifier: an honest one makes one."""

Replays = Mapping[tuple[str, int, str], Replay]
"""(replaying voter, sample, claimed digest) → what it says."""


def _read_replays(
    round_: Round, request: ConsensusRequest, votes: Mapping[str, tuple[Sha256, Vote]]
) -> tuple[Replays, tuple[Sha256, ...]]:
    """What the voters' replays say, and the identifiers of those that count."""
    found: dict[tuple[str, int, str], Replay] = {}
    used: set[Sha256] = set()
    taken: Counter[str] = Counter()
    for message in sorted(request.replays, key=lambda one: one.id):
        predicate = message.predicate
        if not isinstance(predicate, VoteReplay):
            raise EvidenceRejected("malformed", f"{predicate.TYPE} is no replay", where=message.id)
        signer = _signer(message, predicate.voter, request.keys, round_)
        if signer is None or signer not in votes or predicate.vote != votes[signer][0] or predicate.round != request.terms_id:
            continue
        taken[signer] += 1
        if taken[signer] > MAX_REPLAYS_OF_ONE:
            continue
        used.add(message.id)
        for one in predicate.claims:
            # A verifier that says two things about one sequence is taken at its harsher word, in whatever order they arrive.
            known = found.get((signer, one.sample, one.claimed))
            if known is None or one.worst_margin > known.worst_margin:
                found[signer, one.sample, one.claimed] = Replay(one.positions, one.agreeing, one.worst_margin)
    return found, tuple(sorted(used))


@dataclass(frozen=True, slots=True)
class _Pair:
    comparison: Comparison
    beyond: tuple[int, ...]


def _compare(
    votes: Mapping[str, tuple[Sha256, Vote]], first: str, second: str, request: ConsensusRequest, tau: float, replays: Replays
) -> _Pair:
    """All samples of two votes as one comparison: the ratio is the largest one after leaving out the allowed number."""
    if first == second:
        return _Pair(SAME, ())
    subject = request.terms.job.subject
    fingerprint = fingerprint_for(subject.kind)
    one, two = votes[first][1], votes[second][1]
    found = []
    for index, (a, b) in enumerate(zip(one.fingerprints, two.fingerprints, strict=True)):
        compared = _compare_codes(fingerprint, a, b, tau, request)
        if compared.relation is Relation.INDETERMINATE:
            told = [replays[key] for key in ((first, index, b[:32].hex()), (second, index, a[:32].hex())) if key in replays]
            if len(told) == 2:
                compared = decide_by_replay(tuple(told), tau)
        found.append(compared)
    return _Pair(*_combine(found, request.terms.samples_beyond))


def _combine(found: Sequence[Comparison], allowed: int) -> tuple[Comparison, tuple[int, ...]]:
    beyond = tuple(index for index, one in enumerate(found) if one.relation is Relation.BEYOND)
    unclear = sum(one.relation is Relation.INDETERMINATE for one in found)
    ratio = sorted((one.ratio for one in found), reverse=True)[allowed]
    if len(beyond) > allowed:
        return Comparison(ratio, Relation.BEYOND), beyond
    if len(beyond) + unclear > allowed:
        return Comparison(ratio, Relation.INDETERMINATE), beyond
    return Comparison(ratio, Relation.WITHIN), beyond


def _compare_codes(fingerprint: Fingerprint, a: bytes, b: bytes, tau: float, request: ConsensusRequest) -> Comparison:
    try:
        return fingerprint.compare(a, b, tau, request.terms.job.subject.parameters)
    except EvidenceRejected:
        # Unopened fingerprints are only checked for size here; rubbish in one is a dissent on that sample.
        return Comparison(MAX_RATIO, Relation.BEYOND)


def _place_claim(
    request: ConsensusRequest, votes: Mapping[str, tuple[Sha256, Vote]], result: Tally, round_: Round, tau: float
) -> Comparison | None:
    if request.claim is None or not result.centre:
        return None
    assert round_.seed is not None
    subject = request.terms.job.subject
    fingerprint = fingerprint_for(subject.kind)
    centre = votes[result.centre][1].fingerprints
    if len(request.claim.outputs) != len(centre):
        raise EvidenceRejected("claim-outside-ball", f"{len(request.claim.outputs)} claimed outputs for {len(centre)} samples")
    found = []
    for index, output in enumerate(request.claim.outputs):
        code = fingerprint.make(output, sample_seed(round_.seed, index), subject.parameters)
        found.append(_compare_codes(fingerprint, code, centre[index], tau, request))
    # A claim is one answer to judge, not a noisy verifier: every sample of it must be inside.
    return _combine(found, 0)[0]


def _explain(
    request: ConsensusRequest,
    round_: Round,
    result: Tally,
    pairs: Sequence[Sequence[_Pair]],
    voters: Sequence[str],
    tau: float,
) -> tuple[NodeReport, ...]:
    environments = {voter: message.environment for voter, (_, message) in round_.commitments().items()}
    reports = []
    for index, node in enumerate(result.nodes):
        pair = pairs[voters.index(result.centre)][index]
        distance = node.distance * tau if request.calibration is not None else None
        looks_like = ""
        if node.relation is Relation.BEYOND and distance is not None and request.calibration is not None:
            nearest = request.calibration.nearest_attack(distance)
            looks_like = "" if nearest is None else nearest.name
        differences = environments[node.voter].differences(environments[result.centre])
        reports.append(
            NodeReport(node.voter, node.relation, node.distance, distance, pair.beyond, looks_like, differences)
        )  # fmt: skip
    return tuple(reports)


def _decision(
    request: ConsensusRequest,
    round_: Round,
    votes: Mapping[str, tuple[Sha256, Vote]],
    replays: tuple[Sha256, ...],
    result: Tally,
    claim: Comparison | None,
) -> ConsensusDecision:
    commitments = round_.commitments()
    counted = tuple(CountedVote(votes[node.voter][0], commitments[node.voter][1].environment.id, node) for node in result.nodes)
    assert round_.seed is not None
    return ConsensusDecision(
        round=request.terms_id,
        calibration=request.terms.job.calibration,
        commitments=round_.commitment_identifiers(),
        beacon=request.beacon.value,
        seed=round_.seed,
        votes=counted,
        late=tuple(sorted({Sha256(one) for one in request.late})),
        replays=replays,
        faults=tuple(round_.faults[:MAX_FAULTS]),
        outcome=result.outcome,
        reason=result.reason,
        centre=result.centre,
        claim="" if request.claim is None else request.claim.identifier,
        claim_relation="" if claim is None else claim.relation.value,
    )


def _findings(
    request: ConsensusRequest, round_: Round, result: Tally, nodes: Sequence[NodeReport], claim: Comparison | None
) -> tuple[Finding, ...]:
    code, outcome = _OUTCOMES[result.outcome]
    findings = [Finding(code, outcome, result.reason, evidence=f"centre {result.centre[:12]}", step="4")]
    for fault in round_.faults:
        detail = request.failures.get(fault.voter, fault.detail)
        findings.append(
            Finding("verifier-fault", Outcome.NOT_CHECKED, f"{fault.fault.value}: {detail}", where=fault.voter, step="3")
        )
    for node in nodes:
        if node.relation is Relation.WITHIN:
            continue
        told = f"{node.relation.value}, {node.ratio:.3g} τ from the centre"
        if node.looks_like:
            told += f"; looks like {node.looks_like}"
        evidence = "; ".join(node.differences) or "same environment as the centre"
        findings.append(Finding("verifier-dissents", Outcome.NOT_CHECKED, told, node.voter, evidence, step="6"))
    if result.weighted is not None and result.weighted.agrees != (result.outcome is TallyOutcome.ACCEPT):
        share = f"{result.weighted.support:.0%} of the weight agrees, {result.weighted.needed:.0%} would be needed"
        findings.append(Finding("weighted-differs", Outcome.NOT_CHECKED, share, step="4"))
    if claim is not None:
        code, outcome = _CLAIMS[claim.relation]
        what = "proven" if request.claim is not None and request.claim.proven else "claimed"
        told = f"the {what} output is {claim.relation.value}, {claim.ratio:.3g} τ from the centre"
        findings.append(Finding(code, outcome, told, where=request.claim.identifier if request.claim else "", step="5"))
    return tuple(findings)
