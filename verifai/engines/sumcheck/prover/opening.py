"""The prover of the openings: one α-batched sumcheck over all commitments, then one combination per group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import row_weights
from verifai.engines.sumcheck.protocol.claim import ZERO
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.proof import Opening, log_length
from verifai.engines.sumcheck.protocol.sumcheck import product_rounds
from verifai.engines.sumcheck.prover.arrays import element, scalars, vector
from verifai.engines.sumcheck.prover.channel import ProverChannel, Rounds
from verifai.engines.sumcheck.prover.commitment import CommittedMatrix, extension_values
from verifai.engines.sumcheck.prover.functionals import spread
from verifai.engines.sumcheck.prover.kernels import U64, dot_base, scaled
from verifai.engines.sumcheck.prover.parallel import add_scaled, fold, fold_base, product_round, product_round_base


@dataclass
class Member:
    """One commitment's part of the sum while its variables are being bound."""

    matrix: CommittedMatrix
    weights: U64
    values: U64 | None = None
    total: Ext = field.ZERO

    def start(self, factor: Ext) -> None:
        """The high variables are bound: from here on the weights carry their indicator's value."""
        if factor != field.ONE:
            self.weights = scaled(self.weights, *scalars(factor))

    def round(self) -> tuple[Ext, Ext]:
        """Constant and leading coefficient."""
        if self.values is None:
            a0, a1, c0, c1 = product_round_base(self.matrix.cells, self.weights)
        else:
            a0, a1, c0, c1 = product_round(self.values, self.weights)
        return element(a0, a1), element(c0, c1)

    def bind(self, r: Ext) -> None:
        """Bind the first variable."""
        if self.values is None:
            self.values = fold_base(self.matrix.cells, *scalars(r))
        else:
            self.values = fold(self.values, *scalars(r))
        self.weights = fold(self.weights, *scalars(r))


def prove_openings(
    channel: ProverChannel, groups: Sequence[Sequence[CommittedMatrix]], claims: Sequence[OpeningClaim]
) -> tuple[Opening, ...]:
    """Send everything that the verifier's ``check_openings`` takes; the openings in the groups' order."""
    alpha = channel.challenge("openings.alpha")
    rounds = FinalRounds([Member(matrix, claim_weights(matrix, claims, alpha)) for group in groups for matrix in group])
    # The claim is the verifier's business; here only its challenges matter.
    _, z = product_rounds(Rounds(channel, rounds.compute, rounds.bind), "openings", ZERO, rounds.count)
    channel.send_open("openings.values", rounds.values())
    return combine_and_open(channel, groups, z, channel.challenge("openings.mix"))


def combine_and_open(
    channel: ProverChannel,
    groups: Sequence[Sequence[CommittedMatrix]],
    z: Sequence[Ext],
    mix: Ext,
    mask: Ext = field.ZERO,
) -> tuple[Opening, ...]:
    """Send every group's combination, then open columns at the positions that follow. ``mask``: the mask rows' factor κ."""
    for group in groups:
        combination, factor = None, field.ONE
        for matrix in group:
            one = matrix.combination(vector(row_weights(matrix.plan, z, matrix.number, mask)))
            combination = one if combination is None else add_scaled(combination, one, *scalars(factor))
            factor = field.product(factor, mix)
        assert combination is not None
        channel.send_open("openings.combination", extension_values(combination))
    openings = []
    for number, group in enumerate(groups):
        shape = group[0].plan.shape
        positions = channel.transcript.positions(f"openings.positions{number}", log_length(shape), shape.queries)
        openings += [matrix.open(positions) for matrix in group]
    return tuple(openings)


def claim_weights(matrix: CommittedMatrix, claims: Sequence[OpeningClaim], alpha: Ext) -> U64:
    """W: the functionals of this commitment's claims, times powers of α."""
    weights = np.zeros((2, 1 << matrix.plan.log_cells), dtype=np.uint64)
    power = field.ONE
    for claim in claims:
        column = matrix.plan.columns.get(claim.key)
        if column is not None:
            spread(weights, column, claim.axes, power)
        power = field.product(power, alpha)
    return weights


class FinalRounds:
    """The batched sum over all commitments, one variable at a time. Extensions with fewer variables wait at the low end."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self.count = max(member.matrix.plan.log_cells for member in members)
        for member in members:
            if member.matrix.plan.log_cells < self.count:
                member.total = element(*dot_base(member.matrix.cells, member.weights))
        self._step = 0
        self._high = field.ONE

    def compute(self) -> list[Ext]:
        """Constant and leading coefficient of the next round."""
        constant, leading = field.ZERO, field.ZERO
        for member in self.members:
            waiting = self.count - self._step - member.matrix.plan.log_cells
            if waiting > 0:  # total·high·(1 − X)
                constant = field.add(constant, field.product(member.total, self._high))
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
