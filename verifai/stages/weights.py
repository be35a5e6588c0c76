"""Roots of private weights: which there are, how often each may still be opened, and fresh ones for the pinned one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from verifai.circuit_folder import CircuitFolder
from verifai.domain.digest import Sha256
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import EngineName, WeightVisibility
from verifai.engines.sumcheck.build_folder import read_build
from verifai.engines.sumcheck.interpreter.weights import decode_arrays
from verifai.engines.sumcheck.lock_section import expect_suite, parse_section
from verifai.engines.sumcheck.payload.weight_roots import encode_link
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.prover.relations import prove_link
from verifai.engines.sumcheck.secrets.store import epochs, keep_link, make_weights_secret, weights_ledger, weights_seed
from verifai.errors import UsageError

if TYPE_CHECKING:
    from verifai.engines.sumcheck.lock_section import LockSection


@dataclass(frozen=True, slots=True)
class RootState:
    """One root. ``used`` of ``budget`` openings are spent; ``pinned``: it is the lock's own, else an epoch root for it."""

    root: Sha256
    pinned: bool
    used: int
    budget: int


def show_roots(folder: CircuitFolder) -> list[RootState]:
    """The pinned root, then its epoch roots, the oldest first.

    Raises:
        UsageError: ``weights-not-private``; nothing compiled; a ledger that is missing or damaged.
    """
    section = _section(folder)
    secrets = folder.secrets_dir(EngineName.SUMCHECK)
    found = []
    for root in (section.weights_sha256, *(epoch for epoch, _ in epochs(secrets, section.weights_sha256))):
        ledger = weights_ledger(secrets, root)
        found.append(RootState(root, root == section.weights_sha256, ledger.used, ledger.budget))
    return found


def renew_root(folder: CircuitFolder, *, progress: Progress = SILENT) -> RootState:
    """Make an epoch root: the same weights under a fresh seed, and a proof, with one opening of each, that they are the same.

    Raises:
        UsageError: ``weights-not-private``, ``opening-budget-spent``, ``stale-build`` and those of the ledger.
    """
    import os

    section = _section(folder)
    secrets, pinned = folder.secrets_dir(EngineName.SUMCHECK), section.weights_sha256
    _, circuit, blob = read_build(folder.build_dir(EngineName.SUMCHECK), section)
    weights = decode_arrays(circuit, blob)
    progress.phase("commit")
    key = prepare(circuit, weights, weights_seed=weights_seed(secrets, pinned))
    if key.identity != pinned:
        hint = "Run: verifai compile --locked, to rebuild what the lock pins."
        raise UsageError("stale-build", "the built weights are not the pinned ones", where=str(folder.folder), hint=hint)
    number = weights_ledger(secrets, pinned).reserve("link")
    seed = os.urandom(32)
    epoch = prepare(circuit, weights, weights_seed=seed)
    root = Sha256(epoch.identity)
    make_weights_secret(secrets, root, seed, circuit.opening_budget)
    ledger = weights_ledger(secrets, root)
    first = ledger.reserve("link")
    proof = prove_link(key, number, epoch, first, progress=progress)
    keep_link(secrets, pinned, root, encode_link(bytes.fromhex(root), number, first, proof))
    return RootState(root, False, ledger.used, ledger.budget)


def _section(folder: CircuitFolder) -> LockSection:
    section = parse_section(folder.lock().section(EngineName.SUMCHECK))
    expect_suite(section)
    if section.weights is not WeightVisibility.PRIVATE:
        raise UsageError(
            "weights-not-private",
            f"the weights of this circuit are {section.weights.value}",
            where=str(folder.folder),
            hint='Only [weights] visibility = "private" has roots with a budget.',
        )
    return section
