"""A circuit always answers with integers; the float model may answer with no number at all. That is not near."""

from __future__ import annotations

import json
from dataclasses import replace
from math import inf, nan

import pytest

from tests.support.bundle_forge import Forge, read_folder
from tests.support.paths import ROOT
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Envelope
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.audit import AuditReport, OutputComparison
from verifai.domain.findings import Outcome
from verifai.reports.html_audit import render_html
from verifai.stages.audit.steps import _distance

V1 = ROOT / "fixtures" / "bundles" / "v1"


def _circuit() -> CircuitPredicate:
    document = Forge.of(read_folder(V1 / "accept" / "folder")).statements["circuit"]
    circuit = parse_attestation(Envelope(json.dumps(document).encode()), "circuit").predicate
    assert isinstance(circuit, CircuitPredicate)
    return circuit


@pytest.mark.parametrize("reference", [(nan, 1.0), (1.0, nan), (inf, 1.0), (1.0, -inf), (nan, nan)])
def test_no_number_is_far(reference: tuple[float, float]) -> None:
    one = OutputComparison("y", (2,), (1.0, 1.0), reference)
    circuit = _circuit()
    assert circuit.fidelity is not None
    finding = _distance(one, circuit)
    assert (finding.code, finding.outcome) == ("reference-far", Outcome.POLICY_NOT_MET)
    report = AuditReport("b", None, (), (finding,), comparisons=(one,), fidelity=circuit.fidelity)
    json.dumps(report.to_json(), allow_nan=False)
    assert render_html([report]) and render_html([replace(report, fidelity=None)])


def test_a_number_may_be_near() -> None:
    assert _distance(OutputComparison("y", (2,), (1.0, 1.0), (1.0, 1.0)), _circuit()).outcome is Outcome.HOLDS
