"""From all claims to one point, and from there into the committed matrices.

1. α-batched sumcheck: Σ_c Σ_b M_c(b)·W_c(b), where W_c adds up the claims' functionals. Extensions with fewer variables sit
   at the low end: their weights carry [high variables = 0].
2. Values v_c at the point z; then λ; then the combinations u, in clear or in levels (:mod:`.levels`); then positions.
3. u's value at z_col, and u's code word at every position against the opened columns.

Sources: Ames, Hazay, Ishai, Venkitasubramaniam, "Ligero" (2017); Diamond and Posen, "Proximity testing with logarithmic
randomness" (2023), for tensor combinations; Diamond and Gruen, "Proximity gaps in interleaved codes" (2025), for the error
(log R)·n/|F| of Reed–Solomon codes up to the unique-decoding radius, from the lines of Ben-Sasson, Carmon, Ishai, Kopparty and
Saraf, "Proximity gaps for Reed–Solomon codes" (2020), theorem 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import powers_of, row_weights, weights_at
from verifai.engines.sumcheck.protocol.claim import ZERO
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.layout import MAX_CLAIMS, Commitment
from verifai.engines.sumcheck.protocol.levels import Level, PointClaim, SpanClaim
from verifai.engines.sumcheck.protocol.merkle import root_of_cap
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.proof import Opening
from verifai.engines.sumcheck.protocol.suite import commitment_root
from verifai.engines.sumcheck.protocol.sumcheck import product_rounds
from verifai.engines.sumcheck.verifier.levels import Group, Shown, check_combinations, refuse
from verifai.engines.sumcheck.verifier.proof_channel import ProofChannel
from verifai.errors import EvidenceRejected


@dataclass(frozen=True, slots=True)
class Opened:
    """One commitment with its trusted root and what the proof shows of it; ``number``: which opening of the root this is."""

    commitment: Commitment
    root: bytes
    opening: Opening
    number: int = 0


def check_openings(
    channel: ProofChannel,
    groups: Sequence[Sequence[Opened]],
    claims: Sequence[OpeningClaim],
    levels: Sequence[Level],
    openings: Sequence[Opening],
) -> None:
    """Check all claims against the commitments. The members of a group share C, n, positions and one combination.

    Args:
        openings: of the levels.

    Raises:
        EvidenceRejected: code ``proof-invalid``.
    """
    if not 0 < len(claims) <= MAX_CLAIMS:
        raise EvidenceRejected("proof-invalid", f"{len(claims)} claims are not in [1, {MAX_CLAIMS}]", where="openings")
    everything = [member for group in groups for member in group]
    alpha = channel.challenge("openings.alpha")
    powers = powers_of(alpha, len(claims))
    claim = ZERO
    for one, power in zip(claims, powers, strict=True):
        claim = claim + one.value.scale(power)
    rounds = max(member.commitment.log_cells for member in everything)
    claim, z = product_rounds(channel, "openings", claim, rounds)
    values = channel.receive_open("openings.values", len(everything))
    for member, value in zip(everything, values, strict=True):
        weight = weights_at(member.commitment, claims, powers, z)
        claim = claim.plus(field.product(weight, field.scale(value, -1)))
    claim.assert_zero("openings")
    mix = channel.challenge("openings.mix")
    check_combinations(channel, combined(groups, values, mix, z), levels, openings)


def combined(
    groups: Sequence[Sequence[Opened]],
    values: Sequence[Ext],
    mix: Ext,
    z: Sequence[Ext],
    blind: Ext = field.ZERO,
    more: Sequence[SpanClaim] = (),
) -> list[Group]:
    """The combinations of all groups, with what is asked of them. ``blind``: κ. ``more``: asked of the first one.

    Raises:
        EvidenceRejected: code ``proof-invalid``, when an opened tree is not the committed one.
    """
    found, place = list[Group](), 0
    for number, group in enumerate(groups):
        factors = powers_of(mix, len(group))
        members = []
        for member, factor in zip(group, factors, strict=True):
            commitment, opening = member.commitment, member.opening
            if commitment_root(commitment.shape, commitment.log_cells, root_of_cap(opening.cap)) != member.root:
                raise refuse("the opened tree is not the committed one", commitment.shape.label)
            weights = row_weights(commitment, z, member.number, blind)
            members.append(Shown(commitment.shape.label, opening, [field.product(weight, factor) for weight in weights]))
        first = group[0].commitment
        total = field.dot(values[place : place + len(group)], factors)
        place += len(group)
        asked = PointClaim(tuple(z[len(z) - first.log_message :]), total)
        extra = tuple(more) if number == 0 else ()
        found.append(Group(first.shape, tuple(members), (asked, *extra), f"openings.positions{number}"))
    return found
