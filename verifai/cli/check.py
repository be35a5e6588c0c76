"""``check``: what proving a model would take, before any cost; and how near to it circuits come, on data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import (
    DropOption,
    EngineOption,
    MaxMemoryOption,
    PrivateOption,
    PrivateWeightsOption,
    memory_limit,
    read_tensors,
)
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import (
    bytes_text,
    fidelity_json,
    fidelity_lines,
    privacy_json,
    privacy_line,
    seconds_text,
    table,
)
from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.fidelity import Task
from verifai.domain.table_columns import TableColumns, known
from verifai.onnx_graph.facts import read_facts
from verifai.onnx_graph.inputs import to_arrays
from verifai.onnx_graph.load import load_path
from verifai.onnx_graph.model import OnnxModel
from verifai.stages.check import EngineCheck, all_public, ask_engines, hiding, require_able
from verifai.stages.init import choose_task


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "check", example="verifai check fixtures/digits-mlp/model.onnx --max-memory '4 GiB'")
    def check(
        model: Annotated[Path, typer.Argument(help="ONNX file, or a circuit folder.", show_default=False)],
        engine: EngineOption = None,
        data: Annotated[
            str | None, typer.Option("--data", help="Real inputs, to predict fidelity from: .npz, CSV, …", metavar="FILE")
        ] = None,
        drop: DropOption = None,
        task: Annotated[
            Task | None, typer.Option("--task", help="What the outputs mean; by default as the model says, or guessed.")
        ] = None,
        private: PrivateOption = None,
        private_weights: PrivateWeightsOption = False,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Estimate support, privacy and cost, per engine.

        Says before any cost whether a model can be proven, by which engine, what it would hide, and what it will take. With
        --data it tunes circuits on real inputs, and says how near they come to the model.
        """
        asked = _checked(model, task, drop or ())
        spec = hiding(asked.spec, private or [], private_weights) if private or private_weights else asked.spec
        given = None if data is None else to_arrays(read_tensors(data, asked.model, asked.columns, complete=True), asked.model)
        with current().progress() as progress:
            checks = ask_engines(
                asked.model,
                spec,
                engines=[engine] if engine is not None else [],
                max_memory=memory_limit(max_memory),
                data=given,
                spec_dir=asked.folder,
                progress=progress,
            )
        lines = check_lines(asked.model, checks)
        told = {"model_sha256": asked.model.sha256, "engines": [check_json(one) for one in checks]}
        current().beside = Result(told, lines)  # a refusal of every engine is told in full: each node, each reason
        require_able(checks)
        if data is None:
            lines.append("How near a circuit comes to the model depends on data: add --data FILE, with real inputs.")
        return Result(told, lines, verdict="done")


@dataclass(frozen=True)
class _Checked:
    """What check is about: a model with its specification, and how tables for it are read."""

    model: OnnxModel
    spec: CircuitSpec
    columns: TableColumns
    folder: Path


def _checked(path: Path, task: Task | None, drop: Sequence[str]) -> _Checked:
    if path.is_dir() or path.name == "circuit.toml":
        folder = CircuitFolder(path)
        spec = folder.spec if task is None else replace(folder.spec, task=task)
        return _Checked(folder.model, spec, folder.table_columns(drop), folder.folder)
    model, facts = load_path(path), read_facts(path)
    spec = all_public(model, choose_task(model, facts, task).task)
    return _Checked(model, spec, known(facts, drop), path.parent)


def check_json(check: EngineCheck) -> dict[str, Any]:
    document: dict[str, Any] = {
        "engine": check.engine.value,
        "provable": check.provable,
        "privacy": privacy_json(check.privacy),
        "operators": [
            {
                "node": node.node,
                "op_type": node.op_type,
                "supported": node.supported,
                "reason": node.reason,
                "suggestion": node.suggestion,
            }
            for node in check.operators
        ],
    }
    if check.estimate is not None:
        estimate = check.estimate
        document["estimate"] = {field: getattr(estimate, field) for field in estimate.__dataclass_fields__}
    if check.prediction is not None:
        found = check.prediction
        document["prediction"] = {
            "fidelity": fidelity_json(found.fidelity),
            "bits": dict(found.bits),
            "rows": found.rows,
            "tried": found.tried,
        }
    if check.refusal is not None:
        refusal = check.refusal
        document["refusal"] = {"code": refusal.code, "message": refusal.message, "where": refusal.where, "hint": refusal.hint}
    return document


def check_lines(model: OnnxModel, checks: tuple[EngineCheck, ...]) -> list[Any]:
    rows = []
    for check in checks:
        cost = check.estimate
        if cost is None:
            told = "what it would have to hide: see below" if not check.privacy.offered else str(check.refusal)
            rows.append([check.engine.value, "[red]no[/]", plain(told), "", "", "", ""])
            continue
        rows.append(
            [
                check.engine.value,
                "[green]yes[/]" if check.provable else "[red]no[/]",
                f"{cost.rows:,} (2^{cost.size_log2})",
                bytes_text(cost.memory_bytes),
                bytes_text(cost.key_bytes),
                seconds_text(cost.setup_seconds),
                seconds_text(cost.prove_seconds),
            ]
        )
    lines: list[Any] = [
        f"Model {model.sha256}",
        table(
            ["engine", "provable", "rows or cells", "memory", "keys", "setup", "prove"],
            rows,
            title="Estimates, before any cost",
        ),
    ]
    for check in checks:
        for node in check.operators:
            if not node.supported:
                why = plain(f"{node.reason} {node.suggestion}")
                lines.append(f"  {check.engine.value}: {plain(node.node)} ({plain(node.op_type)}): {why}")
        if check.estimate is not None:
            lines.append(f"  {check.engine.value}: {check.estimate.basis}")
            lines += [f"  {check.engine.value}: {plain(line)}" for line in _data_lines(check)]
        lines.append(f"  {check.engine.value}: {privacy_line(check.privacy)}")
    return lines


def _data_lines(check: EngineCheck) -> list[str]:
    """What the data said: of a circuit that was tuned and run on them."""
    if check.prediction is not None:
        found = check.prediction
        bits = ", ".join(f"{name} {value}" for name, value in found.bits.items())
        ran = "circuit was" if found.tried == 1 else "circuits were"
        return [*fidelity_lines(found.fidelity), f"{bits}; {found.rows:,} rows or cells; {found.tried} {ran} run on the data"]
    if check.refusal is not None and check.estimate is not None:
        return [f"cannot be compiled: {check.refusal}. {check.refusal.hint}"]
    return []
