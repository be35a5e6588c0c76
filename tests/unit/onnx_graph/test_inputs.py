"""Samples from files: exact, or refused with the tensor and the place."""

from __future__ import annotations

import io
import json
import random
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected, UsageError, VerifaiError
from verifai.onnx_graph import arrays
from verifai.onnx_graph.inputs import Samples, read_samples, to_arrays


class Takes:
    """A stand-in for a model: only its inputs matter here."""

    def __init__(self, *inputs: TensorSpec) -> None:
        self.inputs = inputs


IMAGE = Takes(TensorSpec("x", "float32", (1, 1, 2, 3)))
PAIR = Takes(TensorSpec("x", "float32", (1, 4)), TensorSpec("ids", "int64", (1, 2)))
ONE = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)


def npz(**items: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **items)
    return buffer.getvalue()


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def ezkl(*columns: Any, **more: Any) -> bytes:
    return json.dumps({"input_data": list(columns), **more}).encode()


def read(data: bytes, model: Takes = IMAGE) -> Samples:
    return read_samples("-", model, stdin=data)


def picture(mode: str, size: tuple[int, int], kind: str = "PNG", **options: Any) -> bytes:
    image = pytest.importorskip("PIL.Image", reason="reading images needs the [images] extra")
    buffer = io.BytesIO()
    image.new(mode, size, **options).save(buffer, kind)
    return buffer.getvalue()


def zipped(entries: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def header(text: str, body: bytes = b"") -> bytes:
    padded = text.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded + body


def twice() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x.npy", npy(ONE))
        archive.writestr("x.npy", npy(ONE * 2))
    return buffer.getvalue()


def lying_size() -> bytes:
    """A member whose headers declare one byte less than it unpacks to."""
    data = bytearray(npz(x=ONE))
    size = struct.pack("<I", len(npy(ONE)))
    assert data.count(size) >= 1
    return bytes(data.replace(size, struct.pack("<I", len(npy(ONE)) - 1)))


def bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as member:
        member.write(header("{'descr': '<f4', 'fortran_order': False, 'shape': (200000000,), }"))
        for _ in range(600):
            member.write(b"\0" * 2**20)
    return buffer.getvalue()


REFUSED: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "an empty file": (lambda: b"", "input-malformed", ""),
    "half a zip": (lambda: npz(x=ONE)[:-30], "input-malformed", ""),
    "a damaged member": (lambda: npz(x=ONE).replace(npz(x=ONE)[60:90], b"\0" * 30), "input-malformed", ""),
    "a member that is no array": (lambda: zipped({"x": npy(ONE)}), "input-malformed", "'x'"),
    "two members of one name": (twice, "input-malformed", "'x'"),
    "a member longer than declared": (lying_size, "input-malformed", ""),
    "a bomb": (bomb, "input-too-large", ""),
    "too many members": (lambda: zipped({f"a{i}.npy": b"" for i in range(1100)}), "input-too-large", ""),
    "an unknown array": (lambda: npz(x=ONE, extra=ONE), "input-unknown", "'extra'"),
    "a missing array": (lambda: npz(label=np.arange(1)), "input-missing", "'x'"),
    "a wrong shape": (lambda: npz(x=ONE.reshape(1, 1, 3, 2)), "input-shape", "'x'"),
    "too few axes": (lambda: npz(x=ONE[0, 0]), "input-shape", "'x'"),
    "no sample": (lambda: npz(x=ONE[:0]), "input-shape", "'x'"),
    "a scalar": (lambda: npz(x=np.float32(1)), "input-shape", "'x'"),
    "booleans": (lambda: npz(x=ONE > 2), "input-dtype", "'x'"),
    "strings": (lambda: npz(x=ONE.astype(str)), "input-dtype", "'x'"),
    "complex numbers": (lambda: npz(x=ONE.astype(complex)), "input-dtype", "'x'"),
    "dates": (lambda: npz(x=np.zeros(1, "datetime64[s]")), "input-dtype", "'x'"),
    "records": (lambda: npz(x=np.zeros(1, [("a", "f4")])), "input-dtype", "'x'"),
    "objects, which are pickles": (lambda: npy(np.array([print], dtype=object)), "input-dtype", "'x'"),
    "float64 that float32 would round": (lambda: npz(x=ONE.astype(float) / 3), "input-dtype", "'x'"),
    "float64 beyond float32": (lambda: npz(x=ONE.astype(float) * 1e300), "input-dtype", "'x'"),
    "integers that float32 would round": (lambda: npz(x=ONE.astype(np.int64) + 2**24), "input-dtype", "'x'"),
    "integers beyond float64": (lambda: npz(x=np.full((1, 1, 2, 3), 2**63 - 1)), "input-dtype", "'x'"),
    "NaN": (lambda: npz(x=ONE * np.nan), "input-non-finite", "'x'"),
    "infinity": (lambda: npz(x=ONE / np.float32(0)), "input-non-finite", "'x'"),
    "an unreadable header": (lambda: header("{'descr': <f4"), "input-malformed", "'x'"),
    "a header that nests deeply": (lambda: header("(" * 3000), "input-malformed", "'x'"),
    "a header with a call": (
        lambda: header("{'descr': print(1), 'fortran_order': False, 'shape': (1,), }"),
        "input-malformed",
        "'x'",
    ),
    "a header beyond the limit": (lambda: header(" " * 9000), "input-malformed", "'x'"),
    "a shape beyond the bytes": (
        lambda: header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }", b"\0" * 24),
        "input-malformed",
        "'x'",
    ),
    "a negative shape": (
        lambda: header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1, -6), }", b"\0" * 24),
        "input-malformed",
        "'x'",
    ),
    "a shape of booleans": (
        lambda: header("{'descr': '<f4', 'fortran_order': False, 'shape': (True, 6), }", b"\0" * 20),
        "input-malformed",
        "'x'",
    ),
    "a version from the future": (lambda: b"\x93NUMPY\x09\x00" + npy(ONE)[8:], "input-malformed", "'x'"),
    "trailing bytes": (lambda: npy(ONE) + b"\0", "input-malformed", "'x'"),
    "JSON without input_data": (lambda: b"{}", "input-malformed", "input_data"),
    "JSON with an unknown field": (lambda: ezkl([0] * 6, more=1), "input-malformed", "more"),
    "JSON with the key twice": (
        lambda: b'{"input_data": [[0,0,0,0,0,0]], "input_data": [[1,1,1,1,1,1]]}',
        "input-malformed",
        "",
    ),
    "JSON with NaN": (lambda: b'{"input_data": [[NaN,0,0,0,0,0]]}', "input-malformed", ""),
    "JSON with felt strings": (lambda: ezkl(["0x00"] * 6), "input-dtype", "input_data[0][0]"),
    "JSON with a boolean": (lambda: ezkl([0, 0, 0, 0, 0, True]), "input-dtype", "input_data[0][5]"),
    "JSON with null": (lambda: ezkl([None] * 6), "input-dtype", "input_data[0][0]"),
    "JSON with nested lists": (lambda: ezkl([[0, 0, 0]] * 2), "input-shape", "input_data[0]"),
    "JSON with too few numbers": (lambda: ezkl([0] * 5), "input-shape", "input_data[0]"),
    "JSON with two inputs": (lambda: ezkl([0] * 6, [0] * 6), "input-malformed", "input_data"),
    "JSON with a list of numbers": (lambda: b'{"input_data": 3}', "input-malformed", "input_data"),
    "JSON beyond float32": (lambda: ezkl([1e39] * 6), "input-non-finite", "input_data[0]"),
    "JSON with an integer beyond everything": (lambda: ezkl([10**400] * 6), "input-dtype", "input_data[0]"),
    "a picture of another size": (lambda: picture("L", (300, 200)), "input-shape", ""),
    "a picture with transparency": (lambda: picture("RGBA", (3, 2)), "input-dtype", ""),
    "a picture with sixteen bits": (lambda: picture("I;16", (3, 2)), "input-dtype", ""),
    "half a picture": (lambda: picture("L", (3, 2))[:45], "input-malformed", ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_with_its_code_and_place(case: str) -> None:
    build, code, place = REFUSED[case]
    if case.startswith(("a scalar", "an unreadable", "a header", "a shape", "a negative", "a version", "trailing", "objects")):
        place = ""  # a lone array has no name; the file is the place
    with np.errstate(all="ignore"):
        data = build()
    with pytest.raises(InputRejected) as caught:
        read(data)
    assert (caught.value.code, caught.value.status) == (code, 2)
    assert place in caught.value.where
    assert "standard input" in caught.value.where


def test_reading_a_pickle_never_runs_it(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    for data in (npy(np.array([Payload()], dtype=object)), npz(x=np.array([Payload()], dtype=object))):
        with pytest.raises(InputRejected):
            read(data)
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read_samples(tmp_path / "none.npz", IMAGE)
    assert caught.value.code == "file-missing"


def test_standard_input_must_be_given() -> None:
    with pytest.raises(UsageError) as caught:
        read_samples("-", IMAGE)
    assert caught.value.code == "bad-option"


def test_inputs_with_different_numbers_of_samples_are_refused() -> None:
    with pytest.raises(InputRejected) as caught:
        read(npz(x=np.zeros((3, 4), np.float32), ids=np.zeros((2, 2), np.int64)), PAIR)
    assert caught.value.code == "input-shape"


def test_one_array_for_two_inputs_is_refused() -> None:
    with pytest.raises(InputRejected) as caught:
        read(npy(ONE), PAIR)
    assert caught.value.code == "input-missing"


def test_a_picture_for_a_vector_is_refused() -> None:
    with pytest.raises(InputRejected) as caught:
        read(picture("L", (2, 2)), Takes(TensorSpec("x", "float32", (1, 4))))
    assert caught.value.code == "input-shape"


def test_floats_for_integers_are_refused() -> None:
    with pytest.raises(InputRejected) as caught:
        read(npz(x=np.zeros((1, 4), np.float32), ids=np.zeros((1, 2), np.float32)), PAIR)
    assert (caught.value.code, "'ids'" in caught.value.where) == ("input-dtype", True)


@pytest.mark.parametrize(
    ("shape", "count"), [((1, 1, 2, 3), 1), ((1, 2, 3), 1), ((5, 1, 2, 3), 5), ((5, 1, 1, 2, 3), 5), ((1, 1, 1, 2, 3), 1)]
)
def test_axis_zero_counts_samples(shape: tuple[int, ...], count: int) -> None:
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    samples = read(npy(values))
    assert len(samples) == count
    assert all(sample["x"].shape == (1, 1, 2, 3) and sample["x"].dtype == np.float32 for sample in samples)
    assert np.concatenate([sample["x"].ravel() for sample in samples]).tolist() == values.ravel().tolist()


def test_a_model_without_batch_of_one_takes_whole_samples() -> None:
    model = Takes(TensorSpec("x", "float32", (2, 3)))
    assert len(read(npy(np.zeros((2, 3), np.float32)), model)) == 1
    assert len(read(npy(np.zeros((4, 2, 3), np.float32)), model)) == 4


def test_the_label_is_ignored_with_a_note() -> None:
    samples = read(npz(x=np.repeat(ONE, 3, axis=0), label=np.array([7, 8, 9])))
    assert len(samples) == 3
    assert any("label" in note for note in samples.notes)
    assert samples.label is not None
    assert samples.label.tolist() == [7, 8, 9]


def test_an_input_called_label_is_an_input() -> None:
    samples = read(npz(label=np.zeros((2, 4), np.float32)), Takes(TensorSpec("label", "float32", (1, 4))))
    assert (len(samples), samples.notes) == (2, ())


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float64, np.float16, ">f4", ">f8"])
def test_values_that_are_exact_as_float32_are_taken(dtype: Any) -> None:
    assert read(npy(ONE.astype(dtype)))[0]["x"].tolist() == ONE.tolist()


def test_column_order_is_read_as_written() -> None:
    assert read(npy(np.asfortranarray(ONE)))[0]["x"].tolist() == ONE.tolist()


def test_json_numbers_are_rounded_to_the_nearest_float32() -> None:
    sample = read(ezkl([0.1, 1, -2, 0.5, 1e-50, 16777217], output_data=[[1]]))
    assert sample[0]["x"].ravel().tolist() == np.array([0.1, 1, -2, 0.5, 0, 16777216], np.float32).tolist()
    assert any("output_data" in note for note in sample.notes)


def test_json_for_several_inputs_goes_in_the_models_order() -> None:
    sample = read(ezkl([1, 2, 3, 4], [5, 6]), PAIR)[0]
    assert (sample["x"].tolist(), sample["ids"].tolist(), sample["ids"].dtype) == ([[1, 2, 3, 4]], [[5, 6]], np.int64)


@pytest.mark.parametrize("value", [[[1, 2, 3, 4]], [{"a": 1}], {"x": [[1, 2]]}, {"columns": ["a"], "data": [[1]]}])
def test_json_of_another_form_is_told_the_form(value: Any) -> None:
    with pytest.raises(InputRejected, match="no field 'input_data'") as caught:
        read(json.dumps(value).encode())
    assert '{"input_data": [[…]]}' in caught.value.hint and "CSV" in caught.value.hint


def test_a_shape_that_does_not_fit_is_not_said_to_lack_samples() -> None:
    with pytest.raises(InputRejected) as caught:
        read(npz(x=np.zeros((5, 1, 2, 4), np.float32)))
    assert "at least one" not in caught.value.hint and "the shape of one" in caught.value.hint
    with pytest.raises(InputRejected) as caught:
        read(npz(x=np.zeros((0, 1, 2, 3), np.float32)))
    assert "at least one" in caught.value.hint


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_grey_picture_becomes_its_pixels_between_zero_and_one(kind: str) -> None:
    samples = read(picture("L", (3, 2), kind, color=51))
    assert samples[0]["x"].tolist() == np.full((1, 1, 2, 3), np.float32(51) / np.float32(255)).tolist()
    assert any("scaled" in note for note in samples.notes)


def test_a_coloured_picture_becomes_three_planes() -> None:
    sample = read(picture("RGB", (3, 2), color=(255, 0, 51)), Takes(TensorSpec("x", "float32", (1, 3, 2, 3))))[0]["x"]
    assert sample[0, :, 0, 0].tolist() == np.array([1, 0, np.float32(0.2)], np.float32).tolist()


def turned(orientation: int) -> bytes:
    """A grey picture of 3×2 after turning, whose pixels are 0, 50, … 250 row by row, as a camera would store it."""
    image = pytest.importorskip("PIL.Image", reason="reading images needs the [images] extra")
    upright = image.fromarray(np.arange(0, 300, 50, dtype=np.uint8).reshape(2, 3))
    undo = {1: None, 3: image.Transpose.ROTATE_180, 6: image.Transpose.ROTATE_90, 8: image.Transpose.ROTATE_270}[orientation]
    stored = upright if undo is None else upright.transpose(undo)
    tags = image.Exif()
    tags[0x0112] = orientation
    buffer = io.BytesIO()
    stored.save(buffer, "PNG", exif=tags)
    return buffer.getvalue()


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_the_cameras_orientation_is_applied_and_said(orientation: int) -> None:
    samples = read(turned(orientation))
    assert (samples[0]["x"] * 255).round().ravel().tolist() == [0, 50, 100, 150, 200, 250]
    assert any("orientation" in note for note in samples.notes) == (orientation != 1)


@pytest.mark.parametrize(
    ("mode", "channels", "words"), [("RGB", 1, "luma"), ("L", 3, "colour"), ("P", 3, "palette"), ("1", 1, "")]
)
def test_a_conversion_of_colours_is_said(mode: str, channels: int, words: str) -> None:
    samples = read(picture(mode, (3, 2)), Takes(TensorSpec("x", "float32", (1, channels, 2, 3))))
    assert any("converted" in note and words in note for note in samples.notes)


def test_what_has_no_exact_meaning_as_an_image_is_refused() -> None:
    image = pytest.importorskip("PIL.Image", reason="reading images needs the [images] extra")
    buffer = io.BytesIO()
    image.new("L", (3, 2)).save(buffer, "PNG", save_all=True, append_images=[image.new("L", (3, 2), color=9)])
    cases = [(buffer.getvalue(), "several"), (picture("RGBA", (3, 2)), "mode"), (picture("I;16", (3, 2)), "mode")]
    for data, words in (*cases, (picture("CMYK", (3, 2), "JPEG"), "mode")):
        with pytest.raises(InputRejected) as caught:
            read(data)
        assert (caught.value.code, words in caught.value.message, bool(caught.value.hint)) == ("input-dtype", True, True)


def test_a_colour_profile_is_named() -> None:
    assert any("profile" in note for note in read(profiled()).notes)


def profiled() -> bytes:
    image = pytest.importorskip("PIL.Image", reason="reading images needs the [images] extra")
    buffer = io.BytesIO()
    image.new("L", (3, 2)).save(buffer, "PNG", icc_profile=b"a profile")
    return buffer.getvalue()


def test_the_only_array_is_taken_for_the_only_input_and_said() -> None:
    samples = read(npz(features=np.repeat(ONE, 2, axis=0), label=np.array([1, 2])))
    assert len(samples) == 2
    assert any("'features'" in note and "'x'" in note for note in samples.notes)
    for several in ({"a": ONE, "b": ONE}, {"x": ONE, "b": ONE}):
        with pytest.raises(InputRejected) as caught:
            read(npz(**several))
        assert caught.value.code == "input-unknown"


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = picture("L", (3, 2))
    monkeypatch.setitem(__import__("sys").modules, "PIL", None)
    with pytest.raises(UsageError) as caught:
        read(data)
    assert (caught.value.code, "[images]" in caught.value.hint) == ("extra-missing", True)


def test_stacked_samples_are_what_calibration_expects() -> None:
    values = np.random.default_rng(0).random((5, 1, 2, 3), dtype=np.float32)
    assert np.array_equal(to_arrays(read(npy(values)), IMAGE)["x"], values[:, np.newaxis])


def test_random_mutations_of_an_archive_never_raise_anything_else() -> None:
    source, generator = npz(x=np.repeat(ONE, 2, axis=0), label=np.arange(2)), random.Random(1)
    refused = 0
    for _ in range(3000):
        data = bytearray(source)
        for _ in range(generator.choice([1, 1, 2, 5])):
            data[generator.randrange(len(data))] = generator.randrange(256)
        try:
            read(bytes(data))
        except VerifaiError:
            refused += 1
    assert refused > 1000


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300).map(lambda tail: arrays.NPY_MAGIC + tail))
def test_any_bytes_after_the_magic_are_read_or_refused(data: bytes) -> None:
    with pytest.raises(InputRejected):
        read(data)
