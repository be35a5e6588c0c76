"""The prover of the zero-knowledge suite's openings; mirrors :mod:`..verifier.opening_hiding`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import batched, pad_columns, powers_of, row_weights
from verifai.engines.sumcheck.protocol.channel import MaskForms
from verifai.engines.sumcheck.protocol.claim import ZERO, Claim
from verifai.engines.sumcheck.protocol.field import Ext, P
from verifai.engines.sumcheck.protocol.hiding import LEFT, PRODUCT, RIGHT, X
from verifai.engines.sumcheck.protocol.levels import Level, SpanClaim
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.products import check_products
from verifai.engines.sumcheck.protocol.proof import Opening
from verifai.engines.sumcheck.protocol.sumcheck import product_rounds
from verifai.engines.sumcheck.prover.arrays import element, eq_vector, scalars, vector
from verifai.engines.sumcheck.prover.channel import HidingProverChannel
from verifai.engines.sumcheck.prover.commitment import CommittedMatrix
from verifai.engines.sumcheck.prover.functionals import Spread
from verifai.engines.sumcheck.prover.kernels import U64, combine_rows, dot, halve_sum
from verifai.engines.sumcheck.prover.levels import prove_combinations
from verifai.engines.sumcheck.prover.opening import FinalRounds, combine, make_member
from verifai.engines.sumcheck.prover.parallel import fold, fraction_round


class _Products:
    """The rounds of Σ eq·(a·b − c) over the triples: fractions' rounds with −1 for one numerator."""

    def __init__(self, channel: HidingProverChannel, pads: dict[int, U64]) -> None:
        self._channel = channel
        minus: U64 = np.zeros_like(pads[LEFT])
        minus[0] = P - 1
        self._arrays = [pads[LEFT], pads[RIGHT], pads[PRODUCT], minus]
        self._anchor: list[Ext] = []
        self._eq: U64 | None = None

    def receive(self, label: str, count: int) -> list[Claim]:
        """The next round."""
        self._eq = halve_sum(eq_vector(self._anchor) if self._eq is None else self._eq)
        a0, a1, c0, c1 = fraction_round(self._eq, *self._arrays)
        return self._channel.send(label, [element(a0, a1), element(c0, c1)])

    def receive_open(self, label: str, count: int) -> list[Ext]:
        """a~ and b~ at the point, in clear."""
        values = [element(*one[:, 0]) for one in self._arrays[:2]]
        self._channel.send_open(label, values)
        return values

    def challenge(self, label: str) -> Ext:
        """A coordinate of the anchor, or of the point."""
        r = self._channel.challenge(label)
        if label == "products.anchor":
            self._anchor.append(r)
        else:
            self._arrays = [fold(one, *scalars(r)) for one in self._arrays]
        return r


class _MaskedRounds:
    """The final rounds, encrypted by the mask rows' pads."""

    def __init__(self, channel: HidingProverChannel, rounds: FinalRounds, pads: Sequence[Ext]) -> None:
        self._channel, self._rounds, self._pads = channel, rounds, pads
        self.forms = MaskForms(channel)

    def receive(self, label: str, count: int) -> list[Claim]:
        """Compute, encrypt, send."""
        start = self.forms.count
        sent = [field.add(value, self._pads[start + i]) for i, value in enumerate(self._rounds.compute())]
        self._channel.send_open(label, sent)
        return self.forms.claims(sent)

    def challenge(self, label: str) -> Ext:
        """Draw and bind."""
        r = self._channel.challenge(label)
        self._rounds.bind(r)
        return r


def prove_hidden_openings(
    channel: HidingProverChannel,
    groups: Sequence[Sequence[CommittedMatrix]],
    claims: Sequence[OpeningClaim],
    triples: dict[int, U64],
    levels: Sequence[Level] = (),
    threads: int = 1,
) -> tuple[Opening, ...]:
    """Send everything that the verifier's ``check_hidden_openings`` takes; the openings in the groups' order, then the levels'.

    Args:
        triples: the pads of LEFT, RIGHT and PRODUCT, (2, 2^k) each.
    """
    pads = channel.pads
    claims = [*claims, *check_products(_Products(channel, triples), pads.plan)]
    alpha = channel.challenge("openings.alpha")
    _, coefficients = batched(pads, claims, powers_of(alpha, len(claims) + len(pads.equations)))
    witness, *others = [matrix for group in groups for matrix in group]
    own = [one for column, values in pad_columns(pads, coefficients) for one in _pad_weights(witness, column, vector(values))]
    rounds = FinalRounds([make_member(witness, claims, alpha, own), *(make_member(one, claims, alpha) for one in others)])
    final = _MaskedRounds(channel, rounds, _mask_pads(witness))
    claim, z = product_rounds(final, "openings", ZERO, rounds.count)
    mask = final.forms.coefficients(claim)
    channel.send_open("openings.values", rounds.values())
    channel.send_open("openings.mask", [_shown(witness, z, mask)])
    mix, blind = channel.challenge("openings.mix"), channel.challenge("openings.blind")
    more = [SpanClaim(witness.plan.shape.message, tuple(mask), field.ZERO)]
    return prove_combinations(channel, combine(groups, z, mix, blind, more), levels, threads)


def _pad_weights(matrix: CommittedMatrix, column: int, coefficients: U64) -> list[Spread]:
    """c on a pad's low cell, c·x on its high one."""
    start, half = matrix.plan.columns["pad", column, 0].addresses[0], coefficients.shape[1]
    return [
        Spread(first, first + half, vector([factor]), coefficients) for first, factor in ((start, field.ONE), (start + half, X))
    ]


def _region(matrix: CommittedMatrix) -> slice:
    shape = matrix.plan.shape
    return slice(shape.message, shape.message + shape.mask)


def _mask_pads(matrix: CommittedMatrix) -> list[Ext]:
    """g on the mask region."""
    assert matrix.masked is not None
    low, high = matrix.masked[-matrix.plan.shape.mask_rows :, _region(matrix)].tolist()
    return list(zip(low, high, strict=True))


def _shown(matrix: CommittedMatrix, z: Sequence[Ext], mask: Sequence[Ext]) -> Ext:
    """⟨D, y_x on the mask region⟩, y_x without the mask rows; rows of values are zero there."""
    assert matrix.masked is not None
    weights = vector(row_weights(matrix.plan, z, matrix.number))
    part = np.ascontiguousarray(matrix.masked[:, _region(matrix)])
    return element(*dot(vector(list(mask)), combine_rows(weights, part)))
