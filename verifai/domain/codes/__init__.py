"""Every stable code with its meaning and remedy: one file per subject, merged here; ``docs/codes.md`` is generated from it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Code:
    """One stable code.

    Attributes:
        statuses: the exit statuses it can occur with; 0 for a check that holds.
        meaning: one sentence.
        remedy: what to do.
    """

    statuses: tuple[int, ...]
    meaning: str
    remedy: str


def all_codes() -> dict[str, Code]:
    """All codes by name. Raises ValueError when two files define one name."""
    from verifai.domain.codes import batch, bundle, chain, circuit, consensus, core, engine, ezkl, gate, onnx, opening, sumcheck

    merged: dict[str, Code] = {}
    for part in (core, onnx, circuit, engine, ezkl, sumcheck, opening, batch, bundle, chain, consensus, gate):
        for name, code in part.CODES.items():
            if name in merged:
                raise ValueError(f"code {name!r} is defined twice")
            merged[name] = code
    return merged
