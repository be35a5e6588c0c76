"""Input samples from files, exactly as the model takes them, or a refusal that names the file, tensor and place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, overload

import numpy as np

from verifai.domain import strict_json
from verifai.domain.foreign import CSV, recognise
from verifai.domain.record import Record
from verifai.domain.table_columns import UNNAMED, TableColumns
from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected, UsageError
from verifai.execution.files import read_limited
from verifai.onnx_graph.arrays import MAX_BYTES, NPY_MAGIC, ZIP_MAGIC, read_npy, read_npz
from verifai.onnx_graph.csv_tables import parse_csv
from verifai.onnx_graph.exact import exact_cast, exact_numbers
from verifai.onnx_graph.images import IMAGE_MAGICS, read_image
from verifai.onnx_graph.parquet import PARQUET_MAGIC, parse_parquet
from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.tables import FILL, Table, assigned, input_arrays, label_of
from verifai.onnx_graph.tensors import Array

LABEL = "label"
"""An array of this name that is no model input holds the expected classes; it is not proven."""

_MAX_SAMPLES = 1_000_000


class TakesInputs(Protocol):
    """What reading needs of a model; a statement's tensors can play that part too."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """In the order of the graph."""


@dataclass(frozen=True)
class Samples(Sequence[Mapping[str, Array]]):
    """Samples in file order; behaves as a sequence of them.

    Attributes:
        samples: each maps every model input to an array of exactly its shape and dtype, batch included.
        notes: what was ignored or converted, one sentence each.
        label: the file's ``label`` array, axis 0 = sample, when it has one and the model has no such input.
        columns: of a table, the names of the columns that each input took, in order; empty otherwise.
        rows: the place of each sample in the file, from 0; empty where none was left out.
        lacking: of the notes, the one about samples that were left out, without the file's name.
    """

    samples: tuple[dict[str, Array], ...]
    notes: tuple[str, ...] = ()
    label: Array | None = None
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rows: tuple[int, ...] = ()
    lacking: str = ""

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, index: int) -> dict[str, Array]: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[dict[str, Array]]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Array] | Sequence[dict[str, Array]]:
        return self.samples[index]

    def __iter__(self) -> Iterator[dict[str, Array]]:
        return iter(self.samples)


def read_samples(
    source: str | Path,
    model: TakesInputs,
    *,
    stdin: bytes | None = None,
    columns: TableColumns = UNNAMED,
    finite: bool = True,
) -> Samples:
    """Read samples from ``.npz``, ``.npy``, CSV, Parquet, ezkl-style ``.json``, PNG or JPEG.

    The content decides the format, not the name. Axis 0 of an array is the sample, unless the array is a single sample already;
    a batch axis of 1 is added where samples lack it. Values keep their meaning exactly: integers and float64 are taken for a
    float32 tensor only when every value is exactly representable; only decimal numbers (of JSON, of tables) and image
    pixels are rounded, to the nearest float32. Booleans, strings and field elements are no numbers.

    Args:
        source: a path, or ``-`` for ``stdin``.
        stdin: the bytes to read when ``source`` is ``-``.
        columns: what is known of a table's columns.
        finite: whether infinities and NaN refuse the file; else its reader looks at each sample.

    Raises:
        InputRejected: ``input-…``, naming file, tensor and place.
        UsageError: ``file-missing``; ``extra-missing`` for images without the ``[images]`` extra, for Parquet without
            ``[tables]``.
    """
    if str(source) == "-":
        if stdin is None:
            raise UsageError("bad-option", "'-' was given but there is no standard input", where="-")
        if len(stdin) > MAX_BYTES:
            raise InputRejected("input-too-large", f"{len(stdin):,} bytes; the limit is {MAX_BYTES:,}", where="-")
        return parse_samples(stdin, model, where="standard input", columns=columns, finite=finite)
    data = read_limited(Path(source), limit=MAX_BYTES)
    return parse_samples(data, model, where=str(source), columns=columns, finite=finite)


def read_complete(
    source: str | Path, model: TakesInputs, *, stdin: bytes | None = None, columns: TableColumns = UNNAMED
) -> Samples:
    """As :func:`read_samples`, without the samples that lack a value: for data that a model is looked at with, not proven on.

    Tables that nobody prepared have empty cells. No value is made up for them: what holds one, or NaN, or infinity, is left
    out, and a note says how many and which was the first.

    Raises:
        As :func:`read_samples`; InputRejected (``input-non-finite``) when nothing is left.
    """
    read = read_samples(source, model, stdin=stdin, columns=columns, finite=False)
    kept = [number for number, sample in enumerate(read.samples) if complete(sample)]
    if len(kept) == len(read.samples):
        return read
    first = next(number for number in range(len(read.samples)) if number not in set(kept)) + 1
    lacking = len(read.samples) - len(kept)
    if not kept:
        message = f"each of the {lacking:,} samples has a cell that is empty, not finite or no known category"
        raise InputRejected("input-non-finite", message, where=str(source), hint=FILL)
    note = f"{lacking:,} of {len(read.samples):,} samples have a cell that is empty, not finite or no known category; "
    note += "they were left out"
    note += f" (the first: row {first})"
    label = None if read.label is None or len(read.label) != len(read.samples) else read.label[kept]
    samples = tuple(read.samples[number] for number in kept)
    return Samples(samples, (*read.notes, f"{source}: {note}"), label, read.columns, tuple(kept), note)


def complete(sample: Mapping[str, Array]) -> bool:
    """Whether a sample holds finite numbers only."""
    return all(array.dtype.kind != "f" or bool(np.isfinite(array).all()) for array in sample.values())


def parse_samples(
    data: bytes, model: TakesInputs, *, where: str, columns: TableColumns = UNNAMED, finite: bool = True
) -> Samples:
    """As :func:`read_samples`, from bytes. ``where`` is the file's name for messages."""
    if data.startswith(ZIP_MAGIC):
        return from_arrays(read_npz(data, where), model, where, finite)
    if data.startswith(NPY_MAGIC):
        return from_arrays({_only_input(model, where).name: read_npy(data, where)}, model, where, finite)
    if data.startswith(IMAGE_MAGICS):
        spec = _only_input(model, where)
        pixels, notes = read_image(data, spec, where)
        return Samples(({spec.name: pixels},), notes)
    if is_json(data):
        return _from_json(data, model, where)
    return from_table(read_table(data, where), model, columns, where, finite)


def is_json(data: bytes) -> bool:
    """Whether the text can only be meant as JSON."""
    return data.lstrip(b" \t\r\n\xef\xbb\xbf")[:1] in (b"{", b"[")


def read_table(data: bytes, where: str) -> Table:
    """A CSV or Parquet table, or the refusal of a file that is none of those that inputs are read from.

    Raises:
        InputRejected: ``input-malformed``, ``input-too-large``. UsageError: ``extra-missing``.
    """
    if data.startswith(PARQUET_MAGIC):
        return parse_parquet(data, where)
    found = recognise(data)
    if found is not None and found is not CSV:
        raise InputRejected("input-malformed", f"not an input file but {found.what}", where=where, hint=found.advice)
    return parse_csv(data, where)


def from_table(table: Table, model: TakesInputs, columns: TableColumns, where: str, finite: bool = True) -> Samples:
    """Samples from a table that was read. Raises InputRejected."""
    taken, notes = assigned(table, model.inputs, columns, LABEL, where)
    arrays = input_arrays(table, model.inputs, taken, where, columns.categories, finite=finite, notes=notes)
    read = from_arrays(arrays, model, where, finite)
    label = label_of(table, taken, columns, LABEL)
    return Samples(read.samples, (*notes, *read.notes), label, taken)


def to_arrays(samples: Sequence[Mapping[str, Array]], model: TakesInputs) -> dict[str, Array]:
    """Stack samples per input: axis 0 = sample, the rest exactly the model's shape."""
    return {spec.name: np.stack([sample[spec.name] for sample in samples]) for spec in model.inputs}


def _only_input(model: TakesInputs, where: str) -> TensorSpec:
    if len(model.inputs) != 1:
        names = ", ".join(spec.name for spec in model.inputs)
        raise InputRejected(
            "input-missing", f"the file holds one array; the model takes {names}", where=where, hint="Use an .npz file."
        )
    return model.inputs[0]


def from_arrays(arrays: dict[str, Array], model: TakesInputs, where: str, finite: bool = True) -> Samples:
    """Samples from arrays by name, axis 0 = sample. Raises InputRejected."""
    wanted = {spec.name for spec in model.inputs}
    notes: list[str] = []
    label = None
    arrays, renamed = without_other_names(arrays, [spec.name for spec in model.inputs])
    notes += [f"{where}: {one}" for one in renamed]
    for name, array in arrays.items():
        if name == LABEL and name not in wanted:
            label = array
            notes.append(f"{where}: the array {LABEL!r} is not an input of the model; it was ignored")
        elif name not in wanted:
            raise InputRejected(
                "input-unknown",
                "the model has no such input",
                where=f"{where}: array {printable(name)!r}",
                hint="Its inputs: " + ", ".join(sorted(wanted)),
            )
    columns: dict[str, list[Array]] = {}
    for spec in model.inputs:
        if spec.name not in arrays:
            raise InputRejected("input-missing", "the array is missing", where=f"{where}: array {spec.name!r}")
        place = f"{where}: array {spec.name!r}"
        columns[spec.name] = _split(exact_cast(arrays[spec.name], spec.dtype, place, finite=finite), spec, place)
    counts = {name: len(column) for name, column in columns.items()}
    if len(set(counts.values())) != 1:
        raise InputRejected("input-shape", f"the inputs differ in their number of samples: {counts}", where=where)
    count = next(iter(counts.values()))
    samples = tuple({name: column[index] for name, column in columns.items()} for index in range(count))
    return Samples(samples, tuple(notes), label)


def without_other_names(arrays: Mapping[str, Array], inputs: Sequence[str]) -> tuple[dict[str, Array], list[str]]:
    """The only array of a file under the name of the only input, whatever it is called; and a sentence that says so."""
    given = [name for name in arrays if name != LABEL or name in inputs]
    if len(inputs) != 1 or len(given) != 1 or given[0] in inputs:
        return dict(arrays), []
    said = f"the only array, {printable(given[0])!r}, was taken for the model's only input, {inputs[0]!r}"
    return {inputs[0] if name == given[0] else name: array for name, array in arrays.items()}, [said]


_AXES = "Axis 0 counts the samples; what follows must be the shape of one."


def _split(array: Array, spec: TensorSpec, where: str) -> list[Array]:
    shape = spec.shape
    if array.shape == shape:
        return [array]
    unbatched = len(shape) > 0 and shape[0] == 1
    if unbatched and array.shape == shape[1:]:
        return [array[np.newaxis]]
    rows: list[Array] = []
    if array.ndim and array.shape[0] <= _MAX_SAMPLES:
        if unbatched and array.shape[1:] == shape[1:]:
            rows = [array[index : index + 1] for index in range(array.shape[0])]
        elif array.shape[1:] == shape:
            rows = list(array)
    if not rows:
        raise InputRejected(
            "input-shape",
            f"shape {array.shape} was given; the model takes {shape}",
            where=where,
            hint=_AXES if array.ndim and array.shape[0] else "Axis 0 counts the samples; there must be at least one.",
        )
    return rows


_JSON = 'JSON holds one sample: {"input_data": [[…]]}, a flat list of numbers for each input. Give a table as CSV or Parquet.'


def _from_json(data: bytes, model: TakesInputs, where: str) -> Samples:
    value = strict_json.loads(data, where=where, floats=True, error=InputRejected, code="input-malformed")
    if not isinstance(value, dict) or "input_data" not in value:
        raise InputRejected("input-malformed", "no field 'input_data'", where=f"{where}.input_data", hint=_JSON)
    record = Record(value, where, error=InputRejected, code="input-malformed")
    columns = record.take("input_data")
    notes = []
    for name in ("input_shapes", "output_data"):
        if record.has(name):
            record.take(name)
            notes.append(f"{where}: the field {name!r} was ignored")
    record.done()
    if not isinstance(columns, list) or len(columns) != len(model.inputs):
        raise InputRejected(
            "input-malformed",
            f"expected one list of numbers per model input ({len(model.inputs)})",
            where=f"{where}: input_data",
        )
    pairs = zip(model.inputs, columns, strict=True)
    sample = {spec.name: _numbers(column, spec, f"{where}: input_data[{i}]") for i, (spec, column) in enumerate(pairs)}
    return Samples((sample,), tuple(notes))


def _numbers(column: object, spec: TensorSpec, where: str) -> Array:
    if not isinstance(column, list) or len(column) != spec.size:
        count = f"{len(column)} values" if isinstance(column, list) else "no list"
        raise InputRejected("input-shape", f"{count}; the model takes {spec.size} for {spec.name!r}", where=where)
    array = exact_numbers(column, spec.dtype, where)
    if array.ndim != 1:
        raise InputRejected(
            "input-shape", "nested lists; the model takes one flat list", where=where, hint="Write the values row by row."
        )
    return array.reshape(spec.shape)
