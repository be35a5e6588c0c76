"""The tuner never hands out a circuit that is below the floor, over the budget or out of range."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.domain.circuit_spec import Budget, CircuitSpec
from verifai.domain.fidelity import DEFAULT_FLOORS, Fidelity, FidelityFloor
from verifai.domain.statement import Visibility
from verifai.engines.ezkl import proving
from verifai.engines.ezkl.build import Sample, build
from verifai.engines.ezkl.calls import Fence
from verifai.engines.ezkl.parameters import CircuitParameters, CircuitVisibility
from verifai.engines.ezkl.rewrites.registry import PLANS, apply
from verifai.engines.ezkl.srs.file import read_srs
from verifai.engines.ezkl.tuning.calibration import Calibration
from verifai.engines.ezkl.tuning.candidates import candidates, variants
from verifai.engines.ezkl.tuning.tune import read_options, tune
from verifai.errors import PolicyNotMet, UsageError
from verifai.execution.child import Limits
from verifai.execution.scratch import private_directory
from verifai.onnx_graph.model import OnnxModel

SRS = ROOT / "fixtures/srs/INSECURE-TEST-k12.srs"
PUBLIC = CircuitVisibility(Visibility.PUBLIC, Visibility.PUBLIC)


def loaded(name: str, count: int) -> tuple[OnnxModel, CircuitSpec, list[Sample]]:
    folder = CircuitFolder(ROOT / "circuits" / name)
    tensor = folder.model.inputs[0].name
    values = np.load(ROOT / "fixtures" / name / "calibration.npz")[tensor][:count]
    return folder.model, folder.spec, [proving.flatten(folder.model.inputs, {tensor: value[None]}) for value in values]


def proposed(name: str, *, floor: FidelityFloor, budget: Budget, margin: float = 2.0, max_logrows: int = 12) -> list[Any]:
    model, spec, samples = loaded(name, 10)
    calibration = Calibration.of(model, spec, samples)
    return candidates(calibration, PUBLIC, floor, budget, forms=variants(model, None), max_logrows=max_logrows, margin=margin)


@pytest.mark.parametrize(
    "options", [{"range_margin": 0.5}, {"rewrites": ["nonsense"]}, {"setups": 0}, {"forward_runs": "many"}, {"unknown": 1}]
)
def test_options_that_are_not_in_the_schema_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as caught:
        read_options(options)
    assert caught.value.code == "bad-spec"


def test_an_unreachable_floor_proposes_nothing() -> None:
    assert proposed("digits-mlp", floor=FidelityFloor(1.0, 1e-9), budget=Budget()) == []


def test_a_tiny_budget_proposes_nothing() -> None:
    assert proposed("digits-mlp", floor=FidelityFloor(1.0, 0.1), budget=Budget(memory_bytes=2**25)) == []


def test_no_circuit_within_the_budget_is_an_error_that_says_what_to_change() -> None:
    model, spec, samples = loaded("breast-cancer-mlp", 10)
    with pytest.raises(PolicyNotMet) as caught:
        tune(
            model,
            replace(spec, budget=Budget(prove_seconds=0.01)),
            PUBLIC,
            samples,
            srs=None,
            max_logrows=10,
            options={"rewrites": []},
            fence=Fence(),
        )
    assert caught.value.code == "fidelity-below-floor"
    assert "circuit.toml" in caught.value.hint


def test_a_tuning_in_the_specification_is_taken_without_a_search() -> None:
    model, spec, _ = loaded("breast-cancer-mlp", 1)
    wanted = CircuitParameters(9, 10, 2, 256, 3, 1, -128, 128, 2.0, 9, ("absolute-values",))
    given = {"parameters": wanted.to_toml()}
    tuned = tune(model, spec, PUBLIC, [], srs=None, max_logrows=9, options=given, fence=Fence())
    assert tuned.parameters == wanted and tuned.tried == ()
    assert tuned.circuit_onnx != model.data, "the rewrites are applied"


@pytest.mark.parametrize(
    ("fidelity", "reached"),
    [
        (Fidelity(10, 10, 0.1, 0.01, 0), True),
        (Fidelity(10, 9, 0.1, 0.01, 0), False),
        (Fidelity(10, 10, 0.11, 0.01, 0), False),
        (Fidelity(10, None, 0.1, 0.01, 0), False),
    ],
)
def test_a_floor_is_reached_only_by_both_figures(fidelity: Fidelity, reached: bool) -> None:
    assert (not FidelityFloor(1.0, 0.1).missed(fidelity)) is reached


@pytest.mark.parametrize("margin", [1.0, 50.0])
def test_every_candidate_leaves_the_margin_for_values_beyond_the_calibration_data(margin: float) -> None:
    found = proposed("digits-mlp", floor=FidelityFloor(1.0, 0.1), budget=Budget(), margin=margin)
    assert found
    assert all(candidate.headroom >= margin for candidate in found)


def test_no_candidate_exceeds_the_rows_of_the_srs_or_its_range_table() -> None:
    found = proposed("digits-mlp", floor=FidelityFloor(1.0, 0.1), budget=Budget(), max_logrows=10)
    assert found
    for candidate in found:
        assert candidate.parameters.logrows <= 10
        assert candidate.parameters.decomp_base < 2**candidate.parameters.logrows


def test_candidates_come_cheapest_first_and_always_in_the_same_order() -> None:
    first = proposed("digits-mlp", floor=FidelityFloor(1.0, 0.1), budget=Budget())
    second = proposed("digits-mlp", floor=FidelityFloor(1.0, 0.1), budget=Budget())
    assert [one.parameters for one in first] == [one.parameters for one in second]
    assert [one.cost.rank for one in first] == sorted(one.cost.rank for one in first)


def test_without_a_floor_the_tasks_default_is_required() -> None:
    _, spec, _ = loaded("digits-mlp", 1)
    assert replace(spec, fidelity=FidelityFloor()).floor == DEFAULT_FLOORS[spec.task]


def test_the_forecast_is_what_the_circuit_reaches_and_the_choice_repeats() -> None:
    model, spec, samples = loaded("breast-cancer-mlp", 20)

    def run() -> Any:
        return tune(
            model,
            spec,
            CircuitVisibility(Visibility.PRIVATE, Visibility.PUBLIC),
            samples,
            srs=read_srs(SRS),
            max_logrows=12,
            options={"forward_runs": 3, "setups": 2},
            fence=Fence(Limits(wall_seconds=3600)),
        )

    tuned = run()
    chosen = [row for row in tuned.tried if row["outcome"] == "chosen"]
    assert len(chosen) == 1
    assert chosen[0]["top1"] == 1.0 and 0 < chosen[0]["max_error"] <= (spec.fidelity.max_abs_error or 0)
    assert chosen[0]["key_mb"] == pytest.approx(chosen[0]["est_key_mb"], rel=0.15)
    assert all(set(row) == set(tuned.tried[0]) for row in tuned.tried)
    calibration = Calibration.of(model, spec, samples)
    forecast = calibration.forecast(tuned.circuit_onnx, tuned.parameters.input_scale, tuned.parameters.param_scale)
    assert chosen[0]["max_error"] == pytest.approx(forecast.max_abs_error, rel=0.5, abs=0.002)
    assert run() == tuned


def test_a_circuit_with_random_checks_has_the_same_key_each_time() -> None:
    model, _, _ = loaded("digits-cnn", 1)
    names = PLANS[-1]
    parameters = CircuitParameters(4, 6, 10, 2048, 3, 2, -128, 128, 2.0, 12, names)
    keys = set()
    for _ in range(2):
        with private_directory() as folder:
            built = build(apply(model.data, names), parameters, PUBLIC, SRS, folder, fence=Fence())
            assert b'"total_einsum_col_size":0' not in built.settings_bytes, "this form uses Freivalds' argument"
            keys.add(built.vk_path.read_bytes())
    assert len(keys) == 1
