"""Calibration: measured, refused where it would be unsafe, void where it does not belong."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Literal

import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.bundle.dsse import attest
from verifai.consensus.attacks import edit_input, fake_quantise, standard_model_attacks, swap_layer
from verifai.consensus.environment import this_environment
from verifai.consensus.runner import Tensors, VoteRunner
from verifai.domain.attestation.envelope import Subject
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.consensus.calibration import RESOLUTION, AttackRuns, Calibration, HonestRuns, tolerance
from verifai.domain.consensus.job import OutputKind, PrecisionClass, RuntimeOptions, VoteSubject
from verifai.domain.digest import sha256
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.stages.consensus.calibrate import CalibrateRequest, RecordedRuns, calibrate

FIXTURE = ROOT / "fixtures" / "digits-mlp"
MODEL = (FIXTURE / "model.onnx").read_bytes()
ABOUT = (Subject("model", sha256(MODEL)),)


def samples(count: int = 40) -> list[Tensors]:
    rows = np.load(FIXTURE / "heldout.npz")
    name = next(key for key in rows if key != "label")
    return [{name: row[None]} for row in rows[name][:count]]


def request(**changes: object) -> CalibrateRequest:
    subject = VoteSubject(sha256(MODEL), sha256(b""), OutputKind.LOGITS, PrecisionClass.FP32)
    plain = CalibrateRequest(
        MODEL, subject, samples(), this_environment(1), "ab" * 32, "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"
    )
    return dataclasses.replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made() -> Calibration:
    return calibrate(request()).calibration


def test_every_attack_of_the_suite_is_beyond_the_tolerance(made: Calibration) -> None:
    assert {one.name for one in made.attacks} == {one.name for one in standard_model_attacks()} | {"input-edited"}
    assert all(one.accepted == 0 for one in made.attacks)
    assert all(one.largest <= made.tau for one in made.honest)
    assert made.tau == tolerance(made.honest_high, made.attack_low)


def test_few_inputs_say_what_they_support(made: Calibration) -> None:
    assert made.false_reject_high == pytest.approx(1 - 0.05 ** (1 / 40))


def test_a_recorded_machine_that_rounds_like_an_attack_is_not_separable() -> None:
    honest = VoteRunner(MODEL, RuntimeOptions()).run(samples())
    noisy = tuple({name: values * np.float32(1 + 1e-4) for name, values in one.items()} for one in honest)
    odd = RecordedRuns(dataclasses.replace(this_environment(1), instruction_set="strange"), noisy)
    with pytest.raises(PolicyNotMet) as caught:
        calibrate(request(elsewhere=[odd]))
    assert (caught.value.code, caught.value.status) == ("not-separable", 3)


def test_a_tolerance_that_does_not_carry_over_to_the_machine_left_out_is_refused() -> None:
    honest = VoteRunner(MODEL, RuntimeOptions()).run(samples())
    # Ten times below the weakest attack, so separable with it, but three times over what the others alone would allow.
    weakest = min(one.low for one in calibrate(request()).calibration.attacks)
    shifted = tuple({name: values * np.float32(1 + weakest / 11) for name, values in one.items()} for one in honest)
    odd = RecordedRuns(dataclasses.replace(this_environment(1), instruction_set="strange"), shifted)
    attacks = {one.name for one in standard_model_attacks()}
    kept = frozenset(attacks - {"weight-noise-1e-4"})
    with pytest.raises(PolicyNotMet) as caught:
        calibrate(request(elsewhere=[odd], not_covered=kept))
    assert (caught.value.code, caught.value.status) == ("calibration-not-transferable", 3)


def test_too_few_inputs_and_an_empty_suite_are_refused() -> None:
    everything = frozenset({one.name for one in standard_model_attacks()} | {"input-edited"})
    for change in ({"samples": samples(5)}, {"not_covered": everything}):
        with pytest.raises(PolicyNotMet) as caught:
            calibrate(request(**change))
        assert caught.value.code == "calibration-too-small"


def test_an_attack_that_does_not_exist_cannot_be_left_out() -> None:
    with pytest.raises(UsageError):
        calibrate(request(not_covered=frozenset({"weight-nose"})))


def test_what_is_not_covered_is_said() -> None:
    found = calibrate(request(not_covered=frozenset({"int4-weights"})))
    assert "int4-weights" not in {one.name for one in found.calibration.attacks}
    assert any("int4-weights" in note for note in found.notes)


@pytest.mark.parametrize(("honest", "attack"), [(1e-5, 9.9e-5), (0.0, 9 * RESOLUTION), (1.0, 1.0), (1e-3, 1e-5)])
def test_less_than_ten_times_apart_is_not_separable(honest: float, attack: float) -> None:
    with pytest.raises(PolicyNotMet) as caught:
        tolerance(honest, attack)
    assert caught.value.code == "not-separable"


def test_bit_exact_honest_runs_do_not_give_a_tolerance_of_zero() -> None:
    assert tolerance(0.0, 1e-4) == pytest.approx((RESOLUTION * 1e-4) ** 0.5)


def test_the_artifact_survives_its_parser_and_a_widened_tolerance_does_not(made: Calibration) -> None:
    assert parse_attestation(attest(made, ABOUT).envelope, "again").predicate == made
    with pytest.raises(EvidenceRejected):
        attest(dataclasses.replace(made, tau=made.tau * 2), ABOUT)
    with pytest.raises(EvidenceRejected):
        attest(dataclasses.replace(made, honest=made.honest[:2]), ABOUT)
    with pytest.raises(EvidenceRejected):
        attest(dataclasses.replace(made, attacks=()), ABOUT)


def test_a_changed_runtime_voids_it(made: Calibration) -> None:
    now = datetime(2026, 2, 1, tzinfo=UTC)
    assert made.require_valid(made.subject, made.runtime, now) is made
    with pytest.raises(PolicyNotMet) as caught:
        made.require_valid(made.subject, "onnxruntime 0.0.1", now)
    assert caught.value.code == "calibration-runtime"
    other = dataclasses.replace(made.subject, runtime=RuntimeOptions(batch=8))
    with pytest.raises(PolicyNotMet) as caught:
        made.require_valid(other, made.runtime, now)
    assert (caught.value.code, caught.value.where) == ("calibration-subject", "runtime")


def test_the_nearest_attack_is_the_one_whose_band_holds_the_distance(made: Calibration) -> None:
    runs = (HonestRuns("a", sha256(b"a"), 9, 0.0, 0.0, 0),) * 3
    attacks = (AttackRuns("noise", 9, 1e-4, 2e-4, 4e-4, 0), AttackRuns("int8", 9, 1e-2, 3e-2, 9e-2, 0))
    sketch = dataclasses.replace(made, honest=runs, attacks=attacks)
    for distance, name in ((1.5e-4, "noise"), (5e-2, "int8"), (9.0, "int8"), (1e-6, "noise")):
        nearest = sketch.nearest_attack(distance)
        assert nearest is not None
        assert nearest.name == name
    assert sketch.nearest_attack(0.0) is None


def test_quantising_to_fewer_bits_is_coarser() -> None:
    weights = np.random.default_rng(1).normal(size=(40, 30))
    errors = [float(np.abs(fake_quantise(weights, bits) - weights).max()) for bits in (8, 4)]
    assert 0 < errors[0] < errors[1] / 10


def test_swapping_a_layer_changes_the_model_but_not_its_interface() -> None:
    swapped = swap_layer(MODEL)
    assert swapped != MODEL
    honest, other = (VoteRunner(one, RuntimeOptions()) for one in (MODEL, swapped))
    assert (honest.inputs, honest.outputs) == (other.inputs, other.outputs)


@pytest.mark.parametrize("order", ["C", "F"])
def test_an_edited_input_differs_whatever_its_memory_layout(order: Literal["C", "F"]) -> None:
    sample = {"x": np.array(np.random.default_rng(2).normal(size=(1, 3, 8, 8)), dtype=np.float32, order=order)}
    before = sample["x"].copy()
    edited = edit_input().apply(sample)
    assert np.count_nonzero(edited["x"] != before) == 1
    assert np.array_equal(sample["x"], before)
