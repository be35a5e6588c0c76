"""Attacks on the container: archives and folders that another reader might take for a bundle. Refused, never extracted."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest

from tests.support.bundle_forge import Forge, archive_of, read_folder, write_files
from tests.support.paths import ROOT
from verifai.bundle.archive import pack, unpack
from verifai.bundle.archive_format import Member, end_record
from verifai.bundle.limits import Limits
from verifai.bundle.reader import open_bundle
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.errors import EvidenceRejected, UsageError, VerifaiError

V1 = ROOT / "fixtures" / "bundles" / "v1" / "accept"
GOOD = read_folder(V1 / "folder")
PACKED = (V1 / "single-file.vbundle").read_bytes()


def refusal(path: Path, limits: Limits | None = None) -> VerifaiError:
    with pytest.raises(VerifaiError) as problem, open_bundle(path, limits=limits or Limits()):
        pass
    return problem.value


def zip_with(change: Callable[[zipfile.ZipFile], None]) -> bytes:
    """The good files in an ordinary zip, after ``change`` wrote its own entries first."""
    buffer = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore", UserWarning)  # zipfile writes duplicate names, and only warns
        change(archive)
        for name in sorted(GOOD):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), GOOD[name])
    return buffer.getvalue()


def test_the_packed_fixture_is_what_this_reader_reads() -> None:
    with open_bundle(V1 / "single-file.vbundle") as bundle:
        assert len(bundle.attestations) == 2
    assert archive_of(GOOD) == PACKED


NAMES = {
    "../evil": "bad-path",
    "payload/../../evil": "bad-path",
    "payload/..": "bad-path",
    "/etc/passwd": "bad-path",
    "payload\\model.onnx": "bad-path",
    "C:evil": "bad-path",
    "payload/a/b": "bad-path",
    "payload/": "bad-path",
    "payload": "bad-path",
    "./payload/x": "bad-path",
    "payload//x": "bad-path",
    "payload/.hidden": "bad-path",
    "payload/ends.": "bad-path",
    "attestations/short.dsse.json": "bad-path",
    "log/other": "bad-path",
    "PAYLOAD/x": "bad-path",
    "Bundle.dsse.json": "bad-path",
    "payload/Model.onnx": "path-collision",
    "payload/MODEL.ONNX": "path-collision",
    "payload/-x": "bad-path",
    "payload/extra": "file-unlisted",
    "payload/" + "x" * 200: "bad-path",
}


@pytest.mark.parametrize("name", list(NAMES))
def test_a_name_that_does_not_belong_there(tmp_path: Path, name: str) -> None:
    (tmp_path / "b").write_bytes(archive_of({**GOOD, name: b"x"}))
    before = sorted(tmp_path.iterdir())
    problem = refusal(tmp_path / "b")
    assert (problem.status, problem.code) == (1, NAMES[name])
    assert sorted(tmp_path.iterdir()) == before, "nothing was extracted"


@pytest.mark.parametrize(
    "name", ["payload/caf\u00e9", "payload/cafe\u0301", "payload/\u2025", "payload/x\0y", "payload/a b", "payload/\u202exe", ""]
)
def test_a_name_outside_printable_ascii_so_that_no_two_spellings_exist(tmp_path: Path, name: str) -> None:
    raw = name.encode()
    data, central = bytearray(), bytearray()
    for one in sorted([*GOOD, name], key=lambda text: text.encode()):
        content = GOOD.get(one, b"x")
        member = Member("n" * len(one.encode()), len(content), zlib.crc32(content), len(data))
        data += member.local_header()[:30] + one.encode() + content
        central += member.central_header()[:46] + one.encode()
    (tmp_path / "b").write_bytes(bytes(data + central + end_record(len(GOOD) + 1, len(data), len(central))))
    assert raw in (tmp_path / "b").read_bytes()
    assert refusal(tmp_path / "b").code == "bad-archive"


ARCHIVES: dict[str, bytes] = {
    "empty file": b"",
    "no zip": b"x" * 1000,
    "prefix": b"MZ" + PACKED,
    "trailing byte": PACKED + b"\0",
    "comment": PACKED[:-2] + b"\x04\0note",
    "two archives": PACKED + PACKED,
    "cut": PACKED[:-1],
    "empty archive": end_record(0, 0, 0),
    "duplicate name": zip_with(lambda archive: archive.writestr(MANIFEST_NAME, "{}")),
    "a directory entry": zip_with(lambda archive: archive.mkdir("payload")),
    "dated now": zip_with(lambda archive: archive.writestr(zipfile.ZipInfo("log/checkpoint", (2020, 1, 1, 0, 0, 0)), "x")),
}


def _deflated() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(GOOD):
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), GOOD[name], zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _bomb() -> bytes:
    buffer = BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive,
        archive.open("payload/bomb", "w") as out,
    ):
        for _ in range(64):
            out.write(bytes(2**20))
    return buffer.getvalue()


def _unix_link() -> bytes:
    def change(archive: zipfile.ZipFile) -> None:
        info = zipfile.ZipInfo("payload/link", (1980, 1, 1, 0, 0, 0))
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, "/etc/passwd")

    return zip_with(change)


def _patched(offset_from_end: int, value: bytes) -> bytes:
    at = len(PACKED) - offset_from_end
    return PACKED[:at] + value + PACKED[at + len(value) :]


def _first_central() -> int:
    return struct.unpack("<I", PACKED[-6:-2])[0]


def _central_patched(offset: int, value: bytes) -> bytes:
    at = _first_central() + offset
    return PACKED[:at] + value + PACKED[at + len(value) :]


def _local_patched(offset: int, value: bytes) -> bytes:
    return PACKED[:offset] + value + PACKED[offset + len(value) :]


ARCHIVES |= {
    "compressed": _deflated(),
    "bomb": _bomb(),
    "symbolic link": _unix_link(),
    "more entries than there are": _patched(14, struct.pack("<H", 999)),
    "fewer entries than there are": _patched(14, struct.pack("<H", 1)),
    "zip64 markers": _patched(14, b"\xff\xff\xff\xff"),
    "second disk": _patched(18, b"\1\0"),
    "directory elsewhere": _patched(6, struct.pack("<I", 10)),
    "encrypted flag": _central_patched(8, b"\1\0"),
    "utf-8 flag": _central_patched(8, b"\0\x08"),
    "method": _central_patched(10, b"\x08\0"),
    "extra field": _central_patched(30, b"\4\0"),
    "entry comment": _central_patched(32, b"\4\0"),
    "attributes of a link": _central_patched(38, struct.pack("<I", 0o120777 << 16)),
    "offset": _central_patched(42, struct.pack("<I", 1)),
    "size in the directory": _central_patched(24, struct.pack("<I", 5)),
    "size of 4 GiB": _central_patched(20, b"\xff\xff\xff\xff\xff\xff\xff\xff"),
    "name length": _central_patched(28, struct.pack("<H", 65535)),
    "local: data descriptor": _local_patched(6, b"\x08\0"),
    "local: other size": _local_patched(18, struct.pack("<I", 5)),
    "local: other name": _local_patched(30, b"z"),
    "local: signature": _local_patched(0, b"QK"),
}


@pytest.mark.parametrize("case", list(ARCHIVES))
def test_an_archive_that_is_not_the_one_zip_of_its_content(tmp_path: Path, case: str) -> None:
    (tmp_path / "b").write_bytes(ARCHIVES[case])
    problem = refusal(tmp_path / "b")
    assert problem.status == 1
    assert problem.code in ("bad-archive", "path-collision", "manifest-missing", "bundle-too-large"), problem
    for verb in (pack, unpack):
        with pytest.raises(EvidenceRejected):
            verb(tmp_path / "b", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_entries_in_another_order_are_refused(tmp_path: Path) -> None:
    data, central = bytearray(), bytearray()
    for name in sorted(GOOD, reverse=True):
        member = Member(name, len(GOOD[name]), zlib.crc32(GOOD[name]), len(data))
        data += member.local_header() + GOOD[name]
        central += member.central_header()
    (tmp_path / "b").write_bytes(bytes(data + central + end_record(len(GOOD), len(data), len(central))))
    assert refusal(tmp_path / "b").code == "bad-archive"


def test_a_wrong_checksum_is_refused_though_the_digest_is_right(tmp_path: Path) -> None:
    data, central = bytearray(), bytearray()
    for name in sorted(GOOD):
        member = Member(name, len(GOOD[name]), zlib.crc32(GOOD[name]) ^ 1, len(data))
        data += member.local_header() + GOOD[name]
        central += member.central_header()
    (tmp_path / "b").write_bytes(bytes(data + central + end_record(len(GOOD), len(data), len(central))))
    assert refusal(tmp_path / "b").code == "digest-mismatch"


# --- folders ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "b", GOOD)


@pytest.mark.parametrize("path", ["payload/model.onnx", MANIFEST_NAME, "log/checkpoint"])
@pytest.mark.parametrize("absolute", [True, False])
def test_a_link_in_place_of_a_file_is_refused(folder: Path, tmp_path: Path, path: str, absolute: bool) -> None:
    (tmp_path / "elsewhere").write_bytes(GOOD[path])
    (folder / path).unlink()
    target = tmp_path / "elsewhere"
    (folder / path).symlink_to(target if absolute else os.path.relpath(target, (folder / path).parent))
    assert refusal(folder).code == "link"


def test_a_link_in_place_of_a_folder_or_of_the_bundle_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "name").symlink_to(folder)
    assert refusal(tmp_path / "name").code == "link"
    (folder / "payload").rename(tmp_path / "payload")
    (folder / "payload").symlink_to(tmp_path / "payload")
    assert refusal(folder).code == "link"


def test_devices_pipes_and_folders_in_place_of_files_are_refused_without_waiting(folder: Path) -> None:
    os.mkfifo(folder / "payload" / "pipe")
    assert refusal(folder).code == "bad-path"
    (folder / "payload" / "pipe").unlink()
    (folder / "payload" / "sub").mkdir()
    assert refusal(folder).code == "bad-path"
    (folder / "payload" / "sub").rmdir()
    (folder / "empty").mkdir()
    assert refusal(folder).code == "bad-path"
    (folder / "empty").rmdir()
    (folder / "README").write_text("hello")
    assert refusal(folder).code == "file-unlisted"


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/stdin"])
def test_a_device_is_no_bundle(device: str) -> None:
    assert refusal(Path(device)).code in ("file-missing", "link")


def test_a_file_exchanged_between_listing_and_reading_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from verifai.bundle import folder as module

    listed = module.check_listing

    def exchange(*arguments: object) -> None:
        listed(*arguments)  # type: ignore[arg-type]
        (folder / "payload" / "vk.key").unlink()
        (folder / "payload" / "vk.key").symlink_to("/dev/zero")

    monkeypatch.setattr(module, "check_listing", exchange)
    assert refusal(folder).code == "file-absent"


def test_a_file_that_grows_while_it_is_read_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from verifai.bundle import folder as module

    listed = module.check_listing

    def grow(*arguments: object) -> None:
        listed(*arguments)  # type: ignore[arg-type]
        with (folder / "payload" / "vk.key").open("ab") as stream:
            stream.truncate(10**9)

    monkeypatch.setattr(module, "check_listing", grow)
    assert refusal(folder).code == "bundle-too-large"


def test_the_callers_copies_do_not_change_when_the_bundle_does(folder: Path) -> None:
    with open_bundle(folder) as bundle:
        (folder / "payload" / "vk.key").write_bytes(b"exchanged")
        assert bundle.payload["vk.key"].read_bytes() == GOOD["payload/vk.key"]


# --- sizes --------------------------------------------------------------------------------------------------------------------


def test_too_many_files_are_refused_before_they_are_read(tmp_path: Path) -> None:
    many = {**GOOD, **{f"payload/x{index}": b"" for index in range(5000)}}
    (tmp_path / "b").write_bytes(archive_of(many))
    assert refusal(tmp_path / "b").code == "bundle-too-large"
    assert refusal(write_files(tmp_path / "f", many)).code == "bundle-too-large"


@pytest.mark.parametrize("path", ["payload/model.onnx", MANIFEST_NAME, "log/checkpoint"])
def test_a_sparse_file_of_terabytes_is_refused_by_its_size(folder: Path, path: str) -> None:
    os.truncate(folder / path, 2**41)
    assert refusal(folder).code == "bundle-too-large"


def test_limits_hold_in_sum(folder: Path) -> None:
    assert refusal(folder, Limits(total_bytes=50_000)).code == "bundle-too-large"
    assert refusal(folder, Limits(documents_bytes=5_000)).code == "bundle-too-large"


def test_a_large_bundle_is_read_in_little_memory(tmp_path: Path) -> None:
    """A payload of 640 MiB (sparse) is hashed and copied, and the process stays below 500 MB."""
    size = 640 * 2**20
    script = """
import hashlib, os, resource, sys
from pathlib import Path
from verifai.bundle.reader import open_bundle
from verifai.errors import VerifaiError
try:
    with open_bundle(Path(sys.argv[1])):
        print("opened")
except VerifaiError as problem:
    print(problem.code)
status = Path("/proc/self/status")
if status.is_file():  # ru_maxrss would still hold what the process was before it became this script
    print(next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024)
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    forge = Forge.of(GOOD)
    target = write_files(tmp_path / "b", forge.sealed())
    with (target / "payload" / "model.onnx").open("ab") as stream:
        stream.truncate(size)
    assert refusal(target).code == "digest-mismatch", "found by its size alone"

    def grow(document: dict) -> None:  # type: ignore[type-arg]
        for subject in document["subject"]:
            if subject["name"] == "payload/model.onnx":
                subject["annotations"]["size"] = size

    forge.manifest = grow
    (target / MANIFEST_NAME).write_bytes(forge.sealed()[MANIFEST_NAME])
    done = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True, text=True, check=True)
    code, peak = done.stdout.split()
    assert code == "digest-mismatch"
    assert int(peak) < 500_000_000


def test_no_path_at_all_and_a_path_with_a_zero_byte() -> None:
    for path in (Path("/nonexistent/bundle"), Path("a\0b")):
        with pytest.raises(UsageError) as problem, open_bundle(path):
            pass
        assert problem.value.code == "file-missing"
