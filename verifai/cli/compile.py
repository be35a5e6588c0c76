"""``compile``: from a specification to a pinned circuit."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import (
    CircuitArgument,
    EngineOption,
    MaxMemoryOption,
    memory_limit,
)
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import bytes_text, fidelity_json, fidelity_lines, privacy_json, privacy_line, seconds_text, table
from verifai.domain.circuit_spec import MAX_BATCH
from verifai.engines.interface import CompiledCircuit
from verifai.stages.compile import compile_circuit


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @verb(app, "compile", example="verifai compile circuits/digits-mlp --locked")
    def compile_(
        circuit: CircuitArgument,
        engine: EngineOption = None,
        locked: Annotated[bool, typer.Option("--locked", help="Reproduce the pinned tuning without searching.")] = False,
        max_memory: MaxMemoryOption = None,
        batch: Annotated[
            int | None,
            typer.Option("--batch", min=1, max=MAX_BATCH, help="Inferences of one proof (sumcheck).", metavar="N"),
        ] = None,
    ) -> Result:
        """Tune, set up and pin a circuit.

        Searches for the cheapest circuit that meets the fidelity floor, and prints how faithful it is to the float model.
        """
        with current().progress() as progress:
            made = compile_circuit(
                CircuitFolder(circuit),
                engine=engine,
                locked=locked,
                max_memory=memory_limit(max_memory),
                batch=batch,
                progress=progress,
            )
        data = {
            "engine": made.engine.value,
            "lock": str(made.lock_path),
            "reproduced": made.reproduced,
            "seconds": dict(made.circuit.seconds),
            "peak_rss_bytes": made.circuit.peak_rss_bytes,
            "key_bytes": made.circuit.key_bytes,
            "privacy": privacy_json(made.privacy),
            "fidelity": fidelity_json(made.circuit.fidelity),
            "tried": [dict(row) for row in made.circuit.tried],
        }
        lines = [*_compile_lines(made.circuit, str(made.lock_path), made.reproduced), privacy_line(made.privacy)]
        return Result(data, lines, verdict="done")


def _compile_lines(circuit: CompiledCircuit, lock: str, reproduced: bool) -> list[Any]:
    lines: list[Any] = []
    if circuit.tried:
        headings = list(circuit.tried[0])
        rows = [[_cell(row[name]) for name in headings] for row in circuit.tried]
        lines.append(table(headings, rows, title="What was tried"))
    lines += fidelity_lines(circuit.fidelity)
    timing = ", ".join(f"{phase} {seconds_text(spent)}" for phase, spent in circuit.seconds.items())
    lines.append(f"{timing}; peak memory {bytes_text(circuit.peak_rss_bytes)}; keys {bytes_text(circuit.key_bytes)}")
    lines.append(f"Reproduced exactly what {plain(lock)} pins." if reproduced else f"Pinned in {plain(lock)}")
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return plain(str(value))
