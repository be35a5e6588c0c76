"""A case: bundles, locks, trust file and reports in one file that can be mailed. Format ``verifai/case/v1``.

    bundles/NAME.vbundle           single-file bundles
    case.json                      {"schema": "verifai/case/v1"}
    evidence.html, report.html     pages for people; nothing is read from them
    locks/NAME/circuit.lock        one per circuit, named as the lock names it; tokenizer.json beside it where it pins one
    locks/trust.toml               a trust file whose circuits are known by the digests of these locks alone

The archive is of the form of single-file bundles (:mod:`verifai.bundle.archive_format`): stored, in order, every byte accounted
for, so that nothing in it can grow, hide or be named twice. Other names than these are refused. Nothing in a case is trusted
because it is there: what is in ``locks`` came with the evidence, and :func:`anchors_digest` is what two people compare.
"""

from __future__ import annotations

import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from verifai.bundle.archive_format import DATE_TIME, LOCAL_SIZE
from verifai.bundle.archive_reader import ArchiveSource
from verifai.bundle.limits import MIB, Limits
from verifai.bundle.source import check_count, too_large
from verifai.bundle.writer import Content, chunks
from verifai.domain import strict_json
from verifai.domain.attestation.manifest import check_distinct
from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record
from verifai.domain.tokenizer import FILE
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import cannot_write, new_beside, place_file, read_limited
from verifai.execution.scratch import private_directory

SCHEMA = "verifai/case/v1"
CASE = "case.json"
TRUST = "locks/trust.toml"
REPORT = "report.html"
EVIDENCE = "evidence.html"
ENDING = ".vbundle"
MAX_BUNDLES = 10_000
LIMITS = Limits(files=2 * MAX_BUNDLES, file_bytes=2000 * MIB, total_bytes=2040 * MIB)  # what a plain zip can say
MAX_PAGE = 16 * MIB
_SMALL = MAX_PAGE
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_BUNDLE = re.compile(rf"bundles/{_NAME}\.vbundle\Z")
_LOCK = re.compile(rf"locks/([a-z0-9][a-z0-9-]{{0,63}})/(circuit\.lock|{re.escape(FILE)})\Z")
_FIXED = (CASE, TRUST, REPORT, EVIDENCE)
_START = (b"bundles/", CASE.encode())


@dataclass(frozen=True)
class OpenCase:
    """A case, unfolded into a private folder; readable inside the ``with`` block that opened it.

    Attributes:
        path: of the case.
        bundles: in order of name. locks: by the name of the circuit. trust: the trust file; ``None`` without one.
        pages: reports for people, by name; the maker's word.
    """

    path: Path
    folder: Path
    bundles: tuple[Path, ...]
    locks: Mapping[str, Path]
    trust: Path | None
    pages: Mapping[str, Path]

    @property
    def anchors(self) -> Sha256:
        """What the trust that came along comes to: the digest of names and digests of all that is in ``locks``."""
        found = {path.relative_to(self.folder).as_posix(): path for path in sorted((self.folder / "locks").rglob("*"))}
        return anchors_digest(
            {name: sha256(read_limited(path, limit=_SMALL)) for name, path in found.items() if path.is_file()}
        )

    def said(self, text: str) -> str:
        """``text`` with the case's own path where the private folder is named."""
        return text.replace(f"{self.folder}/", f"{self.path}:")


def anchors_digest(files: Mapping[str, Sha256]) -> Sha256:
    """Digest of the anchors by path in the case."""
    lines = "".join(f"{name}\n{files[name]}\n" for name in sorted(files))
    return sha256(b"verifai/case-anchors/v1\0" + lines.encode())


def is_case(path: Path) -> bool:
    """Whether it begins as a case does. A bundle's first member is another one."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as stream:
            start = stream.read(LOCAL_SIZE + 16)
    except OSError:
        return False
    return start.startswith(b"PK\x03\x04") and start[LOCAL_SIZE:].startswith(_START)


def write_case(target: Path, files: Mapping[str, Content]) -> None:
    """Write a case of ``files`` by name in the case.

    Raises:
        UsageError: ``file-exists``, ``bad-case``; Undecided: ``disk``.
    """
    if os.path.lexists(target):
        raise UsageError("file-exists", "the output file exists already", where=str(target), hint="Choose another name.")
    every = {CASE: f'{{"schema":"{SCHEMA}"}}'.encode(), **files}
    sizes = {name: len(one) if isinstance(one, bytes) else one.stat().st_size for name, one in every.items()}
    try:
        _check(sizes, LIMITS, str(target))
    except EvidenceRejected as problem:
        raise UsageError(
            "bad-case", problem.message, where=problem.where, hint="Hand over fewer, or smaller, bundles."
        ) from None
    temporary: Path | None = None
    try:
        handle, temporary = new_beside(target, 0o666)
        os.close(handle)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
            for name in sorted(every):
                info = zipfile.ZipInfo(name, DATE_TIME)
                info.create_system, info.external_attr = 3, 0o100644 << 16
                with archive.open(info, "w") as stream:
                    for chunk in chunks(every[name]):
                        stream.write(chunk)
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        place_file(temporary, target)
    except OSError as problem:
        raise cannot_write(problem, target) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def open_case(path: Path) -> Iterator[OpenCase]:
    """Unfold the case at ``path``.

    Raises:
        EvidenceRejected: ``bad-archive``, ``bad-case``, ``path-collision``, ``bundle-too-large``; it is not exactly a case.
        UsageError: ``file-missing``. Undecided: ``disk``.
    """
    source = ArchiveSource(path, LIMITS, _check)
    try:
        with private_directory() as folder:
            for name in source.sizes:
                to = folder / name
                to.parent.mkdir(parents=True, exist_ok=True)
                try:
                    with to.open("xb") as stream:
                        for chunk in source.chunks(name):
                            stream.write(chunk)
                except OSError as problem:
                    raise cannot_write(problem, to) from None
            _check_schema(folder / CASE, str(path))
            bundles = tuple(folder / name for name in sorted(source.sizes) if _BUNDLE.match(name))
            locks = {found[1]: folder / name for name in source.sizes if (found := _LOCK.match(name)) and found[2] != FILE}
            trust = folder / TRUST
            pages = {name: folder / name for name in (REPORT, EVIDENCE) if name in source.sizes}
            yield OpenCase(path, folder, bundles, locks, trust if trust.is_file() else None, pages)
    finally:
        source.close()


def _check(sizes: Mapping[str, int], limits: Limits, where: str) -> None:
    """Names and sizes, before any content is read."""
    check_count(len(sizes), limits, where)
    check_distinct(list(sizes))
    for name, size in sizes.items():
        bundle = _BUNDLE.match(name) is not None
        if not bundle and name not in _FIXED and not _LOCK.match(name):
            raise EvidenceRejected("bad-case", f"a case holds no file {name[:120]!r}", where=where)
        if size > (limits.file_bytes if bundle else _SMALL):
            raise too_large(f"{size} bytes", name)
    if sum(sizes.values()) > limits.total_bytes:
        raise too_large(f"more than {limits.total_bytes} bytes", where)
    if CASE not in sizes:
        raise EvidenceRejected("bad-case", f"there is no {CASE}", where=where)
    if not any(_BUNDLE.match(name) for name in sizes):
        raise EvidenceRejected("bad-case", "there is no bundle in it", where=where)


def _check_schema(path: Path, where: str) -> None:
    document = strict_json.loads(read_limited(path, limit=_SMALL), where=where, code="bad-case")
    record = Record(document, where, code="bad-case")
    record.text("schema", pattern=re.escape(SCHEMA))
    record.done()
