"""Openings of hidden weights for the items of a batch, reserved in blocks by the one process that gives the items out."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from verifai.domain.digest import Sha256
from verifai.domain.progress import SILENT, Progress
from verifai.domain.statement import WeightVisibility
from verifai.engines.capabilities import RenewsWeightRoots, ReservesOpenings
from verifai.engines.interface import ReservedOpening
from verifai.errors import InternalError
from verifai.stages.ready import ReadyCircuit

BLOCK = 8
"""Numbers of a block. Of a process that is killed so many are lost at most, beside those that it had given out; a root has 64
openings at most, and a block costs one sync of the disk, so larger ones would lose more than they save."""


@dataclass
class Openings:
    """Each number is given to one attempt at one item, and never again: who was killed, or lied, takes it along.

    Attributes:
        renew: whether a fresh root is made when no root has openings left.
    """

    ready: ReadyCircuit
    renew: bool = False
    progress: Progress = SILENT
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
            self.ensure()
            engine, folder = self.ready.engine, self.ready.folder
            if not isinstance(engine, ReservesOpenings):
                raise InternalError("bug", f"the engine {engine.name.value} hides weights and reserves no openings")
            count = max(1, min(BLOCK, left))
            self._block.extend(engine.reserve_openings(self.ready.section, folder.secrets_dir(engine.name), count))
        return self._block.popleft()

    def roots(self) -> frozenset[Sha256]:
        """The roots that there are now. Raises UsageError, Undecided: a ledger that cannot be used."""
        engine, folder = self.ready.engine, self.ready.folder
        if not self.needed or not isinstance(engine, RenewsWeightRoots):
            return frozenset()
        states = engine.weight_roots(self.ready.section, folder.secrets_dir(engine.name), where=str(folder.folder))
        return frozenset(state.root for state in states)

    def ensure(self) -> None:
        """Make a fresh root where that was asked for and no other has openings left. Raises as :meth:`take`.

        Each fresh root takes one opening of the pinned one and brings as many as that one had. So who lets roots be made keeps
        half of the pinned root's openings for that, or the second would be the last.
        """
        engine, folder, section = self.ready.engine, self.ready.folder, self.ready.section
        if not self.renew or not self.needed or not isinstance(engine, RenewsWeightRoots):
            return
        secrets, where = folder.secrets_dir(engine.name), str(folder.folder)
        roots = engine.weight_roots(section, secrets, where=where)
        if any(one.used < one.budget - (one.budget // 2 if one.pinned else 0) for one in roots):
            return
        self.progress.note("The openings of the weights' roots are spent; a fresh root is made.")
        engine.renew_weight_root(section, folder.built_dir(engine.name), secrets, where=where)
