"""Inner values that are cut off at their range are counted, and only those."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import model
from tests.unit.engines.sumcheck.test_engine import ENGINE, Compiled, spec_of
from verifai.domain.attestation.proof import ProofPredicate
from verifai.domain.findings import Outcome
from verifai.domain.policy.demands import FidelityDemand
from verifai.domain.policy.fidelity import judge_fidelity
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.interface import CompileRequest, ProveRequest
from verifai.engines.sumcheck.clamping import RANGES_FILE, Clamped, clamped_finding, read_ranges
from verifai.engines.sumcheck.lock_section import parse_section
from verifai.errors import UsageError
from verifai.onnx_graph.model import OnnxModel
from verifai.stages.evidence import fidelity_figures
from verifai.stages.verify import note_clamped

WIDTH = 24
ACTIVATIONS = ("LeakyRelu", "Relu", "Sigmoid", "Tanh", "Identity", "Softplus")


def _net(activation: str) -> OnnxModel:
    rng = np.random.default_rng(4)
    constants = {
        "w": rng.standard_normal((8, WIDTH)).astype(np.float32),
        "b": rng.standard_normal(WIDTH).astype(np.float32),
        "v": rng.standard_normal((WIDTH, 3)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["z"]),
        helper.make_node(activation, ["z"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["y"]),
    ]
    return model(nodes, {"x": (1, 8)}, {"y": (1, 3)}, constants)


def _compiled(activation: str, folder: Path, **hidden: Any) -> Compiled:
    """Calibrated on inputs that are small but for one cell each: the inputs' range is wide, and the inner ones' is not."""
    net, rng = _net(activation), np.random.default_rng(5)
    feeds = []
    for number in range(16):
        x = rng.uniform(-0.2, 0.2, (1, 8)).astype(np.float32)
        x[0, number % 8] = 1.0 if number % 2 else -1.0
        feeds.append({"x": x})
    spec = spec_of(net, **hidden)
    made = ENGINE.compile(CompileRequest(net, spec, {"x": np.stack([feed["x"] for feed in feeds])}, folder, folder))
    return Compiled(net, spec, made.section, folder, feeds)


def _inner(activation: str, net: OnnxModel, x: np.ndarray) -> np.ndarray:
    """What the activation gives, in double precision."""
    rng = np.random.default_rng(4)
    w, b = rng.standard_normal((8, WIDTH)).astype(np.float32), rng.standard_normal(WIDTH).astype(np.float32)
    z = x.astype(np.float64) @ w + b
    return {
        "LeakyRelu": np.where(z < 0, 0.01 * z, z),
        "Relu": np.maximum(z, 0),
        "Sigmoid": 1 / (1 + np.exp(-z)),
        "Tanh": np.tanh(z),
        "Identity": z,
        "Softplus": np.log1p(np.exp(z)),
    }[activation]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_exactly_the_cells_beyond_their_range_are_counted(activation: str, tmp_path: Path):
    one = _compiled(activation, tmp_path)
    scales = parse_section(one.section).scales
    seen = 0
    rng = np.random.default_rng(6)
    for _ in range(4):
        x = np.where(rng.random((1, 8)) < 0.5, -1.0, 1.0).astype(np.float32)  # every cell is as large as any one was
        proof = ENGINE.prove(ProveRequest(one.net, one.spec, one.section, one.build, {"x": x}))
        held = "h" if "h" in scales else "z"  # an identity is no value of its own
        scale, values = scales[held], _inner(activation, one.net, x)
        low, high, step = float(scale.low * scale.step), float(scale.high * scale.step), float(scale.step)
        slack = 2 * step  # of the rounded operands
        beyond = int(((values > high + slack) | (values < low - slack)).sum())
        near = int(((values > high - slack) | (values < low + slack)).sum())
        # A table's domain ends as well: a leaky rectifier's at about twice what its range needs, where it still falls.
        far = int((np.abs(_inner("Identity", one.net, x)) > 500 * step).sum()) if activation == "LeakyRelu" else 0
        assert proof.clamped_cells is not None
        if activation in ("Sigmoid", "Tanh"):  # these end before their range does; their argument may have a range
            assert proof.clamped_cells <= WIDTH
        elif activation == "Relu":
            near = int((values > high - slack).sum())
            assert int((values > high + slack).sum()) <= proof.clamped_cells <= near
        else:
            assert beyond <= proof.clamped_cells <= near + far
        told = [finding for finding in proof.findings if finding.code == "inner-saturated"]
        assert len(told) == bool(proof.clamped_cells)
        seen += proof.clamped_cells
    if activation in ("LeakyRelu", "Relu", "Identity", "Softplus"):
        assert seen  # the case is one


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu"])
def test_inputs_like_the_calibration_s_cut_nothing(activation: str, tmp_path: Path):
    one = _compiled(activation, tmp_path)
    for feed in one.feeds[:4]:
        proof = ENGINE.prove(ProveRequest(one.net, one.spec, one.section, one.build, feed))
        assert proof.clamped_cells == 0
        assert not [finding for finding in proof.findings if finding.code == "inner-saturated"]


HIDDEN = {
    "input": {"x": Visibility.HASHED},
    "output": {"y": Visibility.HASHED},
    "weights": {"weights": WeightVisibility.COMMITTED},
}


@pytest.mark.parametrize("what", HIDDEN)
def test_of_hidden_tensors_a_bound_is_told(what: str, tmp_path: Path):
    one = _compiled("Relu", tmp_path, **HIDDEN[what])
    rng, shown = np.random.default_rng(7), set()
    for _ in range(6):
        x = np.where(rng.random((1, 8)) < 0.5, -1.0, 1.0).astype(np.float32)
        proof = ENGINE.prove(ProveRequest(one.net, one.spec, one.section, one.build, {"x": x}, secrets_dir=tmp_path))
        shown.add(proof.clamped_cells)
    assert all(cells is not None and cells & (cells + 1) == 0 for cells in shown)
    assert any(shown)
    for cells in range(70):
        bound = Clamped(cells, 100, ("h", cells, 100), 1, True).bound
        assert cells <= bound <= 2 * cells and Clamped(cells, 100, ("h", cells, 100), 1, False).bound == cells
    assert clamped_finding(Clamped(0, 100, ("", 0, 0), 0, False)) == ()


@pytest.mark.parametrize("hidden", [True, False])
def test_what_is_printed_of_hidden_tensors_is_the_bound_too(hidden: bool):
    """What is printed ends in logs; there, the number and the tensor were told exactly."""
    found = [clamped_finding(Clamped(*case, hidden)) for case in ((37, 900, ("h", 31, 90), 2), (50, 900, ("g", 49, 80), 5))]
    assert (found[0] == found[1]) == hidden
    assert ("63" if hidden else "37 of 900") in found[0][0].message


def test_builds_of_older_releases_count_nothing_and_foreign_ranges_are_refused(tmp_path: Path):
    one = _compiled("Relu", tmp_path)
    path = tmp_path / RANGES_FILE
    document = json.loads(path.read_text())
    for wrong in ({**document, "circuit_sha256": "0" * 64}, {**document, "uncut": [[0, 1]]}, {**document, "more": 1}):
        path.write_text(json.dumps(wrong))
        with pytest.raises(UsageError) as refused:
            ENGINE.prove(ProveRequest(one.net, one.spec, one.section, one.build, one.feeds[0]))
        assert refused.value.code == "stale-build"
    path.unlink()
    assert read_ranges(tmp_path, "0" * 64) is None
    proof = ENGINE.prove(ProveRequest(one.net, one.spec, one.section, one.build, one.feeds[0]))
    assert proof.clamped_cells is None


def test_a_verifier_is_told_and_a_policy_can_ask(tmp_path: Path):
    one = _compiled("Relu", tmp_path)
    statement = one.prove().statement
    predicate = ProofPredicate(one.net.sha256, statement, "sumcheck/1", "2026-01-01T00:00:00Z", clamped_cells=5)
    (told,) = note_clamped(predicate)
    assert told.code == "inner-saturated" and told.outcome is Outcome.NOT_CHECKED and "5" in told.message
    assert note_clamped(replace(predicate, clamped_cells=0)) == note_clamped(replace(predicate, clamped_cells=None)) == []
    assert "clamped_cells" not in replace(predicate, clamped_cells=None).to_json()
    figures = fidelity_figures(parse_section(one.section).fidelity)
    demand = FidelityDemand(clamped_cells=4)
    for counted, met in ((0, True), (4, True), (5, False), (None, False)):
        outcomes = {finding.outcome for finding in judge_fidelity(demand, figures, counted)}
        assert (outcomes == {Outcome.HOLDS}) is met
        assert met or outcomes == {Outcome.POLICY_NOT_MET}


def test_few_calibration_samples_are_flagged(tmp_path: Path):
    fidelity = parse_section(_compiled("Relu", tmp_path).section).fidelity
    assert fidelity.few_samples and not replace(fidelity, samples=100).few_samples
