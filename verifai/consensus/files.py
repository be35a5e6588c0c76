"""Files that verifiers exchange and read: samples, outputs from elsewhere, recorded runs, the beacon. Strictly parsed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from verifai.consensus.runner import Tensors
from verifai.domain import strict_json
from verifai.domain.consensus.job import MAX_SAMPLES, OutputKind
from verifai.domain.consensus.round import Beacon
from verifai.domain.consensus.vote import Environment
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.trust_keys import decode_base64
from verifai.errors import InputRejected, UsageError
from verifai.execution.files import read_limited
from verifai.onnx_graph.arrays import read_npz

MAX_BYTES = 1 << 29
CIRCUIT_MACHINE = "circuit"
"""What stands for the machine in the environment of runs that a circuit made."""

_RUNS_SCHEMA = "verifai/recorded-runs/v1"
_LABEL = "label"


class ModelInputs(Protocol):
    """What reading samples needs to know of a model; a :class:`verifai.consensus.runner.VoteRunner` knows it."""

    inputs: tuple[str, ...]
    ranks: dict[str, int]
    dtypes: dict[str, str]


@dataclass
class StatedInputs:
    """The inputs that a proof's statement names, for whoever does not hold the model."""

    inputs: tuple[str, ...]
    ranks: dict[str, int]
    dtypes: dict[str, str]


def read_samples(path: Path, runner: ModelInputs) -> list[Tensors]:
    """Samples for a model whose axes may be symbolic.

    ``.npz``: one array per model input; axis 0 counts the samples. ``.json``: a list of objects, input name → nested lists, so
    that samples of different length fit; a missing batch axis is added in both.

    Raises:
        UsageError: ``file-missing``. InputRejected: ``input-malformed``, ``input-missing``, ``input-unknown``.
    """
    data = read_limited(path, limit=MAX_BYTES)
    rows = _json_samples(data, path, runner) if path.suffix == ".json" else _npz_samples(read_npz(data, str(path)), path)
    for row in rows:
        for name in row:
            if name not in runner.inputs:
                raise InputRejected(
                    "input-unknown",
                    f"the model has no input {name!r}",
                    where=str(path),
                    hint="It has: " + ", ".join(runner.inputs),
                )
        for name in runner.inputs:
            if name not in row:
                raise InputRejected("input-missing", f"no array {name!r}", where=str(path))
    return [{name: _with_batch(values, runner.ranks[name]) for name, values in row.items()} for row in rows]


def _npz_samples(arrays: dict[str, NDArray[Any]], path: Path) -> list[Tensors]:
    return _npz_rows({name: values for name, values in arrays.items() if name != _LABEL or len(arrays) == 1}, path)


def _npz_rows(arrays: dict[str, NDArray[Any]], path: Path) -> list[Tensors]:
    counts = {values.shape[0] if values.ndim else 0 for values in arrays.values()}
    if len(counts) != 1 or not 0 < next(iter(counts)) <= MAX_SAMPLES:
        raise InputRejected(
            "input-malformed", f"axis 0 must count the samples in every array, found {sorted(counts)}", where=str(path)
        )
    return [{name: values[i] for name, values in arrays.items()} for i in range(counts.pop())]


def _json_samples(data: bytes, path: Path, runner: ModelInputs) -> list[Tensors]:
    listed = strict_json.loads(
        data, where=str(path), floats=True, max_bytes=MAX_BYTES, error=InputRejected, code="input-malformed"
    )
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_SAMPLES:
        raise InputRejected("input-malformed", "expected a list of samples", where=str(path))
    samples: list[Tensors] = []
    for index, item in enumerate(listed):
        if not isinstance(item, dict):
            raise InputRejected("input-malformed", "a sample is an object: input name → nested lists", where=f"{path}[{index}]")
        try:
            samples.append({name: np.array(value, dtype=runner.dtypes.get(name, "float32")) for name, value in item.items()})
        except (ValueError, TypeError, OverflowError) as problem:
            raise InputRejected("input-malformed", str(problem)[:200], where=f"{path}[{index}]") from None
    return samples


def _with_batch(values: NDArray[Any], rank: int) -> NDArray[Any]:
    return values[None] if values.ndim == rank - 1 else values


def read_outputs(path: Path, kind: OutputKind, names: Sequence[str] = ()) -> list[dict[str, NDArray[Any]]]:
    """Outputs that were computed elsewhere (``--outputs``), one per sample.

    ``.npz``: arrays whose axis 0 counts the samples; what is left of an array must have the shape that the model gives.
    ``.json``: a list with one item per sample: a string (kind ``text``), a list of integers (``tokens``), or for every kind an
    object of tensor name → nested lists, of integers (int64), of numbers with a decimal point (float32) or of booleans. Pixels
    are uint8.

    Args:
        names: the tensors that are voted on; others are left out. Text and tokens have one tensor of a fixed name.

    Raises:
        UsageError: ``file-missing``. InputRejected: ``input-malformed``, ``input-missing``.
    """
    data = read_limited(path, limit=MAX_BYTES)
    if path.suffix != ".json":
        rows = [dict(row) for row in _npz_rows(read_npz(data, str(path)), path)]
    else:
        listed = strict_json.loads(
            data, where=str(path), floats=True, max_bytes=MAX_BYTES, error=InputRejected, code="input-malformed"
        )
        if not isinstance(listed, list) or not 0 < len(listed) <= MAX_SAMPLES:
            raise InputRejected("input-malformed", "expected a list with one output per sample", where=str(path))
        rows = [_json_output(item, kind, f"{path}[{index}]") for index, item in enumerate(listed)]
    fixed = {OutputKind.TEXT: ("text",), OutputKind.TOKENS: ("tokens",)}.get(kind)
    return [_only(row, fixed or names, str(path)) for row in rows]


def _only(row: dict[str, NDArray[Any]], names: Sequence[str], where: str) -> dict[str, NDArray[Any]]:
    if not names:
        return row
    if len(row) == 1 and len(names) == 1 and names[0] not in row:  # one array is the one tensor, whatever it is called
        return {names[0]: next(iter(row.values()))}
    for name in names:
        if name not in row:
            raise InputRejected("input-missing", f"no array {name!r}, which is voted on", where=where)
    return {name: row[name] for name in names}


def _json_output(item: Any, kind: OutputKind, where: str) -> dict[str, NDArray[Any]]:
    if kind is OutputKind.TEXT and isinstance(item, str):
        return {"text": np.frombuffer(item.encode(), np.uint8)}
    whole = isinstance(item, list) and all(isinstance(one, int) and not isinstance(one, bool) for one in item)
    if kind is OutputKind.TOKENS and whole and all(0 <= one < 2**31 for one in item):
        return {"tokens": np.array(item, dtype=np.int64)}
    if not isinstance(item, dict) or not item:
        raise InputRejected("input-malformed", f"not an output of kind {kind.value!r}", where=where)
    return {name: _json_tensor(values, kind, f"{where}.{name}") for name, values in item.items()}


def _json_tensor(values: Any, kind: OutputKind, where: str) -> NDArray[Any]:
    try:
        array = np.array(values)
        if kind is OutputKind.IMAGE and array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
            return array.astype(np.uint8)
    except (ValueError, TypeError, OverflowError) as problem:  # ragged lists
        raise InputRejected("input-malformed", str(problem)[:200], where=where) from None
    if array.dtype.kind not in "bif":
        raise InputRejected("input-malformed", "not a nested list of numbers", where=where)
    return array.astype({"b": np.bool_, "i": np.int64, "f": np.float32}[array.dtype.kind])


def beacon_to_bytes(beacon: Beacon) -> bytes:
    """A beacon file."""
    return json.dumps({"source": beacon.source, "number": beacon.number, "value": beacon.value}, indent=1).encode() + b"\n"


def read_beacon(path: Path) -> Beacon:
    """The file that a beacon published: ``{"source": …, "number": …, "value": 64 hex digits}``. Raises UsageError."""
    data = read_limited(path, limit=4096)
    record = Record(
        strict_json.loads(data, where=str(path), error=UsageError, code="bad-beacon"),
        str(path),
        error=UsageError,
        code="bad-beacon",
    )
    beacon = Beacon(
        record.text("source", max_length=256), record.integer("number", low=0, high=2**53 - 1), record.sha256("value")
    )
    record.done()
    return beacon


@dataclass(frozen=True, slots=True)
class RunsFile:
    """Runs of one environment: of a machine, or of a circuit.

    Attributes:
        outputs: encoded, in the order of the samples.
        proofs: the proof attestation behind each output, in the same order; empty for runs of a machine.
    """

    environment: Environment
    outputs: tuple[bytes, ...]
    proofs: tuple[Sha256, ...] = ()

    def to_bytes(self) -> bytes:
        """As JSON, ``verifai/recorded-runs/v1``; equal runs give equal bytes."""
        document = {
            "schema": _RUNS_SCHEMA,
            "environment": self.environment.to_json(),
            "outputs": [base64.b64encode(one).decode() for one in self.outputs],
        }
        return json.dumps(document | ({"proofs": list(self.proofs)} if self.proofs else {})).encode()


def read_runs(path: Path) -> RunsFile:
    """The inverse of :meth:`RunsFile.to_bytes`. Raises UsageError (``bad-runs``)."""
    data = read_limited(path, limit=MAX_BYTES)
    document = strict_json.loads(data, where=str(path), max_bytes=MAX_BYTES, error=UsageError, code="bad-runs")
    record = Record(document, str(path), error=UsageError, code="bad-runs")
    record.text("schema", pattern=_RUNS_SCHEMA)
    environment = Environment.from_record(record.table("environment"))
    texts = record.array("outputs", _text_of(record), max_length=MAX_SAMPLES)
    proofs = record.array("proofs", _digest_of(record), (), max_length=MAX_SAMPLES)
    record.done()
    if (environment.machine == CIRCUIT_MACHINE) != bool(proofs) or (proofs and len(proofs) != len(texts)):
        raise record.refuse("the runs of a circuit name one proof per output, those of a machine name none", "proofs")
    if len(set(proofs)) != len(proofs):
        raise record.refuse("a proof is named twice", "proofs")
    try:
        return RunsFile(environment, tuple(decode_base64(text) for text in texts), proofs)
    except ValueError as problem:
        raise record.refuse(str(problem), "outputs") from None


def _digest_of(record: Record) -> Any:
    def one(value: Any, place: str) -> Sha256:
        if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
            raise record.refuse(f"expected a SHA-256 digest at {place}")
        return Sha256(value)

    return one


def _text_of(record: Record) -> Any:
    def one(value: Any, place: str) -> str:
        if not isinstance(value, str):
            raise record.refuse(f"expected a string at {place}")
        return value

    return one
