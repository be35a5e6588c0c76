"""read: a round's messages, past decisions, and a claim with its evidence → everything that a decision rests on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from verifai.bundle.archive import pack
from verifai.bundle.dsse import check_signatures
from verifai.bundle.reader import open_bundle
from verifai.consensus.files import StatedInputs, read_outputs, read_samples
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.consensus.calibration import Calibration
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.job import Job
from verifai.domain.consensus.reputation_history import weights_from
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.consensus.vote import Vote, VoteCommitment
from verifai.domain.consensus.vote_replay import VoteReplay
from verifai.domain.digest import short
from verifai.domain.progress import SILENT, Progress
from verifai.domain.trust_keys import PublicKey
from verifai.domain.utc_time import format_utc
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.scratch import private_directory
from verifai.stages.consensus.beacon import read_randomness
from verifai.stages.consensus.claim import (
    MAX_PROOFS,
    ClaimEvidence,
    claim_of_outputs,
    claim_of_proofs,
    evidence_of_proofs,
    proof_file,
    stated_inputs,
)
from verifai.stages.consensus.decide import ConsensusRequest
from verifai.stages.consensus.find_round import find_round
from verifai.stages.consensus.messages import read_attestation
from verifai.stages.consensus.past_decisions import logged_decision, require_log
from verifai.stages.consensus.vote import require_inputs
from verifai.trust_file import TrustFile

_KINDS = (RoundTerms, Calibration, VoteCommitment, Vote, VoteReplay)


@dataclass(frozen=True, slots=True)
class ClaimedOutputs:
    """A file of outputs (``.npz``, ``.json``) that somebody gave. Nothing says that they were computed."""

    path: Path


@dataclass(frozen=True, slots=True)
class ClaimedProofs:
    """Outputs that were proven.

    Attributes:
        bundles: one proof per sample of the round, in its order.
        lock: trusted; it must pin the round's model.
        inputs: file of the round's inputs.
        allow_test_srs: INSECURE: accept a set-up whose maker can forge proofs.
    """

    bundles: tuple[Path, ...]
    lock: CircuitLock
    inputs: Path
    allow_test_srs: bool = False


@dataclass(frozen=True, slots=True)
class GivenRound:
    """A round as it was given.

    Attributes:
        request: the claim included; ready to be decided.
        terms, calibration: the attestations behind it.
        claim: the claim's evidence, readable as long as the ``with`` block that made it.
    """

    request: ConsensusRequest
    terms: Attestation
    calibration: Attestation | None
    claim: ClaimEvidence | None


@contextmanager
def read_round(
    messages: Sequence[Path],
    beacon: Path,
    voters: Sequence[PublicKey],
    *,
    coordinator: PublicKey | None = None,
    claim: ClaimedOutputs | ClaimedProofs | None = None,
    late: Sequence[Path] = (),
    progress: Progress = SILENT,
) -> Iterator[GivenRound]:
    """The round, with its claim verified.

    Args:
        messages: terms, calibration, commitments, votes and replays, in any order.
        beacon: file of the published randomness.
        voters: keys of the verifiers that are trusted to vote, from outside the messages.
        coordinator: must have signed terms and calibration. Without it anybody may have written them: read them first.
        claim: outputs whose place is asked for.
        late: messages that came after their deadline.

    Raises:
        UsageError: ``file-missing``, ``bad-beacon``, ``claim-count``; ``bad-option``, when not exactly one file holds terms.
        EvidenceRejected: ``terms-not-signed``; the claim's proofs do not hold.
        PolicyNotMet: ``claim-hidden``; ``srs-test-only`` and the like.
        InputRejected: ``job-input`` and those of reading inputs and outputs.
    """
    found = _sorted(messages, progress)
    terms = _the_terms(found[RoundTerms], coordinator, progress)
    assert isinstance(terms.predicate, RoundTerms)
    wanted = terms.predicate.job.calibration
    calibration = next((one for one in found[Calibration] if one.id == wanted), None)
    measured = None if calibration is None else calibration.predicate
    assert measured is None or isinstance(measured, Calibration)
    if coordinator is not None:
        _require_signed(coordinator, [terms] if calibration is None else [terms, calibration])
    randomness, published = read_randomness(beacon, terms.predicate, terms.id)
    request = ConsensusRequest(
        terms=terms.predicate,
        terms_id=terms.id,
        commitments=found[VoteCommitment],
        beacon=randomness,
        votes=found[Vote],
        keys={key.keyid: key for key in voters},
        calibration=measured,
        now=datetime.now(UTC),
        replays=found[VoteReplay],
        published=published,
        late=frozenset(one.id for one in _late(late, terms, {key.keyid: key for key in voters}, progress)),
    )
    with private_directory() as folder:
        evidence = None if claim is None else _read_claim(claim, terms.predicate.job, folder, progress)
        request = replace(request, claim=None if evidence is None else evidence.claim)
        yield GivenRound(request, terms, calibration, evidence)


def read_weights(history: Sequence[Path], canaries: Sequence[Path], trust: TrustFile | None = None) -> Mapping[str, float]:
    """Reputation per voter, from past decisions.

    Args:
        history: past decisions, as bundles or as attestations (``.json``).
        canaries: those whose claim was the known answer.
        trust: with it, decisions count as bundles only, signed by its role ``consensus`` and on its log. Without it nobody
            checks who made them.

    Raises:
        UsageError: ``file-missing``, ``bad-option``, ``bad-trust``.
        EvidenceRejected: a decision is malformed, or not signed and logged as ``trust`` asks.
        PolicyNotMet: ``trust-expired``, ``below-threshold``, ``not-logged``.
    """
    if trust is None:
        past, known = ([_read_decision(path) for path in paths] for paths in (history, canaries))
        return weights_from(past, known)
    found = require_log(trust.trust, str(trust.path), format_utc(datetime.now(UTC)))
    logged, answered = ([logged_decision(path, found) for path in paths] for paths in (history, canaries))
    return weights_from(logged, answered)


def _sorted(messages: Sequence[Path], progress: Progress) -> Mapping[type, list[Attestation]]:
    """Messages by kind. Anybody can put a file among them, so what is none has no effect, and is told."""
    found: dict[type, list[Attestation]] = {kind: [] for kind in _KINDS}
    for path in messages:
        one = _read(path, progress)
        if one is None:
            continue
        kind = type(one.predicate)
        if kind in found:
            found[kind].append(one)
        else:
            progress.note(f"No effect: {path}: a {one.predicate.TYPE} is no message of a round")
    return found


def _read(path: Path, progress: Progress) -> Attestation | None:
    if not os.path.lexists(path):
        raise UsageError("file-missing", "cannot read: no such file", where=str(path))
    try:
        return read_attestation(path, object)[0]
    except (EvidenceRejected, UsageError) as problem:
        progress.note(f"No effect: {path}: {problem.message}")
        return None


def _the_terms(found: Sequence[Attestation], coordinator: PublicKey | None, progress: Progress) -> Attestation:
    """The one that the coordinator signed; without a coordinator's key, the only one."""
    known = {one.id: one for one in found}
    if coordinator is not None and len(known) > 1:
        signed = {key: one for key, one in known.items() if _signed_by(coordinator, one)}
        for key in sorted(set(known) - set(signed)):
            progress.note(f"No effect: terms {short(key)}, which the coordinator did not sign")
        known = signed
    if len(known) != 1:
        hint = "Name the file of one round; with --coordinator KEY.pub, others' terms have no effect."
        raise UsageError("bad-option", f"the round's terms: {len(known)} were given, exactly one is needed", hint=hint)
    return next(iter(known.values()))


def _signed_by(key: PublicKey, one: Attestation) -> bool:
    try:
        return key in check_signatures(one.envelope, [key], where=one.id).signers
    except EvidenceRejected:
        return False


def _late(
    paths: Sequence[Path], terms: Attestation, keys: Mapping[str, PublicKey], progress: Progress
) -> Iterator[Attestation]:
    """Messages of this round's verifiers that came late; what others sent late is none of the decision's business."""
    for path in paths:
        one = _read(path, progress)
        message = None if one is None else one.predicate
        if one is None or not isinstance(message, VoteCommitment | Vote | VoteReplay):
            continue
        key = keys.get(message.voter)
        if message.round == terms.id and key is not None and _signed_by(key, one):
            yield one
        else:
            progress.note(f"No effect: {path}: no verifier of this round signed it")


def _require_signed(key: PublicKey, attestations: Sequence[Attestation]) -> None:
    for one in attestations:
        if key not in check_signatures(one.envelope, [key], where=one.id).signers:
            raise EvidenceRejected(
                "terms-not-signed", "the coordinator did not sign it", where=f"{one.predicate.TYPE} {one.id[:12]}"
            )


def _read_decision(path: Path) -> ConsensusDecision:
    if path.suffix == ".json" and path.is_file():
        return read_attestation(path, ConsensusDecision)[1]
    with open_bundle(path) as bundle:
        return find_round(bundle)[1]


def _read_claim(given: ClaimedOutputs | ClaimedProofs, job: Job, folder: Path, progress: Progress) -> ClaimEvidence:
    if isinstance(given, ClaimedOutputs):
        return claim_of_outputs(read_outputs(given.path, job.subject.kind, job.subject.tensors))
    if not given.bundles:
        raise UsageError("claim-count", "a proven claim has one proof per sample, and none is given", where="--claim")
    if len(given.bundles) > MAX_PROOFS:
        raise UsageError("claim-count", f"at most {MAX_PROOFS} proofs", where="--claim")
    # Packed first, verified afterwards: what is verified is what goes into the decision's bundle.
    packed = [folder / proof_file(index) for index in range(len(given.bundles))]
    for source, target in zip(given.bundles, packed, strict=True):
        pack(source, target)
    samples = require_inputs(job, read_samples(given.inputs, StatedInputs(stated_inputs(packed[0]))))
    claim = claim_of_proofs(packed, given.lock, job, samples, allow_test_srs=given.allow_test_srs, progress=progress)
    return evidence_of_proofs(claim, packed, samples)
