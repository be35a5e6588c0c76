"""The audit's comparison with the float model, steps A4 to A6: on the auditor's own input where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from verifai.domain.comparison import OutputComparison, compare_outputs, judge_items
from verifai.domain.fidelity import Fidelity
from verifai.domain.findings import Finding, Outcome, holds, not_checked
from verifai.domain.names import PlaceNames
from verifai.domain.statement import Role, Statement, TensorStatement, Visibility
from verifai.domain.tokenizer import TokenPin
from verifai.engines.interface import ProofEngine
from verifai.errors import EvidenceRejected, InputRejected, VerifaiError
from verifai.execution.child import Limits
from verifai.onnx_graph.fenced import run_references_fenced
from verifai.stages.matching import given_tensors, match

if TYPE_CHECKING:
    from verifai.onnx_graph.model import OnnxModel
    from verifai.stages.audit.options import AuditOptions


@dataclass
class GivenInputs:
    """The auditor's own input tensors, once they were held against the proof.

    Attributes:
        matched: those that are the proven ones.
        unmatched: those that nothing here shows to be the proven ones, because the proof hides them.
    """

    matched: dict[str, Any] = field(default_factory=dict)
    unmatched: dict[str, Any] = field(default_factory=dict)
    false: set[str] = field(default_factory=set)


def match_inputs(
    engine: ProofEngine, statement: Statement, options: AuditOptions, names: PlaceNames
) -> tuple[GivenInputs, list[Finding]]:
    """V8 for an audit: what cannot be compared is said, and still serves the float model; only what differs is false.

    Raises:
        UsageError, InputRejected: the auditor's own file cannot be used.
    """
    given = GivenInputs()
    findings: list[Finding] = []
    if options.expect.inputs is None:
        return given, findings
    known = {tensor.name: tensor for tensor in statement.of(Role.INPUT)}
    for name, values in given_tensors(statement, Role.INPUT, options.expect.inputs, names).items():
        if known[name].visibility is Visibility.PRIVATE:
            given.unmatched[name] = values
            message = f"whether the given {name!r} is the proven one was not checked: it is private, and the proof binds it to "
            message += "nothing that you hold; it serves the run of the float model alone"
            remedy = 'To match inputs, ask for a circuit with this tensor "hashed" or "public".'
            findings.append(not_checked("input-not-matched", message, "V8", remedy=remedy, where=name))
            continue
        try:
            findings.append(match(engine, known[name], values))
            given.matched[name] = values
        except VerifaiError as problem:
            if problem.status not in (1, 3):
                raise
            findings.append(Finding.from_error(problem, step="V8"))
            if problem.status == EvidenceRejected.status:
                given.false.add(name)
            else:
                given.unmatched[name] = values
    return given, findings


def check_model_shapes(statement: Statement, model: OnnxModel) -> Finding:
    """A4: names and shapes in the statement are the model's own, in its order."""
    # Order matters: it says which of the proof's instances belong to which name.
    items = statement.items()[0]
    claimed = [(role, tensor.name, tensor.shape) for role in Role for tensor in items.of(role)]
    actual = [(Role.INPUT, spec.name, spec.shape) for spec in model.inputs]
    actual += [(Role.OUTPUT, spec.name, spec.shape) for spec in model.outputs]
    if claimed != actual:
        raise EvidenceRejected(
            "statement-mismatch",
            f"the statement is about {claimed}, the model has {actual}"[:400],
            hint="The statement is not about this model.",
        )
    return holds("shapes-match", f"the {len(actual)} tensors of the statement are the model's, by name and shape")


def compare_with_reference(
    statement: Statement,
    pinned: Fidelity,
    model: OnnxModel,
    given: GivenInputs,
    options: AuditOptions,
    tokens: TokenPin | None = None,
) -> tuple[list[Finding], tuple[OutputComparison, ...]]:
    """A5, A6: run the float model in a fenced child, and measure how far the proven output is from it.

    It runs on the given input where there is one: the proven input is rounded to the circuit's steps, and what that rounding
    changes is a part of the distance between the circuit and the model.

    Args:
        tokens: what the lock pins of a language model's tokenizer.
    """
    if not any(tensor.visibility is Visibility.PUBLIC for tensor in statement.of(Role.OUTPUT)):
        return [not_checked("reference-not-run", "no output is public, so there is nothing to compare", "A5")], ()
    inputs, missing = _inputs(statement, model, given)
    if missing:
        message = f"the float model was not run: {'; '.join(why for why, _ in missing)}"
        remedy = next((remedy for _, remedy in missing if remedy), "")
        return [not_checked("reference-not-run", message, "A5", remedy=remedy)], ()
    limits = Limits(memory_bytes=options.budget.memory_bytes)
    samples = [inputs]
    if statement.batch:
        samples = [{name: values[at] for name, values in inputs.items()} for at in range(statement.inferences)]
    found = run_references_fenced(model, samples, limits, options.progress)
    compared = []
    for item, values in zip(statement.items(), found, strict=True):
        reference = {name: tuple(float(value) for value in array.reshape(-1)) for name, array in values.items()}
        pad = tokens.pad if tokens is not None and tokens.next else None
        compared.append(compare_outputs(item, pinned, reference, pad=pad))
    findings = judge_items(compared, pinned, _how(statement, model, given), cap=options.max_spread_error)
    # A page draws one picture per comparison: of a batch, those of the item that is farthest.
    farthest = max(compared, key=lambda one: max((output.max_abs_error for output in one), default=0.0))
    return [_doubted(one) if given.unmatched else one for one in findings], farthest


def _inputs(statement: Statement, model: OnnxModel, given: GivenInputs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What the float model runs on; and what is missing, with what to do about it."""
    import numpy as np

    inputs: dict[str, Any] = {}
    missing: list[tuple[str, str]] = []
    own = {**given.matched, **given.unmatched}
    dtypes = {spec.name: spec.dtype for spec in model.inputs}
    for tensor in statement.of(Role.INPUT):
        if tensor.name in own:
            inputs[tensor.name] = _cast(own[tensor.name], dtypes.get(tensor.name), tensor.name)
        elif tensor.visibility is Visibility.PUBLIC and tensor.name in dtypes:
            inputs[tensor.name] = np.array(tensor.values(), dtype=np.float64).reshape(tensor.shape).astype(dtypes[tensor.name])
        elif tensor.name in given.false:
            missing.append((f"the given {tensor.name!r} is not the proven one", "Give the proven input with --input."))
        else:
            why = f"{tensor.name!r} ({tensor.visibility.value}) was not given, and the proof does not show it"
            missing.append((why, "Give it with --input."))
    return inputs, missing


def _cast(values: Any, dtype: str | None, name: str) -> Any:
    """In the model's own type, every value unchanged. Raises InputRejected (``input-dtype``)."""
    import numpy as np

    array = np.asarray(values)
    cast = array if dtype is None else array.astype(dtype)
    if not np.array_equal(cast.astype(np.float64), array.astype(np.float64)):
        raise InputRejected("input-dtype", f"a value is not exact as {dtype}, which the model takes", where=name)
    return cast


def _how(statement: Statement, model: OnnxModel, given: GivenInputs) -> str:
    """What the float model was run on, for people."""
    kinds = {spec.name: spec.dtype for spec in model.inputs}
    parts = []
    for tensor in statement.of(Role.INPUT):
        if tensor.name in given.matched:
            part = "the given input"
        elif tensor.name in given.unmatched:
            part = "the given input, which nothing here shows to be the proven one"
        else:
            part = "the proven input" + (", which is rounded to the circuit's steps" if _rounded(tensor, kinds) else "")
        if part not in parts:
            parts.append(part)
    return "run on " + " and on ".join(parts)


def _rounded(tensor: TensorStatement, kinds: Mapping[str, str]) -> bool:
    return kinds.get(tensor.name, "").startswith("float")


def _doubted(finding: Finding) -> Finding:
    """A distance on an input that may be another than the proven one."""
    if finding.outcome is not Outcome.POLICY_NOT_MET:
        return finding
    return replace(finding, remedy=f"If another input was proven, this says nothing of the circuit. {finding.remedy}")
