"""Values from files as the model takes them: unchanged, or refused with the place. Every reader of samples uses this module.

A proof and a vote are about the values that reached the model. A silent cast would make them about other values than those in
the file.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.errors import InputRejected
from verifai.onnx_graph.tensors import Array

_WORDS: dict[type, str] = {
    bool: "a boolean", int: "an integer", float: "a number with a decimal point or exponent", str: "a string",
    type(None): "null", dict: "an object",
}  # fmt: skip


def exact_cast(array: Array, dtype: str, where: str, *, finite: bool = True) -> Array:
    """``array`` as ``dtype``, every value unchanged.

    Args:
        dtype: the model's; a NumPy name.
        where: the file and tensor, for messages.
        finite: whether infinities and NaN are refused here; else by whoever looks at each sample.

    Raises:
        InputRejected: ``input-dtype`` when a value would change or the kinds do not fit, ``input-non-finite``.
    """
    target = np.dtype(dtype)
    if finite and array.dtype.kind == "f" and not np.isfinite(array).all():
        index = _first(~np.isfinite(array))
        raise InputRejected(
            "input-non-finite",
            f"the value at {index} is {array[tuple(index)]}",
            where=where,
            hint="Replace it by a finite number, or leave the sample out.",
        )
    if array.dtype == target:
        return array
    numbers = array.dtype.kind in "iuf" and target.kind in "iuf"
    if not numbers or (array.dtype.kind == "f" and target.kind != "f"):
        raise InputRejected(
            "input-dtype",
            f"{array.dtype.name} was given; the model takes {target.name}",
            where=where,
            hint=f'If the values are what you mean, convert them yourself first: array.astype("{target.name}").',
        )
    with np.errstate(all="ignore"):
        result = array.astype(target)
        same = (result.astype(array.dtype) == array) & ((result < 0) == (array < 0)) & _in_range(array, target)
        same |= np.isnan(result) & np.isnan(array) if array.dtype.kind == target.kind == "f" else False
    if not same.all():
        raise InputRejected(
            "input-dtype",
            f"{array.dtype.name} was given and the value at {_first(~same)} is not exact as {target.name}",
            where=where,
            hint=f'Round it yourself first: array.astype("{target.name}").',
        )
    return result


def exact_numbers(values: object, dtype: str, where: str) -> Array:
    """A number, or nested lists of numbers, from JSON as an array of ``dtype``.

    Integers and booleans are taken as they are, for a tensor of their kind only. For a floating-point ``dtype``, decimal text
    is rounded to the nearest value, since JSON has no such types; an integer counts as decimal text there.

    Args:
        values: as :func:`verifai.domain.strict_json.loads` returns them.
        dtype: the model's; a NumPy name.
        where: the file and tensor, for messages.

    Raises:
        InputRejected: ``input-malformed`` for ragged lists; ``input-dtype`` for what is no number of that kind, or an integer
            out of range; ``input-non-finite`` for a number beyond a floating-point ``dtype``.
    """
    leaves, shape = _flattened(values, where)
    target = np.dtype(dtype)
    if target.kind not in "iufb":
        raise InputRejected("input-dtype", f"JSON has no values of {target.name}", where=where, hint="Use an .npz file.")
    for index, value in enumerate(leaves):
        problem = _unfit(value, target)
        if problem is not None:
            message, hint = problem
            raise InputRejected("input-dtype", message, where=where + _place(index, shape), hint=hint)
    with np.errstate(over="ignore"):
        array = np.array(leaves, dtype=np.float64 if target.kind == "f" else target).astype(target).reshape(shape)
    if target.kind == "f" and not np.isfinite(array).all():
        raise InputRejected(
            "input-non-finite",
            f"the value is outside the range of {target.name}",
            where=where + "".join(f"[{i}]" for i in _first(~np.isfinite(array))),
            hint=f"{target.name} holds values up to {np.finfo(target).max:.2g}: scale the data as the model expects it.",
        )
    return array


def _flattened(values: object, where: str) -> tuple[list[Any], tuple[int, ...]]:
    """The leaves of nested lists, row-major, and their shape."""
    leaves: list[Any] = [values]
    shape: tuple[int, ...] = ()
    while any(isinstance(one, list) for one in leaves):
        lengths = {len(one) if isinstance(one, list) else None for one in leaves}
        if len(lengths) != 1:
            raise InputRejected(
                "input-malformed",
                f"the lists at depth {len(shape)} differ in length",
                where=where,
                hint="Nested lists must form one rectangular array.",
            )
        shape = (*shape, len(leaves[0]))
        leaves = [leaf for one in leaves for leaf in one]
    return leaves, shape


def _unfit(value: object, target: np.dtype[Any]) -> tuple[str, str] | None:
    """Why a JSON value is not taken for ``target``, and what to do; None when it is taken."""
    given = f"{_WORDS[type(value)]} was given; the model takes {target.name}"
    if target.kind == "b":
        return None if isinstance(value, bool) else (given, "Write true or false.")
    if isinstance(value, bool):
        return given, "If that is what you mean, write 1 for true and 0 for false."
    if not isinstance(value, int | float):
        return given, "Give plain numbers without quotation marks; field elements in hexadecimal are not accepted."
    if target.kind != "f":
        if isinstance(value, float):
            return given, "Give whole numbers without a decimal point."
        limits = np.iinfo(target)
        if not limits.min <= value <= limits.max:
            return f"a value is outside the range of {target.name}", f"{target.name} holds {limits.min} to {limits.max}."
    elif isinstance(value, int) and abs(value) > _LARGEST:
        return f"a value is outside the range of {target.name}", "Scale the data as the model expects it."
    return None


_LARGEST = int(np.finfo(np.float64).max)


def _place(index: int, shape: tuple[int, ...]) -> str:
    return "".join(f"[{int(i)}]" for i in np.unravel_index(index, shape))


def _first(mask: Array) -> list[int]:
    """Index of the first true cell."""
    return [int(i) for i in np.argwhere(mask)[0]]


def _in_range(array: Array, target: np.dtype[Any]) -> Array | np.bool_:
    """Casting an out-of-range float is undefined in C, and a rounded-up integer can wrap back to itself."""
    if array.dtype.kind in "iu" and target.kind == "f":
        return np.abs(array.astype(np.float64)) <= 2**53
    return np.bool_(True)
