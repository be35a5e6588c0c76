"""Outputs as bytes: what a vote's Merkle leaf hashes, and what an opening shows. One spelling per output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain import strict_json
from verifai.domain.foreign import other_than
from verifai.domain.record import Record
from verifai.errors import EvidenceRejected, InputRejected

Output = Mapping[str, NDArray[Any]]
"""One sample's output: arrays by tensor name. Text is UTF-8 bytes in a ``uint8`` array named ``text``."""

_MAGIC = b"verifai/output/v1\n"
_DTYPES = (
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32", "float64",
)  # fmt: skip
MAX_TENSORS = 64
MAX_RANK = 16
MAX_HEADER_BYTES = 64 * 1024
MAX_EXTENT = 2**40
"""Product of all sizes that are not 0: what NumPy can hold as a shape, also of an empty array."""


def encode_output(output: Output) -> bytes:
    """Tensors in ascending order of name: a JSON header, then the values row-major and little-endian.

    Raises:
        InputRejected: ``output-unfit``, for no tensor, too many, or a dtype that has no encoding here.
    """
    if not 1 <= len(output) <= MAX_TENSORS:
        raise InputRejected("output-unfit", f"{len(output)} output tensors; between 1 and {MAX_TENSORS} can be voted on")
    header, body = [], []
    for name in sorted(output):
        values = np.asarray(output[name])
        if values.dtype.name not in _DTYPES or values.ndim > MAX_RANK:
            raise InputRejected("output-unfit", f"dtype {values.dtype}, rank {values.ndim} cannot be voted on", where=name)
        header.append({"name": name, "dtype": values.dtype.name, "shape": list(values.shape)})
        body.append(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes())
    text = json.dumps({"tensors": header}, sort_keys=True, separators=(",", ":")).encode()
    return b"".join([_MAGIC, len(text).to_bytes(4, "big"), text, *body])


def decode_output(data: bytes, where: str = "output") -> Output:
    """The inverse, strict: what does not encode to the same bytes again is refused.

    Raises:
        EvidenceRejected: ``malformed``.
    """
    start = len(_MAGIC) + 4
    if not data.startswith(_MAGIC) or len(data) < start:
        message, hint = other_than("an encoded output", data, "it does not start like one")
        raise EvidenceRejected("malformed", message, where=where, hint=hint)
    size = int.from_bytes(data[len(_MAGIC) : start], "big")
    if size > MAX_HEADER_BYTES or len(data) < start + size:
        raise EvidenceRejected("malformed", "the header is cut off or too long", where=where)
    root = Record(strict_json.loads(data[start : start + size], where=where), where)
    output: dict[str, NDArray[Any]] = {}
    offset = start + size
    for item in root.tables("tensors", max_length=MAX_TENSORS):
        name = item.text("name", max_length=256)
        kind = item.text("dtype")
        shape = item.integers("shape", low=0, high=2**31 - 1, max_length=MAX_RANK)
        item.done()
        if kind not in _DTYPES:
            raise item.refuse("no such dtype", "dtype")
        dtype = np.dtype(kind).newbyteorder("<")
        length = prod(shape) * dtype.itemsize
        if length > len(data) - offset:
            raise item.refuse("the values are cut off", "shape")
        if prod(max(size, 1) for size in shape) > MAX_EXTENT:  # of no values, so the length says nothing
            raise item.refuse("an empty array of a size that no array can have", "shape")
        values = np.frombuffer(data, dtype, prod(shape), offset).reshape(shape)
        output[name] = values.astype(np.dtype(kind))
        offset += length
    root.done()
    if not output or encode_output(output) != data:
        raise EvidenceRejected("malformed", "an encoded output has one spelling, and this is another", where=where)
    return output
