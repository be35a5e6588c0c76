"""Tampering before the gate: whatever is done to bundles, folders, verdicts or the policy's surroundings, nothing passes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.gate_world import ALICE, GATE_KEY, MALLORY, NOW, World, codes, fake_engines, waiver
from verifai.bundle import canonical
from verifai.bundle.archive import pack
from verifai.bundle.dsse import attest
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.statement import Privacy
from verifai.domain.utc_time import format_utc
from verifai.errors import VerifaiError

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")


def judge(world: World, *bundles: Path, **policy: str) -> tuple[int, set[str]]:
    try:
        verdict = world.judge(world.policy(**policy), *bundles)
    except VerifaiError as problem:
        return problem.status, {problem.code}
    return verdict.status, codes(verdict)


def _files(bundle: Path) -> list[Path]:
    return sorted(path for path in bundle.rglob("*") if path.is_file())


@pytest.mark.parametrize("change", ["flip", "truncate", "extend", "delete", "empty", "link"])
def test_any_change_to_any_file_is_a_rejection(change: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    original = world.bundle("original", signers=[ALICE])
    # Only with its key known is a signature more than a claim; then a changed one is false evidence as well.
    trust = world.trust({"release": ([ALICE], 1), "prover": ([ALICE], 1)})
    for number, file in enumerate(_files(original)):
        copy = tmp_path / f"copy-{number}"
        shutil.copytree(original, copy)
        target = copy / file.relative_to(original)
        data = target.read_bytes()
        if change == "flip":
            target.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
        elif change == "truncate":
            target.write_bytes(data[:-1])
        elif change == "extend":
            target.write_bytes(data + b"\n")
        elif change == "empty":
            target.write_bytes(b"")
        else:
            target.unlink()
            if change == "link":
                target.symlink_to(file)
        assert judge(world, copy, top=trust, model="signatures = 1")[0] == 1, f"{change} {file.name}"


def test_a_changed_signature_is_a_rejection_where_its_key_is_known(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle = world.bundle("a", signers=[ALICE])
    manifest = json.loads((bundle / "bundle.dsse.json").read_text())
    stolen = json.loads((world.bundle("b", 2, signers=[ALICE]) / "bundle.dsse.json").read_text())["signatures"]
    manifest["signatures"] = stolen
    (bundle / "bundle.dsse.json").write_bytes(canonical.encode(manifest))
    status, found = judge(world, bundle, top=world.trust({"release": ([ALICE], 1)}), model="signatures = 1")
    assert status == 1
    assert "signature-invalid" in found


def test_a_signature_by_mallory_under_alices_name_is_a_rejection(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle = world.bundle("a", signers=[MALLORY])
    manifest = json.loads((bundle / "bundle.dsse.json").read_text())
    manifest["signatures"][0]["keyid"] = ALICE.public_key.keyid
    (bundle / "bundle.dsse.json").write_bytes(canonical.encode(manifest))
    assert judge(world, bundle, top=world.trust({"release": ([ALICE], 1)}), model="signatures = 1")[0] == 1


def _resealed(world: World, edit: Callable[[list[Attestation]], list[Attestation]], name: str) -> Path:
    """A bundle whose attestations were edited by a signer, and whose every digest and signature was made consistent again."""
    source = world.bundle(f"{name}-source", signers=[ALICE])
    with open_bundle(source) as opened:
        payload = {key: path.read_bytes() for key, path in opened.payload.items()}
        attestations = edit(list(opened.attestations.values()))
        write_bundle(
            world.folder / name, payload=payload, attestations=attestations, signers=[ALICE], created=opened.manifest.created
        )  # fmt: skip
    return world.folder / name


def _edit_proof(**changes: object) -> Callable[[list[Attestation]], list[Attestation]]:
    from dataclasses import replace

    from verifai.domain.attestation.proof import ProofPredicate

    def edit(attestations: list[Attestation]) -> list[Attestation]:
        result = []
        for one in attestations:
            if isinstance(one.predicate, ProofPredicate):
                statement = replace(one.predicate.statement, **changes)  # type: ignore[arg-type]
                one = attest(replace(one.predicate, statement=statement), one.subjects, [ALICE])
            result.append(one)
        return result

    return edit


@pytest.mark.parametrize(
    "changes",
    [{"context": "release-2"}, {"context_bound": True}, {"privacy": Privacy.INTEGRITY_ONLY}, {"tensors": ()}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_statement_that_a_signer_embellished_is_a_rejection(changes: dict[str, object], tmp_path: Path) -> None:
    world = World(tmp_path)
    trust = world.trust({"release": ([ALICE], 1), "prover": ([ALICE], 1)})
    status, found = judge(world, _resealed(world, _edit_proof(**changes), "resealed"), top=trust, model="signatures = 1")
    assert (status, found & {"statement-mismatch"}) == (1, {"statement-mismatch"})


def test_better_fidelity_figures_in_the_bundle_than_in_the_lock_are_a_rejection(tmp_path: Path) -> None:
    from dataclasses import replace

    from verifai.domain.attestation.circuit import CircuitPredicate
    from verifai.domain.attestation.proof import ProofPredicate

    def edit(attestations: list[Attestation]) -> list[Attestation]:
        (circuit,) = [one for one in attestations if isinstance(one.predicate, CircuitPredicate)]
        (proof,) = [one for one in attestations if isinstance(one.predicate, ProofPredicate)]
        assert isinstance(circuit.predicate, CircuitPredicate)
        assert isinstance(proof.predicate, ProofPredicate)
        assert circuit.predicate.fidelity is not None
        perfect = replace(circuit.predicate.fidelity, top1_matches=100)
        circuit = attest(replace(circuit.predicate, fidelity=perfect), circuit.subjects, [ALICE])
        return [circuit, attest(replace(proof.predicate, circuit=circuit.id), proof.subjects, [ALICE])]

    world = World(tmp_path)
    status, found = judge(world, _resealed(world, edit, "resealed"), fidelity="top1_agreement = 1.0")
    assert (status, found) == (1, {"circuit-not-pinned"})


def test_a_bundle_inside_a_bundle_folder_is_not_evidence(tmp_path: Path) -> None:
    world = World(tmp_path)
    inner = world.bundle("inner")
    outer = tmp_path / "evidence" / "outer"
    outer.mkdir(parents=True)
    inner.rename(outer / "inner")
    assert judge(world, tmp_path / "evidence") == (4, {"not-a-bundle"})  # a mistake, no false evidence; never accepted


def test_links_pipes_and_devices_among_the_bundles_are_not_followed(tmp_path: Path) -> None:
    world = World(tmp_path)
    real = world.bundle("real")
    evidence = tmp_path / "evidence"
    evidence.mkdir()
    (evidence / "link").symlink_to(real)
    assert judge(world, evidence) == (1, {"link"})
    (evidence / "link").unlink()
    os.mkfifo(evidence / "pipe")
    assert judge(world, evidence)[0] in (1, 4)
    (evidence / "pipe").unlink()
    (evidence / "device").symlink_to("/dev/zero")
    assert judge(world, evidence)[0] == 1


def test_a_single_file_with_bytes_before_or_behind_it_is_a_rejection(tmp_path: Path) -> None:
    world = World(tmp_path)
    pack(world.bundle("a"), tmp_path / "a.vbundle")
    assert judge(world, tmp_path / "a.vbundle")[0] == 0
    data = (tmp_path / "a.vbundle").read_bytes()
    for changed in (b"\x00" + data, data + b"\x00", data[: len(data) // 2]):
        (tmp_path / "a.vbundle").write_bytes(changed)
        assert judge(world, tmp_path / "a.vbundle")[0] == 1


def test_folder_and_file_of_one_bundle_are_one_piece_of_evidence(tmp_path: Path) -> None:
    world = World(tmp_path)
    bundle = world.bundle("a")
    pack(bundle, tmp_path / "a.vbundle")
    assert judge(world, bundle, tmp_path / "a.vbundle", proof="inferences = 2") == (3, {"too-few-inferences"})


def test_one_good_bundle_does_not_carry_a_bad_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    good, bad = world.bundle("good"), world.bundle("bad", 2, forged=True)
    assert judge(world, good, bad)[0] == 1
    assert judge(world, bad, good)[0] == 1


def test_a_waiver_for_a_good_bundle_does_not_reach_a_forged_copy_of_it(tmp_path: Path) -> None:
    world = World(tmp_path)
    old = NOW - timedelta(days=60)
    top = world.trust({"prover": ([ALICE], 1)})
    good = world.bundle("good", signers=[ALICE], created=old)
    with open_bundle(good) as opened:
        text = waiver("stale", f"bundle:{opened.bundle_id}")
    assert judge(world, good, top=top, model='max_age = "30d"', rest=text)[0] == 0
    forged = world.bundle("forged", signers=[ALICE], created=old, forged=True)
    assert judge(world, forged, top=top, model='max_age = "30d"', rest=text)[0] == 1


def test_the_lock_decides_and_a_swapped_lock_is_another_policy(tmp_path: Path) -> None:
    world = World(tmp_path)
    policy = world.policy()
    bundle = world.bundle("a")
    before = world.judge(policy, bundle)
    other = World(tmp_path / "other", model=b"the attacker's model")
    other.folder.mkdir()
    (tmp_path / "circuit.lock").write_bytes(other.write_lock().read_bytes())
    after = world.judge(policy, other.bundle("b"))
    assert (before.status, after.status) == (0, 0), "whoever may change the lock decides what is released"
    assert before.policy_sha256 != after.policy_sha256, "but not under the digest that a later gate asks for"


def test_a_forged_verdict_of_an_earlier_gate_does_not_count(tmp_path: Path) -> None:
    """A verdict PASSED about the pinned model, under the demanded policy, by somebody who is not a trusted gate."""
    from verifai.domain.attestation.envelope import Subject
    from verifai.domain.digest import sha256
    from verifai.domain.policy.attestation import GateInput, GatePredicate, VerificationResult

    world = World(tmp_path)
    world.write_lock()
    predicate = GatePredicate(
        "0.1.0", format_utc(NOW), "release", sha256(b"p"), (GateInput(sha256(b"a"), "holds"),), 0,
        VerificationResult.PASSED, ("VERIFAI_PROOF",), (),
    )  # fmt: skip
    forged = attest(predicate, [Subject("net", world.pin)], [MALLORY])
    write_bundle(tmp_path / "v", payload={}, attestations=[forged], signers=[MALLORY], created=format_utc(NOW))
    top = world.trust({"gate": ([GATE_KEY], 1)})
    (tmp_path / "next.toml").write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = ["gate"]\n'
        f'[model.gate]\npolicies = ["{sha256(b"p")}"]\n'
    )
    verdict = world.judge(tmp_path / "next.toml", tmp_path / "v")
    assert (verdict.status, codes(verdict)) == (3, {"below-threshold"})


HOSTILE_POLICIES = {
    "not TOML": "[[model",
    "not text": "\udcff",
    "a key twice": 'name = "a"\nname = "b"\n',
    "another schema": 'schema = "verifai/policy/v2"\n[[model]]\n',
    "a list for a table": 'schema = "verifai/policy/v1"\nmodel = "net"\n',
    "a number of thousands of digits": "a = " + "1" * 5000,
    "nested without end": "a = " + "[" * 5000,
    "a number for a path": 'schema = "verifai/policy/v1"\n[[model]]\nname = "net"\nlock = 3\nevidence = ["proof"]\n',
    "no engine": 'schema = "verifai/policy/v1"\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = ["proof"]\n',
    "no evidence": 'schema = "verifai/policy/v1"\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = []\n',
}


@pytest.mark.parametrize("text", HOSTILE_POLICIES.values(), ids=HOSTILE_POLICIES)
def test_a_policy_that_cannot_be_read_lets_nothing_through(text: str, tmp_path: Path) -> None:
    world = World(tmp_path)
    world.write_lock()
    (tmp_path / "policy.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(VerifaiError) as caught:
        world.judge(tmp_path / "policy.toml", world.bundle("a"))
    assert caught.value.status == 2
    assert "policy.toml" in caught.value.where


DEMANDS = {
    "inferences of zero": {"proof": "inferences = 0"},
    "inferences below zero": {"proof": "inferences = -1"},
    "an inference as true": {"proof": "inferences = true"},
    "no engines": {"proof": "engines = []"},
    "an engine twice": {"proof": 'engines = ["ezkl", "ezkl"]'},
    "an unknown engine": {"proof": 'engines = ["ezkl", "trust-me"]'},
    "an unknown privacy": {"proof": 'privacy = "none"'},
    "an unknown set-up": {"proof": 'srs = "any"'},
    "agreement above one": {"fidelity": "top1_agreement = 1.01"},
    "agreement that is no number": {"fidelity": "top1_agreement = nan"},
    "an endless error": {"fidelity": "max_abs_error = inf"},
    "an age without a unit": {"model": 'max_age = "30"'},
    "an age of zero": {"model": 'max_age = "0d"'},
    "a skew of a year": {"model": 'clock_skew = "365d"'},
    "signatures without a trust file": {"model": "signatures = 1"},
    "a log without a trust file": {"model": "log = true"},
    "a consensus that is not asked for": {"rest": "[model.consensus]\nverifiers = 3"},
}


@pytest.mark.parametrize("demand", DEMANDS.values(), ids=DEMANDS)
def test_a_demand_that_demands_nothing_or_nonsense_is_refused(demand: dict[str, str], tmp_path: Path) -> None:
    world = World(tmp_path)
    assert judge(world, world.bundle("a"), **demand) == (2, {"bad-policy"})
