"""Files of ours on a screen, each with the fingerprint that two people compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verifai.cli.frame import Result, plain
from verifai.cli.text import fidelity_lines
from verifai.domain.spoken import BITS
from verifai.stages.inspect import LockSummary
from verifai.stages.show import ShownFile


def lock_lines(lock: LockSummary) -> list[Any]:
    """What a lock pins."""
    lines = [f"Lock {plain(str(lock.path))}  sha256 {lock.sha256}", f"  circuit {plain(lock.name)}, model {lock.model_sha256}"]
    for engine, found in lock.engines.items():
        insecure = f"  [bold red]{plain(', '.join(found.insecure))}[/]" if found.insecure else ""
        lines.append(f"  engine {engine.value} {plain(found.engine_version)}, circuit {plain(found.circuit_sha256)}{insecure}")
        lines += [f"    {name} {plain(value)}" for name, value in found.pins.items()]
        tensors = ", ".join(f"{name} {visibility.value}" for name, visibility in found.tensors.items())
        weights = "" if found.weights is None else f"weights {found.weights.value}"
        batch = f"{found.batch:,} inferences in one proof" if found.batch else ""
        count = found.counting
        counts = (
            "" if count is None else f"counts right answers over {count.items:,} samples per proof, of output {count.answer}"
        )
        lines += [f"    {plain(text)}" for text in (tensors, weights, batch, counts) if text]
        lines += [f"    {line}" for line in fidelity_lines(found.fidelity)]
    return lines


def shown_result(found: Sequence[ShownFile]) -> Result:
    """What files are, one after the other."""
    lines: list[Any] = []
    for one in found:
        lines += [f"{plain(str(one.path))} is {one.what}", *(f"  {plain(line)}" for line in one.lines)]
        lines.append(fingerprint_line(one.fingerprint))
    return Result({"files": [one.to_json() for one in found]}, lines, verdict="done")


def fingerprint_line(digits: str) -> str:
    """A fingerprint on a line of its own."""
    return f"  fingerprint [bold]{digits}[/] ({BITS} bits)"
