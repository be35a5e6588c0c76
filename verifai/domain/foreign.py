"""Files that are often not what their name says, recognised by their content: Git LFS pointers, web pages, pickles, and so on.

Every parser that meets something else than it expects asks here, so that a person reads what the file *is* and what to do, not
which byte the parser stopped at. No verdict rests on it: what is recognised was refused already.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

_HEAD = 4096
"""Bytes that are looked at, at most, at the beginning; and at the end, where a zip archive lists its members."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A kind of file.

    Attributes:
        what: for "not … but …": a noun with its article, or ``empty``.
        advice: what to do about it; one or two sentences.
    """

    what: str
    advice: str


_UNPACK = "Unpack it first, and name the file that was in it."
_PICKLE = "Loading a pickle runs whatever code it holds. Save models with skops or torch.export, and arrays with numpy.savez."
_IMAGE = "Convert it to PNG, which loses nothing."
_MODEL = "Export the model that it belongs to: `verifai export MODEL -o model.onnx`."
_ITSELF = "Make one of it: `verifai export FILE -o model.onnx`."
_TABLE = "Save it as CSV with a header, or as Parquet."

_CATBOOST, _LIGHTGBM, _XGBOOST = (
    Foreign(f"a model of {library}", _ITSELF) for library in ("CatBoost (.cbm)", "LightGBM", "XGBoost")
)
MODELS = frozenset({_CATBOOST, _LIGHTGBM, _XGBOOST})
"""Models that only their exporter tells from what they are not."""

CSV = Foreign("a table of text (CSV)", "A table can only be an input of a model.")
ONNX = Foreign("an ONNX model", "Name it where a model is asked for.")
ARCHIVE = Foreign("a zip archive", _UNPACK)
_LFS = Foreign("a Git LFS pointer, not the file that it stands for", "Fetch that file: git lfs pull.")
_EMPTY = Foreign("empty", "Write or download it again.")
_PAGE = Foreign("a web page (HTML)", "The server sent a page, such as a login, instead of the file: download it again.")
_GZIP, _BZIP2, _XZ = (Foreign(what, _UNPACK) for what in ("a gzip file", "a bzip2 file", "an xz file"))
_PLAIN_PICKLE = Foreign("a pickle", _PICKLE)
_ZLIB_PICKLE = Foreign("compressed data (zlib), which joblib writes for pickles", _PICKLE)
PICKLES = frozenset({_PLAIN_PICKLE, _ZLIB_PICKLE, _GZIP, _BZIP2, _XZ})
"""What a pickle can look like: joblib compresses them."""
_TEXT_16 = Foreign("text in UTF-16", "Save it as UTF-8.")

_MAGICS: tuple[tuple[bytes, Foreign], ...] = (
    (b"version https://git-lfs.github.com/spec/", _LFS),
    (b"version https://hawser.github.com/spec/", _LFS),
    (b"/annex/objects/", Foreign("a git-annex pointer, not the file that it stands for", "Fetch that file: git annex get.")),
    (b"\x1f\x8b", _GZIP),
    (b"BZh", _BZIP2),
    (b"\xfd7zXZ\x00", _XZ),
    (b"\x28\xb5\x2f\xfd", Foreign("a Zstandard file", _UNPACK)),
    (b"7z\xbc\xaf\x27\x1c", Foreign("a 7-Zip archive", _UNPACK)),
    (b"Rar!\x1a\x07", Foreign("a RAR archive", _UNPACK)),
    (b"\x89PNG\r\n\x1a\n", Foreign("a PNG image", "An image can only be an input of a model that takes one.")),
    (b"\xff\xd8\xff", Foreign("a JPEG image", "An image can only be an input of a model that takes one.")),
    (b"GIF87a", Foreign("a GIF image", _IMAGE)),
    (b"GIF89a", Foreign("a GIF image", _IMAGE)),
    (b"II*\x00", Foreign("a TIFF image", _IMAGE)),
    (b"MM\x00*", Foreign("a TIFF image", _IMAGE)),
    (b"8BPS", Foreign("a Photoshop image", _IMAGE)),
    (b"%PDF-", Foreign("a PDF document", "Save what is in it as CSV, or as an image.")),
    (b"\x89HDF\r\n\x1a\n", Foreign("an HDF5 file", "Export a model in it to ONNX, or save arrays in it with numpy.savez.")),
    (b"GGUF", Foreign("a GGUF file: weights without a graph", _ITSELF)),
    (b"CBM1", _CATBOOST),
    (b"tree\nversion=v", _LIGHTGBM),
    (b"tree\r\nversion=v", _LIGHTGBM),
    (b'{"learner":', _XGBOOST),
    (b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner", _XGBOOST),
    (b"PAR1", Foreign("a Parquet table", "A table can only be an input of a model.")),
    (b"ARROW1", Foreign("an Arrow (Feather) table", _TABLE)),
    (b"FEA1", Foreign("a Feather table", _TABLE)),
    (b"\x93NUMPY", Foreign("a NumPy array (.npy)", "Arrays are inputs: name the model or document here.")),
    (b"SQLite format 3\x00", Foreign("an SQLite database", "Name it where an audit log is asked for.")),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", Foreign("an old Office document", _TABLE)),
    (b"\x7fELF", Foreign("a program (ELF)", "Name another file.")),
    (b"openssh-key-v1", Foreign("an OpenSSH key", "Make a key with: `verifai key new PATH`.")),
    (b"-----BEGIN OPENSSH PRIVATE KEY-----", Foreign("an OpenSSH key", "Make a key with: `verifai key new PATH`.")),
    (b"ssh-ed25519 ", Foreign("an OpenSSH public key", "Make a key with: `verifai key new PATH`.")),
    (b"ssh-rsa ", Foreign("an OpenSSH public key", "Make a key with: `verifai key new PATH`.")),
    (b"-----BEGIN CERTIFICATE-----", Foreign("a certificate (PEM)", "Make a key with: `verifai key new PATH`.")),
    (b"-----BEGIN PUBLIC KEY-----", Foreign("a public key (PEM)", "Name it where a key is asked for.")),
    (b"-----BEGIN ", Foreign("a PEM file, such as a key", "Name it where a key is asked for.")),
    (b"verifai/output/v1\n", Foreign("an encoded output of a vote", "Name it where outputs are asked for.")),
    (b"\xff\xfe", _TEXT_16),
    (b"\xfe\xff", _TEXT_16),
)
"""By how the file begins."""

_ZIPS: tuple[tuple[bytes, Foreign], ...] = (
    (b"bundle.dsse.json", Foreign("a verifai bundle", "Name it where a bundle is asked for.")),
    (b"xl/workbook.xml", Foreign("an Excel workbook", _TABLE)),
    (b"word/document.xml", Foreign("a Word document", "Name another file.")),
    (b"META-INF/MANIFEST.MF", Foreign("a Java archive", "Name another file.")),
    (b"archive_format", Foreign("a PyTorch program (.pt2)", _ITSELF)),
    (b"data.pkl", Foreign("a PyTorch file (a zip archive with a pickle)", f"{_PICKLE} For PyTorch: torch.export.save.")),
    (b"schema.json", Foreign("a skops file", _ITSELF)),
    (b"model.weights.h5", Foreign("a Keras model", "Export it to ONNX with its own tools first.")),
    (b".npy", Foreign("a NumPy archive (.npz)", "Arrays are inputs: name the model or document here.")),
)
"""By the name of some member."""

_PAGE_BEGINS = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_DVC = re.compile(rb"outs:\s*\n- (?:md5|hash):")
_SEPARATORS = (",", ";", "\t")


def recognise(data: bytes) -> Foreign | None:
    """What ``data`` is, judged by its first and last bytes; ``None`` when it is nothing known here.

    Never raises, and costs the same for every size. A JSON or TOML document is nothing known here: its reader says more.
    """
    if not data:
        return _EMPTY
    for magic, found in _MAGICS:
        if data.startswith(magic):
            return found
    for judge in _JUDGES:
        result = judge(data)
        if result is not None:
            return result
    return None


def other_than(expected: str, data: bytes, problem: str = "", hint: str = "") -> tuple[str, str]:
    """Message and hint of the refusal of ``data``, which was expected to be ``expected``, such as "an ONNX file".

    Args:
        problem: what the parser met. hint: what to do; both are taken when the content is nothing known.
    """
    found = recognise(data)
    if found is None:
        return f"not {expected}" + (f": {problem}" if problem else ""), hint
    return f"not {expected} but {found.what}", found.advice


def _zip(data: bytes) -> Foreign | None:
    if not data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return None
    ends = data[:_HEAD] + data[-16 * _HEAD :]
    known = next((found for member, found in _ZIPS if member in ends), None)
    return known or ARCHIVE


def _image(data: bytes) -> Foreign | None:
    if data.startswith(b"BM") and int.from_bytes(data[6:10], "little") == 0 and len(data) >= 26:
        return Foreign("a BMP image", _IMAGE)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Foreign("a WebP image", _IMAGE)
    if data[4:8] == b"ftyp":
        return Foreign("an HEIC, AVIF or MP4 file", _IMAGE)
    return None


def _binary(data: bytes) -> Foreign | None:
    if data[0] == 0x80 and len(data) > 1 and 2 <= data[1] <= 5:
        return _PLAIN_PICKLE
    if data[0] == 0x78 and len(data) > 1 and data[1] in (0x01, 0x5E, 0x9C, 0xDA):
        return _ZLIB_PICKLE
    if data[257:262] == b"ustar":
        return Foreign("a tar archive", _UNPACK)
    if data[4:8] == b"TFL3":
        return Foreign("a TensorFlow Lite model", "Export the model to ONNX with its own tools first.")
    if len(data) > 10 and int.from_bytes(data[:8], "little") < len(data) and data[8:10] == b'{"':
        return Foreign("a safetensors file: weights without a graph", _MODEL)
    # Protobuf: field 1 (ir_version), a small number, then another field of onnx.ModelProto.
    if data[0] == 0x08 and len(data) > 2 and 1 <= data[1] <= 32 and data[2] in (0x12, 0x1A, 0x22, 0x3A, 0x42):
        return ONNX
    return None


def _text(data: bytes) -> Foreign | None:
    head = data[:_HEAD]
    if _PAGE_BEGINS.match(head):
        return _PAGE
    if _DVC.match(head):
        return Foreign("a DVC pointer, not the file that it stands for", "Fetch that file: dvc pull.")
    if head.lstrip().startswith(b"<?xml"):
        return Foreign("an XML document", "Name another file.")
    return _table(head, whole=len(data) <= _HEAD)


def _table(head: bytes, *, whole: bool) -> Foreign | None:
    """Lines of text that all have the same number of separators, at least one; neither JSON nor TOML begins like that."""
    try:
        text = head.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    lines = text.splitlines()
    lines = [line for line in (lines if whole else lines[:-1])[:20] if line.strip()]
    if not lines or text.lstrip()[:1] in "[{#" or any(" = " in line for line in lines):
        return None
    for separator in _SEPARATORS:
        counts = {line.count(separator) for line in lines}
        if counts != {0} and len(counts) == 1:
            return CSV
    return None


_JUDGES: tuple[Callable[[bytes], Foreign | None], ...] = (_zip, _image, _binary, _text)
