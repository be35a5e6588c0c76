"""What compile, re-derive, estimate and split all stand on: a specification's bindings and options, and the lowered circuit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.record import Record
from verifai.domain.statement import EngineName, WeightVisibility
from verifai.engines.sumcheck.circuit import program as ir
from verifai.engines.sumcheck.lowering.batched import batched
from verifai.engines.sumcheck.lowering.counted import counted
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.payload.bindings import BINDINGS, weight_binding
from verifai.engines.sumcheck.privacy import privacy_support
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE, Suite
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, Scale, parse_options
from verifai.errors import UnsupportedModel, UsageError
from verifai.onnx_graph.model import OnnxModel


def bindings(spec: CircuitSpec) -> dict[str, ir.Visibility]:
    """How each named tensor is bound.

    Raises:
        UsageError: code ``privacy-unsupported``.
    """
    privacy_support(spec).require(EngineName.SUMCHECK)
    return {name: BINDINGS[visibility] for name, visibility in spec.tensors.items()}


def suite_of(spec: CircuitSpec) -> Suite:
    """The suite that gives what the specification asks for."""
    return ZERO_KNOWLEDGE if spec.zero_knowledge else INTEGRITY


def options_of(spec: CircuitSpec) -> QuantiserOptions:
    """``[engine.sumcheck]`` of ``circuit.toml``. Raises UsageError (``bad-spec``)."""
    table = spec.options.get("sumcheck", {})
    return parse_options(Record(table, "circuit.toml: [engine.sumcheck]", error=UsageError, code="bad-spec"))


def build_circuit(
    model: OnnxModel,
    spec_tensors: Mapping[str, ir.Visibility],
    weights: WeightVisibility,
    scales: Mapping[str, Scale],
    options: QuantiserOptions,
    suite: Suite = INTEGRITY,
    batch: int = 0,
    *,
    counts: bool = False,
) -> Lowered:
    """Lower, plan the proof, complete the circuit, and check it against the constraint list. Raises UnsupportedModel.

    Args:
        batch: how many inferences a proof is of; 0 or 1: one, without an axis for it.
        counts: whether it shows, instead of each answer, how many of the batch are right.
    """
    from verifai.engines.sumcheck.planning.plan import DEFAULT_BUDGET

    budget = (options.opening_budget or DEFAULT_BUDGET) if weights is WeightVisibility.PRIVATE else 0
    lowering = partial(
        lower,
        model,
        scales,
        tensors=spec_tensors,
        weights=weight_binding(weights),
        split=options.split,
        fold=options.fold,
        unrounded=options.unrounded,
        unclamped=options.unclamped,
        sparing=options.sparing,
        rounds_once=options.rounds_once,
        fine=options.fine,
        exact=options.boundary,
        suite=suite,
        opening_budget=budget,
    )
    lowered = lower_hidden(lowering, model) if budget else lowering()
    return _complete(_of_many(lowered, model, batch, counts=counts), suite, budget)


def lower_hidden(lowering: Callable[..., Lowered], model: OnnxModel) -> Lowered:
    """With hidden weights: as they are registered by parts, so that circuits keep their bytes; else by their bounds alone."""
    from verifai.engines.sumcheck.planning.plan_relation import parts_fit

    if len(model.data) < _NEVER_BY_PARTS:
        try:
            lowered = lowering()
        except UnsupportedModel as problem:
            if problem.code != "circuit-bound":
                raise
        else:
            if parts_fit(lowered.circuit):
                return lowered
    return lowering(bounds_alone=True)


_NEVER_BY_PARTS = 1 << 29
"""Bytes of a model of 2^27 numbers: even with each of them there twice, parts would be 2^27 leaves."""


def in_batches(lowered: Lowered, model: OnnxModel, suite: Suite, batch: int, *, counts: bool) -> Lowered:
    """A circuit that :func:`build_circuit` made for one inference, for a batch. Raises UnsupportedModel, UsageError."""
    if batch in (0, 1) and not counts:
        return lowered
    return _complete(_of_many(lowered, model, batch, counts=counts), suite, lowered.circuit.opening_budget)


def _of_many(lowered: Lowered, model: OnnxModel, batch: int, *, counts: bool) -> Lowered:
    found = batched(lowered, batch)
    return counted(found, model.outputs) if counts else found


def _complete(lowered: Lowered, suite: Suite, budget: int) -> Lowered:
    from verifai.engines.sumcheck.constraints import audit
    from verifai.engines.sumcheck.planning.plan import planned

    complete = replace(lowered, circuit=planned(lowered.circuit, suite, budget))
    audit(complete.circuit)
    return complete


def weights_identity(lowered: Lowered) -> str:
    """Digest of public weights, root of committed ones, in hex."""
    from verifai.engines.sumcheck.prover.prove import prepare

    return prepare(lowered.circuit, lowered.weights).identity
