"""The layout of proofs about committed weights: the witness commitment's shape, from the inference circuit's own."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.planning.plan import plan, with_soundness
from verifai.engines.sumcheck.planning.plan_hiding import plan_witness
from verifai.engines.sumcheck.planning.rehearsal import foretell_relation
from verifai.engines.sumcheck.protocol import buses
from verifai.engines.sumcheck.protocol.layout import Commitment, Layout, witness_columns
from verifai.engines.sumcheck.protocol.relations import Kind, RelationPlan, relation_circuit, second
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
    bus = buses.build(bare)
    alone = [_alone("io:weights", committed)]
    if kind is Kind.LINK:
        alone.append(_alone("io:epoch", second(committed)))
    pads = foretell_relation(kind, bare, bus, circuit.weights, parts)
    witness = plan_witness(witness_columns(bare, bus), pads, max(one.log_cells for one in alone))
    layout = with_soundness(Layout(bus, witness, None, dict(enumerate(alone)), (), pads))
    return RelationPlan(bare, parts, layout, tuple(alone))


def _alone(label: str, commitment: Commitment) -> Commitment:
    """The label leaves the root as it is, and tells the table of errors that this commitment is opened by itself."""
    return replace(commitment, shape=replace(commitment.shape, label=label))
