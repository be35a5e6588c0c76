"""The demo's end: 100 digits proven as one evaluation, and a gate that asks for an accuracy."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from verifai.circuit_folder import CircuitFolder
from verifai.domain.evaluation.words import sentence
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.progress import Progress
from verifai.domain.statement import EngineName
from verifai.stages.compile import compile_circuit
from verifai.stages.evaluate import Evaluated, EvaluateOptions, evaluate
from verifai.stages.evaluation.data_set import pin
from verifai.stages.evaluation.lock_file import write_data_lock
from verifai.stages.evaluation.read_data import read_data
from verifai.stages.gate.gate import gate
from verifai.stages.gate.load import load_policy

SAMPLES = 100
FLOOR = 0.9
_POLICY = f"""schema = "verifai/policy/v1"
name = "digits"

[[model]]
name = "digits"
lock = "circuit"
evidence = ["evaluation"]

[model.evaluation]
data = "data.lock"
samples = {SAMPLES}
accuracy = {FLOOR}
privacy = "integrity-only"  # the circuit shows everything: it is about being right
"""


@dataclass(frozen=True)
class EvaluatedDigits:
    """A whole test set, proven and gated.

    Attributes:
        sentence: what was counted, in words.
        prove_seconds: of the evaluation; gate_seconds: verifying it and judging it.
    """

    made: Evaluated
    verdict: GateVerdict
    sentence: str
    prove_seconds: float
    gate_seconds: float


def evaluated_digits(folder: CircuitFolder, heldout: Path, work: Path, progress: Progress) -> EvaluatedDigits:
    """Evaluate the circuit's model on the first held-out pictures with the sumcheck engine, and put the gate to the bundle."""
    work.mkdir(parents=True)
    copy = _copy(folder, work / "circuit")
    compile_circuit(copy, engine=EngineName.SUMCHECK, batch=SAMPLES, progress=progress)
    data = read_data(heldout).data.first(SAMPLES)
    lock = pin(data, "digits", "label")
    write_data_lock(work / "data.lock", lock)
    begun = time.monotonic()
    made = evaluate(copy, data, lock, work / "evaluation", EvaluateOptions(engine=EngineName.SUMCHECK), progress=progress)
    proven = time.monotonic()
    (work / "verifai.toml").write_text(_POLICY)
    verdict = gate(load_policy(work / "verifai.toml"), [made.path], now=datetime.now(UTC), progress=progress)
    words = sentence(lock, made.evaluation.metrics)
    return EvaluatedDigits(made, verdict, words, proven - begun, time.monotonic() - proven)


def _copy(folder: CircuitFolder, target: Path) -> CircuitFolder:
    """The circuit without a lock, for batches; its data stay where they are."""
    target.mkdir()
    text = (folder.folder / "circuit.toml").read_text()
    fixtures = folder.model_path().resolve().parents[1]
    (target / "circuit.toml").write_text(text.replace("../../fixtures", fixtures.as_posix()))
    return CircuitFolder(target)
