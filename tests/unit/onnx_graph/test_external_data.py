"""Weights beside the model: only plain files of its own folder, only the bytes that the shapes need."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.support.onnx_builders import model, node, weights
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise

VALUES = weights(4)


def with_external(location: str, **fields: str) -> bytes:
    source = model([node("Add", ["x", "w"])])
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[4], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": location, **fields}.items():
        tensor.external_data.add(key=key, value=value)
    source.graph.initializer.append(tensor)
    return source.SerializeToString()


def refused(data: bytes, folder: Path | None) -> UnsupportedModel:
    with pytest.raises(UnsupportedModel) as caught:
        canonicalise(data, where="model.onnx", folder=folder)
    assert caught.value.code == "model-external-data"
    assert "'w'" in caught.value.where
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path / "model"
    (inside / "deep").mkdir(parents=True)
    (inside / "weights.bin").write_bytes(b"\0" * 8 + VALUES.tobytes())
    (inside / "deep" / "weights.bin").write_bytes(VALUES.tobytes())
    (tmp_path / "secret.bin").write_bytes(VALUES.tobytes())
    return inside


@pytest.mark.parametrize(
    "location", ["../secret.bin", "deep/../../secret.bin", "..", "", ".", "a\\b", "deep\0", "none.bin", "deep"]
)
def test_a_path_that_is_no_plain_file_of_the_folder_is_refused(folder: Path, location: str) -> None:
    refused(with_external(location), folder)


def test_an_absolute_path_is_refused(folder: Path) -> None:
    refused(with_external(str(folder / "weights.bin")), folder)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_is_refused(folder: Path, kind: str) -> None:
    if kind == "file":
        (folder / "link").symlink_to(folder.parent / "secret.bin")
        refused(with_external("link"), folder)
    else:
        (folder / "link").symlink_to(folder.parent)
        refused(with_external("link/secret.bin"), folder)


def test_a_pipe_is_refused_without_waiting(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    refused(with_external("pipe"), folder)


@pytest.mark.parametrize(
    "fields",
    [
        {"offset": "-1"},
        {"offset": "x"},
        {"offset": "9"},
        {"offset": "9" * 30},
        {"length": "8"},
        {"length": "1e3"},
        {"offset": "٣"},
    ],
)
def test_an_offset_or_length_that_does_not_fit_is_refused(folder: Path, fields: dict[str, str]) -> None:
    refused(with_external("weights.bin", **fields), folder)


def test_external_data_without_a_folder_is_refused() -> None:
    refused(with_external("weights.bin"), None)


def test_external_data_of_the_folder_is_pulled_in(folder: Path) -> None:
    inside = canonicalise(model([node("Add", ["x", "w"])], {"w": VALUES}).SerializeToString(), where="m").model
    for data in (with_external("weights.bin", offset="8", length="16"), with_external("deep/weights.bin")):
        assert canonicalise(data, where="m", folder=folder).model.sha256 == inside.sha256


def test_a_constant_node_with_external_data_is_pulled_in_too(folder: Path) -> None:
    source = model([node("Constant", [], ["w"], value=onnx.helper.make_tensor("w", 1, [4], [0] * 4)), node("Add", ["x", "w"])])
    value = source.graph.node[0].attribute[0].t
    value.ClearField("float_data")
    value.data_location = onnx.TensorProto.EXTERNAL
    value.external_data.add(key="location", value="deep/weights.bin")
    found = canonicalise(source.SerializeToString(), where="m", folder=folder).model
    assert np.frombuffer(found.proto.graph.initializer[0].raw_data, np.float32).tobytes() == VALUES.tobytes()


def test_a_link_says_how_to_go_on(folder: Path) -> None:
    (folder / "link").symlink_to("weights.bin")
    problem = refused(with_external("link"), folder)
    assert "link" in problem.message
    assert f"cp -rL {folder}" in problem.hint


def test_a_missing_file_says_where_it_belongs(folder: Path) -> None:
    assert "beside the model" in refused(with_external("model.onnx.data"), folder).hint


def test_a_pointer_in_place_of_the_weights_is_named(folder: Path) -> None:
    (folder / "weights.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    problem = refused(with_external("weights.bin", offset="64"), folder)
    assert ("Git LFS" in problem.message, "git lfs pull" in problem.hint) == (True, True)


def test_without_a_folder_the_export_is_named() -> None:
    assert "verifai export model.onnx -o model.canonical.onnx" in refused(with_external("weights.bin"), None).hint
