"""Roots of private weights: which there are, how often each may still be opened, and fresh ones for the pinned one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verifai.domain.digest import Sha256
from verifai.domain.progress import Progress
from verifai.domain.statement import WeightVisibility
from verifai.engines.capabilities import RootState
from verifai.engines.sumcheck.build_folder import read_build, stale
from verifai.engines.sumcheck.interpreter.weights import decode_arrays
from verifai.engines.sumcheck.lock_section import LockSection, expect_suite, parse_section
from verifai.engines.sumcheck.payload.weight_roots import encode_link
from verifai.engines.sumcheck.prover.prove import prepare
from verifai.engines.sumcheck.prover.relations import prove_link
from verifai.engines.sumcheck.secrets.store import epochs, keep_link, make_weights_secret, weights_ledger, weights_seed
from verifai.errors import UsageError


def weight_roots(section: Mapping[str, Any], secrets: Path, where: str) -> tuple[RootState, ...]:
    """The pinned root, then its epoch roots, the oldest first.

    Args:
        secrets: the folder of seeds and ledgers.
        where: what errors name: the circuit's folder.

    Raises:
        UsageError: ``weights-not-private``, ``bad-lock``, ``engine-version``; a ledger that is missing or damaged.
    """
    pinned = _private(section, where).weights_sha256
    found = []
    for root in (pinned, *(epoch for epoch, _ in epochs(secrets, pinned))):
        ledger = weights_ledger(secrets, root)
        found.append(RootState(root, root == pinned, ledger.used, ledger.budget))
    return tuple(found)


def renew_weight_root(section: Mapping[str, Any], build: Path, secrets: Path, where: str, progress: Progress) -> RootState:
    """Make an epoch root: the same weights under a fresh seed, and a proof, with one opening of each, that they are the same.

    Raises:
        UsageError: as :func:`weight_roots`; ``opening-budget-spent``, ``stale-build``.
    """
    parsed = _private(section, where)
    pinned = parsed.weights_sha256
    _, circuit, blob = read_build(build, parsed)
    weights = decode_arrays(circuit, blob)
    progress.phase("commit")
    key = prepare(circuit, weights, weights_seed=weights_seed(secrets, pinned))
    if key.identity != pinned:
        raise stale("the built weights are not the pinned ones", build)
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


def _private(section: Mapping[str, Any], where: str) -> LockSection:
    """The section, if its weights are private."""
    parsed = parse_section(section)
    expect_suite(parsed)
    if parsed.weights is not WeightVisibility.PRIVATE:
        raise UsageError(
            "weights-not-private",
            f"the weights of this circuit are {parsed.weights.value}",
            where=where,
            hint='Only [weights] visibility = "private" has roots with a budget.',
        )
    return parsed
