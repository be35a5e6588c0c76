"""Fit, export, compile, prove and verify each estimator with default settings; write the table of docs/estimators.md.

python -m tools.estimators.measure                 all of them, with both engines: tens of minutes
python -m tools.estimators.measure --engine sumcheck
python -m tools.estimators.measure --only wine     those whose slug contains a text

A row is *accepted* when compile meets the default floor of the task, a held-out row is proven and its proof verified against
the lock. Refusals keep their text. Nothing is tuned by hand.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io

import verifai
from tools.estimators.zoo import Case, cases, load, targets
from verifai.domain.statement import EngineName, Role
from verifai.errors import VerifaiError

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "estimators.md"
SRS = ROOT / "fixtures" / "srs"
PROVEN = 3
"""Held-out rows that are proven of each estimator."""


@dataclass(frozen=True)
class Row:
    """What came of one estimator with one engine.

    Attributes:
        spread_error: 99th percentile of error / spread on the calibration half. held_out: the largest such error of the proven
            rows' outputs against scikit-learn's own float model in ONNX.
        seconds: of the fastest proof. size: committed cells (sumcheck) or rows (ezkl), as log2.
    """

    case: Case
    engine: str
    accepted: bool
    reason: str = ""
    spread_error: float | None = None
    held_out: float | None = None
    agreement: str = ""
    size: int | None = None
    seconds: float | None = None
    compile_seconds: float | None = None


def measure(case: Case, work: Path, engine: EngineName) -> Row:
    """One row of the table."""
    x, y = load(case.data)
    half = len(x) // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's own, of data that are as they are
        fitted = case.make().fit(x[:half], targets(case, y)[:half])
    folder = work / case.slug
    folder.mkdir(exist_ok=True)
    skops.io.dump(fitted, folder / "model.skops")
    try:
        return _through(case, folder, x, half, engine)
    except VerifaiError as problem:
        where = f" (at {problem.where})" if problem.where and not problem.where.startswith("/") else ""
        return Row(case, engine.value, False, f"{problem.code}: {problem.message}{where}".replace(str(work), "…"))


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
    size = compiled.estimate.size_log2
    return Row(
        case, engine.value, bool(errors), "" if errors else "every held-out row is out of range", fidelity.spread_error,
        max(errors, default=None), agreement, size, min(seconds, default=None), compile_seconds,
    )  # fmt: skip


def _srs() -> Path:
    return max(SRS.glob("*.srs"))


def _reference(model: Any) -> Any:
    from verifai.onnx_graph.reference import Reference

    return Reference(model)


def _flat(reference: Any, sample: Any) -> Any:
    return np.concatenate([np.asarray(value, np.float64).reshape(-1) for value in reference.run(sample).values()])


def page(rows: Sequence[Row]) -> str:
    """docs/estimators.md."""
    lines = [
        "# Ordinary scikit-learn models, with default settings",
        "",
        "Generated by `python -m tools.estimators.measure`. Each model is fitted on the first half of scikit-learn's own data,",
        "saved without pickle, exported, compiled with the settings that `verifai init` writes, and proven on held-out rows.",
        "*Error* is the 99th percentile of |circuit − float model| over the calibration half, in standard deviations of that",
        f"output; *held out*, the largest of {PROVEN} proven rows. Prove time: the fastest proof, on two shared cores:",
        "compare it within the table only.",
        "",
    ]
    for engine in dict.fromkeys(row.engine for row in rows):
        mine = [row for row in rows if row.engine == engine]
        good = sum(row.accepted for row in mine)
        lines += [
            f"## {engine}: {good} of {len(mine)} accepted",
            "",
            "| estimator | data | error | held out | decisions | size | compile s | prove s |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [_line(row) for row in mine if row.accepted]
        refused = [row for row in mine if not row.accepted]
        if refused:
            lines += ["", "Refused:", "", "| estimator | data | why |", "| --- | --- | --- |"]
            lines += [f"| {row.case.name} | {row.case.data} | {row.reason.replace('|', chr(92) + '|')} |" for row in refused]
        lines.append("")
    return "\n".join(lines)


def _line(row: Row) -> str:
    assert row.seconds is not None and row.compile_seconds is not None and row.held_out is not None
    error = "" if row.spread_error is None else f"{row.spread_error:.4f}"
    return (
        f"| {row.case.name} | {row.case.data} | {error} | {row.held_out:.4f} | {row.agreement} | 2^{row.size} | "
        f"{row.compile_seconds:.1f} | {row.seconds:.3f} |"
    )


def run(chosen: Iterable[Case], engines: Sequence[EngineName], work: Path) -> list[Row]:
    """All rows, engine by engine; prints each as it comes."""
    rows = []
    for case in chosen:
        for engine in engines:
            row = measure(case, work, engine)
            print(f"{engine.value:9}{case.slug:50}", _line(row) if row.accepted else row.reason, flush=True)
            rows.append(row)
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=[one.value for one in EngineName])
    parser.add_argument("--only", default="")
    parser.add_argument("--write", action="store_true", help="write docs/estimators.md")
    options = parser.parse_args()
    engines = [EngineName(options.engine)] if options.engine else [EngineName.SUMCHECK, EngineName.EZKL]
    with tempfile.TemporaryDirectory() as work:
        rows = run([case for case in cases() if options.only in case.slug], engines, Path(work))
    if options.write:
        PAGE.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
