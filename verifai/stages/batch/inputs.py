"""Which inputs a batch was given, so that it is continued with the same ones.

A digest of an input that proofs hide would let anyone confirm a guess of it. So where a circuit hides an input, the index
beside the bundles has none; keyed digests lie, with their key, in the circuit's folder of secrets: only its owner can compare.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verifai.domain.digest import Sha256, sha256
from verifai.domain.proof_index import MAX_INDEX_BYTES, MAX_SAMPLES
from verifai.domain.record import Record
from verifai.domain.strict_json import loads
from verifai.domain.tensor import TensorSpec
from verifai.errors import Undecided, UsageError
from verifai.execution.files import read_limited, write_atomic

SCHEMA = "verifai/batch-inputs/v1"
_CODE = "index-inputs-unknown"


def input_digest(sample: Mapping[str, Any], specs: Sequence[TensorSpec]) -> Sha256:
    """SHA-256 over every input: name, dtype, shape and cells, row-major and little-endian."""
    state = hashlib.sha256(b"verifai/sample/v1\n")
    for spec in specs:
        array = np.ascontiguousarray(sample[spec.name])
        state.update(f"{spec.name!r} {array.dtype.name} {list(array.shape)}\n".encode("utf-8", "backslashreplace"))
        state.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return Sha256(state.hexdigest())


def batch_digest(digests: Sequence[Sha256]) -> Sha256:
    """One digest of all inputs, in order."""
    return sha256("\n".join(["verifai/samples/v1", *digests]).encode())


def inputs_path(secrets_dir: Path, run: str) -> Path:
    """Where the keyed digests of a batch's hidden inputs lie."""
    return secrets_dir / f"batch-{run}.inputs"


def keep_hidden_inputs(secrets_dir: Path, run: str, digests: Sequence[Sha256]) -> None:
    """Write the keyed digests of a batch, readable by the owner alone. Raises Undecided (``disk``)."""
    try:
        secrets_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        secrets_dir.chmod(0o700)
    except OSError as problem:
        raise Undecided("disk", f"cannot write: {problem.strerror}", where=str(secrets_dir)) from None
    ignore = secrets_dir / ".gitignore"
    if not ignore.exists():
        write_atomic(ignore, b"*\n")
    key = secrets.token_bytes(32)
    rows = [_keyed(key, row, digest) for row, digest in enumerate(digests)]
    document = {"schema": SCHEMA, "run": run, "key": key.hex(), "rows": rows}
    write_atomic(inputs_path(secrets_dir, run), json.dumps(document).encode() + b"\n", mode=0o600)


def differing_hidden_input(secrets_dir: Path, run: str, digests: Sequence[Sha256]) -> int | None:
    """The first row whose input is not the one that the batch began with; ``None`` when all are the same.

    Raises:
        UsageError: ``index-inputs-unknown``, when the keyed digests are gone or are no such file.
    """
    path = inputs_path(secrets_dir, run)
    if not path.is_file():
        raise UsageError(
            _CODE,
            "the inputs are hidden, and the keyed digests that tell them apart are not in the circuit's folder",
            where=str(path),
            hint="Continue with the circuit folder that the batch began with, or prove the missing rows into another folder.",
        )
    where = str(path)
    data = read_limited(path, limit=MAX_INDEX_BYTES)
    record = Record(
        loads(data, where=where, max_bytes=MAX_INDEX_BYTES, error=UsageError, code=_CODE), where, error=UsageError, code=_CODE
    )
    record.text("schema", pattern=SCHEMA)
    record.text("run", pattern=run)
    key = bytes.fromhex(record.sha256("key"))
    kept = record.texts("rows", max_length=MAX_SAMPLES)
    record.done()
    if len(kept) != len(digests):
        return min(len(kept), len(digests))
    pairs = zip(kept, digests, strict=True)
    return next(
        (row for row, (one, digest) in enumerate(pairs) if not hmac.compare_digest(one, _keyed(key, row, digest))), None
    )


def _keyed(key: bytes, row: int, digest: Sha256) -> str:
    # The row is in it, so that equal inputs do not show as equal.
    return hmac.new(key, f"{row} {digest}".encode(), hashlib.sha256).hexdigest()
