"""Floats to the circuit's integers and back, and hashed tensors' roots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import floor
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from verifai.domain.ordered_floats import LARGEST, LIMB_BITS, LIMBS
from verifai.domain.ordered_floats import real as ordered_real
from verifai.domain.statement import Column, Encoding, TensorStatement
from verifai.domain.tensor import TensorSpec
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor, Visibility
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.quantise.scales import Scale
from verifai.errors import InputRejected

_TIE = 1e-6
_LIMIT = 2.0**52
_EXACT = 2**53


def to_steps(name: str, values: NDArray[Any], step: Fraction) -> Ints:
    """⌊v/step + ½⌋ of every value, exactly.

    Raises:
        InputRejected: ``input-dtype``, or ``input-out-of-range`` for a value that is not finite or far beyond any circuit.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputRejected("input-dtype", f"numbers are expected, not {array.dtype.name}", where=name)
    if array.dtype.kind in "iu" and array.size and bool((array > _EXACT).any() | (array < -_EXACT).any()):
        raise InputRejected("input-out-of-range", "an integer is not exact in double precision", where=name)
    real = array.astype(np.float64)
    quotient = real / float(step)
    if not np.isfinite(real).all() or bool((np.abs(quotient) > _LIMIT).any()):
        raise InputRejected("input-out-of-range", "a value is infinite, not a number, or far too large", where=name)
    shifted = quotient + 0.5
    result = np.asarray(np.floor(shifted), np.int64)
    # float64's quotient is within 2^-52 of the real one; only next to a tie can that decide, and there fractions do.
    close = np.abs(shifted - np.rint(shifted)) < _TIE * np.maximum(1.0, np.abs(shifted) * 2.0**-30)
    # Flat, since an input may be a single number without an axis.
    flat, line = result.reshape(-1), real.reshape(-1)
    for place in np.flatnonzero(close):
        flat[place] = floor(Fraction(float(line[place])) / step + Fraction(1, 2))
    return flat.reshape(array.shape)


def centred(name: str, values: NDArray[Any], step: Fraction, zero_point: int) -> Ints:
    """x of every value in the model's own type: integers are q already, floats are quantised. Raises InputRejected."""
    array = np.asarray(values)
    return array.astype(np.int64) - zero_point if array.dtype.kind in "iu" else to_steps(name, array, step)


def columns_of(scale: Scale | None) -> tuple[Column, ...]:
    """A pinned scale's columns in the statement's terms; none where the whole tensor has one scale."""
    return () if scale is None else tuple(Column(column.step, column.zero_point) for column in scale.columns)


@dataclass(frozen=True, slots=True)
class OrderedFloats:
    """The way of a tensor whose integers are those of float32 numbers.

    Attributes:
        limbs: whether each stands there as two limbs, along one axis more, the last: where it is hidden.
    """

    limbs: bool


Places: TypeAlias = Sequence[Column] | OrderedFloats
"""How the cells of an input are represented where one scale does not say it; none where it does."""


def places_of(scale: Scale | None, visibility: Visibility) -> Places:
    """The same of a pinned scale and of who sees the tensor."""
    if scale is not None and scale.ordered:
        return OrderedFloats(limbs=visibility is not Visibility.PUBLIC)
    return columns_of(scale)


def limbs_of(cells: Ints) -> Ints:
    """Integers of float32 numbers as (high, low), :mod:`verifai.domain.ordered_floats`, along one axis more at the end."""
    half = 1 << (LIMB_BITS - 1)
    high = (cells + half) >> LIMB_BITS
    return np.stack([high, cells - (high << LIMB_BITS)], axis=-1)


def ported_shape(shape: tuple[int, ...], places: Places) -> tuple[int, ...]:
    """The shape that the circuit has an input of the model in; a batch's axis comes before it."""
    shape = shape or (1,)
    return (*shape, LIMBS) if isinstance(places, OrderedFloats) and places.limbs else shape


def ordered_cells(name: str, values: NDArray[Any]) -> Ints:
    """The integers of the nearest float32 numbers, of the array's shape.

    Raises:
        InputRejected: ``input-dtype``; ``input-out-of-range`` for a value that is not finite in float32.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise InputRejected("input-dtype", f"numbers are expected, not {array.dtype.name}", where=name)
    with np.errstate(over="ignore"):
        near = np.ascontiguousarray(array.astype(np.float64).astype(np.float32))
    if not np.isfinite(near).all():
        raise InputRejected("input-out-of-range", "a value is infinite, not a number, or too large for float32", where=name)
    bits = near.reshape(-1).view(np.uint32).astype(np.int64)
    magnitude = bits & 0x7FFF_FFFF
    return np.where(bits >> 31 != 0, -magnitude, magnitude).reshape(array.shape)


def ordered_values(cells: NDArray[np.int64]) -> NDArray[np.float32]:
    """The float32 numbers of the integers, of their shape; beyond the finite ones, infinities and what is no number."""
    bits = np.abs(cells).astype(np.uint32) | np.where(cells < 0, np.uint32(1 << 31), np.uint32(0))
    return np.ascontiguousarray(bits).view(np.float32).reshape(cells.shape)


def centred_columns(name: str, values: NDArray[Any], columns: Sequence[Column]) -> Ints:
    """x of every value of rows whose last axis has one scale per column. Raises InputRejected."""
    array = np.asarray(values)
    if array.ndim == 0 or array.shape[-1] != len(columns):
        raise InputRejected("input-shape", f"shape {array.shape}, {len(columns)} columns are expected", where=name)
    found = [to_steps(name, array[..., place], column.scale) + column.zero_point for place, column in enumerate(columns)]
    return np.stack(found, axis=-1)


def quantise_input(tensor: Tensor, values: NDArray[Any], *, shown: bool = True, columns: Places = ()) -> Ints:
    """The circuit input for float ``values``, of the tensor's shape.

    Args:
        columns: scales of the last axis' places, when each has its own.
        shown: whether proofs show the tensor; errors, which end in logs, tell no cell of one that they hide.

    Raises:
        InputRejected: ``input-out-of-range``, with the cell and its value; or as :func:`to_steps`.
    """
    cells = _input_steps(tensor, values, columns)
    outside = np.flatnonzero((cells < tensor.low) | (cells > tensor.high))
    if outside.size:
        first = int(outside[0])
        low, high = input_range(tensor, np.asarray(values).dtype.kind, first, columns)
        value = float(np.asarray(values).reshape(-1)[first])
        what = f"cell {first} is {value:g}" if shown else "a cell is out of range"
        raise InputRejected(
            "input-out-of-range",
            f"{what}; the circuit takes [{low:g}, {high:g}]",
            where=tensor.name,
            hint="Compile with calibration data that covers such inputs, or a larger input_margin.",
        )
    return cells


def _input_steps(tensor: Tensor, values: NDArray[Any], columns: Places) -> Ints:
    if isinstance(columns, OrderedFloats):
        cells = ordered_cells(tensor.name, values)
        return (limbs_of(cells) if columns.limbs else cells).reshape(tensor.shape)
    if columns:
        return centred_columns(tensor.name, values, columns).reshape(tensor.shape)
    return centred(tensor.name, values, Fraction(*tensor.scale), tensor.zero_point).reshape(tensor.shape)


def input_range(tensor: Tensor, kind: str, cell: int, columns: Places = ()) -> tuple[float, float]:
    """The smallest and the largest value that the circuit takes in ``cell``; ``kind``: of the input's dtype."""
    if isinstance(columns, OrderedFloats):
        return ordered_real(-LARGEST), ordered_real(LARGEST)
    if columns:
        column = columns[cell % len(columns)]
        return float((tensor.low - column.zero_point) * column.scale), float((tensor.high - column.zero_point) * column.scale)
    if kind in "iu":  # integers are quantised already
        return float(tensor.low + tensor.zero_point), float(tensor.high + tensor.zero_point)
    scale = Fraction(*tensor.scale)
    return float(tensor.low * scale), float(tensor.high * scale)


def outside_cells(tensor: Tensor, values: NDArray[Any], columns: Places = ()) -> NDArray[np.intp]:
    """The cells of ``values``, row-major, that :func:`quantise_input` refuses. Raises InputRejected (``input-dtype``)."""
    array = np.asarray(values)
    if array.dtype.kind != "f":
        cells = _input_steps(tensor, array, columns)
        return np.flatnonzero((cells < tensor.low) | (cells > tensor.high))
    if isinstance(columns, OrderedFloats):
        with np.errstate(over="ignore"):
            return np.flatnonzero(~np.isfinite(array.astype(np.float32)))
    real = array.astype(np.float64)
    steps = np.array([float(column.scale) for column in columns] or [float(Fraction(*tensor.scale))])
    with np.errstate(all="ignore"):
        far = ~np.isfinite(real) | ~(np.abs(real / steps) <= _LIMIT)
    cells = _input_steps(tensor, np.where(far, 0.0, real), columns)
    return np.flatnonzero(far.reshape(tensor.shape) | (cells < tensor.low) | (cells > tensor.high))


def stored_tensors(circuit: Circuit, dtypes: Sequence[str]) -> list[bool]:
    """Which inputs, then outputs, are of integers that stand for other reals; ``dtypes``: the model's, in this order."""
    ports = (*circuit.inputs, *circuit.outputs)
    found = []
    for port, dtype in zip(ports, dtypes, strict=True):
        tensor = circuit.tensors[port.tensor]
        found.append(np.dtype(dtype).kind in "iu" and (tensor.scale, tensor.zero_point) != ((1, 1), 0))
    return found


def quantise(tensor: TensorStatement, values: NDArray[Any]) -> tuple[int, ...]:
    """q of every cell, row-major, for what the model's own tensor holds, in any type of numbers. Raises InputRejected."""
    array = np.asarray(values)
    if array.shape != tensor.shape:
        raise InputRejected("input-shape", f"shape {array.shape}, the statement has {tensor.shape}", where=tensor.name)
    if tensor.encoding is Encoding.FLOAT32:
        return tuple(ordered_cells(tensor.name, array).reshape(-1).tolist())
    if tensor.columns:
        return tuple(centred_columns(tensor.name, array, tensor.columns).reshape(-1).tolist())
    # Numbers are values, of whatever type: an integer 1 given for a tensor of reals is the real 1, not one step.
    step, offset = (Fraction(1), 0) if tensor.stored else (tensor.scale, tensor.zero_point)
    found = to_steps(tensor.name, array, step)
    if tensor.stored and bool((found != array).any()):
        raise InputRejected("input-out-of-range", "the tensor is of integers, and a value is none", where=tensor.name)
    return tuple((found.reshape(-1) + offset).tolist())


def item_tensor(circuit: Circuit, number: int, items: int | None = None) -> Tensor:
    """A tensor of one inference, without the batch's axis; or with one of ``items``. Itself where there is no batch."""
    tensor = circuit.tensors[number]
    if not circuit.batch:
        return tensor
    return replace(tensor, shape=(*(() if items is None else (items,)), *tensor.shape[1:]))


def filled(values: NDArray[Any], batch: int) -> NDArray[Any]:
    """The items of ``values`` (first axis), and the last of them again and again, ``batch`` in all."""
    missing = batch - len(values)
    return np.concatenate([values, np.repeat(values[-1:], missing, axis=0)]) if missing else values


def items_of(circuit: Circuit, inputs: Mapping[str, NDArray[Any]]) -> int:
    """How many items the inputs of a circuit with a batch axis have; 0 for a circuit without.

    Raises:
        InputRejected: ``input-shape``, when there are none, too many, or not equally many.
    """
    if not circuit.batch:
        return 0
    counts = {len(values) for values in inputs.values()}
    if len(counts) != 1 or not 1 <= max(counts) <= circuit.batch:
        found = " and ".join(str(count) for count in sorted(counts))
        message = f"{found} samples; the circuit takes 1 to {circuit.batch:,} at once"
        raise InputRejected("input-shape", message, where="inputs", hint="Give each input as many samples as the others.")
    return counts.pop()


def circuit_inputs(
    circuit: Circuit, names: Sequence[str], inputs: Mapping[str, NDArray[Any]], scales: Mapping[str, Scale] | None = None
) -> list[Ints]:
    """The circuit's inputs for float tensors by ONNX name; ``scales``: those that are pinned. Raises InputRejected.

    Of a batch, each has a first axis of at most as many items as the circuit takes; filler is added.
    """
    items = items_of(circuit, inputs) or None
    found = []
    for port, name in zip(circuit.inputs, names, strict=True):
        cells = quantise_input(
            item_tensor(circuit, port.tensor, items),
            inputs[name],
            shown=port.visibility is Visibility.PUBLIC or not circuit.zero_knowledge,
            columns=places_of((scales or {}).get(name), port.visibility),
        )
        found.append(filled(cells, circuit.batch) if circuit.batch else cells)
    return found


def saturated_inputs(
    specs: Sequence[TensorSpec], circuit: Circuit, inputs: Mapping[str, NDArray[Any]], scales: Mapping[str, Scale]
) -> list[Ints]:
    """The circuit's inputs for float tensors by ONNX name, clamped to the inputs' ranges instead of refused beyond them."""
    found = []
    for spec, port in zip(specs, circuit.inputs, strict=True):
        tensor, columns = circuit.tensors[port.tensor], places_of(scales.get(spec.name), port.visibility)
        if isinstance(columns, OrderedFloats):
            steps = _input_steps(tensor, inputs[spec.name], columns)
        elif columns:
            steps = centred_columns(spec.name, inputs[spec.name], columns)
        else:
            steps = centred(spec.name, inputs[spec.name], Fraction(*tensor.scale), tensor.zero_point)
        found.append(np.clip(steps, tensor.low, tensor.high).reshape(tensor.shape))
    return found


def real_outputs(
    circuit: Circuit, specs: Sequence[TensorSpec], cells: Sequence[Ints], scales: Mapping[str, Scale]
) -> dict[str, NDArray[Any]]:
    """The circuit's outputs by ONNX name and shape: float64, exact since x and mantissa have at most 32 bits; or integers q.

    ``scales``: those that are pinned, of which some have columns. Of a batch, a first axis of all its items, filler too.
    """
    found: dict[str, NDArray[Any]] = {}
    batch = (circuit.batch,) if circuit.batch else ()
    for spec, port, centred_cells in zip(specs, circuit.outputs, cells, strict=True):
        tensor, x = circuit.tensors[port.tensor], centred_cells.reshape((*batch, *spec.shape))
        columns = columns_of(scales.get(spec.name))
        if columns:
            zeros = np.array([column.zero_point for column in columns], np.float64)
            found[spec.name] = (x.astype(np.float64) - zeros) * np.array([float(column.scale) for column in columns])
            continue
        integers = np.dtype(spec.dtype).kind in "iu"
        found[spec.name] = x + tensor.zero_point if integers else x.astype(np.float64) * float(Fraction(*tensor.scale))
    return found
