"""Reading a bundle: the only way in. The steps R1 to R9 are those of ``docs/bundle-format.md``.

Nothing is extracted by name, and nothing is read twice: every file is hashed while it is copied once into a private folder, and
those copies are what engines get. Opening a bundle says that it is *well formed and complete*; who signed it and whether it is
true is checked later.
"""

from __future__ import annotations

import contextlib
import hashlib
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.bundle import canonical
from verifai.bundle.limits import DEFAULT, Limits
from verifai.bundle.source import Source, too_large
from verifai.domain.attestation.envelope import Attestation, Envelope, parse_envelope, statement_document
from verifai.domain.attestation.manifest import MANIFEST_NAME, FileEntry, Manifest, check_path, parse_manifest
from verifai.domain.attestation.types import parse_attestation
from verifai.domain.digest import Sha256
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.execution.scratch import private_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

    from verifai.bundle.dsse import SignatureCheck
    from verifai.domain.trust_keys import PublicKey

_PAYLOAD = "payload/"

BundleId = Sha256
"""SHA-256 of the manifest's payload: the bundle's identifier. Signatures do not change it."""


@dataclass(frozen=True, slots=True)
class OpenBundle:
    """A well-formed, complete bundle; its private copies live as long as the ``with`` block that opened it.

    Attributes:
        path: where it was read from.
        bundle_id: SHA-256 of the manifest payload.
        envelope: the manifest's envelope, with its signatures.
        manifest: typed.
        payload: private copies by name below ``payload/``.
        attestations: typed, by identifier.
        log: contents of the files below ``log/``, by name.
    """

    path: Path
    bundle_id: BundleId
    envelope: Envelope
    manifest: Manifest
    payload: Mapping[str, Path]
    attestations: Mapping[Sha256, Attestation]
    log: Mapping[str, bytes]

    def check_signatures(self, keys: Iterable[PublicKey]) -> SignatureCheck:
        """Which of ``keys`` signed the manifest. See :func:`verifai.bundle.dsse.check_signatures`."""
        from verifai.bundle.dsse import check_signatures

        return check_signatures(self.envelope, keys, where=MANIFEST_NAME)

    def of_type(self, predicate_type: str) -> tuple[Attestation, ...]:
        """The attestations of one predicate type, in ascending order of identifier."""
        return tuple(one for _, one in sorted(self.attestations.items()) if predicate_type == one.predicate.TYPE)


@contextlib.contextmanager
def open_bundle(path: Path, *, limits: Limits = DEFAULT) -> Iterator[OpenBundle]:
    """Open a bundle folder or a single-file bundle.

    Raises:
        UsageError: code ``file-missing``, when there is nothing at ``path``.
        EvidenceRejected: when it is not exactly a bundle; see ``docs/bundle-format.md`` for the codes.
        Undecided: code ``disk``, when the private copy cannot be written.
    """
    source = _open_source(path, limits)  # R1 to R4
    try:
        with private_directory() as private:
            yield _read(path, source, private)
    finally:
        source.close()


def _open_source(path: Path, limits: Limits) -> Source:
    # R1: a link could be pointed elsewhere between two looks, so not even the bundle itself may be one.
    try:
        kind = path.lstat().st_mode
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else str(problem)
        raise UsageError("file-missing", f"cannot read: {reason}", where=str(path)) from None
    if stat.S_ISLNK(kind):
        raise EvidenceRejected("link", "a link, not a bundle", where=str(path), hint="Name what it points to.")
    if stat.S_ISDIR(kind):
        from verifai.bundle.folder import FolderSource

        return FolderSource(path, limits)
    if stat.S_ISREG(kind):
        from verifai.bundle.archive_reader import ArchiveSource

        return ArchiveSource(path, limits)
    raise UsageError("file-missing", "neither a folder nor a regular file", where=str(path))


def _read(path: Path, source: Source, private: Path) -> OpenBundle:
    if MANIFEST_NAME in source.folders:
        raise _not_a_file(MANIFEST_NAME)
    # R5: the manifest, strictly.
    data, _ = _copy(source, MANIFEST_NAME, None)
    envelope = parse_envelope(data, MANIFEST_NAME)
    canonical.require(data, envelope.to_json(), MANIFEST_NAME)
    manifest = parse_manifest(envelope.payload, MANIFEST_NAME)
    canonical.require(envelope.payload, manifest.to_json(), f"{MANIFEST_NAME}: payload")

    # R6: exactly the listed files, each of the listed size.
    listed = {entry.path: entry for entry in manifest.files}
    _compare_listing(listed, source)

    # R7: copy once, hash while copying.
    payload: dict[str, Path] = {}
    attestations: dict[Sha256, Attestation] = {}
    log: dict[str, bytes] = {}
    for entry in manifest.files:
        kind = check_path(entry.path)
        if kind == "payload":
            target = private / entry.path.removeprefix(_PAYLOAD)
            _check_digest(entry, _copy(source, entry.path, target)[1])
            payload[target.name] = target
            continue
        data, digest = _copy(source, entry.path, None)
        _check_digest(entry, digest)
        if kind == "log":
            log[entry.path.removeprefix("log/")] = data
        else:
            one = _attestation(entry, data)  # R8
            attestations[one.id] = one
    _check_chain(attestations, listed)  # R9
    return OpenBundle(path, envelope.id, envelope, manifest, payload, attestations, log)


def _compare_listing(listed: Mapping[str, FileEntry], source: Source) -> None:
    sizes = source.sizes
    for name in source.folders:
        if name in listed:
            raise _not_a_file(name)
        raise EvidenceRejected("bad-path", "a folder that belongs to no bundle", where=name)
    for name in listed:
        if name not in sizes:
            raise EvidenceRejected("file-absent", "the manifest lists this file, but it is not there", where=name)
        if listed[name].size != sizes[name]:
            raise EvidenceRejected(
                "digest-mismatch", f"{sizes[name]} bytes, but the manifest says {listed[name].size}", where=name
            )
    for name in sizes:
        if name not in listed and name != MANIFEST_NAME:
            raise EvidenceRejected("file-unlisted", "the manifest does not list this file", where=name)


def _not_a_file(name: str) -> Undecided:
    return Undecided("disk", "cannot read: there is a folder in the place of this file", where=name)


def _copy(source: Source, name: str, target: Path | None) -> tuple[bytes, Sha256]:
    """Read one file to its listed size and no further; into ``target``, or into memory when that is ``None``."""
    left, digest, kept = source.sizes[name], hashlib.sha256(), bytearray()
    try:
        with contextlib.ExitStack() as stack:
            output = None if target is None else stack.enter_context(target.open("xb"))
            for chunk in stack.enter_context(contextlib.closing(source.chunks(name))):
                left -= len(chunk)
                if left < 0:
                    raise too_large("the file grew while it was read", name)
                digest.update(chunk)
                if output is None:
                    kept += chunk
                else:
                    output.write(chunk)
    except OSError as problem:
        raise Undecided("disk", f"cannot copy: {problem.strerror}", where=name) from None
    if left:
        raise EvidenceRejected("digest-mismatch", "the file shrank while it was read", where=name)
    return bytes(kept), Sha256(digest.hexdigest())


def _check_digest(entry: FileEntry, digest: Sha256) -> None:
    if digest != entry.sha256:
        raise EvidenceRejected(
            "digest-mismatch",
            f"SHA-256 is {digest}, but the manifest says {entry.sha256}",
            where=entry.path,
            hint="The file was changed after the bundle was written.",
        )


def _attestation(entry: FileEntry, data: bytes) -> Attestation:
    where = entry.path
    envelope = parse_envelope(data, where)
    canonical.require(data, envelope.to_json(), where)
    if where != f"attestations/{envelope.id}.dsse.json":
        raise EvidenceRejected(
            "digest-mismatch", f"the payload's SHA-256 is {envelope.id}, but the file is named otherwise", where=where
        )
    one = parse_attestation(envelope, where)
    canonical.require(envelope.payload, statement_document(one.subjects, one.predicate), f"{where}: payload")
    return one


def _check_chain(attestations: Mapping[Sha256, Attestation], listed: Mapping[str, FileEntry]) -> None:
    """Every parent is here, and what an attestation says about a file of this bundle is so."""
    for one in attestations.values():
        where = f"attestations/{one.id}.dsse.json"
        for parent in one.predicate.parents():
            if parent not in attestations:
                raise EvidenceRejected("parent-missing", f"it builds on attestation {parent}, which is not here", where=where)
        for subject in one.subjects:
            if not subject.name.startswith(_PAYLOAD):
                continue
            entry = listed.get(subject.name)
            if entry is None:
                raise EvidenceRejected("file-absent", f"it is about {subject.name!r}, which is not here", where=where)
            if entry.sha256 != subject.sha256:
                raise EvidenceRejected("digest-mismatch", f"it is about another {subject.name}", where=where)
