"""Engine name → implementation. Implementations are loaded when they are asked for."""

from __future__ import annotations

from typing import assert_never

from verifai.domain.statement import EngineName
from verifai.engines.interface import ProofEngine

_ENGINES: tuple[EngineName, ...] = (EngineName.EZKL, EngineName.SUMCHECK)


def engine_names() -> tuple[EngineName, ...]:
    """The engines of this release, in the order in which they are offered."""
    return _ENGINES


def all_engines() -> tuple[ProofEngine, ...]:
    """Every engine, in that order: what to ask for a capability (:mod:`.capabilities`)."""
    return tuple(engine_for(name) for name in _ENGINES)


def engine_for(name: EngineName) -> ProofEngine:
    """The engine of that name."""
    match name:
        case EngineName.EZKL:
            from verifai.engines.ezkl.engine import EzklEngine

            return EzklEngine()
        case EngineName.SUMCHECK:
            from verifai.engines.sumcheck.engine import SumcheckEngine

            return SumcheckEngine()
        case _:
            assert_never(name)
