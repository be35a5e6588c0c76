"""Two releases of the sumcheck engine on the same models, in turn, in one run.

    python -m tools.benchmarks.suites results.json --old PYTHON SOURCE CIRCUITS --new PYTHON SOURCE CIRCUITS \\
        lenet5 lenet5:input lenet5:both magika
    python -m tools.benchmarks.suites results.json --old … --new … --commands lenet5
    python -m tools.benchmarks.suites results.json --new … growth-16 growth-32
    python -m tools.benchmarks.suites results.json --table
    python -m tools.benchmarks.suites results.json --plot docs/engine/growth.svg

PYTHON is an interpreter with that release's dependencies, SOURCE its checkout, CIRCUITS a folder of circuits that *it* compiled
(``fixtures/large.py`` writes specifications and models; circuits of one release are no circuits of the other).
``lenet5:input`` is LeNet-5 with its input hidden, ``:weights`` and ``:both`` accordingly.

Rounds alternate: old, new, new, old. Figures are CPU seconds of all threads, user and system: on a machine that others use too,
wall seconds say little. Of the rounds' medians the lower one counts, for both sides. Results are kept by side and circuit, so
that a run can be made in pieces; a piece that is measured again replaces the former one.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TIMES = ("prove_cpu_s", "prove_wall_s", "run_cpu_s", "prepare_cpu_s", "verify_cpu_s", "verify_again_cpu_s")
"""``verify_again``: the same circuit once more in the process, which knows its plan by then."""
TIMEOUT = 3600


@dataclass(frozen=True)
class Side:
    """One release: where it runs and what it compiled."""

    name: str
    python: str
    source: Path
    circuits: Path

    def child(self, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run its interpreter on its own sources."""
        environment = {**os.environ, "PYTHONPATH": str(self.source)}
        command = [self.python, *arguments]
        return subprocess.run(
            command, cwd=self.source, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )

    def command(self, *arguments: str) -> list[str]:
        """The release's own command line."""
        module = "verifai.cli.main" if (self.source / "verifai" / "cli" / "main.py").is_file() else "verifai.cli.app"
        return ["-c", f"import sys; from {module} import main; sys.exit(main())", *arguments]


def one_proof(side: Side, circuit: str, runs: int) -> dict[str, Any]:
    """One process that proves and verifies."""
    name, _, hide = circuit.partition(":")
    done = side.child([str(HERE / "one_proof.py"), str(side.circuits / name), "--hide", hide, "--runs", str(runs)])
    if done.returncode:
        return {"failed": done.stderr.strip()[-300:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def commands(side: Side, circuit: str, rounds: int) -> dict[str, Any]:
    """CPU seconds of whole processes, start to exit: a cold ``prove`` of one sample, and ``verify`` of its bundle."""
    folder = side.circuits / circuit
    sample = next((side.circuits.parent / "fixtures" / circuit).glob("heldout.npz"))
    found: dict[str, list[float]] = {"prove": [], "verify": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "evidence"
            steps = {
                "prove": ["prove", str(folder), str(sample), "-o", str(out), "--limit", "1", "-q"],
                "verify": ["verify", str(out / "000000"), "--lock", str(folder / "circuit.lock"), "-q"],
            }
            for name, arguments in steps.items():
                before = _children()
                done = side.child(side.command(*arguments))
                if done.returncode:
                    return {"failed": (done.stderr or done.stdout).strip()[-300:]}
                found[name].append(_children() - before)
    return {"circuit": circuit, **{f"{name}_process_cpu_s": min(times) for name, times in found.items()}}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def lower(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One row of several rounds: the lower times, the higher peak."""
    failed = [row for row in rows if "failed" in row]
    if failed:
        return failed[0]
    merged = dict(rows[0])
    merged |= {name: min(row[name] for row in rows) for name in TIMES}
    merged["phases"] = {name: min(row["phases"][name] for row in rows) for name in rows[0]["phases"]}
    merged["peak_bytes"] = max(row["peak_bytes"] for row in rows)
    merged["load"] = max(row["load"] for row in rows)
    return merged


def measure(sides: Sequence[Side], circuit: str, rounds: int, runs: int) -> dict[str, Any]:
    """By side, the circuit's row."""
    found: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            found[side.name].append(one_proof(side, circuit, runs))
    return {name: lower(rows) for name, rows in found.items()}


def table(results: dict[str, Any]) -> str:
    """Markdown: old → new by circuit."""
    lines = [
        "| circuit | cells | prove, CPU s | µs a cell | proof, kB | peak, MiB | of estimate | verify, CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for circuit, sides in sorted(results.items()):
        rows = [row for row in (sides.get("old"), sides.get("new")) if row and "failed" not in row and "cells" in row]
        if not rows:
            continue

        def cell(make: Any, rows: list[dict[str, Any]] = rows) -> str:
            return " → ".join(make(row) for row in rows)

        parts = [
            cell(lambda r: format(r["cells"], ",")),
            cell(lambda r: format(r["prove_cpu_s"], ".3g")),
            cell(lambda r: format(1e6 * r["prove_cpu_s"] / r["cells"], ".2f")),
            cell(lambda r: format(r["proof_bytes"] / 1e3, ".0f")),
            cell(lambda r: format(r["peak_bytes"] / 2**20, ",.0f")),
            cell(lambda r: format(r["peak_bytes"] / r["estimated_bytes"], ".2f")),
            cell(lambda r: format(r["verify_cpu_s"], ".3g")),
        ]
        lines.append(f"| {circuit} | {' | '.join(parts)} |")
    return "\n".join(lines)


def growth_plot(results: dict[str, Any]) -> str:
    """CPU seconds and peak memory of the circuits ``growth-*``, over their cells."""
    rows = [sides["new"] for name, sides in results.items() if name.startswith("growth-") and "failed" not in sides["new"]]
    rows.sort(key=lambda row: row["cells"])
    named = [
        {"witness_cells": row["cells"], "prove_s": row["prove_cpu_s"], "peak_rss_bytes": row["peak_bytes"]} for row in rows
    ]
    drawn: str = importlib.import_module("fixtures.measure_sumcheck").plot(named)
    return drawn.replace("prove, warm (s)", "prove, warm (CPU s)")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compare two releases of the sumcheck engine.")
    parser.add_argument("results", type=Path)
    parser.add_argument("circuits", nargs="*")
    for name in ("old", "new"):
        parser.add_argument(f"--{name}", nargs=3, metavar=("PYTHON", "SOURCE", "CIRCUITS"))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3, help="warm proofs per process")
    parser.add_argument("--commands", action="store_true", help="measure whole processes of the command line instead")
    parser.add_argument("--table", action="store_true", help="print what was measured")
    parser.add_argument("--plot", type=Path, help="write the growth circuits' curve, an SVG")
    options = parser.parse_intermixed_args()
    results = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {}
    if options.plot:
        options.plot.write_text(growth_plot(results), encoding="utf-8")
        return 0
    if options.table:
        print(table(results))
        return 0
    sides = [
        Side(name, python, Path(source).resolve(), Path(circuits).resolve())
        for name, (python, source, circuits) in (
            (one, getattr(options, one)) for one in ("old", "new") if getattr(options, one)
        )
    ]
    for circuit in options.circuits:
        if options.commands:
            found = {side.name: commands(side, circuit, options.rounds) for side in sides}
        else:
            found = measure(sides, circuit, options.rounds, options.runs)
        key = f"{circuit} (commands)" if options.commands else circuit
        results[key] = {**results.get(key, {}), **found}
        options.results.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(json.dumps({key: found}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
