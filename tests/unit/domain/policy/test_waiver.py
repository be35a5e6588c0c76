"""Waivers: narrow, dated, tallied apart; anything else about them makes the gate fail instead of helping."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.gate_world import ALICE, NOW, World, codes, fake_engines, section, waiver
from verifai.bundle.reader import open_bundle
from verifai.domain.findings import Outcome
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.policy.waiver import WAIVABLE
from verifai.domain.statement import EngineName
from verifai.errors import UsageError

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")

OLD = NOW - timedelta(days=60)
GOOD = "bundle:" + "0" * 64


def identifier(bundle: Path) -> str:
    with open_bundle(bundle) as opened:
        return opened.bundle_id


def stale(world: World, waivers: str, *, name: str = "a", forged: bool = False) -> GateVerdict:
    """A stale bundle under a policy that limits age and holds ``waivers``."""
    top = world.trust({"prover": ([ALICE], 1)})
    bundle = world.folder / name
    if not bundle.exists():
        world.bundle(name, signers=[ALICE], created=OLD, forged=forged)
    return world.judge(world.policy(top=top, model='max_age = "30d"', rest=waivers), bundle)


def fresh(world: World, waivers: str) -> GateVerdict:
    return world.judge(world.policy(rest=waivers), world.bundle("fresh"))


def _scope(world: World) -> str:
    world.bundle("a", signers=[ALICE], created=OLD)
    return f"bundle:{identifier(world.folder / 'a')}"


def test_a_waiver_lifts_its_finding_on_its_bundle_and_is_tallied_apart(tmp_path: Path) -> None:
    world = World(tmp_path)
    verdict = stale(world, waiver("stale", _scope(world)))
    assert verdict.status == 0
    (waived,) = verdict.all_waived()
    assert (waived.finding.code, waived.waiver.id) == ("stale", "W-1")
    assert not [finding for finding in verdict.all_findings() if finding.code == "stale"]


def test_a_waiver_may_name_the_model_instead(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert stale(world, waiver("stale", f"model:{world.pin}")).status == 0


@pytest.mark.parametrize("expires", ['"2026-07-01T00:00:00Z"', "2026-07-01T00:00:00Z", "2026-07-01 00:00:00+00:00"])
def test_an_expiry_is_text_or_a_toml_time_in_utc(tmp_path: Path, expires: str) -> None:
    world = World(tmp_path)
    assert stale(world, waiver("stale", f"model:{world.pin}", expires=expires)).status == 0


MALFORMED = {
    "any code": waiver("*", GOOD),
    "a prefix of a code": waiver("st", GOOD),
    "a list of codes": waiver("stale", GOOD).replace('code = "stale"', 'code = ["stale", "unsigned"]'),
    "a proof that does not hold": waiver("proof-invalid", GOOD),
    "another model": waiver("model-not-pinned", GOOD),
    "missing evidence": waiver("evidence-missing", GOOD),
    "a malformed waiver": waiver("waiver-malformed", GOOD),
    "no date at all": waiver("stale", GOOD).replace('expires = "2026-07-01T00:00:00Z"\n', ""),
    "a word for a date": waiver("stale", GOOD, expires='"never"'),
    "no such month": waiver("stale", GOOD, expires='"2026-13-01T00:00:00Z"'),
    "no such day": waiver("stale", GOOD, expires='"2026-06-31T00:00:00Z"'),
    "a date without a time": waiver("stale", GOOD, expires='"2026-07-01"'),
    "a TOML date": waiver("stale", GOOD, expires="2026-07-01"),
    "a time without a zone": waiver("stale", GOOD, expires="2026-07-01T00:00:00"),
    "a time in another zone": waiver("stale", GOOD, expires="2026-07-01T00:00:00+02:00"),
    "a zone as text": waiver("stale", GOOD, expires='"2026-07-01T00:00:00+02:00"'),
    "fractions of seconds": waiver("stale", GOOD, expires="2026-07-01T00:00:00.5Z"),
    "a number": waiver("stale", GOOD, expires="1782864000"),
    "any scope": waiver("stale", "*"),
    "any bundle": waiver("stale", "bundle:*"),
    "a shortened digest": waiver("stale", "bundle:0000"),
    "an upper-case digest": waiver("stale", "bundle:" + "A" * 64),
    "a digest and more": waiver("stale", GOOD + "\\nbundle:" + "1" * 64),
    "another kind of scope": waiver("stale", "signer:" + "0" * 64),
    "no kind of scope": waiver("stale", "0" * 64),
    "a list of scopes": waiver("stale", GOOD).replace(f'scope = "{GOOD}"', f'scope = ["{GOOD}"]'),
    "no reason": waiver("stale", GOOD, reason=""),
    "blanks for a reason": waiver("stale", GOOD, reason=" " * 40),
    "a reason too short to be one": waiver("stale", GOOD, reason="because"),
    "nobody": waiver("stale", GOOD, approver=" "),
    "an approver with control characters": waiver("stale", GOOD, approver="alice\\u202e@example.org"),
    "an approver who may not": '[waivers]\napprovers = ["bob@example.org"]\n' + waiver("stale", GOOD),
    "a nameless waiver": waiver("stale", GOOD, identifier=""),
    "a name with a line break": waiver("stale", GOOD, identifier="W\\n1"),
    "a field that waivers do not have": waiver("stale", GOOD) + 'severity = "low"\n',
    "one name for two": waiver("stale", GOOD) + waiver("unsigned", GOOD),
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_waiver_waives_nothing_and_fails_the_gate(text: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    real = _scope(world)
    verdict = stale(world, text.replace(GOOD, real))
    assert verdict.status == 3
    assert "waiver-malformed" in codes(verdict)
    if text != MALFORMED["one name for two"]:  # there the first one is well-formed, and holds
        assert "stale" in codes(verdict)
        assert not verdict.all_waived()
    verdict = fresh(world, text.replace(GOOD, real))
    assert (verdict.status, codes(verdict)) == (3, {"waiver-malformed"})


EXPIRED = {
    "long ago": '"2020-01-01T00:00:00Z"',
    "this very second": '"2026-06-15T12:00:00Z"',
}


@pytest.mark.parametrize("expires", EXPIRED.values(), ids=EXPIRED)
def test_an_expired_waiver_waives_nothing_and_fails_the_gate(expires: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    text = waiver("stale", _scope(world), expires=expires)
    assert (stale(world, text).status, codes(stale(world, text))) == (3, {"stale", "waiver-expired"})
    verdict = fresh(world, text)
    assert (verdict.status, codes(verdict)) == (3, {"waiver-expired"}), "also where nothing needs it: its date was a promise"


@pytest.mark.parametrize("expires", ['"2026-09-14T00:00:00Z"', '"9999-12-31T23:59:59Z"'])
def test_a_waiver_that_reaches_too_far_ahead_waives_nothing(expires: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    verdict = stale(world, waiver("stale", _scope(world), expires=expires))
    assert (verdict.status, codes(verdict)) == (3, {"stale", "waiver-too-broad"})


def test_a_policy_may_allow_less_time_and_not_more_than_a_year(tmp_path: Path) -> None:
    world = World(tmp_path)
    scope = _scope(world)
    verdict = stale(world, "[waivers]\nmax_days = 3\n" + waiver("stale", scope))
    assert codes(verdict) == {"stale", "waiver-too-broad"}
    with pytest.raises(UsageError) as caught:
        stale(world, "[waivers]\nmax_days = 5000\n" + waiver("stale", scope))
    assert caught.value.code == "bad-policy"


def test_a_listed_approver_may(tmp_path: Path) -> None:
    world = World(tmp_path)
    rules = '[waivers]\napprovers = ["bob@example.org", "alice@example.org"]\n'
    assert stale(world, rules + waiver("stale", _scope(world))).status == 0


def test_a_waiver_for_another_bundle_or_model_does_not_help(tmp_path: Path) -> None:
    world = World(tmp_path)
    for scope in (GOOD, "model:" + "0" * 64, f"bundle:{world.pin}"):
        assert codes(stale(world, waiver("stale", scope))) == {"stale"}


def test_a_waiver_for_another_finding_does_not_help(tmp_path: Path) -> None:
    world = World(tmp_path)
    assert codes(stale(world, waiver("unsigned", _scope(world)))) == {"stale"}


def test_false_evidence_stays_false_whatever_is_waived(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.bundle("a", signers=[ALICE], created=OLD, forged=True)
    every = "".join(
        waiver(code, f"model:{world.pin}", identifier=f"W-{number}") for number, code in enumerate(sorted(WAIVABLE))
    )
    verdict = stale(world, every)
    assert verdict.status == 1
    assert "proof-invalid" in codes(verdict)


def test_what_could_not_be_checked_stays_unchecked_whatever_is_waived(tmp_path: Path) -> None:
    """Waiving the engine must not let a proof pass that no lock could check."""
    world = World(tmp_path)
    policy = world.policy(rest=waiver("engine-not-allowed", f"model:{world.pin}"))
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    verdict = world.judge(policy, world.bundle("a", engine=EngineName.SUMCHECK))
    assert (verdict.status, codes(verdict)) == (1, {"circuit-not-pinned"})


def test_a_waived_engine_counts_once_its_proof_was_checked(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.sections[EngineName.SUMCHECK] = section("s", srs="none")
    policy = world.policy(rest=waiver("engine-not-allowed", f"model:{world.pin}"))
    assert world.judge(policy, world.bundle("a", engine=EngineName.SUMCHECK)).status == 0


def test_no_number_of_waivers_makes_evidence_out_of_none(tmp_path: Path) -> None:
    world = World(tmp_path)
    other = World(tmp_path / "other", model=b"another model")
    every = "".join(
        waiver(code, f"model:{world.pin}", identifier=f"W-{number}") for number, code in enumerate(sorted(WAIVABLE))
    )
    assert world.judge(world.policy(rest=every), other.bundle("a")).status == 1


def test_too_few_inferences_can_be_waived_but_none_cannot(tmp_path: Path) -> None:
    world = World(tmp_path)
    text = waiver("too-few-inferences", f"model:{world.pin}")
    verdict = world.judge(world.policy(proof="inferences = 5", rest=text), world.bundle("a"))
    assert verdict.status == 0
    assert verdict.models[0].outcome is Outcome.HOLDS


def test_hundreds_of_waivers_are_no_policy(tmp_path: Path) -> None:
    world = World(tmp_path)
    many = "".join(waiver("stale", GOOD, identifier=f"W-{number}") for number in range(257))
    with pytest.raises(UsageError):
        fresh(world, many)


def test_codes_that_can_be_waived_are_demands_that_genuine_evidence_misses() -> None:
    from verifai.domain.codes import all_codes

    known = all_codes()
    for code in WAIVABLE:
        if code in known:
            assert 1 not in known[code].statuses, code
            assert 4 not in known[code].statuses, code
    assert not WAIVABLE & {"evidence-missing", "no-proof", "from-the-future", "gate-refused", "trust-expired"}
