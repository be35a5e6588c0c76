"""What a policy asks of language models: answers, whose tokens are linked, and a perplexity near the float model's."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from verifai.domain.attestation.circuit import FidelityFigures
from verifai.domain.digest import Sha256
from verifai.domain.findings import Outcome
from verifai.domain.generation import Ending
from verifai.domain.policy.demands import FidelityDemand, PrivacyLevel, ProofDemand, SrsLevel
from verifai.domain.policy.fidelity import judge_fidelity
from verifai.domain.policy.judge import ProofFacts, judge_proof
from verifai.domain.policy.parse import parse_policy
from verifai.domain.record import Record
from verifai.domain.statement import EngineName
from verifai.errors import UsageError, VerifaiError

FIGURES = FidelityFigures(
    51,
    40,
    Fraction(1),
    Fraction(1, 9),
    0,
    positions=351,
    position_matches=348,
    perplexity=Fraction(2),
    circuit_perplexity=Fraction(2),
)
FACTS = ProofFacts(
    EngineName.SUMCHECK, Sha256("a" * 64), "", True, PrivacyLevel.INTEGRITY_ONLY, SrsLevel.TRANSPARENT, (), FIGURES, True
)
DEMAND = ProofDemand((EngineName.SUMCHECK,), privacy=PrivacyLevel.INTEGRITY_ONLY, srs=SrsLevel.TRANSPARENT, answers=True)


def codes(demand: ProofDemand, facts: ProofFacts) -> dict[str, Outcome]:
    return {one.code: one.outcome for one in judge_proof(demand, facts)}


def test_an_inference_alone_is_no_answer() -> None:
    assert codes(DEMAND, FACTS)["answer-not-shown"] is Outcome.POLICY_NOT_MET
    assert codes(DEMAND, replace(FACTS, answer=True))["answer-shown"] is Outcome.HOLDS
    assert "answer-not-shown" not in codes(replace(DEMAND, answers=False), FACTS)


def test_a_policy_may_want_answers_that_the_model_ended() -> None:
    whole = replace(DEMAND, answers_end=Ending.END_OF_TEXT)
    cut, ended = (replace(FACTS, answer=True, ending=one) for one in (Ending.MAX_TOKENS, Ending.END_OF_TEXT))
    assert codes(whole, cut)["answer-unfinished"] is Outcome.POLICY_NOT_MET
    assert "answer-unfinished" not in codes(whole, ended)
    assert "answer-unfinished" not in codes(DEMAND, cut)
    assert codes(whole, FACTS)["answer-not-shown"] is Outcome.POLICY_NOT_MET


@pytest.mark.parametrize(
    ("line", "place"),
    [('answers_end = "end-of-text"', "answers_end"), ('answers = true\nanswers_end = "never"', "answers_end")],
)
def test_an_ending_is_demanded_of_answers_alone(line: str, place: str) -> None:
    text = f"""
schema = "verifai/policy/v1"
[[model]]
name = "lm"
lock = "circuit.lock"
evidence = ["proof"]
[model.proof]
engines = ["sumcheck"]
{line}
"""
    with pytest.raises(UsageError) as caught:
        parse_policy(text.encode(), "policy.toml")
    assert caught.value.code == "bad-policy"
    assert place in caught.value.where


def test_agreement_is_of_positions() -> None:
    assert judge_fidelity(FidelityDemand(top1_agreement=0.99), FIGURES)[0].outcome is Outcome.HOLDS
    (finding,) = judge_fidelity(FidelityDemand(top1_agreement=0.995), FIGURES)
    assert finding.outcome is Outcome.POLICY_NOT_MET and "348 of 351" in finding.message


def test_perplexity_has_a_floor() -> None:
    demand = FidelityDemand(perplexity_ratio=1.005)
    assert judge_fidelity(demand, FIGURES)[0].outcome is Outcome.HOLDS
    for figures in (
        replace(FIGURES, circuit_perplexity=Fraction(202, 100)),
        replace(FIGURES, perplexity=None, circuit_perplexity=None),
    ):
        assert judge_fidelity(demand, figures)[0].code == "fidelity-below-floor"


def test_figures_are_read_back_and_fit() -> None:
    for figures in (FIGURES, replace(FIGURES, perplexity=None, circuit_perplexity=None)):
        assert FidelityFigures.from_record(Record(figures.to_json(), "figures")) == figures
    with pytest.raises(VerifaiError):
        FidelityFigures.from_record(Record({**FIGURES.to_json(), "position_matches": 352}, "figures"))


def test_a_policy_asks_for_both() -> None:
    text = """
schema = "verifai/policy/v1"
[[model]]
name = "lm"
lock = "circuit.lock"
evidence = ["proof"]
[model.proof]
engines = ["sumcheck"]
answers = true
[model.fidelity]
perplexity_ratio = 1.01
"""
    (model,) = parse_policy(text.encode(), "policy.toml").models
    assert model.proof is not None and model.proof.answers
    assert model.fidelity.perplexity_ratio == 1.01
