"""Values are taken exactly or refused, by both readers of samples: the one of circuits and the one of rounds.

Each case is written as both kinds of file; both readers give one verdict about the same file's values.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verifai.consensus import files as rounds
from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected
from verifai.onnx_graph import inputs as circuits
from verifai.onnx_graph.exact import exact_cast, exact_numbers


class Model:
    """One input ``x`` of two values, as both readers ask about it; its batch axis is symbolic for rounds."""

    def __init__(self, dtype: str) -> None:
        self.specs = (TensorSpec("x", dtype, (1, 2)),)
        self.inputs = ("x",)
        self.shapes = {"x": (None, 2)}
        self.dtypes = {"x": dtype}


class Circuit:
    """The same for circuits."""

    def __init__(self, model: Model) -> None:
        self.inputs = model.specs


def circuit_json(path: Path, text: str, model: Model) -> Any:
    path.write_text(f'{{"input_data": [{text}]}}')
    return circuits.read_samples(path, Circuit(model))[0]["x"]


def round_json(path: Path, text: str, model: Model) -> Any:
    path.write_text(f'[{{"x": {text}}}]')
    return rounds.read_samples(path, model)[0]["x"]


def circuit_npz(path: Path, array: Any, model: Model) -> Any:
    np.savez(path, x=array)
    return circuits.read_samples(path, Circuit(model))[0]["x"]


def round_npz(path: Path, array: Any, model: Model) -> Any:
    np.savez(path, x=array)
    return rounds.read_samples(path, model)[0]["x"]


JSON_READERS = pytest.mark.parametrize("read", [circuit_json, round_json])
NPZ_READERS = pytest.mark.parametrize("read", [circuit_npz, round_npz])

REFUSED_JSON = [
    ("[1.5, 0]", "int64", "input-dtype", "[0]"),
    ("[1.0, 0]", "int64", "input-dtype", "[0]"),
    ('["1.5", 0]', "float32", "input-dtype", "[0]"),
    ('["1", 0]', "int64", "input-dtype", "[0]"),
    ("[0, true]", "float32", "input-dtype", "[1]"),
    ("[0, true]", "int64", "input-dtype", "[1]"),
    ("[1e300, 0]", "float32", "input-non-finite", "[0]"),
    ("[0, -1e300]", "float32", "input-non-finite", "[1]"),
    ("[70000.0, 0]", "float16", "input-non-finite", "[0]"),
    ("[0, null]", "float32", "input-dtype", "[1]"),
    ("[0, {}]", "float32", "input-dtype", "[1]"),
    ("[NaN, 0]", "float32", "input-malformed", ""),
    ("[NaN, 0]", "int64", "input-malformed", ""),
    ("[Infinity, 0]", "int64", "input-malformed", ""),
    ("[1e999, 0]", "float64", "input-malformed", ""),
    ("[-1, 0]", "uint8", "input-dtype", "[0]"),
    ("[0, 256]", "uint8", "input-dtype", "[1]"),
    ("[-1, 0]", "uint64", "input-dtype", "[0]"),
    ("[9223372036854775808, 0]", "int64", "input-dtype", "[0]"),
    (f"[0, {10**400}]", "float32", "input-dtype", "[1]"),
    ("[0, 1]", "bool", "input-dtype", "[0]"),
    ("[0.0, true]", "bool", "input-dtype", "[0]"),
    ('["true", true]', "bool", "input-dtype", "[0]"),
]
REFUSED_NPZ: list[tuple[Any, str, str]] = [
    (np.array([[1.5, 0.0]]), "int64", "input-dtype"),
    (np.array([[1.0, 0.0]], np.float32), "int64", "input-dtype"),
    (np.array([["1.5", "0"]]), "float32", "input-dtype"),
    (np.array([[True, False]]), "float32", "input-dtype"),
    (np.array([[True, False]]), "int64", "input-dtype"),
    (np.array([[1e300, 0.0]]), "float32", "input-dtype"),
    (np.array([[0.1, 0.0]]), "float32", "input-dtype"),
    (np.array([[1e-50, 0.0]]), "float32", "input-dtype"),
    (np.array([[2**24 + 1, 0]]), "float32", "input-dtype"),
    (np.array([[np.nan, 0.0]], np.float32), "float32", "input-non-finite"),
    (np.array([[np.inf, 0.0]], np.float32), "float32", "input-non-finite"),
    (np.array([[np.nan, 0.0]]), "int64", "input-non-finite"),
    (np.array([[-np.inf, 0.0]]), "int64", "input-non-finite"),
    (np.array([[-1, 0]]), "uint8", "input-dtype"),
    (np.array([[256, 0]]), "uint8", "input-dtype"),
    (np.array([[-1, 0]]), "uint64", "input-dtype"),
    (np.array([[2**63, 0]], np.uint64), "int64", "input-dtype"),
    (np.array([[0, 1]], np.uint8), "bool", "input-dtype"),
    (np.array([[0.0, 1.0]], np.float32), "bool", "input-dtype"),
]


@JSON_READERS
@pytest.mark.parametrize(("text", "dtype", "code", "place"), REFUSED_JSON)
def test_json_values_that_the_model_does_not_take_are_refused(
    text: str, dtype: str, code: str, place: str, read: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(InputRejected) as caught:
        read(tmp_path / "x.json", text, Model(dtype))
    assert caught.value.code == code
    assert caught.value.where.endswith(place)
    assert str(tmp_path) in caught.value.where
    assert caught.value.hint or code == "input-malformed"


@NPZ_READERS
@pytest.mark.parametrize(("array", "dtype", "code"), REFUSED_NPZ)
def test_arrays_whose_values_would_change_are_refused(
    array: Any, dtype: str, code: str, read: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(InputRejected) as caught:
        read(tmp_path / "x.npz", array, Model(dtype))
    assert caught.value.code == code
    assert "array 'x'" in caught.value.where
    assert caught.value.hint


@JSON_READERS
@pytest.mark.parametrize(
    ("text", "dtype", "values"),
    [
        ("[0.1, 16777217]", "float32", [np.float32(0.1), 2.0**24]),
        ("[1e-50, -2]", "float32", [0.0, -2.0]),
        ("[0.1, 1e300]", "float64", [0.1, 1e300]),
        ("[9223372036854775807, -9223372036854775808]", "int64", [2**63 - 1, -(2**63)]),
        ("[18446744073709551615, 0]", "uint64", [2**64 - 1, 0]),
        ("[255, 0]", "uint8", [255, 0]),
        ("[true, false]", "bool", [True, False]),
    ],
)
def test_json_values_that_are_taken(text: str, dtype: str, values: Any, read: Callable[..., Any], tmp_path: Path) -> None:
    found = read(tmp_path / "x.json", text, Model(dtype))
    assert (found.dtype.name, found.shape, found.ravel().tolist()) == (dtype, (1, 2), values)


@NPZ_READERS
@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.array([[0.5, -2.0]]), "float32"),
        (np.array([[2**24, -3]]), "float32"),
        (np.array([[200, 3]], np.uint8), "int64"),
        (np.array([[200, 3]]), "uint8"),
        (np.array([[True, False]]), "bool"),
        (np.array([[0.1, 0.2]], np.float32), "float64"),
    ],
)
def test_arrays_whose_values_are_exact_are_taken(array: Any, dtype: str, read: Callable[..., Any], tmp_path: Path) -> None:
    found = read(tmp_path / "x.npz", array, Model(dtype))
    assert (found.dtype.name, found.tolist()) == (dtype, array.tolist())


@pytest.mark.parametrize("text", ["[[1, 2], [3]]", "[[1, 2], 3]", "[3, [1, 2]]", "[[[1]], [2]]", "[[], [1]]"])
def test_ragged_lists_are_refused(text: str) -> None:
    with pytest.raises(InputRejected) as caught:
        exact_numbers(json.loads(text), "float32", "x")
    assert caught.value.code == "input-malformed"


def test_nested_lists_keep_their_shape_and_name_the_place() -> None:
    assert exact_numbers([[[1], [2]], [[3], [4]]], "int64", "x").tolist() == [[[1], [2]], [[3], [4]]]
    assert exact_numbers([[], []], "float32", "x").shape == (2, 0)
    assert exact_numbers(7, "int32", "x").shape == ()
    with pytest.raises(InputRejected) as caught:
        exact_numbers([[0, 1], [2, "3"]], "int64", "x")
    assert caught.value.where == "x[1][1]"


@pytest.mark.parametrize("array", [np.array(["1.5"]), np.array([1j]), np.array([object()]), np.zeros(1, "datetime64[s]")])
def test_what_is_no_number_is_never_cast(array: Any) -> None:
    with pytest.raises(InputRejected) as caught:
        exact_cast(array, "float32", "x")
    assert caught.value.code == "input-dtype"
