"""Proofs about committed weights alone, in the zero-knowledge suite. Both are made once and shown with every inference.

*Registration*: the weights under a root keep the bounds that the circuit declares for them, which the no-wrap rule rests on,
and their padding is 0. Each weight is p − n, parts of non-negative limbs that are looked up: p and n are at most the bound, and
per row Σ (p + n) plus a slack of such limbs is the declared row L1, so Σ |w| is at most that.

*Link*: two roots commit to equal weights, so that a fresh root may stand for one whose openings are to be spared.

The witness commitment holds parts and pads; each commitment to weights is opened alone. Points are drawn after all roots.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.circuit import Circuit
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol.relations import Kind, OpenedRoot, begin, check_relation
from verifai.engines.sumcheck.protocol.script import check_lookups
from verifai.engines.sumcheck.verifier import proof as proofs
from verifai.engines.sumcheck.verifier.channel import HidingChannel
from verifai.engines.sumcheck.verifier.opening import Opened
from verifai.engines.sumcheck.verifier.opening_hiding import check_hidden_openings
from verifai.engines.sumcheck.verifier.party import VerifierParty
from verifai.engines.sumcheck.verifier.transcript import Coins
from verifai.errors import EvidenceRejected


def verify_relation(
    kind: Kind,
    circuit: Circuit,
    digest: str,
    roots: Sequence[OpenedRoot],
    proof: bytes,
    context: bytes = b"",
    coins: Coins | None = None,
) -> None:
    """Check a registration of one root, or a link of two, for a trusted zero-knowledge circuit with hidden weights.

    Raises:
        EvidenceRejected: ``proof-malformed``, ``proof-invalid``; ``statement-invalid`` for an opening number or a root that
            cannot be one; ``circuit-invalid`` when the circuit's bounds cannot be registered. UnsupportedModel: as the planner.
    """
    plan = plan_relation(kind, circuit)
    layout, commitments = plan.layout, plan.weights
    distinct = {(one.root, one.number) for one in roots}
    numbered = all(len(one.root) == 32 and 0 <= one.number < circuit.opening_budget for one in roots)
    if len(roots) != len(commitments) or len({root for root, _ in distinct}) != len(roots) or not numbered:
        raise EvidenceRejected("statement-invalid", "these roots and opening numbers cannot be related", where=kind.value)
    decoded = proofs.decode(proof, [layout.witness.shape, *(one.shape for one in commitments)])
    transcript = begin(kind, circuit, digest, roots, context, coins)
    transcript.absorb("witness.root", decoded.root)
    assert layout.pads is not None
    channel = HidingChannel(transcript, decoded.messages, layout.pads)
    party = VerifierParty(plan.circuit, channel, {}, (), None)
    if kind is Kind.REGISTRATION:
        check_lookups(party, layout.bus)
    check_relation(kind, party, circuit.weights, plan.parts)
    openings = iter(decoded.openings)
    groups = [[Opened(layout.witness, decoded.root, next(openings))]]
    groups += [[Opened(c, one.root, next(openings), one.number)] for c, one in zip(commitments, roots, strict=True)]
    check_hidden_openings(channel, groups, party.openings)
    channel.finish()
