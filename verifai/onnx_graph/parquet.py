"""Parquet files as tables; needs pyarrow (the ``[tables]`` extra)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verifai.errors import InputRejected, UsageError
from verifai.execution.packages import install_hint
from verifai.onnx_graph.arrays import MAX_BYTES
from verifai.onnx_graph.csv_tables import MAX_ROWS, check_names
from verifai.onnx_graph.refusal import printable
from verifai.onnx_graph.tables import FILL, Table, Unusable
from verifai.onnx_graph.tensors import Array

PARQUET_MAGIC = b"PAR1"


def parse_parquet(data: bytes, where: str) -> Table:
    """Read the columns of numbers and booleans; the others are there as :class:`Unusable`.

    Raises:
        InputRejected: ``input-malformed``, ``input-too-large``.
        UsageError: ``extra-missing``.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UsageError(
            "extra-missing",
            "reading Parquet needs pyarrow",
            where=where,
            hint=f"{install_hint('tables')}; or save the table as CSV.",
        ) from None
    try:
        with parquet.ParquetFile(io.BytesIO(data)) as file:
            schema, rows = file.schema_arrow, file.metadata.num_rows
            check_names(schema.names, where)
            # Declared sizes are checked before anything is unpacked: repeated values compress without limit.
            if rows > MAX_ROWS or rows * len(schema.names) * 8 > MAX_BYTES:
                raise InputRejected("input-too-large", f"{rows:,} rows of {len(schema.names):,} columns", where=where)
            kinds = {name: schema.field(name).type for name in schema.names}
            types = pyarrow.types
            numeric = [
                name
                for name, kind in kinds.items()
                if types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
            ]
            texts = [name for name, kind in kinds.items() if _holds_texts(kind, types)]
            table = file.read(columns=numeric, use_threads=False)
        words = _texts(parquet, data, texts, where) if texts else {}
    except (pyarrow.ArrowException, OSError, ValueError, KeyError) as problem:
        message = f"not a readable Parquet file: {printable(str(problem), 100)}"
        raise InputRejected("input-malformed", message, where=where, hint="Write it again as Parquet, or as CSV.") from None
    if not rows:
        raise InputRejected(
            "input-malformed", "the table has no row", where=where, hint="Every row is a sample; give at least one."
        )
    columns: dict[str, Sequence[str] | Array | Unusable] = {}
    for name, kind in kinds.items():
        columns[name] = _column(table.column(name)) if name in numeric else _no_number(str(kind))
        if name in words:
            columns[name] = replace(_no_number(str(kind)), texts=words[name])
    return Table(columns, rows)


def _column(column: Any) -> Array | Unusable:
    if column.null_count:
        row = int(np.argmax(np.asarray(column.is_null())))
        return Unusable("input-non-finite", "the cell is empty (null)", FILL, row, _with_gaps(column))
    return np.asarray(column.to_numpy())


def _holds_texts(kind: Any, types: Any) -> bool:
    plain = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(plain) or types.is_large_string(plain))


def _texts(parquet: Any, data: bytes, names: Sequence[str], where: str) -> dict[str, tuple[str, ...]]:
    """The cells of columns of texts, each different text held once: a text that is repeated takes no room in the file."""
    with parquet.ParquetFile(io.BytesIO(data), read_dictionary=list(names)) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        chunks = [group.column(place) for group in groups for place in range(group.num_columns)]
        size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in names)
        if size > MAX_BYTES:
            raise InputRejected("input-too-large", f"{size:,} bytes of texts; the limit is {MAX_BYTES:,}", where=where)
        table = file.read(columns=list(names), use_threads=False)
    found = {}
    for name in names:
        cells: list[str] = []
        for chunk in table.column(name).chunks:
            held = [text.strip() for text in chunk.dictionary.to_pylist()]
            cells += ["" if at is None else held[at] for at in chunk.indices.to_pylist()]
        found[name] = tuple(cells)
    return found


def _with_gaps(column: Any) -> Array | None:
    """NaN for each null; ``None`` where the type has no room for it."""
    values = np.asarray(column.to_numpy())
    return values if values.dtype.kind == "f" else None


def _no_number(kind: str) -> Unusable:
    return Unusable(
        "input-dtype",
        f"a column of type {printable(kind, 40)}; the model takes numbers",
        "Encode it as the model was trained on it.",
    )
