"""Machines under roots of our own: each way in which evidence may not count has its code."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import product

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support.fake_hardware import NOW, NitroMachine, SevMachine, TdxMachine, certify
from verifai.domain.findings import Outcome
from verifai.domain.hardware import IDENTIFYING, TcbStatus, TrustedHardware, distinct_machines, judge_hardware
from verifai.domain.record import Record
from verifai.errors import EvidenceRejected, UsageError
from verifai.hardware.certificates import load_pem_chain
from verifai.hardware.dispatch import verify_evidence
from verifai.hardware.evidence import HardwareEvidence

DATA = bytes(range(64))
MACHINES = (SevMachine(), NitroMachine(), TdxMachine())
SEV, NITRO, TDX = MACHINES


def facts_of(machine, evidence=None, at=NOW):
    return verify_evidence(evidence or machine.report(DATA), at, load_pem_chain(machine.roots, "roots"))


def entry_of(machine, **changes):
    facts = facts_of(machine)
    (register,) = IDENTIFYING[facts.kind]
    entry = TrustedHardware(
        "test",
        facts.kind,
        {register: facts.registers[register]},
        tcb=frozenset({TcbStatus.UNKNOWN, TcbStatus.UP_TO_DATE}),
        revocation=False,
        test_roots=machine.roots.decode(),
    )
    return replace(entry, **changes)


def bad(facts, entry, at=NOW):
    found = judge_hardware(facts, [entry], at=at)
    return {one.code for one in found if one.outcome is Outcome.POLICY_NOT_MET}


def code_of(call):
    with pytest.raises(EvidenceRejected) as caught:
        call()
    return caught.value.code


@pytest.mark.parametrize("machine", MACHINES, ids=lambda one: type(one).__name__)
class TestEveryKind:
    def test_a_test_machine_counts_where_its_root_is_named(self, machine):
        facts = facts_of(machine)
        assert facts.report_data == DATA and facts.test_root and not facts.debug
        found = judge_hardware(facts, [entry_of(machine)], at=NOW)
        assert {one.code for one in found} == {"tee-trusted", "tee-test-root", "tee-not-a-proof"}

    def test_without_its_root_it_is_no_evidence(self, machine):
        assert code_of(lambda: verify_evidence(machine.report(DATA), NOW)) == "tee-root-not-trusted"

    def test_another_test_root_is_not_the_one_that_is_named(self, machine):
        other = type(machine)()
        entry = replace(entry_of(machine), test_roots=other.roots.decode())
        assert "tee-root-not-trusted" in bad(facts_of(machine), entry)
        assert bad(facts_of(machine), replace(entry, test_roots="")) == {"tee-root-not-trusted"}

    def test_debug_mode(self, machine):
        facts = facts_of(machine, machine.report(DATA, debug=True))
        assert facts.debug
        assert "tee-debug" in bad(facts, entry_of(machine))
        lenient = entry_of(machine, debug=True)
        assert "tee-debug" not in bad(facts, lenient)
        told = {one.code for one in judge_hardware(facts, [lenient], at=NOW) if one.outcome is Outcome.NOT_CHECKED}
        assert "tee-debug" in told

    def test_another_measurement(self, machine):
        (register,) = IDENTIFYING[facts_of(machine).kind]
        assert bad(facts_of(machine), entry_of(machine, registers={register: "ab" * 48})) == {"tee-measurement-not-trusted"}

    def test_no_entry_of_its_kind(self, machine):
        found = judge_hardware(facts_of(machine), [], at=NOW)
        assert {one.code for one in found} == {"tee-measurement-not-trusted"}

    def test_out_of_its_time(self, machine):
        facts, entry = facts_of(machine), entry_of(machine)
        assert bad(facts, entry, facts.valid_until + timedelta(seconds=1)) == {"tee-not-current"}

    def test_the_nearest_entry_speaks(self, machine):
        (register,) = IDENTIFYING[facts_of(machine).kind]
        far = replace(entry_of(machine), name="far", registers={register: "ab" * 48})
        near = entry_of(machine, products=("other",))
        found = judge_hardware(facts_of(machine), [far, near], at=NOW)
        assert {one.code for one in found if one.outcome is Outcome.POLICY_NOT_MET} == {"tee-product-not-trusted"}
        assert judge_hardware(facts_of(machine), [far, entry_of(machine)], at=NOW)[0].code == "tee-trusted"


class TestSev:
    def test_product(self):
        assert bad(facts_of(SEV), entry_of(SEV, products=("Genoa",))) == {"tee-product-not-trusted"}
        assert not bad(facts_of(SEV), entry_of(SEV, products=("Milan", "Genoa")))

    def test_a_product_whose_root_is_not_pinned(self):
        assert code_of(lambda: facts_of(SevMachine(product="Venice-A0"))) == "tee-root-not-trusted"

    def test_firmware_below_the_floor(self):
        assert bad(facts_of(SEV), entry_of(SEV, minimum_svns={"microcode": 214})) == {"tee-tcb-out-of-date"}
        assert not bad(facts_of(SEV), entry_of(SEV, minimum_svns={"microcode": 213, "snp": 22}))
        assert bad(facts_of(SEV), entry_of(SEV, minimum_svns={"fmc": 0})) == {"tee-tcb-out-of-date"}

    def test_revocation(self):
        assert bad(facts_of(SEV), entry_of(SEV, revocation=True)) == {"tee-revocation-unknown"}
        clean = SEV.report(DATA, crl=SEV.ark.crl())
        facts = facts_of(SEV, clean)
        assert facts.revocation_checked and not bad(facts, entry_of(SEV, revocation=True))
        for revoked in (SEV.vcek, SEV.ask):
            evidence = SEV.report(DATA, crl=SEV.ark.crl([revoked.certificate]))
            assert code_of(lambda evidence=evidence: facts_of(SEV, evidence)) == "tee-revoked"
        old = facts_of(SEV, SEV.report(DATA, crl=SEV.ark.crl(start=NOW - timedelta(days=90))))
        assert bad(old, entry_of(SEV, revocation=True)) == {"tee-not-current"}
        stranger = SevMachine().ark.crl()
        assert code_of(lambda: facts_of(SEV, SEV.report(DATA, crl=stranger))) == "tee-invalid"

    def test_the_certificate_of_another_chip_or_version(self):
        other = SevMachine(chip=bytes(64))
        other.ark, other.ask = SEV.ark, SEV.ask
        evidence = replace(SEV.report(DATA), certificate=other.vcek.der)
        assert code_of(lambda: facts_of(SEV, evidence)) == "tee-invalid"
        # The right key, and a certificate that says another version than the report.
        older = SevMachine(versions=(4, 1, 21, 213))
        older.ark, older.ask = SEV.ark, SEV.ask
        mixed = HardwareEvidence(SEV.report(DATA).kind, older.raw(DATA), SEV.vcek.der)
        assert code_of(lambda: facts_of(SEV, mixed)) == "tee-invalid"

    def test_turin_has_another_layout_and_a_short_identifier(self):
        turin = SevMachine("Turin-B0", (4, 1, 22, 73), chip=bytes(range(8)))
        facts = facts_of(turin)
        assert facts.svns == {"fmc": 2, "bootloader": 4, "tee": 1, "snp": 22, "microcode": 73}
        assert (facts.product, facts.platform) == ("Turin", bytes(range(8)).hex())
        assert not bad(facts, entry_of(turin, minimum_svns={"fmc": 2}))
        assert bad(facts, entry_of(turin, minimum_svns={"fmc": 3})) == {"tee-tcb-out-of-date"}
        # A long identifier under the short one's line, and the other way round.
        for machine in (replace(turin, chip=bytes(64)), replace(SEV, chip=bytes(8))):
            assert code_of(lambda machine=machine: facts_of(machine)) == "tee-malformed"

    def test_versions_of_the_report(self):
        for version in (2, 3, 4, 5):
            assert facts_of(SEV, SEV.report(DATA, version=version)).report_data == DATA
        for version in (0, 1, 6):
            assert code_of(lambda version=version: facts_of(SEV, SEV.report(DATA, version=version))) == "tee-malformed"

    def test_a_guest_that_its_host_may_migrate_is_as_open_as_one_in_debug_mode(self):
        facts = facts_of(SEV, SEV.report(DATA, policy=1 << 18))
        assert bad(facts, entry_of(SEV)) == {"tee-debug"} and not bad(facts, entry_of(SEV, debug=True))

    def test_a_hidden_identifier_hides_no_machine_from_being_counted(self):
        assert facts_of(SEV, SEV.report(DATA, hide_chip=1)).platform == facts_of(SEV).platform == SEV.chip.hex()

    def test_an_identifier_of_the_chip_as_an_octet_string(self):
        machine = SevMachine(wrapped=True)
        assert facts_of(machine).platform == machine.chip.hex()

    @pytest.mark.parametrize("key_info", [1 << 2, 7 << 2, 0b10])
    def test_a_report_that_says_another_key_or_none_signed_it(self, key_info):
        assert code_of(lambda: facts_of(SEV, SEV.report(DATA, key_info=key_info))) == "tee-malformed"

    def test_a_part_of_a_revocation_list_is_none(self):
        part = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
        for critical in (part, x509.DeltaCRLIndicator(1)):
            evidence = SEV.report(DATA, crl=SEV.ark.crl(critical=[critical]))
            assert code_of(lambda evidence=evidence: facts_of(SEV, evidence)) == "tee-invalid"

    def test_parts_that_nobody_would_look_at(self):
        nitro, tdx = NITRO.report(DATA), TDX.report(DATA)
        for evidence, change in (
            (nitro, {"certificate": SEV.vcek.der}),
            (nitro, {"crl": SEV.ark.crl()}),
            (tdx, {"certificate": SEV.vcek.der}),
            (nitro, {"collateral": TDX.collateral()}),
            (SEV.report(DATA), {"collateral": TDX.collateral()}),
        ):
            assert code_of(lambda evidence=evidence, change=change: replace(evidence, **change)) == "tee-malformed"

    def test_roots_of_several_machines_that_share_a_name(self):
        other = SevMachine()
        for roots in (other.roots + SEV.roots, SEV.roots + other.roots):
            facts = verify_evidence(SEV.report(DATA), NOW, load_pem_chain(roots, "roots"))
            assert not bad(facts, entry_of(SEV))
            assert bad(facts, replace(entry_of(SEV), test_roots=other.roots.decode())) == {"tee-root-not-trusted"}

    def test_a_leaf_that_signs_for_itself(self):
        leaf = certify("SEV-VCEK", ec.generate_private_key(ec.SECP384R1()), SEV.vcek, ca=False)
        assert code_of(lambda: facts_of(SEV, replace(SEV.report(DATA), certificate=leaf.der))) in {
            "tee-malformed",
            "tee-root-not-trusted",
        }


class TestNitro:
    def test_fields_must_be_of_their_types(self):
        for change in (
            {"digest": "SHA256"},
            {"timestamp": 0},
            {"timestamp": True},
            {"pcrs": {}},
            {"pcrs": {0: b"short"}},
            {"cabundle": []},
            {"module_id": ""},
            {"user_data": "text"},
            {"extra": 1},
        ):
            assert code_of(lambda change=change: facts_of(NITRO, NITRO.report(DATA, **change))) == "tee-malformed"

    def test_a_bundle_of_certificates_that_leads_elsewhere(self):
        stranger = NitroMachine()
        evidence = NITRO.report(DATA, cabundle=[stranger.root.der, stranger.zone.der])
        assert code_of(lambda: facts_of(NITRO, evidence)) == "tee-root-not-trusted"
        # The named root in front, and a stranger's certificate behind it.
        evidence = NITRO.report(DATA, cabundle=[NITRO.root.der, stranger.zone.der])
        assert code_of(lambda: facts_of(NITRO, evidence)) in {"tee-root-not-trusted", "tee-invalid"}
        # A leaf that is no authority signs another leaf.
        below = certify("below", ec.generate_private_key(ec.SECP384R1()), NITRO.leaf, ca=False, start=NOW, days=0.1)
        evidence = NITRO.report(DATA, certificate=below.der, cabundle=[NITRO.root.der, NITRO.zone.der, NITRO.leaf.der])
        assert code_of(lambda: facts_of(NITRO, evidence)) == "tee-invalid"

    @pytest.mark.parametrize(
        ("zone", "fine"),
        [
            ({}, True),
            ({"path_length": 1}, True),
            ({"path_length": 0}, False),
            ({"signs_certificates": False}, False),
            ({"extensions": [("1.2.3.4", b"x")]}, True),
            ({"extensions": [("1.2.3.4", b"x")], "critical": True}, False),
        ],
    )
    def test_what_an_authority_may_do(self, zone, fine):
        """RFC 5280 section 6.1: how many authorities may follow, what a key is for, and what nobody understands."""
        first = certify("zone", ec.generate_private_key(ec.SECP384R1()), NITRO.root, **zone)
        second = certify("instance", ec.generate_private_key(ec.SECP384R1()), first)
        leaf = certify("enclave", NITRO.leaf.key, second, ca=False)
        evidence = NITRO.report(DATA, certificate=leaf.der, cabundle=[NITRO.root.der, first.der, second.der])
        if fine:
            assert facts_of(NITRO, evidence).report_data == DATA
        else:
            assert code_of(lambda: facts_of(NITRO, evidence)) == "tee-invalid"

    @pytest.mark.parametrize("curve", [ec.SECP256R1, ec.SECP521R1, None])
    def test_a_key_of_another_curve_or_kind(self, curve):
        key = rsa.generate_private_key(65537, 2048) if curve is None else ec.generate_private_key(curve())
        leaf = certify("enclave", key, NITRO.zone, ca=False)
        assert code_of(lambda: facts_of(NITRO, NITRO.report(DATA, certificate=leaf.der))) == "tee-invalid"

    @pytest.mark.parametrize("timestamp", [2**52, 2**63, 2**80, -1, 1.5])
    def test_a_moment_that_is_no_date(self, timestamp):
        assert code_of(lambda: facts_of(NITRO, NITRO.report(DATA, timestamp=timestamp))) == "tee-malformed"

    def test_other_spellings_of_the_envelope(self):
        protected, unprotected, payload, signature = cbor2.loads(NITRO.raw(DATA))
        for document in (
            [protected, {1: -35}, payload, signature],
            [cbor2.dumps({1: -7}), unprotected, payload, signature],
            [protected, unprotected, payload, signature, b""],
            cbor2.CBORTag(18, [protected, unprotected, payload, signature]),
            {"payload": payload},
        ):
            evidence = HardwareEvidence(NITRO.report(DATA).kind, cbor2.dumps(document))
            assert code_of(lambda evidence=evidence: facts_of(NITRO, evidence)) == "tee-malformed"

    def test_deep_nesting_is_refused(self):
        evidence = HardwareEvidence(NITRO.report(DATA).kind, b"\x81" * 60_000)
        assert code_of(lambda: facts_of(NITRO, evidence)) == "tee-malformed"


class TestTdx:
    def test_collateral_tells_the_state_of_the_firmware(self):
        for component, status in ((7, TcbStatus.UP_TO_DATE), (6, TcbStatus.OUT_OF_DATE), (4, TcbStatus.UNSUPPORTED)):
            machine = TdxMachine(component=component)
            facts = facts_of(machine, machine.report(DATA, collateral=machine.collateral()))
            assert facts.tcb is status and facts.revocation_checked
            expected = set() if status is TcbStatus.UP_TO_DATE else {"tee-tcb-out-of-date"}
            assert bad(facts, replace(entry_of(machine), revocation=True)) == expected

    def test_without_collateral_nothing_is_known(self):
        strict = replace(entry_of(TDX), tcb=frozenset({TcbStatus.UP_TO_DATE}), revocation=True)
        assert bad(facts_of(TDX), strict) == {"tee-tcb-unknown", "tee-revocation-unknown"}

    def test_revoked(self):
        for revoked in (TDX.pck,):
            evidence = TDX.report(DATA, collateral=TDX.collateral(revoked=[revoked.certificate]))
            assert code_of(lambda evidence=evidence: facts_of(TDX, evidence)) == "tee-revoked"
        withdrawn = replace(TDX.collateral(), root_crl=TDX.root.crl([TDX.platform_ca.certificate]))
        assert code_of(lambda: facts_of(TDX, TDX.report(DATA, collateral=withdrawn))) == "tee-revoked"

    def test_collateral_out_of_its_time(self):
        facts = facts_of(TDX, TDX.report(DATA, collateral=TDX.collateral()), NOW + timedelta(days=60))
        assert bad(facts, entry_of(TDX), NOW + timedelta(days=60)) == {"tee-not-current"}

    def test_collateral_of_a_stranger(self):
        stranger = TdxMachine().collateral()
        mine = TDX.collateral()
        for part in ("tcb_info", "qe_identity", "pck_crl", "root_crl", "signing_certificate", "pck_crl_issuer"):
            mixed = replace(mine, **{part: getattr(stranger, part)})
            code = code_of(lambda mixed=mixed: facts_of(TDX, TDX.report(DATA, collateral=mixed)))
            assert code in {"tee-invalid", "tee-root-not-trusted"}

    def test_collateral_of_another_platform(self):
        other = TdxMachine(fmspc=b"\1" * 6, _keys=TDX._keys)
        assert code_of(lambda: facts_of(TDX, TDX.report(DATA, collateral=other.collateral()))) in {"tee-invalid"}

    def test_collateral_for_something_else(self):
        """All of it genuinely signed: TCB info of SGX or another PCE, the identity of another enclave, another module."""
        module = {"mrsigner": "11" * 48, "attributes": "00" * 8, "attributesMask": "FF" * 8}
        for changes in (
            {"info_changes": {"id": "SGX"}},
            {"info_changes": {"version": 2}},
            {"info_changes": {"pceId": "0001"}},
            {"info_changes": {"tdxModule": module}},
            {"identity_changes": {"id": "QE"}},
            {"identity_changes": {"isvprodid": 1}},
        ):
            evidence = TDX.report(DATA, collateral=TDX.collateral(**changes))
            assert code_of(lambda evidence=evidence: facts_of(TDX, evidence)) == "tee-invalid"

    def test_an_old_quoting_enclave_makes_the_platform_old(self):
        date = "2026-02-15T00:00:00Z"
        levels = [
            {"tcb": {"isvsvn": svn}, "tcbDate": date, "tcbStatus": status}
            for svn, status in ((5, "UpToDate"), (4, "OutOfDate"))
        ]
        evidence = TDX.report(DATA, collateral=TDX.collateral(identity_changes={"tcbLevels": levels}))
        assert facts_of(TDX, evidence).tcb is TcbStatus.OUT_OF_DATE

    @pytest.mark.parametrize(
        ("version", "place", "value"),
        [
            (4, 120, (1 << 28 | 1 << 29).to_bytes(8, "little")),  # MIGRATABLE
            (4, 120, (1 << 28 | 1 << 3).to_bytes(8, "little")),  # a reserved bit of TUD
            (4, 112, b"\1"),  # attributes of the TDX module
            (4, 64, b"\1"),  # its signer
            (5, 600, b"\1"),  # a service TD
        ],
    )
    def test_a_guest_that_is_open_to_its_host(self, version, place, value):
        def facts(*patches):
            return facts_of(TDX, HardwareEvidence(TDX.report(DATA).kind, TDX.raw(DATA, version=version, patches=patches)))

        assert not bad(facts(), entry_of(TDX))
        assert bad(facts((place, value)), entry_of(TDX)) == {"tee-debug"}

    def test_a_leaf_that_is_no_pck_certificate(self):
        leaf = certify("Test TCB Signing", TDX._keys["pck"], TDX.platform_ca, ca=False)
        quote = HardwareEvidence(TDX.report(DATA).kind, TDX.raw(DATA, leaf=leaf))
        assert code_of(lambda: facts_of(TDX, quote)) == "tee-malformed"

    def test_another_quoting_enclave(self):
        stranger = TdxMachine(qe_signer=b"\1" * 32)
        assert code_of(lambda: facts_of(stranger)) == "tee-invalid"
        quote = HardwareEvidence(TDX.report(DATA).kind, TDX.raw(DATA, qe_debug=True))
        assert code_of(lambda: facts_of(TDX, quote)) == "tee-invalid"


class TestTrustEntries:
    def read(self, **fields):
        table = {"name": "x", "kind": "nitro", "registers": {"pcr0": "ab" * 48}, **fields}
        return TrustedHardware.from_record(Record(table, "hardware", error=UsageError, code="bad-trust"))

    def test_what_is_left_out(self):
        entry = self.read()
        assert (entry.debug, entry.revocation, entry.judged_when_made) == (False, True, False)
        assert entry.tcb == {TcbStatus.UNKNOWN}
        assert self.read(kind="tdx", registers={"mrtd": "ab" * 48}).tcb == {TcbStatus.UP_TO_DATE}

    @pytest.mark.parametrize(
        "fields",
        [
            {"registers": {}},
            {"registers": {"pcr1": "ab" * 48}},
            {"registers": {"pcr0": "AB" * 48}},
            {"registers": {"pcr0": "ab" * 48, "pcr99": "ab" * 48}},
            {"kind": "sgx"},
            {"tcb": []},
            {"tcb": ["Revoked"]},
            {"tcb": ["fine"]},
            {"minimum_svns": {"microcode": 1}},
            {"judged": "later"},
            {"test_roots": "no certificate"},
            {"test_roots": SEV.roots.decode()},
            {"kind": "sev-snp", "registers": {"measurement": "ab" * 48}, "test_roots": NITRO.roots.decode()},
            {"misspelt": True},
        ],
    )
    def test_what_could_not_be_meant_is_refused(self, fields):
        with pytest.raises(UsageError) as caught:
            self.read(**fields)
        assert caught.value.code == "bad-trust"

    def test_roots_are_kept_in_one_spelling(self):
        text = "words\n" + NITRO.roots.decode().rstrip() + "\nmore words"
        assert self.read(test_roots=text).test_roots == NITRO.roots.decode()


@pytest.mark.parametrize(
    ("shown", "machines"),
    [
        ("", 0),
        ("aM bM cM", 1),
        ("aM bN cO", 3),
        ("aM aN aO", 1),
        ("aM aN bM", 2),
        ("aM bM bN cN cO", 3),
        ("aM aN aO bP cP", 2),
        ("aM aM", 1),
    ],
)
def test_parties_on_machines_of_their_own(shown, machines):
    """The largest matching, against every choice of one machine for each party."""
    pairs = [(pair[0], pair[1]) for pair in shown.split()]
    parties = sorted({party for party, _ in pairs})
    choices = product(*([machine for name, machine in pairs if name == party] for party in parties))
    assert distinct_machines(pairs) == machines == max((len(set(one)) for one in choices), default=0)
