"""The layout of proofs about committed weights: the witness commitment's shape, from the inference circuit's own."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.planning.plan import plan, with_soundness
from verifai.engines.sumcheck.planning.plan_hiding import plan_witness
from verifai.engines.sumcheck.planning.rehearsal import foretell_relation
from verifai.engines.sumcheck.protocol import buses, soundness
from verifai.engines.sumcheck.protocol.layout import Commitment, Layout, witness_columns
from verifai.engines.sumcheck.protocol.relations import Kind, RelationPlan, parts_circuit, range_sums, relation_circuit, second
from verifai.engines.sumcheck.protocol.suite import SECURITY_BITS
from verifai.engines.sumcheck.protocol.weight_ranges import count_columns
from verifai.errors import EvidenceRejected


@lru_cache(maxsize=8)
def plan_relation(kind: Kind, circuit: Circuit) -> RelationPlan:
    """Plan a relation for ``circuit``, which is planned, zero-knowledge, and commits its weights.

    Raises:
        EvidenceRejected: ``circuit-invalid``. UnsupportedModel: as the planner.
    """
    committed = plan(circuit).weights if circuit.zero_knowledge else None
    if committed is None:
        raise EvidenceRejected("circuit-invalid", "the circuit hides no weights: nothing to relate", where="weights")
    bare, parts = relation_circuit(kind, circuit)
    bus, sums = buses.build(bare), range_sums(circuit.weights, parts)
    alone = [_alone("io:weights", committed)]
    if kind is Kind.LINK:
        alone.append(_alone("io:epoch", second(committed)))
    pads = foretell_relation(kind, bare, bus, circuit.weights, parts, sums)
    columns = {**witness_columns(bare, bus), **count_columns(sums, len(bus.tables))}
    witness = plan_witness(columns, pads, max(one.log_cells for one in alone))
    layout = with_soundness(Layout(bus, witness, None, dict(enumerate(alone)), (), pads))
    for one in sums:  # each has an error of its own
        with_soundness(replace(layout, bus=one))
    return RelationPlan(bare, parts, layout, tuple(alone), sums)


def parts_fit(circuit: Circuit) -> bool:
    """Whether a registration by parts of the weights is possible, and one sum of fractions that is strong enough."""
    try:
        bus = buses.build(parts_circuit(circuit)[0])
    except EvidenceRejected:
        return False
    error = soundness.fractions_numerator(bus.leaves, bus.log_leaves, bus.width)
    return bus.log_sums == 0 and soundness.millibits(error, soundness.FIELD_SIZE) >= 1000 * SECURITY_BITS


def _alone(label: str, commitment: Commitment) -> Commitment:
    """The label leaves the root as it is, and tells the table of errors that this commitment is opened by itself."""
    return replace(commitment, shape=replace(commitment.shape, label=label))
