"""init: a commented ``circuit.toml`` for a model."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from verifai.circuit_folder import CircuitFolder
from verifai.domain.circuit_spec import parse_spec
from verifai.domain.fidelity import DEFAULT_FLOORS, Task
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.execution.files import write_new
from verifai.onnx_graph.model import OnnxModel

_TEMPLATE = """\
# What is claimed, and how. Written once by `verifai init`; from here on it is yours to edit.
# `verifai compile` turns it into circuit.lock, which pins every digest that a verdict rests on.

[circuit]
name = "{name}"
model = {model}
engine = "{engine}"       # the default engine; `--engine` chooses another
task = "{task}"   # what the outputs mean: "classification", "multi-label" or "regression"

# Who learns a tensor: "public" (its values are in the statement), "hashed" (bound to a digest: a holder of the
# tensor can match it), "private" (hidden, and bound to nothing outside the proof).
[tensors]
{tensors}

# "public": the model travels with the evidence. "withheld": its owner keeps it; the verification key fixes it (ezkl).
# "committed": bound by a commitment root, not hidden. "private": bound by a hiding commitment root, values hidden.
[weights]
visibility = "{weights}"

# "zero-knowledge": compile refuses an engine whose proofs show what is private. "integrity-only": nothing is hidden, so no
# tensor and no weight may be private. Without it the fields above decide.
{privacy}

# Hard limits; compile and prove stop at them.
[budget]
memory = "{memory}"
prove_seconds = {seconds}

# What the circuit must reach against onnxruntime on the calibration data; compile looks for the cheapest that does.
# spread_error: 99th percentile of error / standard deviation of that output; top1_agreement: share of equal decisions.
[fidelity]
{fidelity}

# Real inputs: one array per model input, axis 0 = sample. Ranges and scales are tuned on them, and inputs outside
# the ranges seen here (with a margin) are refused at prove time.
[calibration]
{calibration}
{engine_options}"""


def init_circuit(
    model_path: Path,
    model: OnnxModel,
    output: Path,
    *,
    name: str = "",
    engine: EngineName = EngineName.EZKL,
    visibility: Mapping[str, Visibility] | None = None,
    weights: WeightVisibility = WeightVisibility.PUBLIC,
    calibration: Path | None = None,
    srs: Path | None = None,
    task: Task = Task.CLASSIFICATION,
    memory: str = "8 GiB",
    prove_seconds: int = 600,
) -> CircuitFolder:
    """Write ``output/circuit.toml`` for ``model`` and return the folder, parsed back.

    Args:
        visibility: of the tensors that are not public. weights: how they are bound.
        task: what the outputs mean. calibration: real inputs (``.npz``).
        srs: a set-up file for the ezkl engine; by default the local store is asked.

    Raises:
        UsageError: ``file-exists`` when there is one already; ``bad-spec`` for a name that cannot be used;
            ``privacy-unsupported`` when ``engine`` cannot hide what is asked. Nothing is written then.
    """
    target = output / "circuit.toml"
    if target.exists():
        raise UsageError(
            "file-exists", "there is a specification already", where=str(target), hint="Edit it, or choose another folder."
        )
    for given_file, option in ((calibration, "--calibration"), (srs, "--srs")):
        if given_file is not None and not given_file.is_file():
            raise UsageError("file-missing", "no such file", where=f"{option} {given_file}", hint="Check the path.")
    asks = weights is WeightVisibility.PRIVATE or Visibility.PRIVATE in (visibility or {}).values()
    circuit_name = name or re.sub(r"[^a-z0-9-]+", "-", output.resolve().name.lower()).strip("-") or "model"
    given = visibility or {}
    tensors = (*model.inputs, *model.outputs)
    for known in given:
        if known not in {tensor.name for tensor in tensors}:
            raise UsageError(
                "unknown-tensor", f"the model has no tensor {known!r}", hint="It has: " + ", ".join(t.name for t in tensors)
            )
    text = _TEMPLATE.format(
        name=circuit_name,
        model=_quoted(os.path.relpath(model_path.resolve(), output.resolve())),
        engine=engine.value,
        task=task.value,
        tensors="\n".join(f'{_quoted(t.name)} = "{given.get(t.name, Visibility.PUBLIC).value}"' for t in tensors),
        weights=weights.value,
        privacy='[privacy]\nlevel = "zero-knowledge"' if asks else '# [privacy]\n# level = "zero-knowledge"',
        memory=memory,
        seconds=prove_seconds,
        fidelity=_floor(task),
        calibration=(
            f"data = {_quoted(os.path.relpath(calibration.resolve(), output.resolve()))}"
            if calibration is not None
            else '# data = "calibration.npz"'
        ),
        engine_options=""
        if srs is None
        else f"\n[engine.ezkl]\nsrs = {_quoted(os.path.relpath(srs.resolve(), output.resolve()))}\n",
    )
    spec = parse_spec(tomllib.loads(text), str(target))
    engine_for(engine).privacy_support(spec).require(engine)
    output.mkdir(parents=True, exist_ok=True)
    write_new(target, text.encode())
    folder = CircuitFolder(output)
    _ = folder.spec
    return folder


def _floor(task: Task) -> str:
    asked = {name: getattr(DEFAULT_FLOORS[task], name) for name in ("top1_agreement", "spread_error")}
    return "\n".join(f"{name} = {value!r}" for name, value in asked.items() if value is not None)


def _quoted(text: str) -> str:
    import tomli_w

    return tomli_w.dumps({"x": text}).removeprefix("x = ").rstrip("\n")
