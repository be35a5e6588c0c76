"""Compiling kernels is a step of its own: said once, taken once, and in nobody's seconds."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.domain.statement import EngineName
from verifai.engines.sumcheck.prover import kernel_step
from verifai.engines.sumcheck.prover import prove as prover
from verifai.engines.sumcheck.prover.jit import is_compiled, kernels
from verifai.engines.sumcheck.prover.kernel_step import PHASE, CompileTime, compile_time, ensure_kernels
from verifai.engines.sumcheck.prover.resources import warm_up
from verifai.onnx_graph.inputs import read_samples
from verifai.onnx_graph.load import load_path
from verifai.stages.compile import compile_circuit
from verifai.stages.init import init_circuit
from verifai.stages.prove import prove

FIXTURE = ROOT / "fixtures" / "digits-mlp"


class Listener:
    def __init__(self) -> None:
        self.phases: list[str] = []
        self.notes: list[str] = []

    def phase(self, name: str, total: int | None = None) -> None:
        self.phases.append(name)

    def advance(self, steps: int = 1) -> None: ...

    def memory(self, peak_bytes: int) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


def packaged() -> tuple[Any, ...]:
    """The package's own kernels: other tests of this process may have imported some that belong to tests."""
    return tuple(one for one in kernels() if getattr(one, "py_func", one).__module__.startswith("verifai."))


@pytest.fixture(autouse=True)
def only_packaged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_step, "kernels", packaged)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has not taken the step."""
    monkeypatch.setattr(kernel_step, "_PROCESS", kernel_step._Process())


def fresh_function() -> Any:
    return numba.njit(lambda x: x + 1)


def test_warming_up_compiles_every_kernel() -> None:
    warm_up()
    assert [one.__name__ for one in packaged() if not is_compiled(one)] == []
    assert len(packaged()) > 15


def test_what_is_compiled_already_is_said_to_nobody(fresh: None) -> None:
    warm_up()
    listener = Listener()
    ensure_kernels(listener)
    assert (listener.phases, listener.notes) == ([], [])


def test_the_step_is_named_and_taken_once(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    monkeypatch.setattr(kernel_step, "kernels", lambda: (fresh_function(),))
    monkeypatch.setattr(kernel_step, "warm_up", lambda progress, phase: taken.append(phase))
    listener = Listener()
    ensure_kernels(listener)
    ensure_kernels(listener)
    assert taken == [PHASE] and "once per installation" in PHASE
    assert len(listener.notes) == 1 and "verifai warm-up" in listener.notes[0]


def test_a_kernel_without_a_cache_is_compiled_once_it_was_called() -> None:
    made = fresh_function()
    assert not is_compiled(made)
    made(1)
    assert is_compiled(made)
    assert is_compiled(lambda x: x)  # without a compiler there is nothing to compile


def test_compiling_is_measured() -> None:
    made = fresh_function()
    with compile_time() as first:
        began = time.perf_counter()
        made(np.float32(1))
        spent = time.perf_counter() - began
    with compile_time() as second:
        made(np.float32(1))
    assert 0 < first.seconds <= spent
    assert second.seconds == CompileTime.seconds == 0


def test_a_proof_is_not_charged_for_compiling(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiled: list[float] = []
    genuine = prover.prove

    def compiles_first(*args: Any, **options: Any) -> Any:
        with compile_time() as spent:
            for _ in range(5):
                fresh_function()(1)
        compiled.append(spent.seconds)
        return genuine(*args, **options)

    monkeypatch.setattr(prover, "prove", compiles_first)
    folder = init_circuit(
        FIXTURE / "model.onnx",
        load_path(FIXTURE / "model.onnx"),
        tmp_path / "circuit",
        engine=EngineName.SUMCHECK,
        calibration=FIXTURE / "calibration.npz",
    )
    compile_circuit(folder)
    began = time.perf_counter()
    (bundle,) = prove(folder, read_samples(FIXTURE / "heldout.npz", folder.model).samples[:1], tmp_path / "evidence")
    assert bundle.seconds + compiled[0] <= time.perf_counter() - began


def test_all_kernels_are_known_to_the_step_alone() -> None:
    code = (
        "from verifai.engines.sumcheck.prover import kernel_step\n"
        "known = len(kernel_step.kernels())\n"
        "import verifai.engines.sumcheck.prover.prove, verifai.engines.sumcheck.engine\n"
        "assert known == len(kernel_step.kernels()) > 15\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
