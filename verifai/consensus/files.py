"""Files that verifiers exchange and read: samples, outputs from elsewhere, recorded runs, the beacon. Strictly parsed."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Collection, Mapping, Sequence
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
from verifai.domain.statement import TensorStatement
from verifai.domain.table_columns import UNNAMED
from verifai.domain.tensor import TensorSpec
from verifai.domain.trust_keys import decode_base64
from verifai.errors import InputRejected, UsageError
from verifai.execution.files import read_limited
from verifai.onnx_graph.arrays import NPY_MAGIC, ZIP_MAGIC, read_npy, read_npz
from verifai.onnx_graph.exact import exact_cast, exact_numbers
from verifai.onnx_graph.inputs import LABEL, is_json, read_table, without_other_names
from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.tables import Table, assigned, input_arrays

MAX_BYTES = 1 << 29
CIRCUIT_MACHINE = "circuit"
"""What stands for the machine in the environment of runs that a circuit made."""

_RUNS_SCHEMA = "verifai/recorded-runs/v1"


class ModelInputs(Protocol):
    """What reading samples needs to know of a model; a :class:`verifai.consensus.runner.VoteRunner` knows it.

    Attributes:
        inputs: names, in the graph's order.
        shapes: by name; None stands for a symbolic axis.
        dtypes: by name; None where nothing says it: then decimal numbers are float32, and integers and booleans of an array
            are taken as they are.
    """

    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def shapes(self) -> Mapping[str, tuple[int | None, ...]]: ...
    @property
    def dtypes(self) -> Mapping[str, str | None]: ...


class StatedInputs:
    """The inputs that a proof's statement names, for whoever does not hold the model. A statement says no element type."""

    def __init__(self, tensors: Sequence[TensorStatement]) -> None:
        self.inputs = tuple(one.name for one in tensors)
        self.shapes: Mapping[str, tuple[int | None, ...]] = {one.name: one.shape for one in tensors}
        self.dtypes: Mapping[str, str | None] = dict.fromkeys(self.inputs)


def read_samples(path: Path, model: ModelInputs) -> list[Tensors]:
    """Samples for a model whose axes may be symbolic. Values are taken exactly, as :mod:`verifai.onnx_graph.exact` says.

    The content decides the format. ``.npz``: one array per model input; axis 0 counts the samples; the only array is taken for
    the only input, and so is that of an ``.npy`` file. A table (CSV, Parquet): one row per sample, for inputs of one size.
    JSON: a list of objects, input name → nested lists, so that samples of different length fit. A missing batch axis is added.
    An array ``label`` that is no input is left out.

    Raises:
        UsageError: ``file-missing``.
        InputRejected: ``input-malformed``, ``input-missing``, ``input-unknown``, ``input-shape``, ``input-dtype``,
            ``input-non-finite``, ``input-too-large``.
    """
    data, where = read_limited(path, limit=MAX_BYTES), str(path)
    if data.startswith(ZIP_MAGIC):
        return _array_samples(read_npz(data, where), where, model)
    if data.startswith(NPY_MAGIC):
        if len(model.inputs) != 1:
            message = f"the file holds one array; the model takes {', '.join(model.inputs)}"
            raise InputRejected("input-missing", message, where=where, hint="Use an .npz file.")
        return _array_samples({model.inputs[0]: read_npy(data, where)}, where, model)
    if is_json(data):
        return _json_samples(data, where, model)
    return _array_samples(_table_arrays(read_table(data, where), where, model), where, model)


def _table_arrays(table: Table, where: str, model: ModelInputs) -> dict[str, NDArray[Any]]:
    """The columns of a table as arrays: of inputs whose axes are all known but the first."""
    specs = []
    for name in model.inputs:
        sizes = [size for size in model.shapes[name][1:] if size is not None]
        if len(sizes) != len(model.shapes[name][1:]):
            message = f"a table has rows of one length, but the input {name!r} has an open axis"
            raise InputRejected("input-shape", message, where=where, hint="Give an .npz or a .json file.")
        specs.append(TensorSpec(name, model.dtypes[name] or "float32", (1, *sizes)))
    taken, _ = assigned(table, specs, UNNAMED, LABEL, where)
    return input_arrays(table, specs, taken, where)


def _array_samples(found: dict[str, NDArray[Any]], where: str, model: ModelInputs) -> list[Tensors]:
    arrays, _ = without_other_names(found, model.inputs)
    if LABEL not in model.inputs:
        arrays.pop(LABEL, None)
    _require_names(arrays, model, where)
    exact: dict[str, NDArray[Any]] = {}
    for name, array in arrays.items():
        dtype = model.dtypes[name] or ("float32" if array.dtype.kind == "f" else array.dtype.name)
        exact[name] = exact_cast(array, dtype, f"{where}: array {name!r}")
    return [_fitting(row, model, f"{where}: sample {index}") for index, row in enumerate(_npz_rows(exact, where))]


def _npz_rows(arrays: dict[str, NDArray[Any]], where: str) -> list[dict[str, NDArray[Any]]]:
    counts = {values.shape[0] if values.ndim else 0 for values in arrays.values()}
    if len(counts) != 1 or not 0 < next(iter(counts)) <= MAX_SAMPLES:
        raise InputRejected(
            "input-malformed", f"axis 0 must count the samples in every array, found {sorted(counts)}", where=where
        )
    return [{name: values[i] for name, values in arrays.items()} for i in range(counts.pop())]


def _json_samples(data: bytes, where: str, model: ModelInputs) -> list[Tensors]:
    listed = strict_json.loads(data, where=where, floats=True, max_bytes=MAX_BYTES, error=InputRejected, code="input-malformed")
    if not isinstance(listed, list) or not 0 < len(listed) <= MAX_SAMPLES:
        raise InputRejected("input-malformed", "expected a list of samples", where=where)
    samples: list[Tensors] = []
    for index, item in enumerate(listed):
        place = f"{where}[{index}]"
        if not isinstance(item, dict):
            raise InputRejected("input-malformed", "a sample is an object: input name → nested lists", where=place)
        _require_names(item, model, place)
        row = {name: exact_numbers(item[name], model.dtypes[name] or "float32", f"{place}.{name}") for name in model.inputs}
        samples.append(_fitting(row, model, place))
    return samples


def _require_names(found: Collection[str], model: ModelInputs, where: str) -> None:
    for name in found:
        if name not in model.inputs:
            raise InputRejected(
                "input-unknown",
                f"the model has no input {printable(name)!r}",
                where=where,
                hint="It has: " + ", ".join(model.inputs),
            )
    for name in model.inputs:
        if name not in found:
            raise InputRejected("input-missing", f"no array {name!r}", where=where)


def _fitting(row: Mapping[str, NDArray[Any]], model: ModelInputs, where: str) -> dict[str, NDArray[Any]]:
    """One sample with its batch axes, once its shapes are known to be the model's."""
    result = {}
    for name, values in row.items():
        shape = model.shapes[name]
        batched = values[None] if values.ndim == len(shape) - 1 else values
        # Axis 0 stays open: the runner stacks samples to the batch that a model may fix there.
        fixed = batched.ndim == len(shape) and all(
            wanted in (None, size) for wanted, size in zip(shape[1:], batched.shape[1:], strict=True)
        )
        if not fixed:
            told = ", ".join("any" if size is None else str(size) for size in shape)
            raise InputRejected(
                "input-shape",
                f"a sample of shape {values.shape} was given; the model takes ({told})",
                where=f"{where}: array {name!r}",
                hint="Axis 0 of an .npz array counts the samples; a sample needs the model's other axes.",
            )
        result[name] = batched
    return result


def read_outputs(path: Path, kind: OutputKind, names: Sequence[str] = ()) -> list[dict[str, NDArray[Any]]]:
    """Outputs that were computed elsewhere (``--outputs``), one per sample.

    ``.npz``: arrays whose axis 0 counts the samples; what is left of an array must have the shape that the model gives.
    ``.json``: a list with one item per sample: a string (kind ``text``), a list of integers (``tokens``), or for every kind an
    object of tensor name → nested lists, of integers (int64), of numbers with a decimal point (float32) or of booleans. Pixels
    are uint8.

    Args:
        names: the tensors that are voted on; others are left out. Text and tokens have one tensor of a fixed name.

    Raises:
        UsageError: ``file-missing``.
        InputRejected: ``input-malformed``, ``input-missing``; ``input-dtype`` for booleans among numbers; ``input-non-finite``
            for a number beyond float32.
    """
    data = read_limited(path, limit=MAX_BYTES)
    if path.suffix != ".json":
        rows = _npz_rows(read_npz(data, str(path)), str(path))
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
            return exact_numbers(values, "uint8", where)
    except (ValueError, TypeError, OverflowError) as problem:  # ragged lists
        raise InputRejected("input-malformed", str(problem)[:200], where=where) from None
    if array.dtype.kind not in "bif":
        raise InputRejected("input-malformed", "not a nested list of numbers", where=where)
    return exact_numbers(values, {"b": "bool", "i": "int64", "f": "float32"}[array.dtype.kind], where)


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
