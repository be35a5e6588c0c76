"""inspect: what a bundle claims to hold. It is checked to be well formed and complete; its claims are not verified."""

from __future__ import annotations

from pathlib import Path

from verifai.bundle.reader import open_bundle
from verifai.bundle.summary import BundleSummary, summarise


def inspect_bundle(path: Path) -> BundleSummary:
    """Read the bundle at ``path``.

    Raises:
        UsageError: ``file-missing``.
        EvidenceRejected: it is not exactly a bundle.
    """
    with open_bundle(path) as bundle:
        return summarise(bundle)
