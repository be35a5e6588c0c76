"""``pack`` and ``unpack``: folder form ↔ single-file form.

Laws: ``pack(unpack(b)) == b`` byte for byte, ``unpack(pack(d)) == d`` file for file, and the bundle identifier stays the same.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verifai.bundle import canonical
from verifai.bundle.archive_format import DATE_TIME
from verifai.bundle.limits import DEFAULT, Limits
from verifai.bundle.reader import BundleId, OpenBundle, open_bundle
from verifai.bundle.writer import Content, chunks, write_folder
from verifai.domain.attestation.manifest import MANIFEST_NAME
from verifai.errors import UsageError
from verifai.execution.files import cannot_write, new_beside, place_file


def pack(source: Path, target: Path, *, limits: Limits = DEFAULT) -> BundleId:
    """Write the bundle at ``source`` as one file. The bundle is read strictly first, so only a well-formed one is packed.

    Raises:
        UsageError: code ``file-exists`` or ``file-missing``.
        EvidenceRejected: see :func:`verifai.bundle.reader.open_bundle`.
        Undecided: code ``disk``.
    """
    if os.path.lexists(target):
        raise UsageError("file-exists", "the output file exists already", where=str(target), hint="Choose another name.")
    with open_bundle(source, limits=limits) as bundle, _new_file(target) as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
            for path, content in contents(bundle):
                info = zipfile.ZipInfo(path, DATE_TIME)
                info.create_system = 3
                info.external_attr = 0o100644 << 16
                with archive.open(info, "w") as stream:
                    for chunk in chunks(content):
                        stream.write(chunk)
        return bundle.bundle_id


def unpack(source: Path, target: Path, *, limits: Limits = DEFAULT) -> BundleId:
    """Write the bundle at ``source`` as a new folder. Raises what :func:`pack` raises."""
    with open_bundle(source, limits=limits) as bundle:
        write_folder(target, dict(contents(bundle)))
        return bundle.bundle_id


def contents(bundle: OpenBundle) -> Iterator[tuple[str, Content]]:
    """Every file in ascending order of path, from the private copies and the canonical documents."""
    documents = {f"log/{name}": data for name, data in bundle.log.items()}
    for key, one in bundle.attestations.items():
        documents[f"attestations/{key}.dsse.json"] = canonical.encode(one.envelope.to_json())
    documents[MANIFEST_NAME] = canonical.encode(bundle.envelope.to_json())
    for path in sorted([MANIFEST_NAME, *(entry.path for entry in bundle.manifest.files)]):
        yield path, documents[path] if path in documents else bundle.payload[path.removeprefix("payload/")]


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A temporary name beside ``target`` that becomes it, synced, when the block ends well."""
    temporary: Path | None = None
    try:
        handle, temporary = new_beside(target, 0o666)
        os.close(handle)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        place_file(temporary, target)
    except OSError as problem:
        raise cannot_write(problem, target) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
