"""``init``, ``check``, ``compile``: from a model to a pinned circuit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import CircuitArgument, EngineOption, MaxMemoryOption, memory_limit
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import bytes_text, seconds_text, table
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.engines.interface import CompiledCircuit, PrivacySupport
from verifai.errors import UsageError
from verifai.execution.outputs import Kind
from verifai.onnx_graph.load import load_path
from verifai.onnx_graph.model import OnnxModel
from verifai.stages.check import EngineCheck, all_public, check_model, hiding
from verifai.stages.compile import compile_circuit
from verifai.stages.init import init_circuit

PrivateOption = Annotated[
    list[str] | None, typer.Option("--private", help="Tensor whose values stay hidden; repeatable.", metavar="NAME")
]
PrivateWeightsOption = Annotated[bool, typer.Option("--private-weights", help="Keep the weights hidden.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @verb(app, "init", example="verifai init fixtures/digits-mlp/model.onnx -o my-circuit --yes")
    def init(
        model: Annotated[Path, typer.Argument(help="Canonical ONNX file (see export).", show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for circuit.toml."), Kind.TREE],
        name: Annotated[str, typer.Option("--name", help="Circuit name; by default the folder's.")] = "",
        engine: Annotated[EngineName, typer.Option("--engine", help="Default engine.")] = EngineName.EZKL,
        calibration: Annotated[Path | None, typer.Option("--calibration", help="Calibration data (.npz).")] = None,
        srs: Annotated[Path | None, typer.Option("--srs", help="Set-up file for ezkl; by default from the store.")] = None,
        tensor: Annotated[
            list[str] | None,
            typer.Option("--tensor", help="Visibility of one tensor, such as input=hashed.", metavar="NAME=VISIBILITY"),
        ] = None,
        private: PrivateOption = None,
        private_weights: PrivateWeightsOption = False,
        yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing; take the defaults.")] = False,
    ) -> Result:
        """Write a commented circuit.toml for a model."""
        loaded = load_path(model)
        visibility = _with_private(_visibilities(tensor or []), private or [])
        if not yes and not current().json:
            visibility = _ask_visibility(loaded, visibility)
        folder = init_circuit(
            model,
            loaded,
            output,
            name=name,
            engine=engine,
            visibility=visibility,
            weights=WeightVisibility.PRIVATE if private_weights else WeightVisibility.PUBLIC,
            calibration=calibration,
            srs=srs,
        )
        path = str(folder.folder / "circuit.toml")
        lines = [f"Wrote {plain(path)}", f"Next: verifai compile {plain(str(folder.folder))}"]
        return Result({"path": path, "name": folder.spec.name}, lines, verdict="done")

    @verb(app, "check", example="verifai check fixtures/digits-mlp/model.onnx --max-memory '4 GiB'")
    def check(
        model: Annotated[Path, typer.Argument(help="ONNX file, or a circuit folder.", show_default=False)],
        engine: EngineOption = None,
        private: PrivateOption = None,
        private_weights: PrivateWeightsOption = False,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Estimate support, privacy and cost, per engine.

        Says before any cost whether a model can be proven, by which engine, what it would hide, and what it will take.
        """
        spec = None
        if model.is_dir() or model.name == "circuit.toml":
            folder = CircuitFolder(model)
            loaded, spec = folder.model, folder.spec
        else:
            loaded = load_path(model)
        if private or private_weights:
            spec = hiding(spec or all_public(loaded), private or [], private_weights)
        engines = [engine] if engine is not None else []
        checks = check_model(loaded, spec, engines=engines, max_memory=memory_limit(max_memory))
        return Result(
            {"model_sha256": loaded.sha256, "engines": [_check_json(one) for one in checks]},
            _check_lines(loaded, checks),
            verdict="done",
        )

    @verb(app, "compile", example="verifai compile circuits/digits-mlp --locked")
    def compile_(
        circuit: CircuitArgument,
        engine: EngineOption = None,
        locked: Annotated[bool, typer.Option("--locked", help="Reproduce the pinned tuning without searching.")] = False,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Tune, set up and pin a circuit.

        Searches for the cheapest circuit that meets the fidelity floor, and prints how faithful it is to the float model.
        """
        with current().progress() as progress:
            made = compile_circuit(
                CircuitFolder(circuit), engine=engine, locked=locked, max_memory=memory_limit(max_memory), progress=progress
            )
        data = {
            "engine": made.engine.value,
            "lock": str(made.lock_path),
            "reproduced": made.reproduced,
            "seconds": dict(made.circuit.seconds),
            "peak_rss_bytes": made.circuit.peak_rss_bytes,
            "key_bytes": made.circuit.key_bytes,
            "privacy": _privacy_json(made.privacy),
            "fidelity": _fidelity_json(made.circuit),
            "tried": [dict(row) for row in made.circuit.tried],
        }
        lines = [*_compile_lines(made.circuit, str(made.lock_path), made.reproduced), _privacy_line(made.privacy)]
        return Result(data, lines, verdict="done")


def _visibilities(given: list[str]) -> dict[str, Visibility]:
    result = {}
    for item in given:
        name, _, word = item.rpartition("=")
        try:
            result[name] = Visibility(word)
        except ValueError:
            raise UsageError(
                "bad-option",
                f"{item!r} is not NAME=VISIBILITY",
                where="--tensor",
                hint="Visibilities: public, private, hashed.",
            ) from None
    return result


def _with_private(given: dict[str, Visibility], private: list[str]) -> dict[str, Visibility]:
    for name in private:
        if given.get(name, Visibility.PRIVATE) is not Visibility.PRIVATE:
            message = f"{name!r} cannot be {given[name].value} and private"
            raise UsageError("bad-option", message, where="--private", hint="Name the tensor in one of --tensor and --private.")
    return {**given, **dict.fromkeys(private, Visibility.PRIVATE)}


def _privacy_json(privacy: PrivacySupport) -> dict[str, Any]:
    return {
        "offered": privacy.offered,
        "level": privacy.level.value,
        "reason": privacy.reason,
        "cost": privacy.cost,
    }


def _privacy_line(privacy: PrivacySupport) -> str:
    if not privacy.offered:
        return f"Privacy as asked for: [red]not offered[/]. {plain(privacy.reason)}"
    return f"Privacy: {privacy.level.value}. {plain(privacy.reason)} Cost of privacy: {plain(privacy.cost)}"


def _ask_visibility(model: OnnxModel, given: Mapping[str, Visibility]) -> dict[str, Visibility]:
    result = dict(given)
    for spec in (*model.inputs, *model.outputs):
        if spec.name not in result:
            shape = "×".join(map(str, spec.shape))
            question = f"Who may learn {spec.name!r} ({shape})? public, hashed or private"
            answer = current().ask(question, default="public", hint="Pass --yes to take the defaults, or name them: --tensor")
            result |= _visibilities([f"{spec.name}={answer.lower()}"])
    return result


def _check_json(check: EngineCheck) -> dict[str, Any]:
    document: dict[str, Any] = {
        "engine": check.engine.value,
        "provable": check.provable,
        "privacy": _privacy_json(check.privacy),
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
    if check.refusal is not None:
        refusal = check.refusal
        document["refusal"] = {"code": refusal.code, "message": refusal.message, "where": refusal.where, "hint": refusal.hint}
    return document


def _check_lines(model: OnnxModel, checks: tuple[EngineCheck, ...]) -> list[Any]:
    rows = []
    for check in checks:
        if check.estimate is None:
            told = "what it would have to hide: see below" if not check.privacy.offered else str(check.refusal)
            reason = plain(told)
            rows.append([check.engine.value, "[red]no[/]", reason, "", "", "", ""])
            continue
        cost = check.estimate
        rows.append(
            [
                check.engine.value,
                "[green]yes[/]",
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
        lines.append(f"  {check.engine.value}: {_privacy_line(check.privacy)}")
    return lines


def _fidelity_json(circuit: CompiledCircuit) -> dict[str, Any]:
    fidelity = circuit.fidelity
    return {
        "samples": fidelity.samples,
        "top1_matches": fidelity.top1_matches,
        "max_abs_error": fidelity.max_abs_error,
        "mean_abs_error": fidelity.mean_abs_error,
        "worst_sample": fidelity.worst_sample,
    }


def _compile_lines(circuit: CompiledCircuit, lock: str, reproduced: bool) -> list[Any]:
    lines: list[Any] = []
    if circuit.tried:
        headings = list(circuit.tried[0])
        rows = [[_cell(row[name]) for name in headings] for row in circuit.tried]
        lines.append(table(headings, rows, title="What was tried"))
    fidelity = circuit.fidelity
    agreement = "" if fidelity.top1_matches is None else f"top-1 agrees on {fidelity.top1_matches}/{fidelity.samples}, "
    lines.append(
        f"Fidelity against onnxruntime on {fidelity.samples} calibration samples: {agreement}"
        f"largest error {fidelity.max_abs_error:.3g} (sample {fidelity.worst_sample}), mean error {fidelity.mean_abs_error:.3g}"
    )
    timing = ", ".join(f"{phase} {seconds_text(spent)}" for phase, spent in circuit.seconds.items())
    lines.append(f"{timing}; peak memory {bytes_text(circuit.peak_rss_bytes)}; keys {bytes_text(circuit.key_bytes)}")
    lines.append(f"Reproduced exactly what {plain(lock)} pins." if reproduced else f"Pinned in {plain(lock)}")
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return plain(str(value))
