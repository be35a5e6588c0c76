"""bench: time and memory of the engines, side by side, in one run on one machine.

Each figure says what it is: ``prove_s`` is the prove call itself, warm, the median of the runs (for ezkl: inside its child
process); ``prove_cold_s`` is a whole ``verifai prove`` process from start to exit; ``verify_s`` is a whole ``verifai verify``
process. Ratios are taken within the run, never against another day's figures.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName
from verifai.errors import UsageError, VerifaiError
from verifai.execution.child import Limits
from verifai.onnx_graph.inputs import Samples, read_samples
from verifai.onnx_graph.reference import Reference
from verifai.stages.compile import compile_circuit
from verifai.stages.prove import prove

SMALL = ("digits-mlp", "digits-cnn", "breast-cancer-mlp")
BASELINE = "ezkl-default"
_FIDELITY_SAMPLES = 100
_LARGEST_LOGROWS = 17


@dataclass(frozen=True)
class BenchRow:
    """One circuit with one engine; the names are those of ``bench --json``.

    Attributes:
        setup_s: making the keys. key_bytes: proving and verification key together.
        top1_agreement: with onnxruntime on held-out samples; ``None`` where it was not measured.
        size_log2: ezkl: logrows; sumcheck: log2 of the committed cells.
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
    progress: Progress = SILENT,
) -> Iterator[BenchRow | Skipped]:
    """Measure each circuit with each engine.

    Args:
        engines: ``ezkl-default``, or names of engines.
        runs: proofs per row; the median counts.
    """
    for folder in folders:
        samples = _heldout(folder)
        for engine in engines:
            progress.phase(f"{folder.spec.name}: {engine}")
            with tempfile.TemporaryDirectory(prefix="verifai-bench-") as scratch:
                try:
                    if engine == BASELINE:
                        yield _baseline(folder, samples, Path(scratch), runs, max_memory, progress)
                    else:
                        yield _engine(folder, EngineName(engine), samples, Path(scratch), runs, max_memory, progress)
                except VerifaiError as problem:
                    if problem.status in (70, 130):
                        raise
                    yield Skipped(folder.spec.name, engine, problem)


def _heldout(folder: CircuitFolder) -> Samples:
    path = folder.model_path().parent / "heldout.npz"
    if not path.is_file():
        raise UsageError("file-missing", "no held-out inputs beside the model", where=str(path))
    return read_samples(path, folder.model)


def _engine(
    folder: CircuitFolder,
    engine: EngineName,
    samples: Samples,
    scratch: Path,
    runs: int,
    max_memory: int | None,
    progress: Progress,
) -> BenchRow:
    copy = _copy(folder, scratch)
    if engine is EngineName.EZKL and "srs" not in copy.spec.options.get(engine.value, {}):
        copy = _with_test_srs(copy, scratch, progress)
    pinned = copy.pinned_section(engine) is not None
    made = compile_circuit(copy, engine=engine, locked=pinned, max_memory=max_memory, progress=progress)
    progress.phase(f"{folder.spec.name}: {engine.value}, prove {runs} times")
    warm, peak = [], made.circuit.peak_rss_bytes
    if engine is not EngineName.EZKL:
        # The first call in a process loads the kernels; that belongs to the cold figure. ezkl's child is new every time.
        list(prove(copy, [samples[0]], scratch / "warm-up", engine=engine, max_memory=max_memory))
    for index in range(runs):
        for bundle in prove(copy, [samples[0]], scratch / f"warm{index}", engine=engine, max_memory=max_memory):
            warm.append(bundle.seconds)
            peak = max(peak, bundle.peak_rss_bytes)
    first = scratch / "warm0" / "000000"
    proof_bytes = sum(path.stat().st_size for path in (first / "payload").iterdir() if path.name.startswith("proof"))
    one = scratch / "one.npz"
    _save(one, samples[0])
    cold = _whole_process(["prove", str(copy.folder), str(one), "-o", str(scratch / "cold"), "--engine", engine.value, "-q"])
    lock = copy.local_lock_path if engine in copy.spec.local_locks else copy.lock_path
    verify = ["verify", str(first), "--lock", str(lock), "--allow-test-srs", "-q"]
    checks = [_whole_process(verify) for _ in range(runs)]
    return BenchRow(
        circuit=folder.spec.name,
        engine=engine.value,
        runs=runs,
        setup_s=made.circuit.seconds.get("setup", 0.0),
        prove_s=statistics.median(warm),
        prove_cold_s=cold,
        verify_s=statistics.median(checks),
        proof_bytes=proof_bytes,
        key_bytes=made.circuit.key_bytes,
        peak_rss_bytes=peak,
        top1_agreement=made.circuit.fidelity.top1_agreement,
        size_log2=made.estimate.size_log2,
    )


def _baseline(
    folder: CircuitFolder, samples: Samples, scratch: Path, runs: int, max_memory: int | None, progress: Progress
) -> BenchRow:
    from verifai.engines.ezkl import baseline
    from verifai.engines.ezkl.calls import Fence
    from verifai.engines.ezkl.proving import flatten
    from verifai.engines.ezkl.srs_store import SrsStore

    fence = Fence(Limits(memory_bytes=max_memory), progress=progress)
    logrows = baseline.default_logrows(folder.model.data, fence)
    srs = SrsStore(scratch / "srs").generate(logrows, progress=progress)
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
    if not folder.spec.classes:
        return None
    expected = [next(iter(result.values())).argmax() for result in Reference(folder.model).run_batch(samples)]
    found = [max(range(len(row)), key=row.__getitem__) for row in outputs]
    return sum(int(one) == other for one, other in zip(expected, found, strict=True)) / len(found)


def _copy(folder: CircuitFolder, scratch: Path) -> CircuitFolder:
    """The circuit with its data where its specification expects them, so that nothing of the user's is overwritten."""
    root = scratch / "circuits" / folder.spec.name
    root.mkdir(parents=True)
    for path in (folder.folder / "circuit.toml", folder.lock_path, folder.local_lock_path):
        if path.is_file():
            shutil.copyfile(path, root / path.name)
    fixtures = folder.model_path().resolve().parents[1]
    (scratch / "fixtures").symlink_to(fixtures, target_is_directory=True)
    return CircuitFolder(root)


def _with_test_srs(folder: CircuitFolder, scratch: Path, progress: Progress) -> CircuitFolder:
    """The copy with an INSECURE-TEST SRS made for this run: it costs the same, and nothing leaves the bench."""
    import tomllib

    import tomli_w

    from verifai.engines.ezkl.srs_store import SrsStore

    srs = SrsStore(scratch / "srs").generate(folder.spec.budget.max_logrows or _LARGEST_LOGROWS, progress=progress)
    path = folder.folder / "circuit.toml"
    document = tomllib.loads(path.read_text("utf-8"))
    document.setdefault("engine", {}).setdefault("ezkl", {})["srs"] = str(srs.path)
    path.write_bytes(tomli_w.dumps(document).encode())
    return CircuitFolder(folder.folder)


def _save(path: Path, sample: Mapping[str, Any]) -> None:
    import numpy as np

    np.savez(path, **dict(sample))


def _whole_process(arguments: list[str]) -> float:
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "verifai.cli.app", *arguments], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode != 0:
        raise UsageError("bench-failed", f"verifai {arguments[0]} ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return seconds


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


def machine() -> dict[str, Any]:
    """What was measured on, without anything that names one machine."""
    import os
    import platform

    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processors": os.cpu_count(),
        "python": platform.python_version(),
    }
