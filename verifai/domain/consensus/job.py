"""What is voted on: one model, one way of running it, one set of inputs. Votes are only comparable within one job."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record

_PARAMETER_NAME = r"[a-z][a-z0-9_]{0,31}"
MAX_SAMPLES = 100_000


class OutputKind(StrEnum):
    """What the model's output is; it decides which fingerprint is used."""

    EXACT = "exact"
    LOGITS = "logits"
    EMBEDDINGS = "embeddings"
    TOKENS = "tokens"
    TEXT = "text"
    IMAGE = "image"
    TABULAR = "tabular"
    SAMPLES = "samples"


class PrecisionClass(StrEnum):
    """Arithmetic the model runs in. Votes across classes are never compared."""

    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8_STATIC = "int8-static"
    INT8_DYNAMIC = "int8-dynamic"
    INT4_WEIGHTS = "int4w"


class Optimisation(StrEnum):
    """onnxruntime's graph optimisation level."""

    DISABLED = "disabled"
    BASIC = "basic"
    EXTENDED = "extended"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class RuntimeOptions:
    """Options of the runtime that change output bits, so they belong to the job.

    Threads and reruns are absent on purpose: they were measured to be bit-exact on the CPU provider.

    Attributes:
        batch: samples per run. With dynamic int8 the scale depends on what else is in the batch, hence 1.
        x64quantprecision: onnxruntime's ``session.x64quantprecision``, which avoids int8 saturation on x86 without VNNI.
    """

    batch: int = 1
    optimisation: Optimisation = Optimisation.ALL
    x64quantprecision: bool = True

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {"batch": self.batch, "optimisation": self.optimisation.value, "x64quantprecision": self.x64quantprecision}

    @classmethod
    def from_record(cls, record: Record) -> RuntimeOptions:
        """The inverse of :meth:`to_json`, strict."""
        options = cls(
            record.integer("batch", low=1, high=4096),
            record.choice("optimisation", Optimisation),
            record.flag("x64quantprecision"),
        )
        record.done()
        return options


@dataclass(frozen=True, slots=True)
class VoteSubject:
    """What a calibration is valid for: everything of a job but its inputs.

    Attributes:
        model_sha256: digest of the model file, or of the document that names a model served elsewhere.
        preprocessing_sha256: digest of whatever turns raw data into tensors (tokeniser, resize code).
        parameters: the fingerprint's parameters, complete: no default is left to the reader's release.
        tensors: the model outputs that are voted on, ascending; empty when the outputs come from elsewhere.
    """

    model_sha256: Sha256
    preprocessing_sha256: Sha256
    kind: OutputKind
    precision: PrecisionClass
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    parameters: Mapping[str, int | str] = field(default_factory=dict)
    tensors: tuple[str, ...] = ()

    @property
    def id(self) -> Sha256:
        """SHA-256 of the canonical document."""
        return sha256(canonical(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "model_sha256": self.model_sha256,
            "preprocessing_sha256": self.preprocessing_sha256,
            "kind": self.kind.value,
            "precision": self.precision.value,
            "runtime": self.runtime.to_json(),
            "parameters": {name: self.parameters[name] for name in sorted(self.parameters)},
            "tensors": list(self.tensors),
        }

    @classmethod
    def from_record(cls, record: Record) -> VoteSubject:
        """The inverse of :meth:`to_json`, strict."""
        parameters = record.table("parameters")
        subject = cls(
            model_sha256=record.sha256("model_sha256"),
            preprocessing_sha256=record.sha256("preprocessing_sha256"),
            kind=record.choice("kind", OutputKind),
            precision=record.choice("precision", PrecisionClass),
            runtime=RuntimeOptions.from_record(record.table("runtime")),
            parameters={name: _parameter(parameters, name) for name in parameters.names()},
            tensors=record.texts("tensors", max_length=64),
        )
        parameters.done()
        record.done()
        return subject


@dataclass(frozen=True, slots=True)
class Job:
    """One computation that several verifiers repeat.

    Attributes:
        inputs_root: Merkle root over the encoded inputs, one leaf per sample.
        samples: number of inputs.
        calibration: identifier of the calibration attestation whose tolerance decides, or 64 zeros when the fingerprint
            needs none (exact outputs; stochastic samples, whose error rate is a parameter).
    """

    subject: VoteSubject
    inputs_root: Sha256
    samples: int
    calibration: Sha256

    @property
    def id(self) -> Sha256:
        """SHA-256 of the canonical document."""
        return sha256(canonical(self.to_json()))

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "subject": self.subject.to_json(),
            "inputs_root": self.inputs_root,
            "samples": self.samples,
            "calibration": self.calibration,
        }

    @classmethod
    def from_record(cls, record: Record) -> Job:
        """The inverse of :meth:`to_json`, strict."""
        job = cls(
            VoteSubject.from_record(record.table("subject")),
            record.sha256("inputs_root"),
            record.integer("samples", low=1, high=MAX_SAMPLES),
            record.sha256("calibration"),
        )
        record.done()
        return job


NO_CALIBRATION = Sha256("0" * 64)


def canonical(document: Mapping[str, Any]) -> bytes:
    """RFC 8785 bytes of a document of ASCII keys, integers, strings and booleans, for which sorted JSON is that form."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def _parameter(record: Record, name: str) -> int | str:
    if re.fullmatch(_PARAMETER_NAME, name) is None:
        raise record.refuse(f"{name[:40]!r} is not a parameter name")
    value = record.take(name)
    if isinstance(value, str):
        return record.text(name, max_length=65536)
    return record.integer(name, low=0, high=2**31 - 1)
