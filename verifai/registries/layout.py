"""An OCI image layout on disk: ``oci-layout``, ``index.json`` and ``blobs/sha256/``. Needs no package and no network."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from pathlib import Path
from typing import Any

from verifai.domain import strict_json
from verifai.domain.record import Record
from verifai.errors import EvidenceRejected, undecided
from verifai.execution.files import write_atomic
from verifai.registries.oci import INDEX_TYPE, MALFORMED, MAX_MANIFEST_BYTES, describe

_NAME = "org.opencontainers.image.ref.name"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


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
        tags = self._entries()
        tags = [one for one in tags if one.get("annotations", {}).get(_NAME) != reference]
        if not _DIGEST.fullmatch(reference):
            tags.append({**described.to_json(), "annotations": {_NAME: reference}})
        index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": tags}
        write_atomic(self._folder / "index.json", json.dumps(index, indent=1, sort_keys=True).encode())

    def fetch(self, digest: str, size: int, target: Path) -> None:
        """Copy a blob."""
        data = self._read(self._blob(digest), size)
        target.write_bytes(data)

    def put(self, digest: str, source: Path) -> None:
        """Copy a file in."""
        self._make()
        target = self._blob(digest)
        if not os.path.lexists(target):
            temporary = target.with_name(f".{target.name}.{os.getpid()}")
            try:
                shutil.copyfile(source, temporary)
                temporary.replace(target)
            except OSError as problem:
                raise undecided(problem, where=str(target)) from None

    def _blob(self, digest: str) -> Path:
        return self._folder / "blobs" / "sha256" / digest.removeprefix("sha256:")

    def _read(self, path: Path, limit: int) -> bytes:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise EvidenceRejected(MALFORMED, "not a regular file", where=str(path))
                data = stream.read(limit + 1)
        except OSError as problem:
            raise EvidenceRejected(MALFORMED, f"cannot be read: {problem.strerror}", where=str(path)) from None
        if len(data) > limit:
            raise EvidenceRejected(MALFORMED, f"more than {limit} bytes", where=str(path))
        return data

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
        if not path.exists():
            return []
        data = self._read(path, MAX_MANIFEST_BYTES)
        document = strict_json.loads(data, where=str(path), max_bytes=MAX_MANIFEST_BYTES, code=MALFORMED)
        entries = Record(document, str(path), code=MALFORMED).take("manifests", [])
        if not isinstance(entries, list) or not all(isinstance(one, dict) for one in entries):
            raise EvidenceRejected(MALFORMED, "an index without manifests", where=str(path))
        return entries

    def _tags(self) -> dict[str, str]:
        found = {}
        for one in self._entries():
            notes = one.get("annotations")
            name = notes.get(_NAME) if isinstance(notes, dict) else None
            digest = one.get("digest")
            if isinstance(name, str) and isinstance(digest, str) and _DIGEST.fullmatch(digest):
                found[name] = digest
        return found
