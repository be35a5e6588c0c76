"""The manifest of a bundle: every file with size, digest and media type. An in-toto Statement whose subjects are the files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from verifai.domain import strict_json
from verifai.domain.attestation.envelope import MAX_PAYLOAD_BYTES, STATEMENT_TYPE
from verifai.domain.attestation.predicate_types import MANIFEST_TYPE
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.utc_time import utc_from_record
from verifai.errors import EvidenceRejected

MANIFEST_NAME = "bundle.dsse.json"
MAX_FILES = 4096

_SEGMENT = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9_-])?"
_PATHS = (
    (re.compile(rf"payload/{_SEGMENT}"), "payload"),
    (re.compile(r"attestations/[0-9a-f]{64}\.dsse\.json"), "attestation"),
    (re.compile(r"log/(?:checkpoint|[0-9a-f]{64}\.tlog-proof)"), "log"),
)
MEDIA_TYPES: Mapping[str, str] = {
    ".json": "application/json",
    ".cdx.json": "application/vnd.cyclonedx+json",
    ".dsse.json": "application/vnd.dsse.envelope.v1+json",
    ".onnx": "application/onnx",
    ".tlog-proof": "text/plain",
    ".npz": "application/vnd.numpy.npz",
}
_DEFAULT_MEDIA_TYPE = "application/octet-stream"


def media_type(path: str) -> str:
    """The media type that a path has in a manifest; a function of the name, so that equal bundles have equal bytes."""
    if path == "log/checkpoint":
        return "text/plain"
    for suffix in sorted(MEDIA_TYPES, key=len, reverse=True):
        if path.endswith(suffix):
            return MEDIA_TYPES[suffix]
    return _DEFAULT_MEDIA_TYPE


def check_path(path: str) -> str:
    """The kind of a path in a bundle: ``payload``, ``attestation`` or ``log``.

    Names are ASCII, so no two spellings of one name exist; folders are one deep, so ``..`` has no meaning to abuse.

    Raises:
        EvidenceRejected: code ``bad-path``.
    """
    for pattern, kind in _PATHS:
        if pattern.fullmatch(path):
            return kind
    raise EvidenceRejected("bad-path", f"{path[:120]!r} cannot be the path of a file in a bundle", where=repr(path[:120]))


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a bundle.

    Attributes:
        path: with forward slashes, such as ``payload/proof.json``.
        size: in bytes.
    """

    path: str
    size: int
    sha256: Sha256


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything in a bundle except the manifest itself.

    Attributes:
        files: in ascending order of path.
        created: the writer's clock, UTC; a claim.
        succeeds: identifier of the bundle that this one extends; ``None`` for a first one.
    """

    files: tuple[FileEntry, ...]
    created: str
    succeeds: Sha256 | None = None

    def to_json(self) -> dict[str, Any]:
        """The in-toto Statement as a JSON object."""
        predicate: dict[str, Any] = {"created": self.created}
        if self.succeeds is not None:
            predicate["succeeds"] = self.succeeds
        return {
            "_type": STATEMENT_TYPE,
            "subject": [
                {
                    "name": entry.path,
                    "digest": {"sha256": entry.sha256},
                    "mediaType": media_type(entry.path),
                    "annotations": {"size": entry.size},
                }
                for entry in self.files
            ],
            "predicateType": MANIFEST_TYPE,
            "predicate": predicate,
        }


def parse_manifest(payload: bytes, where: str, *, max_file_bytes: int = 2**40) -> Manifest:
    """Read a manifest strictly.

    Raises:
        EvidenceRejected: codes ``malformed``, ``bad-path``, ``path-collision``.
    """
    root = Record(strict_json.loads(payload, where=where, max_bytes=MAX_PAYLOAD_BYTES), where)
    root.text("_type", pattern=re.escape(STATEMENT_TYPE))
    root.text("predicateType", pattern=re.escape(MANIFEST_TYPE))
    files = tuple(_entry(item, max_file_bytes) for item in root.tables("subject", max_length=MAX_FILES))
    predicate = root.table("predicate")
    manifest = Manifest(files, utc_from_record(predicate, "created"), predicate.sha256("succeeds", None))
    predicate.done()
    root.done()
    paths = [entry.path for entry in files]
    check_distinct(paths)
    if paths != sorted(paths):
        raise root.refuse("the files are not in ascending order of path", "subject")
    if not any(check_path(path) == "attestation" for path in paths):
        raise root.refuse("no attestation is listed: such a bundle says nothing", "subject")
    return manifest


def check_distinct(paths: list[str]) -> None:
    """Raises EvidenceRejected (``path-collision``) when two paths differ by case only, or not at all."""
    seen: dict[str, str] = {}
    for path in paths:
        folded = path.casefold()
        if folded in seen:
            raise EvidenceRejected("path-collision", f"{seen[folded]!r} and {path!r} would be one file somewhere", where=path)
        seen[folded] = path


def _entry(record: Record, max_file_bytes: int) -> FileEntry:
    digest, annotations = record.table("digest"), record.table("annotations")
    entry = FileEntry(
        record.text("name", max_length=256), annotations.integer("size", low=0, high=max_file_bytes), digest.sha256("sha256")
    )
    check_path(entry.path)
    record.text("mediaType", pattern=re.escape(media_type(entry.path)))
    for part in (digest, annotations, record):
        part.done()
    return entry


MODEL_FILE = "model.onnx"
"""The canonical model: in a circuit's folder, and in a bundle's payload when the weights are public."""
SBOM_FILE = "sbom.cdx.json"
RECEIPT_FILE, SLSA_FILE = "receipt.intoto.json", "compile.slsa.json"
"""What the evidence says in the words of other tools; composed again and compared whenever it is verified."""
DOCUMENT_FILES = frozenset({RECEIPT_FILE, SLSA_FILE})
SIDE_FILES = frozenset({MODEL_FILE, SBOM_FILE}) | DOCUMENT_FILES
"""Payload files that belong to the bundle, not to the engine."""
