"""re-derive: the model is lowered again with the pinned scales, and compared with what is pinned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from verifai.domain.findings import Finding, Outcome
from verifai.domain.statement import Role, WeightVisibility
from verifai.engines.interface import VerifyRequest
from verifai.engines.sumcheck.lock_section import LockSection, expect_suite, parse_section
from verifai.engines.sumcheck.payload.bindings import BINDINGS
from verifai.engines.sumcheck.ports import ports_of
from verifai.engines.sumcheck.protocol.suite import SUITES
from verifai.errors import VerifaiError
from verifai.execution.child import Limits
from verifai.execution.watched import within
from verifai.onnx_graph.model import OnnxModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from verifai.engines.sumcheck.lowering.lower import Lowered
    from verifai.engines.sumcheck.quantise.scales import ColumnScale, Scale

REDERIVE_MEMORY, REDERIVE_SECONDS = 8 << 30, 600.0
"""As for reading and running a foreign model."""


def rederive(request: VerifyRequest, model: OnnxModel) -> tuple[Finding, ...]:
    """Lower the model again with the pinned scales and compare digests: one finding per comparison.

    Raises:
        ResourceExhausted, DeadlineExceeded: the lock, which may be an attacker's, makes the lowering take too much.
    """
    limits = Limits(request.budget.memory_bytes or REDERIVE_MEMORY, None, REDERIVE_SECONDS)
    return within(limits, lambda: _rederive(request, model))


def _rederive(request: VerifyRequest, model: OnnxModel) -> tuple[Finding, ...]:
    from verifai.engines.sumcheck.building import build_circuit
    from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
    from verifai.engines.sumcheck.tensors import stored_tensors

    section = parse_section(request.section)
    expect_suite(section)
    if model.sha256 != request.model_sha256:
        return (_compared("sumcheck-model", model.sha256, request.model_sha256, "the model"),)
    tensors = {tensor.name: BINDINGS[tensor.visibility] for tensor in section.tensors}
    seed = _seed(request, section)
    hidden = section.weights is WeightVisibility.PRIVATE and seed is None
    request.progress.phase("lower")
    try:
        scales = {**section.scales, **section.options.boundary}
        suite = SUITES[section.suite]
        count = section.count_right
        batch = section.batch if count is None else count.items
        lowered = build_circuit(
            model, tensors, section.weights, scales, section.options, suite, batch, counts=count is not None
        )
        identity = "" if hidden else _identity(lowered, seed)
    except (VerifaiError, KeyError) as problem:
        message = f"the pinned section does not fit the model: {problem}"
        return (Finding("sumcheck-not-rederived", Outcome.REJECTED, message, remedy="Compile the model again."),)
    ports = ports_of(model, lowered.circuit, counts=count is not None)
    sides = ((Role.INPUT, ports.inputs), (Role.OUTPUT, ports.outputs))
    listed = [(role, tensor.name, tensor.shape) for role, side in sides for tensor in side]
    if listed != [(tensor.role, tensor.name, tensor.shape) for tensor in section.tensors]:
        # The lowering takes tensors by name, so a section that exchanges two names would still derive the pinned circuit.
        message = "the pinned tensors are not the model's inputs and outputs, in its order"
        return (Finding("sumcheck-not-rederived", Outcome.REJECTED, message, remedy="Compile the model again."),)
    if odd := _read_otherwise(section, lowered):
        message = f"statements would read the integers of {odd!r} by other scales than those that the model was lowered with"
        return (Finding("sumcheck-not-rederived", Outcome.REJECTED, message, remedy="Compile the model again."),)
    dtypes = [tensor.dtype for _, side in sides for tensor in side]
    if stored_tensors(lowered.circuit, dtypes) != [tensor.stored for tensor in section.tensors]:
        message = "the section says of a tensor that it is of integers, or is not, and the model says otherwise"
        return (Finding("sumcheck-not-rederived", Outcome.REJECTED, message, remedy="Compile the model again."),)
    circuit = _compared("sumcheck-circuit", circuit_digest(encode(lowered.circuit)), section.circuit_sha256, "the circuit")
    if hidden:
        message = "the root of private weights cannot be derived from the model: it depends on a secret seed"
        return circuit, Finding("sumcheck-weights-hidden", Outcome.NOT_CHECKED, message, remedy="Ask the owner for a proof.")
    return circuit, _compared("sumcheck-weights", identity, section.weights_sha256, "the weights")


def _read_otherwise(section: LockSection, lowered: Lowered) -> str:
    """An input or output of which the section says other columns, or other encodings, than the lowering used; else "".

    A circuit has neither: it would be the pinned one whatever the section says, also where the lowering did not ask for them.
    """

    def ways(scales: Mapping[str, Scale], name: str) -> tuple[tuple[ColumnScale, ...], bool]:
        return (scales[name].columns, scales[name].ordered) if name in scales else ((), False)

    differ = (one.name for one in section.tensors if ways(section.scales, one.name) != ways(lowered.scales, one.name))
    return next(differ, "")


def _seed(request: VerifyRequest, section: LockSection) -> bytes | None:
    """The seed of the pinned root of private weights, for whoever may see them.

    Raises:
        UsageError: ``weights-secret-missing``, ``weights-secret-malformed``.
    """
    if section.weights is not WeightVisibility.PRIVATE or request.secrets_dir is None:
        return None
    from verifai.engines.sumcheck.secrets.store import weights_seed

    return weights_seed(request.secrets_dir, section.weights_sha256)


def _identity(lowered: Lowered, seed: bytes | None) -> str:
    """The weights' digest or root; of private weights, under the pinned root's own seed."""
    from verifai.engines.sumcheck.building import weights_identity
    from verifai.engines.sumcheck.prover.prove import prepare

    return weights_identity(lowered) if seed is None else prepare(lowered.circuit, lowered.weights, weights_seed=seed).identity


def _compared(code: str, found: str, pinned: str, what: str) -> Finding:
    evidence = f"derived {found}, pinned {pinned}"
    if found == pinned:
        return Finding(
            f"{code}-rederived", Outcome.HOLDS, f"{what}, derived again from the model: equal to the pinned", evidence=evidence
        )
    return Finding(
        f"{code}-differs",
        Outcome.REJECTED,
        f"{what}, derived again from the model, differ from the pinned",
        evidence=evidence,
        remedy="The lock does not belong to this model: compile again, or do not trust it.",
    )
