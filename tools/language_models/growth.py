"""What proofs of a language model cost as the positions grow, and where they stop; run by ``tools.language_models.measure``.

Each step is the command that a user types, in a process of its own, whose CPU time and peak memory the system counts, children
included. Bits are fixed and floors low: what is measured is cost, and the agreement with float32 is shown beside it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PROMPT = "The capital of France is"
_FLOORS = {"top1_agreement": "top1_agreement = 0.5", "perplexity_ratio": "perplexity_ratio = 10.0"}


@dataclass(frozen=True)
class Step:
    """One command. ``document``: its JSON. Seconds; peak in GiB, of the largest of its processes."""

    status: int
    cpu_s: float
    wall_s: float
    peak_gib: float
    document: dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One number of positions. ``stopped``: the step and the code that refused it; empty where a proof was made."""

    positions: int
    compile_cpu_s: float = 0.0
    prove_cpu_s: float = 0.0
    prove_wall_s: float = 0.0
    peak_gib: float = 0.0
    proof_bytes: int = 0
    verify_cpu_s: float = 0.0
    verify_wall_s: float = 0.0
    agreement: str = ""
    answer: str = ""
    stopped: str = ""

    def markdown(self) -> str:
        """As a row of :data:`HEAD`."""
        if self.stopped:
            return f"| {self.positions} | {self.compile_cpu_s:.1f} s | stopped: {self.stopped} | | | | | | |"
        return (
            f"| {self.positions} | {self.compile_cpu_s:.1f} s | {self.prove_cpu_s:.1f} s | {self.prove_wall_s:.1f} s "
            f"| {self.peak_gib:.2f} GiB | {self.proof_bytes:,} | {self.verify_cpu_s:.1f} s | {self.verify_wall_s:.1f} s "
            f"| {self.agreement} |"
        )


HEAD = (
    "| positions | to compile, CPU | answer and prove, CPU | wall | peak | proof, bytes | verify, CPU | wall | as float32 |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def step(arguments: Sequence[str], folder: Path) -> Step:
    """Run one command of verifai in ``folder``."""
    out = folder / "step.json"
    begun = time.monotonic()
    with out.open("wb") as stdout:
        process = subprocess.Popen(
            [sys.executable, "-m", "verifai", *arguments, "--json"], cwd=folder, stdout=stdout, stderr=subprocess.DEVNULL
        )
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = out.read_text("utf-8")
    return Step(
        process.returncode,
        used.ru_utime + used.ru_stime,
        time.monotonic() - begun,
        used.ru_maxrss / 2**20,
        json.loads(text) if text.strip() else {},
    )


def row(source: Path, texts: Path, positions: int, *, bits: int, weights: str, most: int | None, folder: Path) -> Row:
    """Export, init, compile, generate and verify at so many positions."""
    compiling = 0.0
    made = ["export", str(source), "-o", "lm.onnx", "--positions", str(positions)]
    written = [
        "init",
        "lm.onnx",
        "-o",
        "lm",
        "--calibration",
        str(texts),
        "--weights",
        weights,
        "--yes",
        "--engine",
        "sumcheck",
    ]
    for command in (made, written, ["compile", "lm"]):
        if command[0] == "compile":
            _fix(folder / "lm" / "circuit.toml", bits)
        done = step(command, folder)
        compiling += done.cpu_s
        if done.status:
            return Row(positions, compile_cpu_s=compiling, stopped=_refusal(command[0], done))
    limit = [] if most is None else ["--max-tokens", str(most)]
    proven = step(["generate", "lm", "--prompt", PROMPT, "-o", "answer", *limit], folder)
    if proven.status:
        return Row(positions, compile_cpu_s=compiling, peak_gib=proven.peak_gib, stopped=_refusal("generate", proven))
    checked = step(["verify", "answer", "--lock", "lm/circuit.lock"], folder)
    size = sum(path.stat().st_size for path in (folder / "answer" / "payload").glob("proof*"))
    return Row(
        positions,
        compile_cpu_s=round(compiling, 1),
        prove_cpu_s=round(proven.cpu_s, 1),
        prove_wall_s=round(proven.wall_s, 1),
        peak_gib=round(proven.peak_gib, 2),
        proof_bytes=size,
        verify_cpu_s=round(checked.cpu_s, 1),
        verify_wall_s=round(checked.wall_s, 1),
        agreement=_agreement(folder / "lm" / "circuit.lock"),
        answer=proven.document["answer"],
        stopped="" if not checked.status else _refusal("verify", checked),
    )


def _fix(spec: Path, bits: int) -> None:
    text = re.sub(
        r"^(top1_agreement|perplexity_ratio) = .*$", lambda found: _FLOORS[found[1]], spec.read_text("utf-8"), flags=re.M
    )
    text = re.sub(r'^memory = ".*"', f'memory = "{_memory()} GiB"', text, flags=re.M)
    spec.write_text(f"{text}\n[engine.sumcheck]\nactivation_bits = {bits}\n", encoding="utf-8")


def _memory() -> int:
    return max(1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30)


def _refusal(command: str, done: Step) -> str:
    code = done.document.get("error", {}).get("code") or f"status {done.status}"
    return f"{command}: {code}"


def _agreement(lock: Path) -> str:
    found = re.search(r"^positions = (\d+)\nmatches = (\d+)$", lock.read_text("utf-8"), re.MULTILINE)
    return f"{found[2]} of {found[1]}" if found else ""


def table(
    source: Path,
    texts: Path,
    positions: Sequence[int],
    *,
    bits: int,
    weights: str = "committed",
    most: int | None = None,
    told: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """A row for each number of positions, in their order, up to the first that is refused."""
    told(HEAD)
    rows = []
    for count in positions:
        with tempfile.TemporaryDirectory() as folder:
            found = row(source.resolve(), texts.resolve(), count, bits=bits, weights=weights, most=most, folder=Path(folder))
        rows.append(asdict(found))
        told(found.markdown())
        if found.stopped:
            break
    return rows
