"""The engines whose proofs of consecutive segments chain."""

from __future__ import annotations

from verifai.engines.capabilities import SplitsModels
from verifai.engines.registry import all_engines
from verifai.errors import InternalError


def splitting_engines() -> tuple[SplitsModels, ...]:
    """At least one, in the registry's order."""
    able = tuple(engine for engine in all_engines() if isinstance(engine, SplitsModels))
    if not able:
        raise InternalError("bug", "no engine of this release splits models", where="verifai.engines.registry")
    return able
