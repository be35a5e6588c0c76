"""What is calibrated or voted on: a model's outputs, completed from the model itself; and the inputs that it is run on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from onnx import ModelProto

from verifai.consensus.files import read_samples
from verifai.consensus.portability import precision_of
from verifai.consensus.runner import Tensors, VoteRunner
from verifai.domain.consensus.job import OutputKind, PrecisionClass, RuntimeOptions, VoteSubject
from verifai.domain.digest import sha256
from verifai.errors import UsageError
from verifai.execution.files import read_limited

_NOTHING = sha256(b"")
_MAX_MODEL_BYTES = 1 << 31
_MAX_PREPROCESSING_BYTES = 1 << 28


@dataclass(frozen=True, slots=True)
class SubjectOptions:
    """How a model's outputs are calibrated or voted on; what is left open is completed from the model.

    Attributes:
        precision: by default what the graph shows.
        tensors: outputs to vote on; by default all.
        parameters: of the fingerprint, such as ``projections``; the others keep their defaults.
        preprocessing: a file that defines how inputs are prepared; its digest becomes part of the subject.
    """

    kind: OutputKind = OutputKind.EXACT
    precision: PrecisionClass | None = None
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    tensors: tuple[str, ...] = ()
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    preprocessing: Path | None = None


def subject_of(model: bytes, options: SubjectOptions) -> VoteSubject:
    """What is calibrated or voted on, completed from the model.

    Raises:
        UsageError: ``bad-option`` for an output that the model does not have; ``file-missing``.
        UnsupportedModel: ``runner-refused``.
    """
    precision = options.precision
    if precision is None:
        precision = precision_of(ModelProto.FromString(model))
    outputs = VoteRunner(model, options.runtime).outputs
    for name in options.tensors:
        if name not in outputs:
            raise UsageError("bad-option", f"no output {name!r}", where="--tensor", hint="It has: " + ", ".join(outputs))
    names = tuple(sorted(set(options.tensors or outputs)))
    digest = _NOTHING
    if options.preprocessing is not None:
        digest = sha256(read_limited(options.preprocessing, limit=_MAX_PREPROCESSING_BYTES))
    return VoteSubject(sha256(model), digest, options.kind, precision, options.runtime, options.parameters, names)


def read_model(path: Path) -> bytes:
    """An ONNX model of at most 2 GiB. Raises UsageError (``file-missing``)."""
    return read_limited(path, limit=_MAX_MODEL_BYTES)


def read_inputs(path: Path, model: bytes, runtime: RuntimeOptions, limit: int | None = None) -> Sequence[Tensors]:
    """The samples in ``path``, or the first ``limit`` of them, as ``model`` takes them.

    Raises:
        UsageError: ``file-missing``.
        InputRejected: ``input-malformed``, ``input-missing``, ``input-unknown``.
        UnsupportedModel: ``runner-refused``.
    """
    return read_samples(path, VoteRunner(model, runtime))[:limit]
