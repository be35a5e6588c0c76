"""Old evidence under a new date that anybody can write: an age demand holds only for a date that somebody trusted signed.

The attacker holds old, genuine evidence and no trusted key. What carries no signature of its own (the manifest's date, the date
of a proof that nobody signed) is written anew, unsigned or under a stranger's key.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.gate_world import ALICE, GATE_KEY, MALLORY, NOW, Key, World, codes, fake_engines, waiver
from tests.tamper.test_consensus_bundle import CHAIR, VOTERS, Played
from verifai.bundle.reader import open_bundle
from verifai.bundle.trust_check import check_trust
from verifai.bundle.writer import write_bundle
from verifai.domain.findings import Outcome
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.utc_time import format_utc
from verifai.stages.gate.attest import attest_verdict
from verifai.stages.gate.load import load_policy
from verifai.trust_file import read_trust

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")

FRESHNESS = "[freshness]\nmaximum_age_days = 30"
LATER = NOW + timedelta(days=300)
STRANGERS = [(), (MALLORY,)]


def wrapped_anew(source: Path, target: Path, signers: Sequence[Key], now: datetime = LATER) -> Path:
    """The same evidence in a manifest of today."""
    with open_bundle(source) as bundle:
        attestations = list(bundle.attestations.values())
        write_bundle(target, payload=bundle.payload, attestations=attestations, created=format_utc(now), signers=signers)
    return target


def age_found(world: World, bundle: Path, now: datetime = LATER) -> set[str]:
    """What step T4 of an audit finds against."""
    trust = read_trust(world.folder / "trust.toml").trust
    with open_bundle(bundle) as opened:
        found = check_trust(opened, trust, format_utc(now))
    return {one.code for one in found if one.step == "T4" and one.outcome is not Outcome.HOLDS}


def decide_by(world: World, kind: str, bundle: Path, *, table: str, age: str = 'max_age = "30d"') -> GateVerdict:
    """A gate of today that asks for one kind of evidence, at most thirty days old, with every signature waived."""
    world.write_lock()
    waivers = "\n".join(
        waiver(code, f"model:{world.pin}", identifier=code, expires='"2027-06-01T00:00:00Z"')
        for code in ("unsigned", "below-threshold")
    )
    path = world.folder / "next.toml"
    path.write_text(
        f'schema = "verifai/policy/v1"\ntrust = "trust.toml"\n[[model]]\nname = "net"\nlock = "circuit.lock"\n'
        f'evidence = ["{kind}"]\n{age}\n[model.{kind}]\n{table}\n{waivers}\n'
    )
    return world.judge(path, bundle, now=LATER)


# Proofs.


@pytest.mark.parametrize("signers", STRANGERS)
@pytest.mark.parametrize("roles", [{}, {"gate": ([GATE_KEY], 1)}, {"release": ([ALICE], 1)}, {"prover": ([ALICE], 1)}])
def test_a_proof_whose_date_nobody_trusted_signed_is_not_fresh(
    roles: dict[str, tuple[list[Key], int]], signers: tuple[Key, ...], tmp_path: Path
) -> None:
    """Also where the trust file names no role that would ask for a signature."""
    world = World(tmp_path)
    world.trust(roles, rest=f'{FRESHNESS}\n[circuits.net]\nlock = "circuit.lock"')
    assert age_found(world, world.bundle("redated", signers=signers, created=LATER)) == {"date-not-signed"}


def test_a_proof_under_a_trusted_signature_is_fresh_until_it_is_old(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.trust({"release": ([ALICE], 1)}, rest=FRESHNESS)
    bundle = world.bundle("signed", signers=[ALICE], created=NOW)
    assert age_found(world, bundle, NOW) == set()
    assert age_found(world, bundle, LATER) == {"stale"}


# Gate verdicts.


def old_verdict(world: World) -> tuple[Path, str]:
    verdict = world.judge(world.policy(), world.bundle("a"))
    loaded = load_policy(world.folder / "verifai.toml")
    attest_verdict(loaded, verdict, world.folder / "verdict", report=b"{}\n", version="0.1.0", signers=[GATE_KEY])
    return world.folder / "verdict", verdict.policy_sha256


@pytest.mark.parametrize("signers", STRANGERS)
def test_an_old_gate_verdict_does_not_become_young_in_a_new_manifest(signers: tuple[Key, ...], tmp_path: Path) -> None:
    world = World(tmp_path)
    old, policy = old_verdict(world)
    world.trust({"gate": ([GATE_KEY], 1)}, rest=FRESHNESS)
    again = wrapped_anew(old, tmp_path / "again", signers)
    assert age_found(world, again) == {"stale"}
    for age in ('max_age = "30d"', ""):  # the policy's demand, and the trust file's alone
        verdict = decide_by(world, "gate", again, table=f'policies = ["{policy}"]', age=age)
        assert (verdict.status, "stale" in codes(verdict)) == (3, True)


def test_a_gate_verdict_of_the_future_is_false(tmp_path: Path) -> None:
    world = World(tmp_path)
    old, _ = old_verdict(world)
    world.trust({"gate": ([GATE_KEY], 1)})
    assert age_found(world, old, NOW - timedelta(days=1)) == {"from-the-future"}


# Decisions of verifiers.


@pytest.mark.parametrize("signers", STRANGERS)
@pytest.mark.parametrize("age", ['max_age = "30d"', ""])
def test_an_old_decision_with_another_date_is_not_fresh(signers: tuple[Key, ...], age: str, tmp_path: Path) -> None:
    """The round's deadline lies far ahead, so that it shows no age; only the manifest's date could."""
    world = World(tmp_path)
    played = Played(world, until="2029-01-01T00:00:00Z", deadline=LATER + timedelta(days=1))
    written, _ = played.write()
    world.trust({"voter": (VOTERS, 1), "consensus": ([CHAIR], 1)}, rest=FRESHNESS if not age else "")
    again = wrapped_anew(written.path, tmp_path / "again", signers)
    if not age:
        assert age_found(world, again) == {"date-not-signed"}
    verdict = decide_by(world, "consensus", again, table="verifiers = 3\nenvironments = 2", age=age)
    assert (verdict.status, codes(verdict)) == (3, {"date-not-signed"})


def test_a_decision_whose_manifest_a_trusted_key_signed_is_as_old_as_it_says(tmp_path: Path) -> None:
    world = World(tmp_path)
    played = Played(world, until="2029-01-01T00:00:00Z", deadline=LATER + timedelta(days=1))
    written, _ = played.write()
    world.trust({"voter": (VOTERS, 1), "consensus": ([CHAIR], 1)})
    table = "verifiers = 3\nenvironments = 2"
    assert codes(decide_by(world, "consensus", written.path, table=table)) == {"stale"}
    fresh = wrapped_anew(written.path, tmp_path / "signed", [CHAIR])
    assert decide_by(world, "consensus", fresh, table=table).status == 0


def test_a_decision_is_not_younger_than_the_deadline_of_its_round(tmp_path: Path) -> None:
    """Whoever signs a new manifest around it: the trusted terms say when voting was over."""
    world = World(tmp_path)
    written, _ = Played(world, until="2029-01-01T00:00:00Z").write()
    world.trust({"voter": (VOTERS, 1), "consensus": ([CHAIR], 1)}, rest=FRESHNESS)
    assert age_found(world, wrapped_anew(written.path, tmp_path / "again", [CHAIR])) == {"stale"}
