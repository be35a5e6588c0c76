"""Verification of what is proven about committed weights alone: a registration, or a link (:mod:`..protocol.relations`)."""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.circuit.program import Circuit, WeightVisibility
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.planning.price import (
    DEFAULT,
    Allowance,
    most_messages,
    price_of_relation,
    price_with_openings,
)
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.relations import Kind, OpenedRoot, begin, check_relation
from verifai.engines.sumcheck.verifier.opening import Opened
from verifai.engines.sumcheck.verifier.opening_hiding import check_hidden_openings
from verifai.engines.sumcheck.verifier.proof_channel import HidingChannel
from verifai.engines.sumcheck.verifier.verifier_party import VerifierParty
from verifai.errors import EvidenceRejected


def verify_relation(
    kind: Kind,
    circuit: Circuit,
    digest: str,
    roots: Sequence[OpenedRoot],
    proof: bytes,
    context: bytes = b"",
    allowance: Allowance = DEFAULT,
) -> None:
    """Check a registration of one root, or a link of two, for a trusted zero-knowledge circuit with hidden weights.

    Raises:
        EvidenceRejected: ``proof-malformed``, ``proof-invalid``; ``statement-invalid`` for an opening number or a root that
            cannot be one; ``circuit-invalid`` when the circuit's bounds cannot be registered. UnsupportedModel: as the planner.
        ResourceExhausted: ``verification-over-budget``.
    """
    if not circuit.zero_knowledge or circuit.weight_visibility is not WeightVisibility.COMMITTED:
        raise EvidenceRejected("circuit-invalid", "the circuit hides no weights: nothing to relate", where="weights")
    price = price_of_relation(kind, circuit)
    price.require(allowance, kind.value)
    plan = plan_relation(kind, circuit)
    layout, commitments = plan.layout, plan.weights
    price = price_with_openings(price, layout)
    price.require(allowance, kind.value)
    distinct = {(one.root, one.number) for one in roots}
    numbered = all(len(one.root) == 32 and 0 <= one.number < circuit.opening_budget for one in roots)
    if len(roots) != len(commitments) or len({root for root, _ in distinct}) != len(roots) or not numbered:
        raise EvidenceRejected("statement-invalid", "these roots and opening numbers cannot be related", where=kind.value)
    decoded = proofs.decode(proof, layout.commitments(), most_messages(price, layout))
    transcript = begin(kind, circuit, digest, roots, context)
    transcript.absorb("witness.root", decoded.root)
    assert layout.pads is not None
    channel = HidingChannel(transcript, decoded.messages, layout.pads)
    party = VerifierParty(plan.circuit, channel, {}, (), None)
    check_relation(kind, party, circuit.weights, plan.parts, layout.bus, plan.sums)
    openings = iter(decoded.openings)
    groups = [[Opened(layout.witness, decoded.root, next(openings))]]
    groups += [[Opened(c, one.root, next(openings), one.number)] for c, one in zip(commitments, roots, strict=True)]
    check_hidden_openings(channel, groups, party.openings, layout.levels, list(openings))
    channel.finish()
