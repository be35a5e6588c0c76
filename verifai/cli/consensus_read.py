"""What ``consensus`` reads: the round's messages, past decisions, and a claim with its evidence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.cli.frame import current
from verifai.errors import EvidenceRejected, UsageError

if TYPE_CHECKING:
    from verifai.domain.attestation.envelope import Attestation
    from verifai.domain.consensus.decision import ConsensusDecision
    from verifai.domain.consensus.job import Job
    from verifai.domain.trust_keys import PublicKey
    from verifai.stages.consensus.claim import ClaimEvidence
    from verifai.stages.consensus.decide import ConsensusRequest

_OUTPUT_SUFFIXES = (".npz", ".json")


@dataclass(frozen=True)
class GivenRound:
    """A round as it was given.

    Attributes:
        request: the claim included.
        terms, calibration: the attestations behind it.
        claim: the claim's evidence, readable as long as the ``with`` block that made it.
    """

    request: ConsensusRequest
    terms: Attestation
    calibration: Attestation | None
    claim: ClaimEvidence | None


@dataclass(frozen=True)
class ClaimOptions:
    """``--claim`` and what goes with it."""

    claims: tuple[Path, ...] = ()
    lock: Path | None = None
    inputs: Path | None = None
    allow_test_srs: bool = False


@contextmanager
def read_round(
    messages: Sequence[Path],
    beacon: Path,
    voter: Sequence[Path],
    coordinator: Path | None,
    claim: ClaimOptions,
    late: Sequence[Path],
) -> Iterator[GivenRound]:
    """The round, with its claim verified. Raises UsageError, EvidenceRejected, PolicyNotMet."""
    from verifai.bundle.keys import load_public_key
    from verifai.consensus.files import read_beacon
    from verifai.domain.consensus.calibration import Calibration
    from verifai.domain.consensus.round import RoundTerms
    from verifai.domain.consensus.vote import Vote, VoteCommitment
    from verifai.domain.consensus.vote_replay import VoteReplay
    from verifai.execution.child import private_directory
    from verifai.stages.consensus.decide import ConsensusRequest
    from verifai.stages.consensus.messages import read_attestation

    found: dict[type, list[Attestation]] = {kind: [] for kind in (RoundTerms, Calibration, VoteCommitment, Vote, VoteReplay)}
    for path in messages:
        one, predicate = read_attestation(path, object)
        kind = type(predicate)
        if kind not in found:
            raise UsageError("bad-option", f"a {one.predicate.TYPE} is no message of a round", where=str(path))
        found[kind].append(one)
    terms = _one(found[RoundTerms], "the round's terms")
    assert isinstance(terms.predicate, RoundTerms)
    wanted = terms.predicate.job.calibration
    calibration = next((one for one in found[Calibration] if one.id == wanted), None)
    measured = None if calibration is None else calibration.predicate
    assert measured is None or isinstance(measured, Calibration)
    keys: dict[str, PublicKey] = {key.keyid: key for key in map(load_public_key, voter)}
    _check_coordinator(coordinator, [terms, *([calibration] if calibration is not None else [])])
    request = ConsensusRequest(
        terms=terms.predicate,
        terms_id=terms.id,
        commitments=found[VoteCommitment],
        beacon=read_beacon(beacon),
        votes=found[Vote],
        keys=keys,
        calibration=measured,
        now=datetime.now(UTC),
        replays=found[VoteReplay],
        late=frozenset(read_attestation(path, object)[0].id for path in late),
    )
    with private_directory() as folder:
        evidence = _claim(claim, terms.predicate.job, folder)
        request = replace(request, claim=None if evidence is None else evidence.claim)
        yield GivenRound(request, terms, calibration, evidence)


def read_weights(history: Sequence[Path], canaries: Sequence[Path], trust: Path | None) -> Mapping[str, float]:
    """Reputation from past decisions, as bundles or as attestations; with ``trust``, as signed and logged bundles only."""
    from verifai.domain.consensus.reputation_history import weights_from
    from verifai.domain.utc_time import format_utc
    from verifai.stages.consensus.past_decisions import logged_decision, require_log
    from verifai.trust_file import read_trust

    if trust is None:
        current().note("Reputation rests on the decisions given, and nobody checked who made them: give --history-trust.")
        past, known = ([_read_decision(path) for path in paths] for paths in (history, canaries))
        return weights_from(past, known)
    found = require_log(read_trust(trust).trust, str(trust), format_utc(datetime.now(UTC)))
    logged, answered = ([logged_decision(path, found) for path in paths] for paths in (history, canaries))
    return weights_from(logged, answered)


def _read_decision(path: Path) -> ConsensusDecision:
    from verifai.domain.consensus.decision import ConsensusDecision
    from verifai.stages.consensus.messages import read_attestation

    if path.suffix == ".json" and path.is_file():
        return read_attestation(path, ConsensusDecision)[1]
    from verifai.bundle.reader import open_bundle
    from verifai.stages.consensus.find_round import find_round

    with open_bundle(path) as bundle:
        return find_round(bundle)[1]


def _one(found: Sequence[Attestation], what: str) -> Attestation:
    if len({one.id for one in found}) != 1:
        raise UsageError("bad-option", f"{what}: {len(found)} were given, exactly one is needed")
    return found[0]


def _check_coordinator(path: Path | None, signed: Sequence[Attestation]) -> None:
    from verifai.bundle.dsse import check_signatures
    from verifai.bundle.keys import load_public_key

    if path is None:
        current().note(
            "No --coordinator: anybody may have written these terms and this tolerance. Read them before you rely on them."
        )
        return
    key = load_public_key(path)
    for one in signed:
        if key not in check_signatures(one.envelope, [key], where=one.id).signers:
            raise EvidenceRejected(
                "terms-not-signed", "the coordinator did not sign it", where=f"{one.predicate.TYPE} {one.id[:12]}"
            )


def _claim(options: ClaimOptions, job: Job, folder: Path) -> ClaimEvidence | None:
    from verifai.consensus.files import read_outputs
    from verifai.stages.consensus.claim import claim_of_outputs

    if not options.claims:
        if options.lock is not None or options.inputs is not None or options.allow_test_srs:
            raise UsageError("bad-option", "--lock, --inputs and --allow-test-srs go with --claim BUNDLE")
        return None
    files = [path for path in options.claims if path.suffix in _OUTPUT_SUFFIXES and not path.is_dir()]
    if not files:
        return _proven_claim(options, job, folder)
    if len(options.claims) != 1:
        raise UsageError("bad-option", "one file of outputs, or one proof bundle per sample", where="--claim")
    current().note("The claim is a file: nothing says that these outputs were computed. A proof bundle would.")
    return claim_of_outputs(read_outputs(files[0], job.subject.kind, job.subject.tensors))


def _proven_claim(options: ClaimOptions, job: Job, folder: Path) -> ClaimEvidence:
    from verifai.circuit_folder import read_lock
    from verifai.consensus.files import StatedInputs, read_samples
    from verifai.stages.consensus.claim import MAX_PROOFS, claim_of_proofs, evidence_of_proofs, proof_file, stated_inputs
    from verifai.stages.consensus.vote import require_inputs
    from verifai.stages.pack import pack_bundle

    if options.lock is None or options.inputs is None:
        raise UsageError(
            "bad-option",
            "a proof bundle as claim needs --lock (the circuit.lock that you trust) and --inputs (the round's inputs)",
            where="--claim",
        )
    if len(options.claims) > MAX_PROOFS:
        raise UsageError("claim-count", f"at most {MAX_PROOFS} proofs", where="--claim")
    if options.allow_test_srs:
        current().note("INSECURE: --allow-test-srs accepts proofs that the maker of the test set-up can forge.")
    # Packed first, verified afterwards: what is verified is what goes into the decision's bundle.
    packed = [folder / proof_file(index) for index in range(len(options.claims))]
    for source, target in zip(options.claims, packed, strict=True):
        pack_bundle(source, target)
    samples = require_inputs(job, read_samples(options.inputs, StatedInputs(stated_inputs(packed[0]))))
    with current().progress() as progress:
        claim = claim_of_proofs(
            packed, read_lock(options.lock), job, samples, allow_test_srs=options.allow_test_srs, progress=progress
        )
    return evidence_of_proofs(claim, packed, samples)
