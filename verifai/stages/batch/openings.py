"""Openings of hidden weights for the items of a batch, reserved in blocks by the one process that gives the items out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from verifai.domain.statement import WeightVisibility
from verifai.engines.capabilities import ReservesOpenings
from verifai.engines.interface import ReservedOpening
from verifai.errors import InternalError
from verifai.stages.prove import ReadyCircuit

BLOCK = 16
"""Numbers of a block: one page of the ledger, so one sync. Of a process that is killed, so many are lost at most, beside those
that were given out."""


@dataclass
class Openings:
    """Each number is given to one attempt at one item, and never again: who was killed, or lied, takes it along."""

    ready: ReadyCircuit
    _block: deque[ReservedOpening] = field(default_factory=deque)

    @property
    def needed(self) -> bool:
        """Whether proofs open hidden weights at all."""
        return self.ready.summary.weights is WeightVisibility.PRIVATE

    def take(self, left: int) -> ReservedOpening | None:
        """The next one; ``None`` where none is needed.

        Args:
            left: how many items are still to be given out, this one included: no more than that is reserved.

        Raises:
            UsageError: ``opening-budget-spent``; those of the ledger. Undecided: ``disk``, ``opening-ledger-busy``.
        """
        if not self.needed:
            return None
        if not self._block:
            engine, folder = self.ready.engine, self.ready.folder
            if not isinstance(engine, ReservesOpenings):
                raise InternalError("bug", f"the engine {engine.name.value} hides weights and reserves no openings")
            count = max(1, min(BLOCK, left))
            self._block.extend(engine.reserve_openings(self.ready.section, folder.secrets_dir(engine.name), count))
        return self._block.popleft()
