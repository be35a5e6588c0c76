"""Ways around a policy that its author did not mean to open."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.gate_world import (
    ALICE,
    BOB,
    GATE_KEY,
    LOG_KEY,
    MALLORY,
    NOW,
    Key,
    World,
    codes,
    fake_engines,
    section,
    waiver,
)
from verifai.bundle.log import create_log, open_log
from verifai.bundle.log_check import CHECKPOINT_FILE, proof_file
from verifai.bundle.reader import open_bundle
from verifai.domain.codes import all_codes
from verifai.domain.digest import sha256
from verifai.domain.policy.waiver import COSTS, WAIVABLE, Claim
from verifai.domain.policy.words import explain_policy
from verifai.domain.statement import EngineName
from verifai.errors import UsageError
from verifai.stages.gate.attest import attest_verdict
from verifai.stages.gate.load import load_policy

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")


def _second_policy(world: World, digest: str, rest: str) -> Path:
    top = world.trust({"gate": ([GATE_KEY], 1), "release": ([ALICE], 1)})
    path = world.folder / "second.toml"
    path.write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = ["gate"]\n'
        f'[model.gate]\npolicies = ["{digest}"]\n{rest}\n'
    )
    return path


@pytest.mark.parametrize(("key", "status"), [(GATE_KEY, 0), (MALLORY, 4)])
def test_a_waived_threshold_does_not_make_a_strangers_verdict_evidence(tmp_path: Path, key: object, status: int) -> None:
    """Waiving a missing release signature must not let anybody at all write the verdict."""
    world = World(tmp_path)
    policy = world.policy()
    verdict = world.judge(policy, world.bundle("a"))
    attest_verdict(load_policy(policy), verdict, tmp_path / "verdict", report=b"{}\n", version="0.1.0", signers=[key])  # type: ignore[list-item]
    waived = waiver("below-threshold", f"model:{world.pin}")
    result = world.judge(_second_policy(world, verdict.policy_sha256, waived), tmp_path / "verdict")
    assert result.status == status
    assert codes(result) == ({"nothing-to-check"} if status else set())


@pytest.mark.parametrize("lock", ["circuit.lock", ".", "copy.lock"])
@pytest.mark.parametrize("named", ["net", "other"])
def test_a_lock_that_the_trust_file_pins_is_that_file_however_it_is_named(tmp_path: Path, lock: str, named: str) -> None:
    world = World(tmp_path)
    data = world.write_lock().read_bytes()
    (tmp_path / "copy.lock").write_bytes(data)

    def load(digest: str) -> None:
        pinned = f'[circuits.{named}]\nlock = "circuit.lock"\nlock_sha256 = "{digest}"'
        path = world.policy(top=world.trust({"release": ([ALICE], 1)}, rest=pinned))
        path.write_text(path.read_text().replace('lock = "circuit.lock"', f'lock = "{lock}"'))
        load_policy(path)

    load(sha256(data))
    if (lock, named) == ("copy.lock", "other"):
        return  # another circuit by name and by place: the pin is not about it
    with pytest.raises(UsageError, match="pins"):
        load("0" * 64)
    (tmp_path / "circuit.local.lock").write_bytes(data)
    if lock == ".":
        with pytest.raises(UsageError, match=r"circuit\.local\.lock"):
            load(sha256(data))
    else:
        load(sha256(data))


@pytest.mark.parametrize("rest", ["", "[freshness]\nmaximum_age_days = 30"])
@pytest.mark.parametrize(
    ("signers", "code"), [((), "unsigned"), ((MALLORY,), "below-threshold"), ((ALICE,), "below-threshold")]
)
def test_a_waived_signature_does_not_let_anybody_date_an_old_proof(
    tmp_path: Path, signers: tuple[Key, ...], code: str, rest: str
) -> None:
    """The proof is old; its manifest and attestation say a fresh date, which nobody trusted answers for."""
    world = World(tmp_path)
    top = world.trust({"release": ([ALICE, BOB], 2)}, rest=rest)
    waivers = "\n".join(
        waiver(one, f"model:{world.pin}", identifier=f"W-{one}") for one in ("unsigned", "below-threshold", "stale")
    )
    age = "" if rest else 'max_age = "30d"'
    verdict = world.judge(world.policy(top=top, model=age, rest=waivers), world.bundle("redated", signers=signers))
    assert code in {waived.finding.code for waived in verdict.all_waived()}
    # One of two demanded signers answers for the date; nobody at all does not.
    assert verdict.status == (0 if signers == (ALICE,) else 3)
    assert ("date-not-signed" in codes(verdict)) is (signers != (ALICE,))


def test_a_log_that_the_policy_demands_needs_the_witnesses_of_the_trust_file(tmp_path: Path) -> None:
    """Also where the trust file alone would only report what the log lacks: nothing of it is left to a report then."""
    world = World(tmp_path)
    name = "witness.example/w"
    witness = f'[[log.witnesses]]\nname = "{name}"\nkey = "{BOB.public_key}"'
    table = f'[log]\norigin = "example.org/log"\nkey = "{LOG_KEY.public_key}"\nrequired = false\nwitness_threshold = 1'
    top = world.trust({"release": ([ALICE], 1)}, log=f"{table}\n{witness}")
    with open_bundle(world.bundle("plain", signers=[ALICE])) as opened:
        ids = sorted(opened.attestations)
    create_log(tmp_path / "log.db", origin="example.org/log", key=LOG_KEY.public_key)
    with open_log(tmp_path / "log.db") as log:
        log.append(ids)
        head = log.checkpoint(LOG_KEY)
        for signed, outcome in ((head, (3, {"below-witnesses"})), (head.cosigned_by(name, BOB, 1_700_000_000), (0, set()))):
            files = {CHECKPOINT_FILE: signed.to_bytes()} | {proof_file(one): log.prove(one, signed).to_bytes() for one in ids}
            bundle = world.bundle(f"logged{outcome[0]}", signers=[ALICE], log=files)
            verdict = world.judge(world.policy(top=top, model="log = true"), bundle)
            assert (verdict.status, codes(verdict)) == outcome
            assert world.judge(world.policy(top=top), bundle).status == 0, "the trust file alone only reports it"


NEVER_WAIVED = {
    # Missing, dated by nobody, refused, or asked for in vain: a waiver would let through what nobody showed.
    "no-proof", "model-not-shown", "date-not-signed", "gate-refused", "trust-expired", "context-not-bound",
}  # fmt: skip


def test_each_waivable_code_is_one_that_genuine_evidence_can_get() -> None:
    """Walks the catalogue: a waiver can never name a code that stands for something false or unchecked."""
    for code in WAIVABLE:
        assert 3 in all_codes()[code].statuses, code
        assert 1 not in all_codes()[code].statuses, code
    assert not NEVER_WAIVED & set(WAIVABLE)


def test_what_costs_a_signature_or_the_log_is_claimed_by_no_verdict() -> None:
    """Every code that a waiver may name has the claim that it costs: a new code about the log cannot be forgotten."""
    for code in WAIVABLE:
        assert COSTS[code] is next((claim for part, claim in _WORDS.items() if part in code), None), code


_WORDS = {
    "signed": Claim.SIGNED, "threshold": Claim.SIGNED, "log": Claim.LOGGED, "witness": Claim.LOGGED,
    "srs": Claim.SET_UP, "privacy": Claim.PRIVACY,
}  # fmt: skip


def test_a_sidecar_is_no_bundle_and_a_stray_file_still_fails(tmp_path: Path) -> None:
    world = World(tmp_path)
    folder = tmp_path / "evidence"
    world.bundle("evidence/a")
    for name in ("a.sigstore.json", "a.tlog-proof"):
        (folder / name).write_bytes(b"{}")
    verdict = world.judge(world.policy(), folder)
    assert verdict.passed
    assert [Path(one.judgement.path).name for one in verdict.bundles] == ["a"]
    for stray in ("b.sigstore.json", "a.json", "a.tlog-proof.bak", "a.sigstore.json.tlog-proof", ".tlog-proof.sigstore.json"):
        (folder / stray).write_bytes(b"{}")
        found = world.judge(world.policy(), folder)
        assert found.status == (0 if stray.startswith(".") else 1), stray
        (folder / stray).unlink()


def test_a_bundle_that_is_named_as_a_sidecar_is_judged(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.bundle("evidence/a")
    world.bundle("evidence/a.tlog-proof", 2, forged=True)
    verdict = world.judge(world.policy(), tmp_path / "evidence")
    assert "proof-invalid" in codes(verdict)


@pytest.mark.parametrize(
    ("key", "status", "code"),
    [("0" * 64, 1, "key-not-trusted"), (sha256(b"net"), 0, "key-pinned"), ("re-derive", 0, "key-not-rederived")],
)
def test_the_key_that_the_trust_file_pins_is_the_lock_s_or_the_gate_fails(
    tmp_path: Path, key: str, status: int, code: str
) -> None:
    world = World(tmp_path)
    pinned = f'[circuits.net]\nlock = "circuit.lock"\nverification_key = "{key}"'
    policy = world.policy(top=world.trust({"release": ([ALICE], 1)}, rest=pinned))
    verdict = world.judge(policy, world.bundle("a", signers=[ALICE]))
    assert verdict.status == status
    assert code in {finding.code for finding in verdict.all_findings()}


@pytest.mark.parametrize(("engines", "inferences", "said"), [(2, 2, True), (1, 2, False), (2, 1, False)])
def test_the_policy_in_words_says_that_inferences_count_per_engine(
    tmp_path: Path, engines: int, inferences: int, said: bool
) -> None:
    world = World(tmp_path, sections={EngineName.EZKL: section(), EngineName.SUMCHECK: section("other")})
    names = ", ".join(f'"{one.value}"' for one in tuple(EngineName)[:engines])
    policy = world.policy(proof=f"engines = [{names}]\ninferences = {inferences}")
    loaded = load_policy(policy)
    words = "\n".join(explain_policy(loaded.policy, loaded.pins, loaded.digest, NOW))
    assert ("one input proven with two engines counts as two" in words) is said
    if said:
        bundles = [world.bundle(engine.value, engine=engine) for engine in EngineName]
        assert world.judge(policy, *bundles).passed  # what the words warn of
