"""What a small hostile file costs: a reader refuses it at once, whatever it claims to hold."""

from __future__ import annotations

import struct
import time
import zipfile
from pathlib import Path

import pytest

from verifai.domain.policy.parse import parse_policy
from verifai.domain.tensor import TensorSpec
from verifai.errors import InputRejected, UsageError
from verifai.onnx_graph.inputs import read_samples

SECONDS = 5.0
"""Of processor time; each of them once took minutes, or the machine's memory."""


class Takes:
    """A model that takes one tensor."""

    inputs = (TensorSpec("x", "float32", (1, 4)),)


def _npy(shape: str, data: bytes = b"", dtype: str = "<f4") -> bytes:
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


ARRAYS = {
    "a huge shape of no cells": _npy("(0, 1152921504606846976)"),
    "more cells than bytes": _npy("(1152921504606846976, 4)"),
    "a negative size": _npy("(-1, 4)"),
    "a size of many digits": _npy(f"({'9' * 4000}, 4)"),
    "objects": _npy("(1, 4)", b"x" * 64, "|O"),
    "a shape of many axes": _npy("(" + "1, " * 2000 + ")", b"\0" * 16),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("packed", [None, zipfile.ZIP_STORED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_an_array_that_claims_what_it_does_not_hold_is_refused(name: str, packed: int | None, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    if packed is None:
        path.write_bytes(ARRAYS[name])
    else:
        with zipfile.ZipFile(path, "w", packed) as archive:
            archive.writestr("x.npy", ARRAYS[name])
    _refused(path)


@pytest.mark.parametrize("at", [40, 60, 80])
def test_damaged_lzma_is_refused(at: int, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", _npy("(1, 4)", b"\0" * 16))
    data = bytearray(path.read_bytes())
    data[at : at + 8] = b"\xff" * 8
    path.write_bytes(bytes(data))
    _refused(path)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"x": [' + "9" * 20_000 + "]}", "[" + "1," * 10 + "NaN]", "{" * 200_000])
def test_a_document_that_is_deep_or_long_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    _refused(path)


def _refused(path: Path) -> None:
    begun = time.process_time()
    with pytest.raises(InputRejected):
        read_samples(path, Takes())  # type: ignore[arg-type] - of a model, only its inputs are asked for
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize(
    "filler",
    [" " * 300_000, "\n" * 300_000, "a = " + " " * 300_000 + "1\n", "# " + "[" * 300_000 + "\n", ("x" * 50 + " ") * 5000],
    ids=["blanks", "lines", "blanks before a value", "brackets", "words"],
)
def test_a_mistake_in_a_long_policy_is_found_at_once(filler: str) -> None:
    """The line of a field is looked for in the file: no search may go back over it again and again."""
    head = 'schema = "verifai/policy/v1"\n[[model]]\nname = "net"\nlock = "l"\nevidence = ["proof"]\nnonsense = 1\n'
    begun = time.process_time()
    for text in (head + filler, "#" + filler.replace("\n", "\n#") + "\n" + head):
        with pytest.raises(UsageError):
            parse_policy(text.encode(), "verifai.toml")
    assert time.process_time() - begun < SECONDS
