"""The files that compile leaves for prove: circuit and weights."""

from __future__ import annotations

from pathlib import Path

from verifai.domain.shell import rebuild_hint
from verifai.domain.statement import EngineName
from verifai.engines.sumcheck.circuit.codec import MAX_BYTES, circuit_digest, decode, encode
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.circuit.weights import weights_bytes
from verifai.engines.sumcheck.clamping import write_ranges
from verifai.engines.sumcheck.lock_section import LockSection
from verifai.engines.sumcheck.lowering.clamps import uncut_runs
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.engines.sumcheck.payload.files import CIRCUIT_FILE, WEIGHTS_FILE
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited, write_atomic


def write_build(folder: Path, lowered: Lowered) -> None:
    """Circuit and weights, readable by the owner alone, and ignored by git: weights may be confidential."""
    write_atomic(folder / ".gitignore", b"*\n")
    write_atomic(folder / CIRCUIT_FILE, encode(lowered.circuit), mode=0o600)
    write_atomic(folder / WEIGHTS_FILE, lowered.blob, mode=0o600)
    write_ranges(folder, circuit_digest(encode(lowered.circuit)), uncut_runs(lowered.circuit, lowered.calibrated))


def read_build(folder: Path, section: LockSection) -> tuple[bytes, Circuit, bytes]:
    """Circuit bytes, circuit, weight blob; the circuit is the pinned one, the blob has its length.

    Raises:
        UsageError: code ``stale-build``, when files are missing or are not the pinned ones.
    """
    data, circuit = read_circuit(folder, section)
    try:
        return data, circuit, read_limited(folder / WEIGHTS_FILE, limit=weights_bytes(circuit))
    except UsageError as problem:
        raise stale(problem.message, folder, problem.where) from None


def read_circuit(folder: Path, section: LockSection) -> tuple[bytes, Circuit]:
    """Circuit bytes and circuit, which is the pinned one. Raises UsageError (``stale-build``)."""
    try:
        data = read_limited(folder / CIRCUIT_FILE, limit=MAX_BYTES)
        if circuit_digest(data) != section.circuit_sha256:
            raise stale("the built circuit is not the pinned one", folder, str(folder / CIRCUIT_FILE))
        return data, decode(data)
    except EvidenceRejected as problem:
        raise stale(problem.message, folder) from None
    except UsageError as problem:
        raise stale(problem.message, folder, problem.where) from None


def stale(message: str, build: Path, where: str = "") -> UsageError:
    """The error for a build folder that is not what the lock pins."""
    hint = rebuild_hint(build.parent.parent, EngineName.SUMCHECK)
    return UsageError("stale-build", message, where=where or str(build), hint=hint)
