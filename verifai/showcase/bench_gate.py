"""How long the gate takes for many bundles, against one ``verify`` process per bundle. Whole processes are timed, both ways.

Run it as ``python -m verifai.showcase.bench_gate CIRCUIT SAMPLES.npz… --engine sumcheck --bundles 1000 --verify 100``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName
from verifai.errors import EngineCrashed, UsageError
from verifai.execution.scratch import private_directory
from verifai.stages.gate.init import init_policy
from verifai.stages.prove import prove


@dataclass(frozen=True)
class GateBench:
    """Figures of one run.

    Attributes:
        bundles: real bundles of distinct inputs in one gate.
        gate_s, gate_cpu_s: wall and processor time of the one ``gate`` process with its workers.
        gate_peak_rss_bytes: of it or its heaviest worker, whichever is larger.
        verify_runs: ``verify`` processes that were timed, one bundle each, one after the other; half of them before the gate
            and half after it, so that a change of the machine's load falls on both.
        verify_s, verify_cpu_s: their mean wall and processor time.
        ratio, cpu_ratio: time of one ``verify`` process per bundle, divided by that of the gate. The first also counts that the
            gate uses all cores.
    """

    circuit: str
    engine: str
    cores: int
    bundles: int
    gate_s: float
    gate_cpu_s: float
    gate_bundles_per_s: float
    gate_peak_rss_bytes: int
    verify_runs: int
    verify_s: float
    verify_cpu_s: float
    ratio: float
    cpu_ratio: float


@dataclass(frozen=True)
class _Timing:
    wall: float
    cpu: float
    peak_rss_bytes: int


def bench_gate(
    folder: CircuitFolder,
    samples: Sequence[Mapping[str, Any]],
    *,
    engine: EngineName,
    verify_runs: int,
    workspace: Path,
    progress: Progress = SILENT,
) -> GateBench:
    """Prove ``samples``, gate all the bundles at once, and verify some of them one process each.

    Args:
        samples: distinct inputs; equal ones would count once.
        verify_runs: how many ``verify`` processes to time, spread over the bundles; at most one per bundle.
        workspace: existing empty folder for the bundles; nothing is deleted.

    Raises:
        UsageError: ``bad-option``; and what :func:`verifai.stages.prove.prove` raises.
        EngineCrashed: a timed process did not accept what was just proven.
    """
    if not 1 <= verify_runs <= len(samples):
        raise UsageError("bad-option", f"{verify_runs} runs of verify for {len(samples)} bundles", where="--verify")
    evidence = workspace / "evidence"
    progress.phase(f"proving {len(samples)} inputs", len(samples))
    paths = []
    for made in prove(folder, samples, evidence, engine=engine, compare=False):
        paths.append(made.path)
        progress.advance()
    policy = workspace / "verifai.toml"
    init_policy(paths[:1], policy, lock=folder.folder, trust=None, force=False, now=datetime.now(UTC))
    text = policy.read_text(encoding="utf-8")
    policy.write_text(text.replace("inferences = 1\n", f"inferences = {len(paths)}\n"), encoding="utf-8")
    chosen = [paths[index * len(paths) // verify_runs] for index in range(verify_runs)]
    singles = _verify_each(chosen[::2], folder, progress)
    progress.phase("one gate")
    whole = _timed(["gate", "--policy", str(policy), str(evidence), "-q"])
    singles += _verify_each(chosen[1::2], folder, progress)
    wall = sum(one.wall for one in singles) / len(singles)
    cpu = sum(one.cpu for one in singles) / len(singles)
    return GateBench(
        circuit=folder.spec.name,
        engine=engine.value,
        cores=os.cpu_count() or 1,
        bundles=len(paths),
        gate_s=round(whole.wall, 3),
        gate_cpu_s=round(whole.cpu, 3),
        gate_bundles_per_s=round(len(paths) / whole.wall, 2),
        gate_peak_rss_bytes=whole.peak_rss_bytes,
        verify_runs=verify_runs,
        verify_s=round(wall, 3),
        verify_cpu_s=round(cpu, 3),
        ratio=round(wall * len(paths) / whole.wall, 2),
        cpu_ratio=round(cpu * len(paths) / whole.cpu, 2),
    )


def _verify_each(paths: Sequence[Path], folder: CircuitFolder, progress: Progress) -> list[_Timing]:
    progress.phase(f"{len(paths)} verify processes", len(paths))
    timings = []
    for path in paths:
        timings.append(_timed(["verify", str(path), "--lock", str(folder.folder), "--allow-test-srs", "-q"]))
        progress.advance()
    return timings


def _timed(arguments: Sequence[str]) -> _Timing:
    """What one command takes, its children included. Raises EngineCrashed when it does not accept."""
    command = [sys.executable, "-m", "verifai.cli.main", *arguments]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    told = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    elapsed = time.monotonic() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        message = f"{arguments[0]} ended with status {process.returncode}"
        raise EngineCrashed("engine-crashed", message, where=told.decode(errors="replace")[:500])
    # Linux counts in KiB, macOS in bytes.
    peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return _Timing(elapsed, usage.ru_utime + usage.ru_stime, peak)


def main(arguments: Sequence[str]) -> int:
    """The command of the module's docstring; prints one JSON object."""
    import argparse

    from verifai.onnx_graph.inputs import read_samples

    parser = argparse.ArgumentParser(prog="python -m verifai.showcase.bench_gate")
    parser.add_argument("circuit", type=Path)
    parser.add_argument("samples", type=Path, nargs="+")
    parser.add_argument("--engine", type=EngineName, default=EngineName.EZKL)
    parser.add_argument("--bundles", type=int, default=50)
    parser.add_argument("--verify", type=int, default=10)
    options = parser.parse_args(arguments)
    folder = CircuitFolder(options.circuit)
    samples = [dict(one) for path in options.samples for one in read_samples(path, folder.model).samples][: options.bundles]
    with private_directory() as workspace:
        figures = bench_gate(
            folder, samples, engine=options.engine, verify_runs=options.verify, workspace=workspace
        )  # fmt: skip
    sys.stdout.write(json.dumps(asdict(figures), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
