"""Set-up files (SRS): the store of the engine that keeps some. Nothing in it is trusted because it is there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from verifai.domain.progress import SILENT, Progress
from verifai.engines.capabilities import KeepsSetUpFiles, SetUpFile, SetUpStore
from verifai.engines.registry import all_engines
from verifai.errors import InternalError


@dataclass(frozen=True, slots=True)
class StoredFiles:
    """The store's folder, which may not exist yet, and its files, smallest first, each judged now."""

    root: Path
    files: tuple[SetUpFile, ...]


def list_files() -> StoredFiles:
    """The user's store. Raises EvidenceRejected (``srs-malformed``, ``srs-not-ceremony``) for a file that does not hold."""
    store = _store()
    return StoredFiles(store.root, store.files())


def judge_file(path: Path) -> SetUpFile:
    """Whose a file is, by its digest and points. Raises EvidenceRejected as above, UsageError (``file-missing``)."""
    return _store().judge(path)


def import_file(path: Path, *, allow_test: bool = False) -> SetUpFile:
    """Judge a file, then copy it into the store.

    Args:
        allow_test: whether test material, whose maker can forge proofs, is wanted.

    Raises:
        EvidenceRejected: as :func:`list_files`; ``srs-not-ceremony`` for test material without ``allow_test``.
        UsageError: ``file-missing``. Undecided: ``disk``.
    """
    return _store().import_file(path, allow_test=allow_test)


def fetch_file(logrows: int, *, progress: Progress = SILENT) -> SetUpFile:
    """Download the public ceremony's file for 2^``logrows`` circuit rows into the store, unless it is there.

    Raises:
        UsageError: ``bad-option``. Undecided: ``srs-unavailable``, ``deadline``, ``disk``.
        EvidenceRejected: something else came down.
    """
    return _store().fetch(logrows, progress=progress)


def generate_file(logrows: int, *, root: Path | None = None, progress: Progress = SILENT) -> SetUpFile:
    """Make INSECURE test material in the store in ``root``, by default the user's: its maker can forge every proof.

    Raises:
        UsageError: ``bad-option``. Undecided: memory, disk, or a crash.
    """
    return _store(root).generate(logrows, progress=progress)


def cut_file(source: Path, logrows: int, output: Path, *, progress: Progress = SILENT) -> SetUpFile:
    """Cut a file to 2^``logrows`` rows, into the new file ``output``: the same set-up, no better and no worse.

    Raises:
        UsageError: ``file-missing``, ``file-exists``, ``bad-option``.
        EvidenceRejected: as :func:`list_files`. Undecided: memory, disk, or a crash.
    """
    return _store().cut(source, logrows, output, progress=progress)


def _store(root: Path | None = None) -> SetUpStore:
    for engine in all_engines():
        if isinstance(engine, KeepsSetUpFiles):
            return engine.set_up_store(root)
    raise InternalError("bug", "no engine of this release keeps set-up files", where="verifai.engines.registry")
