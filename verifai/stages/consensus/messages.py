"""A round's messages on disk: attestations, each in a file of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from verifai.bundle import canonical
from verifai.bundle.dsse import attest
from verifai.consensus.portability import precision_of
from verifai.consensus.runner import VoteRunner
from verifai.domain.attestation.envelope import MAX_ENVELOPE_BYTES, Subject, parse_envelope
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.consensus.job import OutputKind, PrecisionClass, RuntimeOptions, VoteSubject
from verifai.domain.digest import sha256
from verifai.errors import UsageError
from verifai.execution.files import read_limited, write_atomic

if TYPE_CHECKING:
    from verifai.domain.attestation.envelope import Attestation

P = TypeVar("P")
_NOTHING = sha256(b"")


def subject_of(
    model: bytes,
    kind: OutputKind,
    precision: PrecisionClass | None,
    options: RuntimeOptions,
    tensors: tuple[str, ...],
    parameters: Mapping[str, int | str],
    preprocessing: Path | None,
) -> VoteSubject:
    """What is calibrated or voted on, completed from the model."""
    from onnx import ModelProto

    if precision is None:
        precision = precision_of(ModelProto.FromString(model))
    outputs = VoteRunner(model, options).outputs
    for name in tensors:
        if name not in outputs:
            raise UsageError("bad-option", f"no output {name!r}", where="--tensor", hint="It has: " + ", ".join(outputs))
    names = tuple(sorted(set(tensors or outputs)))
    digest = _NOTHING if preprocessing is None else sha256(read_limited(preprocessing, limit=1 << 28))
    return VoteSubject(sha256(model), digest, kind, precision, options, parameters, names)


def read_attestation(path: Path, kind: type[P]) -> tuple[Attestation, P]:
    """One message of the type asked for. Raises EvidenceRejected, UsageError."""
    found = parse_attestation(parse_envelope(read_limited(path, limit=MAX_ENVELOPE_BYTES), str(path)), str(path))
    if not isinstance(found.predicate, kind):
        raise UsageError("bad-option", f"this is a {found.predicate.TYPE}, not a {kind.__name__}", where=str(path))
    return found, found.predicate


def write_attestation(path: Path, predicate: Any, subject: VoteSubject, signers: list[Any]) -> Attestation:
    """Sign and write; never over an existing file."""
    if path.exists():
        raise UsageError("file-exists", "the output exists already", where=str(path))
    made = attest(predicate, (Subject("model", subject.model_sha256), Subject("subject", subject.id)), signers)
    write_atomic(path, canonical.encode(made.envelope.to_json()))
    return made
