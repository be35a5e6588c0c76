"""Verification from bytes to a verified statement: the whole of it, in the order of the numbered steps.

1. The circuit's bytes have the digest that was given from outside, obey every rule, and carry the planned commitments and
   errors; what verifying will cost is within what was allowed.
2. The weights have the identity that was given from outside.
3. The statement fits the circuit: kinds, shapes, ranges.
4. The proof's bytes have exactly the planned lengths.
5. Suite, circuit, weights, statement and C_x's root enter the transcript; α, β follow.
6. The lookups' fractions add up to 0, layer by layer.
7. Every column's value at the lookups' point is taken, and the leaves are what these values make them.
8. Operations, the last first: extra checks, and claims on results are carried to operands.
9. Every stated tensor was claimed at a random point.
10. All claims are brought to one point and opened.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.codec import circuit_digest
from verifai.engines.sumcheck.circuit.codec import decode as decode_circuit
from verifai.engines.sumcheck.circuit.program import Circuit, WeightVisibility
from verifai.engines.sumcheck.circuit.weights import decode_weights, weights_digest
from verifai.engines.sumcheck.planning.plan import plan
from verifai.engines.sumcheck.planning.price import (
    DEFAULT,
    Allowance,
    Price,
    most_messages,
    price_of,
    price_of_bytes,
    price_with_openings,
)
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.layout import Layout
from verifai.engines.sumcheck.protocol.script import check_lookups, check_operations, start_transcript, stated_tensors
from verifai.engines.sumcheck.protocol.statement import Statement, check_statement
from verifai.engines.sumcheck.protocol.suite import SUITES
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.verifier.opening import Opened, check_openings
from verifai.engines.sumcheck.verifier.opening_hiding import check_hidden_openings
from verifai.engines.sumcheck.verifier.proof_channel import HidingChannel, ProofChannel
from verifai.engines.sumcheck.verifier.verifier_party import VerifierParty
from verifai.errors import EvidenceRejected


@dataclass(frozen=True, slots=True)
class SurveyedCircuit:
    """A circuit that was checked against a digest from outside, and what verifying takes, its openings left out."""

    circuit: Circuit
    digest: str
    price: Price
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class TrustedCircuit:
    """A circuit that was checked against a digest from outside, with its plan.

    Attributes:
        price: what verifying a proof of it takes at most. allowance: what it may take; the price is within it.
    """

    circuit: Circuit
    digest: str
    layout: Layout
    price: Price
    allowance: Allowance


@dataclass(frozen=True, slots=True)
class TrustedWeights:
    """Weights that were checked against an identity from outside.

    Attributes:
        identity: digest of the blob, or commitment root, in hex. cells: per weight; None when only the root is known.
    """

    identity: str
    cells: tuple[Sequence[int], ...] | None


@dataclass(frozen=True, slots=True)
class VerifiedStatement:
    """A statement whose proof holds: ``circuit`` with the weights of ``weights_identity`` maps inputs to outputs, as stated."""

    circuit: Circuit
    circuit_digest: str
    weights_identity: str
    statement: Statement


def survey(data: bytes, digest: str, allowance: Allowance = DEFAULT) -> SurveyedCircuit:
    """Step 1 without the plan: which circuit it is, and what verifying will take. Work in proportion to its bytes.

    Raises as :func:`trust_circuit`.
    """
    if circuit_digest(data) != digest:
        raise EvidenceRejected(
            "circuit-mismatch",
            "the circuit is not the expected one",
            where="circuit",
            hint="Use the circuit that the lock pins.",
        )
    price_of_bytes(len(data)).require(allowance, "circuit")
    circuit = decode_circuit(data)
    check(circuit)
    if circuit.suite not in SUITES:
        known = ", ".join(SUITES)
        raise EvidenceRejected("circuit-invalid", f"the circuit is for suite {circuit.suite!r}, not {known}", where="suite")
    price = price_of(circuit, len(data))
    price.require(allowance, "circuit")
    return SurveyedCircuit(circuit, digest, price, allowance)


def trust_circuit(data: bytes, digest: str, allowance: Allowance = DEFAULT) -> TrustedCircuit:
    """Step 1. ``digest`` comes from outside the evidence, as do the limits. Before the price of verifying is known to be within
    them, nothing is evaluated, and work is in proportion to the circuit's bytes.

    Raises:
        EvidenceRejected: ``circuit-mismatch`` for another digest, ``circuit-malformed``, ``circuit-invalid``.
        UnsupportedModel: when this suite cannot prove the circuit.
        ResourceExhausted: ``verification-over-budget``.
    """
    return trust_surveyed(survey(data, digest, allowance))


def trust_surveyed(surveyed: SurveyedCircuit) -> TrustedCircuit:
    """The rest of step 1. Raises as :func:`trust_circuit`."""
    circuit = surveyed.circuit
    layout = plan(circuit)
    if circuit.commitments != layout.commitments() or circuit.soundness != layout.soundness:
        raise EvidenceRejected("circuit-invalid", "commitments or errors do not follow from the circuit", where="soundness")
    price = price_with_openings(surveyed.price, layout)
    price.require(surveyed.allowance, "circuit")
    return TrustedCircuit(circuit, surveyed.digest, layout, price, surveyed.allowance)


def trust_weights(trusted: TrustedCircuit, identity: str, blob: bytes | None) -> TrustedWeights:
    """Step 2. ``identity`` comes from outside the evidence: the blob's digest, or the root. That a root is one of the model's
    weights is not checked here: rely on the party that pinned it, or derive the root from the model.

    Raises:
        EvidenceRejected: ``weights-mismatch`` for another digest or a missing blob, ``weights-malformed``.
    """
    if trusted.circuit.weight_visibility is WeightVisibility.COMMITTED:
        if len(identity) != 64 or not set(identity) <= set("0123456789abcdef"):
            raise EvidenceRejected("weights-mismatch", "the weights' root is not 64 hexadecimal digits", where="weights")
        return TrustedWeights(identity, None)
    if blob is None or weights_digest(blob) != identity:
        raise EvidenceRejected(
            "weights-mismatch",
            "the weights are not the expected ones",
            where="weights",
            hint="Use the weights that the lock pins.",
        )
    return TrustedWeights(identity, decode_weights(trusted.circuit, blob))


def verify(trusted: TrustedCircuit, weights: TrustedWeights, statement: Statement, proof: bytes) -> VerifiedStatement:
    """Steps 3 to 10.

    Raises:
        EvidenceRejected: codes ``statement-invalid``, ``proof-malformed``, ``proof-invalid``.
    """
    check_statement(trusted.circuit, statement)
    decoded = proofs.decode(proof, trusted.layout.commitments(), most_messages(trusted.price, trusted.layout))
    transcript = start_transcript(trusted.digest, trusted.circuit, weights.identity, statement)
    check_proof(trusted, weights, statement, decoded, transcript)
    return VerifiedStatement(trusted.circuit, trusted.digest, weights.identity, statement)


def check_proof(
    trusted: TrustedCircuit, weights: TrustedWeights, statement: Statement, decoded: proofs.Proof, transcript: Transcript
) -> None:
    """Steps 5 to 10, for a checked statement and a ``transcript`` that holds what is fixed before the witness.

    Raises:
        EvidenceRejected: ``proof-invalid``.
    """
    circuit, layout = trusted.circuit, trusted.layout
    transcript.absorb("witness.root", decoded.root)
    channel = _channel(transcript, decoded.messages, layout)
    shown, hashed = stated_tensors(circuit, statement)
    party = VerifierParty(circuit, channel, shown, tuple(hashed), weights.cells)
    check_lookups(party, layout.bus)
    check_operations(party)
    missing = [circuit.tensors[tensor].name for tensor in (*shown, *hashed) if tensor not in party.claimed]
    if missing:
        raise EvidenceRejected("proof-invalid", "a stated tensor takes no part in the computation", where=", ".join(missing))
    openings = iter(decoded.openings)
    joint = [Opened(layout.witness, decoded.root, next(openings))]
    if layout.weights is not None:
        joint.append(Opened(layout.weights, bytes.fromhex(weights.identity), next(openings), statement.opening_number))
    alone = [[Opened(layout.hashed[tensor], stated.root, next(openings), stated.number)] for tensor, stated in hashed.items()]
    groups, below = [joint, *alone], list(openings)
    if isinstance(channel, HidingChannel):
        check_hidden_openings(channel, groups, party.openings, layout.levels, below)
    else:
        check_openings(channel, groups, party.openings, layout.levels, below)
    channel.finish()


def _channel(transcript: Transcript, messages: Sequence[Ext], layout: Layout) -> ProofChannel:
    return ProofChannel(transcript, messages) if layout.pads is None else HidingChannel(transcript, messages, layout.pads)
