"""The list of verbs, in the order of ``verifai --help``: the way from a model to a release."""

from __future__ import annotations

from typing import Protocol

import typer


class VerbModule(Protocol):
    """A module of verbs."""

    def register(self, app: typer.Typer) -> None:
        """Add its verbs to ``app``."""


def register_all(app: typer.Typer) -> None:
    """Register every verb. Verb modules import nothing heavy; their functions do, when they run."""
    from verifai.cli import (
        audit,
        bench,
        bundles,
        chain,
        consensus,
        demo,
        evidence,
        export,
        gate,
        keys,
        log,
        prepare,
        srs,
        votes,
        warm_up,
        weights,
    )

    modules: tuple[VerbModule, ...] = (
        demo, export, prepare, evidence, audit, chain, bundles, votes, consensus, gate, keys, weights, log, srs, bench, warm_up,
    )  # fmt: skip
    for module in modules:
        module.register(app)
