"""``TensorProto`` → array, strictly: sizes are checked against the bytes present before anything is allocated."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from verifai.onnx_graph.limits import MAX_RANK, MAX_TENSOR_BYTES
from verifai.onnx_graph.refusal import printable, refuse

Array = NDArray[Any]

DTYPES: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.DOUBLE: np.dtype(np.float64),
    TensorProto.FLOAT16: np.dtype(np.float16),
    TensorProto.INT8: np.dtype(np.int8),
    TensorProto.INT16: np.dtype(np.int16),
    TensorProto.INT32: np.dtype(np.int32),
    TensorProto.INT64: np.dtype(np.int64),
    TensorProto.UINT8: np.dtype(np.uint8),
    TensorProto.UINT16: np.dtype(np.uint16),
    TensorProto.UINT32: np.dtype(np.uint32),
    TensorProto.UINT64: np.dtype(np.uint64),
    TensorProto.BOOL: np.dtype(np.bool_),
    TensorProto.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    TensorProto.INT4: np.dtype(ml_dtypes.int4),
    TensorProto.UINT4: np.dtype(ml_dtypes.uint4),
}
"""Element types a model may hold. Other floats become float32, and stored integers of four bits the numbers they stand for."""

NIBBLES = frozenset({np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4)})
"""Types of which a file holds two cells in a byte, and an array one."""

ELEMENT_TYPES: dict[np.dtype[Any], int] = {dtype: number for number, dtype in DTYPES.items()}

_FIELD: dict[int, str] = {
    TensorProto.FLOAT: "float_data",
    TensorProto.DOUBLE: "double_data",
    TensorProto.INT64: "int64_data",
    TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}
_FIELDS = ("float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")


def type_name(element_type: int) -> str:
    """``bfloat16`` for 16; the number itself when ONNX has no such type."""
    try:
        return str(TensorProto.DataType.Name(element_type)).lower()
    except ValueError:
        return f"type {element_type}"


def element_dtype(element_type: int, where: str) -> np.dtype[Any]:
    """The NumPy type. Raises UnsupportedModel (``model-dtype``)."""
    dtype = DTYPES.get(element_type)
    if dtype is None:
        raise refuse(
            "model-dtype",
            f"{type_name(element_type)} tensors are not supported",
            where,
            "Convert the model to float32 (and integer indices to int64) before exporting it.",
        )
    return dtype


def checked_size(dims: list[int], dtype: np.dtype[Any], where: str) -> int:
    """Number of cells of a tensor that fits the limits. Raises UnsupportedModel (``model-malformed``, ``model-size-bomb``)."""
    if len(dims) > MAX_RANK:
        raise refuse("model-malformed", f"a tensor of {len(dims)} axes; at most {MAX_RANK} are allowed", where)
    if any(dim < 0 for dim in dims):
        raise refuse("model-malformed", f"a negative dimension in {dims}", where)
    cells = math.prod(dims)
    if cells * dtype.itemsize > MAX_TENSOR_BYTES:
        raise refuse(
            "model-size-bomb",
            f"a tensor of shape {dims} needs {cells * dtype.itemsize:,} bytes; the limit is {MAX_TENSOR_BYTES:,}",
            where,
            "Reduce the dimension, or split the model.",
        )
    return cells


def stored_bytes(cells: int, dtype: np.dtype[Any]) -> int:
    """Bytes of so many cells in a file."""
    return (cells + 1) // 2 if dtype in NIBBLES else cells * dtype.itemsize


def to_array(tensor: TensorProto, where: str) -> Array:
    """The tensor's values as an array of its declared type and shape.

    Raises:
        UnsupportedModel: ``model-dtype``, ``model-size-bomb``, ``model-malformed`` (lengths disagree),
            ``model-external-data`` (it was not pulled in before).
    """
    where = printable(f"tensor {tensor.name!r} of {where}") if tensor.name else where
    dtype = element_dtype(tensor.data_type, where)
    if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
        raise refuse(
            "model-external-data", "the values are in another file", where, "Name the file's path, not only its bytes."
        )
    if tensor.HasField("segment"):
        raise refuse("model-malformed", "segmented tensors are not supported", where)
    cells = checked_size(list(tensor.dims), dtype, where)
    field = _FIELD.get(tensor.data_type, "int32_data")
    filled = [name for name in _FIELDS if len(getattr(tensor, name))]
    if tensor.HasField("raw_data"):
        if filled:
            raise refuse("model-malformed", f"both raw_data and {filled[0]} are filled", where)
        needed = stored_bytes(cells, dtype)
        if len(tensor.raw_data) != needed:
            raise refuse(
                "model-malformed",
                f"raw_data has {len(tensor.raw_data)} bytes; the declared shape needs {needed}",
                where,
            )
        if dtype.kind == "V":
            return np.asarray(numpy_helper.to_array(tensor), dtype=dtype)
        array = np.frombuffer(tensor.raw_data, dtype=dtype.newbyteorder("<")).astype(dtype)
        if dtype == np.bool_ and np.any(array.view(np.uint8) > 1):
            raise refuse("model-malformed", "a boolean that is neither 0 nor 1", where)
        return array.reshape(tuple(tensor.dims))
    needed = stored_bytes(cells, dtype) if dtype in NIBBLES else cells
    if filled not in ([], [field]) or len(getattr(tensor, field)) != needed:
        raise refuse(
            "model-malformed", f"{len(getattr(tensor, field))} values in {field}; the declared shape needs {needed}", where
        )
    if dtype.kind == "V" and any(not 0 <= packed <= (0xFF if dtype in NIBBLES else 0xFFFF) for packed in tensor.int32_data):
        raise refuse("model-malformed", "packed values of more bits than their type has", where)
    try:
        return np.asarray(numpy_helper.to_array(tensor), dtype=dtype)
    except (ValueError, TypeError, OverflowError) as problem:
        raise refuse("model-malformed", f"unreadable values: {problem}", where) from None


def from_array(array: Array, name: str) -> TensorProto:
    """The one canonical encoding: raw little-endian bytes."""
    contiguous = np.ascontiguousarray(array)
    return onnx.TensorProto(
        dims=list(array.shape),
        data_type=ELEMENT_TYPES[array.dtype],
        name=name,
        raw_data=contiguous.astype(contiguous.dtype.newbyteorder("<")).tobytes(),
    )
