"""bench: time and memory of the engines, side by side, in one run on one machine.

Each figure says what it is: ``prove_s`` is the prove call itself, warm, the median of the runs (for ezkl: inside its child
process); ``prove_cold_s`` is a whole ``verifai prove`` process from start to exit; ``verify_s`` is a whole ``verifai verify``
process. Ratios are taken within the run, never against another day's figures. Of several rows, each of an engine that proves in
its own process gets a fresh one: the peak memory of a process never goes down again.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from verifai.circuit_folder import CircuitFolder
from verifai.domain.fidelity import Task
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, Privacy
from verifai.engines.fidelity import Measure
from verifai.errors import InternalError, UsageError, VerifaiError
from verifai.execution.child import Limits
from verifai.execution.scratch import private_directory
from verifai.onnx_graph.inputs import Samples, read_samples
from verifai.onnx_graph.reference import Reference
from verifai.showcase.bench_circuits import BASELINE, copy_circuit, engine_of, own_marks, refuse_too_many_runs
from verifai.stages.compile import compile_circuit
from verifai.stages.prove import prove
from verifai.stages.srs import generate_file

SMALL = ("digits-mlp", "digits-cnn", "breast-cancer-mlp")
PLAIN = "sumcheck"
"""The row that the zero-knowledge rows are held against, where it is integrity-only."""
_FIDELITY_SAMPLES = 100


@dataclass(frozen=True)
class BenchRow:
    """One circuit with one engine; the names are those of ``bench --json``.

    Attributes:
        engine: a row's name: an engine, the baseline, or a variant of :mod:`.bench_circuits`.
        setup_s: making the keys, or the commitment to weights. key_bytes: proving and verification key together.
        top1_agreement: with onnxruntime on held-out samples; ``None`` where it was not measured.
        size_log2: ezkl: logrows; sumcheck: log2 of the committed cells.
        privacy: what the row's proofs say that they hide.
        batch: inferences of one proof; every figure is of the whole proof. evidence_bytes: of the whole bundle.
        prove_cpu_s: processor time of a prove call with sealing, median; ``None`` where a child proves.
        verify_cpu_s, verify_peak_bytes: processor time and memory of a whole ``verifai verify`` process.
    """

    circuit: str
    engine: str
    runs: int
    setup_s: float
    prove_s: float
    prove_cold_s: float | None
    verify_s: float
    proof_bytes: int
    key_bytes: int
    peak_rss_bytes: int
    top1_agreement: float | None
    size_log2: int | None = None
    privacy: str | None = None
    batch: int = 1
    evidence_bytes: int | None = None
    prove_cpu_s: float | None = None
    verify_cpu_s: float | None = None
    verify_peak_bytes: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Skipped:
    """A row that could not be measured, and why; it is printed, never left out in silence."""

    circuit: str
    engine: str
    error: VerifaiError


def run_bench(
    folders: Sequence[CircuitFolder],
    *,
    engines: Sequence[str],
    runs: int,
    max_memory: int | None = None,
    batches: Sequence[int] = (),
    progress: Progress = SILENT,
) -> Iterator[BenchRow | Skipped]:
    """Measure each circuit with each engine.

    Args:
        engines: names of rows (:func:`.bench_circuits.row_names`).
        runs: proofs per row; the median counts.
        batches: inferences of one proof, a row for each; none: as the circuit's specification has it.
    """
    sizes: Sequence[int | None] = batches or (None,)
    alone = len(folders) * len(engines) * len(sizes) == 1
    for folder in folders:
        samples = _heldout(folder)
        for engine, batch in [(engine, batch) for engine in engines for batch in sizes]:
            progress.phase(f"{folder.spec.name}: {engine}" + (f", batch {batch}" if batch else ""))
            with private_directory() as scratch, own_marks(scratch / "openings"):
                try:
                    if engine == BASELINE:
                        yield _baseline(folder, samples, scratch, runs, max_memory, progress)
                    elif alone or engine_of(engine) is EngineName.EZKL:  # whose proofs come from children anyway
                        yield _engine(folder, engine, samples, scratch, runs, max_memory, batch, progress)
                    else:
                        yield _in_child(folder, engine, runs, max_memory, batch)
                except VerifaiError as problem:
                    if problem.status in (70, 130):
                        raise
                    yield Skipped(folder.spec.name, engine, problem)


def _heldout(folder: CircuitFolder) -> Samples:
    path = folder.model_path().parent / "heldout.npz"
    if not path.is_file():
        raise UsageError("file-missing", "no held-out inputs beside the model", where=str(path))
    return read_samples(path, folder.model)


def _in_child(folder: CircuitFolder, engine: str, runs: int, max_memory: int | None, batch: int | None) -> BenchRow | Skipped:
    """One row, measured by the same command in a process of its own."""
    arguments = ["bench", str(folder.folder), "--engine", engine, "--runs", str(runs), "--json"]
    if max_memory is not None:
        arguments += ["--max-memory", f"{max_memory} B"]
    if batch is not None:
        arguments += ["--batch", str(batch)]
    done = subprocess.run([sys.executable, "-m", "verifai.cli.main", *arguments], capture_output=True, text=True, check=False)
    try:
        document = json.loads(done.stdout)
    except json.JSONDecodeError:
        document = {"error": {"code": "bench-failed", "message": f"status {done.returncode}: {done.stderr.strip()[-300:]}"}}
    if document.get("rows"):
        return BenchRow(**document["rows"][0])
    (problem,) = document.get("skipped") or [document["error"]]
    kind = InternalError if done.returncode == 70 else UsageError
    return Skipped(folder.spec.name, engine, kind(problem["code"], problem["message"], where=engine))


def _engine(
    folder: CircuitFolder,
    row: str,
    samples: Samples,
    scratch: Path,
    runs: int,
    max_memory: int | None,
    batch: int | None,
    progress: Progress,
) -> BenchRow:
    engine = engine_of(row)
    copy = copy_circuit(folder, row, scratch, progress)
    refuse_too_many_runs(copy, runs)
    pinned = copy.pinned_section(engine) is not None and batch is None
    made = compile_circuit(copy, engine=engine, locked=pinned, max_memory=max_memory, batch=batch, progress=progress)
    count = batch or copy.spec.batch or 1
    given = [samples[number % len(samples)] for number in range(count)]
    progress.phase(f"{folder.spec.name}: {row}, prove {runs} times")
    warm, cpu, peak, privacy = [], [], made.circuit.peak_rss_bytes, ""
    if engine is not EngineName.EZKL:
        # The first call in a process loads the kernels; that belongs to the cold figure. ezkl's child is new every time.
        list(prove(copy, given, scratch / "warm-up", engine=engine, max_memory=max_memory, compare=False))
    for index in range(runs):
        target = scratch / f"warm{index}"
        begun = time.process_time()
        for bundle in prove(copy, given, target, engine=engine, max_memory=max_memory, compare=False):
            cpu.append(time.process_time() - begun)
            warm.append(bundle.seconds)
            peak = max(peak, bundle.peak_rss_bytes)
            privacy = bundle.statement.privacy.value
    first = scratch / "warm0" / "000000"
    proof_bytes = sum(path.stat().st_size for path in (first / "payload").iterdir() if path.name.startswith("proof"))
    evidence_bytes = sum(path.stat().st_size for path in first.rglob("*") if path.is_file())
    one = scratch / "one.npz"
    _save(one, given)
    cold = _whole_process(
        ["prove", str(copy.folder), str(one), "-o", str(scratch / "cold"), "--engine", engine.value, "-q"]
    ).seconds
    lock = copy.local_lock_path if engine in copy.spec.local_locks else copy.lock_path
    verify = ["verify", str(first), "--lock", str(lock), "--allow-test-srs", "-q"]
    checks = [_whole_process(verify) for _ in range(runs)]
    return BenchRow(
        circuit=folder.spec.name,
        engine=row,
        runs=runs,
        setup_s=made.circuit.seconds.get("setup", 0.0),
        prove_s=statistics.median(warm),
        prove_cold_s=cold,
        verify_s=statistics.median(check.seconds for check in checks),
        proof_bytes=proof_bytes,
        key_bytes=made.circuit.key_bytes,
        peak_rss_bytes=peak,
        top1_agreement=made.circuit.fidelity.top1_agreement,
        size_log2=made.estimate.size_log2,
        privacy=privacy,
        batch=count,
        evidence_bytes=evidence_bytes,
        prove_cpu_s=None if engine is EngineName.EZKL else statistics.median(cpu),
        verify_cpu_s=statistics.median(check.cpu_seconds for check in checks),
        verify_peak_bytes=max(check.peak_bytes for check in checks),
    )


def _baseline(
    folder: CircuitFolder, samples: Samples, scratch: Path, runs: int, max_memory: int | None, progress: Progress
) -> BenchRow:
    from verifai.engines.ezkl import baseline
    from verifai.engines.ezkl.calls import Fence
    from verifai.engines.ezkl.proving import flatten

    fence = Fence(Limits(memory_bytes=max_memory), progress=progress)
    logrows = baseline.default_logrows(folder.model.data, fence)
    srs = generate_file(logrows, root=scratch / "srs", progress=progress)
    chosen = samples[:_FIDELITY_SAMPLES]
    flat = [flatten(folder.model.inputs, sample) for sample in chosen]
    progress.phase(f"{folder.spec.name}: {BASELINE}, k = {logrows}, set up and prove {runs} times")
    figures = baseline.measure(folder.model.data, flat, srs.path, scratch, logrows=logrows, runs=runs, fence=fence)
    return BenchRow(
        circuit=folder.spec.name,
        engine=BASELINE,
        runs=runs,
        setup_s=figures.setup_seconds,
        prove_s=figures.prove_median,
        prove_cold_s=None,
        verify_s=statistics.median(figures.verify_seconds),
        proof_bytes=figures.proof_bytes,
        key_bytes=figures.key_bytes,
        peak_rss_bytes=figures.peak_rss_bytes,
        top1_agreement=_agreement(folder, chosen, figures.outputs),
        size_log2=logrows,
    )


def _agreement(folder: CircuitFolder, samples: Sequence[Mapping[str, Any]], outputs: Sequence[Sequence[int]]) -> float | None:
    """Of integers under an unknown scale, so only where a row of several cells names a class."""
    output = folder.model.outputs[0]
    if folder.spec.task is not Task.CLASSIFICATION or not output.shape or output.shape[-1] < 2:
        return None
    reference = [{output.name: result[output.name]} for result in Reference(folder.model).run_batch(samples)]
    found = np.array([row[: output.size] for row in outputs], np.float64).reshape(len(outputs), *output.shape)
    return Measure(Task.CLASSIFICATION, reference).compare({output.name: found}).top1_agreement


def _save(path: Path, samples: Sequence[Mapping[str, Any]]) -> None:
    arrays: dict[str, Any] = {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}
    np.savez(path, **arrays)


@dataclass(frozen=True)
class _Spent:
    """What a process took; ``cpu_seconds`` and ``peak_bytes`` with those of its own children that it waited for."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int


_MEASURED = (
    "import os, subprocess, sys\n"
    "process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
    "_, status, used = os.wait4(process.pid, 0)\n"
    "print(used.ru_utime + used.ru_stime, used.ru_maxrss << 10)\n"
    "sys.exit(os.waitstatus_to_exitcode(status))\n"
)
"""Run between this process and the one that is measured: Linux counts the memory of whoever starts a process as that one's."""


def _whole_process(arguments: list[str]) -> _Spent:
    command = [sys.executable, "-m", "verifai.cli.main", *arguments]
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-I", "-c", _MEASURED, *command], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode != 0:
        raise UsageError("bench-failed", f"verifai {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    cpu_seconds, peak_bytes = done.stdout.split()
    return _Spent(seconds, float(cpu_seconds), int(peak_bytes))


def ratios(rows: Sequence[BenchRow]) -> list[dict[str, Any]]:
    """Each circuit's other engines against ``ezkl-default`` of the same run: how many times faster and smaller."""
    base = {row.circuit: row for row in rows if row.engine == BASELINE}
    found = []
    for row in rows:
        other = base.get(row.circuit)
        if other is None or row is other:
            continue
        found.append(
            {
                "circuit": row.circuit,
                "engine": row.engine,
                "against": BASELINE,
                "prove_times_faster": other.prove_s / row.prove_s,
                "keys_times_smaller": other.key_bytes / row.key_bytes if row.key_bytes else None,
                "memory_times_smaller": other.peak_rss_bytes / row.peak_rss_bytes,
                "setup_times_faster": other.setup_s / row.setup_s if row.setup_s else None,
            }
        )
    return found


def privacy_costs(rows: Sequence[BenchRow]) -> list[dict[str, Any]]:
    """Each zero-knowledge row of the sumcheck engine against its integrity-only row of the same run: how many times more."""
    plain = {row.circuit: row for row in rows if row.engine == PLAIN and row.privacy == Privacy.INTEGRITY_ONLY.value}
    found = []
    for row in rows:
        other = plain.get(row.circuit)
        if other is None or row.privacy != Privacy.ZERO_KNOWLEDGE_UNAUDITED.value:
            continue
        found.append(
            {
                "circuit": row.circuit,
                "engine": row.engine,
                "against": PLAIN,
                "prove_times": row.prove_s / other.prove_s,
                "verify_times": row.verify_s / other.verify_s,
                "proof_bytes_times": row.proof_bytes / other.proof_bytes,
                "memory_times": row.peak_rss_bytes / other.peak_rss_bytes,
            }
        )
    return found


def machine() -> dict[str, Any]:
    """What was measured on, without anything that names one machine."""
    import platform

    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }
