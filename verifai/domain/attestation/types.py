"""Which predicate types exist. One line per type; its class is loaded when it is met.

To add a type: write a frozen dataclass with ``TYPE``, ``to_json``, ``parents`` and ``from_record`` (see
:class:`verifai.domain.attestation.envelope.Predicate`) in ``verifai/domain/``, add its line here, and add its schema as
``verifai/bundle/schemas/<name>.schema.json``. A meaning never changes under one type: a new meaning is a new version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from verifai.domain import strict_json
from verifai.domain.attestation.envelope import MAX_PAYLOAD_BYTES, STATEMENT_TYPE, Attestation, Envelope, Predicate, Subject
from verifai.domain.attestation.predicate_types import (
    BEACON_TYPE,
    CALIBRATION_TYPE,
    CIRCUIT_TYPE,
    CONSENSUS_TYPE,
    DERIVATION_TYPE,
    EVALUATION_TYPE,
    GATE_TYPE,
    PROOF_TYPE,
    RELEASE_TYPE,
    ROUND_CUT_TYPE,
    ROUND_TYPE,
    TEE_TYPE,
    VOTE_COMMITMENT_TYPE,
    VOTE_OPENING_TYPE,
    VOTE_REPLAY_TYPE,
    VOTE_TYPE,
)
from verifai.domain.record import Record
from verifai.errors import EvidenceRejected

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES: Mapping[str, str] = {
    CIRCUIT_TYPE: "verifai.domain.attestation.circuit:CircuitPredicate",
    PROOF_TYPE: "verifai.domain.attestation.proof:ProofPredicate",
    GATE_TYPE: "verifai.domain.policy.attestation:GatePredicate",
    CALIBRATION_TYPE: "verifai.domain.consensus.calibration:Calibration",
    ROUND_TYPE: "verifai.domain.consensus.round:RoundTerms",
    VOTE_COMMITMENT_TYPE: "verifai.domain.consensus.vote:VoteCommitment",
    VOTE_TYPE: "verifai.domain.consensus.vote:Vote",
    VOTE_REPLAY_TYPE: "verifai.domain.consensus.vote_replay:VoteReplay",
    BEACON_TYPE: "verifai.domain.consensus.beacons:PublishedBeacon",
    ROUND_CUT_TYPE: "verifai.domain.consensus.exchange:RoundCut",
    VOTE_OPENING_TYPE: "verifai.domain.consensus.exchange:VoteOpening",
    CONSENSUS_TYPE: "verifai.domain.consensus.decision:ConsensusDecision",
    TEE_TYPE: "verifai.domain.attestation.tee:HardwarePredicate",
    EVALUATION_TYPE: "verifai.domain.attestation.evaluation:EvaluationPredicate",
    RELEASE_TYPE: "verifai.domain.attestation.release:ReleasePredicate",
    DERIVATION_TYPE: "verifai.domain.attestation.release:DerivationPredicate",
}


def predicate_types() -> tuple[str, ...]:
    """All known types."""
    return tuple(_TYPES)


def predicate_class(predicate_type: str, where: str) -> type[Predicate]:
    """The class of a type. Raises EvidenceRejected (``unknown-predicate``)."""
    path = _TYPES.get(predicate_type)
    if path is None:
        raise reject_unknown(predicate_type, where)
    module, _, name = path.partition(":")
    found: type[Predicate] = getattr(import_module(module), name)
    return found


def schema_name(predicate_type: str) -> str:
    """File name of the JSON schema below ``verifai/bundle/schemas/``: ``urn:verifai:proof:v1`` → ``proof-v1.schema.json``."""
    _, _, name, version = predicate_type.split(":")
    return f"{name}-{version}.schema.json"


def parse_attestation(envelope: Envelope, where: str) -> Attestation:
    """Read an envelope's payload as an attestation of a known type.

    Raises:
        EvidenceRejected: codes ``malformed``, ``unknown-predicate``.
    """
    from verifai.domain.attestation.types import predicate_class

    document = strict_json.loads(envelope.payload, where=where, max_bytes=MAX_PAYLOAD_BYTES)
    root = Record(document, where)
    root.text("_type", pattern=STATEMENT_TYPE.replace(".", r"\."))
    subjects = tuple(_subject(item) for item in root.tables("subject", max_length=1024))
    if not subjects:
        raise root.refuse("an attestation is about something", "subject")
    names = [subject.name for subject in subjects]
    if names != sorted(set(names)):
        raise root.refuse("the subjects are not in ascending order of name, each name once", "subject")
    kind = predicate_class(root.text("predicateType"), where)
    predicate = kind.from_record(root.table("predicate"))
    root.done()
    if predicate.to_json() != document["predicate"]:
        # One meaning, one spelling: "01" for 1 or 2/4 for 1/2 would be a second document for the same statement.
        raise root.refuse("a value is not in its canonical spelling", "predicate")
    return Attestation(envelope, subjects, predicate)


def _subject(record: Record) -> Subject:
    digest = record.table("digest")
    subject = Subject(record.text("name", max_length=256), digest.sha256("sha256"))
    digest.done()
    record.done()
    return subject


def reject_unknown(predicate_type: str, where: str) -> EvidenceRejected:
    """The error for a predicate type that this release does not know."""
    return EvidenceRejected(
        "unknown-predicate",
        f"the predicate type {predicate_type[:120]!r} is not known",
        where=where,
        hint="Use a newer verifai, or ask the maker which release wrote it.",
    )
