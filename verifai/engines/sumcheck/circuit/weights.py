"""The weight blob: canonical bytes of all weights of a circuit, and its digest. Standard library only.

Layout: the magic ``verifai/weights/1``; then, per weight in the circuit's order, its true cells row-major, each a signed
little-endian integer of 1, 2, 4 or 8 bytes: the least width that holds ±``bound``. Lengths follow from the circuit alone.
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from collections.abc import Sequence

from verifai.engines.sumcheck.circuit.codec import element_width
from verifai.engines.sumcheck.circuit.program import Circuit, Weight
from verifai.errors import EvidenceRejected

MAGIC = b"verifai/weights/1"
_TYPE = {1: "b", 2: "h", 4: "i", 8: "q"}


def weight_width(weight: Weight) -> int:
    """Bytes per cell of ``weight`` in the blob."""
    return element_width(-weight.bound, weight.bound)


def weights_bytes(circuit: Circuit) -> int:
    """The blob's length."""
    return len(MAGIC) + sum(weight.size * weight_width(weight) for weight in circuit.weights)


def encode_weights(circuit: Circuit, cells: Sequence[Sequence[int]]) -> bytes:
    """The blob of ``cells``: per weight, its true cells row-major. Raises EvidenceRejected as :func:`decode_weights`."""
    parts = [MAGIC]
    for weight, values in zip(circuit.weights, cells, strict=True):
        try:
            block = array(_TYPE[weight_width(weight)], values)
        except OverflowError:
            raise _refuse("a cell exceeds the declared bound", weight.name) from None
        _check_cells(weight, block)
        if sys.byteorder == "big":
            block.byteswap()
        parts.append(block.tobytes())
    return b"".join(parts)


def decode_weights(circuit: Circuit, blob: bytes) -> tuple[array[int], ...]:
    """The cells of each weight, with every declared bound and row L1 norm checked.

    Raises:
        EvidenceRejected: code ``weights-malformed``, when length, magic, a bound or a row's L1 norm does not hold.
    """
    if len(blob) != weights_bytes(circuit) or blob[: len(MAGIC)] != MAGIC:
        raise _refuse("length or magic is wrong", "weights")
    at, found = len(MAGIC), []
    for weight in circuit.weights:
        width = weight_width(weight)
        block = array(_TYPE[width], blob[at : at + weight.size * width])
        if sys.byteorder == "big":
            block.byteswap()
        _check_cells(weight, block)
        at += weight.size * width
        found.append(block)
    return tuple(found)


def weights_digest(blob: bytes) -> str:
    """SHA-256("verifai/weights/1" ‖ blob), in lower-case hex: the identity of public weights."""
    return hashlib.sha256(MAGIC + blob).hexdigest()


def _check_cells(weight: Weight, cells: array[int]) -> None:
    if len(cells) != weight.size:
        raise _refuse(f"{len(cells)} cells instead of {weight.size}", weight.name)
    if max(cells) > weight.bound or min(cells) < -weight.bound:
        raise _refuse("a cell exceeds the declared bound", weight.name)
    row = weight.size // weight.shape[0]
    for start in range(0, weight.size, row):
        if sum(map(abs, cells[start : start + row])) > weight.row_l1:
            raise _refuse("a row's L1 norm exceeds the declared one", weight.name)


def _refuse(message: str, where: str) -> EvidenceRejected:
    return EvidenceRejected("weights-malformed", message, where=where)
