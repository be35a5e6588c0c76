"""Steps V7 to V9: what a verifier knows on its own, matched with a statement that was proven."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from verifai.domain.findings import Finding, holds, not_checked
from verifai.domain.names import PlaceNames
from verifai.domain.statement import Role, Statement, TensorStatement, Visibility
from verifai.engines.interface import ProofEngine
from verifai.errors import EvidenceRejected, InputRejected, PolicyNotMet, UsageError

HIDING_ROOT = "tensor-secret-needed"
"""The code of an engine's refusal to compare a tensor with a hiding root: the root cannot be made without its secret seed."""

TensorSource = Mapping[str, Any] | Callable[[Sequence[TensorStatement], PlaceNames], Mapping[str, Any]]
"""Plain tensors by name, or how to get them once the statement says which there are, and the trusted lock what its columns are
called."""


def check_context(statement: Statement, expected: str | None) -> Finding:
    """V7: the context is the one that was asked for."""
    if expected is None:
        if statement.context:
            return not_checked(
                "context-not-compared", f"the context {statement.context[:80]!r} was not compared with anything", "V7"
            )
        return not_checked("context-not-compared", "no context was asked for: an old proof could be shown again", "V7")
    if statement.context != expected:
        raise EvidenceRejected(
            "context-mismatch",
            f"the context is {statement.context[:80]!r}, expected {expected[:80]!r}",
            hint="This may be an older proof shown again.",
        )
    if statement.context_bound:
        return holds("context-matches", "the context is the expected one, bound by the proof itself", "V7")
    return holds("context-matches", "the context is the expected one; a signature binds it, the proof does not", "V7")


def check_context_bound(statement: Statement, expected: str | None, *, signed: bool) -> None:
    """V7: that a context which was asked for is bound to the proof. Raises PolicyNotMet (``context-not-bound``)."""
    if expected is not None and not (statement.context_bound or signed):
        raise PolicyNotMet(
            "context-not-bound",
            "the context is the expected one, but neither the proof nor a trusted signature binds it to the proof",
            hint="Use `audit --trust` with whom you trust to sign, or an engine whose proofs bind the context (sumcheck).",
        )


def given_tensors(statement: Statement, role: Role, source: TensorSource, names: PlaceNames) -> Mapping[str, Any]:
    """The plain tensors that the verifier holds, by name. Raises UsageError (``unknown-tensor``)."""
    known = {tensor.name: tensor for tensor in statement.of(role)}
    given = source(statement.of(role), names) if callable(source) else source
    for name in given:
        if name not in known:
            raise UsageError(
                "unknown-tensor", f"the statement has no {role.value} {name!r}", hint="It has: " + ", ".join(known)
            )
    if not given:
        raise UsageError("unknown-tensor", f"no {role.value} was given to compare")
    return given


def check_tensors(
    engine: ProofEngine, statement: Statement, role: Role, source: TensorSource, names: PlaceNames
) -> list[Finding]:
    """V8, V9: plain tensors that the verifier holds, matched exactly with the statement's."""
    known = {tensor.name: tensor for tensor in statement.of(role)}
    return [match(engine, known[name], values) for name, values in given_tensors(statement, role, source, names).items()]


def match(engine: ProofEngine, tensor: TensorStatement, values: Any) -> Finding:
    """V8 or V9 for one tensor.

    Raises:
        EvidenceRejected: ``input-mismatch`` or ``output-mismatch``: another one was proven.
        PolicyNotMet: ``input-private``, ``output-private``, ``tensor-secret-needed``: it cannot be compared.
    """
    step = "V8" if tensor.role is Role.INPUT else "V9"
    code = f"{tensor.role.value}-mismatch"
    if tensor.visibility is Visibility.PRIVATE:
        raise PolicyNotMet(
            f"{tensor.role.value}-private",
            f"{tensor.name!r} is private in this statement; the proof binds it to nothing that you hold",
            hint='Ask for a circuit with this tensor "hashed" or "public".',
        )
    try:
        if tensor.visibility is Visibility.PUBLIC and tensor.role is Role.OUTPUT:
            same = _equal_as_float32(tensor, values)
        elif tensor.visibility is Visibility.PUBLIC:
            same = engine.quantise(tensor, values) == tensor.quantised
        else:
            same = engine.digest(tensor, values) == tensor.digest
    except InputRejected as problem:
        if problem.code == HIDING_ROOT:  # the tensor may well be the proven one: nothing is false, nothing was compared
            raise PolicyNotMet(problem.code, problem.message, where=tensor.name, hint=problem.hint) from None
        raise EvidenceRejected(
            code, f"the given {tensor.name!r} cannot be what was proven: {problem.message}", where=tensor.name
        ) from None
    if not same:
        raise EvidenceRejected(
            code,
            f"the given {tensor.role.value} {tensor.name!r} is not the one in the proof",
            where=tensor.name,
            hint="Another input or output was proven.",
        )
    how = "equal to the public values" if tensor.visibility is Visibility.PUBLIC else "bound to the digest"
    precision = "to float32" if tensor.role is Role.OUTPUT and tensor.visibility is Visibility.PUBLIC else "after quantisation"
    return holds(f"{tensor.role.value}-matches", f"the given {tensor.name!r} is {how} in the proof, exactly, {precision}", step)


def _equal_as_float32(tensor: TensorStatement, values: Any) -> bool:
    """Whether a served output is the proven one. Models serve float32, which can hold fewer digits than a circuit's integers,
    so the proven value is rounded to float32 and then compared exactly."""
    import numpy as np

    given = np.asarray(values)
    if given.shape != tensor.shape or given.dtype.kind not in "fiu":
        raise InputRejected("input-shape", f"expected numbers of shape {tensor.shape}, found {given.dtype} {given.shape}")
    proven = np.array(tensor.values(), dtype=np.float64).astype(np.float32)
    return bool(np.array_equal(proven, given.astype(np.float64).astype(np.float32).reshape(-1)))
