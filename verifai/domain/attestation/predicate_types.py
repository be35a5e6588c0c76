"""The predicate types, each spelt here alone. Their classes: :mod:`verifai.domain.attestation.types`."""

from __future__ import annotations

CIRCUIT_TYPE = "urn:verifai:circuit:v1"
PROOF_TYPE = "urn:verifai:proof:v1"
GATE_TYPE = "urn:verifai:gate:v1"
CALIBRATION_TYPE = "urn:verifai:calibration:v1"
ROUND_TYPE = "urn:verifai:round:v1"
VOTE_COMMITMENT_TYPE = "urn:verifai:vote-commitment:v1"
VOTE_TYPE = "urn:verifai:vote:v1"
VOTE_REPLAY_TYPE = "urn:verifai:vote-replay:v1"
CONSENSUS_TYPE = "urn:verifai:consensus:v1"
TEE_TYPE = "urn:verifai:tee:v1"
EVALUATION_TYPE = "urn:verifai:evaluation:v1"
MANIFEST_TYPE = "urn:verifai:manifest:v1"
"""Of a bundle's manifest, which is no attestation."""
