"""The prover of the openings: one α-batched sumcheck over all commitments, then one combination per group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import numpy as np

from verifai.engines.sumcheck.planning.memory import is_long
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import row_weights
from verifai.engines.sumcheck.protocol.claim import ZERO
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.levels import Level, PointClaim, SpanClaim
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.proof import Opening
from verifai.engines.sumcheck.protocol.sumcheck import product_rounds
from verifai.engines.sumcheck.prover.arrays import element, embed, scalars, vector
from verifai.engines.sumcheck.prover.channel import ProverChannel, Rounds
from verifai.engines.sumcheck.prover.commitment import CommittedMatrix
from verifai.engines.sumcheck.prover.functionals import Spread, spreads
from verifai.engines.sumcheck.prover.kernels import U64, dot_base, outer_add, scaled
from verifai.engines.sumcheck.prover.levels import Combination, prove_combinations
from verifai.engines.sumcheck.prover.paired_rounds import PartedWeights, Quarters
from verifai.engines.sumcheck.prover.parallel import add_scaled, fold, fold_base, product_round, product_round_base


class Member(Protocol):
    """One commitment's part of the sum while its variables are being bound."""

    matrix: CommittedMatrix
    values: U64 | None

    def total(self) -> Ext:
        """Σ cells·weights, before any variable is bound."""

    def start(self, factor: Ext) -> None:
        """The high variables are bound: from here on the weights carry their indicator's value."""

    def round(self) -> tuple[Ext, Ext]:
        """Constant and leading coefficient."""

    def bind(self, r: Ext) -> None:
        """Bind the first variable."""


@dataclass
class LongMember:
    """A member whose weights are never whole: its first two variables are bound in parts (:mod:`.paired_rounds`)."""

    matrix: CommittedMatrix
    quarters: Quarters
    values: U64 | None = None
    weights: U64 | None = None
    _factor: Ext = field.ONE
    _first: Ext | None = None

    def total(self) -> Ext:
        """Of both passes, the first is the one that knows it."""
        return self.quarters.total

    def start(self, factor: Ext) -> None:
        """Messages of the first two rounds, and what is left after them, carry it."""
        self._factor = factor

    def round(self) -> tuple[Ext, Ext]:
        """Constant and leading coefficient."""
        if self.values is None or self.weights is None:
            constant, leading = self.quarters.first() if self._first is None else self.quarters.second(self._first)
            return field.product(constant, self._factor), field.product(leading, self._factor)
        a0, a1, c0, c1 = product_round(self.values, self.weights)
        return element(a0, a1), element(c0, c1)

    def bind(self, r: Ext) -> None:
        """Bind the next variable: of the first two, both with the second one."""
        if self.values is not None and self.weights is not None:
            self.values = fold(self.values, *scalars(r))  # one after the other: the longer one is gone before
            self.weights = fold(self.weights, *scalars(r))
        elif self._first is not None:
            self.values, self.weights = self.quarters.bound(self._first, r, self._factor)
        else:
            self._first = r


@dataclass
class WholeMember:
    """A member with all of its weights. weights: of the matrix's own cells."""

    matrix: CommittedMatrix
    weights: U64
    values: U64 | None = None
    _cells: U64 | None = None

    def total(self) -> Ext:
        """As it is defined."""
        return element(*dot_base(self.matrix.values(), self.weights))

    def start(self, factor: Ext) -> None:
        """The high variables are bound: from here on the weights carry their indicator's value."""
        if factor != field.ONE:
            self.weights = scaled(self.weights, *scalars(factor))

    def round(self) -> tuple[Ext, Ext]:
        """Constant and leading coefficient."""
        if self.values is None:
            self._cells = self.matrix.values()
            a0, a1, c0, c1 = product_round_base(self._cells, self.weights, self.matrix.first)
            if self.matrix.blind is not None:  # (high − blind)·(weights of high), as no claim has weights on blind rows
                blind = element(*dot_base(self.matrix.blind, self._above_blind()))
                return element(a0, a1), field.sub(element(c0, c1), blind)
        else:
            a0, a1, c0, c1 = product_round(self.values, self.weights)
        return element(a0, a1), element(c0, c1)

    def _above_blind(self) -> U64:
        """The weights of the cells that share all variables but the first with the blind pair's."""
        assert self.matrix.blind is not None
        start = (1 << self.matrix.plan.log_cells >> 1) - self.matrix.first
        return np.ascontiguousarray(self.weights[:, start : start + len(self.matrix.blind)])

    def bind(self, r: Ext) -> None:
        """Bind the first variable."""
        if self.values is None:
            cells, self._cells = self.matrix.values() if self._cells is None else self._cells, None
            self.values = fold_base(cells, *scalars(r), self.matrix.first)
            del cells
            if self.matrix.blind is not None:
                count = len(self.matrix.blind)
                low = np.ascontiguousarray(self.values[:, :count])
                rest = scalars(field.sub(field.ONE, r))
                self.values[:, :count] = add_scaled(low, embed(self.matrix.blind), *rest)
            self.weights = fold(self.weights, *scalars(r), self.matrix.first)
            return
        self.values = fold(self.values, *scalars(r))
        self.weights = fold(self.weights, *scalars(r))


def prove_openings(
    channel: ProverChannel,
    groups: Sequence[Sequence[CommittedMatrix]],
    claims: Sequence[OpeningClaim],
    levels: Sequence[Level] = (),
    threads: int = 1,
) -> tuple[Opening, ...]:
    """Send everything that the verifier's ``check_openings`` takes; the openings in the groups' order, then the levels'."""
    alpha = channel.challenge("openings.alpha")
    rounds = FinalRounds([make_member(matrix, claims, alpha) for group in groups for matrix in group])
    # The claim is the verifier's business; here only its challenges matter.
    _, z = product_rounds(Rounds(channel, rounds.compute, rounds.bind), "openings", ZERO, rounds.count)
    channel.send_open("openings.values", rounds.values())
    combinations = combine(groups, z, channel.challenge("openings.mix"))
    return prove_combinations(channel, combinations, levels, threads)


def combine(
    groups: Sequence[Sequence[CommittedMatrix]],
    z: Sequence[Ext],
    mix: Ext,
    blind: Ext = field.ZERO,
    more: Sequence[SpanClaim] = (),
) -> list[Combination]:
    """Every group's combination. ``blind``: the mask rows' factor κ. ``more``: what else is asked of the first one."""
    found = list[Combination]()
    for number, group in enumerate(groups):
        first, extra = group[0].plan, tuple(more) if number == 0 else ()
        total, factor = group[0].combination(vector(row_weights(first, z, group[0].number, blind))), mix
        for matrix in group[1:]:
            one = matrix.combination(vector(row_weights(matrix.plan, z, matrix.number, blind)))
            total = add_scaled(total, one, *scalars(factor))
            factor = field.product(factor, mix)
        value: PointClaim | SpanClaim = PointClaim(tuple(z[len(z) - first.log_message :]), field.ZERO)
        found.append(Combination(first.shape, total, tuple(group), (value, *extra), f"openings.positions{number}"))
    return found


def make_member(
    matrix: CommittedMatrix, claims: Sequence[OpeningClaim], alpha: Ext, more: Sequence[Spread] = ()
) -> LongMember | WholeMember:
    """A commitment's part of the sum. Its weights W: the functionals of its claims, times powers of α, and ``more``."""
    own, power = list[tuple[OpeningClaim, Ext]](), field.ONE
    for claim in claims:
        if claim.key in matrix.plan.columns:
            own.append((claim, power))
        power = field.product(power, alpha)
    blocks = chain((one for claim, power in own for one in spreads(matrix.plan.columns[claim.key], claim.axes, power)), more)
    if is_long(matrix.plan):
        quarters = Quarters(matrix.plan.log_cells, matrix.fill, PartedWeights(blocks))
        quarters.measure()
        return LongMember(matrix, quarters)
    weights = np.zeros((2, (1 << matrix.plan.log_cells) - matrix.first), dtype=np.uint64)
    for block in blocks:
        place = slice(block.start - matrix.first, block.stop - matrix.first)
        outer_add(weights[0, place], weights[1, place], block.left, block.right)
    return WholeMember(matrix, weights)


class FinalRounds:
    """The batched sum over all commitments, one variable at a time. Extensions with fewer variables wait at the low end."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.count = max(member.matrix.plan.log_cells for member in members)
        self._totals = [one.total() if one.matrix.plan.log_cells < self.count else field.ZERO for one in members]
        self._step = 0
        self._high = field.ONE

    def compute(self) -> list[Ext]:
        """Constant and leading coefficient of the next round."""
        constant, leading = field.ZERO, field.ZERO
        for member, total in zip(self.members, self._totals, strict=True):
            waiting = self.count - self._step - member.matrix.plan.log_cells
            if waiting > 0:  # total·high·(1 − X)
                constant = field.add(constant, field.product(total, self._high))
                continue
            if waiting == 0:
                member.start(self._high)
            h0, h2 = member.round()
            constant, leading = field.add(constant, h0), field.add(leading, h2)
        return [constant, leading]

    def bind(self, r: Ext) -> None:
        """Bind the next variable."""
        for member in self.members:
            if self.count - self._step <= member.matrix.plan.log_cells:
                member.bind(r)
        self._high = field.product(self._high, field.sub(field.ONE, r))
        self._step += 1

    def values(self) -> list[Ext]:
        """The commitments' values at the point."""
        return [element(*member.values[:, 0]) for member in self.members if member.values is not None]
