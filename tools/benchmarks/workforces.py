"""Samples evaluated by one process, by two, on a Ray cluster of two nodes, and by one `verifai prove` process each; in one run.

    python -m tools.benchmarks.workforces [--circuit circuits/digits-mlp] [--data fixtures/digits-mlp/heldout.npz]
        [--samples 200] [--single 20] [--ray] [--verb evaluate|prove]

The circuit has to be compiled for the engine sumcheck. `evaluate` also writes one bundle of all proofs, and verifies it. Each
way is the command itself, start and all. Seconds go by on a shared machine; CPU seconds are of the command and of all that it
started (of Ray's cluster: of its nodes, while the command ran). Of ``--single`` processes of one sample each the sum is told,
for ``--samples`` of them. ``--ray`` needs the extra ``ray``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")


def children_cpu() -> float:
    """CPU seconds of the ended children of this process, and of theirs."""
    found = os.times()
    return found.children_user + found.children_system


def tree_cpu(roots: list[int]) -> float:
    """CPU seconds so far of running processes and all below them, and of what they have waited for. Needs /proc."""
    parents: dict[int, int] = {}
    spent: dict[int, float] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        pid = int(path.parent.name)
        parents[pid], spent[pid] = int(fields[1]), sum(map(int, fields[11:15])) / TICKS
    below, fresh = set(roots), set(roots)
    while fresh:
        fresh = {pid for pid, parent in parents.items() if parent in fresh} - below
        below |= fresh
    return sum(spent.get(pid, 0.0) for pid in below)


def ran(arguments: Sequence[str], **environment: str) -> tuple[float, float]:
    """Wall and CPU seconds of one command."""
    began, cpu = time.monotonic(), children_cpu()
    command = [sys.executable, "-m", "verifai", *arguments, "-q"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return time.monotonic() - began, children_cpu() - cpu


def on_ray(arguments: Sequence[str]) -> tuple[float, float]:
    """The same on two nodes of one core each, which are up when the command begins."""
    from tests.support.ray_nodes import raylet, small_cluster

    with small_cluster(2) as cluster:
        nodes = [raylet(node) for node in cluster.list_all_nodes()]
        before = tree_cpu(nodes)
        wall, cpu = ran([*arguments, "--on", "ray", "--jobs", "4"], RAY_ADDRESS=cluster.address)
        return wall, cpu + tree_cpu(nodes) - before


def measured(given: argparse.Namespace, folder: Path) -> dict[str, tuple[float, float]]:
    """Wall and CPU seconds of each way."""

    def prove(name: str, *more: str) -> list[str]:
        return ["prove", str(given.circuit), str(given.data), "-o", str(folder / name), "--engine", "sumcheck", *more]

    ran(["dataset", str(given.data), "-o", str(folder / "data.lock"), "--limit", str(given.samples)])

    def whole(name: str, *more: str) -> list[str]:
        if given.verb == "prove":
            return prove(name, "--limit", str(given.samples), *more)
        data, output = str(folder / "data.lock"), str(folder / name)
        return ["evaluate", str(given.circuit), data, "-o", output, "--engine", "sumcheck", *more]

    rows = {
        f"`{given.verb}`, one process": ran(whole("one")),
        f"`{given.verb} --jobs 2`": ran(whole("two", "--jobs", "2")),
    }
    if given.ray:
        rows[f"`{given.verb} --on ray`, two nodes of one core"] = on_ray(whole("ray"))
    singles = [ran(prove(f"single-{number}", "--skip", str(number), "--limit", "1")) for number in range(given.single)]
    scale = given.samples / given.single
    wall, cpu = (scale * sum(figures) for figures in zip(*singles, strict=True))
    rows[f"{given.samples} commands `prove` ({given.single} of them measured)"] = wall, cpu
    return rows


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--circuit", type=Path, default=ROOT / "circuits" / "digits-mlp")
    parser.add_argument("--data", type=Path, default=ROOT / "fixtures" / "digits-mlp" / "heldout.npz")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--single", type=int, default=20)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--verb", choices=("evaluate", "prove"), default="evaluate")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(given, Path(folder))
    first_wall, first_cpu = next(iter(rows.values()))
    print("| way | seconds | CPU seconds | seconds, ratio | CPU, ratio |\n| --- | --- | --- | --- | --- |")
    for name, (seconds, spent) in rows.items():
        print(f"| {name} | {seconds:.1f} | {spent:.1f} | {seconds / first_wall:.2f} | {spent / first_cpu:.2f} |")
    print(f"\nload average {os.getloadavg()[0]:.1f} at the end, {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
