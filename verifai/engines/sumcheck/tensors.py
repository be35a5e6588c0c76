"""Floats to the circuit's integers and back, and hashed tensors' roots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.statement import TensorStatement
from verifai.domain.tensor import TensorSpec
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor, Visibility
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.errors import InputRejected

_TIE = 1e-6
_LIMIT = 2.0**52


def to_steps(name: str, values: NDArray[Any], step: Fraction) -> Ints:
    """⌊v/step + ½⌋ of every value, exactly.

    Raises:
        InputRejected: ``input-dtype``, or ``input-out-of-range`` for a value that is not finite or far beyond any circuit.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputRejected("input-dtype", f"numbers are expected, not {array.dtype.name}", where=name)
    real = array.astype(np.float64)
    quotient = real / float(step)
    if not np.isfinite(real).all() or bool((np.abs(quotient) > _LIMIT).any()):
        raise InputRejected("input-out-of-range", "a value is infinite, not a number, or far too large", where=name)
    shifted = quotient + 0.5
    result = np.floor(shifted).astype(np.int64)
    # float64's quotient is within 2^-52 of the real one; only next to a tie can that decide, and there fractions do.
    close = np.abs(shifted - np.rint(shifted)) < _TIE * np.maximum(1.0, np.abs(shifted) * 2.0**-30)
    for place in zip(*np.nonzero(close), strict=True):
        result[place] = floor(Fraction(float(real[place])) / step + Fraction(1, 2))
    return result


def centred(name: str, values: NDArray[Any], step: Fraction, zero_point: int) -> Ints:
    """x of every value: integers are q already, floats are quantised. Raises InputRejected."""
    array = np.asarray(values)
    return array.astype(np.int64) - zero_point if array.dtype.kind in "iu" else to_steps(name, array, step)


def quantise_input(tensor: Tensor, values: NDArray[Any], *, shown: bool = True) -> Ints:
    """The circuit input for float ``values``, of the tensor's shape.

    Args:
        shown: whether proofs show the tensor; errors, which end in logs, tell no cell of one that they hide.

    Raises:
        InputRejected: ``input-out-of-range``, with the cell and its value; or as :func:`to_steps`.
    """
    cells = centred(tensor.name, values, Fraction(*tensor.scale), tensor.zero_point).reshape(tensor.shape)
    outside = np.flatnonzero((cells < tensor.low) | (cells > tensor.high))
    if outside.size:
        low, high = (float(bound * Fraction(*tensor.scale)) for bound in (tensor.low, tensor.high))
        value = float(np.asarray(values).reshape(-1)[outside[0]])
        what = f"cell {int(outside[0])} is {value:g}" if shown else "a cell is out of range"
        raise InputRejected(
            "input-out-of-range",
            f"{what}; the circuit takes [{low:g}, {high:g}]",
            where=tensor.name,
            hint="Compile with calibration data that covers such inputs, or a larger input_margin.",
        )
    return cells


def quantise(tensor: TensorStatement, values: NDArray[Any]) -> tuple[int, ...]:
    """q of every cell, row-major. Raises InputRejected."""
    array = np.asarray(values)
    if array.shape != tensor.shape:
        raise InputRejected("input-shape", f"shape {array.shape}, the statement has {tensor.shape}", where=tensor.name)
    return tuple((centred(tensor.name, array, tensor.scale, tensor.zero_point).reshape(-1) + tensor.zero_point).tolist())


def circuit_inputs(circuit: Circuit, names: Sequence[str], inputs: Mapping[str, NDArray[Any]]) -> list[Ints]:
    """The circuit's inputs for float tensors by ONNX name. Raises InputRejected."""
    return [
        quantise_input(
            circuit.tensors[port.tensor],
            inputs[name],
            shown=port.visibility is Visibility.PUBLIC or not circuit.zero_knowledge,
        )
        for port, name in zip(circuit.inputs, names, strict=True)
    ]


def real_outputs(circuit: Circuit, specs: Sequence[TensorSpec], cells: Sequence[Ints]) -> dict[str, NDArray[Any]]:
    """The circuit's outputs by ONNX name and shape: float64, exact since x and mantissa have at most 32 bits; or integers q."""
    found: dict[str, NDArray[Any]] = {}
    for spec, port, centred_cells in zip(specs, circuit.outputs, cells, strict=True):
        tensor, x = circuit.tensors[port.tensor], centred_cells.reshape(spec.shape)
        integers = np.dtype(spec.dtype).kind in "iu"
        found[spec.name] = x + tensor.zero_point if integers else x.astype(np.float64) * float(Fraction(*tensor.scale))
    return found
