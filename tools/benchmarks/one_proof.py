"""One circuit, proven and verified in this process by whichever release ``verifai`` is; prints one line of JSON.

    PYTHONPATH=SOURCE python tools/benchmarks/one_proof.py FOLDER [--hide input|weights|both] [--runs 3]

FOLDER is what ``verifai compile`` of that release built. ``--hide`` plans the same integer program again for the zero-knowledge
suite. Modules moved between the two suites, so names are looked for where either release has them. No other module of this
package is imported: the older release does not have it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

ENGINE = "verifai.engines.sumcheck"
PLACES = {
    "decode": ("circuit.codec", "circuit_codec"),
    "encode": ("circuit.codec", "circuit_codec"),
    "circuit_digest": ("circuit.codec", "circuit_codec"),
    "run": ("interpreter.run", "interpreter"),
    "decode_arrays": ("interpreter.weights", "weights_arrays"),
    "planned": ("planning.plan", "verifier.layout"),
    "Visibility": ("circuit.program", "circuit"),
    "WeightVisibility": ("circuit.program", "circuit"),
    "ZERO_KNOWLEDGE": ("protocol.suite", "verifier.suite"),
    "saturated_inputs": ("tensors", "engine_compiling"),
    "prepare": ("prover.prove",),
    "prove": ("prover.prove",),
    "peak_memory_bytes": ("planning.memory", "prover.resources"),
    "trust_circuit": ("verifier.verify",),
    "trust_weights": ("verifier.verify",),
    "verify": ("verifier.verify",),
}


def named(name: str) -> Any:
    """The engine's object of this name, wherever this release has it. Raises ImportError."""
    for place in PLACES[name]:
        try:
            return getattr(importlib.import_module(f"{ENGINE}.{place}"), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"this release has no {name}")


class Phases:
    """CPU seconds of each phase that the prover names."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._name, self._began = "", 0.0

    def phase(self, name: str, total: int | None = None) -> None:
        """The next one begins; ``end`` is none."""
        now = time.process_time()
        if self._name:
            self.seconds[self._name] = self.seconds.get(self._name, 0.0) + now - self._began
        self._name, self._began = ("" if name == "end" else name), now

    def advance(self, steps: int = 1) -> None:
        """Ignored."""

    def memory(self, peak_bytes: int) -> None:
        """Ignored."""

    def note(self, text: str) -> None:
        """Ignored."""


def clocked(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """(result, wall seconds, CPU seconds of all threads)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def measure(folder: Path, hide: str, runs: int) -> dict[str, Any]:
    """Everything about one circuit that one process can tell."""
    from verifai.circuit_folder import CircuitFolder
    from verifai.onnx_graph.inputs import read_samples

    (build,) = {path.parent for path in (folder / "build").rglob("circuit.bin")}
    circuit, blob = named("decode")((build / "circuit.bin").read_bytes()), (build / "weights.bin").read_bytes()
    weights = named("decode_arrays")(circuit, blob)
    if hide:
        circuit = hidden(circuit, hide)
    known = CircuitFolder(folder)
    sample = read_samples(known.model_path().parent / "heldout.npz", known.model)[0]
    saturated = named("saturated_inputs")
    old = saturated.__code__.co_varnames[0] == "model"
    inputs = saturated(known.model, circuit, sample) if old else saturated(known.model.inputs, circuit, sample, {})
    threads = os.cpu_count() or 1
    key, _, prepare_cpu = clocked(lambda: named("prepare")(circuit, weights, threads))
    spent: dict[str, list[float]] = {"wall": [], "cpu": [], "run": []}
    phases: list[dict[str, float]] = []
    for number in range(runs + 1):
        listener = Phases()
        trace, _, running = clocked(lambda: named("run")(circuit, weights, inputs))
        more = {"opening_number": number} if hide in ("weights", "both") else {}
        proven, wall, cpu = clocked(partial(named("prove"), key, trace, progress=listener, threads=threads, **more))
        listener.phase("end")
        for name, value in (("wall", wall), ("cpu", cpu), ("run", running)):
            spent[name].append(value)
        phases.append(listener.seconds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    layout = key.layout
    witness = layout.witness
    cells = witness.stored_cells if hasattr(witness, "stored_cells") else sum(1 << log for log in witness.logs.values())
    found: dict[str, Any] = {
        "circuit": folder.name, "hide": hide,
        "prove_cpu_s": statistics.median(spent["cpu"][1:]) + statistics.median(spent["run"][1:]),
        "prove_wall_s": statistics.median(spent["wall"][1:]) + statistics.median(spent["run"][1:]),
        "run_cpu_s": statistics.median(spent["run"][1:]),
        "phases": {name: statistics.median(one[name] for one in phases[1:]) for name in phases[-1]},
        "prepare_cpu_s": prepare_cpu, "proof_bytes": len(proven.proof), "peak_bytes": peak,
        "estimated_bytes": named("peak_memory_bytes")(circuit, layout),
        "cells": cells, "log_leaves": layout.bus.log_leaves, "levels": len(getattr(layout, "levels", ())),
        "bits": min(step.millibits for step in circuit.soundness) / 1000,
    }  # fmt: skip
    identity, shown = key.identity, blob if key.committed is None else None
    del key
    data = named("encode")(circuit)
    times = [clocked(partial(checked, data, identity, shown, proven))[2] for _ in range(2)]
    return {**found, "verify_cpu_s": times[0], "verify_again_cpu_s": times[1], "load": os.getloadavg()[0]}


def checked(data: bytes, identity: str, shown: bytes | None, proven: Any) -> None:
    """Verify, from the circuit's bytes on. Raises EvidenceRejected."""
    trusted = named("trust_circuit")(data, named("circuit_digest")(data))
    named("verify")(trusted, named("trust_weights")(trusted, identity, shown), proven.statement, proven.proof)


def hidden(circuit: Any, hide: str) -> Any:
    """The same integer program, planned with its inputs or weights hidden; outputs stay public."""
    if hide in ("input", "both"):
        private = named("Visibility").PRIVATE
        circuit = replace(circuit, inputs=tuple(replace(port, visibility=private) for port in circuit.inputs))
    if hide in ("weights", "both"):
        circuit = replace(circuit, weight_visibility=named("WeightVisibility").COMMITTED)
    return named("planned")(replace(circuit, suite="draft"), named("ZERO_KNOWLEDGE"), 16)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Prove and verify one built circuit.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hide", default="", choices=("", "input", "weights", "both"))
    parser.add_argument("--runs", type=int, default=3, choices=range(1, 16), help="warm ones; hidden weights have 16 openings")
    options = parser.parse_args()
    print(json.dumps(measure(options.folder, options.hide, options.runs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
