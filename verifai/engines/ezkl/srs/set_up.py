"""The store of SRS files as stages know it: :class:`verifai.engines.capabilities.SetUpStore`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from verifai.domain.progress import SILENT, Progress
from verifai.engines.capabilities import SetUpFile
from verifai.engines.ezkl.srs.file import Srs, SrsTrust, read_srs, size_of
from verifai.engines.ezkl.srs.store import SrsStore, default_store
from verifai.engines.ezkl.srs.working import cut_file


@dataclass(frozen=True, slots=True)
class SrsSetUpStore:
    """The engine's own store behind that interface; errors as there."""

    store: SrsStore

    @property
    def root(self) -> Path:
        """The folder; it may not exist yet."""
        return self.store.root

    def files(self) -> tuple[SetUpFile, ...]:
        """The store's files, smallest first, each judged now."""
        return tuple(self.judge(path) for path in self.store.files())

    def judge(self, path: Path) -> SetUpFile:
        """Read any SRS file."""
        return _told(read_srs(path))

    def import_file(self, path: Path, *, allow_test: bool = False) -> SetUpFile:
        """Judge a file, then copy it into the store."""
        return _told(self.store.import_file(path, allow_test=allow_test))

    def fetch(self, logrows: int, *, progress: Progress = SILENT) -> SetUpFile:
        """Download the ceremony's file of this size."""
        return _told(self.store.fetch(logrows, progress=progress))

    def generate(self, logrows: int, *, progress: Progress = SILENT) -> SetUpFile:
        """Make an INSECURE-TEST SRS."""
        return _told(self.store.generate(logrows, progress=progress))

    def cut(self, source: Path, logrows: int, output: Path, *, progress: Progress = SILENT) -> SetUpFile:
        """Cut a file to fewer rows, into a new file."""
        return _told(cut_file(source, logrows, output, progress=progress))


def srs_store(root: Path | None = None) -> SrsSetUpStore:
    """The store in ``root``; by default the one named by VERIFAI_SRS_DIR, else in the user's data folder."""
    return SrsSetUpStore(default_store() if root is None else SrsStore(root))


def _told(srs: Srs) -> SetUpFile:
    insecure = srs.trust is not SrsTrust.CEREMONY
    return SetUpFile(srs.path, srs.logrows, srs.sha256, size_of(srs.logrows), srs.trust.value, insecure)
