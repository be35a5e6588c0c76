"""The files of a build folder and of a payload, and the longest that is read of each."""

from __future__ import annotations

CIRCUIT_FILE, WEIGHTS_FILE = "circuit.bin", "weights.bin"


STATEMENT_FILE, PROOF_FILE = "statement.bin", "proof.bin"


MAX_FILE = 1 << 30


MAX_PROOF = 1 << 28
"""Far above any proof of a circuit within the suite's limits; a longer file is not even read."""
