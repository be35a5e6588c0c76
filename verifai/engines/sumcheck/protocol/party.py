"""The interface that the script calls: prover, verifier and rehearsal implement it.

:mod:`.script` and :mod:`.operations` are the script. The verifier (:mod:`..verifier.verifier_party`) answers a question about a
value by taking the prover's message and noting what must be opened, or, for public data, by computing the value itself. The
prover (:mod:`..prover.party`) answers by computing and sending. Both sides run one script, so the order of messages cannot
differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field, geometry
from verifai.engines.sumcheck.protocol.axes import Functional
from verifai.engines.sumcheck.protocol.buses import Bus, TableBlock
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.layout import Key
from verifai.engines.sumcheck.protocol.lookups import Leaves


@dataclass(frozen=True, slots=True)
class OpeningClaim:
    """A committed column's claimed value under a functional."""

    key: Key
    axes: Functional
    value: Claim


@dataclass(frozen=True, slots=True)
class PendingClaim:
    """A virtual tensor's claimed value under a functional; its operation carries it to its operands."""

    axes: Functional
    value: Claim


@dataclass(frozen=True, slots=True)
class DeferredClaim:
    """A claim on one of an operation's products of columns, to be checked with the operation."""

    which: int
    axes: Functional
    value: Claim


class Party(Protocol):
    """One side of the interaction."""

    openings: list[OpeningClaim]
    pending: dict[int, list[PendingClaim]]

    @property
    def circuit(self) -> Circuit:
        """The program."""

    def fractions(self, bus: Bus, alpha: Ext, beta: Ext) -> Leaves:
        """Run the layers that show that all lookups' fractions add up to 0. The claims that the leaves still have to meet."""

    def table_row(self, block: TableBlock, point: tuple[Ext, ...]) -> tuple[Claim, ...]:
        """The extensions of a table's columns at ``point``."""

    def committed(self, key: Key, axes: Functional, label: str) -> Claim:
        """The functional of any committed column. The prover sends the value; the openings check it."""

    def advance(self) -> None:
        """One operation is done."""

    def challenges(self, label: str, count: int) -> list[Ext]:
        """A random point."""

    def read(self, tensor: int, axes: Functional, label: str) -> Claim:
        """The functional of a tensor with its padding as it is."""

    def column(self, operation: int, number: int, axes: Functional, label: str) -> Claim:
        """The functional of a column that an operation commits beside its results."""

    def message(self, operation: int, which: int, axes: Functional, label: str) -> Claim:
        """The functional of a column that is not committed. The script adds the check against product ``which`` of columns."""

    def pin_padding(self, key: Key, axes: Functional, shape: Sequence[int], claim: Claim) -> None:
        """Require padding to be 0: the column has value ``claim`` under ``axes``, and under ``axes`` cut off at ``shape``."""

    def shown(self, tensor: int) -> Sequence[int]:
        """The true cells of a public tensor, which both sides know."""

    def weight(self, weight: int, axes: Functional, label: str) -> Claim:
        """The functional of a weight, padding 0."""

    def intermediate(self, product: Claim, label: str) -> Claim:
        """A product as a message of its own, so that no product has more than two factors."""

    def inner_product(self, operation: int, axes: Functional, claim: Claim, rounds: int, label: str) -> tuple[Claim, list[Ext]]:
        """Sumcheck of the operation's inner product under an output functional."""

    def zero_check(self, operation: int, anchor: Sequence[Ext], degree: int, label: str) -> tuple[Claim, list[Ext]]:
        """Sumcheck of the operation's vanishing product, weighted by eq(anchor, ·)."""

    def weighted_product(
        self, operation: int, which: int, weights: Functional, axes: Functional, claim: Claim, rounds: int, label: str
    ) -> tuple[Claim, list[Ext]]:
        """Sumcheck of the operation's product ``which`` under public weights; ``axes``: the result's functional."""

    def gated_product(self, operation: int, axes: Functional, claim: Claim, rounds: int, label: str) -> tuple[Claim, list[Ext]]:
        """Sumcheck of the operation's product of a weight and two values under an output functional."""

    def defer(self, operation: int, which: int, axes: Functional, claim: Claim) -> None:
        """Note a claim on the operation's product, to be checked with the operation."""

    def deferred(self, operation: int) -> list[DeferredClaim]:
        """The claims noted for the operation."""


def read_masked(party: Party, tensor: int, axes: Functional, label: str) -> Claim:
    """The functional of a tensor with its padding as 0: x̃ − fill·(1 − mask~)."""
    described = party.circuit.tensors[tensor]
    value = party.read(tensor, axes, label)
    if described.fill == 0:
        return value
    return value.plus(field.scale(ax.padding_total(axes, described.shape), -described.fill))


def truncated(axes: Functional, shape: Sequence[int]) -> Functional:
    """``axes`` on true cells, 0 on padding."""
    return tuple(geometry.truncated(axis, size) for axis, size in zip(axes, shape, strict=True))
