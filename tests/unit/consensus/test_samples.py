"""Samples of a round: names and shapes are the model's, whose axes may be symbolic. Values: test_exact.py of onnx_graph."""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from verifai.consensus.files import StatedInputs, read_samples
from verifai.consensus.runner import VoteRunner
from verifai.domain.consensus.job import RuntimeOptions
from verifai.domain.statement import Role, TensorStatement, Visibility
from verifai.errors import InputRejected, UnsupportedModel


@dataclass
class Inputs:
    """What reading asks of a model."""

    shapes: dict[str, tuple[int | None, ...]]
    dtypes: dict[str, str]

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(self.shapes)


TOKENS = Inputs({"ids": (None, None), "mask": (4, None, 2)}, {"ids": "int64", "mask": "float32"})
"""Tokens of any number, and a mask whose fixed batch the runner stacks to."""


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value))
    return path


def refusal(path: Path, model: Any = TOKENS) -> tuple[str, str]:
    with pytest.raises(InputRejected) as caught:
        read_samples(path, model)
    return caught.value.code, caught.value.where


IDS, MASK = np.ones((3, 5), np.int64), np.ones((3, 5, 2), np.float32)


@pytest.mark.parametrize(
    ("arrays", "code"),
    [
        ({"ids": IDS}, "input-missing"),
        ({"ids": IDS, "label": IDS}, "input-missing"),
        ({"ids": IDS, "mask": MASK, "other": IDS}, "input-unknown"),
        ({"ids": IDS, "mask": MASK[:2]}, "input-malformed"),
        ({"ids": IDS[:0], "mask": MASK[:0]}, "input-malformed"),
        ({"ids": IDS, "mask": MASK[:, :, :1]}, "input-shape"),
        ({"ids": IDS, "mask": MASK[:, 0, 0]}, "input-shape"),
        ({"ids": IDS[:, None, None], "mask": MASK}, "input-shape"),
    ],
)
def test_arrays_that_are_not_the_models_inputs_are_refused(arrays: dict[str, Any], code: str, tmp_path: Path) -> None:
    assert refusal(saved(tmp_path / "x.npz", **arrays))[0] == code


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({}, "input-malformed"),
        ([], "input-malformed"),
        ([[1, 2]], "input-malformed"),
        ([{"ids": [1, 2]}], "input-missing"),
        ([{"ids": [1, 2], "mask": [[0, 0]], "label": [1]}], "input-unknown"),
        ([{"ids": [[1, 2], [3]], "mask": [[0, 0]]}], "input-malformed"),
        ([{"ids": [[[1]]], "mask": [[0, 0]]}], "input-shape"),
        ([{"ids": 7, "mask": [[0, 0]]}], "input-shape"),
        ([{"ids": [1], "mask": [[0, 0, 0]]}], "input-shape"),
    ],
)
def test_json_that_is_not_the_models_inputs_is_refused(value: Any, code: str, tmp_path: Path) -> None:
    found, where = refusal(written(tmp_path / "x.json", value))
    assert (found, str(tmp_path) in where) == (code, True)


def test_the_place_of_a_wrong_value_names_sample_tensor_and_cell(tmp_path: Path) -> None:
    path = written(tmp_path / "x.json", [{"ids": [1], "mask": [[0, 0]]}, {"ids": [1, 1.5], "mask": [[0, 0]]}])
    assert refusal(path) == ("input-dtype", f"{path}[1].ids[1]")


def test_samples_of_different_length_fit_and_get_their_batch_axis(tmp_path: Path) -> None:
    rows = [{"ids": [1, 2, 3], "mask": [[0.5, 0]]}, {"ids": [[4]], "mask": [[[1, 2], [3, 4]]]}]
    first, second = read_samples(written(tmp_path / "x.json", rows), TOKENS)
    assert (first["ids"].tolist(), first["mask"].shape) == ([[1, 2, 3]], (1, 1, 2))
    assert (second["ids"].tolist(), second["mask"].shape) == ([[4]], (1, 2, 2))
    assert (first["ids"].dtype, first["mask"].dtype) == (np.int64, np.float32)


def test_axis_zero_of_arrays_counts_samples_and_the_label_is_left_out(tmp_path: Path) -> None:
    found = read_samples(saved(tmp_path / "x.npz", ids=IDS, mask=MASK, label=np.zeros(3)), TOKENS)
    assert [{name: one.shape for name, one in row.items()} for row in found] == [{"ids": (1, 5), "mask": (1, 5, 2)}] * 3


def test_an_input_called_label_is_an_input(tmp_path: Path) -> None:
    model = Inputs({"x": (None, 2), "label": (None, 1)}, {"x": "float32", "label": "int64"})
    (row,) = read_samples(saved(tmp_path / "x.npz", x=np.ones((1, 2), np.float32), label=np.ones((1, 1), np.int64)), model)
    assert sorted(row) == ["label", "x"]


def test_a_statement_says_shapes_and_no_element_type(tmp_path: Path) -> None:
    stated = StatedInputs([TensorStatement(Role.INPUT, "x", (1, 2), Visibility.PRIVATE, Fraction(1))])
    for array, dtype in (
        (np.array([[0.5, 1.0]]), "float32"),
        (np.array([[3, 4]]), "int64"),
        (np.array([[True, False]]), "bool"),
    ):
        (row,) = read_samples(saved(tmp_path / "x.npz", x=array), stated)
        assert (row["x"].dtype.name, row["x"].tolist()) == (dtype, array.tolist())
    (row,) = read_samples(written(tmp_path / "x.json", [{"x": [1, 0.1]}]), stated)
    assert (row["x"].dtype, row["x"].shape) == (np.float32, (1, 2))
    assert refusal(saved(tmp_path / "x.npz", x=np.array([[0.1, 1.0]])), stated)[0] == "input-dtype"
    assert refusal(saved(tmp_path / "x.npz", x=np.ones((1, 3), np.float32)), stated)[0] == "input-shape"


def identity(kind: int) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", kind, ["batch", 2])],
        [helper.make_tensor_value_info("y", kind, ["batch", 2])],
    )
    made: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()
    return made


@pytest.mark.parametrize(
    "dtype",
    ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool"],
)
def test_a_runner_takes_samples_of_every_type_that_arrays_have(dtype: str, tmp_path: Path) -> None:
    runner = VoteRunner(identity(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))), RuntimeOptions())
    array = np.array([[1, 0], [0, 1]]).astype(dtype)
    outputs = runner.run(read_samples(saved(tmp_path / "x.npz", x=array), runner))
    assert (runner.shapes, runner.dtypes) == ({"x": (None, 2)}, {"x": dtype})
    assert [one["y"].tolist() for one in outputs] == [[[1, 0]], [[0, 1]]]
    assert outputs[0]["y"].dtype == np.dtype(dtype)


def test_a_model_with_an_input_that_no_file_can_hold_is_refused() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        VoteRunner(identity(TensorProto.STRING), RuntimeOptions())
    assert (caught.value.code, caught.value.where) == ("runner-refused", "input 'x'")


TABLE = Inputs({"x": (None, 2)}, {"x": "float32"})


def test_a_table_gives_a_sample_per_row(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a;b;label\n1;0.5;7\n2;-1;8\n")
    found = read_samples(path, TABLE)
    assert [one["x"].tolist() for one in found] == [[[1.0, 0.5]], [[2.0, -1.0]]]


def test_a_table_cannot_fill_an_open_axis(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("a,b\n1,2\n")
    assert refusal(path, Inputs({"ids": (None, None)}, {"ids": "int64"}))[0] == "input-shape"


def test_the_only_array_is_the_only_input(tmp_path: Path) -> None:
    (row,) = read_samples(saved(tmp_path / "x.npz", features=np.ones((1, 2), np.float32)), TABLE)
    assert row["x"].tolist() == [[1.0, 1.0]]


def test_the_content_decides_not_the_name(tmp_path: Path) -> None:
    rows = [{"x": [1, 2]}]
    assert read_samples(written(tmp_path / "x.npz", rows), TABLE)[0]["x"].tolist() == [[1.0, 2.0]]
    (tmp_path / "x.json").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(InputRejected, match="Git LFS"):
        read_samples(tmp_path / "x.json", TABLE)


def test_an_npy_file_is_the_only_inputs_array(tmp_path: Path) -> None:
    one = Inputs({"x": (None, 3)}, {"x": "float32"})
    np.save(tmp_path / "x.npy", np.arange(6, dtype=np.float32).reshape(2, 3))
    assert [sample["x"].tolist() for sample in read_samples(tmp_path / "x.npy", one)] == [[[0, 1, 2]], [[3, 4, 5]]]
    assert refusal(tmp_path / "x.npy")[0] == "input-missing", "of two inputs, it is not known which"
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    assert refusal(tmp_path / "pickled.npy", one)[0] in ("input-dtype", "input-malformed")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-1])
    assert refusal(tmp_path / "cut.npy", one)[0] == "input-malformed"
