"""vote: one verifier's independent run → a commitment, then the reveal.

The commitment binds the outputs before the seed exists; the secret stays with the verifier until the seed is drawn.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verifai.consensus.runner import Tensors
from verifai.domain import strict_json
from verifai.domain.consensus.job import MAX_SAMPLES, NO_CALIBRATION, Job, VoteSubject
from verifai.domain.consensus.round import Beacon, RoundTerms, commitments_digest, draw_seed, picked_samples, sample_seed
from verifai.domain.consensus.vote import Environment, Opening, Vote, VoteCommitment, commitment_value
from verifai.domain.consensus.vote_replay import ReplayedClaim, VoteReplay
from verifai.domain.consensus.vote_tree import leaf_hash, path, root
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.trust_keys import decode_base64
from verifai.errors import EvidenceRejected, InputRejected, UsageError
from verifai.fingerprints.output import Output, decode_output, encode_output
from verifai.fingerprints.registry import fingerprint_for
from verifai.fingerprints.tokens import TokensFingerprint, read_tokens, replay_margins

_SCHEMA = "verifai/vote-secret/v1"
MAX_SECRET_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class VoteSecret:
    """What a verifier keeps between commitment and reveal; never published as it is.

    Attributes:
        salt: 32 random bytes, hex.
        outputs: the encoded outputs, in the order of the samples.
    """

    round: Sha256
    voter: str
    salt: str
    outputs: tuple[bytes, ...]

    def to_bytes(self) -> bytes:
        """As JSON; the file must be private (0600)."""
        document = {
            "schema": _SCHEMA,
            "round": self.round,
            "voter": self.voter,
            "salt": self.salt,
            "outputs": [base64.b64encode(one).decode() for one in self.outputs],
        }
        return json.dumps(document).encode()

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> VoteSecret:
        """The inverse. Raises UsageError (``bad-secret``): it is the verifier's own file."""
        document = strict_json.loads(data, where=where, max_bytes=MAX_SECRET_BYTES, error=UsageError, code="bad-secret")
        record = Record(document, where, error=UsageError, code="bad-secret")
        record.text("schema", pattern=_SCHEMA)
        secret = cls(
            record.sha256("round"),
            record.text("voter", pattern=r"[0-9a-f]{64}"),
            record.text("salt", pattern=r"[0-9a-f]{64}"),
            tuple(_decode(record, one) for one in record.texts("outputs", max_length=MAX_SAMPLES)),
        )
        record.done()
        return secret


def make_job(subject: VoteSubject, samples: Sequence[Tensors], calibration: Sha256 = NO_CALIBRATION) -> Job:
    """The job of running ``subject`` on ``samples``. The parameters are completed, so that no default is left open.

    Raises:
        UsageError: ``fingerprint-parameters``; ``calibration-missing``, when the kind needs a tolerance.
        InputRejected: ``input-missing``, for no sample.
    """
    fingerprint = fingerprint_for(subject.kind)
    if fingerprint.needs_calibration and calibration == NO_CALIBRATION:
        raise UsageError(
            "calibration-missing",
            f"outputs of kind {subject.kind.value!r} are decided by a measured tolerance",
            hint="Run: `verifai calibrate MODEL DATA -o FILE`",
        )
    if not samples:
        raise InputRejected("input-missing", "a job has at least one sample")
    full = VoteSubject(
        subject.model_sha256,
        subject.preprocessing_sha256,
        subject.kind,
        subject.precision,
        subject.runtime,
        fingerprint.parameters(subject.parameters),
        subject.tensors,
    )
    leaves = [leaf_hash(encode_output(dict(sample))) for sample in samples]
    return Job(full, root(leaves), len(samples), calibration)


def require_inputs(job: Job, samples: Sequence[Tensors]) -> Sequence[Tensors]:
    """``samples`` once they are known to be the job's. Raises InputRejected (``job-input``)."""
    found = root([leaf_hash(encode_output(dict(sample))) for sample in samples]) if samples else ""
    if len(samples) != job.samples or found != job.inputs_root:
        raise InputRejected(
            "job-input", "the inputs are not those that the round's job names", hint="Vote on exactly the inputs of the job."
        )
    return samples


def commit_vote(
    terms: RoundTerms, round_id: Sha256, outputs: Sequence[Output], voter: str, environment: Environment
) -> tuple[VoteCommitment, VoteSecret]:
    """Bind the outputs, showing nothing of them.

    Raises:
        UsageError: ``not-asked``, when the round does not ask this verifier.
        InputRejected, EvidenceRejected: when an output is not of the job's kind, before anything is committed to.
    """
    if voter not in terms.voters:
        raise UsageError("not-asked", f"the round does not ask the verifier {voter[:12]}", hint="Use the key that it names.")
    if len(outputs) != terms.job.samples:
        raise InputRejected("job-input", f"{len(outputs)} outputs for {terms.job.samples} samples")
    subject = terms.job.subject
    for output in outputs:
        fingerprint_for(subject.kind).make(output, bytes(32), subject.parameters)
    encoded = tuple(encode_output(one) for one in outputs)
    secret = VoteSecret(round_id, voter, secrets.token_hex(32), encoded)
    outputs_root = root([leaf_hash(one) for one in encoded])
    value = commitment_value(outputs_root, secret.salt, voter)
    return VoteCommitment(round_id, voter, value, environment), secret


def reveal_vote(terms: RoundTerms, secret: VoteSecret, commitments: Mapping[Sha256, VoteCommitment], beacon: Beacon) -> Vote:
    """Draw the seed from everybody's commitments and the beacon, and show the fingerprints and the outputs it picks.

    Args:
        commitments: every commitment of the round by identifier, this verifier's own included.

    Raises:
        EvidenceRejected: ``beacon-mismatch``; ``seed-mismatch``, when a commitment is of another round or one's own is missing.
    """
    if (beacon.source, beacon.number) != (terms.beacon.source, terms.beacon.number):
        raise EvidenceRejected("beacon-mismatch", "the beacon is not the one that the terms name")
    identifiers: dict[str, set[str]] = {}
    for identifier, one in commitments.items():
        if one.round != secret.round or one.voter not in terms.voters:
            raise EvidenceRejected("seed-mismatch", "a commitment does not belong to this round", where=identifier)
        identifiers.setdefault(one.voter, set()).add(identifier)
    leaves = [leaf_hash(one) for one in secret.outputs]
    outputs_root = root(leaves)
    value = commitment_value(outputs_root, secret.salt, secret.voter)
    own = [one for one in identifiers.get(secret.voter, ()) if commitments[Sha256(one)].commitment == value]
    if len(own) != 1:
        raise EvidenceRejected("seed-mismatch", "this verifier's own commitment is not among those given")
    digest = commitments_digest(identifiers)
    seed = draw_seed(secret.round, digest, beacon)
    subject = terms.job.subject
    fingerprint = fingerprint_for(subject.kind)
    codes = tuple(
        fingerprint.make(decode_output(one), sample_seed(seed, index), subject.parameters)
        for index, one in enumerate(secret.outputs)
    )
    picked = picked_samples(seed, terms.job.samples, terms.openings)
    openings = tuple(Opening(index, secret.outputs[index], path(leaves, index)) for index in picked)
    return Vote(
        secret.round, secret.voter, Sha256(own[0]), digest, seed, secret.salt, outputs_root, codes, openings
    )  # fmt: skip


def replay_claims(vote_id: Sha256, vote: Vote, replayed: Sequence[tuple[int, Output, Any]]) -> VoteReplay:
    """Judge other verifiers' token sequences by one's own logits.

    Args:
        replayed: (sample, claimed output, logits ``(n, vocabulary)`` of one's own model fed with the claimed tokens).
    """
    claims = []
    for sample, claimed, logits in replayed:
        found = replay_margins(logits, read_tokens(claimed))
        seed = sample_seed(vote.seed, sample)
        digest = fingerprint_for_tokens_digest(claimed, seed)
        claims.append(ReplayedClaim(sample, digest, found.positions, found.agreeing, found.worst_margin))
    return VoteReplay(vote.round, vote.voter, vote_id, tuple(claims))


def fingerprint_for_tokens_digest(claimed: Output, seed: bytes) -> Sha256:
    """The seeded digest under which a token sequence stands in a vote."""
    code = TokensFingerprint().make(claimed, seed, {"permutations": 0, "shingle": 2, "far_percent": 0})
    return Sha256(code[:32].hex())


def _decode(record: Record, text: str) -> bytes:
    try:
        return decode_base64(text)
    except ValueError as problem:
        raise record.refuse(str(problem), "outputs") from None
