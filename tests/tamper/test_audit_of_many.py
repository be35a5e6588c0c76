"""An audit of several bundles says what it saw of each, and takes no name for another."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.bundle_forge import Forge, read_folder, write_files
from tests.support.paths import ROOT
from verifai.bundle.reader import open_bundle
from verifai.cli.app import run
from verifai.cli.audit import _result
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.parse import parse_policy
from verifai.domain.statement import Role
from verifai.engines.ezkl import verifying
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.stages.audit import reference as audit_reference
from verifai.stages.audit.options import AuditOptions
from verifai.stages.audit.several import audit_all
from verifai.trust_file import read_trust

V1 = ROOT / "fixtures" / "bundles" / "v1"
GOOD, TRUST = V1 / "accept" / "folder", read_trust(V1 / "trust.toml")
OPTIONS = AuditOptions(rederive=False, now="2026-12-01T00:00:00Z")


def test_a_full_disk_at_one_bundle_does_not_hide_that_another_is_false(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forge = Forge.of(read_folder(GOOD))
    forge.statements["circuit"]["predicate"]["circuit_sha256"] = "0" * 64
    false = write_files(tmp_path / "false", forge.sealed())

    @contextlib.contextmanager
    def opened(path: Path) -> Iterator[Any]:
        if path == GOOD:
            raise Undecided("disk", "cannot copy: no space left on device")
        with open_bundle(path) as bundle:
            yield bundle

    monkeypatch.setattr("verifai.stages.audit.audit.open_bundle", opened)
    assert [report.status for report in audit_all([false, GOOD], TRUST, OPTIONS)] == [1, 4]


def test_a_stranger_s_model_is_not_even_parsed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "check_proof", lambda *arguments: None)
    monkeypatch.setattr("verifai.stages.audit.audit.load_model", lambda *arguments: pytest.fail("it was parsed"))
    forge = Forge.of(read_folder(GOOD))
    forge.payload["model.onnx"] += b"\0"
    (report,) = audit_all([write_files(tmp_path / "b", forge.sealed())], TRUST, OPTIONS)
    assert report.status == 1
    assert "model-mismatch" in {one.code for one in report.findings}


def test_two_names_that_changed_places_are_not_the_models(tmp_path: Path) -> None:
    """The order says which of a proof's instances belong to which name."""
    with open_bundle(GOOD) as bundle:
        (proof,) = (one.predicate for one in bundle.of_type(ProofPredicate.TYPE))
        assert isinstance(proof, ProofPredicate)
    (output,) = proof.statement.of(Role.OUTPUT)
    inputs = proof.statement.of(Role.INPUT)
    two = replace(proof.statement, tensors=(*inputs, replace(output, name="a"), replace(output, name="b")))

    def model(*names: str) -> Any:
        return SimpleNamespace(inputs=inputs, outputs=[SimpleNamespace(name=name, shape=output.shape) for name in names])

    audit_reference.check_model_shapes(two, model("a", "b"))
    with pytest.raises(EvidenceRejected) as problem:
        audit_reference.check_model_shapes(two, model("b", "a"))
    assert problem.value.code == "statement-mismatch"


class Trap:
    """Unpickled by a worker process, it kills it once; after that it is nothing."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (spring, (self._mark,))


def spring(mark: Path) -> None:
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def test_an_audit_by_processes_is_what_one_process_finds_though_a_worker_is_killed(tmp_path: Path) -> None:
    forge = Forge.of(read_folder(GOOD))
    forge.statements["circuit"]["predicate"]["circuit_sha256"] = "0" * 64
    paths = [GOOD, write_files(tmp_path / "false", forge.sealed()), tmp_path / "absent"]
    trapped = replace(OPTIONS, max_spread_error=Trap(tmp_path / "sprung"))  # type: ignore[arg-type]
    found = audit_all(paths, TRUST, trapped, jobs=2)
    assert (tmp_path / "sprung").exists()
    assert list(found) == list(audit_all(paths, TRUST, OPTIONS))


@pytest.mark.parametrize("verb", ["audit", "gate"])
def test_no_verdict_is_asked_of_a_cluster(verb: str, tmp_path: Path) -> None:
    """It is refused before anybody is spoken to: a listener that would take a connection gets none."""
    report = tmp_path / "report.json"
    more = ["--trust", str(V1 / "trust.toml")] if verb == "audit" else []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"ray://127.0.0.1:{listener.getsockname()[1]}"
        assert run([verb, str(GOOD), "--on", place, "--report", f"json={report}", *more]) == 2
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not report.exists() or b"not-remote" in report.read_bytes()


def test_a_folder_that_changes_while_it_is_listed_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(handle: int) -> Any:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "scandir", gone)
    with pytest.raises(EvidenceRejected) as problem, open_bundle(GOOD):
        pass
    assert problem.value.code == "file-absent"


def test_a_number_of_thousands_of_digits_in_a_policy_is_no_bug_of_ours() -> None:
    with pytest.raises(UsageError) as problem:
        parse_policy(b"a = " + b"1" * 5000, "verifai.toml")
    assert problem.value.code == "bad-policy"


def test_a_bundle_that_is_not_there_does_not_hide_what_the_others_came_to(tmp_path: Path) -> None:
    forge = Forge.of(read_folder(GOOD))
    forge.statements["circuit"]["predicate"]["circuit_sha256"] = "0" * 64
    false, absent = write_files(tmp_path / "false", forge.sealed()), tmp_path / "absent"
    reports = audit_all([absent, false], TRUST, OPTIONS)
    assert [report.status for report in reports] == [2, 1]
    assert [one.code for one in reports[0].findings] == ["file-missing"]
    with pytest.raises(UsageError):
        audit_all([absent], TRUST, OPTIONS)
    good = replace(reports[0], usage=False, findings=(Finding("bundle-intact", Outcome.HOLDS, "it holds"),))
    for given, status in (((reports[0], good), 2), (reports, 1), ((reports[0], good, reports[1]), 1)):
        target = tmp_path / f"{status}-{len(given)}.json"
        assert _result(tuple(given), [("json", target)]).status == status
        assert b"file-missing" in target.read_bytes()


def test_rejected_evidence_does_not_choose_the_figures_that_are_shown_as_pinned(tmp_path: Path) -> None:
    with open_bundle(GOOD) as bundle:
        (honest,) = (one.predicate for one in bundle.of_type(CircuitPredicate.TYPE))
        assert isinstance(honest, CircuitPredicate)
    forge = Forge.of(read_folder(GOOD))
    said = forge.statements["circuit"]["predicate"]
    said["insecure"] = [] if said["insecure"] else ["test-srs"]
    said["fidelity"]["samples"] += 1
    (report,) = audit_all([write_files(tmp_path / "b", forge.sealed())], TRUST, OPTIONS)
    assert report.status == 1
    assert "circuit-not-pinned" in {one.code for one in report.findings}
    assert (report.fidelity, report.insecure) == (honest.fidelity, honest.insecure)
