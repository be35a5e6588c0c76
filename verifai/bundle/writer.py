"""Writing a bundle folder: all of it or nothing."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from verifai.bundle import canonical
from verifai.bundle.dsse import sign
from verifai.bundle.folder import FOLDERS
from verifai.bundle.reader import BundleId
from verifai.bundle.source import CHUNK
from verifai.domain.attestation.envelope import Attestation, Envelope
from verifai.domain.attestation.manifest import MANIFEST_NAME, FileEntry, Manifest, check_distinct, check_path, parse_manifest
from verifai.domain.digest import Sha256
from verifai.domain.trust_keys import Signer
from verifai.errors import UsageError
from verifai.execution.files import cannot_write, place_folder, temporary_name

Content = bytes | Path
"""What a file of a bundle is to hold."""


def write_bundle(
    directory: Path,
    *,
    payload: Mapping[str, Content],
    attestations: Sequence[Attestation],
    signers: Sequence[Signer] = (),
    created: str,
    log: Mapping[str, bytes] | None = None,
    succeeds: Sha256 | None = None,
) -> BundleId:
    """Write a new bundle folder. Equal arguments give equal bytes.

    It is written under a temporary name beside ``directory``, synced, and renamed, so it is there whole or not at all.

    Args:
        payload: name below ``payload/`` → content, as bytes, or as the path of a file that does not change during the call.
        signers: who signs the manifest; none for an unsigned bundle.
        created: UTC, such as ``2026-01-31T23:59:59Z``.
        log: name below ``log/`` → content.
        succeeds: the bundle that this one extends.

    Raises:
        UsageError: code ``file-exists``, when ``directory`` exists.
        Undecided: code ``disk``, when the file system refuses; nothing is left behind.
    """
    files: dict[str, Content] = {f"payload/{name}": data for name, data in payload.items()}
    files |= {f"log/{name}": data for name, data in (log or {}).items()}
    files |= {f"attestations/{one.id}.dsse.json": canonical.encode(one.envelope.to_json()) for one in attestations}
    check_distinct(list(files))
    for path in files:
        check_path(path)
    entries = tuple(_entry(path, files[path]) for path in sorted(files))
    manifest = canonical.encode(Manifest(entries, created, succeeds).to_json())
    parse_manifest(manifest, MANIFEST_NAME)
    envelope = sign(Envelope(manifest), signers)
    write_folder(directory, {**files, MANIFEST_NAME: canonical.encode(envelope.to_json())})
    return envelope.id


def _entry(path: str, content: Content) -> FileEntry:
    size, digest = 0, hashlib.sha256()
    for chunk in chunks(content):
        size += len(chunk)
        digest.update(chunk)
    return FileEntry(path, size, Sha256(digest.hexdigest()))


def chunks(content: Content) -> Iterator[bytes]:
    """``content`` in pieces."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk


def write_folder(directory: Path, files: Mapping[str, Content]) -> None:
    """Write ``files`` (by bundle path) as a new folder. Raises what :func:`_new_folder` raises."""
    with _new_folder(directory) as write:
        # The manifest comes last: a folder that has one is complete.
        for path in sorted(files, key=lambda path: (path == MANIFEST_NAME, path)):
            write(path, chunks(files[path]))


@contextmanager
def _new_folder(directory: Path) -> Iterator[Callable[[str, Iterable[bytes]], None]]:
    """A function that writes one file by bundle path; the folder appears, whole and synced, when the block ends well.

    Raises:
        UsageError: code ``file-exists``.
        Undecided: code ``disk``; nothing is left behind.
    """
    if os.path.lexists(directory):
        raise UsageError("file-exists", "the output folder exists already", where=str(directory), hint="Choose another name.")
    temporary: Path | None = None
    try:
        # Modes are left to the umask: whoever may read the folder may then read every file in it.
        temporary = directory.parent / temporary_name(directory)
        temporary.mkdir()
        yield partial(_write_file, temporary)
        for folder in (*(temporary / name for name in FOLDERS), temporary):
            if folder.is_dir():
                _sync(folder)
        place_folder(temporary, directory)
        _sync(directory.parent)
    except OSError as problem:
        raise cannot_write(problem, directory) from None
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


def _write_file(root: Path, path: str, pieces: Iterable[bytes]) -> None:
    target = root / path
    target.parent.mkdir(exist_ok=True)
    with target.open("xb") as stream:
        for chunk in pieces:
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
