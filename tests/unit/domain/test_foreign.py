"""Files that are not what their name says are recognised by their content, by every parser."""

from __future__ import annotations

import gzip
import io
import pickle
import random
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.bundle.archive_reader import ArchiveSource
from verifai.bundle.keys import load_public_key, load_signer, read_key
from verifai.bundle.limits import Limits
from verifai.bundle.log import open_log
from verifai.bundle.note import parse_checkpoint, parse_log_proof
from verifai.circuit_folder import read_lock
from verifai.domain import strict_json
from verifai.domain.foreign import other_than, recognise
from verifai.domain.policy.parse import parse_policy
from verifai.domain.tensor import TensorSpec
from verifai.engines.ezkl.srs.file import read_srs
from verifai.errors import VerifaiError
from verifai.exporters.interface import Source
from verifai.exporters.registry import export_source
from verifai.fingerprints.output import decode_output
from verifai.onnx_graph.inputs import read_samples
from verifai.onnx_graph.load import load_path
from verifai.stages.export import export
from verifai.trust_file import read_trust

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"7" * 64 + b"\nsize 12345\n"
PAGE = b"\n<!DOCTYPE html>\n<html><head><title>Sign in</title></head></html>"


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


KNOWN = {
    "LFS pointer": LFS,
    "empty": b"",
    "web page": PAGE,
    "git-annex": b"/annex/objects/SHA256E-s12--ab",
    "DVC pointer": b"outs:\n- md5: 12\n  path: model.onnx\n",
    "gzip": gzip.compress(b"x"),
    "bzip2": b"BZh91AY&SY",
    "xz": b"\xfd7zXZ\x00\x00",
    "Zstandard": b"\x28\xb5\x2f\xfd\x00",
    "tar": b"a".ljust(257, b"\0") + b"ustar\0" + bytes(200),
    "pickle": pickle.dumps({"model": 1}),
    "zlib": zlib.compress(b"a pickle"),
    "Excel": zipped("[Content_Types].xml", "xl/workbook.xml"),
    "PyTorch": zipped("model/data.pkl", "model/version"),
    "bundle": zipped("bundle.dsse.json"),
    "zip archive": zipped("notes.txt"),
    "BMP": b"BM" + (1078).to_bytes(4, "little") + bytes(4) + bytes(40),
    "WebP": b"RIFF\x24\0\0\0WEBPVP8 ",
    "GIF": b"GIF89a\1\0\1\0",
    "TIFF": b"II*\x00\x08\0\0\0",
    "HEIC": b"\0\0\0\x18ftypheic",
    "PDF": b"%PDF-1.7\n",
    "HDF5": b"\x89HDF\r\n\x1a\n\0",
    "safetensors": (2).to_bytes(8, "little") + b'{"a":1}' + bytes(9),
    "SQLite": b"SQLite format 3\x00",
    "OpenSSH": b"ssh-ed25519 AAAA user@host\n",
    "UTF-16": "a,b\n1,2\n".encode("utf-16"),
    "CSV": b"a;b\n1;2\n3;4\n",
    "ONNX": (ROOT / "fixtures/digits-mlp/model.onnx").read_bytes(),
    "CatBoost": b"CBM1X!\0\0\x14\0\0\0",
    "LightGBM": b"tree\nversion=v4\nnum_class=1\n",
    "XGBoost": b'{"learner":{"attributes":{}}}',
    "a skops file": zipped("schema.json", "1.npy"),
    ".pt2": zipped("m/archive_format"),
    "GGUF": b"GGUF\3\0\0\0",
    "NumPy archive": (ROOT / "fixtures/digits-mlp/calibration.npz").read_bytes(),
}


@pytest.mark.parametrize("word", KNOWN)
def test_is_recognised_and_says_what_to_do(word: str) -> None:
    found = recognise(KNOWN[word])
    assert found is not None
    assert word in found.what
    assert found.advice.endswith((".", "`"))


@pytest.mark.parametrize("data", [b'{"a": 1}', b"[model]\nname = 1\n", b"a = 1, 2\n", b"plain words", b"\x00\x01\x02", b"-5\n"])
def test_what_is_nothing_known_is_left_to_its_parser(data: bytes) -> None:
    assert recognise(data) is None
    assert other_than("TOML", data, "why", "do this") == ("not TOML: why", "do this")


def test_never_raises() -> None:
    generator = random.Random(1)
    for data in KNOWN.values():
        for _ in range(50):
            mutant = bytearray(data[: generator.randrange(len(data) + 1)])
            for _ in range(min(3, len(mutant))):
                mutant[generator.randrange(len(mutant))] = generator.randrange(256)
            recognise(bytes(mutant))


class Takes:
    inputs = (TensorSpec("x", "float32", (1, 4)),)


def _archive(path: Path) -> Any:
    return ArchiveSource(path, Limits())


PARSERS: dict[str, Callable[[Path], Any]] = {
    "model": load_path,
    "source .onnx": lambda path: export(path.rename(path.with_suffix(".onnx"))),
    "source .skops": lambda path: export_source(Source(str(path.rename(path.with_suffix(".skops"))), {})),
    "source .pt2": lambda path: export_source(Source(str(path.rename(path.with_suffix(".pt2"))), {})),
    "input": lambda path: read_samples(path, Takes()),
    "bundle": _archive,
    "lock": read_lock,
    "trust file": read_trust,
    "policy": lambda path: parse_policy(path.read_bytes() or LFS, str(path)),  # an empty one has a code of its own
    "JSON document": lambda path: strict_json.loads(path.read_bytes(), where=str(path)),
    "public key": load_public_key,
    "private key": load_signer,
    "key": read_key,
    "log": lambda path: open_log(path).__enter__(),
    "checkpoint": lambda path: parse_checkpoint(path.read_bytes(), str(path)),
    "log proof": lambda path: parse_log_proof(path.read_bytes(), str(path)),
    "set-up file": read_srs,
    "encoded output": lambda path: decode_output(path.read_bytes(), str(path)),
}


@pytest.mark.parametrize("word", ["LFS pointer", "web page", "gzip", "empty", "pickle"])
@pytest.mark.parametrize("parser", PARSERS)
def test_every_parser_says_what_the_file_is(parser: str, word: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(KNOWN[word])
    path.chmod(0o600)
    with pytest.raises(VerifaiError) as caught:
        PARSERS[parser](path)
    found = recognise(LFS if (parser, word) == ("policy", "empty") else KNOWN[word])
    assert found is not None
    assert found.what in caught.value.message
    assert caught.value.hint == found.advice
    assert caught.value.status in (1, 2)


@pytest.mark.parametrize("word", ["CatBoost", "LightGBM", "XGBoost", "a skops file", ".pt2", "GGUF"])
def test_a_model_that_can_be_exported_is_not_said_to_belong_to_another(word: str, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(KNOWN[word])
    with pytest.raises(VerifaiError) as caught:
        load_path(tmp_path / "model")
    assert word in caught.value.message
    assert "`verifai export FILE -o model.onnx`" in caught.value.hint


@pytest.mark.parametrize(("word", "suffix"), [("CatBoost", ".cbm"), ("LightGBM", ".txt"), ("XGBoost", ".json")])
def test_an_exporter_reads_the_files_of_its_own_library(word: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(KNOWN[word])
    with pytest.raises(VerifaiError) as caught:
        export_source(Source(str(path), {}))
    assert not caught.value.message.startswith("not a model but")


def test_swapped_files_are_named(tmp_path: Path) -> None:
    for data, read, word in (
        (KNOWN["NumPy archive"], load_path, "a NumPy archive"),
        (KNOWN["ONNX"], lambda path: read_samples(path, Takes()), "an ONNX model"),
        (b"a,b\n1,2\n", load_path, "CSV"),
    ):
        path = tmp_path / "file"
        path.write_bytes(data)
        with pytest.raises(VerifaiError) as caught:
            read(path)
        assert word in caught.value.message


def test_an_archive_of_something_else_is_no_npz(tmp_path: Path) -> None:
    (tmp_path / "x.npz").write_bytes(KNOWN["Excel"])
    with pytest.raises(VerifaiError, match="an Excel workbook"):
        read_samples(tmp_path / "x.npz", Takes())


def test_a_byte_order_mark_is_no_part_of_a_toml_file(tmp_path: Path) -> None:
    lock = ROOT / "circuits/digits-mlp/circuit.lock"
    (tmp_path / "x.lock").write_bytes(b"\xef\xbb\xbf" + lock.read_bytes())
    assert read_lock(tmp_path / "x.lock") == read_lock(lock)
    policy = b'schema = "verifai/policy/v1"\n'
    for data in (policy, b"\xef\xbb\xbf" + policy):
        with pytest.raises(VerifaiError) as caught:
            parse_policy(data, "p")
        assert caught.value.code == "empty-policy"
