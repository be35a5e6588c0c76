"""From bundles to one mailed file and back, as maker and auditor type it; and what is shown to be compared on the telephone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.bundle.keys import new_key
from verifai.cli.app import run
from verifai.domain.spoken import spoken
from verifai.domain.trust import TrustRole
from verifai.stages.show import show_trust, trust_digest
from verifai.trust_file import read_trust

V1 = ROOT / "fixtures" / "bundles" / "v1"
SUMCHECK = ROOT / "fixtures" / "bundles" / "sumcheck-2"


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = run([*arguments, "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_maker_and_auditor_need_one_command_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tmp_path / "case.verifai"
    trust = ["--trust", str(V1 / "trust.toml"), "--no-rederive"]
    status, made = told(["handover", str(V1 / "accept" / "folder"), *trust, "-o", str(case)], capsys)
    assert status == 0 and made["unmet"] == []
    status, found = told(["audit", str(case), "--no-rederive", "--anchors", made["fingerprint"]], capsys)
    assert (status, found["bundles"][0]["verdict"]) == (0, "holds")
    report = tmp_path / "audit.html"
    run(["audit", str(case), "--no-rederive", "--report", f"html={report}"])
    page = report.read_text()
    assert "came with the evidence" in page and str(case) in page and "/tmp/.verifai" not in page
    status, shown = told(["inspect", str(case)], capsys)
    assert status == 0 and shown["files"][0]["kind"] == "a case" and shown["files"][0]["fingerprint"] == made["fingerprint"]
    assert shown["files"][0]["pages"] == ["report.html"], "pages do not check proofs of ezkl"


def test_a_case_has_a_page_that_checks_itself_where_one_can(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = SUMCHECK / "public.vbundle"
    options = ["--lock", str(SUMCHECK / "public.lock"), "--no-report"]
    status, _ = told(["handover", str(good), *options, "-o", str(tmp_path / "case.verifai")], capsys)
    assert status == 0
    shown = told(["inspect", str(tmp_path / "case.verifai")], capsys)[1]
    assert shown["files"][0]["pages"] == ["evidence.html"]
    own = tmp_path / "own.html"
    own.write_text("<!doctype html><title>mine</title>")
    assert run(["handover", str(good), *options, "--page", str(own), "-o", str(tmp_path / "own.verifai")]) == 0
    assert own.read_bytes() in (tmp_path / "own.verifai").read_bytes()
    assert run(["handover", str(good), *options, "--no-page", "-o", str(tmp_path / "none.verifai")]) == 0
    capsys.readouterr()
    assert told(["inspect", str(tmp_path / "none.verifai")], capsys)[1]["files"][0]["pages"] == []


def test_a_case_with_locks_alone_says_that_nobody_signed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tmp_path / "case.verifai"
    options = ["--lock", str(V1 / "circuit.lock"), "--allow-test-srs", "--no-report", "-o", str(case)]
    status, made = told(["handover", str(V1 / "accept"), *options], capsys)
    assert status in (0, 4), made
    assert run(["verify", str(case), "--allow-test-srs", "--anchors", made["fingerprint"]]) == 0


def test_locks_keys_and_trust_files_show_the_digits_that_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = new_key(tmp_path / "a.key")
    assert told(["key", "show", str(tmp_path / "a.key.pub")], capsys)[1]["fingerprint"] == spoken(key.keyid)
    status, lock = told(["lock", "show", str(V1 / "circuit.lock")], capsys)
    assert status == 0 and lock["fingerprint"] == spoken(lock["lock_sha256"])
    status, trust = told(["trust", "show", str(V1 / "trust.toml")], capsys)
    assert status == 0 and trust["files"][0]["roles"]["release"]["threshold"] == 2
    assert told(["inspect", str(V1 / "trust.toml")], capsys)[1]["files"] == trust["files"]
    assert run(["lock", "show", str(V1 / "trust.toml")]) == 2


def test_where_a_lock_lies_is_no_part_of_what_is_trusted(tmp_path: Path) -> None:
    text = (V1 / "trust.toml").read_text()
    moved = tmp_path / "trust.toml"
    moved.write_text("# a comment\n" + text.replace('lock = "circuit.lock"', 'lock = "/home/maker/circuit.lock"'))
    assert show_trust(moved).digest == show_trust(V1 / "trust.toml").digest
    alone = tmp_path / "alone.toml"
    alone.write_text(text.replace('lock = "circuit.lock"\n', ""))
    assert show_trust(alone).digest == show_trust(V1 / "trust.toml").digest
    moved.write_text(text.replace("threshold = 2", "threshold = 1"))
    assert show_trust(moved).digest != show_trust(V1 / "trust.toml").digest
    assert trust_digest({"circuits": {"x": {"lock": "a"}}}) != trust_digest({"circuits": {"x": {"lock": "b"}}})


def test_a_lock_that_is_known_by_its_digest_alone_is_found_beside_the_trust_file(tmp_path: Path) -> None:
    (tmp_path / "trust.toml").write_text((V1 / "trust.toml").read_text().replace('lock = "circuit.lock"\n', ""))
    (tmp_path / "circuit.lock").write_bytes((V1 / "circuit.lock").read_bytes())
    assert read_trust(tmp_path / "trust.toml").circuit("digits-mlp")[1].name == "digits-mlp"


@pytest.mark.parametrize("role", list(TrustRole))
def test_a_key_is_given_a_role(role: TrustRole, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trust.toml"
    assert run(["trust", "init", "-o", str(path), "--lock", str(V1 / "circuit.lock")]) == 0
    new_key(tmp_path / "a.key"), new_key(tmp_path / "b.key")
    head = path.read_text().split("schema")[0]
    assert run(["trust", "add", str(path), "--role", role.value, "--key", str(tmp_path / "a.key.pub")]) == 0
    status, made = told(
        ["trust", "add", str(path), "--role", role.value, "--key", str(tmp_path / "b.key.pub"), "--threshold", "2"], capsys
    )
    assert status == 0 and made["keys"] == ["a", "b"]
    assert read_trust(path).trust.roles[role].threshold == 2
    assert path.read_text().startswith(head)
    before = path.read_bytes()
    for wrong in (
        ["--key", str(tmp_path / "a.key.pub")],
        ["--key", str(tmp_path / "a.key.pub"), "--threshold", "9"],
        ["--key", str(path)],
    ):
        assert run(["trust", "add", str(path), "--role", role.value, *wrong]) == 2
    assert path.read_bytes() == before


def test_comments_of_the_keepers_own_are_not_lost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trust.toml"
    path.write_text((V1 / "trust.toml").read_text().replace("[srs]", "[srs]  # until spring only"))
    new_key(tmp_path / "a.key")
    status, found = told(["trust", "add", str(path), "--role", "voter", "--key", str(tmp_path / "a.key.pub")], capsys)
    assert status == 2 and "ed25519:" in found["error"]["hint"] and "until spring" in path.read_text()


PEM = "-----BEGIN PUBLIC KEY-----\\nAAAA\\n-----END PUBLIC KEY-----\\n"
SIGNER = f'[[model_signers]]\nname = "acme"\nkind = "key"\npublic_key = "{PEM}"\n'
SIGSTORE = '[[model_signers]]\nname = "acme"\nkind = "sigstore"\nidentity = "a@acme.example"\nissuer = "https://i.example"\n'
CERTIFICATE = f'[[model_signers]]\nname = "acme"\nkind = "certificate"\nroots = "{PEM}"\nidentity = "a@acme.example"\n'
MACHINE = f'[[hardware]]\nname = "m"\nkind = "sev-snp"\n[hardware.registers]\nmeasurement = "{"0" * 96}"\n'


@pytest.mark.parametrize(
    ("less", "more", "word"),
    [
        ("", SIGNER, "acme"),
        (SIGNER, SIGNER.replace("AAAA", "AAAB"), "signer of models"),
        ("", SIGSTORE, "a@acme.example by https://i.example"),
        (SIGSTORE, SIGSTORE + 'trusted_root = "{}"\n', "another Sigstore"),
        (SIGSTORE, SIGSTORE.replace("a@", "b@"), "b@acme.example"),
        ("", CERTIFICATE, "roots"),
        (CERTIFICATE, CERTIFICATE + "allow_expired = true\n", "expired"),
        (CERTIFICATE, CERTIFICATE.replace("AAAA", "AAAB"), "roots"),
        ("", MACHINE, "sev-snp"),
        (MACHINE, MACHINE.replace('"0', '"1'), "measurement 1"),
        (MACHINE, MACHINE.replace("[hardware.r", "debug = true\n[hardware.r"), "INSECURE"),
        (MACHINE, MACHINE.replace("[hardware.r", "revocation = false\n[hardware.r"), "revoked"),
    ],
)
def test_trust_show_tells_everybody_who_is_trusted(less: str, more: str, word: str, tmp_path: Path) -> None:
    """Whoever compares a trust file reads what is printed: nobody in it may stay unsaid."""
    path, text = tmp_path / "trust.toml", (V1 / "trust.toml").read_text()
    seen = []
    for extra in (less, more):
        path.write_text(f"{text}\n{extra}")
        seen.append(show_trust(path))
    told_now = set(seen[1].lines) - set(seen[0].lines)
    assert any(word in line for line in told_now), seen[1].lines
    assert seen[0].digest != seen[1].digest and dict(seen[0].data) != dict(seen[1].data)
