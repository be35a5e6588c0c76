"""Private inferences counted by context: what a prover who proves one input many times can get counted, and what not."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate_world import ALICE, NOW, World, codes, fake_engines, section, waiver
from verifai.domain.digest import Sha256
from verifai.domain.findings import Outcome
from verifai.domain.policy.verdict import GateVerdict, summary
from verifai.domain.policy.words import explain_policy
from verifai.domain.statement import CommitmentOpening, EngineName, Privacy
from verifai.errors import UsageError
from verifai.stages.gate.load import load_policy

__all__ = ["fake_engines"]
HIDDEN: dict[str, Any] = {"private_input": True, "bound": True, "privacy": Privacy.ZERO_KNOWLEDGE}
COUNTED = 'contexts = "release-7#"\ndistinct = "contexts"\n'


@pytest.fixture(autouse=True)
def _engines(fake_engines: None) -> None:
    """Proofs of these tests are keyed hashes."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def context(number: int) -> str:
    return f"release-7#{number:06d}"


def batch(world: World, samples: list[int], **more: Any) -> list[Path]:
    """One bundle per sample, each under the context of its place."""
    given = {**HIDDEN, **more}
    return [world.bundle(f"b{at}", sample, context=context(at), **given) for at, sample in enumerate(samples)]


def judged(world: World, bundles: list[Path], inferences: int, proof: str = COUNTED, **policy: Any) -> GateVerdict:
    return world.judge(world.policy(proof=f"inferences = {inferences}\n{proof}", **policy), *bundles)


# --- what is refused


@pytest.mark.parametrize(
    "chosen",
    [
        "",
        "release-7",
        "release-7#",
        "release-7#3",
        "release-7#0000003",
        "release-7# 00003",
        "release-7#+00003",
        "release-7#00000३",
        "release-7#000003\n",
        "release-7##000003",
        "release-6#000000",
        "Release-7#000000",
        "000000",
        context(3),  # one more than the policy's numbers
    ],
)
def test_a_context_that_the_policy_does_not_expect_is_a_rejection(world: World, chosen: str) -> None:
    bundles = batch(world, [1, 2])
    verdict = judged(world, [*bundles, world.bundle("other", 3, context=chosen, **HIDDEN)], 3)
    assert verdict.status == 1
    assert "context-mismatch" in codes(verdict)


def test_without_expected_contexts_one_input_counts_once_under_any_number_of_contexts(world: World) -> None:
    verdict = judged(world, batch(world, [1, 1, 1]), 2, proof="")
    assert (verdict.status, codes(verdict)) == (3, {"too-few-inferences"})


def test_expected_contexts_alone_do_not_change_what_counts(world: World) -> None:
    verdict = judged(world, batch(world, [1, 1, 1]), 2, proof='contexts = "release-7#"\n')
    assert (verdict.status, codes(verdict)) == (3, {"too-few-inferences"})


def test_a_signature_is_not_enough_to_count_by_a_context(world: World) -> None:
    """Whoever holds a trusted key could write two hundred contexts beside one proof."""
    trust = world.trust({"release": ([ALICE], 1)})
    verdict = judged(world, batch(world, [1, 2], bound=False, signers=[ALICE]), 2, top=trust)
    assert (verdict.status, codes(verdict)) == (3, {"context-not-bound"})
    alone = 'contexts = "release-7#"\n'
    assert judged(world, [world.folder / "b0", world.folder / "b1"], 2, proof=alone, top=trust).passed
    unsigned = [world.bundle(f"u{at}", at, context=context(at), **{**HIDDEN, "bound": False}) for at in (0, 1)]
    assert codes(judged(world, unsigned, 2, proof=alone)) == {"context-not-bound"}


def test_one_number_counts_once_however_often_it_is_proven(world: World) -> None:
    bundles = batch(world, [1])
    bundles += [world.bundle(f"again{at}", 1, context=context(0), created=NOW - timedelta(hours=at), **HIDDEN) for at in (1, 2)]
    verdict = judged(world, bundles, 2)
    assert (verdict.status, codes(verdict)) == (3, {"too-few-inferences"})


def test_two_answers_to_one_question_fail_both(world: World) -> None:
    bundles = [*batch(world, [1, 2]), world.bundle("second-try", 5, context=context(0), **HIDDEN)]
    verdict = judged(world, bundles, 2)
    assert (verdict.status, codes(verdict)) == (3, {"context-repeated"})
    told = {Path(one.judgement.path).name for one in verdict.bundles if not one.accepted}
    assert told == {"b0", "second-try"}
    rest = waiver("context-repeated", f"model:{world.pin}")
    assert "waiver-malformed" in codes(judged(world, bundles, 2, rest=rest)), "no waiver lifts it"


def test_a_public_input_under_two_contexts_is_one_inference(world: World) -> None:
    verdict = judged(world, batch(world, [4, 4], private_input=False), 2)
    assert (verdict.status, codes(verdict)) == (3, {"too-few-inferences"})
    assert judged(world, [*batch(World(world.folder / "w"), [4, 5], private_input=False)], 2).passed


def test_openings_and_hiding_roots_make_no_second_answer(world: World) -> None:
    openings = [CommitmentOpening("weights", Sha256("a" * 64), number, 16) for number in (1, 2)]
    bundles = [world.bundle(f"o{at}", 1, context=context(0), openings=[one], **HIDDEN) for at, one in enumerate(openings)]
    assert codes(judged(world, bundles, 2)) == {"too-few-inferences"}


def test_a_forged_proof_counts_for_no_number(world: World) -> None:
    bundles = [*batch(world, [1]), world.bundle("forged", 2, context=context(1), forged=True, **HIDDEN)]
    assert judged(world, bundles, 2).status == 1


@pytest.mark.parametrize(
    ("proof", "field"),
    [
        ('distinct = "contexts"', "distinct"),
        ("context_numbers = 5", "context_numbers"),
        ('contexts = "release-7"', "contexts"),
        ('contexts = "#"', "contexts"),
        ('contexts = ""', "contexts"),
        ('contexts = "release-7##"', "contexts"),
        ('contexts = "r#"\ncontext = "r"', "contexts"),
        ('contexts = "r#"\ndistinct = "inputs"', "distinct"),
        ('contexts = "r#"\ndistinct = "contexts"\ninferences = 3\ncontext_numbers = 2', "context_numbers"),
        ('contexts = "r#"\ncontext_numbers = 1000001', "context_numbers"),
        ('contexts = "r#"\ndistinct = "contexts"\nengines = ["ezkl", "sumcheck"]', "distinct"),
    ],
)
def test_a_policy_that_would_count_what_the_prover_chose_is_refused(world: World, proof: str, field: str) -> None:
    world.sections[EngineName.SUMCHECK] = section(srs="none")
    with pytest.raises(UsageError) as caught:
        load_policy(world.policy(proof=proof))
    assert caught.value.code == "bad-policy"
    assert caught.value.where.endswith(f"model[0].proof.{field}")


# --- what is counted, and what is said about it


def test_one_input_under_every_number_is_counted_and_told(world: World) -> None:
    """Nothing that a private proof shows could tell this from honest work: so it is said, in figures, beside the verdict."""
    verdict = judged(world, batch(world, [1, 1, 1]), 3)
    assert verdict.passed
    (told,) = [one for one in verdict.models[0].findings if one.code == "inputs-not-told-apart"]
    assert told.outcome is Outcome.NOT_CHECKED
    assert "3 contexts, 1 distinct statements" in told.message
    assert "hidden inputs may be the same" in summary(verdict)


def test_statements_that_show_their_inputs_leave_nothing_open(world: World) -> None:
    verdict = judged(world, batch(world, [1, 2], private_input=False), 2)
    assert verdict.passed
    assert "inputs-not-told-apart" not in {one.code for one in verdict.all_findings()}
    assert "may be the same" not in summary(verdict)


def test_fewer_answers_than_numbers_pass_where_the_policy_says_so(world: World) -> None:
    bundles = batch(world, [1, 1, 1, 1])
    proof = COUNTED + "context_numbers = 4\n"
    assert judged(world, [bundles[0], bundles[3]], 2, proof).passed
    assert codes(judged(world, bundles[:1], 2, proof)) == {"too-few-inferences"}


def test_the_policy_in_words_says_what_is_not_shown(world: World) -> None:
    loaded = load_policy(world.policy(proof="inferences = 200\n" + COUNTED))
    text = "\n".join(explain_policy(loaded.policy, loaded.pins, loaded.digest, NOW))
    assert "'release-7#000000' to 'release-7#000199', bound by the proof itself" in text
    assert "does not show that hidden inputs differ" in text
    assert "--context-per-sample release-7`." in text
    demand = loaded.policy.models[0].proof
    assert demand is not None and demand.contexts is not None
    assert not replace(demand, contexts=replace(demand.contexts, counts=False)).by_context
