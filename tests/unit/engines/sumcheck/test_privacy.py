"""What the sumcheck engine says that it can hide: the suite of this tree decides; costs are measured, or called an aim."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.sumcheck_models import small_cnn
from tests.unit.engines.sumcheck.test_engine import spec_of
from verifai.domain.circuit_spec import AskedPrivacy, CircuitSpec
from verifai.domain.statement import Privacy, Visibility, WeightVisibility
from verifai.engines.sumcheck import privacy
from verifai.engines.sumcheck.privacy import privacy_support

PRIVATE, HASHED = Visibility.PRIVATE, Visibility.HASHED


def asked(weights: WeightVisibility = WeightVisibility.PUBLIC, **tensors: Visibility) -> CircuitSpec:
    return spec_of(small_cnn(), weights, **tensors)


ASKS = {
    "a private input": asked(x=PRIVATE),
    "private weights": asked(WeightVisibility.PRIVATE),
    "the level alone": replace(asked(), privacy=AskedPrivacy.ZERO_KNOWLEDGE),
    "the level, with everything hidden": replace(
        asked(WeightVisibility.PRIVATE, x=HASHED), privacy=AskedPrivacy.ZERO_KNOWLEDGE
    ),
}


def test_weights_that_are_bound_but_not_hidden_are_not_for_the_suite_that_hides() -> None:
    support = privacy_support(replace(asked(WeightVisibility.COMMITTED), privacy=AskedPrivacy.ZERO_KNOWLEDGE))
    assert not support.offered and '"private"' in support.reason and "ledger" in support.reason and support.cost == ""


def test_weights_are_never_withheld() -> None:
    for spec in (asked(WeightVisibility.WITHHELD), asked(WeightVisibility.WITHHELD, x=PRIVATE)):
        support = privacy_support(spec)
        assert not support.offered and '"private"' in support.reason and '"committed"' in support.reason


def test_who_does_not_ask_gets_the_faster_suite_and_is_told_that_nothing_is_hidden() -> None:
    support = privacy_support(asked(WeightVisibility.COMMITTED, x=HASHED))
    assert (support.offered, support.level) == (True, Privacy.INTEGRITY_ONLY)
    assert support.reason.startswith("The proof hides nothing.")
    assert support.reason.count("not hidden") == 2


@pytest.mark.parametrize("what", ASKS)
def test_it_is_offered_as_unaudited(what: str) -> None:
    support = privacy_support(ASKS[what])
    assert (support.offered, support.level) == (True, Privacy.ZERO_KNOWLEDGE_UNAUDITED)
    assert "sumcheck-zk/2" in support.reason and "more proof bytes" in support.cost
    weights = ASKS[what].weights
    assert ("ledger" in support.cost) == (weights is WeightVisibility.PRIVATE)
    assert ("hiding commitment" in support.reason) == (weights is WeightVisibility.PRIVATE)
    assert ("lack the seed" in support.reason) == (HASHED in ASKS[what].tensors.values())


def test_a_cost_that_nobody_measured_is_called_an_aim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(privacy, "ZK_COST_FACTOR_MEASURED", None)
    assert "aimed at 1.5 ×" in privacy_support(ASKS["a private input"]).cost
    monkeypatch.setattr(privacy, "ZK_COST_FACTOR_MEASURED", 1.75)
    measured = privacy_support(ASKS["a private input"]).cost
    assert "about 1.75 ×" in measured and "verifai bench" in measured and "aimed" not in measured
