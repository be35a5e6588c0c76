"""Every stable code with its meaning and remedy: one file per subject, merged here; ``docs/codes.md`` is generated from it."""

from __future__ import annotations

from functools import cache

from verifai.domain.codes import (
    batch,
    bundle,
    chain,
    circuit,
    consensus,
    core,
    engine,
    evaluation,
    ezkl,
    gate,
    generation,
    hardware,
    onnx,
    opening,
    provenance,
    registry,
    sumcheck,
    workforce,
)
from verifai.domain.codes.code import Code


def remedy(name: str) -> str:
    """What the catalogue says to do about a code; empty for one that it does not have."""
    code = all_codes().get(name)
    return "" if code is None else code.remedy


@cache
def all_codes() -> dict[str, Code]:
    """All codes by name. Raises ValueError when two files define one name."""
    merged: dict[str, Code] = {}
    for part in (
        core,
        onnx,
        circuit,
        engine,
        ezkl,
        sumcheck,
        opening,
        batch,
        bundle,
        chain,
        consensus,
        evaluation,
        gate,
        hardware,
        generation,
        provenance,
        registry,
        workforce,
    ):
        for name, code in part.CODES.items():
            if name in merged:
                raise ValueError(f"code {name!r} is defined twice")
            merged[name] = code
    return merged
