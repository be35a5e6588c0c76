"""An OCI image layout on disk: ``oci-layout``, ``index.json`` and ``blobs/sha256/``. Needs no package and no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from verifai.domain import strict_json
from verifai.domain.record import Record
from verifai.errors import EvidenceRejected, undecided
from verifai.execution.files import new_beside, write_atomic
from verifai.registries.oci import INDEX_TYPE, MALFORMED, MAX_MANIFEST_BYTES, describe

_NAME = "org.opencontainers.image.ref.name"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_CHUNK = 1 << 20


class LayoutStore:
    """A folder. It is made when the first thing is put into it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def where(self) -> str:
        """The folder."""
        return str(self._folder)

    def manifest(self, reference: str) -> bytes | None:
        """By tag or digest."""
        digest = reference if _DIGEST.fullmatch(reference) else self._tags().get(reference)
        if digest is None or not os.path.lexists(self._blob(digest)):
            return None
        data = self._read(self._blob(digest), MAX_MANIFEST_BYTES)
        if describe(data, "").digest != digest:
            raise EvidenceRejected(MALFORMED, "a blob is not what its name says", where=str(self._blob(digest)))
        return data

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        """Under a tag, or under its digest alone."""
        described = describe(data, media_type)
        self._make()
        write_atomic(self._blob(described.digest), data)
        tags = [one for one in self._entries() if _name_of(one) != reference]
        if not _DIGEST.fullmatch(reference):
            tags.append({**described.to_json(), "annotations": {_NAME: reference}})
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": tags}
        write_atomic(self._folder / "index.json", json.dumps(index, indent=1, sort_keys=True).encode())

    def fetch(self, digest: str, size: int, target: Path) -> None:
        """Copy a blob."""
        left = size
        with self._open(self._blob(digest)) as reader, target.open("xb") as writer:
            while chunk := self._chunk(reader, left + 1):
                left -= len(chunk)
                if left < 0:
                    raise EvidenceRejected(MALFORMED, f"more than {size} bytes", where=reader.name)
                writer.write(chunk)

    def put(self, digest: str, source: Path) -> None:
        """Copy a file in."""
        self._make()
        target = self._blob(digest)
        if not os.path.lexists(target):
            temporary: Path | None = None
            try:
                # A name that nobody can foresee, in a file that is new: others may write into this folder, too.
                handle, temporary = new_beside(target, 0o666)
                with source.open("rb") as reader, os.fdopen(handle, "wb") as writer:
                    shutil.copyfileobj(reader, writer, _CHUNK)
                temporary.replace(target)
            except OSError as problem:
                if temporary is not None:
                    temporary.unlink(missing_ok=True)
                raise undecided(problem, where=str(target)) from None

    def _blob(self, digest: str) -> Path:
        return self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _read(self, path: Path, limit: int) -> bytes:
        with self._open(path) as stream:
            found = b""
            while chunk := self._chunk(stream, limit + 1 - len(found)):
                found += chunk
        if len(found) > limit:
            raise EvidenceRejected(MALFORMED, f"more than {limit} bytes", where=str(path))
        return found

    def _open(self, path: Path) -> BinaryIO:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError as problem:
            raise _unreadable(problem, path) from None
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            os.close(handle)
            raise EvidenceRejected(MALFORMED, "not a regular file", where=str(path))
        return os.fdopen(handle, "rb")

    def _chunk(self, stream: BinaryIO, limit: int) -> bytes:
        try:
            return stream.read(min(limit, _CHUNK)) if limit > 0 else b""
        except OSError as problem:
            raise _unreadable(problem, self._folder) from None

    def _make(self) -> None:
        try:
            (self._folder / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            marker = self._folder / "oci-layout"
            if not marker.exists():
                write_atomic(marker, b'{"imageLayoutVersion": "1.0.0"}')
        except OSError as problem:
            raise undecided(problem, where=str(self._folder)) from None

    def _entries(self) -> list[dict[str, Any]]:
        path = self._folder / "index.json"
        if not os.path.lexists(path):
            return []
        data = self._read(path, MAX_MANIFEST_BYTES)
        document = strict_json.loads(data, where=str(path), max_bytes=MAX_MANIFEST_BYTES, code=MALFORMED)
        entries = Record(document, str(path), code=MALFORMED).take("manifests", [])
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise EvidenceRejected(MALFORMED, "an index without manifests", where=str(path))
        return entries

    def _tags(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for one in self._entries():
            name, digest = _name_of(one), one.get("digest")
            if not name or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
                continue
            if found.setdefault(name, digest) != digest:  # which of them counts would be each reader's choice
                where = str(self._folder / "index.json")
                raise EvidenceRejected(MALFORMED, f"two manifests are called {name[:128]!r}", where=where)
        return found


def _name_of(entry: Mapping[str, Any]) -> str:
    """The tag that an entry of the index has; "" for none, or for what is no tag."""
    notes = entry.get("annotations")
    name = notes.get(_NAME) if isinstance(notes, dict) else None
    return name if isinstance(name, str) else ""


def _unreadable(problem: OSError, path: Path) -> EvidenceRejected:
    return EvidenceRejected(MALFORMED, f"cannot be read: {problem.strerror}", where=str(path))
