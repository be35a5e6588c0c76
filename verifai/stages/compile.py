"""compile: a specification and a model become a pinned circuit."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verifai.circuit_folder import CircuitFolder, read_toml
from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.fidelity import Fidelity, Task
from verifai.domain.progress import SILENT, Progress
from verifai.domain.shell import shell
from verifai.domain.statement import EngineName
from verifai.engines.interface import CompiledCircuit, CompileRequest, CostEstimate, PrivacySupport
from verifai.engines.registry import engine_for
from verifai.errors import PolicyNotMet, ResourceExhausted, UnsupportedModel, UsageError
from verifai.onnx_graph.inputs import read_complete, to_arrays
from verifai.onnx_graph.refusal import printable
from verifai.tokenization.samples import SUFFIX, divided_samples, read_lines, samples_of


@dataclass(frozen=True)
class CompileResult:
    """What compile made.

    Attributes:
        lock_path: the lock that now pins the circuit.
        reproduced: whether an existing pin was reproduced (``locked``) rather than searched anew.
        privacy: what proofs of the circuit hide, and at what cost.
    """

    engine: EngineName
    circuit: CompiledCircuit
    estimate: CostEstimate
    lock_path: Path
    reproduced: bool
    privacy: PrivacySupport


def compile_circuit(
    folder: CircuitFolder,
    *,
    engine: EngineName | None = None,
    locked: bool = False,
    max_memory: int | None = None,
    batch: int | None = None,
    progress: Progress = SILENT,
) -> CompileResult:
    """Compile the circuit in ``folder``, and pin it in its lock.

    Args:
        engine: by default the one that ``circuit.toml`` names; with ``locked`` the only one that the lock pins.
        locked: reproduce the pinned tuning without searching; anything but the pinned digests is an error.
        max_memory: refuse before any cost when the estimate exceeds this many bytes; also caps the child processes.
        batch: how many inferences a proof is of, instead of what ``circuit.toml`` says.

    Raises:
        UnsupportedModel: an operator that the engine cannot prove, with its node.
        UsageError: bad specification, missing calibration data, nothing to reproduce, or ``lock-not-reproduced``, also where
            labels or column names are not those that the lock has;
            ``privacy-unsupported`` when the engine cannot hide what the specification asks it to.
        PolicyNotMet: ``fidelity-below-floor``.
        Undecided: memory, deadline, or a crash of the engine. Nothing is pinned then.
    """
    spec, model = folder.spec, folder.model
    _require_decoder(folder)
    if (told := untold_task(folder)) and not locked:
        progress.note(told)
    name = folder.engine(engine) if locked else engine or spec.engine
    spec = _with_batch(spec, batch, name, locked=locked)
    backend = engine_for(name)
    privacy = backend.privacy_support(spec)
    privacy.require(name)
    refuse_unsupported(folder, name)
    estimate = backend.estimate(model, spec)
    limit = _smaller(max_memory, spec.budget.memory_bytes)
    if limit is not None and estimate.memory_bytes > limit and not locked:
        raise ResourceExhausted(
            "estimate-over-budget",
            f"{spec.name}: about {estimate.memory_bytes / 2**30:.1f} GiB needed, {limit / 2**30:.1f} GiB allowed",
            hint="Raise the budget, lower the fidelity floor, or use the sumcheck engine.",
        )
    pinned = folder.pinned_section(name)
    if locked and pinned is None:
        raise UsageError(
            "no-lock",
            "there is no pinned tuning of this model to reproduce",
            where=str(folder.folder),
            hint=f"Run first: `verifai compile {shell(folder.folder)}`",
        )
    if locked:
        _require_same(folder.lock().names.to_document(), folder.names.to_document(), folder)
    request = CompileRequest(
        model=model,
        spec=_with_memory(spec, limit),
        calibration=_calibration(folder, progress),
        build_dir=folder.build_dir(name),
        spec_dir=folder.folder,
        secrets_dir=folder.secrets_dir(name),
        locked=pinned if locked else None,
        progress=progress,
        pad=None if folder.tokenizer is None else folder.tokenizer.pad,
    )
    circuit = backend.compile(request)
    require_fidelity(spec, circuit.fidelity, locked=locked)
    if locked:
        _require_same(pinned or {}, circuit.section, folder)
        lock_path = folder.local_lock_path if name in spec.local_locks else folder.lock_path
    else:
        lock_path = folder.write_section(name, circuit.section)
    return CompileResult(name, circuit, estimate, lock_path, reproduced=locked, privacy=privacy)


def _require_decoder(folder: CircuitFolder) -> None:
    """Names are refused before any cost; so is a task of language models on another. Raises UsageError (``bad-spec``)."""
    _ = folder.names
    outputs = folder.model.outputs
    if folder.spec.task is Task.GENERATION and not (len(outputs) == 1 and outputs[0].dtype in ("int32", "int64")):
        message = "a language model has one output, the next tokens, which are integers"
        where = str(folder.folder / "circuit.toml")
        raise UsageError(
            "bad-spec", message, where=f"{where}: circuit.task", hint='Say task = "regression", or export next_tokens.'
        )


def untold_task(folder: CircuitFolder) -> str:
    """A sentence where a lone number is read as yes or no because nobody said what it is; else empty.

    Fidelity is measured by task: of an amount whose circuit names none, only its sign would be compared.
    """
    outputs = folder.model.outputs
    lone = len(outputs) == 1 and outputs[0].dtype.startswith("float") and math.prod(outputs[0].shape[1:]) == 1
    if not lone or folder.names.labels or folder.spec.task is not Task.CLASSIFICATION:
        return ""
    circuit = read_toml(folder.folder / "circuit.toml", code="bad-spec").get("circuit", {})
    if "task" in circuit or "classes" in circuit:
        return ""
    return (
        f"circuit.toml does not say what the one number {printable(outputs[0].name)} is. It is read as yes or no, so only on "
        'which side it lies is compared with the model. If it is an amount, write task = "regression" below [circuit].'
    )


def _with_batch(spec: CircuitSpec, batch: int | None, name: EngineName, *, locked: bool) -> CircuitSpec:
    """The specification with the batch that was asked for. Raises UsageError."""
    if batch is not None and locked:
        raise UsageError(
            "bad-option",
            "a pinned circuit has the batch that it was pinned with",
            where="batch",
            hint="Leave out --batch, or compile without --locked.",
        )
    found = replace(spec, batch=batch) if batch is not None else spec
    if (found.batch or 1) > 1 and name is not EngineName.SUMCHECK:
        raise UsageError(
            "batch-unsupported",
            f"the {name.value} engine proves one inference at a time",
            where="circuit.batch",
            hint="Use the sumcheck engine, or leave the batch out.",
        )
    if found.count_right:
        _require_countable(found, name)
    return found


def _require_countable(spec: CircuitSpec, name: EngineName) -> None:
    """What a circuit that counts right answers has to be, before any cost. Raises UsageError."""
    where = "circuit.count_right"
    if name is not EngineName.SUMCHECK:
        message = f"the {name.value} engine counts no right answers"
        raise UsageError("bad-spec", message, where=where, hint="Use the sumcheck engine, or leave count_right out.")
    if spec.task is not Task.CLASSIFICATION:
        raise UsageError("bad-spec", "only answers that are classes are right or wrong", where=where, hint="Leave it out.")
    if (spec.batch or 1) < 2:
        message = "right answers are counted over a batch, and none was asked for"
        raise UsageError("bad-spec", message, where=where, hint="Write batch = 256 beside it, or give --batch 256.")


def refuse_unsupported(folder: CircuitFolder, name: EngineName) -> None:
    """Raise UnsupportedModel for the first node that the engine cannot prove."""
    for node in engine_for(name).operator_support(folder.model):
        if not node.supported:
            raise UnsupportedModel(
                "operator-unsupported",
                f"the {name.value} engine cannot prove {node.op_type}: {node.reason}",
                where=f"node {node.node}",
                hint=node.suggestion or "Run `verifai check MODEL` to see what each engine supports.",
            )


_LOWER = "No circuit that was tried is finer: lower the floor that is named, in circuit.toml."


def require_fidelity(spec: CircuitSpec, fidelity: Fidelity, *, locked: bool = False) -> None:
    """Raise PolicyNotMet when the measured fidelity is below the specification's floor."""
    missed = spec.floor.missed(fidelity)
    if missed:
        raise PolicyNotMet(
            "fidelity-below-floor",
            f"{spec.name}: {'; '.join(missed)}",
            where="circuit.toml: [fidelity]",
            hint="Compile without --locked, which looks for a finer circuit." if locked else _LOWER,
        )


def _calibration(folder: CircuitFolder, progress: Progress) -> Mapping[str, Any]:
    spec = folder.spec
    if spec.calibration is None:
        raise UsageError(
            "no-calibration-data",
            "compile needs calibration data",
            where=str(folder.folder / "circuit.toml"),
            hint='Add [calibration] data = "samples.npz": real inputs, one array per model input, axis 0 = sample.',
        )
    path = folder.folder / spec.calibration
    tokens = folder.names.tokens
    if path.suffix == SUFFIX and folder.tokenizer is not None and folder.text_input is not None:
        samples: Sequence[Mapping[str, Any]] = samples_of(
            folder.tokenizer, folder.text_input, read_lines(path), cut=tokens is not None and bool(tokens.next)
        )
    elif path.suffix == SUFFIX and folder.tokenizer is not None and tokens is not None and tokens.next:
        samples = divided_samples(folder.tokenizer, folder.model.inputs, read_lines(path))
    else:
        read = read_complete(path, folder.model, columns=folder.table_columns())
        if read.lacking:
            progress.note(f"{os.path.normpath(path)}: {read.lacking}")
        samples = read.samples
    if spec.calibration_samples is not None:
        samples = samples[: spec.calibration_samples]
    return to_arrays(samples, folder.model)


def _require_same(pinned: Mapping[str, Any], made: Mapping[str, Any], folder: CircuitFolder) -> None:
    """Everything pinned must come out again; the first difference is named."""
    for field in sorted(set(pinned) | set(made)):
        if not _same(pinned.get(field), made.get(field), rounding=field == "fidelity"):
            raise UsageError(
                "lock-not-reproduced",
                f"compiling again gave another {field!r} than the lock pins",
                where=str(folder.lock_path),
                hint="The model, specification, SRS or engine changed; compile without --locked and review the diff.",
            )


def _same(pinned: Any, made: Any, *, rounding: bool) -> bool:
    """Equality; with ``rounding`` up to the last digits of floats, which another processor's float32 sums may change, of the
    pinned fields only: older locks lack figures that are measured now."""
    if rounding and isinstance(pinned, Mapping) and isinstance(made, Mapping):
        return set(pinned) <= set(made) and all(_same(pinned[name], made[name], rounding=True) for name in pinned)
    if rounding and isinstance(pinned, list | tuple) and isinstance(made, list | tuple):
        return len(pinned) == len(made) and all(_same(*pair, rounding=True) for pair in zip(pinned, made, strict=True))
    if rounding and isinstance(pinned, float) and isinstance(made, float):
        return math.isclose(pinned, made, rel_tol=1e-4, abs_tol=1e-7)
    return bool(pinned == made)


def _smaller(left: int | None, right: int | None) -> int | None:
    given = [value for value in (left, right) if value is not None]
    return min(given) if given else None


def _with_memory(spec: CircuitSpec, limit: int | None) -> CircuitSpec:
    return replace(spec, budget=replace(spec.budget, memory_bytes=limit))
