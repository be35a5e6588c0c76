"""Bundles as referrers of a model, by the OCI image and distribution specifications 1.1; any store of blobs will do.

A bundle is one artifact: a manifest whose only layer is the packed bundle and whose subject is the model's manifest. Referrers
are listed in the index under the tag ``sha256-DIGEST``, which registries without the referrers API have, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from verifai.domain import strict_json
from verifai.domain.digest import Sha256, sha256
from verifai.domain.record import Record
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
EMPTY_TYPE, EMPTY = "application/vnd.oci.empty.v1+json", b"{}"
BUNDLE_TYPE = "application/vnd.verifai.bundle.v1+zip"
MODEL_TYPE, ONNX_TYPE = "application/vnd.verifai.model.v1", "application/onnx"
_DOCKER_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
MAX_MANIFEST_BYTES = 4 * 1024 * 1024
MAX_REFERRERS = 256
MALFORMED, MISSING = "registry-malformed", "registry-missing"


class BlobStore(Protocol):
    """One repository: manifests by tag or digest, blobs by digest. Nothing that it gives is believed."""

    @property
    def where(self) -> str:
        """For messages."""

    def manifest(self, reference: str) -> bytes | None:
        """At most :data:`MAX_MANIFEST_BYTES`; ``None`` where there is none. Raises EvidenceRejected, Undecided."""

    def put_manifest(self, reference: str, data: bytes, media_type: str) -> None:
        """Under a tag, or under its own digest. Raises Undecided."""

    def fetch(self, digest: str, size: int, target: Path) -> None:
        """Write a blob into a new file: not more than ``size`` bytes. Raises EvidenceRejected, Undecided."""

    def put(self, digest: str, source: Path) -> None:
        """Raises Undecided."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What points to content: its type, digest (``sha256:…``) and size."""

    media_type: str
    digest: str
    size: int
    artifact_type: str = ""

    @property
    def hex(self) -> Sha256:
        """The digest's digits."""
        return Sha256(self.digest.removeprefix("sha256:"))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return {**found, "artifactType": self.artifact_type} if self.artifact_type else found


@dataclass(frozen=True, slots=True)
class Artifact:
    """A manifest that was read. ``described``: itself."""

    described: Descriptor
    artifact_type: str
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None


def describe(data: bytes, media_type: str, artifact_type: str = "") -> Descriptor:
    """The descriptor of bytes."""
    return Descriptor(media_type, f"sha256:{sha256(data)}", len(data), artifact_type)


def describe_file(path: Path, media_type: str) -> Descriptor:
    """The descriptor of a file."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return Descriptor(media_type, f"sha256:{digest}", path.stat().st_size)


def read_artifact(store: BlobStore, reference: str, wanted: str = "") -> Artifact:
    """A manifest, parsed. ``wanted``: the digest that it must have.

    Raises:
        EvidenceRejected: ``registry-malformed``. PolicyNotMet: ``registry-missing``. Undecided: ``registry-unavailable``.
    """
    where = f"{store.where}: {reference[:80]}"
    data = store.manifest(reference)
    if data is None:
        hint = "Push the model first: `verifai push BUNDLE REFERENCE --model model.onnx`"
        raise PolicyNotMet(MISSING, "there is no manifest of this name", where=where, hint=hint)
    found = describe(data, MANIFEST_TYPE)
    if wanted and found.digest != wanted:
        raise EvidenceRejected(MALFORMED, "the manifest is not the one that was asked for", where=where)
    root = _document(data, where)
    if root.take("schemaVersion") != 2:
        raise root.refuse("expected 2", "schemaVersion")
    said = root.text("mediaType", MANIFEST_TYPE, max_length=255)
    if said not in (MANIFEST_TYPE, _DOCKER_TYPE) or root.has("manifests"):
        # Bytes that one reader takes for a manifest and another for an index would show each of them another model.
        raise root.refuse(f"not the manifest of one artifact, but of type {said[:80]!r}", "mediaType")
    layers = tuple(_descriptor(item) for item in root.tables("layers", max_length=4096))
    subject = _descriptor(root.table("subject")) if root.has("subject") else None
    return Artifact(found, root.text("artifactType", "", max_length=255), layers, subject)


def _document(data: bytes, where: str) -> Record:
    if len(data) > MAX_MANIFEST_BYTES:
        raise EvidenceRejected(MALFORMED, f"a manifest over {MAX_MANIFEST_BYTES} bytes", where=where)
    document = strict_json.loads(data, where=where, max_bytes=MAX_MANIFEST_BYTES, code=MALFORMED, floats=True)
    return Record(document, where, code=MALFORMED)


def _descriptor(record: Record) -> Descriptor:
    return Descriptor(
        record.text("mediaType", max_length=255),
        record.text("digest", pattern=r"sha256:[0-9a-f]{64}"),
        record.integer("size", low=0, high=2**42),
        record.text("artifactType", "", max_length=255),
    )


def referrers(store: BlobStore, subject: Descriptor) -> tuple[Descriptor, ...]:
    """Bundles that say that they are about ``subject``. Raises EvidenceRejected (``registry-malformed``), Undecided."""
    tag = _referrers_tag(subject)
    data = store.manifest(tag)
    if data is None:
        return ()
    index = _document(data, f"{store.where}: {tag}")
    if index.text("mediaType", INDEX_TYPE, max_length=255) != INDEX_TYPE or index.has("layers"):
        raise index.refuse("not an index", "mediaType")
    found = tuple(_descriptor(item) for item in index.tables("manifests", max_length=65536))
    bundles = tuple(dict.fromkeys(one for one in found if one.artifact_type == BUNDLE_TYPE))
    if len(bundles) > MAX_REFERRERS:
        message = f"{len(bundles)} bundles of one model, more than {MAX_REFERRERS}"
        raise EvidenceRejected(MALFORMED, message, where=f"{store.where}: {tag}")
    return bundles


def _referrers_tag(subject: Descriptor) -> str:
    return subject.digest.replace(":", "-")


def push_model(store: BlobStore, tag: str, model: Path, scratch: Path) -> Descriptor:
    """Put a model under a tag; the file itself is its only layer. Raises Undecided, UsageError (``file-exists``)."""
    layer = describe_file(model, ONNX_TYPE)
    data = _manifest(MODEL_TYPE, layer, None)
    there = store.manifest(tag)
    if there is not None and there != data:
        hint = "Choose another tag; evidence about the old model would no longer be found."
        raise UsageError("file-exists", "another model has this tag", where=f"{store.where}: {tag}", hint=hint)
    _put_empty(store, scratch)
    store.put(layer.digest, model)
    store.put_manifest(tag, data, MANIFEST_TYPE)
    return describe(data, MANIFEST_TYPE)


def push_bundle(store: BlobStore, subject: Descriptor, packed: Path, scratch: Path) -> Descriptor:
    """Attach a packed bundle to a manifest that is there. Raises EvidenceRejected, Undecided."""
    layer = describe_file(packed, BUNDLE_TYPE)
    _put_empty(store, scratch)
    store.put(layer.digest, packed)
    data = _manifest(BUNDLE_TYPE, layer, subject)
    described = describe(data, MANIFEST_TYPE, BUNDLE_TYPE)
    store.put_manifest(described.digest, data, MANIFEST_TYPE)
    listed = [one for one in referrers(store, subject) if one != described]
    index = {
        "schemaVersion": 2,
        "mediaType": INDEX_TYPE,
        "manifests": [one.to_json() for one in sorted([*listed, described], key=lambda one: one.digest)],
    }
    store.put_manifest(_referrers_tag(subject), _encode(index), INDEX_TYPE)
    return described


def fetch_bundle(store: BlobStore, one: Descriptor, subject: Descriptor, target: Path, limit: int) -> None:
    """Write a referrer's packed bundle into a new file; what it holds is not judged here.

    Raises:
        EvidenceRejected: ``registry-malformed``: it is about another model, or not the bytes that were promised. Undecided.
    """
    artifact = read_artifact(store, one.digest, one.digest)
    where = f"{store.where}: {one.digest}"
    if artifact.subject is None or artifact.subject.digest != subject.digest:
        raise EvidenceRejected(MALFORMED, "listed as a referrer of this model, it is of another one", where=where)
    if len(artifact.layers) != 1 or artifact.layers[0].media_type != BUNDLE_TYPE:
        raise EvidenceRejected(MALFORMED, "expected one layer, a packed bundle", where=where)
    (layer,) = artifact.layers
    if layer.size > limit:
        raise EvidenceRejected(MALFORMED, f"a bundle of {layer.size} bytes, more than {limit}", where=where)
    store.fetch(layer.digest, layer.size, target)
    if describe_file(target, BUNDLE_TYPE) != layer:
        raise EvidenceRejected(MALFORMED, "the bytes are not those that the manifest names", where=where)


def _put_empty(store: BlobStore, scratch: Path) -> None:
    path = scratch / "empty.json"
    path.write_bytes(EMPTY)
    store.put(describe(EMPTY, EMPTY_TYPE).digest, path)


def _manifest(artifact_type: str, layer: Descriptor, subject: Descriptor | None) -> bytes:
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        "config": describe(EMPTY, EMPTY_TYPE).to_json(),
        "layers": [layer.to_json()],
    }
    if subject is not None:
        document["subject"] = Descriptor(subject.media_type, subject.digest, subject.size).to_json()
    return _encode(document)


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), sort_keys=True).encode()
