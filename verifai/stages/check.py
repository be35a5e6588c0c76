"""check: what proving a model would take, before any cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from verifai.domain.attestation.manifest import MODEL_FILE
from verifai.domain.circuit_spec import Budget, CircuitSpec
from verifai.domain.fidelity import FidelityFloor, Task
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.engines.capabilities import Prediction, PredictsCompile
from verifai.engines.interface import CompileRequest, CostEstimate, OperatorSupport, PrivacySupport
from verifai.engines.registry import engine_for, engine_names
from verifai.errors import PolicyNotMet, ResourceExhausted, UnsupportedModel, UsageError, VerifaiError
from verifai.execution.machine import memory_bytes
from verifai.execution.scratch import private_directory
from verifai.onnx_graph.model import OnnxModel

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class EngineCheck:
    """One engine's answer.

    Attributes:
        operators: one entry per node.
        estimate: ``None`` when an operator is not supported or the engine cannot give what the specification asks for.
        privacy: whether it can hide what the specification asks it to.
        refusal: why it cannot prove the model as specified; ``None`` when it can.
        prediction: what compile would find on the data that were given; ``None`` without data, or when it cannot.
    """

    engine: EngineName
    operators: tuple[OperatorSupport, ...]
    privacy: PrivacySupport
    estimate: CostEstimate | None
    refusal: VerifaiError | None
    prediction: Prediction | None = None

    @property
    def provable(self) -> bool:
        """Whether this engine can prove the model as specified; where data were given, whether compile would succeed."""
        return self.refusal is None


def check_model(
    model: OnnxModel,
    spec: CircuitSpec | None = None,
    *,
    engines: Sequence[EngineName] = (),
    max_memory: int | None = None,
    data: Mapping[str, NDArray[Any]] | None = None,
    spec_dir: Path = Path(),
    progress: Progress = SILENT,
) -> tuple[EngineCheck, ...]:
    """Ask every engine (or those named) whether it can prove ``model`` and at what cost.

    Args and raises: as :func:`ask_engines` and :func:`require_able`.
    """
    checks = ask_engines(model, spec, engines=engines, max_memory=max_memory, data=data, spec_dir=spec_dir, progress=progress)
    require_able(checks)
    return checks


def ask_engines(
    model: OnnxModel,
    spec: CircuitSpec | None = None,
    *,
    engines: Sequence[EngineName] = (),
    max_memory: int | None = None,
    data: Mapping[str, NDArray[Any]] | None = None,
    spec_dir: Path = Path(),
    progress: Progress = SILENT,
) -> tuple[EngineCheck, ...]:
    """What every engine (or each of those named) says of ``model``; a refusal is an answer too.

    Args:
        spec: the circuit's specification; by default everything public, nothing limited.
        max_memory: hard limit in bytes on the estimate; by default that of ``spec``, or else the machine's memory.
        data: calibration data, as in :class:`~verifai.engines.interface.CompileRequest`: circuits are then tuned and run on
            them, so that what is said of fidelity was measured.
        spec_dir: folder that paths in ``spec`` start from.
    """
    given = spec or all_public(model)
    limit, named = _memory_limit(given, max_memory)
    checks = tuple(_within(_ask(name, model, given), limit, named) for name in (engines or engine_names()))
    if data is not None:
        checks = tuple(_predicted(check, model, given, data, spec_dir, progress) for check in checks)
    return checks


def require_able(checks: Sequence[EngineCheck]) -> None:
    """That some engine can, as asked.

    Raises:
        PolicyNotMet: ``fidelity-below-floor``, when no engine asked meets the floor on the data.
        UnsupportedModel: ``operator-unsupported``, when no engine asked can prove the model.
        UsageError: ``privacy-unsupported``, when none of them can hide what is asked.
        ResourceExhausted: ``estimate-over-budget``, when every engine that can would need more memory than there is.
    """
    if not any(check.provable for check in checks):
        raise _refusal_of(checks)


def _memory_limit(spec: CircuitSpec, max_memory: int | None) -> tuple[int | None, str]:
    """Most bytes of memory, and whose limit that is."""
    if max_memory is not None:
        return max_memory, "allowed"
    if spec.budget.memory_bytes is not None:
        return spec.budget.memory_bytes, "allowed by [budget]"
    return memory_bytes(), "in this machine"


def _within(check: EngineCheck, limit: int | None, named: str) -> EngineCheck:
    """Not provable where more memory is needed than there is."""
    if check.estimate is None or limit is None or check.estimate.memory_bytes <= limit or not check.provable:
        return check
    needed = check.estimate.memory_bytes
    refusal = ResourceExhausted(
        "estimate-over-budget",
        f"about {needed / 2**30:,.1f} GiB of memory needed, {limit / 2**30:,.1f} GiB {named}",
        hint="Use a smaller model, split it, or give more memory: --max-memory, on a machine that has it.",
    )
    return replace(check, refusal=refusal)


def _predicted(
    check: EngineCheck,
    model: OnnxModel,
    spec: CircuitSpec,
    data: Mapping[str, NDArray[Any]],
    spec_dir: Path,
    progress: Progress,
) -> EngineCheck:
    """With what compile would find; compile's refusal is the check's."""
    engine = engine_for(check.engine)
    if not check.provable or not isinstance(engine, PredictsCompile):
        return check
    progress.phase(f"{check.engine.value}: tune")
    try:
        with private_directory() as scratch:
            found = engine.predict(CompileRequest(model, spec, data, scratch, spec_dir, progress=progress))
    except VerifaiError as problem:
        if problem.status == 70:
            raise
        return replace(check, refusal=problem)
    missed = spec.floor.missed(found.fidelity)
    if missed:
        return replace(check, refusal=PolicyNotMet("fidelity-below-floor", "; ".join(missed), where="[fidelity]"))
    return replace(check, prediction=found)


def _refusal_of(checks: Sequence[EngineCheck]) -> VerifaiError:
    """Why no engine can; when privacy is what they all lack, what each of them says of it."""
    if len(checks) > 1 and not any(check.privacy.offered for check in checks):
        return UsageError(
            "privacy-unsupported",
            "no engine can hide what is asked. " + " ".join(f"{one.engine.value}: {one.privacy.reason}" for one in checks),
            hint="Ask for less: another visibility of the tensors or of the weights.",
        )
    refusals = {check.engine.value: check.refusal for check in checks if check.refusal is not None}
    below = next((problem for problem in refusals.values() if problem.code == "fidelity-below-floor"), None)
    if below is not None and len(refusals) > 1:
        told = " ".join(f"{engine}: {problem.message}." for engine, problem in refusals.items())
        return PolicyNotMet(below.code, f"no engine meets the floor on these data. {told}", where=below.where, hint=below.hint)
    if len(refusals) > 1:
        told = " ".join(f"{engine}: {problem}." for engine, problem in refusals.items())
        # What a larger machine would change is undecided; and a model that is refused for good is that.
        worst = max(refusals.values(), key=lambda problem: problem.status)
        hints = dict.fromkeys(problem.hint for problem in refusals.values() if problem.hint)
        return type(worst)(worst.code, f"no engine can prove this model. {told}", hint=" ".join(hints))
    return next(iter(refusals.values()))


def _ask(name: EngineName, model: OnnxModel, spec: CircuitSpec) -> EngineCheck:
    engine = engine_for(name)
    operators = engine.operator_support(model)
    privacy = engine.privacy_support(spec)
    missing = [node for node in operators if not node.supported]
    if missing:
        first = missing[0]
        refusal: VerifaiError = UnsupportedModel(
            "operator-unsupported",
            f"the {name.value} engine cannot prove {first.op_type}: {first.reason}",
            where=f"node {first.node}",
            hint=first.suggestion,
        )
        return EngineCheck(name, operators, privacy, None, refusal)
    try:
        privacy.require(name)
        return EngineCheck(name, operators, privacy, engine.estimate(model, spec), None)
    except VerifaiError as problem:
        if problem.status == 70:
            raise
        return EngineCheck(name, operators, privacy, None, problem)


def hiding(spec: CircuitSpec, private: Sequence[str], private_weights: bool) -> CircuitSpec:
    """``spec`` with the tensors named, and with ``private_weights`` the weights too, private.

    Raises:
        UsageError: ``unknown-tensor``; ``privacy-contradiction`` when the specification's level forbids it.
    """
    for name in private:
        if name not in spec.tensors:
            known = ", ".join(spec.tensors)
            raise UsageError("unknown-tensor", f"the model has no tensor {name!r}", where="--private", hint=f"It has: {known}")
    asked = replace(
        spec,
        tensors={**spec.tensors, **dict.fromkeys(private, Visibility.PRIVATE)},
        weights=WeightVisibility.PRIVATE if private_weights else spec.weights,
    )
    asked.refuse_contradiction("circuit.toml")
    return asked


def all_public(model: OnnxModel, task: Task = Task.CLASSIFICATION) -> CircuitSpec:
    """A specification that hides nothing, limits nothing, and asks the task's default fidelity."""
    return CircuitSpec(
        name="model",
        model=MODEL_FILE,
        engine=EngineName.EZKL,
        tensors={tensor.name: Visibility.PUBLIC for tensor in (*model.inputs, *model.outputs)},
        weights=WeightVisibility.PUBLIC,
        calibration=None,
        calibration_samples=None,
        task=task,
        budget=Budget(),
        fidelity=FidelityFloor(),
    )
