"""Roots of private weights: which there are, how often each may still be opened, and fresh ones for the pinned one."""

from __future__ import annotations

from verifai.circuit_folder import CircuitFolder
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.progress import SILENT, Progress
from verifai.engines.capabilities import RenewsWeightRoots, RootState
from verifai.engines.registry import all_engines
from verifai.errors import InternalError


def show_roots(folder: CircuitFolder) -> tuple[RootState, ...]:
    """The pinned root, then its epoch roots, the oldest first.

    Raises:
        UsageError: ``weights-not-private``; nothing compiled; a ledger that is missing or damaged.
    """
    lock = folder.lock()
    engine = _engine(lock)
    return engine.weight_roots(lock.section(engine.name), folder.secrets_dir(engine.name), where=str(folder.folder))


def renew_root(folder: CircuitFolder, *, progress: Progress = SILENT) -> RootState:
    """Make an epoch root: the same weights under a fresh seed, and a proof, with one opening of each, that they are the same.

    Raises:
        UsageError: ``weights-not-private``, ``opening-budget-spent``, ``stale-build`` and those of the ledger.
    """
    lock = folder.lock()
    engine = _engine(lock)
    return engine.renew_weight_root(
        lock.section(engine.name),
        folder.built_dir(engine.name),
        folder.secrets_dir(engine.name),
        where=str(folder.folder),
        progress=progress,
    )


def _engine(lock: CircuitLock) -> RenewsWeightRoots:
    """The first engine with weight roots that the lock pins; when it pins none, the first, whose section is then missed."""
    able = [engine for engine in all_engines() if isinstance(engine, RenewsWeightRoots)]
    if not able:
        raise InternalError("bug", "no engine of this release has weight roots", where="verifai.engines.registry")
    return next((engine for engine in able if engine.name in lock.engines), able[0])
