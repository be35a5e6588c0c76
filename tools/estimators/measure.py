"""Fit, export, compile, prove and verify each estimator with default settings; what came of it goes into docs/data.

python -m tools.estimators.measure --engine sumcheck            all of them: half an hour
python -m tools.estimators.measure --engine ezkl --only wine    those whose slug contains a text
python -m tools.estimators.measure --engine ezkl --missing      those that have no result yet
python -m tools.estimators.measure --engine sumcheck --write    also keep the results, and write the page

Options for a machine with other work: --seconds S stops an estimator after S processor seconds, --minutes M begins none later.

A row is *accepted* when compile meets the default floor of the task, held-out rows are proven and their proofs verified against
the lock. Refusals keep their text. Nothing is tuned by hand.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

import verifai
from tools.estimators import front_door_results, results
from tools.estimators.page import PAGE, line, page
from tools.estimators.processor_time import run_within
from tools.estimators.results import Row
from tools.estimators.zoo import Case, cases, save
from verifai.domain.statement import EngineName, Role
from verifai.errors import VerifaiError

ROOT = Path(__file__).resolve().parents[2]
SRS = ROOT / "fixtures" / "srs"
PROVEN = 3
"""Held-out rows that are proven of each estimator."""


def measure(case: Case, work: Path, engine: EngineName) -> Row:
    """One row of the table."""
    folder, x, half = save(case, work)
    try:
        return _through(case, folder, x, half, engine)
    except VerifaiError as problem:
        where = f" (at {problem.where})" if problem.where and not problem.where.startswith("/") else ""
        return _row(case, False, reason=f"{problem.code}: {problem.message}{where}".replace(str(work), "…"))


def _through(case: Case, folder: Path, x: Any, half: int, engine: EngineName) -> Row:
    exported = verifai.export_model(folder / "model.skops")
    path = folder / "model.onnx"
    path.write_bytes(exported.model.data)
    (spec,) = exported.model.inputs
    np.savez(folder / "calibration.npz", **{spec.name: x[:half]})
    circuit = verifai.init_circuit(
        path, exported.model, folder / engine.value, engine=engine, calibration=folder / "calibration.npz", task=case.task,
        srs=_srs() if engine is EngineName.EZKL else None,
    )  # fmt: skip
    begun = time.perf_counter()
    compiled = verifai.compile_circuit(circuit)
    compile_seconds = time.perf_counter() - begun
    rows = [{spec.name: one.reshape(spec.shape)} for one in x[half:]]
    errors, seconds = [], []
    reference = _reference(exported.model)
    spreads = np.std([_flat(reference, one) for one in rows[:200]], axis=0)
    spreads = np.where(spreads > 0, spreads, 1.0)
    done = 0
    for at, one in enumerate(rows):
        if done == PROVEN:
            break
        try:
            (bundle,) = verifai.prove(circuit, [one], folder / f"{engine.value}-evidence" / str(at))
        except VerifaiError as problem:
            if problem.code == "input-out-of-range":  # an outlier; refused before anything is spent
                continue
            raise
        expect = verifai.Expectations(allow_test_srs=engine is EngineName.EZKL)
        verified = verifai.verify_bundle(bundle.path, circuit.lock(), expect)
        found = np.concatenate([tensor.values() for tensor in verified.statement.of(Role.OUTPUT)])
        errors.append(float((np.abs(found - _flat(reference, one)) / spreads).max()))
        seconds.append(bundle.seconds)
        done += 1
    fidelity = compiled.circuit.fidelity
    agreement = "" if fidelity.top1_matches is None else f"{fidelity.top1_matches}/{fidelity.samples}"
    return _row(
        case, bool(errors), reason="" if errors else "every held-out row is out of range", spread_error=fidelity.judged_error,
        held_out=max(errors, default=None), agreement=agreement, size_log2=compiled.estimate.size_log2,
        compile_seconds=compile_seconds, prove_seconds=min(seconds, default=None),
    )  # fmt: skip


def _row(case: Case, accepted: bool, **figures: Any) -> Row:
    return Row(case.slug, case.name, case.data, accepted, **figures)


def _srs() -> Path:
    return max(SRS.glob("*.srs"))


def _reference(model: Any) -> Any:
    from verifai.onnx_graph.reference import Reference

    return Reference(model)


def _flat(reference: Any, sample: Any) -> Any:
    return np.concatenate([np.asarray(value, np.float64).reshape(-1) for value in reference.run(sample).values()])


def measure_within(case: Case, work: Path, engine: EngineName, seconds: float) -> Row:
    """The same in a child process that is stopped after so many processor seconds."""
    kept = work / "kept"
    command = [sys.executable, "-m", "tools.estimators.measure", "--engine", engine.value, "--child", case.slug, str(kept)]
    if run_within(command, seconds):
        return results.read(engine.value, kept).rows[case.slug]
    return _row(case, False, reason=f"not done within {seconds:g} processor seconds")


def run(chosen: Iterable[Case], engine: EngineName, work: Path, options: argparse.Namespace) -> None:
    """Each in turn, printed as it comes, and kept as it comes."""
    end = time.monotonic() + 60 * options.minutes
    for case in chosen:
        if time.monotonic() > end:
            break
        limited = options.seconds < inf
        row = measure_within(case, work, engine, options.seconds) if limited else measure(case, work, engine)
        print(f"{engine.value:9}{case.slug:50}", line(row) if row.accepted else row.reason, flush=True)
        if options.write:
            results.write(results.read(engine.value).with_row(row))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=[one.value for one in EngineName], required=True)
    parser.add_argument("--only", default="", help="those whose slug contains this text")
    parser.add_argument("--missing", action="store_true", help="those that have no result yet")
    parser.add_argument("--seconds", type=float, default=inf, help="stop an estimator after so many processor seconds")
    parser.add_argument("--minutes", type=float, default=inf, help="begin no estimator later than this")
    parser.add_argument("--write", action="store_true", help="keep the results in docs/data and write docs/estimators.md")
    parser.add_argument("--child", nargs=2, metavar=("SLUG", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    engine = EngineName(options.engine)
    with tempfile.TemporaryDirectory() as work:
        if options.child:
            slug, kept = options.child
            (case,) = (case for case in cases() if case.slug == slug)
            results.write(results.Results(engine.value).with_row(measure(case, Path(work), engine)), Path(kept))
            return
        chosen = [case for case in cases() if options.only in case.slug]
        if options.missing:
            chosen = [case for case in chosen if case.slug not in results.read(engine.value).rows]
        run(chosen, engine, Path(work), options)
    if options.write:
        PAGE.write_text(page(results.read_all(), front_door_results.read()), encoding="utf-8")


if __name__ == "__main__":
    main()
