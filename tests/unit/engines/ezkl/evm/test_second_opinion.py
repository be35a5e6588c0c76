"""The second opinion on an ezkl proof, and what an audit makes of it; the contract itself is tested in test_evm.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.ezkl_small import SmallCircuit
from tests.support.paths import ROOT
from verifai.cli import app as cli
from verifai.domain.findings import Outcome
from verifai.domain.statement import EngineName
from verifai.engines.ezkl import field
from verifai.engines.ezkl.evm import opinion, tools
from verifai.engines.ezkl.evm.contract import Contract, EvmVerdict
from verifai.engines.ezkl.evm.tools import ToolMissing, Tools
from verifai.stages.audit.steps import second_opinion

VK, PROOF = "vk.key", "proof.json"
CONTRACT = Contract(b"", bytes(10), 100)
FOUND = Tools(Path("/node"), b"", "0")


@pytest.mark.parametrize("ours", [True, False])
def test_two_verdicts_that_differ_reject_the_proof(ours: bool) -> None:
    finding = opinion.compare(ours, EvmVerdict(not ours, 1, "Revert" if ours else ""), CONTRACT, FOUND)
    assert (finding.code, finding.outcome) == ("evm-disagrees", Outcome.REJECTED)


def test_a_contract_that_accepts_what_ezkl_refuses_rejects_the_proof(
    small_public: SmallCircuit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opinion, "find_tools", lambda: FOUND)
    monkeypatch.setattr(opinion, "compile_contract", lambda *args: CONTRACT)
    monkeypatch.setattr(opinion, "ask", lambda *args: (EvmVerdict(True, 1, ""),))
    document = json.loads(small_public.files[PROOF])
    document["instances"][-1] = field.encode(12345)
    forged = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    request = small_public.request(tmp_path, {**small_public.files, PROOF: forged})
    assert small_public.engine.second_opinion(request).code == "evm-disagrees"


REFUSED_BEFORE: dict[str, tuple[str, Callable[[dict[str, Any]], None]]] = {
    "zero output appended": ("proof-malformed", lambda document: document["instances"].append("0" * 64)),
    "trailing byte": ("proof-malformed", lambda document: document.update(proof=document["proof"] + "00")),
}


@pytest.mark.parametrize("row", REFUSED_BEFORE)
def test_a_proof_of_another_form_is_not_put_to_the_contract(
    small_public: SmallCircuit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    monkeypatch.setattr(opinion, "compile_contract", None)
    code, change = REFUSED_BEFORE[row]
    document = json.loads(small_public.files[PROOF])
    change(document)
    data = json.dumps(document, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    finding = small_public.engine.second_opinion(small_public.request(tmp_path, {**small_public.files, PROOF: data}))
    assert (finding.code, finding.outcome, finding.evidence) == ("evm-unavailable", Outcome.NOT_CHECKED, code)


def test_a_key_that_is_not_pinned_never_reaches_the_compiler(
    small_public: SmallCircuit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opinion, "compile_contract", None)
    files = {**small_public.files, VK: small_public.files[VK][:-1] + b"\x01"}
    finding = small_public.engine.second_opinion(small_public.request(tmp_path, files))
    assert (finding.outcome, finding.evidence) == (Outcome.NOT_CHECKED, "vk-not-pinned")


V1 = ROOT / "fixtures" / "bundles" / "v1"


def _audit(capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Status and findings by code of an audit of a frozen bundle."""
    bundle = V1 / "accept" / "single-file.vbundle"
    status = cli.run(
        [
            "audit",
            str(bundle),
            "--trust",
            str(V1 / "trust.toml"),
            "--no-rederive",
            "--expect-context",
            "frozen",
            "--json",
            *more,
        ]
    )
    return status, {one["code"]: one for one in json.loads(capsys.readouterr().out)["findings"]}


@pytest.mark.evm
def test_the_audit_of_a_bundle_reports_gas_and_size(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        tools.find_tools()
    except ToolMissing as problem:
        pytest.skip(f"{problem.message}; make test-evm installs it")
    status, findings = _audit(capsys, "--evm")
    assert (status, findings["evm-agrees"]["step"]) == (0, "A10")
    assert "contract of 40,250 bytes, over the 24,576 that Ethereum deploys" in findings["evm-agrees"]["message"]


def test_a_verifier_that_differs_turns_an_accepted_bundle_into_a_rejected_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opinion, "find_tools", lambda: FOUND)
    monkeypatch.setattr(opinion, "compile_contract", lambda *args: CONTRACT)
    monkeypatch.setattr(opinion, "ask", lambda *args: (EvmVerdict(False, 1, "Revert"),))
    status, findings = _audit(capsys, "--evm")
    assert (status, findings["evm-disagrees"]["step"]) == (1, "A10")


def test_the_audit_makes_no_on_chain_check_that_was_not_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opinion, "find_tools", None)
    status, findings = _audit(capsys)
    assert (status, [code for code in findings if code.startswith("evm")]) == (0, [])


def _no_distribution(name: str) -> str:
    raise tools.metadata.PackageNotFoundError(name)


MISSING: dict[str, tuple[str, Callable[[pytest.MonkeyPatch, Path], None]]] = {
    "extra": ("py-evm", lambda patch, folder: patch.setattr(tools.metadata, "version", _no_distribution)),
    "node": ("node", lambda patch, folder: patch.setenv("PATH", str(folder))),
    "solc": ("solc 0.8.20 is not installed", lambda patch, folder: patch.setenv("VERIFAI_SOLC", str(folder))),
}


@pytest.mark.parametrize("row", MISSING)
def test_what_is_missing_is_named_and_nothing_is_claimed(
    small_public: SmallCircuit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    monkeypatch.setattr(tools.metadata, "version", lambda name: "0")
    monkeypatch.setattr(tools.shutil, "which", _node_on(tools.shutil.which))
    named, remove = MISSING[row]
    remove(monkeypatch, tmp_path)
    finding = small_public.engine.second_opinion(small_public.request(tmp_path))
    assert (finding.code, finding.outcome) == ("evm-unavailable", Outcome.NOT_CHECKED)
    assert named in finding.message
    assert finding.remedy


def _node_on(genuine: Callable[..., str | None]) -> Callable[[str], str | None]:
    """A machine that has node, unless the path was taken from it."""
    before = os.environ.get("PATH")
    return lambda name: "/usr/bin/node" if os.environ.get("PATH") == before else genuine(name)


def test_a_compiler_of_another_digest_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "soljson.js").write_text("process.exit(0)")
    monkeypatch.setenv("VERIFAI_SOLC", str(tmp_path))
    with pytest.raises(ToolMissing) as caught:
        tools.find_compiler()
    assert "is not release 0.8.20" in caught.value.message


def test_an_engine_without_an_on_chain_verifier_says_so(small_public: SmallCircuit, tmp_path: Path) -> None:
    finding = second_opinion(EngineName.SUMCHECK, small_public.request(tmp_path))
    assert (finding.code, finding.outcome) == ("evm-unavailable", Outcome.NOT_CHECKED)
    assert "sumcheck" in finding.message


def test_the_compiler_of_the_lock_file_is_the_one_whose_digest_is_pinned() -> None:
    folder = ROOT / "tools" / "evm"
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    lock = json.loads((folder / "package-lock.json").read_text())
    assert wanted == lock["packages"][""]["dependencies"] == {"solc": tools.SOLC_VERSION}
    packages = [entry for name, entry in lock["packages"].items() if name]
    assert all(entry["integrity"].startswith("sha512-") for entry in packages)
    assert not any("resolved" in entry for entry in packages), "no registry's address"
