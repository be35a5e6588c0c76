"""check: what proving a model would take, before any cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from verifai.domain.attestation.manifest import MODEL_FILE
from verifai.domain.circuit_spec import Budget, CircuitSpec
from verifai.domain.fidelity import FidelityFloor, Task
from verifai.domain.statement import EngineName, Visibility, WeightVisibility
from verifai.engines.interface import CostEstimate, OperatorSupport, PrivacySupport
from verifai.engines.registry import engine_for, engine_names
from verifai.errors import ResourceExhausted, UnsupportedModel, UsageError, VerifaiError
from verifai.onnx_graph.model import OnnxModel


@dataclass(frozen=True)
class EngineCheck:
    """One engine's answer.

    Attributes:
        operators: one entry per node.
        estimate: ``None`` when an operator is not supported or the engine cannot give what the specification asks for.
        privacy: whether it can hide what the specification asks it to.
        refusal: why there is no estimate; ``None`` when there is one.
    """

    engine: EngineName
    operators: tuple[OperatorSupport, ...]
    privacy: PrivacySupport
    estimate: CostEstimate | None
    refusal: VerifaiError | None

    @property
    def provable(self) -> bool:
        """Whether this engine can prove the model as specified."""
        return self.estimate is not None


def check_model(
    model: OnnxModel,
    spec: CircuitSpec | None = None,
    *,
    engines: Sequence[EngineName] = (),
    max_memory: int | None = None,
) -> tuple[EngineCheck, ...]:
    """Ask every engine (or those named) whether it can prove ``model`` and at what cost.

    Args:
        spec: the circuit's specification; by default everything public, nothing limited.
        max_memory: hard limit in bytes on the estimate.

    Raises:
        UnsupportedModel: ``operator-unsupported``, when no engine asked can prove it.
        UsageError: ``privacy-unsupported``, when none of them can hide what ``spec`` asks for.
        ResourceExhausted: ``estimate-over-budget``, when every engine that can would need more than ``max_memory``.
    """
    given = spec or all_public(model)
    checks = tuple(_ask(name, model, given) for name in (engines or engine_names()))
    able = [check for check in checks if check.estimate is not None]
    if not able:
        raise _refusal_of(checks)
    if max_memory is not None:
        cheapest = min(check.estimate.memory_bytes for check in able if check.estimate is not None)
        if cheapest > max_memory:
            raise ResourceExhausted(
                "estimate-over-budget",
                f"about {cheapest / 2**30:.1f} GiB needed at least, {max_memory / 2**30:.1f} GiB allowed",
                hint="Use a smaller model, split it, or raise --max-memory.",
            )
    return checks


def _refusal_of(checks: Sequence[EngineCheck]) -> VerifaiError:
    """Why no engine can; when privacy is what they all lack, what each of them says of it."""
    if len(checks) > 1 and not any(check.privacy.offered for check in checks):
        return UsageError(
            "privacy-unsupported",
            "no engine can hide what is asked. " + " ".join(f"{one.engine.value}: {one.privacy.reason}" for one in checks),
            hint="Ask for less: another visibility of the tensors or of the weights.",
        )
    return next(check.refusal for check in checks if check.refusal is not None)


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


def all_public(model: OnnxModel) -> CircuitSpec:
    """A specification that hides nothing and limits nothing."""
    return CircuitSpec(
        name="model",
        model=MODEL_FILE,
        engine=EngineName.EZKL,
        tensors={tensor.name: Visibility.PUBLIC for tensor in (*model.inputs, *model.outputs)},
        weights=WeightVisibility.PUBLIC,
        calibration=None,
        calibration_samples=None,
        task=Task.CLASSIFICATION,
        budget=Budget(),
        fidelity=FidelityFloor(),
    )
