"""GGUF files are hostile: no length, count or offset is followed before it was held to the file."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.support.language_models import LLAMA, random_weights, write_gguf
from verifai.errors import UnsupportedModel, UsageError
from verifai.exporters.language.gguf_file import MAX_ITEMS, dequantised, parse_header, read_gguf

U32, U64, TEXT, ARRAY = 4, 10, 8, 9


def text(value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def entry(key: str | bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: str, dims: tuple[int, ...], kind: int, offset: int) -> bytes:
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)


def head(entries: list[bytes], tensors: list[bytes], *, version: int = 3, counts: tuple[int, int] | None = None) -> bytes:
    tensor_count, entry_count = counts or (len(tensors), len(entries))
    return b"GGUF" + struct.pack("<IQQ", version, tensor_count, entry_count) + b"".join(entries) + b"".join(tensors)


def refusal(data: bytes, size: int | None = None) -> UsageError:
    with pytest.raises(UsageError) as caught:
        parse_header(data, len(data) if size is None else size, "x.gguf")
    return caught.value


def test_what_the_packages_own_reader_reads_is_read_alike(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", "llama", random_weights(LLAMA), {"token_embd.weight": "Q8_0"}, name_of_it="x")
    ours, theirs = read_gguf(path), gguf.GGUFReader(path)
    assert {name: tuple(one.shape) for name, one in ours.tensors.items()} == {
        one.name: tuple(int(size) for size in one.shape[::-1]) for one in theirs.tensors
    }
    assert dict(ours.metadata) == {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    for one in theirs.tensors:
        assert np.array_equal(ours.read(one.name), gguf.quants.dequantize(one.data, one.tensor_type))


@pytest.mark.parametrize(
    "kind", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16", "F16"]
)
def test_every_type_that_is_taken_has_the_packages_block_size(kind: str) -> None:
    cells, width = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    data = bytes(3 * 2 * width * (512 // cells) // 2)
    assert dequantised(data, kind, (3, 512), "x").tolist() == np.zeros((3, 512)).tolist() or kind.endswith("K")
    assert dequantised(data, kind, (3, 512), "x").shape == (3, 512)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "ends too early"),
        (b"GGML" + bytes(40), "does not begin with GGUF"),
        (head([], [], version=1), "version 1"),
        (head([], [], version=1 << 24 | 2 << 16), "version"),
        (b"GGUF" + struct.pack(">IQQ", 3, 0, 0), "big-endian"),
        (head([], [], counts=(0, 1 << 60)), "more than any model has"),
        (head([], [], counts=(1 << 60, 0)), "more than any model has"),
        (head([], [], counts=(0, 2)), "ends too early"),
        (head([struct.pack("<Q", 1 << 63) + b"x"], []), "ends too early"),
        (head([entry(b"\xff\xfe", U32, bytes(4))], []), "not UTF-8"),
        (head([entry("a", U32, bytes(4)), entry("a", U32, bytes(4))], []), "occurs twice"),
        (head([entry("a", 13, bytes(4))], []), "type 13"),
        (head([entry("a", ARRAY, struct.pack("<IQ", U64, 1 << 60))], []), "items"),
        (head([entry("a", ARRAY, struct.pack("<IQ", TEXT, MAX_ITEMS))], []), "ends too early"),
        (head([entry("a", ARRAY, struct.pack("<IQ", U32, 5) + bytes(8))], []), "ends too early"),
        (head([entry("a", ARRAY, struct.pack("<IQIQ", ARRAY, 1, ARRAY, 1))], []), "array of arrays"),
        (head([entry("general.alignment", U32, struct.pack("<I", 0))], []), "alignment"),
        (head([entry("general.alignment", U32, struct.pack("<I", 48))], []), "alignment"),
        (head([entry("general.alignment", TEXT, text("32"))], []), "alignment"),
        (head([], [tensor("a", (), 0, 0)]), "0 axes"),
        (head([], [tensor("a", (1,) * 9, 0, 0)]), "9 axes"),
        (head([], [tensor("a", (0,), 0, 0)]), "empty or too large"),
        (head([], [tensor("a", (1 << 31, 1 << 31), 0, 0)]), "empty or too large"),
        (head([], [tensor("a", (33,), 8, 0)]), "whole blocks"),
        (head([], [tensor("a", (64,), 0, 0)]), "does not lie in the file"),
        (head([], [tensor("a", (8,), 0, (1 << 64) - 32)]), "does not lie in the file"),
        (head([], [tensor("a", (8,), 0, 1)]) + bytes(99), "does not lie in the file"),
        (head([], [tensor("a", (8,), 0, 0), tensor("a", (8,), 0, 32)]) + bytes(200), "occurs twice"),
        (head([], [tensor("a", (16,), 0, 0), tensor("b", (8,), 0, 32)]) + bytes(200), "overlap"),
    ],
)
def test_a_header_that_is_not_sound_is_refused(data: bytes, words: str) -> None:
    problem = refusal(data)
    assert problem.code == "source-failed"
    assert words in str(problem)


def test_a_type_that_is_not_taken_is_named() -> None:
    problem = refusal(head([], [tensor("blk.0.ffn_up.weight", (256,), 16, 0)]) + bytes(200))
    assert isinstance(problem, UnsupportedModel)
    assert problem.code == "model-dtype"
    assert "IQ2_XXS" in problem.message
    assert "blk.0.ffn_up.weight" in problem.where
    assert "99" in refusal(head([], [tensor("a", (256,), 99, 0)]) + bytes(200)).message


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(UsageError) as caught:
            read_gguf(path)
        assert caught.value.code == "file-missing"
