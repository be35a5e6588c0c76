"""From a signed release to a gate: each link proven, derived again, somebody's signature, or missing. Hollow weights stop."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.provenance_world import NOTARY, OTHER_NOTARY, STRANGER, World, compile_model, make_world, scorer
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.circuit_folder import render_lock
from verifai.domain.attestation.release import DerivationPredicate, ReleasePredicate
from verifai.domain.findings import Finding, Outcome
from verifai.domain.model_signing import ExportOptions
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.provenance.verify import verify_release
from verifai.stages.kept import kept_attestations
from verifai.stages.origin import HeldRelease
from verifai.stages.provenance import notarise, pin_release
from verifai.stages.verify import verify_bundle

ONE = ExportOptions(dims={"N": 1})
REDERIVED = 'signed_by = "acme"\nderivation = "re-derived"\nfiles = "release"\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Private weights, pinned and notarised, with a bundle before and one after."""
    world = make_world(tmp_path_factory.mktemp("provenance") / "world")
    world.prove("before")
    pin_release(world.folder, world.held, world.trust, options=ONE)
    world.prove("pinned")
    notarise(world.folder, world.held, world.trust, [NOTARY])
    world.prove("notarised")
    return world


@pytest.fixture
def world(made: World, tmp_path: Path) -> World:
    return made.copy(tmp_path / "world")


def bundle(world: World, name: str = "notarised") -> Path:
    return world.root / name / "000000"


def steps(findings: Sequence[Finding]) -> dict[str, tuple[str, str]]:
    return {one.step: (one.code, one.outcome.value) for one in findings if one.step in ("P1", "P2", "P3")}


def test_the_lock_pins_what_was_signed_and_how_it_was_exported(made: World) -> None:
    pin = made.folder.lock().provenance
    assert pin is not None
    assert (pin.release, pin.source, pin.exporter) == ("scorer-1.0", "scorer.onnx", "ONNX")
    assert set(pin.versions) == {"verifai", "onnx"} and pin.options == ONE and pin.signer.startswith("key ")
    assert "[provenance]" in made.folder.lock_path.read_text()


def test_compiling_again_keeps_the_pin_and_another_model_drops_it(world: World) -> None:
    pin = world.folder.lock().provenance
    compile_model(world, scorer(0), "private")
    assert world.folder.lock().provenance == pin
    compile_model(world, scorer(1), "private")
    assert world.folder.lock().provenance is None


def test_verify_says_of_each_link_what_it_rests_on(made: World) -> None:
    lock = made.folder.lock()
    told = steps(verify_bundle(bundle(made), lock).findings)
    assert told == {
        "P1": ("provenance-not-judged", "not-checked"),
        "P2": ("provenance-missing", "not-checked"),
        "P3": ("provenance-missing", "not-checked"),
    }


def test_an_audit_says_whose_signature_each_link_rests_on(made: World) -> None:
    report = made.audit(bundle(made))
    assert report.status == 0
    assert steps(report.findings) == {
        "P1": ("provenance-signed", "holds"),
        "P2": ("provenance-attested", "holds"),
        "P3": ("provenance-attested", "holds"),
    }
    words = {one.step: one.message for one in report.findings}
    assert "'acme'" in words["P1"] and "notary 'notary'" in words["P2"] and "hiding root" in words["P3"]
    assert not [one for one in report.findings if one.code == "attestation-not-judged"]


def test_an_audit_with_the_release_derives_the_model_and_with_the_secrets_the_root(made: World) -> None:
    held = HeldRelease(made.release)
    report = made.audit(bundle(made, "pinned"), held)
    assert report.status == 0
    assert steps(report.findings)["P2"] == ("provenance-rederived", "holds")
    assert steps(report.findings)["P3"] == ("provenance-missing", "not-checked"), "the root depends on a secret seed"
    owner = HeldRelease(made.release, secrets=made.folder.folder)
    report = made.audit(bundle(made, "pinned"), owner)
    assert report.status == 0 and steps(report.findings)["P3"] == ("provenance-rederived", "holds")


@pytest.mark.parametrize(
    ("name", "provenance", "status", "code"),
    [
        ("notarised", 'signed_by = "acme"', 0, ""),
        ("notarised", 'signed_by = ["acme"]\nderivation = "attested"', 0, ""),
        ("notarised", "", 0, ""),
        ("before", "", 0, ""),
        ("before", 'signed_by = "acme"', 3, "provenance-missing"),
        ("pinned", 'signed_by = "acme"', 3, "provenance-missing"),
        ("notarised", 'signed_by = "acme"\nderivation = "re-derived"\nfiles = "release"', 3, "provenance-missing"),
        ("before", 'signed_by = "acme"\nderivation = "re-derived"\nfiles = "release"\ncircuit = "scorer"', 0, ""),
        ("before", 'signed_by = "acme"\nfiles = "release"\ncircuit = "scorer"', 0, ""),
        ("notarised", 'signed_by = "acme"\nfiles = "release"\nsignature = "release/model.sig"', 0, ""),
    ],
)
def test_what_a_policy_demands(made: World, name: str, provenance: str, status: int, code: str) -> None:
    verdict = made.gate(bundle(made, name), provenance=provenance)
    assert verdict.status == status, [one for one in verdict.all_findings() if one.outcome is not Outcome.HOLDS]
    assert not code or code in [one.code for one in verdict.all_findings() if one.outcome is not Outcome.HOLDS]


def test_weights_without_a_release_are_told_and_stopped_where_a_policy_asks(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    path = world.prove()
    told = steps(verify_bundle(path, world.folder.lock()).findings)
    assert told == {"P1": ("provenance-missing", "not-checked")}
    assert world.gate(path, provenance="").status == 0
    assert world.gate(path).status == 3


# Hollow weights: the proof holds, the release is real, and the weights behind the root are others.


def hollow(world: World) -> Path:
    """Another model behind the same lock's release: its root, its proof, its own circuit digest."""
    pin = world.folder.lock().provenance
    kept = {path.name: path.read_bytes() for path in (world.folder.folder / "provenance").iterdir()}
    compile_model(world, scorer(99), "private")
    lock = world.folder.lock_path
    text = lock.read_text()
    assert pin is not None and "[provenance]" not in text
    lock.write_bytes(render_lock(replace(world.folder.lock(), provenance=pin)))
    for name, data in kept.items():
        (world.folder.folder / "provenance" / name).write_bytes(data)
    return world.prove("hollow")


def test_hollow_weights_with_a_valid_proof_do_not_pass(world: World) -> None:
    path = hollow(world)
    lock = world.folder.lock()
    assert "proof-valid" in [one.code for one in verify_bundle(path, lock).findings]
    assert world.gate(path, provenance="").status == 0, "without a demand nothing is asked"
    verdict = world.gate(path)
    assert verdict.status == 3 and "provenance-missing" in [one.code for one in verdict.all_findings()]
    verdict = world.gate(
        path, provenance='signed_by = "acme"\nderivation = "re-derived"\nfiles = "release"\ncircuit = "scorer"'
    )
    assert verdict.status == 1 and "provenance-broken" in [one.code for one in verdict.all_findings()]


def test_a_notary_does_not_sign_hollow_weights(world: World) -> None:
    hollow(world)
    with pytest.raises(EvidenceRejected) as caught:
        notarise(world.folder, world.held, world.trust, [NOTARY])
    assert caught.value.code == "provenance-broken"


def test_a_hollow_root_of_the_very_same_model_and_circuit_is_found_by_deriving_it(world: World) -> None:
    """The circuit does not hold private weights, so two models of one shape can share it: only the root differs."""
    lock = world.folder.lock()
    other = world.copy(world.root.parent / "other")
    compile_model(other, scorer(0), "private")  # a fresh seed: another root for the same weights
    section = dict(lock.section(world.folder.engine()))
    theirs = other.folder.lock().section(other.folder.engine())
    assert section["circuit_sha256"] == theirs["circuit_sha256"] and section["weights_sha256"] != theirs["weights_sha256"]
    path = other.prove("later")
    found = steps(other.audit(path).findings)
    assert found["P3"][0] == "provenance-missing", "the derivation was of another root, and the bundle does not carry it"
    assert other.gate(path).status == 3
    notarise(other.folder, other.held, other.trust, [NOTARY])
    assert other.gate(other.prove("renotarised")).status == 0


# Attestations that belong to something else.


def forged(world: World, target: str, source: Path, extra: Path) -> Path:
    """The bundle ``source`` with the provenance attestations of the bundle ``extra``, its manifest made anew."""
    about = ReleasePredicate | DerivationPredicate
    with open_bundle(source) as ours, open_bundle(extra) as theirs:
        write_bundle(
            world.root / target,
            payload=ours.payload,
            attestations=[
                *(one for one in ours.attestations.values() if not isinstance(one.predicate, about)),
                *(one for one in theirs.attestations.values() if isinstance(one.predicate, about)),
            ],
            created=ours.manifest.created,
        )
    return world.root / target


def carried(world: World, name: str) -> Path:
    """The bundle without provenance, with what the folder keeps now: proving again would spend an opening of a copy."""
    with open_bundle(bundle(world, "before")) as ours:
        write_bundle(
            world.root / name,
            payload=ours.payload,
            attestations=[*ours.attestations.values(), *kept_attestations(world.folder, world.folder.lock())],
            created=ours.manifest.created,
        )
    return world.root / name


def test_attestations_of_another_circuit_are_refused(world: World) -> None:
    """A derivation of one root, put beside a proof under another."""
    genuine = bundle(world)
    other = world.copy(world.root.parent / "other")
    compile_model(other, scorer(0), "private")
    path = forged(other, "replayed", other.prove("later"), genuine)
    with pytest.raises(EvidenceRejected) as caught:
        verify_bundle(path, other.folder.lock())
    assert caught.value.code == "provenance-broken" and "section_sha256" in caught.value.message
    assert other.audit(path).status == 1
    for provenance in ("", 'signed_by = "acme"'):
        verdict = other.gate(path, provenance=provenance)
        assert verdict.status == 1 and "provenance-broken" in [one.code for one in verdict.all_findings()]


def test_attestations_about_another_release_are_refused(world: World) -> None:
    genuine = bundle(world)
    (world.release / "README.md").write_text("Another text.\n")
    world.sign()
    pin_release(world.folder, world.held, world.trust, options=ONE)
    path = forged(world, "old", genuine, genuine)
    assert world.gate(path).status == 1
    assert world.gate(carried(world, "newest")).status == 3, "the notary has to look again"


def test_only_the_named_notary_counts(world: World) -> None:
    for path in (world.folder.folder / "provenance").glob("derivation-*"):
        path.unlink()
    notarise(world.folder, world.held, world.trust, [OTHER_NOTARY])
    path = carried(world, "stranger")
    assert world.gate(path).status == 3
    world.write_trust(notary=OTHER_NOTARY)
    assert world.gate(path).status == 0
    world.write_trust(notary=None)
    with pytest.raises(UsageError, match="without a notary"):
        world.gate(path)
    verdict = world.gate(path, provenance='signed_by = "acme"\nfiles = "release"')
    assert verdict.status == 3


def test_only_the_named_signer_counts(world: World) -> None:
    world.write_trust(signer=STRANGER)
    verdict = world.gate(bundle(world))
    assert verdict.status == 3 and "model-signer-not-trusted" in [one.code for one in verdict.all_findings()]
    assert world.audit(bundle(world)).status == 3
    world.write_trust(signer=None)
    with pytest.raises(UsageError, match="acme"):
        world.gate(bundle(world))


def test_a_release_signed_by_somebody_else_is_another_one(world: World) -> None:
    """The same files, signed by another key that the reader also trusts: not what the lock pins."""
    world.sign(STRANGER)
    world.write_trust(signer=STRANGER)
    with pytest.raises(EvidenceRejected) as caught:
        notarise(world.folder, world.held, world.trust, [NOTARY])
    assert caught.value.code == "provenance-broken" and "signed by" in caught.value.message


# Pinning.


def refused(world: World, error: type[VerifaiError], code: str, **options: object) -> VerifaiError:
    before = world.folder.lock_path.read_bytes()
    with pytest.raises(error) as caught:
        pin_release(world.folder, world.held, world.trust, **{"options": ONE, **options})  # type: ignore[arg-type]
    assert caught.value.code == code
    assert world.folder.lock_path.read_bytes() == before, "nothing is written when it fails"
    return caught.value


def test_a_release_of_another_model_is_not_pinned(world: World) -> None:
    (world.release / "scorer.onnx").write_bytes(scorer(3))
    refused(world, EvidenceRejected, "release-files-differ")
    world.sign()
    refused(world, EvidenceRejected, "provenance-broken")


def test_a_new_pin_counts_whichever_lock_the_engine_is_in(world: World) -> None:
    """An older pin in the lock of this machine would come before it, and the release that was signed anew would not count."""
    shutil.copy(world.folder.lock_path, world.folder.local_lock_path)
    world.sign(STRANGER)
    world.write_trust(signer=STRANGER)
    made = pin_release(world.folder, world.held, world.trust, options=ONE)
    assert world.folder.lock().provenance == made.pin
    notarise(world.folder, world.held, world.trust, [NOTARY])


def test_options_of_the_export_are_part_of_the_pin(world: World) -> None:
    refused(world, EvidenceRejected, "provenance-broken", options=ExportOptions(dims={"N": 2}))


def test_which_file_was_exported_has_to_be_clear(world: World) -> None:
    (world.release / "other.onnx").write_bytes(scorer(4))
    world.sign()
    refused(world, UsageError, "release-source-unclear")
    refused(world, UsageError, "bad-option", source="model.onnx")
    refused(world, EvidenceRejected, "provenance-broken", source="other.onnx")
    pin_release(world.folder, world.held, world.trust, source="scorer.onnx", options=ONE)


@pytest.mark.slow
def test_sources_that_run_code_are_never_exported_from_a_release(world: World) -> None:
    """Not even by a name that looks like a module of Python."""
    for name in ("model.pkl", "os:getcwd"):
        (world.release / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        world.sign()
        with pytest.raises(VerifaiError) as caught:
            pin_release(world.folder, world.held, world.trust, source=name)
        assert caught.value.status in (2, 4), caught.value
        (world.release / name).unlink()


def test_an_unsigned_or_untrusted_release_is_not_pinned(world: World) -> None:
    world.sign(STRANGER)
    refused(world, PolicyNotMet, "model-signer-not-trusted")
    (world.release / "model.sig").unlink()
    refused(world, UsageError, "file-missing")


def test_a_circuit_without_a_pin_is_not_notarised(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world", weights="public")
    with pytest.raises(UsageError) as caught:
        notarise(world.folder, world.held, world.trust, [NOTARY])
    assert caught.value.code == "provenance-not-pinned" and "verifai provenance" in caught.value.hint


def test_a_notary_without_the_seed_signs_nothing(world: World) -> None:
    for path in (world.folder.folder / "secrets" / "sumcheck").glob("*.secret"):
        path.unlink()
    with pytest.raises(UsageError) as caught:
        notarise(world.folder, world.held, world.trust, [NOTARY])
    assert caught.value.code == "weights-secret-missing"


def test_other_tools_than_the_pinned_ones_are_no_forgery(world: World) -> None:
    """A model that differs because another onnx wrote it: it could not be repeated, which is no refutation."""
    (world.release / "scorer.onnx").write_bytes(scorer(6))
    world.sign()
    release = verify_release(world.held.signature_bytes(), world.trust.model_signers, datetime.now(UTC))
    lock = world.folder.lock()
    assert lock.provenance is not None
    moved = replace(lock.provenance, manifest_sha256=release.manifest.sha256)
    for versions, code, status in (
        (moved.versions, "provenance-broken", 1),
        ({"onnx": "0.0.1"}, "provenance-not-rederived", 4),
    ):
        pin = replace(moved, versions={**moved.versions, **versions})
        world.folder.lock_path.write_bytes(render_lock(replace(lock, provenance=pin)))
        with pytest.raises(VerifaiError) as caught:
            notarise(world.folder, world.held, world.trust, [NOTARY])
        assert (caught.value.code, caught.value.status) == (code, status)


# Weights that are not hidden need no notary.


@pytest.mark.parametrize("weights", ["public", "committed"])
def test_open_weights_are_derived_by_whoever_holds_the_release(tmp_path: Path, weights: str) -> None:
    world = make_world(tmp_path / "world", weights=weights)
    pin_release(world.folder, world.held, world.trust, options=ONE)
    path = world.prove()
    world.write_trust(notary=None)
    report = world.audit(path, HeldRelease(world.release))
    assert report.status == 0
    assert {code for code, _ in steps(report.findings).values()} == {"provenance-signed", "provenance-rederived"}
    demand = 'signed_by = "acme"\nderivation = "re-derived"\nfiles = "release"'
    assert world.gate(path, provenance=demand).status == 0
    (world.release / "scorer.onnx").write_bytes(scorer(1))
    assert world.gate(path, provenance=demand).status == 1


def test_a_file_that_is_no_attestation_and_too_many_of_them_are_told(world: World) -> None:
    place = world.folder.folder / "provenance"
    (kept,) = place.glob("derivation-*")
    for number in range(20):
        (place / f"derivation-{number:012d}.dsse.json").write_bytes(kept.read_bytes())
    for _ in range(2):
        with pytest.raises(UsageError) as caught:
            kept_attestations(world.folder, world.folder.lock())
        assert caught.value.code == "bad-provenance"
        for path in place.glob("derivation-0000*"):
            path.unlink()
        (place / "other.dsse.json").write_text("{}")
