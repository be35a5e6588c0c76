"""Writing a bundle folder: all of it or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from verifai.bundle import canonical
from verifai.bundle.dsse import sign
from verifai.bundle.folder import FOLDERS
from verifai.bundle.reader import BundleId
from verifai.domain.attestation import Attestation, Envelope
from verifai.domain.digest import Sha256, sha256
from verifai.domain.manifest import MANIFEST_NAME, FileEntry, Manifest, check_distinct, check_path, parse_manifest
from verifai.domain.trust_keys import Signer
from verifai.errors import Undecided, UsageError


def write_bundle(
    directory: Path,
    *,
    payload: Mapping[str, bytes],
    attestations: Sequence[Attestation],
    signers: Sequence[Signer] = (),
    created: str,
    log: Mapping[str, bytes] | None = None,
    succeeds: Sha256 | None = None,
) -> BundleId:
    """Write a new bundle folder. Equal arguments give equal bytes.

    It is written under a temporary name beside ``directory``, synced, and renamed, so it is there whole or not at all.

    Args:
        payload: name below ``payload/`` → content.
        signers: who signs the manifest; none for an unsigned bundle.
        created: UTC, such as ``2026-01-31T23:59:59Z``.
        log: name below ``log/`` → content.
        succeeds: the bundle that this one extends.

    Raises:
        UsageError: code ``file-exists``, when ``directory`` exists.
        Undecided: code ``disk``, when the file system refuses; nothing is left behind.
    """
    files = {f"payload/{name}": data for name, data in payload.items()}
    files |= {f"log/{name}": data for name, data in (log or {}).items()}
    files |= {f"attestations/{one.id}.dsse.json": canonical.encode(one.envelope.to_json()) for one in attestations}
    check_distinct(list(files))
    for path in files:
        check_path(path)
    entries = tuple(FileEntry(path, len(files[path]), sha256(files[path])) for path in sorted(files))
    manifest = canonical.encode(Manifest(entries, created, succeeds).to_json())
    parse_manifest(manifest, MANIFEST_NAME)
    envelope = sign(Envelope(manifest), signers)
    # The manifest comes last: a folder that has one is complete.
    write_folder(directory, {**files, MANIFEST_NAME: canonical.encode(envelope.to_json())})
    return envelope.id


def write_folder(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write ``files`` (by bundle path, in this order) as a new folder. Raises what :func:`new_folder` raises."""
    with new_folder(directory) as write:
        for path, data in files.items():
            write(path, (data,))


@contextmanager
def new_folder(directory: Path) -> Iterator[Callable[[str, Iterable[bytes]], None]]:
    """A function that writes one file by bundle path; the folder appears, whole and synced, when the block ends well.

    Raises:
        UsageError: code ``file-exists``.
        Undecided: code ``disk``; nothing is left behind.
    """
    if os.path.lexists(directory):
        raise UsageError("file-exists", "the output folder exists already", where=str(directory), hint="Choose another name.")
    temporary: Path | None = None
    try:
        temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name[:100]}.", suffix=".tmp", dir=directory.parent))
        yield partial(_write_file, temporary)
        for folder in (*(temporary / name for name in FOLDERS), temporary):
            if folder.is_dir():
                _sync(folder)
        temporary.chmod(0o755)  # mkdtemp makes 0700; a bundle is meant to be handed on
        temporary.rename(directory)
        _sync(directory.parent)
    except OSError as problem:
        raise Undecided("disk", f"cannot write: {problem.strerror}", where=str(directory)) from None
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


def _write_file(root: Path, path: str, chunks: Iterable[bytes]) -> None:
    target = root / path
    target.parent.mkdir(exist_ok=True)
    with target.open("xb") as stream:
        for chunk in chunks:
            stream.write(chunk)
        stream.flush()
        os.fsync(stream.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
