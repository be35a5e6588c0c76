"""init: a commented ``circuit.toml`` for a model."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder, read_tokenizer
from verifai.domain import model_facts
from verifai.domain.categories import placed
from verifai.domain.circuit_spec import CircuitSpec, parse_spec
from verifai.domain.fidelity import DEFAULT_FLOORS, Task
from verifai.domain.model_facts import ModelFacts
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.domain.table_columns import known
from verifai.domain.tensor import TensorSpec
from verifai.domain.tokenizer import NEXT_TOKENS, PROMPT, TOKENS
from verifai.engines.interface import PrivacySupport
from verifai.engines.registry import engine_for
from verifai.errors import UnsupportedModel, UsageError
from verifai.execution.files import write_new
from verifai.onnx_graph.facts import read_facts, tokenizer_path
from verifai.onnx_graph.inputs import read_complete
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.task import TaskGuess, guess_task
from verifai.tokenization.samples import SUFFIX as TEXTS

_TEMPLATE = """\
# What is claimed, and how. Written once by `verifai init`; from here on it is yours to edit.
# `verifai compile` turns it into circuit.lock, which pins every digest that a verdict rests on.

[circuit]
name = {name}
model = {model}
engine = "{engine}"       # the default engine; `--engine` chooses another
task = "{task}"   # what the outputs mean: "classification", "multi-label", "regression", "generation"

# Who learns a tensor: "public" (its values are in the statement), "hashed" (bound to a digest: a holder of the
# tensor can match it), "private" (hidden, and bound to nothing outside the proof).
[tensors]
{tensors}
{names}
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
# spread_error: 99th percentile of error / standard deviation of that output; top1_agreement: share of equal decisions;
# perplexity_ratio: of a language model, the circuit's perplexity on the texts over the float model's.
[fidelity]
{fidelity}

# Real inputs: one array per model input, axis 0 = sample; a table, row = sample; or texts (.txt), line = sample. Ranges and
# scales are tuned on them, and inputs outside the ranges seen here (with a margin) are refused at prove time.
[calibration]
{calibration}
{engine_options}"""

_FACTS = {
    model_facts.Task.CLASSIFICATION: Task.CLASSIFICATION,
    model_facts.Task.CLUSTERING: Task.CLASSIFICATION,
    model_facts.Task.MULTILABEL: Task.MULTI_LABEL,
    model_facts.Task.REGRESSION: Task.REGRESSION,
    model_facts.Task.TRANSFORM: Task.REGRESSION,
}


@dataclass(frozen=True, slots=True)
class InitRequest:
    """What is asked of a new circuit.

    Attributes:
        name: of the circuit; by default the folder's.
        engine: ``None`` for the one that fits best.
        on_chain: whether proofs are to be verified by a smart contract.
        visibility: of the tensors that are not public. weights: how they are bound.
        calibration: real inputs. dropped: columns of tables that are no inputs.
        srs: a set-up file for the ezkl engine; by default the local store is asked.
        task: what the outputs mean; ``None`` to guess.
    """

    name: str = ""
    engine: EngineName | None = None
    on_chain: bool = False
    visibility: Mapping[str, Visibility] | None = None
    weights: WeightVisibility = WeightVisibility.PUBLIC
    calibration: Path | None = None
    dropped: Collection[str] = ()
    srs: Path | None = None
    task: Task | None = None
    memory: str = "8 GiB"
    prove_seconds: int = 600


@dataclass(frozen=True, slots=True)
class InitResult:
    """What init wrote and chose.

    Attributes:
        engine_reason: half a sentence for a person, after "because". task: likewise.
        privacy: what proofs of the circuit will hide.
    """

    folder: CircuitFolder
    engine: EngineName
    engine_reason: str
    task: TaskGuess
    privacy: PrivacySupport


def init_circuit(
    model_path: Path,
    model: OnnxModel,
    output: Path,
    *,
    name: str = "",
    engine: EngineName | None = None,
    visibility: Mapping[str, Visibility] | None = None,
    weights: WeightVisibility = WeightVisibility.PUBLIC,
    calibration: Path | None = None,
    dropped: Collection[str] = (),
    srs: Path | None = None,
    task: Task | None = None,
    memory: str = "8 GiB",
    prove_seconds: int = 600,
) -> CircuitFolder:
    """As :func:`write_circuit`, with the fields of its request; return the folder alone."""
    request = InitRequest(
        name=name,
        engine=engine,
        visibility=visibility,
        weights=weights,
        calibration=calibration,
        dropped=dropped,
        srs=srs,
        task=task,
        memory=memory,
        prove_seconds=prove_seconds,
    )
    return write_circuit(model_path, model, output, request).folder


def write_circuit(
    model_path: Path, model: OnnxModel, output: Path, request: InitRequest, progress: Progress = SILENT
) -> InitResult:
    """Write ``output/circuit.toml`` for ``model``. Facts beside the model are read; a calibration file has to fit the model.

    Raises:
        UsageError: ``file-exists`` when there is one already; ``file-missing``; ``unknown-tensor``; ``bad-facts``; ``bad-spec``
            for a name that cannot be used; ``bad-option``; ``privacy-unsupported`` when the engine cannot hide what is asked.
        InputRejected: ``input-…``, when the calibration data are not the model's. Nothing is written then.
    """
    target = output / "circuit.toml"
    if target.exists():
        raise UsageError(
            "file-exists", "there is a specification already", where=str(target), hint="Edit it, or choose another folder."
        )
    _check_request(request, model)
    facts = read_facts(model_path)
    task = choose_task(model, facts, request.task)
    columns = _columns(request, model, facts, progress)
    text = _render(model_path, model, output, request, task.task, _names((model_path, output), request, model, facts, columns))
    draft = _parsed(text, EngineName.SUMCHECK, target)
    engine, reason = choose_engine(model, draft, request)
    privacy = engine_for(engine).privacy_support(draft)
    privacy.require(engine)
    output.mkdir(parents=True, exist_ok=True)
    write_new(target, text.replace(_ENGINE, engine.value).encode())
    folder = CircuitFolder(output)
    _ = folder.spec
    return InitResult(folder, engine, reason, task, privacy)


def choose_task(model: OnnxModel, facts: ModelFacts | None, asked: Task | None = None) -> TaskGuess:
    """What the outputs mean: as asked, as the model's facts say, or guessed."""
    if asked is not None:
        return TaskGuess(asked, "it was asked for", sure=True)
    if facts is not None:
        return TaskGuess(_FACTS[facts.task], f"the model's source says {facts.task.value}", sure=True)
    return guess_task(model)


def choose_engine(model: OnnxModel, spec: CircuitSpec, request: InitRequest) -> tuple[EngineName, str]:
    """The engine that fits, and why: half a sentence, after "because".

    Raises:
        UsageError: ``bad-option``, when what is asked for contradicts itself.
    """
    if request.on_chain and request.engine is EngineName.SUMCHECK:
        raise UsageError(
            "bad-option",
            "a smart contract verifies ezkl's proofs only",
            where="--on-chain",
            hint="Leave out --engine, or --on-chain.",
        )
    asked = {
        "it was asked for": request.engine is EngineName.EZKL,
        "a smart contract can verify its proofs": request.on_chain,
        "--srs names a set-up file, which only ezkl takes": request.srs is not None,
        "only its verification key fixes weights that their owner withholds": request.weights is WeightVisibility.WITHHELD,
    }
    if request.engine is EngineName.SUMCHECK:
        return EngineName.SUMCHECK, "it was asked for"
    for reason, holds in asked.items():
        if holds:
            return EngineName.EZKL, reason
    lacks = _refusal(EngineName.SUMCHECK, model, spec)
    if lacks and not _refusal(EngineName.EZKL, model, spec):
        return EngineName.EZKL, f"the sumcheck engine cannot prove this model: {lacks}"
    if lacks:
        return EngineName.SUMCHECK, "it is the default; but neither engine can prove this model, as `verifai check` says"
    return EngineName.SUMCHECK, "it needs no set-up file and proves in the least time"


def _refusal(name: EngineName, model: OnnxModel, spec: CircuitSpec) -> str:
    """Why an engine cannot prove the model as specified; empty when it can."""
    engine = engine_for(name)
    privacy = engine.privacy_support(spec)
    if not privacy.offered:
        return privacy.reason
    for node in engine.operator_support(model):
        if not node.supported:
            return f"{node.op_type}: {node.reason}"
    try:
        engine.estimate(model, spec)
    except UnsupportedModel as problem:
        return problem.message
    return ""


def _check_request(request: InitRequest, model: OnnxModel) -> None:
    for given_file, option in ((request.calibration, "--calibration"), (request.srs, "--srs")):
        if given_file is not None and not given_file.is_file():
            raise UsageError("file-missing", "no such file", where=f"{option} {given_file}", hint="Check the path.")
    tensors = [tensor.name for tensor in (*model.inputs, *model.outputs)]
    for name in request.visibility or {}:
        if name not in tensors:
            hint = "It has: " + ", ".join(tensors)
            raise UsageError("unknown-tensor", f"the model has no tensor {name!r}", hint=hint)


def _columns(
    request: InitRequest, model: OnnxModel, facts: ModelFacts | None, progress: Progress
) -> Mapping[str, tuple[str, ...]]:
    """Names of the columns by input: of the facts, else of the calibration table, which is read to see that it fits."""
    columns = known(facts, request.dropped)
    named = dict(columns.names)
    if request.calibration is None or request.calibration.suffix == TEXTS:
        return named  # texts are read when there is a tokenizer to read them with
    read = read_complete(request.calibration, model, columns=columns)
    for note in read.notes:
        progress.note(note)
    return {**read.columns, **named}


def _names(
    paths: tuple[Path, Path],
    request: InitRequest,
    model: OnnxModel,
    facts: ModelFacts | None,
    columns: Mapping[str, tuple[str, ...]],
) -> str:
    """The tables of names, as TOML; empty when there are none."""
    import tomli_w

    labels = {facts.output: facts.labels} if facts is not None and facts.labels else {}
    sides = (("inputs", "columns", model.inputs, columns), ("outputs", "labels", model.outputs, labels))
    document: dict[str, Any] = {}
    for side, kind, specs, named in sides:
        found = {spec.name: list(named[spec.name]) for spec in specs if _fits(spec, named.get(spec.name, ()))}
        if found:
            only = next(iter(found.values())) if len(specs) == 1 else None
            document[side] = {kind: only} if only is not None else {name: {kind: names} for name, names in found.items()}
    _add_categories(document, model, facts, columns)
    text = "" if not document else f"\n# What people call the columns of an input and the classes of an output. {_BY_NAME}\n"
    text += tomli_w.dumps(document)
    text += _tokenizer(*paths, model)
    if request.dropped:
        text += (
            f"\n# Columns of tables that are no inputs.\n{tomli_w.dumps({'tables': {'drop': sorted(set(request.dropped))}})}"
        )
    return text


def _tokenizer(model_path: Path, output: Path, model: OnnxModel) -> str:
    """The table of the tokenizer that lies beside the model, as TOML; empty when there is none."""
    import tomli_w

    path = tokenizer_path(model_path)
    tensors = [one.name for one in (*model.inputs, *model.outputs) if one.name in (PROMPT, TOKENS, NEXT_TOKENS)]
    if not path.exists() or not tensors:
        return ""
    read_tokenizer(path)
    file = os.path.relpath(path.resolve(), output.resolve())
    following = {"next": NEXT_TOKENS} if NEXT_TOKENS in tensors else {}
    table = tomli_w.dumps({"tokenizer": {"file": file, "tensors": tensors, **following}})
    return f"\n# Which text each token stands for. The lock pins it; every report shows the text beside the numbers.\n{table}"


def _add_categories(
    document: dict[str, Any], model: OnnxModel, facts: ModelFacts | None, columns: Mapping[str, tuple[str, ...]]
) -> None:
    """The texts of columns, below the names of the input's columns, or of its places where they have no names."""
    if facts is None or not facts.categories:
        return
    names = columns.get(facts.input, ())
    listed = names if any(spec.name == facts.input and _fits(spec, names) for spec in model.inputs) else ()
    texts = {
        listed[place] if listed else str(place): one.to_document()
        for place, one in placed(facts.categories, facts.columns).items()
    }
    side = document.setdefault("inputs", {})
    one_of_several = len(model.inputs) > 1 or not listed
    (side.setdefault(facts.input, {}) if one_of_several else side)["categories"] = texts


_BY_NAME = "Tables (CSV, Parquet) are read by them."


def _fits(spec: TensorSpec, names: tuple[str, ...]) -> bool:
    """Whether there is a name for each place of the last axis, none of them empty; a lone column needs none."""
    return len(names) > 1 and all(names) and bool(spec.shape) and spec.shape[-1] == len(names)


_ENGINE = "@engine@"


def _parsed(text: str, engine: EngineName, target: Path) -> CircuitSpec:
    return parse_spec(tomllib.loads(text.replace(_ENGINE, engine.value)), str(target))


def _render(model_path: Path, model: OnnxModel, output: Path, request: InitRequest, task: Task, names: str) -> str:
    """The text, with a mark where the engine's name belongs."""
    given = request.visibility or {}
    asks = request.weights is WeightVisibility.PRIVATE or Visibility.PRIVATE in given.values()

    def relative(path: Path) -> str:
        return _quoted(os.path.relpath(path.resolve(), output.resolve()))

    return _TEMPLATE.format(
        name=_quoted(request.name or _name_of(output)),
        model=relative(model_path),
        engine=_ENGINE,
        task=task.value,
        tensors="\n".join(
            f'{_quoted(tensor.name)} = "{given.get(tensor.name, Visibility.PUBLIC).value}"'
            for tensor in (*model.inputs, *model.outputs)
        ),
        names=names,
        weights=request.weights.value,
        privacy='[privacy]\nlevel = "zero-knowledge"' if asks else '# [privacy]\n# level = "zero-knowledge"',
        memory=request.memory,
        seconds=request.prove_seconds,
        fidelity=_floor(task),
        calibration=f"data = {relative(request.calibration)}" if request.calibration else '# data = "calibration.npz"',
        engine_options=f"\n[engine.ezkl]\nsrs = {relative(request.srs)}\n" if request.srs else "",
    )


def _name_of(output: Path) -> str:
    """A circuit's name from that of its folder."""
    return re.sub(r"[^a-z0-9-]+", "-", output.resolve().name.lower()).strip("-")[:64].rstrip("-") or "model"


def _floor(task: Task) -> str:
    asked = {name: getattr(DEFAULT_FLOORS[task], name) for name in ("top1_agreement", "spread_error", "perplexity_ratio")}
    return "\n".join(f"{name} = {value!r}" for name, value in asked.items() if value is not None)


def _quoted(text: str) -> str:
    import tomli_w

    return tomli_w.dumps({"x": text}).removeprefix("x = ").rstrip("\n")
