"""What a circuit's folder keeps of its provenance, for its bundles to carry: ``provenance/`` with attestations."""

from __future__ import annotations

from verifai.circuit_folder import CircuitFolder
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import MAX_ENVELOPE_BYTES, Attestation, parse_envelope
from verifai.domain.attestation.release import DerivationPredicate, ReleasePredicate, model_subject
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.statement import EngineName
from verifai.engines.registry import engine_for
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited
from verifai.stages.evidence import circuit_predicate

FOLDER = "provenance"
MAX_KEPT = 16


def kept_attestations(folder: CircuitFolder, lock: CircuitLock) -> tuple[Attestation, ...]:
    """What bundles of this circuit carry of its provenance: whatever is about the pinned release and model.

    Raises:
        UsageError: ``bad-provenance``, for a file that is no attestation of either kind.
    """
    found = []
    paths = sorted((folder.folder / FOLDER).glob("*.dsse.json"))
    if len(paths) > MAX_KEPT:  # a verifier takes no more than that from one bundle
        message, where = f"{len(paths)} attestations are kept, at most {MAX_KEPT} go into a bundle", str(folder.folder / FOLDER)
        raise UsageError("bad-provenance", message, where=where, hint="Remove those of older circuits and notaries.")
    for path in paths:
        try:
            envelope = parse_envelope(read_limited(path, limit=MAX_ENVELOPE_BYTES), str(path))
            one = parse_attestation(envelope, str(path))
        except EvidenceRejected as problem:
            hint = "Remove the file, or make it again."
            raise UsageError("bad-provenance", problem.message, where=str(path), hint=hint) from None
        if not isinstance(one.predicate, ReleasePredicate | DerivationPredicate):
            raise UsageError("bad-provenance", f"an attestation of type {one.predicate.TYPE}", where=str(path))
        about = one.predicate.pin == lock.provenance and one.subjects == model_subject(lock.model_sha256)
        if about and (isinstance(one.predicate, ReleasePredicate) or _is_current(folder, one.predicate, lock)):
            found.append(one)
    return tuple(found)


def _is_current(folder: CircuitFolder, predicate: DerivationPredicate, lock: CircuitLock) -> bool:
    """Whether the lock still pins what the notary derived: a circuit that was compiled again is another one."""
    if predicate.engine not in lock.engines or lock.provenance is None:
        return False
    return not predicate.differs_from(described(folder, lock, predicate.engine), lock.provenance)


def described(folder: CircuitFolder, lock: CircuitLock, engine: EngineName) -> CircuitPredicate:
    section = lock.section(engine)
    summary = engine_for(engine).summarise(section)
    return circuit_predicate(lock, engine, section, summary, summary.weights or folder.spec.weights)
