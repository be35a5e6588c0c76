"""A decision as a bundle: terms, calibration, commitments, votes, replays and the decision, so that any reader can tally again.

Only messages that a known verifier signed go in. A message without such a signature is no evidence, and would make every check
of the bundle fail. Before anything is written the decision is tallied again from exactly what will be in the bundle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verifai.bundle.dsse import attest, check_signatures
from verifai.bundle.log import open_log
from verifai.bundle.log_check import CHECKPOINT_FILE, proof_file
from verifai.bundle.writer import Content, write_bundle
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.consensus.exchange import VoteOpening
from verifai.domain.consensus.round import MAX_COMMITMENTS_OF_ONE
from verifai.domain.consensus.vote import Vote, VoteCommitment, commitment_value
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.digest import Sha256
from verifai.domain.trust_keys import Signer
from verifai.domain.utc_time import format_utc
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import write_new
from verifai.stages.consensus.decide import MAX_REPLAYS_OF_ONE, ConsensusRequest, ConsensusResult
from verifai.stages.consensus.recheck import recheck


@dataclass(frozen=True, slots=True)
class WrittenDecision:
    """A decision that was written.

    Attributes:
        positions: place in the log by attestation; empty without a log.
        sidecar: log proof of the manifest, beside the bundle, which cannot hold it.
    """

    path: Path
    bundle_id: Sha256
    decision_id: Sha256
    positions: Mapping[Sha256, int]
    sidecar: Path | None


def check_targets(target: Path, *, log: Path | None, log_key: bool) -> None:
    """What can be known to fail before anything is decided. Raises UsageError (``file-exists``, ``bad-option``)."""
    if (log is not None) != log_key:
        raise UsageError("bad-option", "--log and --log-key go together", hint="The log signs its checkpoint with its own key.")
    for path in (target, _sidecar(target)) if log is not None else (target,):
        if path.exists() or path.is_symlink():
            raise UsageError("file-exists", "the output exists already", where=str(path), hint="Choose another name.")


def write_decision(
    target: Path,
    terms: Attestation,
    calibration: Attestation | None,
    request: ConsensusRequest,
    result: ConsensusResult,
    *,
    payload: Mapping[str, Content],
    signers: Sequence[Signer],
    log: Path | None = None,
    log_signer: Signer | None = None,
) -> WrittenDecision:
    """Write ``result``, whatever it is, as a bundle at ``target``; with ``log`` also append every attestation and prove it.

    Args:
        payload: the evidence of the claim, from :mod:`verifai.stages.consensus.claim`.

    Raises:
        UsageError: ``file-exists``, ``wrong-log-key``.
        EvidenceRejected: ``consensus-false``, when what can be attested does not give the decision.
        Undecided: ``disk``, ``log-busy``.
    """
    check_targets(target, log=log, log_key=log_signer is not None)
    subject = request.terms.job.subject
    about = (Subject("model", subject.model_sha256), Subject("subject", subject.id))
    decision = attest(result.decision, about, signers)
    randomness = [] if request.published is None else [attest(request.published, about, signers)]
    attestations = {one.id: one for one in [*_chain(terms, calibration, request), *randomness, decision]}
    recheck(attestations, decision.id, keys=request.keys, now=request.now, claim=request.claim)
    logged: dict[str, bytes] = {}
    positions: dict[Sha256, int] = {}
    if log is not None and log_signer is not None:
        logged, positions = _append(log, log_signer, sorted(attestations))
    bundle_id = write_bundle(
        target,
        payload=payload,
        attestations=list(attestations.values()),
        signers=signers,
        created=format_utc(request.now),
        log=logged,
    )
    sidecar = None
    if log is not None and log_signer is not None:
        sidecar = _sidecar(target)
        write_new(sidecar, _prove_manifest(log, log_signer, bundle_id))
    return WrittenDecision(target, bundle_id, decision.id, positions, sidecar)


def _chain(terms: Attestation, calibration: Attestation | None, request: ConsensusRequest) -> list[Attestation]:
    """Everything below the decision whose parents are there too."""
    late = request.late
    asked = [one for one in request.commitments if _is_of_round(one, VoteCommitment, request)]
    commitments = _first(MAX_COMMITMENTS_OF_ONE, asked, late)
    told = [one for one in request.votes if _is_of_round(one, Vote, request) and _builds_on(one, commitments)]
    votes = _first(2, told, late)  # both of two are discarded, and a third says nothing more
    replayed = [one for one in request.replays if _is_of_round(one, VoteReplay, request) and _builds_on(one, votes)]
    replays = _first(MAX_REPLAYS_OF_ONE, replayed, frozenset()).values()
    head = [terms] if calibration is None else [calibration, terms]
    opened = [one for one in request.openings if _is_of_round(one, VoteOpening, request) and _opens(one, commitments)]
    openings = _first(1, opened, frozenset())
    return [*head, *commitments.values(), *openings.values(), *votes.values(), *replays]


def _first(count: int, messages: Sequence[Attestation], late: frozenset[str]) -> dict[Sha256, Attestation]:
    """The first few messages of each voter by identifier, those in time and those that were late: the ones that a tally looks
    at, however many somebody sends."""
    found: dict[Sha256, Attestation] = {}
    taken: Counter[tuple[str, bool]] = Counter()
    for one in sorted(messages, key=lambda message: message.id):
        assert isinstance(one.predicate, VoteCommitment | VoteOpening | Vote | VoteReplay)
        kind = (one.predicate.voter, one.id in late)
        if one.id not in found and taken[kind] < count:
            taken[kind] += 1
            found[one.id] = one
    return found


def _is_of_round(
    one: Attestation, kind: type[VoteCommitment | VoteOpening | Vote | VoteReplay], request: ConsensusRequest
) -> bool:
    """Whether a verifier who was asked and is known signed it for this round."""
    message = one.predicate
    if not isinstance(message, kind) or message.round != request.terms_id or message.voter not in request.terms.voters:
        return False
    key = request.keys.get(message.voter)
    if key is None:
        return False
    try:
        return key in check_signatures(one.envelope, [key], where=one.id).signers
    except EvidenceRejected:  # named as `bad-signature` in the decision
        return False


def _builds_on(one: Attestation, known: Mapping[Sha256, Attestation]) -> bool:
    return all(parent in known for parent in one.predicate.parents())


def _opens(one: Attestation, commitments: Mapping[Sha256, Attestation]) -> bool:
    """Whether it opens a commitment that is there; what a voter shows beside that would only take its place."""
    message = one.predicate
    assert isinstance(message, VoteOpening)
    known = commitments.get(message.commitment)
    return (
        known is not None
        and isinstance(known.predicate, VoteCommitment)
        and commitment_value(message.outputs_root, message.salt, message.voter) == known.predicate.commitment
    )


def _append(log: Path, signer: Signer, ids: Sequence[Sha256]) -> tuple[dict[str, bytes], dict[Sha256, int]]:
    with open_log(log) as audit_log:
        audit_log.require_key(signer)
        positions = dict(zip(ids, audit_log.append(ids), strict=True))
        checkpoint = audit_log.checkpoint(signer)
        proofs = {proof_file(one): audit_log.prove(one, checkpoint).to_bytes() for one in ids}
        return {CHECKPOINT_FILE: checkpoint.to_bytes(), **proofs}, positions


def _prove_manifest(log: Path, signer: Signer, bundle_id: Sha256) -> bytes:
    with open_log(log) as audit_log:
        audit_log.append([bundle_id])
        return audit_log.prove(bundle_id, audit_log.checkpoint(signer)).to_bytes()


def _sidecar(target: Path) -> Path:
    return target.with_name(target.name + ".tlog-proof")
