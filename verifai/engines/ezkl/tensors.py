"""Floats to field elements as ezkl does it, and the Poseidon digest of a tensor.

ezkl's ``quantize_float`` multiplies by 2^scale in double precision, which is exact, and rounds half away from zero. It has no
opinion on NaN (it becomes 0) and saturates near 2^127; both are refused here.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ldexp
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.statement import Column, TensorStatement
from verifai.domain.tensor import TensorSpec
from verifai.engines.ezkl import calls, field
from verifai.engines.ezkl.calls import CallFailed, Fence, call
from verifai.engines.ezkl.columns import InputColumn, quantise_value
from verifai.engines.ezkl.parameters import CircuitParameters
from verifai.errors import EngineCrashed, InputRejected
from verifai.execution.child import Limits

DIGEST_SCHEME = "ezkl-poseidon"
_HASH_SECONDS = 120.0


def quantise_cells(
    name: str, values: Sequence[float], scale: int, columns: Sequence[InputColumn] = (), *, shown: bool = True
) -> tuple[int, ...]:
    """All cells of one tensor, at one scale, or each at that of its column.

    Args:
        shown: whether proofs show the tensor; errors, which end in logs, tell no cell of one that they hide.

    Raises:
        InputRejected: code ``input-out-of-range``, with the tensor, the cell and the value.
    """
    result = []
    for index, value in enumerate(values):
        try:
            result.append(columns[index].quantise(value) if columns else quantise_value(value, scale))
        except ValueError as problem:
            told = (
                f"cell {index} is {value!r}: {problem}" if shown else f"a cell is {problem}; it is hidden, so it is not shown"
            )
            raise InputRejected("input-out-of-range", told, where=f"tensor {name!r}") from None
    return tuple(result)


def cells(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> list[float]:
    """``values`` as the flat floats that ezkl is given, row-major.

    Double precision is rounded to single first: circuits take single precision, and so does the model.

    Raises:
        InputRejected: code ``input-shape``, ``input-dtype``, or ``input-out-of-range`` for an integer beyond 2^53.
    """
    array = np.asarray(values)
    if array.shape != shape:
        raise InputRejected("input-shape", f"shape {array.shape} where {shape} is expected", where=f"tensor {name!r}")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):  # an infinity is refused by name later
            array = array.astype(np.float32)
    elif array.dtype.kind not in "iub":
        raise InputRejected("input-dtype", f"numbers are expected, not {array.dtype.name}", where=f"tensor {name!r}")
    numbers = array.reshape(-1).tolist()
    for index, number in enumerate(numbers):
        if isinstance(number, int) and abs(number) > 2**53:
            raise InputRejected(
                "input-out-of-range", f"cell {index} is {number}: not exact in double precision", where=f"tensor {name!r}"
            )
    return [float(number) for number in numbers]


def log2_multiplier(tensor: TensorStatement) -> int:
    """ezkl's scale of a tensor, from its statement."""
    scale = tensor.scale
    power = scale.denominator.bit_length() - scale.numerator.bit_length()
    if field.scale_fraction(power) != scale or tensor.zero_point != 0:
        raise InputRejected("input-dtype", f"{scale} is not a scale of this engine", where=f"tensor {tensor.name!r}")
    return power


def quantise(tensor: TensorStatement, values: NDArray[Any]) -> tuple[int, ...]:
    """The integers that the circuit sees for ``values``. Raises InputRejected."""
    flat = cells(tensor.name, values, tensor.shape)
    if tensor.columns:
        return quantise_cells(tensor.name, flat, 0, [_column(tensor, column) for column in tensor.columns])
    return quantise_cells(tensor.name, flat, log2_multiplier(tensor))


def _column(tensor: TensorStatement, column: Column) -> InputColumn:
    scale = column.scale
    found = InputColumn(scale.numerator.bit_length() - scale.denominator.bit_length(), column.zero_point)
    if found.stated != column:
        raise InputRejected("input-dtype", f"{scale} is not a scale of this engine", where=f"tensor {tensor.name!r}")
    return found


def fed(
    specs: Sequence[TensorSpec], sample: Sequence[Sequence[float]], parameters: CircuitParameters, *, shown: bool = True
) -> list[list[float]]:
    """What ezkl is given for a sample: the values themselves, or, of columns, x' with exactly their integer at its scale.

    Args:
        sample: one flat list per model input, in the model's order. shown: as in :func:`quantise_cells`.

    Raises:
        InputRejected: code ``input-out-of-range``.
    """
    result = []
    for spec, flat in zip(specs, sample, strict=True):
        columns = parameters.columns_of(spec.name)
        whole = quantise_cells(spec.name, flat, 0, columns, shown=shown) if columns else ()
        result.append([ldexp(float(q), -parameters.input_scale) for q in whole] if columns else list(flat))
    return result


def digest(tensor: TensorStatement, values: NDArray[Any]) -> str:
    """The Poseidon digest of ``values``, by ezkl in a child process.

    Raises:
        InputRejected: as :func:`quantise`.
        Undecided: out of memory or time, or a crash.
    """
    message = [field.encode(value) for value in quantise(tensor, values)]
    try:
        ran = calls.run([call("poseidon_hash", message=message)], Fence(Limits(wall_seconds=_HASH_SECONDS)))
    except CallFailed as problem:
        raise calls.crashed(problem) from None
    answer = ran.values[0]
    if not isinstance(answer, list) or len(answer) != 1:
        raise EngineCrashed("engine-crashed", "ezkl's Poseidon hash has an unknown form")
    try:
        return field.encode(field.decode(answer[0]))
    except ValueError as problem:
        raise EngineCrashed("engine-crashed", f"ezkl's Poseidon hash has an unknown form: {problem}") from None
