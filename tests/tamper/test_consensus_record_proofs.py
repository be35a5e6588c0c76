"""Recording runs from proofs: what was not proven, about another model or input, or hidden, does not widen a tolerance."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.gate_world import World, fake_engines, section
from tests.support.paths import ROOT
from verifai.consensus.environment import this_environment
from verifai.consensus.files import RunsFile, read_runs
from verifai.consensus.runner import VoteRunner
from verifai.domain.consensus.job import OutputKind, PrecisionClass, RuntimeOptions, VoteSubject
from verifai.domain.digest import sha256
from verifai.domain.statement import EngineName, Role, Statement, TensorStatement, Visibility
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError, VerifaiError
from verifai.fingerprints.output import encode_output
from verifai.stages.consensus.calibrate import CalibrateRequest, RecordedRuns, calibrate
from verifai.stages.consensus.record_proofs import ProvenRuns, circuit_environment, record_proofs

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")

NUMBERS = (3, 5, 9)
FIXTURE = ROOT / "fixtures" / "digits-mlp"
MODEL = (FIXTURE / "model.onnx").read_bytes()


def samples(numbers: Sequence[int] = NUMBERS) -> list[dict[str, Any]]:
    return [{"x": np.array([[number / 128]], dtype=np.float32)} for number in numbers]


def record(world: World, bundles: Sequence[Path], numbers: Sequence[int] = NUMBERS, **changes: Any) -> ProvenRuns:
    subject = VoteSubject(sha256(world.model), sha256(b"none"), OutputKind.EXACT, PrecisionClass.FP32, tensors=("y",))
    given = {"lock": world.circuit_lock, "subject": subject} | changes
    return record_proofs(bundles, given["lock"], given["subject"], samples(numbers))


def proofs(world: World, numbers: Sequence[int] = NUMBERS) -> list[Path]:
    return [world.bundle(f"proof-{number}", number) for number in numbers]


def test_what_is_recorded_is_what_the_statements_say(tmp_path: Path) -> None:
    world = World(tmp_path)
    found = record(world, proofs(world))
    assert [float(one["y"][0, 0]) for one in found.outputs] == [2 * number / 128 for number in NUMBERS]
    assert (found.environment.machine, len(set(found.proofs))) == ("circuit", 3)
    assert found.environment.instruction_set == f"ezkl {sha256(b'net')[:12]}"


class Hidden(World):
    """A circuit that hides one side."""

    role = Role.OUTPUT
    how = Visibility.PRIVATE

    def statement(self, sample: int, **more: Any) -> Statement:
        made = super().statement(sample, **more)

        def hide(one: TensorStatement) -> TensorStatement:
            if one.role is not self.role:
                return one
            hashed = {"digest": "ab" * 32, "digest_scheme": "ezkl-poseidon"} if self.how is Visibility.HASHED else {}
            return dataclasses.replace(one, visibility=self.how, quantised=None, **hashed)

        return dataclasses.replace(made, tensors=tuple(hide(one) for one in made.tensors))


@pytest.mark.parametrize(
    ("role", "how", "code"),
    [
        (Role.OUTPUT, Visibility.PRIVATE, "claim-hidden"),
        (Role.OUTPUT, Visibility.HASHED, "claim-hidden"),
        (Role.INPUT, Visibility.PRIVATE, "input-private"),
    ],
)
def test_hidden_outputs_and_inputs_that_the_proof_binds_to_nothing_are_not_recorded(
    role: Role, how: Visibility, code: str, tmp_path: Path
) -> None:
    world = Hidden(tmp_path)
    world.role, world.how = role, how
    with pytest.raises(PolicyNotMet) as caught:
        record(world, proofs(world))
    assert (caught.value.code, caught.value.status) == (code, 3)


def attack(world: World, name: str) -> None:
    """One way of getting outputs recorded that no proof stands for."""
    good = proofs(world)
    other = World(world.folder / "elsewhere", model=b"another model")
    both = World(world.folder / "both", sections={EngineName.EZKL: section(), EngineName.SUMCHECK: section("twin")})
    moves: dict[str, Any] = {
        "an unverified proof": lambda: record(world, [good[0], good[1], world.bundle("forged", 9, forged=True)]),
        "a proof of another input": lambda: record(world, [good[0], good[1], world.bundle("seven", 7)]),
        "two proofs exchanged": lambda: record(world, [good[1], good[0], good[2]]),
        "a proof of another model": lambda: record(world, [good[0], good[1], other.bundle("other", 9)]),
        "the lock of another model": lambda: record(world, good, lock=other.circuit_lock),
        "a circuit that is not pinned": lambda: record(world, [*good[:2], both.bundle("twin", 9, engine=EngineName.SUMCHECK)]),
        "too few proofs": lambda: record(world, good[:2]),
        "no proofs": lambda: record(world, [], ()),
        "one proof for two samples": lambda: record(world, [good[0], good[0]], (3, 3)),
        "two circuits in one file": lambda: record(
            both, [both.bundle("a", 3), both.bundle("b", 5, engine=EngineName.SUMCHECK)], (3, 5)
        ),
        "an output that the proof does not have": lambda: record(
            world, good, subject=VoteSubject(
                sha256(world.model), sha256(b""), OutputKind.EXACT, PrecisionClass.FP32, tensors=("z",)
            )
        ),
    }  # fmt: skip
    moves[name]()


@pytest.mark.parametrize(
    ("name", "code", "status"),
    [
        ("an unverified proof", "proof-invalid", 1),
        ("a proof of another input", "input-mismatch", 1),
        ("two proofs exchanged", "input-mismatch", 1),
        ("a proof of another model", "claim-model", 1),
        ("the lock of another model", "claim-model", 1),
        ("a circuit that is not pinned", "circuit-not-pinned", 1),
        ("too few proofs", "claim-count", 2),
        ("no proofs", "claim-count", 2),
        ("one proof for two samples", "claim-count", 2),
        ("two circuits in one file", "runs-mixed", 2),
        ("an output that the proof does not have", "claim-model", 1),
    ],
)
def test_nothing_unproven_is_recorded(name: str, code: str, status: int, tmp_path: Path) -> None:
    with pytest.raises(VerifaiError) as caught:
        attack(World(tmp_path), name)
    assert (caught.value.code, caught.value.status) == (code, status)


# The file.

CIRCUIT = circuit_environment("sumcheck", "1", sha256(b"circuit"))
GOOD = RunsFile(CIRCUIT, (b"one", b"two"), (sha256(b"p1"), sha256(b"p2")))


def test_the_file_survives_its_parser_and_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    path.write_bytes(GOOD.to_bytes())
    assert read_runs(path) == GOOD
    assert read_runs(path).to_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"proofs": []},
        {"proofs": [sha256(b"p1")]},
        {"proofs": [sha256(b"p1")] * 2},
        {"proofs": ["no digest", sha256(b"p2")]},
        {"proofs": [1, 2]},
        {"proofs": "ab"},
        {"environment": this_environment(1).to_json()},
        {"outputs": ["b25l", "not base64!"]},
        {"verified": True},
    ],
)
def test_a_file_of_runs_that_contradicts_itself_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "runs.json"
    path.write_text(json.dumps(json.loads(GOOD.to_bytes()) | change))
    with pytest.raises(UsageError) as caught:
        read_runs(path)
    assert caught.value.code == "bad-runs"


# The calibration.


def inputs(count: int = 40) -> list[dict[str, Any]]:
    with np.load(FIXTURE / "heldout.npz") as rows:
        return [{"pixels": row[None]} for row in rows["pixels"][:count]]


def runs(error: float, environment: Any = CIRCUIT) -> RecordedRuns:
    """What a circuit that is off by ``error`` puts out."""
    honest = VoteRunner(MODEL, RuntimeOptions()).run(inputs())
    return RecordedRuns(
        environment, tuple({name: values * np.float32(1 + error) for name, values in one.items()} for one in honest)
    )


def request(**changes: Any) -> CalibrateRequest:
    subject = VoteSubject(sha256(MODEL), sha256(b""), OutputKind.LOGITS, PrecisionClass.FP32)
    plain = CalibrateRequest(
        MODEL, subject, inputs(), this_environment(1), "ab" * 32, "2026-01-01T00:00:00Z", "2026-04-01T00:00:00Z"
    )
    return dataclasses.replace(plain, **changes)


FINE = frozenset({"weight-noise-1e-4", "weight-noise-1e-3", "weight-noise-1e-2", "prune-1%", "prune-10%", "fp16-weights",
                  "int8-weights", "int4-weights", "input-edited"})  # fmt: skip


def test_proven_runs_widen_the_tolerance_openly_and_are_not_left_out_in_turn() -> None:
    plain = calibrate(request()).calibration
    found = calibrate(request(proven=[runs(0.005)], not_covered=FINE))
    (circuit,) = [one for one in found.calibration.honest if one.environment.startswith("circuit")]
    assert circuit.environment_id == CIRCUIT.id
    assert circuit.false_rejects == 0
    assert circuit.largest <= found.calibration.tau
    assert found.calibration.tau > 100 * plain.tau
    assert any("holds votes less tightly" in note for note in found.notes)
    assert any("weight-noise-1e-4" in note for note in found.notes)


def test_attacks_that_proven_runs_drown_are_named_and_never_dropped_in_silence() -> None:
    with pytest.raises(PolicyNotMet) as caught:
        calibrate(request(proven=[runs(0.005)]))
    assert caught.value.code == "not-separable"
    assert "weight-noise-1e-4" in caught.value.message
    assert "--not-covered int8-weights" in caught.value.hint
    assert "swap-layer" not in caught.value.message


@pytest.mark.parametrize("field", ["elsewhere", "proven"])
def test_a_machine_cannot_call_itself_a_circuit_nor_a_circuit_a_machine(field: str) -> None:
    """Else whoever records runs could choose not to be left out, which is what shows that a tolerance does not carry over."""
    odd = runs(0.005, dataclasses.replace(this_environment(1), machine="circuit x")) if field == "proven" else runs(0.005)
    with pytest.raises(UsageError) as caught:
        calibrate(request(**{field: [odd]}, not_covered=FINE))
    assert caught.value.code == "bad-runs"


def test_two_files_of_one_circuit_are_both_runs_of_a_circuit() -> None:
    found = calibrate(request(proven=[runs(0.005), runs(0.004)], not_covered=FINE))
    circuits = [one for one in found.calibration.honest if one.environment.startswith("circuit")]
    assert [one.environment_id for one in circuits] == [CIRCUIT.id] * 2


def test_runs_of_other_inputs_are_too_many_or_too_few() -> None:
    short = dataclasses.replace(runs(0.005), outputs=runs(0.005).outputs[:-1])
    with pytest.raises(UsageError) as caught:
        calibrate(request(proven=[short], not_covered=FINE))
    assert caught.value.code == "job-input"


def test_a_forged_claim_of_a_proof_in_a_file_does_not_become_an_output(tmp_path: Path) -> None:
    """A file whose outputs cannot be decoded is refused whatever proofs it names."""
    from verifai.fingerprints.output import decode_output

    path = tmp_path / "runs.json"
    cut = encode_output({"y": np.zeros((1, 3), dtype=np.float32)})[:-1]
    path.write_bytes(RunsFile(CIRCUIT, (cut,), (sha256(b"p"),)).to_bytes())
    with pytest.raises(EvidenceRejected):
        decode_output(read_runs(path).outputs[0], str(path))
