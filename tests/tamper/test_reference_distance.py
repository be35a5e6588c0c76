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
from verifai.domain.audit import AuditReport
from verifai.domain.comparison import OutputComparison, judge_distance
from verifai.domain.fidelity import Fidelity, OutputFigures, Task
from verifai.domain.findings import Outcome
from verifai.reports.html_audit import render_html

V1 = ROOT / "fixtures" / "bundles" / "v1"
OLD = Fidelity(100, 100, 0.02, 0.005, 0)
FIGURES = (OutputFigures("y", (1.0, 1.0), 0.0, 2.0),)
NEW = [OLD] + [replace(OLD, task=task, spread_error=0.01, outputs=FIGURES) for task in Task]


def _circuit() -> CircuitPredicate:
    document = Forge.of(read_folder(V1 / "accept" / "folder")).statements["circuit"]
    circuit = parse_attestation(Envelope(json.dumps(document).encode()), "circuit").predicate
    assert isinstance(circuit, CircuitPredicate)
    return circuit


@pytest.mark.parametrize("pinned", NEW, ids=lambda one: str(one.task))
@pytest.mark.parametrize("reference", [(nan, 1.0), (1.0, nan), (inf, 1.0), (1.0, -inf), (nan, nan)])
def test_no_number_is_far(reference: tuple[float, float], pinned: Fidelity) -> None:
    one = OutputComparison("y", (2,), (1.0, 1.0), reference, task=pinned.task, figures=pinned.output("y"))
    finding = judge_distance(one, pinned, "run on the given input")[0]
    assert (finding.code, finding.outcome) == ("reference-far", Outcome.POLICY_NOT_MET)
    fidelity = _circuit().fidelity
    report = AuditReport("b", None, (), (finding,), comparisons=(one,), fidelity=fidelity)
    json.dumps(report.to_json(), allow_nan=False)
    assert render_html([report]) and render_html([replace(report, fidelity=None)])


@pytest.mark.parametrize("pinned", NEW, ids=lambda one: str(one.task))
def test_a_number_may_be_near(pinned: Fidelity) -> None:
    one = OutputComparison("y", (2,), (1.0, 1.0), (1.0, 1.0), task=pinned.task, figures=pinned.output("y"))
    assert judge_distance(one, pinned, "run on the given input")[0].outcome is Outcome.HOLDS


def test_a_score_is_not_near_because_it_is_small_beside_a_box() -> None:
    """Spreads by place: 300 cells of a box move by 100 pixels, 300 scores by a tenth."""
    figures = (OutputFigures("y", (100.0, 0.1), 0.0, 320.0, stride=300),)
    pinned = replace(OLD, max_abs_error=0.5, task=Task.REGRESSION, spread_error=0.01, outputs=figures)
    proven = (160.0,) * 300 + (0.05,) * 300

    def judged(at: int, off: float) -> Outcome:
        wanted = tuple(value + off if place == at else value for place, value in enumerate(proven))
        one = OutputComparison("y", (1, 2, 300), proven, wanted, task=pinned.task, figures=figures[0])
        return judge_distance(one, pinned, "run on the given input")[0].outcome

    assert judged(0, 0.5) is Outcome.HOLDS
    assert judged(599, 0.5) is Outcome.POLICY_NOT_MET, "a score of 0.55 is another answer than 0.05"
    assert judged(599, 0.0005) is Outcome.HOLDS
