"""Which predicate types exist. One line per type; its class is loaded when it is met.

To add a type: write a frozen dataclass with ``TYPE``, ``to_json``, ``parents`` and ``from_record`` (see
:class:`verifai.domain.attestation.Predicate`) in ``verifai/domain/``, add its line here, and add its schema as
``verifai/bundle/schemas/<name>.schema.json``. A meaning never changes under one type: a new meaning is a new version.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from verifai.domain.attestation import Predicate, reject_unknown

if TYPE_CHECKING:
    from collections.abc import Mapping

_TYPES: Mapping[str, str] = {
    "urn:verifai:circuit:v1": "verifai.domain.attestation_circuit:CircuitPredicate",
    "urn:verifai:proof:v1": "verifai.domain.attestation_proof:ProofPredicate",
    "urn:verifai:gate:v1": "verifai.domain.gate_attestation:GatePredicate",
    "urn:verifai:calibration:v1": "verifai.domain.calibration:Calibration",
    "urn:verifai:round:v1": "verifai.domain.round:RoundTerms",
    "urn:verifai:vote-commitment:v1": "verifai.domain.vote:VoteCommitment",
    "urn:verifai:vote:v1": "verifai.domain.vote:Vote",
    "urn:verifai:vote-replay:v1": "verifai.domain.vote_replay:VoteReplay",
    "urn:verifai:consensus:v1": "verifai.domain.tally_decision:ConsensusDecision",
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
