"""A signed verdict, taken for what it is: who signed it, what it let through, by which policy."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.gate_world import ALICE, GATE_KEY, MALLORY, World, fake_engines
from verifai.bundle import canonical
from verifai.bundle.archive import pack
from verifai.cli import app as cli
from verifai.errors import EvidenceRejected, UsageError
from verifai.stages.gate.verdict import judge_verdict, read_verdict
from verifai.trust_file import TrustFile, read_trust

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")
NOW = datetime.now(UTC).replace(microsecond=0)
"""When this module was read. Verdicts are made later, by the clock: a suite takes minutes."""


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def verdict(world: World, key: object = GATE_KEY, *, forged: bool = False, name: str = "verdict") -> tuple[Path, Path, Path]:
    bundle, policy = world.bundle(f"a-{name}", created=NOW, forged=forged), world.policy()
    written = key.write(world.folder / f"{name}.key")  # type: ignore[attr-defined]
    status = cli.run(
        ["gate", str(bundle), "--policy", str(policy), "--attest", str(world.folder / name), "--key", str(written)]
    )
    assert status == (1 if forged else 0)
    return world.folder / name, bundle, Path(policy)


def trust(world: World, role: str = "gate", extra: str = "") -> TrustFile:
    path = world.folder / "gate-trust.toml"
    path.write_text(
        f'schema = "verifai/trust/v1"\n[keys]\ngate = "{GATE_KEY.public_key}"\nalice = "{ALICE.public_key}"\n'
        f'[roles.{role}]\nkeys = ["gate"]\n{extra}'
    )
    return read_trust(path)


def codes(world: World, path: Path, **more: object) -> dict[str, str]:
    found = judge_verdict(path, more.pop("trust", None) or trust(world), datetime.now(UTC), **more).findings  # type: ignore[arg-type]
    return {one.code: one.outcome.value for one in found}


def test_a_verdict_holds_for_its_policy_and_its_bundles(world: World) -> None:
    path, bundle, policy = verdict(world)
    found = codes(world, path, policy=policy, bundles=[bundle])
    assert set(found) == {"signed", "verdict-passed", "fresh", "verdict-policy", "verdict-bundle"}
    assert set(found.values()) == {"holds"}
    assert read_verdict(path).signers == (GATE_KEY.public_key.keyid,)


def test_who_is_not_named_as_gate_signs_no_verdict(world: World) -> None:
    path, _, _ = verdict(world, MALLORY, name="other")
    assert codes(world, path)["below-threshold"] == "policy-not-met"
    with pytest.raises(UsageError, match="nobody whose verdicts count"):
        judge_verdict(path, trust(world, role="release"), datetime.now(UTC))


def test_a_verdict_that_failed_is_none_that_passed(world: World) -> None:
    path, _, _ = verdict(world, forged=True, name="failed")
    assert codes(world, path)["verdict-failed"] == "policy-not-met"


def test_a_bundle_that_was_not_judged_and_another_policy_are_told(world: World) -> None:
    path, _, policy = verdict(world)
    other = world.bundle("another", created=NOW - timedelta(hours=1))
    assert codes(world, path, bundles=[other])["verdict-other-bundle"] == "policy-not-met"
    policy.write_text(policy.read_text() + "\n# changed\n")
    assert codes(world, path, policy=policy)["verdict-other-policy"] == "policy-not-met"


def test_an_old_verdict_is_stale_and_one_of_tomorrow_is_false(world: World) -> None:
    path, _, _ = verdict(world)
    aged = trust(world, extra="[freshness]\nmaximum_age_days = 1\n")
    later = judge_verdict(path, aged, datetime.now(UTC) + timedelta(days=3))
    assert "stale" in {one.code for one in later.findings}
    before = judge_verdict(path, aged, datetime.now(UTC) - timedelta(days=3))
    assert "from-the-future" in {one.code for one in before.findings}


def test_a_verdict_that_is_not_on_the_log_asked_for_is_told(world: World) -> None:
    path, _, _ = verdict(world)
    log = f'[log]\norigin = "example.org/log"\nkey = "{ALICE.public_key}"\n'
    assert codes(world, path, trust=trust(world, extra=log))["not-logged"] == "policy-not-met"


def test_a_false_signature_of_a_trusted_key_on_the_manifest_is_refused(world: World) -> None:
    """Only the verdict has to be signed; but what is forged beside it is not passed over."""
    path, _, _ = verdict(world)
    manifest = path / "bundle.dsse.json"
    envelope = json.loads(manifest.read_bytes())
    (signature,) = envelope["signatures"]
    data = bytearray(base64.b64decode(signature["sig"]))
    data[5] ^= 1
    signature["sig"] = base64.b64encode(data).decode()
    manifest.write_bytes(canonical.encode(envelope))
    assert codes(world, path)["signature-invalid"] == "rejected"


def test_a_changed_verdict_and_a_bundle_without_one_are_refused(world: World, tmp_path: Path) -> None:
    path, bundle, _ = verdict(world)
    with pytest.raises(EvidenceRejected, match="0 verdicts"):
        read_verdict(bundle)
    packed = tmp_path / "v.vbundle"
    pack(path, packed)
    data = bytearray(packed.read_bytes())
    data[len(data) // 3] ^= 1
    packed.write_bytes(bytes(data))
    with pytest.raises(EvidenceRejected):
        read_verdict(packed)
