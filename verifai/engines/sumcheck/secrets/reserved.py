"""Openings of private weights in blocks: one process reserves them from the ledger, others prove with them.

Whoever proves gets seeds and numbers, and never a ledger: it could not count for the others. A number is spent from the moment
that it is handed out, whatever becomes of the proof.
"""

from __future__ import annotations

from pathlib import Path

from verifai.domain.statement import WeightVisibility
from verifai.engines.interface import ReservedOpening
from verifai.engines.sumcheck.lock_section import LockSection, expect_suite
from verifai.engines.sumcheck.payload.weight_roots import MAX_RELATION
from verifai.engines.sumcheck.secrets.store import epochs, seed_path, shown_path, usable_root
from verifai.errors import UsageError
from verifai.execution.files import read_limited

_SEED_LIMIT = 4096


def reserve_openings(section: LockSection, folder: Path, count: int) -> tuple[ReservedOpening, ...]:
    """Up to ``count`` openings of the root that a proof would use now; at least one. Raises UsageError, Undecided."""
    expect_suite(section)
    if section.weights is not WeightVisibility.PRIVATE:
        return ()
    while True:
        usable = usable_root(folder, section.weights_sha256)
        try:
            return tuple(ReservedOpening(usable.root, number) for number in usable.reserve(count))
        except UsageError as problem:
            # Another process took the last ones since; it ends, since numbers are only ever spent.
            if problem.code != "opening-budget-spent":
                raise


def secret_files(section: LockSection, folder: Path) -> dict[str, bytes]:
    """Seeds of the pinned root and of its epoch roots, registration and links. Raises UsageError."""
    if section.weights is not WeightVisibility.PRIVATE:
        return {}
    pinned = section.weights_sha256
    paths = [(seed_path(folder, pinned), _SEED_LIMIT), (shown_path(folder, pinned), MAX_RELATION)]
    for epoch, link in epochs(folder, pinned):
        paths += [(seed_path(folder, epoch), _SEED_LIMIT), (link, MAX_RELATION)]
    return {path.name: read_limited(path, limit=limit) for path, limit in paths}
