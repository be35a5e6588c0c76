"""OpenSSF Model Signing as values: the manifest of a signed release, who may sign one, and what a lock pins of it.

A manifest names files and their digests. Its own digest here is that of the whole signed payload: the digest that the format
itself puts into the subject leaves the names of the files out, so two files could change places under it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256 as new_sha256
from typing import Any

from verifai.domain import strict_json
from verifai.domain.digest import Sha256, sha256, short
from verifai.domain.record import Record
from verifai.domain.unicode_14 import is_printable

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
MALFORMED = "model-signature-malformed"
MAX_SIGNATURE_BYTES = 4 * 1024 * 1024
MAX_RESOURCES = 65_536
MAX_NAME = 1024
MAX_SIGNERS = 64
WHOLE = "."
"""The name of the only file, where the release is one file and no folder."""
_SHARD = re.compile(r"(.+):(0|[1-9][0-9]{0,15}):([1-9][0-9]{0,15})", re.DOTALL)
_DIGEST_BYTES = {"sha256": 32, "blake2b": 64, "blake3": 32}


@dataclass(frozen=True, slots=True)
class SignedPart:
    """One digest of a manifest: of a file from byte ``start``, to byte ``end``, or to its own end where that is ``None``."""

    start: int
    end: int | None
    algorithm: str
    digest: str


@dataclass(frozen=True, slots=True)
class ModelManifest:
    """What a signer of a release signed.

    Attributes:
        sha256: of the whole signed payload, names included.
        name: what the signer called the release; a folder's name.
        files: by path below the release, with forward slashes; ``.`` where the release is one file. Parts are in order, without
            a gap.
        symlinks: whether the signer followed links.
        ignored: paths below the release that the signer left out, with all that lies below them.
    """

    sha256: Sha256
    name: str
    files: Mapping[str, tuple[SignedPart, ...]]
    symlinks: bool
    ignored: tuple[str, ...]


def parse_manifest(payload: bytes, where: str) -> ModelManifest:
    """Read a signed payload. Fields that version 1.0 of the format does not know are passed over, as it asks.

    Raises:
        EvidenceRejected: ``model-signature-malformed``.
    """
    document = strict_json.loads(payload, where=where, max_bytes=MAX_SIGNATURE_BYTES, code=MALFORMED, floats=True)
    root = Record(document, where, code=MALFORMED)
    root.text("_type", pattern=re.escape(STATEMENT_TYPE))
    kind = root.text("predicateType", max_length=256)
    if kind != PREDICATE_TYPE:
        hint = "Sign the release again with model-signing 1.0 or newer."
        raise root.refuse(f"{kind[:80]!r} is not the predicate of a model signature", "predicateType", hint)
    subjects = root.tables("subject", max_length=16)
    if len(subjects) != 1:
        raise root.refuse(f"{len(subjects)} subjects, expected one", "subject")
    predicate = root.table("predicate")
    serialization = predicate.table("serialization")
    sharded = serialization.text("method", pattern="files|shards") == "shards"
    files: dict[str, list[SignedPart]] = {}
    joined = new_sha256()
    for item in predicate.tables("resources", max_length=MAX_RESOURCES):
        name, part = _part(item, sharded=sharded)
        joined.update(bytes.fromhex(part.digest))
        if files.setdefault(name, []) and not sharded:
            raise item.refuse(f"two digests of {name[:80]!r}", "name")
        files[name].append(part)
    if not files:
        raise predicate.refuse("no file is signed", "resources")
    if subjects[0].table("digest").sha256("sha256") != joined.hexdigest():
        raise root.refuse("the digest of the release is not that of its files' digests", "subject")
    whole = {name: _whole(parts, name, predicate) for name, parts in files.items()}
    _check_tree(whole, predicate)
    return ModelManifest(
        sha256=sha256(payload),
        name=_printable(subjects[0], "name"),
        files=whole,
        symlinks=serialization.flag("allow_symlinks", False),
        ignored=tuple(serialization.texts("ignore_paths", (), max_length=4096)),
    )


def _part(item: Record, *, sharded: bool) -> tuple[str, SignedPart]:
    name, start, end = item.text("name", max_length=MAX_NAME), 0, None
    if sharded:
        match = _SHARD.fullmatch(name)
        if match is None:
            raise item.refuse("expected PATH:START:END", "name")
        name, start, end = match[1], int(match[2]), int(match[3])
        if start >= end:
            raise item.refuse("a part without a byte", "name")
    if name != WHOLE and not safe_path(name):
        raise item.refuse(f"{name[:80]!r} is not a plain path below the release", "name")
    algorithm = item.text("algorithm", max_length=32)
    size = _DIGEST_BYTES.get(algorithm)
    if size is None:
        hint = "Sign the release again with digests by sha256."
        raise item.refuse(f"digests by {algorithm!r} are not known", "algorithm", hint)
    return name, SignedPart(start, end, algorithm, item.text("digest", pattern=rf"[0-9a-f]{{{2 * size}}}"))


def safe_path(name: str) -> bool:
    """Whether ``name`` is a relative path in one spelling: no ``..``, no empty part, no backslash, nothing unprintable."""
    parts = name.split("/")
    return is_printable(name) and "\\" not in name and all(part not in ("", ".", "..") and len(part) <= 255 for part in parts)


def _whole(parts: Sequence[SignedPart], name: str, record: Record) -> tuple[SignedPart, ...]:
    """The parts of one file in order, from its first byte, without gap or overlap."""
    ordered = tuple(sorted(parts, key=lambda one: one.start))
    end: int | None = 0
    for part in ordered:
        if part.start != end:
            raise record.refuse(f"the parts of {name[:80]!r} leave a gap or overlap", "resources")
        end = part.end
    return ordered


def _check_tree(files: Mapping[str, object], record: Record) -> None:
    """A name is a file or a folder, never both."""
    if WHOLE in files and len(files) > 1:
        raise record.refuse("one file and a folder at once", "resources")
    for name in files:
        parts = name.split("/")
        for cut in range(1, len(parts)):
            if "/".join(parts[:cut]) in files:
                raise record.refuse(f"{name[:80]!r} lies below a file", "resources")


def _printable(record: Record, name: str) -> str:
    text = record.text(name, max_length=255)
    if not is_printable(text):
        raise record.refuse("control characters", name)
    return text


class SignerKind(StrEnum):
    """How a signer of releases is known."""

    KEY = "key"
    CERTIFICATE = "certificate"
    SIGSTORE = "sigstore"


@dataclass(frozen=True, slots=True)
class TrustedModelSigner:
    """Somebody whose signature on a release counts: one entry of ``[[model_signers]]``.

    Attributes:
        name: for people, and for policies.
        public_key: PEM, of kind ``key``.
        roots: PEM certificates, of kind ``certificate``.
        identity: kind ``certificate``: e-mail address, URI or DNS name in the signer's certificate; ``sigstore``: likewise.
        subject: kind ``certificate``, in place of ``identity``: the certificate's whole subject (RFC 4514).
        issuer: kind ``sigstore``: who certified the identity.
        trusted_root: kind ``sigstore``: JSON of another Sigstore instance's trusted root; "" for the public one.
        allow_expired: kind ``certificate``: count signatures of certificates that are not valid now. Nothing says when such a
            signature was made.
    """

    name: str
    kind: SignerKind
    public_key: str = ""
    roots: str = ""
    identity: str = ""
    subject: str = ""
    issuer: str = ""
    trusted_root: str = field(default="", repr=False)
    allow_expired: bool = False

    @classmethod
    def from_record(cls, record: Record) -> TrustedModelSigner:
        """Read one entry strictly. Raises what ``record`` raises."""
        kind = record.choice("kind", SignerKind)
        entry = cls(
            name=_printable(record, "name"),
            kind=kind,
            public_key=record.text("public_key", "", max_length=8192),
            roots=record.text("roots", "", max_length=65536),
            identity=record.text("identity", "", max_length=512),
            subject=record.text("subject", "", max_length=1024),
            issuer=record.text("issuer", "", max_length=512),
            trusted_root=record.text("trusted_root", "", max_length=1024 * 1024),
            allow_expired=record.flag("allow_expired", False),
        )
        record.done()
        for name, used in _FIELDS.items():
            if getattr(entry, name) and kind not in used:
                raise record.refuse(f"a signer of kind {kind.value!r} has no such field", name)
        for name in _NEEDED[kind]:
            if not getattr(entry, name):
                raise record.refuse(f"a signer of kind {kind.value!r} needs it", name)
        if kind is SignerKind.CERTIFICATE and bool(entry.identity) == bool(entry.subject):
            # Without either, everybody whom the root ever certified would count.
            raise record.refuse("expected either `identity` or `subject`", "identity")
        return entry


_FIELDS = {
    "public_key": {SignerKind.KEY},
    "roots": {SignerKind.CERTIFICATE},
    "identity": {SignerKind.CERTIFICATE, SignerKind.SIGSTORE},
    "subject": {SignerKind.CERTIFICATE},
    "issuer": {SignerKind.SIGSTORE},
    "trusted_root": {SignerKind.SIGSTORE},
    "allow_expired": {SignerKind.CERTIFICATE},
}
_NEEDED: Mapping[SignerKind, tuple[str, ...]] = {
    SignerKind.KEY: ("public_key",),
    SignerKind.CERTIFICATE: ("roots",),
    SignerKind.SIGSTORE: ("identity", "issuer"),
}


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A release's manifest whose signature holds, and who signed it.

    Attributes:
        signer: what the signature itself shows, so that no name in a trust file decides it: ``key SHA-256-of-SPKI``,
            ``certificate SHA-256-of-the-root SUBJECT`` or ``sigstore IDENTITY ISSUER``.
        names: entries of the trust file that it answers to, in its order.
        words: what a person should know, such as that the certificate expired.
    """

    manifest: ModelManifest
    signer: str
    names: tuple[str, ...]
    words: tuple[str, ...] = ()

    def sentence(self) -> str:
        """Who signed what."""
        return (
            f"release {self.manifest.name!r} (manifest {short(self.manifest.sha256)}…, {len(self.manifest.files)} files) is "
            f"signed by {', '.join(repr(one) for one in self.names)} of the trust file ({self.signer})"
        )


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a source became ONNX, beside the exporter's defaults."""

    dims: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    select: tuple[str, ...] = ()
    positions: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Integers and strings; what is not set is left out."""
        found: dict[str, Any] = {
            "dims": dict(sorted(self.dims.items())),
            "shapes": {name: list(shape) for name, shape in sorted(self.shapes.items())},
            "select": list(self.select),
        }
        found = {name: value for name, value in found.items() if value}
        return found if self.positions is None else {**found, "positions": self.positions}

    def words(self) -> str:
        """What was asked for beside the defaults: which outputs were kept decides what the model answers."""
        found = [f"{name}={size}" for name, size in sorted(self.dims.items())]
        found += [f"{name}={'x'.join(map(str, shape))}" for name, shape in sorted(self.shapes.items())]
        found += [f"positions={self.positions}"] if self.positions is not None else []
        found += [f"of the outputs only {', '.join(map(repr, self.select))}"] if self.select else []
        return f" with {', '.join(found)}" if found else ""

    @classmethod
    def from_record(cls, record: Record) -> ExportOptions:
        """The inverse of :meth:`to_json`."""
        dims, shapes = record.table("dims", {}), record.table("shapes", {})
        options = cls(
            {name: dims.integer(name, low=1, high=2**28) for name in dims.names()},
            {name: shapes.integers(name, low=1, high=2**28, max_length=8) for name in shapes.names()},
            record.texts("select", (), max_length=512),
            record.integer("positions", None, low=1, high=2**20),
        )
        for one in (dims, shapes, record):
            one.done()
        return options


@dataclass(frozen=True, slots=True)
class ProvenancePin:
    """``[provenance]`` of a lock: from which signed release the pinned model was exported, and how.

    Attributes:
        manifest_sha256: of the signed payload.
        release: what the signer called it.
        signer: as :attr:`SignedRelease.signer`.
        source: the file below the release that was exported, or ``.`` for the whole of it.
        exporter: its name. versions: of verifai and of the packages that decide the result.
    """

    manifest_sha256: Sha256
    release: str
    signer: str
    source: str
    exporter: str
    versions: Mapping[str, str]
    options: ExportOptions = field(default_factory=ExportOptions)

    def to_json(self) -> dict[str, Any]:
        """Integers and strings."""
        found: dict[str, Any] = {
            "manifest_sha256": self.manifest_sha256,
            "release": self.release,
            "signer": self.signer,
            "source": self.source,
            "exporter": self.exporter,
            "versions": dict(sorted(self.versions.items())),
        }
        options = self.options.to_json()
        return {**found, "options": options} if options else found

    @classmethod
    def from_record(cls, record: Record) -> ProvenancePin:
        """The inverse of :meth:`to_json`, strict."""
        versions = record.table("versions")
        pin = cls(
            manifest_sha256=record.sha256("manifest_sha256"),
            release=_printable(record, "release"),
            signer=record.text("signer", max_length=2048),
            source=record.text("source", max_length=MAX_NAME),
            exporter=record.text("exporter", pattern=r"[A-Za-z0-9 ._-]{1,64}"),
            versions={name: versions.text(name, pattern=r"[0-9A-Za-z.+!_-]{1,64}") for name in versions.names()},
            options=ExportOptions.from_record(record.table("options", {})),
        )
        record.done()
        if pin.source != WHOLE and not safe_path(pin.source):
            raise record.refuse(f"{pin.source[:80]!r} is not a plain path below a release", "source")
        if not is_printable(pin.signer):
            raise record.refuse("control characters", "signer")
        return pin

    def how(self) -> str:
        """The export in words."""
        made = ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))
        what = "the whole release" if self.source == WHOLE else repr(self.source)
        return f"{what} by exporter {self.exporter} ({made}){self.options.words()}"
