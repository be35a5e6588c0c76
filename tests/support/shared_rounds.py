"""A round in a shared folder, its parties driven step by step: no waiting, no clock but the test's."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.consensus_rounds import Key, keys
from tests.support.paths import ROOT
from verifai.bundle import canonical
from verifai.bundle.dsse import attest
from verifai.consensus.environment import this_environment
from verifai.domain.attestation.envelope import Subject
from verifai.domain.consensus.calibration import AttackRuns, Calibration, HonestRuns, tolerance
from verifai.domain.consensus.job import OutputKind
from verifai.domain.consensus.round import RoundTerms
from verifai.domain.digest import sha256
from verifai.domain.utc_time import format_utc, parse_utc
from verifai.stages.consensus.call_round import CallOptions, call_round
from verifai.stages.consensus.decide import ConsensusResult
from verifai.stages.consensus.room import Room, enter
from verifai.stages.consensus.round_coordinator import ClosedRound, Coordinator
from verifai.stages.consensus.round_voter import RunOptions, Voter
from verifai.stages.consensus.subject import SubjectOptions, read_inputs, read_model, subject_of
from verifai.stages.consensus.turns import Done, Turn

FIXTURE = ROOT / "fixtures" / "digits-cnn"
MODEL = FIXTURE / "model.onnx"
CHAIR = keys(1, offset=90)[0]


@dataclass
class Told:
    """A listener that keeps what it is told."""

    notes: list[str] = field(default_factory=list)

    def phase(self, name: str, total: int | None = None) -> None:
        pass

    def advance(self, steps: int = 1) -> None:
        pass

    def memory(self, peak_bytes: int) -> None:
        pass

    def note(self, text: str) -> None:
        self.notes.append(text)


def calibration_file(path: Path) -> Path:
    """A tolerance for this machine's runtime, as if it had been measured."""
    of = subject_of(read_model(MODEL), SubjectOptions(OutputKind.EMBEDDINGS))
    from verifai.fingerprints.registry import fingerprint_for

    of = type(of)(
        of.model_sha256,
        of.preprocessing_sha256,
        of.kind,
        of.precision,
        of.runtime,
        fingerprint_for(of.kind).parameters({}),
        of.tensors,
    )
    now = datetime.now(UTC)
    runs = tuple(HonestRuns(name, sha256(name.encode()), 3000, 1e-6, 1e-6, 0) for name in ("avx2", "avx512", "threads"))
    attacks = (AttackRuns("weight-noise-1e-4", 3000, 1e-4, 2e-4, 4e-4, 0), AttackRuns("int8-weights", 3000, 0.01, 0.1, 0.5, 0))
    measured = Calibration(
        of,
        this_environment(1).runtime,
        tolerance(1e-6, 1e-4),
        runs,
        attacks,
        1e-3,
        (1e-6, 1e-6),
        format_utc(now - timedelta(days=1)),
        format_utc(now + timedelta(days=300)),
    )
    made = attest(measured, (Subject("model", of.model_sha256),), [CHAIR])
    path.write_bytes(canonical.encode(made.envelope.to_json()))
    return path


def inputs_file(path: Path, count: int = 2) -> Path:
    with np.load(FIXTURE / "heldout.npz") as arrays:
        name = next(key for key in arrays if key != "label")
        np.savez(path, **{name: arrays[name][:count]})
    return path


def answers(path: Path, noise: float = 0.0, seed: int = 1) -> Path:
    """What the model says of the inputs, moved by ``noise`` of its size."""
    from verifai.consensus.runner import VoteRunner
    from verifai.domain.consensus.job import RuntimeOptions

    model = read_model(MODEL)
    runner = VoteRunner(model, RuntimeOptions())
    outputs = runner.run(read_inputs(path.parent / "inputs.npz", model, RuntimeOptions()))
    extra = np.random.default_rng(seed)
    stacked = {name: np.concatenate([np.asarray(one[name]) for one in outputs]) for name in runner.outputs}
    moved = {
        name: (value + noise * np.abs(value).max() * extra.normal(size=value.shape)).astype(np.float32)
        for name, value in stacked.items()
    }
    np.savez(path, **moved)
    return path


class SharedRound:
    """A round of ``count`` voters in a folder, its coordinator no voter."""

    def __init__(self, folder: Path, count: int = 3, beacon: str = "voters", noise: Sequence[float] = (), **more: Any) -> None:
        self.base = folder
        self.folder = folder / "shared"
        self.keys = keys(count)
        inputs = inputs_file(folder / "inputs.npz")
        self.answers = [
            answers(folder / f"answers{index}.npz", (list(noise) + [0.0] * count)[index], index) for index in range(count)
        ]
        options = CallOptions([key.public_key for key in self.keys], beacon, time=timedelta(minutes=30), **more)
        calibration = calibration_file(folder / "tolerance.json")
        self.terms: RoundTerms = call_round(self.folder, MODEL, inputs, calibration, options, CHAIR).message
        self.told = [Told() for _ in range(count + 1)]
        self.now = parse_utc(self.terms.commit_by) - timedelta(minutes=20)

    @property
    def commit_over(self) -> datetime:
        return parse_utc(self.terms.commit_by) + timedelta(seconds=1)

    @property
    def reveal_over(self) -> datetime:
        return parse_utc(self.terms.reveal_by) + timedelta(seconds=1)

    def room(self, key: Key, place: int) -> Room:
        chair = CHAIR.public_key
        return enter(self.folder, self.base / f"state{place}", coordinator=chair, keyid=key.keyid, progress=self.told[place])

    def voter(self, place: int, **more: Any) -> Voter:
        """The voter as it is after a start or a kill: nothing is remembered but its private folder."""
        key = self.keys[place]
        return Voter(self.room(key, place), key, RunOptions(outputs=self.answers[place], **more))

    def coordinator(self, **more: Any) -> Coordinator:
        place = len(self.keys)
        return Coordinator(self.room(CHAIR, place), CHAIR, **more)

    def step(self, place: int) -> Turn | Done[ConsensusResult]:
        return self.voter(place).step(self.now)

    def close(self) -> Turn | Done[ClosedRound]:
        return self.coordinator().step(self.now)

    def play(self, *places: int) -> list[ConsensusResult]:
        """Everybody named goes on until nobody can; killed and started again between any two steps."""
        done: dict[int, ConsensusResult] = {}
        for _ in range(8):
            for place in places:
                turn = self.step(place)
                if isinstance(turn, Done):
                    done[place] = turn.result
            self.close()
        return [done[place] for place in sorted(done)]

    def end(self) -> ClosedRound:
        closed = self.close()
        assert isinstance(closed, Done), closed
        return closed.result

    def forget(self, place: int) -> None:
        shutil.rmtree(self.base / f"state{place}")
