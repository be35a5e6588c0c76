"""The weight blob from and to NumPy arrays: the same bytes and refusals as :mod:`..circuit.weights`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.program import Circuit, Weight
from verifai.engines.sumcheck.circuit.weights import MAGIC, weight_width, weights_bytes
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.errors import EvidenceRejected


def encode_arrays(circuit: Circuit, cells: Sequence[NDArray[Any]]) -> bytes:
    """The canonical blob of integer arrays, one per weight, true cells. Raises EvidenceRejected (``weights-malformed``)."""
    parts = [MAGIC]
    for weight, values in zip(circuit.weights, cells, strict=True):
        _check(weight, values)
        parts.append(np.ascontiguousarray(values, f"<i{weight_width(weight)}").tobytes())
    return b"".join(parts)


def decode_arrays(circuit: Circuit, blob: bytes) -> tuple[Ints, ...]:
    """The weights of a blob, in their shapes. Raises EvidenceRejected (``weights-malformed``)."""
    if len(blob) != weights_bytes(circuit) or blob[: len(MAGIC)] != MAGIC:
        raise _refuse("length or magic is wrong", "weights")
    at, found = len(MAGIC), []
    for weight in circuit.weights:
        width = weight_width(weight)
        values = np.frombuffer(blob, f"<i{width}", weight.size, at).astype(np.int64).reshape(weight.shape)
        _check(weight, values)
        at += weight.size * width
        found.append(values)
    return tuple(found)


def _check(weight: Weight, values: NDArray[Any]) -> None:
    if values.size != weight.size:
        raise _refuse(f"{values.size} cells instead of {weight.size}", weight.name)
    if int(values.max()) > weight.bound or int(values.min()) < -weight.bound:  # before int64, which 2^64 − 1 enters as −1
        raise _refuse("a cell exceeds the declared bound", weight.name)
    magnitudes = np.abs(values.reshape(weight.shape[0], -1).astype(np.int64, copy=False))
    if int(magnitudes.sum(axis=1).max()) > weight.row_l1:
        raise _refuse("a row's L1 norm exceeds the declared one", weight.name)


def _refuse(message: str, where: str) -> EvidenceRejected:
    return EvidenceRejected("weights-malformed", message, where=where)
