"""The files that compile leaves for prove, in the circuit's private build folder, and the check that they are still those.

They hold every quantised weight in clear: 0600 in a 0700 folder, never in a bundle.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from verifai.domain import strict_json
from verifai.domain.digest import Sha256
from verifai.domain.record import Record
from verifai.domain.shell import rebuild_hint
from verifai.domain.statement import EngineName
from verifai.engines.ezkl.build import CIRCUIT_FILE, PK_FILE, SETTINGS_FILE, VK_FILE
from verifai.engines.ezkl.lock_section import LockSection
from verifai.engines.ezkl.srs.file import Srs, read_srs
from verifai.errors import EvidenceRejected, UsageError
from verifai.execution.files import read_limited, write_atomic

SRS_FILE = "params.srs"
INDEX_FILE = "build.json"
_SCHEMA = "verifai/ezkl-build/v1"
_CODE = "stale-build"
_FILES = (SETTINGS_FILE, VK_FILE, PK_FILE, CIRCUIT_FILE, SRS_FILE)


@dataclass(frozen=True, slots=True)
class BuildFolder:
    """One circuit's build folder."""

    root: Path

    def path(self, name: str) -> Path:
        """Where a file of the build lies."""
        return self.root / name

    @property
    def _hint(self) -> str:
        return rebuild_hint(self.root.parent.parent, EngineName.EZKL)

    def forget(self) -> None:
        """Mark the build as unfinished; before any of its files changes."""
        self.path(INDEX_FILE).unlink(missing_ok=True)

    def seal(self) -> None:
        """Record the digests; the last step of compile."""
        digests = {name: file_sha256(self.path(name)) for name in _FILES}
        document = {"schema": _SCHEMA, "sha256": digests}
        write_atomic(self.path(INDEX_FILE), json.dumps(document, sort_keys=True, indent=1).encode() + b"\n", mode=0o600)

    def check(self, section: LockSection) -> Srs:
        """That every file is the one that compile left, and that they belong to ``section``.

        Returns:
            The SRS to prove with, judged.

        Raises:
            UsageError: code ``stale-build``, with the file named.
        """
        index = self.path(INDEX_FILE)
        if not index.is_file():
            raise UsageError("stale-build", "this circuit was not built here", where=str(self.root), hint=self._hint)
        try:
            record = Record(
                strict_json.loads(read_limited(index, limit=65536), where=INDEX_FILE, error=UsageError, code=_CODE),
                INDEX_FILE,
                error=UsageError,
                code=_CODE,
            )
            record.text("schema", pattern=_SCHEMA)
            recorded = record.table("sha256")
            digests = {name: recorded.sha256(name) for name in _FILES}
            recorded.done()
            record.done()
        except UsageError as problem:
            raise UsageError(_CODE, problem.message, where=problem.where, hint=self._hint) from None
        pinned = {
            SETTINGS_FILE: section.settings_sha256,
            VK_FILE: section.vk_sha256,
            SRS_FILE: section.srs.working_sha256,
        }
        for name, expected in digests.items():
            path = self.path(name)
            if not path.is_file():
                raise UsageError(_CODE, "a file of the build is missing", where=str(path), hint=self._hint)
            if name in pinned and pinned[name] != expected:
                raise UsageError(_CODE, "the build is not the one that the lock pins", where=str(path), hint=self._hint)
            if file_sha256(path) != expected:
                raise UsageError(_CODE, "the file changed since compile", where=str(path), hint=self._hint)
        try:
            srs = read_srs(self.path(SRS_FILE))
        except EvidenceRejected as problem:
            raise UsageError(_CODE, problem.message, where=problem.where, hint=self._hint) from None
        if srs.verifier != section.srs.verifier or srs.logrows < section.parameters.logrows:
            raise UsageError(_CODE, "the SRS is not the one that the lock pins", where=str(srs.path), hint=self._hint)
        return srs


def file_sha256(path: Path) -> Sha256:
    """Digest of a file of any size."""
    state = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            state.update(block)
    return Sha256(state.hexdigest())
