"""Reading policies: whatever the bytes are, the answer is a policy or one of our errors with a place; lines are right."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.gate_world import NOW
from tests.support.paths import ROOT
from verifai.bundle import canonical
from verifai.domain.attestation.circuit import FidelityFigures
from verifai.domain.attestation.envelope import Envelope, Subject, statement_document
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.digest import sha256
from verifai.domain.findings import Outcome
from verifai.domain.policy.attestation import GateInput, GatePredicate, VerificationResult
from verifai.domain.policy.demands import ConsensusDemand, EvidenceKind, FidelityDemand, GateDemand, ModelDemand, ProofDemand
from verifai.domain.policy.fidelity import judge_fidelity
from verifai.domain.policy.judge import judge_age
from verifai.domain.policy.lines import line_of
from verifai.domain.policy.parse import parse_policy
from verifai.errors import EvidenceRejected, UsageError

GOOD = """\
schema = "verifai/policy/v1"

[[model]]
name = "one"
lock = "a/circuit.lock"
evidence = ["proof"]
[model.proof]
engines = ["ezkl"]

[[model]]
name = "two"
lock = "b/circuit.lock"
evidence = ["proof"]
max_age = "30d"
  [model.proof]
  engines = [
    "sumcheck",
  ]
  srs = "transparent"
[model.fidelity]
top1_agreement = 0.9

[waivers]
max_days = 30
[[waiver]]
id = "W-1"
"""


def _parse(data: bytes) -> None:
    try:
        policy = parse_policy(data, "p.toml")
    except UsageError as problem:
        assert problem.code in ("bad-policy", "empty-policy")
        assert problem.where.startswith("p.toml")
        return
    in_force = policy.waivers.at(NOW)
    assert len(in_force.waivers) + len(in_force.findings) >= len(policy.waivers.good)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_with_a_place(data: bytes) -> None:
    _parse(data)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(0, 40), st.text(max_size=12))
def test_a_policy_with_something_cut_out_and_put_in(start: int, length: int, text: str) -> None:
    _parse((GOOD[:start] + text + GOOD[start + length :]).encode("utf-8", "surrogatepass"))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_FIELDS = ("id", "code", "scope", "reason", "approver", "expires", "extra")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(_FIELDS), _VALUES), max_size=4))
def test_waivers_of_arbitrary_values_never_become_waivers(items: list[dict[str, Any]]) -> None:
    from verifai.domain.policy.waiver import parse_waivers
    from verifai.domain.record import Record

    book = parse_waivers(Record({"waiver": items}, "policy", error=UsageError, code="bad-policy"))
    assert not book.good
    assert len(book.bad) == len(items)
    assert all(finding.outcome is Outcome.POLICY_NOT_MET for finding in book.bad)


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("schema", 'schema = "verifai/policy/v1"'),
        ("model[0].proof.engines", 'engines = ["ezkl"]'),
        ("model[1]", "[[model]]"),
        ("model[1].max_age", 'max_age = "30d"'),
        ("model[1].proof.srs", 'srs = "transparent"'),
        ("model[1].proof.engines[0]", "engines = ["),
        ("model[1].fidelity.top1_agreement", "top1_agreement = 0.9"),
        ("model[1].fidelity.not_there", "[model.fidelity]"),
        ("waivers.max_days", "max_days = 30"),
        ("waiver[0].id", 'id = "W-1"'),
    ],
)
def test_a_field_is_found_on_its_line(field: str, text: str) -> None:
    line = GOOD.splitlines()[line_of(GOOD, field) - 1].strip()
    assert line == text


def test_a_field_that_is_nowhere_has_no_line() -> None:
    assert line_of(GOOD, "nowhere") == 0


_PASSED = GatePredicate(
    version="0.1.0",
    time_verified="2026-06-15T12:00:00Z",
    policy_name="release",
    policy=sha256(b"p"),
    inputs=(GateInput(sha256(b"a"), "holds"),),
    unreadable=0,
    result=VerificationResult.PASSED,
    levels=("VERIFAI_PROOF",),
    waivers=(),
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_verdict_with_any_value_replaced_is_the_same_or_refused(data: st.DataObject) -> None:
    document: dict[str, Any] = json.loads(
        canonical.encode(statement_document((Subject("net", sha256(b"m")),), _PASSED))
    )  # fmt: skip
    before = json.dumps(document, sort_keys=True)
    place: Any = document["predicate"]
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.lists(st.integers()))
    try:
        parsed = parse_attestation(Envelope(json.dumps(document).encode()), "forged")
    except EvidenceRejected:
        return
    predicate = parsed.predicate
    assert isinstance(predicate, GatePredicate)
    if json.dumps(document, sort_keys=True) != before:
        assert predicate != _PASSED


FIGURES = FidelityFigures(100, 99, Fraction(1, 16), Fraction(1, 64), 3)


@pytest.mark.parametrize(
    ("demand", "holds"),
    [
        (FidelityDemand(top1_agreement=0.99), True),
        (FidelityDemand(top1_agreement=0.9900001), False),
        (FidelityDemand(max_abs_error=0.0625), True),
        (FidelityDemand(max_abs_error=0.0624), False),
        (FidelityDemand(samples=100), True),
        (FidelityDemand(samples=101), False),
    ],
)
def test_floors_are_compared_exactly(demand: FidelityDemand, holds: bool) -> None:
    outcomes = {finding.outcome for finding in judge_fidelity(demand, FIGURES)}
    assert outcomes == ({Outcome.HOLDS} if holds else {Outcome.POLICY_NOT_MET})


@pytest.mark.parametrize(
    ("date", "code"),
    [
        ("2026-06-15T12:05:00Z", "fresh"),
        ("2026-06-15T12:05:01Z", "from-the-future"),
        ("2026-06-14T12:00:00Z", "fresh"),
        ("2026-06-14T11:59:59Z", "stale"),
    ],
)
def test_the_limits_of_age_are_inclusive_to_the_second(date: str, code: str) -> None:
    demand = ModelDemand("net", "circuit.lock", (EvidenceKind.PROOF,), max_age_seconds=86400)
    finding = judge_age(demand, (date,), datetime(2026, 6, 15, 12, tzinfo=UTC), signers=1)
    assert finding is not None
    assert finding.code == code


def test_the_policy_in_the_manual_is_one_and_shows_every_field() -> None:
    page = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")
    example, waivers = re.findall(r"```toml\n(.*?)```", page, flags=re.S)
    text = (example + waivers).replace("<64 hex digits>", "0" * 64)
    policy = parse_policy(text.encode(), "docs/gate.md")
    assert len(policy.waivers.good) == 1
    for kind in (ModelDemand, ProofDemand, FidelityDemand, ConsensusDemand, GateDemand):
        for name in kind.__dataclass_fields__:
            word = {
                "max_age_seconds": "max_age",
                "skew_seconds": "clock_skew",
                "any_kind": "evidence_needed",
                "evaluation_proofs": "evaluation",  # one table says what is demanded of the metrics and of each proof
            }.get(name, name)
            assert re.search(rf"^{word} =|^\[model.{word}\]", text, flags=re.M), name
