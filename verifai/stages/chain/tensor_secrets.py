"""Seeds of hashed tensors, for the prover of the next zero-knowledge segment: a private file beside the tensors.

``{"schema": "verifai/tensor-secrets/v1", "samples": [{"NAME": {"root", "seed", "number"}}]}``: per sample, by tensor.
With the file, a guess of the tensor can be confirmed; with file and tensor, its root can be made again. Never in a bundle.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.domain.record import Record
from verifai.domain.strict_json import loads
from verifai.engines.interface import TensorSecret
from verifai.errors import UsageError
from verifai.execution.files import read_limited, write_atomic

if TYPE_CHECKING:
    from verifai.stages.ready import ProvedBundle

SCHEMA = "verifai/tensor-secrets/v1"
ENDING = ".secrets"
MAX_BYTES = 1 << 24


def write_secrets(tensors: Path, proved: Sequence[ProvedBundle]) -> Path | None:
    """Write the seeds of the hashed outputs to ``tensors`` + ``.secrets``, readable by the owner alone. None without any."""
    if not any(one.secrets for one in proved):
        return None
    samples = [
        {name: {"root": one.root, "seed": one.seed.hex(), "number": one.number} for name, one in bundle.secrets.items()}
        for bundle in proved
    ]
    path = secrets_path(tensors)
    write_atomic(path, (json.dumps({"schema": SCHEMA, "samples": samples}, indent=1) + "\n").encode(), mode=0o600)
    return path


def secrets_path(tensors: Path) -> Path:
    """The file of seeds that belongs to a file of tensors."""
    return tensors.with_name(tensors.name + ENDING)


def read_secrets(path: Path, samples: int) -> list[Mapping[str, TensorSecret]]:
    """The seeds, one mapping per sample.

    Raises:
        UsageError: ``file-missing``, ``tensor-secrets-malformed``, with the place named; also when the counts differ.
    """
    code, where = "tensor-secrets-malformed", str(path)
    document = loads(read_limited(path, limit=MAX_BYTES), where=where, max_bytes=MAX_BYTES, error=UsageError, code=code)
    record = Record(document, where, error=UsageError, code=code)
    if record.text("schema") != SCHEMA:
        raise record.refuse(f"expected {SCHEMA!r}", "schema")
    found = [{name: _secret(sample.table(name)) for name in sample.names()} for sample in record.tables("samples")]
    record.done()
    if len(found) != samples:
        raise record.refuse(f"seeds for {len(found)} samples, but {samples} samples are to be proven", "samples")
    return list(found)


def _secret(record: Record) -> TensorSecret:
    secret = TensorSecret(
        root=record.sha256("root"), seed=bytes.fromhex(record.sha256("seed")), number=record.integer("number", low=0, high=4095)
    )
    record.done()
    return secret
