"""The files of a release against its signed manifest: each is copied once into a private folder, and the copy is what counts.

So nothing that is not signed can take part in an export, and nothing can change between being compared and being read.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from verifai.domain.digest import Sha256
from verifai.domain.model_signing import WHOLE, ModelManifest, SignedPart
from verifai.errors import EvidenceRejected, Undecided, UsageError, undecided
from verifai.onnx_graph.refusal import printable

DIFFER = "release-files-differ"
MAX_ENTRIES = 100_000
_CHUNK = 1 << 20
_FORMAT_IGNORES = (".git", ".gitattributes", ".github", ".gitignore", ".cache/huggingface")
"""What the format's own tool passes over unless it is told not to, and what a download from a hub leaves. Never copied."""
_POINTER_START = b"version https://git-lfs.github.com/spec/v1\n"


@dataclass(frozen=True, slots=True)
class StagedRelease:
    """A private copy of a release's signed files, and nothing else.

    Attributes:
        root: the folder of the copies.
        sha256: of each file, by its path below the release.
        name: of the only file, where the release is one file.
    """

    root: Path
    sha256: Mapping[str, Sha256]
    name: str = ""

    def path(self, source: str) -> Path:
        """The copy of ``source``; ``.`` stands for all of it."""
        if source == WHOLE:
            return self.root / self.name if self.name else self.root
        return self.root / source


def stage_release(release: Path, manifest: ModelManifest, into: Path, *, beside: tuple[Path, ...] = ()) -> StagedRelease:
    """Copy the signed files of ``release`` into the empty private folder ``into``, comparing each with the manifest.

    Args:
        release: a folder, or the file itself where the release is one file.
        beside: files that may lie in the folder without being signed: the signature.

    Raises:
        EvidenceRejected: ``release-files-differ``: a file is missing, changed, a link, or not signed.
        UsageError: ``file-missing``. Undecided: ``disk``, ``release-digest-unknown``.
    """
    if not release.exists():
        raise UsageError("file-missing", "there is no such release", where=str(release), hint="Name its folder, or its file.")
    try:
        if WHOLE in manifest.files:
            if not release.is_file():
                raise _differs(release, "one file is signed, and this is a folder")
            digest = _copy(release, into / release.name, manifest.files[WHOLE], links=manifest.symlinks)
            return StagedRelease(into, {WHOLE: digest}, release.name)
        if not release.is_dir():
            raise _differs(release, "a folder is signed, and this is a file")
        ignored = {*manifest.ignored, *_FORMAT_IGNORES, *_below(release, beside)}
        _refuse_unsigned(release, manifest, ignored)
        found = {}
        for name, parts in sorted(manifest.files.items()):
            _refuse_links(release, name, manifest)
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            found[name] = _copy(release / name, target, parts, links=manifest.symlinks)
    except OSError as problem:
        raise undecided(problem, where=str(release)) from None
    return StagedRelease(into, found)


def _differs(path: Path, message: str) -> EvidenceRejected:
    hint = "The files are not those that were signed: fetch the release again."
    return EvidenceRejected(DIFFER, message, where=printable(str(path), 400), hint=hint)


def _below(release: Path, paths: tuple[Path, ...]) -> Iterator[str]:
    for path in paths:
        try:
            yield path.resolve().relative_to(release.resolve()).as_posix()
        except ValueError:
            continue


def _refuse_unsigned(release: Path, manifest: ModelManifest, ignored: set[str]) -> None:
    """Every file in the folder is signed, or was left out by the signer."""
    pending, seen = [""], 0
    while pending:
        folder = pending.pop()
        with os.scandir(release / folder) as entries:
            for entry in entries:
                seen += 1
                if seen > MAX_ENTRIES:
                    raise _differs(release, f"more than {MAX_ENTRIES} entries")
                name = f"{folder}/{entry.name}" if folder else entry.name
                if name in ignored:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    pending.append(name)
                elif entry.is_symlink() and entry.is_dir():
                    raise _differs(release / name, "a link to a folder; what lies behind it is not compared")
                elif name not in manifest.files:
                    raise _differs(release / name, "this file is not signed")


def _refuse_links(release: Path, name: str, manifest: ModelManifest) -> None:
    """A folder on the way to a file may not be a link; the file itself only where the signer followed links."""
    path = release
    parts = name.split("/")
    for index, part in enumerate(parts):
        path = path / part
        if path.is_symlink() and not (manifest.symlinks and index == len(parts) - 1):
            raise _differs(path, "a link where the signer had a file or folder")


def _copy(source: Path, target: Path, parts: tuple[SignedPart, ...], *, links: bool) -> Sha256:
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | (0 if links else os.O_NOFOLLOW)
    try:
        handle = os.open(source, flags)
    except FileNotFoundError:
        raise _differs(source, "this file is signed, and it is not here") from None
    except OSError as problem:
        raise _differs(source, f"this file is signed, and it cannot be opened: {problem.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise _differs(source, "not a regular file")
    whole = hashlib.sha256()
    with os.fdopen(handle, "rb") as reader:
        try:
            writer = os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb")
        except FileExistsError:
            raise _differs(source, "two signed names are one file on this file system") from None
        with writer:
            for part in parts:
                digest = _hasher(part.algorithm, source)
                left = None if part.end is None else part.end - part.start
                while left is None or left:
                    chunk = reader.read(_CHUNK if left is None else min(left, _CHUNK))
                    if not chunk:
                        break
                    left = None if left is None else left - len(chunk)
                    digest.update(chunk)
                    whole.update(chunk)
                    writer.write(chunk)
                writer.flush()
                if left or digest.hexdigest() != part.digest:
                    raise _changed(source, target)
            if reader.read(1):
                raise _differs(source, "the file is longer than the one that was signed")
    return Sha256(whole.hexdigest())


def _changed(source: Path, copy: Path) -> EvidenceRejected:
    with copy.open("rb") as stream:
        head = stream.read(len(_POINTER_START))
    if head == _POINTER_START:
        message = "this is a git-lfs pointer and not the signed file itself"
        return EvidenceRejected(DIFFER, message, where=printable(str(source), 400), hint="Fetch the contents: git lfs pull")
    return _differs(source, "the file is not the one that was signed")


def _hasher(algorithm: str, where: Path) -> hashlib._Hash:
    if algorithm == "blake3":
        hint = "Ask the signer for digests by sha256, which need no package."
        raise Undecided("release-digest-unknown", "the release is signed by BLAKE3 digests", where=str(where), hint=hint)
    return hashlib.new(algorithm)
