"""The samples of a data set as inputs of a model, for whoever proves them and for whoever checks, by one rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from verifai.domain.evaluation.data_lock import DataKind
from verifai.domain.names import PlaceNames
from verifai.domain.statement import Role, Statement, TensorStatement
from verifai.domain.table_columns import TableColumns
from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected
from verifai.onnx_graph.images import scaled
from verifai.onnx_graph.inputs import Samples, from_arrays, from_table
from verifai.onnx_graph.tables import Table
from verifai.onnx_graph.tensors import Array
from verifai.stages.evaluation.data_set import DataSet

WHERE = "the data set"


@dataclass(frozen=True)
class _Takes:
    inputs: tuple[TensorSpec, ...]


def model_inputs(data: DataSet, specs: Sequence[TensorSpec], names: PlaceNames) -> Samples:
    """The samples as the inputs ``specs``; values are exact, or rounded by the rules of `verifai.onnx_graph.inputs`.

    A cell for which the model has no number, as one beyond float32 or a text that is none of its column's categories, is not
    finite: such a sample lies outside what any circuit takes, and the others do not suffer from it.

    Args:
        names: of the lock: which columns of a table an input takes, and its categories.

    Raises:
        InputRejected: the data set's inputs are not the model's.
    """
    found = _samples(data, specs, names)
    if len(found) != len(data):  # such as numbers, one per sample, that were taken for one sample with a row of them
        message = f"read as the model takes them, the {len(data):,} samples are {len(found):,}"
        raise InputRejected("input-shape", message, where=WHERE, hint="Axis 0 of each array counts the samples.")
    return found


def _samples(data: DataSet, specs: Sequence[TensorSpec], names: PlaceNames) -> Samples:
    takes = _Takes(tuple(specs))
    if data.kind is DataKind.TABLE:
        columns = {name: list(one) if isinstance(one, tuple) else one for name, one in data.inputs.items()}
        return from_table(Table(dict(columns), len(data)), takes, _columns(data, specs, names), WHERE, finite=False)
    arrays: dict[str, Array] = {}
    wanted = {spec.name: spec for spec in specs}
    for name, one in data.inputs.items():
        assert not isinstance(one, tuple)
        spec = wanted.get(name, specs[0] if len(specs) == 1 else None)
        if data.kind is DataKind.PICTURES:
            arrays[name] = scaled(one)
        elif one.dtype.kind == "b" and spec is not None and spec.dtype != "bool":
            arrays[name] = one.astype(np.uint8)
        else:
            arrays[name] = _rounded(one, spec)
    return from_arrays(arrays, takes, WHERE, finite=False)


def _rounded(array: Array, spec: TensorSpec | None) -> Array:
    """float64 features, as libraries give them, are rounded to a model of float32, as the model's own library rounds them.

    What is too large for float32 becomes infinite: no circuit takes it, so its sample is left out, and not the whole data set.
    """
    if spec is None or spec.dtype != "float32" or array.dtype != np.float64:
        return array
    with np.errstate(over="ignore"):
        return array.astype(np.float32)


def _columns(data: DataSet, specs: Sequence[TensorSpec], names: PlaceNames) -> TableColumns:
    """Which columns are which input; what no input takes is left out where the lock names columns."""
    texts = {name: names.texts(name) for name in names.categories}
    known = {spec.name: names.columns[spec.name] for spec in specs if spec.name in names.columns}
    if len(known) == len(specs):
        taken = {column for one in known.values() for column in one}
        return TableColumns(known, frozenset(data.inputs) - taken, texts)
    return TableColumns(known, frozenset(), texts)


def stated_inputs(data: DataSet, statement: Statement, names: PlaceNames) -> Samples:
    """The samples as the inputs that a statement names. It does not say of which type they are: whole numbers where both
    sides have some, else float32. Raises InputRejected."""
    tensors = statement.of(Role.INPUT)
    whole = {one.name for one in tensors if _counts(one)}
    while True:
        specs = [TensorSpec(one.name, "int64" if one.name in whole else "float32", _shape(one)) for one in tensors]
        try:
            return model_inputs(data, specs, names)
        except InputRejected as problem:
            if not whole:
                raise
            named = {name for name in whole if repr(name) in (problem.where or "")}
            whole -= named or set(whole)


def _counts(tensor: TensorStatement) -> bool:
    return (tensor.stored or (tensor.scale == 1 and tensor.zero_point == 0)) and not tensor.columns


def _shape(tensor: TensorStatement) -> tuple[int, ...]:
    return tensor.shape[1:] if tensor.batch else tensor.shape


def stacked(samples: Sequence[dict[str, Array]], tensor: TensorStatement) -> Array:
    """The cells of one input for the samples of one statement, of its shape."""
    if not tensor.batch:
        return samples[0][tensor.name]
    return np.stack([one[tensor.name] for one in samples])


def cells_per_item(tensor: TensorStatement) -> int:
    """Cells of one sample."""
    return prod(_shape(tensor))
