"""Consensus before the gate: real votes, tallied again with trusted keys; keys and environments count once each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.gate_world import ALICE, BOB, MALLORY, NOW, Key, World, codes, fake_engines, waiver
from verifai.bundle.dsse import attest
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.domain.attestation.envelope import Attestation, Subject
from verifai.domain.consensus.decision import ConsensusDecision
from verifai.domain.consensus.job import OutputKind, PrecisionClass, VoteSubject
from verifai.domain.consensus.round import Beacon, BeaconRule, RoundTerms
from verifai.domain.consensus.vote import Environment
from verifai.domain.digest import Sha256, sha256
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.utc_time import format_utc
from verifai.errors import UsageError
from verifai.stages.consensus.decide import ConsensusRequest, decide
from verifai.stages.consensus.vote import commit_vote, make_job, reveal_vote

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")

CAROL, CHAIR = Key(10), Key(11)
VOTERS = (ALICE, BOB, CAROL)
SAMPLES = [{"x": np.arange(3, dtype=np.float32) + number} for number in range(4)]
RIGHT = [{"y": np.array([number], dtype=np.int64)} for number in range(4)]
WRONG = [{"y": np.array([number + 1], dtype=np.int64)} for number in range(4)]
RULE = BeaconRule("file", 7)
BEACON = Beacon("file", 7, sha256(b"public randomness"))


def machine(name: str) -> Environment:
    return Environment("x86_64", name, "onnxruntime 1.23.0", "Linux", 1)


@dataclass
class Round:
    """One round on the exact outputs of a model, and how its messages are made."""

    world: World
    voters: Sequence[Key] = VOTERS
    outputs: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    machines: Mapping[int, str] = field(default_factory=dict)
    chair: Key = CHAIR
    model: bytes | None = None
    faults: int = 1

    def about(self, predicate: Any, signers: Sequence[Key]) -> Attestation:
        return attest(predicate, [Subject("model.onnx", sha256(self.model or self.world.model))], signers)

    def messages(self) -> tuple[Attestation, list[Attestation], list[Attestation]]:
        subject = VoteSubject(
            sha256(self.model or self.world.model), sha256(b"none"), OutputKind.EXACT, PrecisionClass.INT8_STATIC
        )  # fmt: skip
        terms = RoundTerms(
            job=make_job(subject, SAMPLES),
            voters=tuple(sorted(key.public_key.keyid for key in self.voters)),
            tolerated_faults=self.faults,
            samples_beyond=0,
            openings=2,
            beacon=RULE,
            nonce="n",
            commit_by=format_utc(NOW - timedelta(days=2)),
            reveal_by=format_utc(NOW - timedelta(days=1)),
        )
        opened = self.about(terms, [self.chair])
        commitments, secrets = {}, {}
        for key in self.voters:
            environment = machine(self.machines.get(key.seed, "avx2"))
            outputs = self.outputs.get(key.seed, RIGHT)
            predicate, secrets[key.seed] = commit_vote(terms, opened.id, outputs, key.public_key.keyid, environment)
            commitments[key.seed] = self.about(predicate, [key])
        known = {one.id: one.predicate for one in commitments.values()}
        votes = [self.about(reveal_vote(terms, secrets[key.seed], known, BEACON), [key]) for key in self.voters]
        return opened, list(commitments.values()), votes

    def decide(self, messages: tuple[Attestation, list[Attestation], list[Attestation]]) -> ConsensusDecision:
        opened, commitments, votes = messages
        assert isinstance(opened.predicate, RoundTerms)
        keys = {key.public_key.keyid: key.public_key for key in self.voters}
        return decide(
            ConsensusRequest(opened.predicate, opened.id, commitments, BEACON, votes, keys, None, NOW)
        ).decision  # fmt: skip

    def bundle(self, name: str = "consensus", **changes: Any) -> Path:
        messages = self.messages()
        decision = replace(self.decide(messages), **changes)
        return self.write(name, [messages[0], *messages[1], *messages[2], self.about(decision, [self.chair])])

    def write(self, name: str, attestations: Sequence[Attestation]) -> Path:
        write_bundle(
            self.world.folder / name, payload={}, attestations=attestations, created=format_utc(NOW - timedelta(days=1))
        )  # fmt: skip
        return self.world.folder / name


def judge(world: World, *bundles: Path, demand: str = "", voters: Sequence[Key] = VOTERS, rest: str = "") -> GateVerdict:
    world.write_lock()
    top = world.trust({"voter": (voters, 1), "consensus": ([CHAIR], 1)})
    path = world.folder / "verifai.toml"
    path.write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = ["consensus"]\n'
        f"[model.consensus]\n{demand}\n{rest}\n"
    )
    return world.judge(path, *bundles)


def result(verdict: GateVerdict) -> tuple[int, set[str]]:
    return verdict.status, codes(verdict)


def test_three_trusted_verifiers_who_agree_are_enough(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert result(judge(world, Round(world).bundle())) == (0, set())


def test_a_dissenter_does_not_count(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle = Round(world, outputs={CAROL.seed: WRONG}).bundle()
    assert result(judge(world, bundle)) == (3, {"too-few-verifiers"})


def test_disagreement_beyond_the_tolerated_faults_is_a_rejection(tmp_path: Path) -> None:
    world = World(tmp_path)
    outputs = {BOB.seed: WRONG, CAROL.seed: [{"y": np.array([number + 2], dtype=np.int64)} for number in range(4)]}
    verdict = judge(world, Round(world, outputs=outputs).bundle())
    assert verdict.status == 1
    assert "consensus-dissent" in codes(verdict)


def test_two_votes_by_one_key_do_not_make_a_quorum(tmp_path: Path) -> None:
    """The second vote is well signed and revealed; its key has spoken already, and lied."""
    world = World(tmp_path)
    round_ = Round(world)
    opened, commitments, votes = round_.messages()
    first = votes[0].predicate
    twin = round_.about(replace(first, openings=tuple(reversed(first.openings))), [ALICE])  # type: ignore[attr-defined, type-var]
    messages = (opened, commitments, [votes[0], twin, votes[1]])
    decision = round_.about(round_.decide(messages), [CHAIR])
    bundle = round_.write("twice", [opened, *commitments, *messages[2], decision])
    verdict = judge(world, bundle)
    assert verdict.status in (1, 3)
    assert codes(verdict) & {"no-quorum", "too-few-verifiers", "consensus-dissent"}


def test_verifiers_whom_the_trust_file_does_not_name_do_not_count(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle = Round(world, voters=(ALICE, BOB, MALLORY)).bundle()
    verdict = judge(world, bundle, voters=(ALICE, BOB, CAROL))
    assert verdict.status == 1
    assert "consensus-false" in codes(verdict)


def test_one_environment_three_times_is_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert result(judge(world, Round(world).bundle(), demand="environments = 2")) == (3, {"too-few-environments"})
    other = Round(world, machines={ALICE.seed: "avx512"}).bundle("other")
    assert result(judge(world, other, demand="environments = 2")) == (0, set())


def test_terms_that_a_stranger_set_do_not_count(tmp_path: Path) -> None:
    """Whoever sets the terms chooses who is asked and how far answers may differ."""
    world = World(tmp_path)
    verdict = judge(world, Round(world, chair=MALLORY).bundle())
    assert verdict.status == 3
    assert "below-threshold" in codes(verdict)


def test_a_decision_that_a_stranger_wrote_does_not_count_even_where_a_threshold_is_waived(tmp_path: Path) -> None:
    """It says which votes came late and what the beacon was: that is not to be had by waiving a release signature."""
    world = World(tmp_path)
    round_ = Round(world)
    messages = round_.messages()
    decision = round_.about(round_.decide(messages), [MALLORY])
    bundle = round_.write("b", [messages[0], *messages[1], *messages[2], decision])
    verdict = judge(world, bundle, rest=waiver("below-threshold", f"model:{world.pin}"))
    assert (verdict.status, codes(verdict)) == (4, {"nothing-to-check"})


@pytest.mark.parametrize("part", ["outcome", "seed", "centre", "votes"])
def test_a_signed_decision_that_the_votes_do_not_give_is_false(part: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    round_ = Round(world, outputs={CAROL.seed: WRONG})
    decision = round_.decide(messages := round_.messages())
    changes: dict[str, Any] = {
        "outcome": next(one for one in type(decision.outcome) if one is not decision.outcome),
        "seed": sha256(b"another seed"),
        "centre": CAROL.public_key.keyid,
        "votes": tuple(replace(one, environment=Sha256("1" * 64)) for one in decision.votes),
    }
    forged = round_.about(replace(decision, **{part: changes[part]}), [CHAIR])
    bundle = round_.write("forged", [messages[0], *messages[1], *messages[2], forged])
    verdict = judge(world, bundle, demand="verifiers = 3")
    assert verdict.status == 1
    assert "consensus-false" in codes(verdict)


def test_a_consensus_about_another_model_is_a_rejection(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert result(judge(world, Round(world, model=b"another model").bundle())) == (1, {"model-not-pinned"})


@pytest.mark.parametrize("relation", ["within", "beyond"])
def test_a_claim_whose_evidence_is_not_there_is_not_believed(relation: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle = Round(world).bundle(claim=sha256(b"a proof"), claim_relation=relation)
    assert result(judge(world, bundle)) == (1, {"consensus-incomplete"})


def test_two_decisions_in_one_bundle_are_ambiguous(tmp_path: Path) -> None:
    world = World(tmp_path)
    round_ = Round(world)
    messages = round_.messages()
    decision = round_.decide(messages)
    both = [round_.about(one, [CHAIR]) for one in (decision, replace(decision, reason="another sentence"))]
    bundle = round_.write("both", [messages[0], *messages[1], *messages[2], *both])
    assert result(judge(world, bundle)) == (1, {"ambiguous-proof"})


def test_a_proof_does_not_stand_in_for_a_consensus(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert result(judge(world, world.bundle("a"))) == (3, {"evidence-not-asked"})


def test_two_verifiers_are_no_quorum_that_a_policy_may_ask_for(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(UsageError):
        judge(world, Round(world).bundle(), demand="verifiers = 2")


def unjudged(verdict: GateVerdict) -> list[str]:
    return [one.where for one in verdict.all_findings() if one.code == "attestation-not-judged"]


def test_a_false_consensus_beside_a_good_proof_is_said_not_to_be_judged(tmp_path: Path) -> None:
    world = World(tmp_path)
    proof = world.bundle("proof")
    assert unjudged(world.judge(world.policy(), proof)) == []
    consensus = Round(world, outputs={CAROL.seed: WRONG}).bundle()
    with open_bundle(proof) as one, open_bundle(consensus) as other:
        both = [*one.attestations.values(), *other.attestations.values()]
        write_bundle(
            world.folder / "both", payload=one.payload, attestations=both, created=format_utc(NOW - timedelta(days=1))
        )  # fmt: skip
        expected = [f"attestations/{key}.dsse.json" for key in sorted(other.attestations)]
    verdict = world.judge(world.policy(), world.folder / "both")
    assert unjudged(verdict) == expected
    # The other way round the proof is what nobody asked for.
    assert len(unjudged(judge(world, world.folder / "both"))) == 2


def test_every_message_of_a_round_is_judged_with_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    round_ = Round(world)
    messages = round_.messages()
    late = round_.decide((messages[0], messages[1], messages[2][:2]))
    bundle = round_.write("late", [messages[0], *messages[1], *messages[2], round_.about(late, [CHAIR])])
    assert unjudged(judge(world, bundle)) == []
