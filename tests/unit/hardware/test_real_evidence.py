"""Real evidence of real machines: accepted at its time, judged out of it, and no byte of it can be changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from verifai.domain.findings import Outcome
from verifai.domain.hardware import IDENTIFYING, HardwareFacts, HardwareKind, TcbStatus, TrustedHardware, judge_hardware
from verifai.errors import EvidenceRejected
from verifai.hardware.dispatch import verify_evidence
from verifai.hardware.evidence import Collateral, HardwareEvidence
from verifai.hardware.tdx import quote_length
from verifai.hardware.verify import verify_hardware

VECTORS = Path(__file__).parents[2] / "vectors" / "tee"
COLLATERAL_TIME = datetime(2023, 6, 25, tzinfo=UTC)


def read(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def quote(name: str) -> bytes:
    data = read(name)
    return data[: quote_length(data)]


def intel_collateral() -> Collateral:
    return Collateral(
        tcb_info=read("tdx-tcb-info.json"),
        qe_identity=read("tdx-qe-identity.json"),
        signing_certificate=read("tdx-signing-certificate.pem"),
        pck_crl=read("tdx-pck-crl.der"),
        pck_crl_issuer=read("tdx-pck-crl-issuer.pem"),
        root_crl=read("tdx-root-crl.der"),
    )


def snp() -> HardwareEvidence:
    return HardwareEvidence(HardwareKind.SEV_SNP, read("sev-snp-report-milan.bin"), read("sev-snp-vcek.der"))


def nitro(name: str = "nitro-doc.cbor") -> HardwareEvidence:
    return HardwareEvidence(HardwareKind.NITRO, read(name))


def tdx(name: str, collateral: Collateral | None = None) -> HardwareEvidence:
    return HardwareEvidence(HardwareKind.TDX, quote(name), collateral=collateral)


def verify(evidence: HardwareEvidence, at: datetime = COLLATERAL_TIME) -> HardwareFacts:
    return verify_evidence(evidence, at)


CASES = {
    "snp": (snp, "b07af9620f3b839b", datetime(2024, 1, 1, tzinfo=UTC), True),
    "nitro": (nitro, "f4d48b81a460c991", datetime(2022, 10, 13, 9, tzinfo=UTC), False),
    "nitro-debug": (lambda: nitro("nitro-doc-debug.cbor"), "0000000000000000", datetime(2022, 10, 12, 14, tzinfo=UTC), True),
    "tdx-4": (lambda: tdx("tdx-quote-v4.bin"), "6363b8043668a3ad", datetime(2024, 1, 1, tzinfo=UTC), False),
    "tdx-4-cos": (lambda: tdx("tdx-quote-cos113.bin"), "dae67181d3d65e07", datetime(2025, 1, 1, tzinfo=UTC), False),
    "tdx-5": (lambda: tdx("tdx-quote-v5.bin"), "7348651a34b2d2d3", datetime(2026, 6, 1, tzinfo=UTC), False),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_genuine_and_current_at_its_time_only(name):
    make, measured, at, debug = CASES[name]
    facts = verify_hardware(make(), at)  # in the fenced child, as everybody asks
    (register,) = IDENTIFYING[facts.kind]
    assert facts.registers[register].startswith(measured)
    assert (facts.debug, facts.test_root) == (debug, False)
    entry = TrustedHardware("test", facts.kind, {register: facts.registers[register]}, revocation=False, debug=True)
    entry = replace(entry, tcb=frozenset({TcbStatus.UNKNOWN}))
    assert _outcome(facts, entry, at) is Outcome.HOLDS
    for moment in (facts.valid_from - timedelta(seconds=1), facts.valid_until + timedelta(seconds=1)):
        assert _bad_codes(facts, entry, moment) == {"tee-not-current"}
    strict = replace(entry, debug=False)
    assert _bad_codes(facts, strict, at) == ({"tee-debug"} if debug else set())


def _outcome(facts, entry, at):
    found = [one.outcome for one in judge_hardware(facts, [entry], at=at)]
    return Outcome.HOLDS if set(found) <= {Outcome.HOLDS, Outcome.NOT_CHECKED} and Outcome.HOLDS in found else found


def _bad_codes(facts, entry, at):
    bad = (Outcome.REJECTED, Outcome.POLICY_NOT_MET)
    return {one.code for one in judge_hardware(facts, [entry], at=at) if one.outcome in bad}


def test_report_data_is_what_was_asked_for():
    assert verify(tdx("tdx-quote-cos113.bin")).report_data == read("tdx-quote-cos113-nonce.bin")
    assert verify(snp()).report_data.startswith(bytes([1, 2, 3, 4, 5, 0]))
    assert verify(nitro("nitro-doc-debug.cbor")).report_data == b"hello, world!"


def test_collateral_of_the_time_says_that_the_firmware_is_too_old():
    facts = verify(tdx("tdx-quote-v4.bin", intel_collateral()))
    assert (facts.tcb, facts.revocation_checked) == (TcbStatus.UNSUPPORTED, True)
    # The span in which every certificate, list and document is valid.
    assert (f"{facts.valid_from:%Y-%m-%d}", f"{facts.valid_until:%Y-%m-%d}") == ("2023-06-18", "2023-07-08")
    assert (
        verify(tdx("tdx-quote-v4.bin", intel_collateral()), datetime(2026, 1, 1, tzinfo=UTC)).valid_until == facts.valid_until
    )


def _refuses_every_byte(data: bytes, parse: Callable[[bytes], object], step: int = 1) -> int:
    tried = 0
    for index in range(0, len(data), step):
        changed = bytearray(data)
        changed[index] ^= 1 << index % 8
        with pytest.raises(EvidenceRejected) as caught:
            parse(bytes(changed))
        assert caught.value.code in {"tee-malformed", "tee-invalid", "tee-root-not-trusted", "tee-revoked"}
        tried += 1
    return tried


def test_no_byte_of_a_report_or_its_certificate_can_be_changed():
    one = snp()
    assert _refuses_every_byte(one.report, lambda data: verify(replace(one, report=data))) == 1184
    assert _refuses_every_byte(one.certificate, lambda data: verify(replace(one, certificate=data))) == 1360


STRIDE = {"nitro-doc.cbor": 5, "tdx-quote-v4.bin": 3, "tdx-quote-v5.bin": 3}
"""How many bytes are left out in the quick run; `make test-slow` leaves out none."""


@pytest.mark.parametrize("name", STRIDE)
def test_bytes_of_quotes_and_documents_cannot_be_changed(name):
    one = nitro(name) if name.startswith("nitro") else tdx(name)
    assert _refuses_every_byte(one.report, lambda data: verify(replace(one, report=data)), STRIDE[name])


@pytest.mark.parametrize("part", [one.name for one in fields(Collateral)])
def test_bytes_of_collateral_cannot_be_changed(part):
    collateral = intel_collateral()
    evidence = tdx("tdx-quote-v4.bin", collateral)
    _refuses_every_byte(
        getattr(collateral, part),
        lambda data: verify(replace(evidence, collateral=replace(collateral, **{part: data}))),
        29,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", STRIDE)
def test_no_byte_of_a_quote_or_document_can_be_changed(name):
    one = nitro(name) if name.startswith("nitro") else tdx(name)
    assert _refuses_every_byte(one.report, lambda data: verify(replace(one, report=data))) == len(one.report)


@pytest.mark.slow
@pytest.mark.parametrize("part", [one.name for one in fields(Collateral)])
def test_no_byte_of_collateral_can_be_changed(part):
    collateral = intel_collateral()
    evidence = tdx("tdx-quote-v4.bin", collateral)
    data = getattr(collateral, part)
    tried = _refuses_every_byte(data, lambda new: verify(replace(evidence, collateral=replace(collateral, **{part: new}))))
    assert tried == len(data)


@pytest.mark.parametrize("make", [snp, nitro, lambda: tdx("tdx-quote-v4.bin")])
def test_what_is_cut_off_or_longer_is_refused(make):
    one = make()
    for data in (b"", one.report[:40], one.report[:-1], one.report + b"\0", one.report * 2, bytes(len(one.report))):
        with pytest.raises(EvidenceRejected) as caught:
            verify(replace(one, report=data))
        assert caught.value.code in {"tee-malformed", "tee-invalid"}


def test_evidence_of_one_kind_is_refused_as_another():
    for kind in HardwareKind:
        for one in (snp(), nitro(), tdx("tdx-quote-v4.bin")):
            if one.kind is not kind:
                with pytest.raises(EvidenceRejected):
                    verify(HardwareEvidence(kind, one.report, one.certificate or read("sev-snp-vcek.der")))


def test_sizes_are_looked_at_before_anything_is_parsed():
    with pytest.raises(EvidenceRejected) as caught:
        HardwareEvidence(HardwareKind.NITRO, bytes(70_000))
    assert caught.value.code == "tee-malformed"
