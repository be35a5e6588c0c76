"""Digests that a download from a model hub left beside its files, read as claims: Hugging Face's cache, git-lfs, shards.

Nobody signed them, so nothing rests on them: they are compared with the files that were compared with the signed manifest, and
it is said which agree. A file that is only a pointer is told as one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from verifai.domain import strict_json
from verifai.domain.digest import Sha256
from verifai.errors import EvidenceRejected
from verifai.provenance.release_files import StagedRelease

METADATA = Path(".cache") / "huggingface" / "download"
INDEX = "model.safetensors.index.json"
MAX_METADATA_BYTES = 4096
MAX_INDEX_BYTES = 16 * 1024 * 1024
_ETAG = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")
_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:(?P<oid>[0-9a-f]{64})\nsize (?P<size>[0-9]{1,19})\n"
)


@dataclass(frozen=True, slots=True)
class HubClaim:
    """What a hub said of one file. ``source``: where that is written. ``digest``: SHA-256, or git's SHA-1 of a blob."""

    name: str
    source: str
    digest: str


@dataclass(frozen=True, slots=True)
class HubReport:
    """The claims against the files: names by what came out.

    Attributes:
        agree: by source, the files whose digest is the claimed one. differ: those whose digest is another.
        missing: files that the index of sharded weights names and that the release does not have.
    """

    agree: Mapping[str, tuple[str, ...]]
    differ: tuple[HubClaim, ...]
    missing: tuple[str, ...]

    def sentences(self) -> tuple[str, ...]:
        """For people."""
        lines = [f"{len(names)} digests of {source} agree (claims of the hub)" for source, names in sorted(self.agree.items())]
        lines += [f"{one.name!r}: {one.source} claims {one.digest[:12]}…, which is not this file" for one in self.differ]
        lines += [f"{INDEX} names {name!r}, which the release does not have" for name in self.missing]
        return tuple(lines)


def pointer_oid(data: bytes) -> Sha256 | None:
    """The digest that a git-lfs pointer file stands for; ``None`` for any other file."""
    match = _POINTER.fullmatch(data)
    return None if match is None else Sha256(match["oid"].decode())


def hub_claims(folder: Path, names: Iterable[str]) -> tuple[HubClaim, ...]:
    """What lies beside the files ``names`` of a download: metadata of its cache, or names of blobs that links lead to."""
    found = []
    for name in names:
        path = folder / METADATA / f"{name}.metadata"
        digest = _etag(path)
        if digest:
            found.append(HubClaim(name, "Hugging Face's download metadata", digest))
        link = folder / name
        if link.is_symlink():
            blob = link.readlink().name
            if link.readlink().parent.name == "blobs" and _ETAG.fullmatch(blob):
                found.append(HubClaim(name, "Hugging Face's cache", blob))
    return tuple(found)


def _etag(path: Path) -> str:
    """The second line of a metadata file: commit, ETag, time."""
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MAX_METADATA_BYTES:
            return ""
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return lines[1] if len(lines) == 3 and _ETAG.fullmatch(lines[1]) else ""


def compare_claims(claims: Iterable[HubClaim], staged: StagedRelease) -> HubReport:
    """The claims against the copies of the signed files."""
    agree: dict[str, list[str]] = {}
    differ = []
    for one in claims:
        found = staged.sha256[one.name] if len(one.digest) == 64 else _git_blob(staged.path(one.name))
        if found == one.digest:
            agree.setdefault(one.source, []).append(one.name)
        else:
            differ.append(one)
    named = _shards(staged)
    missing = tuple(sorted(name for name in named if name not in staged.sha256))
    return HubReport({source: tuple(names) for source, names in agree.items()}, tuple(differ), missing)


def _git_blob(path: Path) -> str:
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _shards(staged: StagedRelease) -> frozenset[str]:
    """The files that hold sharded weights, as the index says."""
    if INDEX not in staged.sha256:
        return frozenset()
    path = staged.path(INDEX)
    if path.stat().st_size > MAX_INDEX_BYTES:
        return frozenset()
    try:
        document = strict_json.loads(path.read_bytes(), where=INDEX, max_bytes=MAX_INDEX_BYTES, floats=True)
    except EvidenceRejected:
        return frozenset()
    weights = document.get("weight_map") if isinstance(document, dict) else None
    return frozenset(one for one in weights.values() if isinstance(one, str)) if isinstance(weights, dict) else frozenset()
