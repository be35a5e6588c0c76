"""seal, pack, inspect, diff, witnesses and the audit page, on made-up and on frozen bundles."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.support.bundle_samples import CREATED, PAYLOAD, TestSigner, attestations, circuit_predicate, write_sample
from tests.support.paths import ROOT
from verifai.bundle.consistency import ConsistencyProof, cosign, parse_consistency
from verifai.bundle.dsse import attest
from verifai.bundle.log import create_log, open_log
from verifai.bundle.note import NoteKey, parse_checkpoint
from verifai.bundle.reader import open_bundle
from verifai.bundle.sbom import check_sbom, make_sbom
from verifai.bundle.writer import write_bundle
from verifai.domain.attestation.circuit import FidelityFigures
from verifai.domain.attestation.envelope import Subject
from verifai.domain.audit import AuditReport, ChainNode
from verifai.domain.comparison import OutputComparison
from verifai.domain.digest import Sha256, sha256
from verifai.domain.findings import Finding, Outcome
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.reports.html_audit import render_html
from verifai.stages.audit.audit import audit_bundle
from verifai.stages.audit.options import AuditOptions
from verifai.stages.diff import diff_bundles
from verifai.stages.inspect import inspect_bundle
from verifai.stages.log import append_entries, check_log_file, prove_entry, verify_entry
from verifai.stages.seal import seal_bundle
from verifai.stages.verify import Expectations
from verifai.trust_file import read_trust

KEY, LOG, WITNESS = TestSigner(1), TestSigner(2), TestSigner(3)
ORIGIN = "example.org/l"
V1 = ROOT / "fixtures" / "bundles" / "v1"
ROOT = V1.parents[2]


# --- seal ---------------------------------------------------------------------------------------------------------------------


def test_seal_refuses_to_do_nothing_and_half_a_log(tmp_path: Path) -> None:
    write_sample(tmp_path / "b")
    for arguments in (
        {},
        {"log": tmp_path / "log"},
        {"log_signer": LOG, "signers": [KEY]},
        {"log": tmp_path / "log", "log_signer": LOG},
        {"checkpoint": tmp_path / "cp", "signers": [KEY]},
    ):
        with pytest.raises(UsageError) as problem:
            seal_bundle(tmp_path / "b", **arguments)  # type: ignore[arg-type]
        assert problem.value.code == "bad-option"


def test_sealing_adds_signatures_and_keeps_the_name(tmp_path: Path) -> None:
    written = write_sample(tmp_path / "b")
    for signer in (KEY, LOG):
        assert seal_bundle(tmp_path / "b", signers=[signer]).bundle_id == written
    with open_bundle(tmp_path / "b") as bundle:
        assert bundle.check_signatures([KEY.public_key, LOG.public_key]).signers == {KEY.public_key, LOG.public_key}
    before = (tmp_path / "b" / "bundle.dsse.json").read_bytes()
    seal_bundle(tmp_path / "b", signers=[KEY])
    assert (tmp_path / "b" / "bundle.dsse.json").read_bytes() == before


def test_sealing_with_a_log_makes_a_new_bundle_that_names_the_old(tmp_path: Path) -> None:
    old = write_sample(tmp_path / "b")
    create_log(tmp_path / "log", origin=ORIGIN, key=LOG.public_key)
    sealed = seal_bundle(tmp_path / "b", signers=[KEY], output=tmp_path / "n", log=tmp_path / "log", log_signer=LOG)
    with open_bundle(tmp_path / "n") as bundle:
        assert bundle.manifest.succeeds == old
        assert bundle.bundle_id == sealed.bundle_id != old
        assert set(bundle.log) == {"checkpoint", *(f"{one}.tlog-proof" for one in bundle.attestations)}
    assert sealed.sidecar is not None
    assert verify_entry(sealed.sidecar, sealed.bundle_id, ORIGIN, LOG.public_key).size == 3
    with pytest.raises(EvidenceRejected) as problem:
        verify_entry(sealed.sidecar, old, ORIGIN, LOG.public_key)
    assert problem.value.code == "log-proof-invalid"


def test_a_checkpoint_of_another_log_is_not_sealed_in(tmp_path: Path) -> None:
    write_sample(tmp_path / "b")
    for name in ("log", "fork"):
        create_log(tmp_path / name, origin=ORIGIN, key=LOG.public_key)
    append_entries(tmp_path / "fork", [sha256(b"other"), sha256(b"more")])
    with open_log(tmp_path / "fork") as fork:
        (tmp_path / "cp").write_bytes(fork.checkpoint(LOG).to_bytes())
    with pytest.raises(EvidenceRejected) as problem:
        seal_bundle(tmp_path / "b", output=tmp_path / "n", log=tmp_path / "log", log_signer=LOG, checkpoint=tmp_path / "cp")
    assert problem.value.code == "log-inconsistent"
    assert not (tmp_path / "n").exists()


# --- log stages and witnesses -------------------------------------------------------------------------------------------------


def test_a_bundle_is_logged_with_all_its_attestations(tmp_path: Path) -> None:
    written = write_sample(tmp_path / "b")
    create_log(tmp_path / "log", origin=ORIGIN, key=LOG.public_key)
    done = append_entries(tmp_path / "log", [str(tmp_path / "b"), str(tmp_path / "b")])
    assert done.size == 3
    assert set(done.positions) == {written, *(one.id for one in attestations())}
    (tmp_path / "p").write_bytes(prove_entry(tmp_path / "log", written, LOG).to_bytes())
    verify_entry(tmp_path / "p", written, ORIGIN, LOG.public_key)


def test_a_log_whose_past_was_changed_does_not_extend_an_old_checkpoint(tmp_path: Path) -> None:
    create_log(tmp_path / "log", origin=ORIGIN, key=LOG.public_key)
    append_entries(tmp_path / "log", [sha256(b"1"), sha256(b"2")])
    with open_log(tmp_path / "log") as log:
        (tmp_path / "seen").write_bytes(log.checkpoint(LOG).to_bytes())
    append_entries(tmp_path / "log", [sha256(b"3")])
    assert check_log_file(tmp_path / "log", tmp_path / "seen") == 3
    create_log(tmp_path / "fork", origin=ORIGIN, key=LOG.public_key)
    append_entries(tmp_path / "fork", [sha256(b"1"), sha256(b"x"), sha256(b"3")])
    for name in ("fork", "short"):
        if name == "short":
            create_log(tmp_path / name, origin=ORIGIN, key=LOG.public_key)
            append_entries(tmp_path / name, [sha256(b"1")])
        with pytest.raises(EvidenceRejected) as problem:
            check_log_file(tmp_path / name, tmp_path / "seen")
        assert problem.value.code == "log-inconsistent"


def test_a_witness_signs_only_what_extends_what_it_saw(tmp_path: Path) -> None:
    create_log(tmp_path / "log", origin=ORIGIN, key=LOG.public_key)
    create_log(tmp_path / "fork", origin=ORIGIN, key=LOG.public_key)
    append_entries(tmp_path / "log", [sha256(b"1"), sha256(b"2")])
    append_entries(tmp_path / "fork", [sha256(b"1"), sha256(b"x"), sha256(b"3")])
    arguments = {"name": "w.example/1", "signer": WITNESS, "state": tmp_path / "state", "seconds": 1_700_000_000}
    log_key = NoteKey(ORIGIN, LOG.public_key)
    with open_log(tmp_path / "log") as log, open_log(tmp_path / "fork") as fork:
        first = log.checkpoint(LOG)
        assert len(cosign(first, log_key, consistency=None, **arguments).signatures) == 2  # type: ignore[arg-type]
        append_entries(tmp_path / "log", [sha256(b"3")])
        second, forked = log.checkpoint(LOG), fork.checkpoint(LOG)
        proof = parse_consistency(ConsistencyProof(2, 3, log.prove_consistency(2, 3)).to_bytes(), "")
        their_proof = ConsistencyProof(2, 3, fork.prove_consistency(2, 3))
    seen = (tmp_path / "state").read_bytes()
    with pytest.raises(PolicyNotMet) as missing:
        cosign(second, log_key, consistency=None, **arguments)  # type: ignore[arg-type]
    assert missing.value.code == "consistency-missing"
    for wrong in (proof, their_proof):
        with pytest.raises(EvidenceRejected) as problem:
            cosign(forked, log_key, consistency=wrong, **arguments)  # type: ignore[arg-type]
        assert problem.value.code == "log-inconsistent"
    assert (tmp_path / "state").read_bytes() == seen
    cosign(second, log_key, consistency=proof, **arguments)  # type: ignore[arg-type]
    assert parse_checkpoint((tmp_path / "state").read_bytes(), "").size == 3
    with pytest.raises(EvidenceRejected):  # the log shrinks
        cosign(first, log_key, consistency=None, **arguments)  # type: ignore[arg-type]


# --- inspect and diff ---------------------------------------------------------------------------------------------------------


def test_inspect_says_what_is_inside_and_that_nothing_was_verified(tmp_path: Path) -> None:
    written = write_sample(tmp_path / "b", (KEY,))
    summary = inspect_bundle(tmp_path / "b")
    assert summary.bundle_id == written
    assert summary.signers == (KEY.public_key.keyid,)
    assert summary.circuit is not None
    assert summary.circuit.name == "sample"
    assert {one.predicate_type for one in summary.attestations} == {"urn:verifai:circuit:v1", "urn:verifai:proof:v1"}
    assert summary.to_json()["verified"] is False


def test_diff_names_fidelity_scale_cost_signers_and_nothing_else(tmp_path: Path) -> None:
    write_sample(tmp_path / "a", (KEY,))
    assert diff_bundles(tmp_path / "a", tmp_path / "a") == ()
    circuit = attest(
        replace(circuit_predicate(), fidelity=FidelityFigures(10, 8, Fraction(1, 4), Fraction(1, 64), 3)),
        [Subject("model.onnx", sha256(PAYLOAD["model.onnx"]))],
        [LOG],
    )
    payload = {**PAYLOAD, "proof.json": PAYLOAD["proof.json"] + b" "}
    write_bundle(tmp_path / "b", payload=payload, attestations=[circuit], created=CREATED)
    changes = {(one.aspect.value, one.item): (one.before, one.after) for one in diff_bundles(tmp_path / "a", tmp_path / "b")}
    assert changes[("fidelity", "top1_matches")] == ("9", "8")
    assert changes[("fidelity", "max_abs_error")] == ("0.125", "0.25")
    assert changes[("cost", "payload/proof.json")] == ("14 bytes", "15 bytes")
    assert changes[("signers", "manifest")] == (KEY.public_key.keyid, "none")
    assert ("tensors", "input pixels: scale") in changes
    assert not [one for one in changes if one[0] in ("weights", "operators")]


def test_diff_looks_into_models(tmp_path: Path) -> None:
    bundles = []
    for name in ("digits-mlp", "breast-cancer-mlp"):
        model = (ROOT / "fixtures" / name / "model.onnx").read_bytes()
        predicate = replace(circuit_predicate(name), model_sha256=sha256(model))
        one = attest(predicate, [Subject("model.onnx", sha256(model))])
        write_bundle(tmp_path / name, payload={"model.onnx": model}, attestations=[one], created=CREATED)
        bundles.append(tmp_path / name)
    changes = diff_bundles(*bundles)
    assert {"weights", "circuit"} <= {one.aspect.value for one in changes}


# --- bill of materials --------------------------------------------------------------------------------------------------------

FILES = {name: sha256(data) for name, data in PAYLOAD.items()}


def test_the_bill_of_materials_is_valid_cyclonedx_and_the_same_every_time() -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    data = make_sbom(circuit_predicate(), CREATED, FILES)
    assert data == make_sbom(circuit_predicate(), CREATED, FILES)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode()) is None
    assert set(check_sbom(data, circuit_predicate(), CREATED, FILES)) >= {"numpy", "onnx", "verifai"}


@pytest.mark.parametrize(
    ("circuit", "created", "files"),
    [
        (replace(circuit_predicate(), model_sha256=Sha256("0" * 64)), CREATED, FILES),
        (replace(circuit_predicate(), engine_version="1"), CREATED, FILES),
        (replace(circuit_predicate(), fidelity=None), CREATED, FILES),
        (replace(circuit_predicate(), insecure=()), CREATED, FILES),
        (circuit_predicate(), "2026-01-31T12:00:01Z", FILES),
        (circuit_predicate(), CREATED, {**FILES, "vk.bin": Sha256("0" * 64)}),
        (circuit_predicate(), CREATED, {}),
    ],
)
def test_a_bill_of_materials_of_other_evidence_is_refused(circuit, created: str, files) -> None:
    data = make_sbom(circuit_predicate(), CREATED, FILES)
    with pytest.raises(EvidenceRejected) as problem:
        check_sbom(data, circuit, created, files)
    assert problem.value.code == "sbom-mismatch"


# --- the audit page -----------------------------------------------------------------------------------------------------------


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "input", "rect", "path", "line", "circle"):
            self.open.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src", "action", "data", "srcset")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("rect", "path", "line", "circle"):
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def _read(page: bytes) -> _Page:
    parsed = _Page()
    parsed.feed(page.decode())
    assert parsed.open == []
    return parsed


def _audit(bundle: str) -> AuditReport:
    options = AuditOptions(Expectations(context="frozen"), rederive=False, now="2026-12-01T00:00:00Z")
    return audit_bundle(V1 / bundle, read_trust(V1 / "trust.toml"), options)


def test_the_page_shows_verdict_statement_chain_plot_and_what_was_not_checked() -> None:
    report = _audit("accept/single-file.vbundle")
    page = render_html([report])
    assert page == render_html([report])
    parsed = _read(page)
    assert parsed.links == []
    assert not re.search(rb"https?://|@import|url\(|<script", page)
    for words in ("Accepted", "What the evidence says", "Insecure (test-srs)", "What was not checked", "Where it comes from"):
        assert words in parsed.text
    assert page.count(b'class="chain"') == 1
    assert page.count(b'class="fidelity"') == 1
    for one in report.findings:
        assert one.code in parsed.text


@pytest.mark.parametrize(("bundle", "code"), [("reject/proof-byte", "digest-mismatch"), ("reject/resealed-instance", "")])
def test_the_page_of_a_refused_bundle_says_so_first(bundle: str, code: str) -> None:
    parsed = _read(render_html([_audit(f"{bundle}.vbundle")]))
    assert "Rejected" in parsed.text
    assert "What is wrong" in parsed.text
    assert "nothing follows from it" in parsed.text
    assert "Accepted" not in parsed.text
    assert code in parsed.text


def test_foreign_text_cannot_leave_its_place_on_the_page() -> None:
    evil = '"><script>alert(1)</script>&\u202e\0\ud800'
    report = AuditReport(
        path=evil,
        bundle_id=Sha256("0" * 64),
        words=(evil,),
        findings=(Finding("c", Outcome.REJECTED, evil, evil, evil, evil, "V1"),),
        chain=(ChainNode(evil, evil, (), (evil,)), ChainNode("b", "bundle", (evil,))),
        comparisons=(OutputComparison(evil, (2,), (0.0, 0.0), (0.0, 0.0)),),
        insecure=(evil,),
        facts={evil: evil},
        audited=evil,
    )
    page = render_html([report, report])
    assert b"<script" not in page
    assert "\u202e".encode() not in page
    _read(page)


def test_the_plot_and_the_chain_keep_their_size_however_much_there_is() -> None:
    many = tuple(float(index) for index in range(5000))
    votes = tuple(ChainNode(f"{index:064x}", "vote", ("r",)) for index in range(300))
    report = AuditReport(
        "p",
        Sha256("0" * 64),
        ("w",),
        (Finding("c", Outcome.HOLDS, "m"),),
        chain=(ChainNode("r", "round", ()), *votes, ChainNode("d", "consensus", tuple(one.id for one in votes))),
        comparisons=(OutputComparison("o", (5000,), many, tuple(value + value / 7 for value in many)),),
    )
    page = render_html([report])
    assert len(page) < 120_000
    assert "and 293 more" in _read(page).text


def test_an_audit_that_holds_everything_says_what_it_left_out() -> None:
    report = _audit("accept/folder")
    assert report.status == 0
    assert {"key-not-rederived", "log-consistency-not-checked"} <= {one.code for one in report.not_checked}
    assert [node.kind for node in report.chain] == ["model", "circuit", "proof", "bundle"]
    assert report.chain[-1].signers == ("release", "second")
