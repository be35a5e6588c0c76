"""A proof, or a consensus of distinct signers in distinct environments: one is enough, and what is given must still hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gate_world import ALICE, NOW, World, codes, fake_engines
from tests.unit.stages.gate.test_consensus import CAROL, CHAIR, VOTERS, WRONG, Round
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.policy.words import explain_policy
from verifai.errors import UsageError
from verifai.stages.gate.attest import _levels
from verifai.stages.gate.load import load_policy

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")


def policy(world: World, *, needed: str = "any", evidence: str = '"proof", "consensus"', inferences: int = 1) -> Path:
    world.write_lock()
    top = world.trust({"voter": (VOTERS, 1), "consensus": ([CHAIR], 1)})
    proof = f'[model.proof]\nengines = ["ezkl"]\ninferences = {inferences}\n' if "proof" in evidence else ""
    path = world.folder / "verifai.toml"
    path.write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = [{evidence}]\n'
        f'evidence_needed = "{needed}"\n{proof}[model.consensus]\nverifiers = 3\nenvironments = 2\n'
    )
    return path


def consensus(world: World, name: str = "consensus", **changes: object) -> Path:
    return Round(world, **({"machines": {ALICE.seed: "avx512"}} | changes)).bundle(name)  # type: ignore[arg-type]


def judge(world: World, *bundles: Path, **how: object) -> GateVerdict:
    return world.judge(policy(world, **how), *bundles)  # type: ignore[arg-type]


def test_a_proof_that_is_false_is_not_mended_by_a_consensus(tmp_path: Path) -> None:
    world = World(tmp_path)
    verdict = judge(world, world.bundle("forged", 1, forged=True), consensus(world))
    assert verdict.status == 1
    assert "proof-invalid" in codes(verdict)


def test_a_consensus_that_is_too_small_is_not_mended_by_a_proof(tmp_path: Path) -> None:
    world = World(tmp_path)
    verdict = judge(world, world.bundle("proof", 1), consensus(world, outputs={CAROL.seed: WRONG}))
    assert (verdict.status, codes(verdict)) == (3, {"too-few-verifiers"})


def test_neither_is_not_enough(tmp_path: Path) -> None:
    world = World(tmp_path)
    alone = judge(world, consensus(world, machines={}))
    assert (alone.status, codes(alone)) == (3, {"too-few-environments"})
    few = judge(world, world.bundle("proof", 1), inferences=2)
    assert (few.status, codes(few)) == (3, {"too-few-inferences", "evidence-missing"})


def test_either_is_enough_and_says_what_was_not_needed(tmp_path: Path) -> None:
    world = World(tmp_path)
    for bundle in (world.bundle("proof", 1), consensus(world)):
        verdict = judge(world, bundle)
        assert (verdict.status, codes(verdict)) == (0, set())
        assert {one.code for one in verdict.models[0].findings} == {"evidence-met", "evidence-alternative"}
        both = judge(world, bundle, needed="all")
        assert (both.status, codes(both)) == (3, {"evidence-missing"})


def test_a_verdict_claims_only_what_was_shown(tmp_path: Path) -> None:
    world = World(tmp_path)
    loaded = load_policy(policy(world))
    verdict = world.judge(policy(world), consensus(world))
    assert _levels(loaded.policy.models, verdict) == ("VERIFAI_CONSENSUS",)
    proven = world.judge(policy(world), world.bundle("proof", 1))
    assert "VERIFAI_CONSENSUS" not in _levels(loaded.policy.models, proven)
    assert "VERIFAI_PROOF" in _levels(loaded.policy.models, proven)


@pytest.mark.parametrize(("needed", "evidence"), [("any", '"consensus"'), ("one", '"proof", "consensus"')])
def test_a_choice_of_one_and_other_words_are_refused(needed: str, evidence: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        load_policy(policy(World(tmp_path), needed=needed, evidence=evidence))
    assert caught.value.code == "bad-policy"


def test_the_policy_is_explained(tmp_path: Path) -> None:
    world = World(tmp_path)
    loaded = load_policy(policy(world))
    lines = explain_policy(loaded.policy, loaded.pins, loaded.digest, NOW)
    assert any("One of these is enough: proof or consensus" in line for line in lines)
