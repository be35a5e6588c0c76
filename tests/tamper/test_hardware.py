"""Hardware evidence in bundles, as audit, gate and the tally of a round see it: what it is bound to, and what not."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.support.fake_hardware import NitroMachine, SevMachine
from tests.support.gate_world import ALICE, MALLORY, NOW, World, codes, fake_engines
from tests.tamper.test_consensus_bundle import CHAIR, VOTERS, Played
from verifai.bundle import canonical
from verifai.bundle.archive import contents
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.domain.attestation.envelope import Attestation, Envelope, Subject, statement_document
from verifai.domain.attestation.manifest import SIDE_FILES
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.attestation.tee import (
    AboutProof,
    AboutReceipt,
    AboutVoter,
    HardwarePredicate,
    report_data,
    subject_of,
)
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.digest import sha256
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.statement import EngineName
from verifai.domain.utc_time import format_utc
from verifai.errors import EvidenceRejected, UsageError
from verifai.fingerprints.output import encode_output
from verifai.stages.attested import MAX_ATTESTATIONS
from verifai.stages.audit.audit import audit_bundle
from verifai.stages.audit.options import AuditOptions
from verifai.stages.hardware import Receipt, attach_evidence, attach_receipt, claim_of_bundle
from verifai.stages.seal import seal_bundle
from verifai.trust_file import read_trust

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")

SEV = SevMachine()
OTHER, THIRD = SEV.beside(b"\1" * 64), SEV.beside(b"\2" * 64)
ATTACHED = NOW - timedelta(hours=2)
ROLES = {"release": ([ALICE], 1)}
TEE = "[model.tee]\n"


def hardware(machine: SevMachine | NitroMachine = SEV, *, more: str = "", register: str = "") -> str:
    kind, name, value = (
        ("sev-snp", "measurement", machine.measurement) if isinstance(machine, SevMachine) else ("nitro", "pcr0", machine.pcr0)
    )
    return (
        f'[[hardware]]\nname = "m"\nkind = "{kind}"\nrevocation = false\n{more}\n'
        f'test_roots = """\n{machine.roots.decode()}"""\n[hardware.registers]\n{name} = "{register or value.hex()}"\n'
    )


def attested(world: World, name: str = "b", *, machine=SEV, debug: bool = False, sample: int = 1, **statement) -> Path:
    """A proof bundle with a machine's evidence about its statement."""
    plain = world.bundle(f"{name}-plain", sample, signers=[ALICE], **statement)
    evidence = machine.report(report_data(claim_of_bundle(plain)), debug=debug)
    attach_evidence(plain, evidence, world.folder / name, test_roots=machine.roots, now=ATTACHED)
    seal_bundle(world.folder / name, signers=[ALICE])
    return world.folder / name


def policy(world: World, *, rest: str = TEE, trust: str | None = None, evidence: str = '"tee"') -> Path:
    top = world.trust(ROLES, rest=hardware() if trust is None else trust)
    world.write_lock()
    path = world.folder / "verifai.toml"
    proof = '[model.proof]\nengines = ["ezkl"]\n' if '"proof"' in evidence else ""
    path.write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\n'
        f"evidence = [{evidence}]\n{proof}{rest}"
    )
    return path


def receipt(world: World, context: str = "", number: float = 1.0) -> Receipt:
    inputs, outputs = (
        encode_output({name: np.array([[value]], dtype=np.float32)}) for name, value in (("x", 0.5), ("y", number))
    )
    return Receipt(AboutReceipt(world.pin, sha256(inputs), sha256(outputs), context), outputs, inputs)


def attested_receipt(world: World, name: str = "r", made: Receipt | None = None, *, machine=SEV) -> Path:
    made = made or receipt(world)
    path = world.folder / name
    attach_receipt(
        made, machine.report(report_data(made.about)), path, show_inputs=False, test_roots=machine.roots, now=ATTACHED
    )
    seal_bundle(path, signers=[ALICE])
    return path


def rewrite(world: World, source: Path, name: str, **changes) -> Path:
    """The bundle with its hardware attestation changed, sealed again: what whoever holds the bundle can do."""
    with open_bundle(source) as bundle:
        kept: list[Attestation] = []
        for one in bundle.attestations.values():
            if isinstance(one.predicate, HardwarePredicate):
                predicate = dataclasses.replace(one.predicate, **changes)
                subjects = (Subject(*subject_of(predicate.about)),)
                one = Attestation(Envelope(canonical.encode(statement_document(subjects, predicate))), subjects, predicate)
            kept.append(one)
        payload = {path.removeprefix("payload/"): data for path, data in contents(bundle) if path.startswith("payload/")}
        write_bundle(world.folder / name, payload=payload, attestations=kept, signers=[ALICE], created=bundle.manifest.created)
    return world.folder / name


def joined(world: World, name: str, *sources: Path, listed: bool = True) -> Path:
    """One sealed bundle with everything that ``sources`` hold. ``listed``: a proof's attestation names all of the payload."""
    parts: dict[str, Attestation] = {}
    payload: dict[str, bytes] = {}
    for source in sources:
        with open_bundle(source) as bundle:
            parts |= bundle.attestations
            files = dict(contents(bundle)).items()
            payload |= {
                path.removeprefix("payload/"): data if isinstance(data, bytes) else data.read_bytes()
                for path, data in files
                if path.startswith("payload/")
            }
            created = bundle.manifest.created
    kept = list(parts.values())
    for one in kept if listed else []:
        if isinstance(one.predicate, ProofPredicate):
            named = sorted((f"payload/{file}", data) for file, data in payload.items() if file not in SIDE_FILES)
            subjects = tuple(Subject(file, sha256(data)) for file, data in named)
            kept.remove(one)
            kept.append(
                Attestation(Envelope(canonical.encode(statement_document(subjects, one.predicate))), subjects, one.predicate)
            )
            break
    write_bundle(world.folder / name, payload=payload, attestations=kept, signers=[ALICE, CHAIR], created=created)
    return world.folder / name


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


class TestGate:
    def test_a_proof_with_hardware_evidence(self, world):
        bundle = attested(world)
        for evidence in ('"tee"', '"proof", "tee"'):
            verdict = world.judge(policy(world, evidence=evidence), bundle)
            assert verdict.status == 0, verdict.all_findings()
            told = {one.code for one in verdict.all_findings()}
            assert {"tee-genuine", "tee-bound", "tee-trusted", "tee-not-a-proof", "tee-test-root", "proof-valid"} <= told

    def test_a_receipt_alone(self, world):
        bundle = attested_receipt(world)
        verdict = world.judge(policy(world), bundle)
        assert verdict.status == 0, verdict.all_findings()
        assert verdict.models[0].counted["tee"] == 1

    def test_one_inference_under_two_contexts_is_one(self, world):
        bundles = [attested_receipt(world, f"r{index}", receipt(world, context=str(index))) for index in range(2)]
        asked = policy(world, rest="[model.tee]\ninferences = 2\n")
        assert codes(world.judge(asked, *bundles)) == {"too-few-inferences"}
        other = attested_receipt(world, "r3", receipt(world, number=2.0))
        assert world.judge(asked, *bundles, other).status == 0

    def test_context(self, world):
        asked = policy(world, rest='[model.tee]\ncontext = "order-17"\n')
        assert world.judge(asked, attested_receipt(world, "a", receipt(world, "order-17"))).status == 0
        assert "context-mismatch" in codes(world.judge(asked, attested_receipt(world, "b")))

    def test_what_is_not_asked_for_is_said(self, world):
        bundle = attested(world)
        path = world.policy(top=world.trust(ROLES))
        found = world.judge(path, bundle)
        assert found.status == 0
        assert "attestation-not-judged" in {one.code for one in found.all_findings()}

    def test_a_receipt_is_no_proof(self, world):
        path = world.policy(top=world.trust(ROLES))
        assert "evidence-not-asked" in codes(world.judge(path, attested_receipt(world)))

    def test_a_proof_without_hardware_evidence(self, world):
        plain = world.bundle("plain", signers=[ALICE])
        assert "evidence-not-asked" in codes(world.judge(policy(world), plain))
        both = world.judge(policy(world, evidence='"proof", "tee"'), plain)
        assert codes(both) == {"evidence-missing"}

    def test_a_false_proof_beside_true_hardware_evidence(self, world):
        plain = world.bundle("forged", signers=[ALICE], forged=True)
        evidence = SEV.report(report_data(claim_of_bundle(plain)))
        attach_evidence(plain, evidence, world.folder / "f", test_roots=SEV.roots, now=ATTACHED)
        seal_bundle(world.folder / "f", signers=[ALICE])
        assert "proof-invalid" in codes(world.judge(policy(world), world.folder / "f"))

    @pytest.mark.parametrize(
        ("trust", "code"),
        [
            (hardware(register="ab" * 48), "tee-measurement-not-trusted"),
            (hardware(more='products = ["Genoa"]'), "tee-product-not-trusted"),
            (hardware(more="minimum_svns = { microcode = 255 }"), "tee-tcb-out-of-date"),
            (hardware(more='tcb = ["UpToDate"]'), "tee-tcb-unknown"),
            (hardware().replace("revocation = false", "revocation = true"), "tee-revocation-unknown"),
            (hardware(SevMachine()), "tee-invalid"),  # a root of the same name, and another key
            (hardware(NitroMachine()), "tee-root-not-trusted"),
        ],
    )
    def test_machines_that_the_reader_does_not_trust(self, world, trust, code):
        bundle = attested(world)
        found = codes(world.judge(policy(world, trust=trust), bundle))
        assert code in found and "tee-missing" in found

    def test_debug_mode(self, world):
        found = codes(world.judge(policy(world), attested(world, debug=True)))
        assert found == {"tee-debug", "tee-missing"}

    def test_a_policy_needs_a_trust_file_with_hardware(self, world):
        for trust in ("",):
            with pytest.raises(UsageError) as caught:
                world.judge(policy(world, trust=trust), world.folder, now=NOW)
            assert caught.value.code == "bad-policy" and "names no hardware" in caught.value.message

    def test_another_model(self, world):
        made = receipt(world)
        other = Receipt(dataclasses.replace(made.about, model_sha256=sha256(b"another")), made.outputs, made.inputs)
        bundle = attested_receipt(world, "o", other)
        assert codes(world.judge(policy(world), bundle)) >= {"model-not-pinned"}

    def test_evidence_that_lives_for_hours_is_judged_when_it_was_made(self, world):
        machine = NitroMachine(made=ATTACHED)
        bundle = attested_receipt(world, machine=machine)
        now = policy(world, trust=hardware(machine))
        assert "tee-not-current" in codes(world.judge(now, bundle, now=NOW + timedelta(days=2)))
        made = policy(world, trust=hardware(machine, more='judged = "made"'))
        assert world.judge(made, bundle, now=NOW + timedelta(days=2)).status == 0
        with open_bundle(bundle) as opened:
            parts = list(opened.attestations.values())
            payload = {name.removeprefix("payload/"): data for name, data in contents(opened) if name.startswith("payload/")}
            write_bundle(world.folder / "unsigned", payload=payload, attestations=parts, created=opened.manifest.created)
        assert "tee-date-not-signed" in codes(world.judge(made, world.folder / "unsigned", now=NOW + timedelta(days=2)))

    def test_a_report_about_a_receipt_does_not_count_for_a_proof(self, world):
        """The proof is true, the machine is trusted, and it attested to something else."""
        proof, alone = world.bundle("plain", signers=[ALICE]), attested_receipt(world)
        assert codes(world.judge(policy(world), joined(world, "unlisted", proof, alone, listed=False))) == {"subject-mismatch"}
        mixed = joined(world, "mixed", proof, alone)
        for evidence in ('"tee"', '"proof", "tee"'):
            found = world.judge(policy(world, evidence=evidence), mixed)
            assert found.status == 1 and {"ambiguous-proof", "tee-missing"} <= codes(found)
        # Nor does it beside a report that is about the proof.
        both = joined(world, "both", attested(world), alone, listed=False)
        assert world.judge(policy(world), both).status == 1

    def test_a_proof_by_a_key_that_the_trust_file_does_not_pin(self, world):
        bundle = attested(world)
        for key, status in ((world.sections[EngineName.EZKL]["circuit_sha256"], 0), (sha256(b"another"), 1)):
            pinned = f'[circuits.net]\nlock = "circuit.lock"\nverification_key = "{key}"\n'
            verdict = world.judge(policy(world, trust=f"{pinned}{hardware()}"), bundle)
            assert verdict.status == status and codes(verdict) == ({"key-not-trusted"} if status else set())

    def test_two_receipts_in_one_bundle(self, world):
        sources = [attested_receipt(world, f"r{index}", receipt(world, context=str(index))) for index in range(2)]
        assert "ambiguous-proof" in codes(world.judge(policy(world), joined(world, "two", *sources)))

    def test_evidence_of_two_machines_about_one_receipt_is_one_inference(self, world):
        sources = [attested_receipt(world, f"r{index}", machine=machine) for index, machine in enumerate((SEV, OTHER))]
        one = joined(world, "one", *sources)
        assert world.judge(policy(world), one).status == 0
        asked = policy(world, rest="[model.tee]\ninferences = 2\n")
        assert codes(world.judge(asked, one)) == {"too-few-inferences"}

    def test_a_voter_of_a_round_that_nobody_tallies_is_not_passed_over(self, world):
        path = Played(world).write()[0].path
        with open_bundle(path) as bundle:
            (terms,) = [one for one in bundle.attestations.values() if isinstance(one.predicate, RoundTerms)]
            before = [bundle.attestations[parent] for parent in terms.predicate.parents()]
        about = AboutVoter(terms.id, VOTERS[0].public_key.keyid)
        predicate = dataclasses.replace(_predicate(attested_receipt(world)), about=about)
        subjects = (Subject(*subject_of(about)),)
        stray = Attestation(Envelope(canonical.encode(statement_document(subjects, predicate))), subjects, predicate)
        with open_bundle(attested_receipt(world, "r2")) as bundle:
            parts = [*bundle.attestations.values(), stray, terms, *before]
            payload = {name.removeprefix("payload/"): data for name, data in contents(bundle) if name.startswith("payload/")}
            created = bundle.manifest.created
            write_bundle(world.folder / "s", payload=payload, attestations=parts, signers=[ALICE], created=created)
        found = world.judge(policy(world), world.folder / "s").all_findings()
        told = {one.where for one in found if one.code == "attestation-not-judged"}
        assert f"attestations/{stray.id}.dsse.json" in told

    def test_more_attestations_than_anybody_would_check(self, world):
        bundle = attested_receipt(world)
        with open_bundle(bundle) as opened:
            (one,) = opened.attestations.values()
            payload = {name.removeprefix("payload/"): data for name, data in contents(opened) if name.startswith("payload/")}
            parts = []
            for number in range(MAX_ATTESTATIONS + 1):
                predicate = dataclasses.replace(one.predicate, crl=bytes([number]))
                text = canonical.encode(statement_document(one.subjects, predicate))
                parts.append(Attestation(Envelope(text), one.subjects, predicate))
            created = opened.manifest.created
            write_bundle(world.folder / "m", payload=payload, attestations=parts, signers=[ALICE], created=created)
        assert "tee-malformed" in codes(world.judge(policy(world), world.folder / "m"))

    def test_entries_do_not_lend_each_other_what_they_allow(self, world):
        """One names the code, the other a root, a floor, a mode: no one entry accepts the machine."""
        stranger = SevMachine(measurement=b"\x6b" * 48)
        bundle = attested_receipt(world)
        code = hardware()
        for other, missed in (
            (code.replace(SEV.roots.decode(), stranger.roots.decode()), "tee-root-not-trusted"),
            (code.replace("\nkind", "\nminimum_svns = { microcode = 255 }\nkind"), "tee-tcb-out-of-date"),
            (code.replace("revocation = false", "revocation = true"), "tee-revocation-unknown"),
        ):
            lenient = hardware(more="debug = true", register="cd" * 48)
            other, lenient = other.replace('"m"', '"other"'), lenient.replace('"m"', '"lenient"')
            assert missed in codes(world.judge(policy(world, trust=f"{other}\n{lenient}"), bundle))
            # In either order, the one that accepts all of it is enough.
            for trust in (f"{other}\n{code}", f"{code}\n{other}"):
                assert world.judge(policy(world, trust=trust), bundle).status == 0

    def test_an_entry_for_the_date_of_the_evidence_beside_one_for_now(self, world):
        machine = NitroMachine(made=ATTACHED)
        bundle, later = attested_receipt(world, machine=machine), NOW + timedelta(days=2)
        made, now = hardware(machine, more='judged = "made"').replace('"m"', '"made"'), hardware(machine)
        for trust in (f"{made}\n{now}", f"{now}\n{made}"):
            assert world.judge(policy(world, trust=trust), bundle, now=later).status == 0
        other = made.replace(machine.pcr0.hex(), "cd" * 48)
        assert world.judge(policy(world, trust=f"{now}\n{other}"), bundle, now=later).status == 3

    def test_test_roots_that_are_no_certificates_are_the_readers_fault(self, world):
        text = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n"
        trust = hardware().replace(SEV.roots.decode(), text * 2)
        found = world.judge(policy(world, trust=trust), attested_receipt(world))
        assert found.status == 4 and "bad-trust" in codes(found)


class TestBinding:
    def test_evidence_for_something_else_is_not_attached(self, world):
        plain = world.bundle("plain", 1)
        other = world.bundle("other", 2)
        wrong = SEV.report(report_data(claim_of_bundle(other)))
        with pytest.raises(EvidenceRejected) as caught:
            attach_evidence(plain, wrong, world.folder / "new", test_roots=SEV.roots)
        assert caught.value.code == "tee-not-bound" and not (world.folder / "new").exists()

    def test_moved_to_another_bundle(self, world):
        bundle, other = attested(world, "a", sample=1), attested(world, "b", sample=2)
        with open_bundle(other) as opened:
            (moved,) = [one.predicate for one in opened.attestations.values() if isinstance(one.predicate, HardwarePredicate)]
        for name, changes in (
            ("report", {"report": moved.report}),
            ("claim", {"report": moved.report, "about": dataclasses.replace(_about(bundle), statement=moved.about.statement)}),
        ):
            changed = rewrite(world, bundle, name, **changes)
            assert "tee-not-bound" in codes(world.judge(policy(world), changed))

    def test_a_receipt_rewritten(self, world):
        bundle = attested_receipt(world)
        about = _about(bundle)
        for name, change in (
            ("context", {"context": "fresh"}),
            ("inputs", {"inputs_sha256": sha256(b"other")}),
            ("model", {"model_sha256": sha256(b"other")}),
        ):
            changed = rewrite(world, bundle, name, about=dataclasses.replace(about, **change))
            found = codes(world.judge(policy(world), changed))
            assert found & {"tee-not-bound", "model-not-pinned"}

    def test_outputs_exchanged(self, world):
        bundle = attested_receipt(world)
        with open_bundle(bundle) as opened:
            parts = list(opened.attestations.values())
            write_bundle(
                world.folder / "x",
                payload={"receipt-outputs.bin": b"other"},
                attestations=parts,
                signers=[ALICE],
                created=opened.manifest.created,
            )
            write_bundle(world.folder / "y", payload={}, attestations=parts, signers=[ALICE], created=opened.manifest.created)
        for name in ("x", "y"):
            assert "tee-not-bound" in codes(world.judge(policy(world), world.folder / name))

    def test_a_receipt_turned_into_a_claim_about_a_proof(self, world):
        bundle = attested(world)
        with open_bundle(bundle) as opened:
            (proof,) = [one for one in opened.attestations.values() if one.predicate.TYPE == "urn:verifai:proof:v1"]
        about = AboutProof(proof.id, sha256(b"another statement"))
        changed = rewrite(world, bundle, "z", about=about)
        assert "tee-not-bound" in codes(world.judge(policy(world), changed))

    @pytest.mark.parametrize("offset", [0x10, 0x50, 0x90, 0x180, 0x1A0, 0x2A0, 0x400])
    def test_a_report_with_a_changed_byte(self, world, offset):
        bundle = attested(world)
        report = bytearray(_predicate(bundle).report)
        report[offset] ^= 1
        changed = rewrite(world, bundle, "c", report=bytes(report))
        found = codes(world.judge(policy(world), changed))
        assert found & {"tee-invalid", "tee-malformed"}


def _predicate(path: Path) -> HardwarePredicate:
    with open_bundle(path) as opened:
        (found,) = [one.predicate for one in opened.attestations.values() if isinstance(one.predicate, HardwarePredicate)]
    return found


def _about(path: Path):
    return _predicate(path).about


class TestAudit:
    def report(self, world: World, path: Path, trust: str, *, circuits: bool = True, **options):
        lock = world.write_lock()
        named = f'[circuits.net]\nlock = "{lock.name}"\nverification_key = "{sha256(b"net")}"\n' if circuits else ""
        world.trust(ROLES, rest=f"{named}{trust}")
        given = AuditOptions(now=format_utc(NOW), rederive=False, **options)
        return audit_bundle(path, read_trust(world.folder / "trust.toml"), given)

    def test_a_receipt_is_told_as_what_it_is(self, world):
        found = self.report(world, attested_receipt(world), hardware())
        assert found.status == 0, found.findings
        words = " ".join(found.words)
        assert "A machine says" in words and "no proof" in words
        assert {"tee-trusted", "tee-bound", "model-matches"} <= {one.code for one in found.findings}

    def test_a_receipt_without_trusted_hardware_is_nothing(self, world):
        found = self.report(world, attested_receipt(world), "")
        assert found.status == 3 and "tee-missing" in {one.code for one in found.findings}

    def test_a_receipt_of_a_model_that_no_lock_pins(self, world):
        found = self.report(world, attested_receipt(world), hardware(), circuits=False)
        assert found.status == 3 and "circuit-not-trusted" in {one.code for one in found.findings}

    def test_a_proof_with_bad_hardware_evidence_is_not_accepted(self, world):
        good = attested(world)
        codes_of = {one.code for one in self.report(world, good, hardware()).findings}
        assert {"tee-trusted", "tee-bound"} <= codes_of
        untold = self.report(world, good, "")
        assert "tee-not-judged" in {one.code for one in untold.findings}
        report = bytearray(_predicate(good).report)
        report[0x60] ^= 1
        bad = self.report(world, rewrite(world, good, "bad", report=bytes(report)), hardware())
        assert bad.status == 1 and "tee-invalid" in {one.code for one in bad.findings}

    def test_a_proof_and_a_receipt_in_one_bundle(self, world):
        mixed = joined(world, "mixed", world.bundle("plain", signers=[ALICE]), attested_receipt(world))
        found = self.report(world, mixed, hardware())
        assert found.status == 1 and "ambiguous-proof" in {one.code for one in found.findings}

    def test_what_stands_beside_a_receipt_is_not_passed_over(self, world):
        decision = Played(world).write()[0].path
        found = self.report(world, joined(world, "beside", decision, attested_receipt(world)), hardware())
        told = {one.code for one in found.findings}
        assert {"attestation-not-judged", "log-consistency-not-checked"} <= told

    def test_test_roots_that_are_no_certificates_are_the_auditors_fault(self, world):
        text = "-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n"
        with pytest.raises(UsageError) as caught:
            self.report(world, attested_receipt(world), hardware().replace(SEV.roots.decode(), text * 2))
        assert caught.value.code == "bad-trust"


class TestConsensus:
    """Three voters: two of them attested under test roots, one only says where it ran."""

    def decided(self, world: World, machines: Sequence[SevMachine], **report: bool) -> Path:
        path = Played(world).write()[0].path
        for index, machine in enumerate(machines):
            key, new = VOTERS[index].public_key, world.folder / f"decision-{index}"
            with open_bundle(path) as bundle:
                (terms,) = [one for one in bundle.attestations.values() if isinstance(one.predicate, RoundTerms)]
            evidence = machine.report(report_data(AboutVoter(terms.id, key.keyid)), **report)
            attach_evidence(path, evidence, new, key=key, test_roots=machine.roots, now=ATTACHED)
            path = new
        seal_bundle(path, signers=[CHAIR])
        return path

    def judge(self, world: World, bundle: Path, attested: int, trust: str | None = None) -> GateVerdict:
        world.write_lock()
        roles = {"voter": (VOTERS, 1), "consensus": ([CHAIR], 1)}
        top = world.trust(roles, rest=hardware() if trust is None else trust)
        path = world.folder / "verifai.toml"
        path.write_text(
            f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\nevidence = ["consensus"]\n'
            f"[model.consensus]\nverifiers = 3\nattested = {attested}\n"
        )
        return world.judge(path, bundle)

    @pytest.mark.parametrize(("attested", "accepted"), [(0, True), (1, True), (2, True), (3, False)])
    def test_two_of_three_are_attested(self, world, attested, accepted):
        verdict = self.judge(world, self.decided(world, [SEV, OTHER]), attested)
        assert codes(verdict) == (set() if accepted else {"too-few-attested"})

    @pytest.mark.parametrize(("machines", "attested"), [([SEV, SEV, SEV], 1), ([SEV, OTHER, SEV], 2), ([SEV, OTHER, THIRD], 3)])
    def test_one_machine_counts_once_however_many_verifiers_it_attests_to(self, world, machines, attested):
        bundle = self.decided(world, machines)
        assert codes(self.judge(world, bundle, attested)) == set()
        if attested < 3:
            assert codes(self.judge(world, bundle, attested + 1)) == {"too-few-attested"}

    def test_a_verifier_that_two_machines_attest_to_counts_once(self, world):
        path = Played(world).write()[0].path
        key = VOTERS[0].public_key
        for index, machine in enumerate((SEV, OTHER)):
            with open_bundle(path) as bundle:
                (terms,) = [one for one in bundle.attestations.values() if isinstance(one.predicate, RoundTerms)]
            evidence = machine.report(report_data(AboutVoter(terms.id, key.keyid)))
            new = world.folder / f"twice-{index}"
            attach_evidence(path, evidence, new, key=key, test_roots=machine.roots, now=ATTACHED)
            path = new
        seal_bundle(path, signers=[CHAIR])
        assert codes(self.judge(world, path, 1)) == set()
        assert codes(self.judge(world, path, 2)) == {"too-few-attested"}

    def test_a_word_about_an_environment_is_no_attestation(self, world):
        assert codes(self.judge(world, self.decided(world, []), 1)) == {"too-few-attested"}

    def test_one_machine_that_does_not_count_takes_nothing_from_the_votes(self, world):
        bundle = self.decided(world, [SEV, SEV], debug=True)
        assert codes(self.judge(world, bundle, 0)) == set()
        assert codes(self.judge(world, bundle, 1)) == {"too-few-attested"}

    def test_evidence_about_one_voter_does_not_speak_for_another(self, world):
        bundle = self.decided(world, [SEV])
        other = AboutVoter(_about(bundle).round, VOTERS[1].public_key.keyid)
        changed = rewrite(world, bundle, "moved", about=other)
        seal_bundle(changed, signers=[CHAIR])
        assert "tee-not-bound" in codes(self.judge(world, changed, 1))

    def test_somebody_who_was_not_asked(self, world):
        path = Played(world).write()[0].path
        with pytest.raises(UsageError) as caught:
            attach_evidence(path, SEV.report(bytes(64)), world.folder / "n", key=MALLORY.public_key, test_roots=SEV.roots)
        assert caught.value.code == "not-asked"

    def test_without_trusted_hardware_such_a_demand_is_refused(self, world):
        with pytest.raises(UsageError) as caught:
            self.judge(world, self.decided(world, [SEV]), 1, trust="")
        assert caught.value.code == "bad-policy"
