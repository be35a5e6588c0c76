"""``verifai tee``: from the bytes to sign to an audited bundle, and what mistakes are told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.fake_hardware import SevMachine
from tests.support.paths import ROOT
from verifai.cli.app import run

MACHINE = SevMachine()
VECTORS = ROOT / "tests" / "vectors" / "tee"
MODEL = ROOT / "fixtures" / "digits-mlp" / "model.onnx"
BUNDLE = ROOT / "fixtures" / "bundles" / "v1" / "accept" / "folder"


def said(capsys: pytest.CaptureFixture[str], arguments: list[str], status: int = 0) -> dict:
    assert run([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def receipt(tmp_path: Path, capsys) -> Path:
    np.savez(tmp_path / "in.npz", pixels=np.zeros((1, 64), np.float32))
    np.savez(tmp_path / "out.npz", logits=np.ones((1, 10), np.float32))
    path = tmp_path / "receipt.json"
    said(capsys, ["tee", "receipt", str(MODEL), str(tmp_path / "in.npz"), str(tmp_path / "out.npz"), "-o", str(path)])
    (tmp_path / "roots.pem").write_bytes(MACHINE.roots)
    (tmp_path / "vcek.der").write_bytes(MACHINE.vcek.der)
    return path


def attest(folder: Path, data: bytes) -> list[str]:
    """Write a report over ``data``; returns the arguments that name it."""
    (folder / "report.bin").write_bytes(MACHINE.raw(data))
    return [
        str(folder / "report.bin"), "--kind", "sev-snp", "--certificate", str(folder / "vcek.der"),
        "--test-roots", str(folder / "roots.pem"),
    ]  # fmt: skip


def test_a_receipt_from_the_claim_to_the_audit(receipt, tmp_path, capsys):
    claim = said(capsys, ["tee", "claim", str(receipt), "-o", str(tmp_path / "data.bin")])
    data = (tmp_path / "data.bin").read_bytes()
    assert len(data) == 64 and data.hex() == claim["report_data"] and claim["about"]["about"] == "receipt"
    evidence = attest(tmp_path, data)
    shown = said(capsys, ["tee", "show", *evidence])
    assert shown["registers"]["measurement"] == MACHINE.measurement.hex() and shown["test_root"] and shown["current"]
    made = said(capsys, ["tee", "attach", str(receipt), *evidence, "-o", str(tmp_path / "bundle")])
    assert made["facts"]["report_data"] == data.hex()
    trust = tmp_path / "trust.toml"
    circuit = json.dumps(str(ROOT / "circuits" / "digits-mlp" / "circuit.lock"))
    trust.write_text(
        f'schema = "verifai/trust/v1"\n[circuits.digits-mlp]\nlock = {circuit}\n'
        f'[[hardware]]\nname = "m"\nkind = "sev-snp"\nrevocation = false\ntest_roots = """\n{MACHINE.roots.decode()}"""\n'
        f'[hardware.registers]\nmeasurement = "{MACHINE.measurement.hex()}"\n'
    )
    found = said(capsys, ["audit", str(tmp_path / "bundle"), "--trust", str(trust)])
    codes = {one["code"] for one in found["findings"]}
    assert {"tee-genuine", "tee-bound", "tee-trusted", "model-matches", "tee-not-a-proof"} <= codes
    # Tensors cannot be matched with a receipt: asked to, it is undecided, never accepted.
    assert run(["audit", str(tmp_path / "bundle"), "--trust", str(trust), "--output", str(tmp_path / "out.npz"), "--json"]) == 4
    capsys.readouterr()
    assert run(["verify", str(tmp_path / "bundle"), "--lock", str(ROOT / "circuits" / "digits-mlp" / "circuit.lock")]) == 3
    assert "no-proof" in capsys.readouterr().out


def test_a_report_over_other_bytes_is_not_attached(receipt, tmp_path, capsys):
    found = said(capsys, ["tee", "attach", str(receipt), *attest(tmp_path, bytes(64)), "-o", str(tmp_path / "b")], 1)
    assert found["error"]["code"] == "tee-not-bound" and not (tmp_path / "b").exists()


def test_a_test_machine_is_no_machine_without_its_root(receipt, tmp_path, capsys):
    evidence = attest(tmp_path, bytes(64))[:-2]
    assert said(capsys, ["tee", "show", *evidence], 1)["error"]["code"] == "tee-root-not-trusted"


def test_a_receipt_whose_tensors_were_exchanged_is_refused(receipt, tmp_path, capsys):
    receipt.with_suffix(".outputs.bin").write_bytes(b"other")
    assert said(capsys, ["tee", "claim", str(receipt)], 2)["error"]["code"] == "bad-receipt"


def test_a_proof_bundle_has_a_claim_of_its_own(capsys):
    one = said(capsys, ["tee", "claim", str(BUNDLE)])
    other = said(capsys, ["tee", "claim", str(BUNDLE.parent / "other-digit.vbundle")])
    assert one["about"]["about"] == "proof" and one["report_data"] != other["report_data"]


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        (["--kind", "sev-snp"], "--certificate"),
        (["--kind", "nitro", "--certificate", "x"], "--certificate"),
        (["--kind", "nitro", "--collateral", "x"], "--collateral"),
        (["--kind", "tdx", "--crl", "x"], "--crl"),
        (["--kind", "nitro", "--at", "yesterday"], "--at"),
    ],
)
def test_options_that_do_not_go_together(arguments, where, capsys):
    found = said(capsys, ["tee", "show", str(VECTORS / "nitro-doc.cbor"), *arguments], 2)
    assert found["error"]["where"] == where


def test_what_lies_behind_a_quote_is_left_out_and_said(capsys):
    assert run(["tee", "show", str(VECTORS / "tdx-quote-cos113.bin"), "--kind", "tdx"]) == 0
    told = capsys.readouterr()
    assert "3065 bytes behind the quote were left out" in told.err
    assert "genuine" in told.out and 'mrtd = "dae67181' in told.out and "no proof" in told.out
