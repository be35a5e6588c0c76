"""Tensors that a verifier holds, read by what a statement says of them: whole numbers as they are, however large."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from verifai.cli import arguments
from verifai.cli.arguments import read_named
from verifai.domain.categories import Categories
from verifai.domain.names import PlaceNames
from verifai.domain.statement import Role, TensorStatement, Visibility
from verifai.errors import InputRejected

LARGE = (1 << 24) + 1


def stated(name: str = "x", scale: Fraction = Fraction(1), shape: tuple[int, ...] = (1, 3)) -> TensorStatement:
    quantised = (0,) * int(np.prod(shape))
    return TensorStatement(Role.INPUT, name, shape, Visibility.PUBLIC, scale, 0, quantised, None, None)


@pytest.fixture(autouse=True)
def no_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes need a running verb."""
    monkeypatch.setattr(arguments, "current", lambda: SimpleNamespace(note=lambda text: None))


@pytest.mark.parametrize("ending", ["npz", "npy", "json", "csv"])
def test_whole_numbers_that_float32_does_not_hold_are_taken_as_they_are(tmp_path: Path, ending: str) -> None:
    path, values = tmp_path / f"x.{ending}", [LARGE, -5, 2**40 + 1]
    if ending == "npz":
        np.savez(path, x=np.array([values], np.int64))
    elif ending == "npy":
        np.save(path, np.array([values], np.int64))
    elif ending == "json":
        path.write_text(json.dumps({"input_data": [values]}))
    else:
        path.write_text("a,b,c\n" + ",".join(map(str, values)) + "\n")
    assert read_named(str(path), [stated()], PlaceNames(), "--input")["x"].tolist() == [values]


def test_other_numbers_are_rounded_to_float32_as_ever(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"input_data": [[0.1, 2, 3]]}))
    found = read_named(str(tmp_path / "x.json"), [stated()], PlaceNames(), "--input")["x"]
    assert found.dtype == np.float32 and found[0, 0] == np.float32(0.1)
    (tmp_path / "y.json").write_text(json.dumps({"input_data": [[1, 2, 3]]}))
    assert (
        read_named(str(tmp_path / "y.json"), [stated(scale=Fraction(1, 8))], PlaceNames(), "--input")["x"].dtype == np.float32
    )


def test_each_tensor_is_read_for_itself(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array([[LARGE, 0, 0]], np.int64), y=np.array([[0.5, 1, 2]], np.float32))
    found = read_named(str(tmp_path / "x.npz"), [stated(), stated("y")], PlaceNames(), "--input")
    assert found["x"][0, 0] == LARGE and found["y"].dtype == np.float32


def test_a_large_whole_number_for_a_rounded_tensor_is_still_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.array([[LARGE, 0, 0]], np.int64))
    with pytest.raises(InputRejected, match="not exact as float32"):
        read_named(str(tmp_path / "x.npz"), [stated(scale=Fraction(1, 8))], PlaceNames(), "--input")


NAMES = PlaceNames(columns={"x": ("age", "job", "rate")}, categories={"x": {"job": Categories(("clerk", "doctor"))}})


def test_a_table_is_read_by_the_names_and_texts_of_the_lock_and_what_is_no_input_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("rate,paid,age,job\n0.5,yes,33,doctor\n")
    found = read_named(str(path), [stated(scale=Fraction(1, 8))], NAMES, "--input")
    assert found["x"].tolist() == [[33, 1, 0.5]]
    path.write_text("rate,paid,job\n0.5,yes,doctor\n")
    with pytest.raises(InputRejected, match="there is no column 'age'"):
        read_named(str(path), [stated(scale=Fraction(1, 8))], NAMES, "--input")
