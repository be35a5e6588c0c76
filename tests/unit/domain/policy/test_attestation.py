"""A verdict as evidence: what it says, who must have signed it, and what the next gate makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.gate_world import ALICE, GATE_KEY, LOG_KEY, MALLORY, NOW, Key, World, codes, fake_engines, waiver
from verifai.bundle import canonical
from verifai.bundle.dsse import attest
from verifai.bundle.log import create_log
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.domain.attestation.envelope import Envelope, Subject, statement_document
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.digest import sha256
from verifai.domain.policy.attestation import GateInput, GatePredicate, VerificationResult
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.utc_time import format_utc
from verifai.errors import EvidenceRejected, UsageError
from verifai.stages.gate.attest import attest_verdict
from verifai.stages.gate.load import load_policy

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")


def first_gate(
    world: World, name: str = "verdict", *, signers: Sequence[Key] = (GATE_KEY,), logged: bool = False, **policy: str
) -> tuple[Path, GateVerdict]:
    """Gate one bundle and attest the verdict."""
    policy_path = world.policy(**policy)
    bundle = world.folder / "a"
    verdict = world.judge(policy_path, bundle if bundle.exists() else world.bundle("a"))
    log = world.folder / "log.db"
    if logged:
        create_log(log, origin="example.org/log", key=LOG_KEY.public_key)
    attest_verdict(
        load_policy(policy_path),
        verdict,
        world.folder / name,
        report=b"{}\n",
        version="0.1.0",
        signers=signers,
        log=log if logged else None,
        log_signer=LOG_KEY if logged else None,
    )
    return world.folder / name, verdict


def second_gate(world: World, bundle: Path, policy: str, *, more: str = "", model: str = "", log: str = "") -> GateVerdict:
    """A gate that asks for the verdict of the first, and for nothing else."""
    top = world.trust({"gate": ([GATE_KEY, ALICE], 1)}, log=log)
    path = world.folder / "second.toml"
    path.write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = ["gate"]\n{model}\n'
        f'[model.gate]\npolicies = ["{policy}"]\n{more}\n'
    )
    return world.judge(path, bundle)


def test_a_verdict_is_shaped_like_a_verification_summary(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle, verdict = first_gate(world)
    with open_bundle(bundle) as opened, open_bundle(tmp_path / "a") as judged:
        (gate,) = opened.of_type(GatePredicate.TYPE)
        assert (opened.payload["policy.toml"].read_bytes(), gate.subjects[0].sha256) == (
            (tmp_path / "verifai.toml").read_bytes(),
            world.pin,
        )
        document = dict(gate.predicate.to_json())
        assert document == {
            "verifier": {"id": "urn:verifai:gate", "version": "0.1.0"},
            "timeVerified": format_utc(NOW),
            "policy": {"name": "release", "digest": {"sha256": verdict.policy_sha256}},
            "inputAttestations": [{"digest": {"sha256": judged.bundle_id}, "outcome": "holds"}],
            "unreadableInputs": 0,
            "verificationResult": "PASSED",
            "verifiedLevels": ["VERIFAI_PROOF", "VERIFAI_SRS_CEREMONY", "VERIFAI_ZERO_KNOWLEDGE"],
            "waivers": [],
        }
        assert opened.check_signatures([GATE_KEY.public_key]).signers == {GATE_KEY.public_key}


def test_the_next_gate_accepts_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle, verdict = first_gate(world)
    assert second_gate(world, bundle, verdict.policy_sha256).status == 0


def test_a_verdict_nobody_signs_is_not_written(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(UsageError):
        first_gate(world, signers=())
    assert not (tmp_path / "verdict").exists()


def test_a_refusal_is_attested_too_and_does_not_pass_the_next_gate(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.bundle("a", forged=True)
    bundle, verdict = first_gate(world)
    assert verdict.status == 1
    assert codes(second_gate(world, bundle, verdict.policy_sha256)) == {"gate-refused"}


def test_a_verdict_by_a_stranger_does_not_count(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle, verdict = first_gate(world, signers=[MALLORY])
    result = second_gate(world, bundle, verdict.policy_sha256)
    assert (result.status, codes(result)) == (3, {"below-threshold"})


def test_one_key_is_one_signature(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle, verdict = first_gate(world, signers=[GATE_KEY, GATE_KEY])
    assert codes(second_gate(world, bundle, verdict.policy_sha256, more="signatures = 2")) == {"below-threshold"}


def test_a_verdict_under_a_weaker_policy_does_not_count(tmp_path: Path) -> None:
    world = World(tmp_path)
    _, strict = first_gate(world, "strict", fidelity="top1_agreement = 0.9")
    weak, _ = first_gate(world, "weak")
    assert codes(second_gate(world, weak, strict.policy_sha256)) == {"gate-policy-unknown"}


def test_a_verdict_that_rests_on_waivers_counts_only_where_the_policy_says_so(tmp_path: Path) -> None:
    world = World(tmp_path)
    text = waiver("too-few-inferences", f"model:{world.pin}")
    bundle, verdict = first_gate(world, proof="inferences = 9", rest=text)
    assert verdict.status == 0
    assert codes(second_gate(world, bundle, verdict.policy_sha256)) == {"gate-with-waivers"}
    assert second_gate(world, bundle, verdict.policy_sha256, more="waivers = true").status == 0


def test_a_verdict_about_another_model_does_not_count(tmp_path: Path) -> None:
    other = World(tmp_path / "other", model=b"another model")
    other.folder.mkdir()
    bundle, verdict = first_gate(other)
    world = World(tmp_path)
    world.write_lock()
    assert codes(second_gate(world, bundle, verdict.policy_sha256)) == {"model-not-pinned"}


def test_a_verdict_speaks_for_every_model_that_it_names(tmp_path: Path) -> None:
    """Two models in one policy; the next gate asks about both, or about one, and a third model gets nothing out of it."""
    one, two, three = (World(tmp_path / name, model=name.encode()) for name in ("one", "two", "three"))
    for world in (one, two, three):
        world.folder.mkdir()
        world.write_lock()

    def policy(name: str, worlds: Sequence[World], kind: str, rest: str, top: str = "") -> Path:
        tables = "".join(
            f'[[model]]\nname = "{world.folder.name}"\nlock = "{world.folder.name}/circuit.lock"\n'
            f'evidence = ["{kind}"]\n{rest}\n'
            for world in worlds
        )
        (tmp_path / name).write_text(f'schema = "verifai/policy/v1"\n{top}\n{tables}')
        return tmp_path / name

    first = policy("first.toml", (one, two), "proof", '[model.proof]\nengines = ["ezkl"]')
    verdict = one.judge(first, one.bundle("a"), two.bundle("b"))
    attest_verdict(
        load_policy(first), verdict, tmp_path / "v", report=b"{}\n", version="0.1.0", signers=[GATE_KEY]
    )  # fmt: skip
    top = World(tmp_path).trust({"gate": ([GATE_KEY], 1)})
    asked = f'[model.gate]\npolicies = ["{verdict.policy_sha256}"]'
    for worlds, status in (((one, two), 0), ((one,), 0), ((one, three), 3), ((three,), 1)):
        result = one.judge(policy("next.toml", worlds, "gate", asked, top), tmp_path / "v")
        assert result.status == status, [world.folder.name for world in worlds]
    # A waiver for one of the models must not lift what the other is asked for.
    other = f'[model.gate]\npolicies = ["{"0" * 64}"]'
    narrow = policy("next.toml", (one, two), "gate", other, top)
    narrow.write_text(narrow.read_text() + waiver("gate-policy-unknown", f"model:{one.pin}"))
    assert codes(one.judge(narrow, tmp_path / "v")) == {"gate-policy-unknown"}


def test_an_old_verdict_is_stale(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle, verdict = first_gate(world)
    path = second_gate(world, bundle, verdict.policy_sha256, model='max_age = "1d"')
    assert path.status == 0
    later = world.judge(world.folder / "second.toml", bundle, now=NOW + timedelta(days=2))
    assert codes(later) == {"stale"}


def test_the_verdict_is_on_the_log_and_the_next_gate_can_ask_for_that(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle, verdict = first_gate(world, logged=True)
    log = f'[log]\norigin = "example.org/log"\nkey = "{LOG_KEY.public_key}"'
    assert second_gate(world, bundle, verdict.policy_sha256, model="log = true", log=log).status == 0
    unlogged, verdict = first_gate(world, "unlogged")
    assert codes(second_gate(world, unlogged, verdict.policy_sha256, model="log = true", log=log)) == {"not-logged"}


def test_a_proof_does_not_stand_in_for_a_verdict(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write_lock()
    result = second_gate(world, world.bundle("a", signers=[GATE_KEY]), "0" * 64)
    assert "evidence-not-asked" in codes(result)
    assert result.status == 3


GOOD = GatePredicate(
    version="0.1.0",
    time_verified=format_utc(NOW),
    policy_name="release",
    policy=sha256(b"p"),
    inputs=(GateInput(sha256(b"a"), "holds"),),
    unreadable=0,
    result=VerificationResult.PASSED,
    levels=("L",),
    waivers=(),
)


def _forge(**changes: object) -> GatePredicate:
    from dataclasses import replace

    return replace(GOOD, **changes)  # type: ignore[arg-type]


IMPOSSIBLE = {
    "passed on a rejected bundle": _forge(inputs=(GateInput(sha256(b"a"), "rejected"),)),
    "passed on nothing": _forge(inputs=()),
    "passed with unreadable bundles": _forge(unreadable=1),
    "passed and showed nothing": _forge(levels=()),
    "failed and reached a level": _forge(result=VerificationResult.FAILED),
    "one bundle twice": _forge(inputs=(GateInput(sha256(b"a"), "holds"), GateInput(sha256(b"a"), "holds"))),
    "an outcome that there is not": _forge(inputs=(GateInput(sha256(b"a"), "splendid"),)),
    "waivers out of order": _forge(waivers=("W-2", "W-1")),
    "a time without a zone": _forge(time_verified="2026-06-15T12:00:00"),
}


@pytest.mark.parametrize("predicate", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_a_verdict_that_contradicts_itself_is_no_attestation(predicate: GatePredicate) -> None:
    envelope = Envelope(canonical.encode(statement_document((Subject("net", sha256(b"m")),), predicate)))
    with pytest.raises(EvidenceRejected):
        parse_attestation(envelope, "forged")


def test_a_verdict_survives_the_round_trip() -> None:
    assert attest(GOOD, [Subject("net", sha256(b"m"))]).predicate == GOOD


def test_two_verdicts_in_one_bundle_are_ambiguous(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write_lock()
    subjects = [Subject("net", world.pin)]
    both = [attest(one, subjects, [GATE_KEY]) for one in (GOOD, _forge(waivers=("W-1",)))]
    write_bundle(tmp_path / "both", payload={}, attestations=both, signers=[GATE_KEY], created=format_utc(NOW))
    result = second_gate(world, tmp_path / "both", sha256(b"p"))
    assert (result.status, codes(result)) == (1, {"ambiguous-proof"})
