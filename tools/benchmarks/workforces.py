"""Samples proven by one process, by two, on a Ray cluster of two nodes, and by one `verifai prove` process each; in one run.

    python -m tools.benchmarks.workforces [--circuit circuits/digits-mlp] [--data fixtures/digits-mlp/heldout.npz]
        [--samples 200] [--single 20] [--ray]

Each way is the command itself, start and all. Seconds go by on a shared machine; CPU seconds are of the command and of all that
it started (of Ray's cluster: of its nodes, while the command ran). Of ``--single`` processes of one sample each the
sum is told, for ``--samples`` of them. ``--ray`` needs the extra ``ray``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
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


def prove(circuit: Path, data: Path, output: Path, *more: str, **environment: str) -> tuple[float, float]:
    """Wall and CPU seconds of one command."""
    command = [sys.executable, "-m", "verifai", "prove", str(circuit), str(data), "-o", str(output), "-q", *more]
    began, cpu = time.monotonic(), children_cpu()
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return time.monotonic() - began, children_cpu() - cpu


def on_ray(circuit: Path, data: Path, output: Path, *more: str) -> tuple[float, float]:
    """The same on two nodes of one core each, which are up when the command begins."""
    from tests.support.ray_nodes import raylet, small_cluster

    with small_cluster(2) as cluster:
        nodes = [raylet(node) for node in cluster.list_all_nodes()]
        before = tree_cpu(nodes)
        wall, cpu = prove(circuit, data, output, *more, "--on", "ray", "--jobs", "4", RAY_ADDRESS=cluster.address)
        return wall, cpu + tree_cpu(nodes) - before


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--circuit", type=Path, default=ROOT / "circuits" / "digits-mlp")
    parser.add_argument("--data", type=Path, default=ROOT / "fixtures" / "digits-mlp" / "heldout.npz")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--single", type=int, default=20)
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    limit = ("--limit", str(given.samples), "--engine", "sumcheck")
    with tempfile.TemporaryDirectory() as folder:
        rows = {
            "one process": prove(given.circuit, given.data, Path(folder) / "one", *limit),
            "`--jobs 2`": prove(given.circuit, given.data, Path(folder) / "two", *limit, "--jobs", "2"),
        }
        if given.ray:
            rows["Ray, two nodes of one core"] = on_ray(given.circuit, given.data, Path(folder) / "ray", *limit)
        wall = cpu = 0.0
        for number in range(given.single):
            one = ("--skip", str(number), "--limit", "1", "--engine", "sumcheck")
            seconds, spent = prove(given.circuit, given.data, Path(folder) / f"single-{number}", *one)
            wall, cpu = wall + seconds, cpu + spent
        scale = given.samples / given.single
        rows[f"{given.samples} commands (of {given.single})"] = (wall * scale, cpu * scale)
    first_wall, first_cpu = rows["one process"]
    print("| way | seconds | CPU seconds | seconds, ratio | CPU, ratio |\n| --- | --- | --- | --- | --- |")
    for name, (seconds, spent) in rows.items():
        print(f"| {name} | {seconds:.1f} | {spent:.1f} | {seconds / first_wall:.2f} | {spent / first_cpu:.2f} |")
    print(f"\nload average {os.getloadavg()[0]:.1f} at the end, {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
