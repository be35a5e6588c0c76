"""A decision's bundle in front of the gate: what is left out, exchanged, or claimed without a proof does not pass."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.consensus_rounds import calibration, environment
from tests.support.gate_world import ALICE, BOB, LOG_KEY, MALLORY, NOW, Key, World, codes, fake_engines
from verifai.bundle.dsse import attest
from verifai.bundle.log import create_log
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.cli.app import run
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.job import OutputKind, PrecisionClass, VoteSubject
from verifai.domain.consensus.round import Beacon, BeaconRule, RoundTerms
from verifai.domain.digest import Sha256, sha256
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.utc_time import format_utc
from verifai.errors import EvidenceRejected, UsageError
from verifai.stages.consensus.bundle import WrittenDecision, write_decision
from verifai.stages.consensus.claim import INPUTS_FILE, claim_of_outputs, claim_of_proofs, evidence_of_proofs, proof_file
from verifai.stages.consensus.decide import ConsensusRequest, ConsensusResult, decide
from verifai.stages.consensus.vote import commit_vote, make_job, reveal_vote
from verifai.stages.log import verify_entry
from verifai.stages.pack import pack_bundle

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")

CAROL, DAVE, CHAIR = Key(10), Key(12), Key(11)
VOTERS = (ALICE, BOB, CAROL)
MACHINES = {ALICE.seed: "avx512"}
RULE = BeaconRule("file", 7)
BEACON = Beacon("file", 7, sha256(b"public randomness"))
NUMBERS = (3, 5)
"""The two samples: the proven input is n/128, the model doubles it."""


def inputs(numbers: Sequence[int] = NUMBERS) -> list[dict[str, Any]]:
    return [{"x": np.array([[number / 128]], dtype=np.float32)} for number in numbers]


def answers(factor: float = 2.0) -> list[dict[str, Any]]:
    return [{"y": np.array([[factor * number / 128]], dtype=np.float32)} for number in NUMBERS]


@dataclass
class Played:
    """A round of real votes about the world's model, with a tolerance of one hundredth."""

    world: World
    voters: Sequence[Key] = VOTERS
    given: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    machines: dict[int, str] = field(default_factory=lambda: dict(MACHINES))
    nonce: str = "n"
    known: Sequence[Key] | None = None
    until: str = "2026-12-31T00:00:00Z"
    deadline: datetime = NOW - timedelta(days=1)

    def __post_init__(self) -> None:
        kind = OutputKind.EMBEDDINGS
        subject = VoteSubject(
            sha256(self.world.model), sha256(b"none"), kind, PrecisionClass.FP32, parameters={"projections": 8}, tensors=("y",)
        )
        self.tolerance = self.about(dataclasses.replace(calibration(subject, 1e-3, 1e-1), expires=self.until), CHAIR)
        self.terms = self.about(
            RoundTerms(
                make_job(subject, inputs(), self.tolerance.id),
                tuple(sorted(key.public_key.keyid for key in self.voters)),
                1,
                0,
                1,
                RULE,
                self.nonce,
                format_utc(NOW - timedelta(days=2)),
                format_utc(self.deadline),
            ),
            CHAIR,
        )
        terms = self.terms.predicate
        assert isinstance(terms, RoundTerms)
        self.commitments: dict[int, Attestation] = {}
        kept = {}
        for key in self.voters:
            where = environment(self.machines.get(key.seed, "avx2"))
            outputs = self.given.get(key.seed, answers())
            made, kept[key.seed] = commit_vote(terms, self.terms.id, outputs, key.public_key.keyid, where)
            self.commitments[key.seed] = self.about(made, key)
        table: dict[Sha256, Any] = {one.id: one.predicate for one in self.commitments.values()}
        self.votes = {key.seed: self.about(reveal_vote(terms, kept[key.seed], table, BEACON), key) for key in self.voters}

    def about(self, predicate: Any, *signers: Key) -> Attestation:
        return attest(predicate, [Subject("model", sha256(self.world.model))], signers)

    def request(self, **changes: Any) -> ConsensusRequest:
        terms, tolerance = self.terms.predicate, self.tolerance.predicate
        known = self.voters if self.known is None else self.known
        plain: Any = {
            "terms": terms,
            "terms_id": self.terms.id,
            "commitments": list(self.commitments.values()),
            "beacon": BEACON,
            "votes": list(self.votes.values()),
            "keys": {key.public_key.keyid: key.public_key for key in known},
            "calibration": tolerance,
            "now": NOW,
        }
        return ConsensusRequest(**{**plain, **changes})

    def write(self, name: str = "decision", payload: Any = None, **changes: Any) -> tuple[WrittenDecision, ConsensusResult]:
        log = {one: changes.pop(one) for one in ("log", "log_signer") if one in changes}
        request = self.request(**changes)
        result = decide(request)
        target = self.world.folder / name
        written = write_decision(
            target, self.terms, self.tolerance, request, result, payload=payload or {}, signers=[CHAIR], **log
        )
        return written, result


def rewrite(source: Path, change: Any, target: Path) -> Path:
    """A bundle with other attestations or payload, as whoever holds it can write it."""
    with open_bundle(source) as bundle:
        attestations, payload = dict(bundle.attestations), dict(bundle.payload)
        change(attestations, payload)
        write_bundle(
            target, payload=payload, attestations=list(attestations.values()), created=bundle.manifest.created, signers=[CHAIR]
        )
    return target


def judge(world: World, *bundles: Path, voters: Sequence[Key] = VOTERS, log: bool = False) -> GateVerdict:
    world.write_lock()
    table = f'[log]\norigin = "example.org/log"\nkey = "{LOG_KEY.public_key}"' if log else ""
    top = world.trust({"voter": (voters, 1), "consensus": ([CHAIR], 1)}, log=table)
    path = world.folder / "verifai.toml"
    path.write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\n'
        f'evidence = ["consensus"]\nlog = {str(log).lower()}\n[model.consensus]\nverifiers = 3\nenvironments = 2\n'
    )
    return world.judge(path, *bundles)


def outcome(verdict: GateVerdict) -> tuple[int, set[str]]:
    return verdict.status, codes(verdict)


def said(verdict: GateVerdict) -> str:
    return "\n".join(f"{one.code}: {one.message}" for one in verdict.all_findings())


def decision_of(attestations: dict[Sha256, Attestation]) -> tuple[Sha256, ConsensusDecision]:
    ((identifier, predicate),) = [
        (one.id, one.predicate) for one in attestations.values() if isinstance(one.predicate, ConsensusDecision)
    ]
    return identifier, predicate


# What is left out or exchanged.


@pytest.mark.parametrize(("signer", "code"), [(MALLORY, "below-threshold"), (CHAIR, "consensus-false")])
def test_a_dissenting_vote_cannot_be_left_out_of_a_decision(signer: Key, code: str, tmp_path: Path) -> None:
    """Of 2f + 1 verifiers none can be spared: naming fewer votes in the decision does not help, whoever signs."""
    world = World(tmp_path)
    played = Played(world, given={BOB.seed: answers(3.0), CAROL.seed: answers(2.5)})
    written, result = played.write()
    assert result.decision.outcome.value == "reject"
    dropped = played.votes[CAROL.seed].id

    def drop(attestations: dict[Sha256, Attestation], payload: Any) -> None:
        identifier, decision = decision_of(attestations)
        del attestations[identifier], attestations[dropped]
        fewer = tuple(one for one in decision.votes if one.vote != dropped)
        forged = dataclasses.replace(decision, votes=fewer, outcome=type(decision.outcome)("accept"))
        again = played.about(forged, signer)
        attestations[again.id] = again

    with open_bundle(written.path) as bundle:
        attestations = {key: one for key, one in bundle.attestations.items() if key != dropped}
        write_bundle(tmp_path / "short", payload={}, attestations=list(attestations.values()), created=format_utc(NOW))
    assert outcome(judge(world, tmp_path / "short")) == (1, {"parent-missing"})
    verdict = judge(world, rewrite(written.path, drop, tmp_path / "forged"))
    assert verdict.status in (1, 3)
    assert code in codes(verdict)


def test_a_coordinator_who_never_shows_a_dissenting_vote_gains_nothing(tmp_path: Path) -> None:
    """Who committed and then showed nothing is named, and the verifiers who are left are too few for the gate."""
    world = World(tmp_path)
    played = Played(world, (*VOTERS, DAVE), {CAROL.seed: answers(2.5), DAVE.seed: answers(3.0)})
    del played.votes[DAVE.seed]
    written, _ = played.write()
    verdict = judge(world, written.path, voters=(*VOTERS, DAVE))
    assert verdict.status in (1, 3)
    assert "too-few-verifiers" in codes(verdict)
    assert "no-reveal" in said(verdict)


def test_another_calibration_does_not_take_the_place_of_the_one_that_the_terms_name(tmp_path: Path) -> None:
    world = World(tmp_path)
    played = Played(world, given={CAROL.seed: answers(2.1)})
    written, _ = played.write()
    wider = played.about(calibration(played.request().calibration.subject, 1e-2, 10.0), CHAIR)  # type: ignore[union-attr]

    def swap(attestations: dict[Sha256, Attestation], payload: Any) -> None:
        del attestations[played.tolerance.id]
        attestations[wider.id] = wider

    assert outcome(judge(world, rewrite(written.path, swap, tmp_path / "swapped"))) == (1, {"parent-missing"})

    def swap_and_name(attestations: dict[Sha256, Attestation], payload: Any) -> None:
        swap(attestations, payload)
        identifier, decision = decision_of(attestations)
        del attestations[identifier], attestations[played.terms.id]
        job = dataclasses.replace(played.request().terms.job, calibration=wider.id)
        terms = played.about(dataclasses.replace(played.request().terms, job=job), CHAIR)
        forged = played.about(dataclasses.replace(decision, round=terms.id, calibration=wider.id), CHAIR)
        attestations |= {terms.id: terms, forged.id: forged}

    # The verifiers committed to the old terms, so under new ones none of their messages belongs.
    assert judge(world, rewrite(written.path, swap_and_name, tmp_path / "renamed")).status == 1


def test_votes_of_another_round_are_left_out_and_replaying_them_gains_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    old, new = Played(world, nonce="old"), Played(world, nonce="new", given={CAROL.seed: answers(2.5)})
    votes = [*new.votes.values(), old.votes[CAROL.seed]]
    commitments = [*new.commitments.values(), old.commitments[CAROL.seed]]
    written, result = new.write(votes=votes, commitments=commitments)
    assert {one.fault.value for one in result.decision.faults} == {"wrong-round"}
    with open_bundle(written.path) as bundle:
        assert old.votes[CAROL.seed].id not in bundle.attestations
    assert outcome(judge(world, written.path)) == (3, {"too-few-verifiers"})


def test_votes_by_unknown_keys_and_false_signatures_are_left_out(tmp_path: Path) -> None:
    world = World(tmp_path)
    played = Played(world, (*VOTERS, MALLORY), known=VOTERS)
    written, result = played.write()
    assert {one.fault.value for one in result.decision.faults} >= {"unknown-voter"}
    with open_bundle(written.path) as bundle:
        assert played.votes[MALLORY.seed].id not in bundle.attestations
    trusting = Played(world, (ALICE, BOB, MALLORY))
    believed, result = trusting.write("believed")
    assert len(result.decision.agreeing_voters) == 3
    verdict = judge(world, believed.path)
    assert verdict.status == 1
    assert "consensus-false" in codes(verdict)


def test_a_vote_on_a_commitment_that_nobody_made_cannot_keep_the_decision_from_being_shown(tmp_path: Path) -> None:
    world = World(tmp_path)
    played = Played(world, (*VOTERS, DAVE))
    lie = dataclasses.replace(played.votes[DAVE.seed].predicate, commitment=sha256(b"nowhere"))  # type: ignore[type-var]
    played.votes[DAVE.seed] = played.about(lie, DAVE)
    written, result = played.write()
    assert {one.fault.value for one in result.decision.faults} == {"false-opening", "no-reveal"}
    assert outcome(judge(world, written.path, voters=(*VOTERS, DAVE))) == (0, set())


def test_three_signers_in_one_environment_are_not_two_environments(tmp_path: Path) -> None:
    world = World(tmp_path)
    written, _ = Played(world, machines={}).write()
    assert outcome(judge(world, written.path)) == (3, {"too-few-environments"})


def test_nothing_is_written_over_and_a_log_needs_its_key(tmp_path: Path) -> None:
    played = Played(World(tmp_path))
    played.write()
    with pytest.raises(UsageError) as caught:
        played.write()
    assert caught.value.code == "file-exists"
    with pytest.raises(UsageError):
        played.write("other", log=tmp_path / "log.sqlite")
    assert not (tmp_path / "other").exists()


def test_a_written_decision_passes_with_three_signers_in_two_environments_and_its_log(tmp_path: Path) -> None:
    world = World(tmp_path)
    played = Played(world)
    plain, _ = played.write("plain")
    assert outcome(judge(world, plain.path)) == (0, set())
    assert outcome(judge(world, plain.path, log=True)) == (3, {"not-logged"})
    log = tmp_path / "audit.log"
    create_log(log, origin="example.org/log", key=LOG_KEY.public_key)
    with pytest.raises(UsageError):
        played.write("false", log=log, log_signer=MALLORY)
    written, _ = played.write("logged", log=log, log_signer=LOG_KEY)
    assert outcome(judge(world, written.path, log=True)) == (0, set())
    assert {one.id for one in played.votes.values()} <= set(written.positions)
    assert written.decision_id in written.positions
    assert written.sidecar is not None
    verify_entry(written.sidecar, written.bundle_id, "example.org/log", LOG_KEY.public_key)


# Claims.


def proven(
    world: World, numbers: Sequence[int] = NUMBERS, played: Played | None = None, lock: CircuitLock | None = None, **proof: Any
) -> Any:
    """A claim by proofs about ``numbers``, made as the command makes it."""
    samples = inputs()
    packed = []
    for index, number in enumerate(numbers):
        folder = world.bundle(f"proof{index}-{number}-{len(list(world.folder.iterdir()))}", number, **proof)
        target = world.folder / f"{folder.name}.packed"
        pack_bundle(folder, target)
        packed.append(target)
    job = (played or Played(world)).request().terms.job
    claim = claim_of_proofs(packed, lock or world.circuit_lock, job, samples)
    return evidence_of_proofs(claim, packed, samples)


def test_a_proof_of_another_input_is_no_claim_about_this_round(tmp_path: Path) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        proven(World(tmp_path), (3, 7))
    assert caught.value.code == "input-mismatch"


def test_a_proof_of_another_model_is_no_claim_about_this_round(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "other").mkdir()
    other = World(tmp_path / "other", model=b"another model")
    with pytest.raises(EvidenceRejected) as caught:
        proven(other, played=Played(world))
    assert caught.value.code == "claim-model"


def test_a_forged_proof_and_too_few_proofs_are_no_claim(tmp_path: Path) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        proven(World(tmp_path), forged=True)
    assert caught.value.code == "proof-invalid"
    with pytest.raises(UsageError):
        proven(World(tmp_path), (3,))


def test_a_proven_output_inside_the_ball_passes_and_is_called_proven(tmp_path: Path) -> None:
    world = World(tmp_path)
    evidence = proven(world)
    written, result = Played(world).write(claim=evidence.claim, payload=evidence.payload)
    assert result.decision.claim_relation == "within"
    verdict = judge(world, written.path)
    assert outcome(verdict) == (0, set())
    assert "the proven output is within" in said(verdict)


def test_a_proven_output_outside_the_ball_is_a_rejection_whatever_the_decision_says(tmp_path: Path) -> None:
    world = World(tmp_path)
    evidence = proven(world)
    played = Played(world, given={key.seed: answers(2.5) for key in VOTERS})
    written, result = played.write(claim=evidence.claim, payload=evidence.payload)
    assert result.decision.claim_relation == "beyond"
    assert outcome(judge(world, written.path)) == (1, {"claim-outside-ball"})

    def forge(attestations: dict[Sha256, Attestation], payload: Any) -> None:
        identifier, decision = decision_of(attestations)
        del attestations[identifier]
        forged = played.about(dataclasses.replace(decision, claim_relation="within"), CHAIR)
        attestations[forged.id] = forged

    assert outcome(judge(world, rewrite(written.path, forge, tmp_path / "forged"))) == (1, {"consensus-false"})


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("consensus-incomplete", "the proof is left out"),
        ("consensus-incomplete", "the inputs are left out"),
        ("claim-input", "the inputs are others"),
        ("proof-invalid", "the proof is forged"),
        ("input-mismatch", "the proof is of the other sample"),
        ("consensus-false", "the outputs are only given"),
        ("malformed", "the inputs are cut off"),
    ],
)
def test_the_gate_reads_the_claim_from_its_evidence(code: str, what: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    evidence = proven(world)
    written, _ = Played(world).write(claim=evidence.claim, payload=evidence.payload)
    pack_bundle(world.bundle("forged-proof", 3, forged=True), tmp_path / "forged.packed")
    others = evidence_of_proofs(evidence.claim, [], inputs((3, 6))).payload[INPUTS_FILE]
    changes: dict[str, Any] = {
        "the proof is left out": lambda payload: payload.pop(proof_file(1)),
        "the inputs are left out": lambda payload: payload.pop(INPUTS_FILE),
        "the inputs are others": lambda payload: payload.update({INPUTS_FILE: others}),
        "the proof is forged": lambda payload: payload.update({proof_file(0): tmp_path / "forged.packed"}),
        "the proof is of the other sample": lambda payload: payload.update({proof_file(0): payload[proof_file(1)]}),
        "the outputs are only given": lambda payload: (
            payload.clear(),
            payload.update(claim_of_outputs(answers()).payload),
        ),
        "the inputs are cut off": lambda payload: payload.update({INPUTS_FILE: payload[INPUTS_FILE].read_bytes()[:-1]}),
    }
    changed = rewrite(written.path, lambda attestations, payload: changes[what](payload), tmp_path / "changed")
    assert outcome(judge(world, changed)) == (1, {code})


def test_given_outputs_are_placed_again_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    inside, beyond = claim_of_outputs(answers()), claim_of_outputs(answers(3.0))
    written, _ = Played(world).write(claim=inside.claim, payload=inside.payload)
    verdict = judge(world, written.path)
    assert outcome(verdict) == (0, set())
    assert "the claimed output is within" in said(verdict)
    written, _ = Played(world).write("beyond", claim=beyond.claim, payload=beyond.payload)
    assert outcome(judge(world, written.path)) == (1, {"claim-outside-ball"})


# The same on the command line.


def _files(played: Played, folder: Path) -> list[str]:
    from verifai.bundle import canonical

    messages = [played.terms, played.tolerance, *played.commitments.values(), *played.votes.values()]
    for number, one in enumerate(messages):
        (folder / f"{number}.json").write_bytes(canonical.encode(one.envelope.to_json()))
    for key in played.voters:
        (folder / f"{key.seed}.pub").write_text(f"{key.public_key}\n")
    value = {"source": BEACON.source, "number": BEACON.number, "value": BEACON.value}
    (folder / "beacon.json").write_text(json.dumps(value))
    np.savez(folder / "inputs.npz", x=np.concatenate([one["x"] for one in inputs()])[:, None])
    voters = [part for key in played.voters for part in ("--voter", str(folder / f"{key.seed}.pub"))]
    return [*(str(folder / f"{one}.json") for one in range(len(messages))), "--beacon", str(folder / "beacon.json"), *voters]


def test_the_command_takes_proof_bundles_as_the_claim_and_nothing_on_trust(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path)
    lock = str(world.write_lock())
    arguments = ["consensus", *_files(Played(world, until="2096-01-01T00:00:00Z"), tmp_path), "--json"]
    CHAIR.write(tmp_path / "chair.key")
    claims = [part for number in NUMBERS for part in ("--claim", str(world.bundle(f"proof-{number}", number)))]
    good = [*claims, "--lock", lock, "--inputs", str(tmp_path / "inputs.npz")]

    def call(*more: str) -> tuple[int, str]:
        capsys.readouterr()
        status = run([*arguments, *more])
        document = json.loads(capsys.readouterr().out)
        return status, document.get("claim") or document["error"]["code"]

    target = tmp_path / "decision"
    assert call(*good, "-o", str(target), "--key", str(tmp_path / "chair.key")) == (0, "within")
    with open_bundle(target) as bundle:
        assert set(bundle.payload) == {proof_file(0), proof_file(1), INPUTS_FILE}
    assert call(*claims) == (2, "bad-option")
    assert call(*claims, "--lock", lock) == (2, "bad-option")
    assert call("--lock", lock) == (2, "bad-option")
    assert call(*claims[:2], *good[4:]) == (2, "claim-count")
    assert call(*claims[2:], *claims[:2], *good[4:]) == (1, "input-mismatch")
    np.savez(tmp_path / "others.npz", x=np.array([[[0.5]], [[0.25]]], dtype=np.float32))
    assert call(*claims, "--lock", lock, "--inputs", str(tmp_path / "others.npz")) == (2, "job-input")
    forged = str(world.bundle("forged", 3, forged=True))
    assert call("--claim", forged, *claims[2:], *good[4:]) == (1, "proof-invalid")
    assert call("--claim", str(tmp_path / "inputs.npz"))[0] == 1
