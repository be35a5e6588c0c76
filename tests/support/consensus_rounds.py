"""A round of voting in memory, with real keys, for the tamper tests of consensus."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from verifai.bundle.dsse import attest
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.consensus.calibration import AttackRuns, Calibration, HonestRuns, tolerance
from verifai.domain.consensus.job import OutputKind, PrecisionClass, VoteSubject
from verifai.domain.consensus.round import Beacon, BeaconRule, RoundTerms
from verifai.domain.consensus.vote import Environment, Vote
from verifai.domain.digest import Sha256, sha256
from verifai.domain.trust_keys import PublicKey
from verifai.stages.consensus.decide import Claim, ConsensusRequest, ConsensusResult, decide
from verifai.stages.consensus.vote import VoteSecret, commit_vote, make_job, reveal_vote

RUNTIME = "onnxruntime 1.32.0"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
BEACON = Beacon("file: the test's own", 7, sha256(b"nobody knew this before"))
ABOUT = (Subject("job", sha256(b"job")),)
SAMPLES = 4


@dataclass(frozen=True)
class Key:
    private: Ed25519PrivateKey

    @property
    def public_key(self) -> PublicKey:
        return PublicKey(self.private.public_key().public_bytes_raw())

    @property
    def keyid(self) -> str:
        return self.public_key.keyid

    def sign(self, message: bytes) -> bytes:
        return self.private.sign(message)


def keys(count: int, offset: int = 0) -> list[Key]:
    made = [Key(Ed25519PrivateKey.from_private_bytes(bytes([offset + i + 1]) * 32)) for i in range(count)]
    return sorted(made, key=lambda key: key.keyid)


def environment(instruction_set: str = "avx2", runtime: str = RUNTIME) -> Environment:
    return Environment("x86_64", instruction_set, runtime, "Linux", 1)


def subject(kind: OutputKind = OutputKind.EMBEDDINGS, **parameters: int | str) -> VoteSubject:
    from verifai.fingerprints.registry import fingerprint_for

    filled = fingerprint_for(kind).parameters(parameters)
    return VoteSubject(sha256(b"model"), sha256(b"none"), kind, PrecisionClass.FP32, parameters=filled, tensors=("y",))


def calibration(of: VoteSubject, honest: float = 1e-6, attack: float = 1e-4) -> Calibration:
    runs = tuple(HonestRuns(name, sha256(name.encode()), 3000, honest, honest, 0) for name in ("avx2", "avx512", "threads"))
    attacks = (
        AttackRuns("weight-noise-1e-4", 3000, attack, attack * 1.5, attack * 4, 0),
        AttackRuns("int8-weights", 3000, attack * 300, attack * 900, attack * 2000, 0),
    )
    return Calibration(
        of, RUNTIME, tolerance(honest, attack), runs, attacks, 1e-3, (honest, honest),
        "2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z",
    )  # fmt: skip


def outputs(noise: float = 0.0, seed: int = 1, scale: float = 1.0) -> tuple[dict[str, np.ndarray[Any, Any]], ...]:
    base = np.random.default_rng(99).normal(size=(SAMPLES, 64)).astype(np.float32)
    extra = np.random.default_rng(seed).normal(size=base.shape).astype(np.float32)
    return tuple({"y": (scale * row + np.float32(noise) * more)[None]} for row, more in zip(base, extra, strict=True))


@dataclass
class Simulation:
    """A round being played; a test changes what it wants between the steps."""

    count: int = 3
    faults: int = 1
    of: VoteSubject = field(default_factory=subject)
    openings: int = 2
    samples_beyond: int = 0
    nonce: str = "round 1"

    def __post_init__(self) -> None:
        self.keys = keys(self.count)
        self.calibration: Calibration | None = calibration(self.of)
        self.calibration_id = attest(self.calibration, ABOUT).id
        inputs = [{"x": np.full((1, 3), i, dtype=np.float32)} for i in range(SAMPLES)]
        self.job = make_job(self.of, inputs, self.calibration_id)
        self.terms = RoundTerms(
            self.job,
            tuple(key.keyid for key in self.keys),
            self.faults,
            self.samples_beyond,
            self.openings,
            BeaconRule(BEACON.source, BEACON.number),
            self.nonce,
            "2026-06-01T10:00:00Z",
            "2026-06-01T11:00:00Z",
        )
        self.terms_id = attest(self.terms, ABOUT).id
        self.commitments: dict[str, Attestation] = {}
        self.secrets: dict[str, VoteSecret] = {}
        self.votes: dict[str, Attestation] = {}

    def commit(self, key: Key, given: Sequence[Mapping[str, Any]], where: Environment | None = None) -> Attestation:
        message, secret = commit_vote(self.terms, self.terms_id, given, key.keyid, where or environment())
        self.secrets[key.keyid] = secret
        self.commitments[key.keyid] = attest(message, ABOUT, [key])
        return self.commitments[key.keyid]

    def reveal(self, key: Key, change: Callable[[Vote], Vote] = lambda vote: vote) -> Attestation:
        table: dict[Sha256, Any] = {one.id: one.predicate for one in self.commitments.values()}
        vote = reveal_vote(self.terms, self.secrets[key.keyid], table, BEACON)
        self.votes[key.keyid] = attest(change(vote), ABOUT, [key])
        return self.votes[key.keyid]

    def play(self, answers: Sequence[Sequence[Mapping[str, Any]]]) -> Simulation:
        for key, answer in zip(self.keys, answers, strict=True):
            self.commit(key, answer)
        for key in self.keys:
            self.reveal(key)
        return self

    def request(self, **changes: Any) -> ConsensusRequest:
        plain = ConsensusRequest(
            terms=self.terms,
            terms_id=self.terms_id,
            commitments=list(self.commitments.values()),
            beacon=BEACON,
            votes=list(self.votes.values()),
            keys={key.keyid: key.public_key for key in self.keys},
            calibration=self.calibration,
            now=NOW,
        )
        return dataclasses.replace(plain, **changes)

    def decide(self, **changes: Any) -> ConsensusResult:
        return decide(self.request(**changes))


def faults_of(result: ConsensusResult, key: Key) -> set[str]:
    return {one.fault.value for one in result.decision.faults if one.voter == key.keyid}


def claim(given: Sequence[Mapping[str, Any]]) -> Claim:
    return Claim(sha256(b"claim"), tuple(dict(one) for one in given))
