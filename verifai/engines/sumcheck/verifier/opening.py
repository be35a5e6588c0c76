"""From all claims to one point, and from there into the committed matrices.

1. α-batched sumcheck: Σ_c Σ_b M_c(b)·W_c(b), where W_c adds up the claims' functionals. Extensions with fewer variables sit
   at the low end: their weights carry [high variables = 0].
2. Values v_c at the point z; then λ; then the combinations u; then positions.
3. u's value at z_col, and u's code word at every position against the opened columns.

Sources: Ames, Hazay, Ishai, Venkitasubramaniam, "Ligero" (2017); Diamond and Posen, "Proximity testing with logarithmic
randomness" (2023), for tensor combinations; Diamond and Gruen, "Proximity gaps in interleaved codes" (2025), for the error
(log R)·n/|F| of Reed–Solomon codes up to the unique-decoding radius, from the lines of Ben-Sasson, Carmon, Ishai, Kopparty and
Saraf, "Proximity gaps for Reed–Solomon codes" (2020), theorem 4.1.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import evaluate_code, powers_of, row_weights, weights_at
from verifai.engines.sumcheck.protocol.claim import ZERO
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.layout import MAX_CLAIMS, Commitment
from verifai.engines.sumcheck.protocol.merkle import check_path, leaf, root_of_cap
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.proof import Opening, log_length
from verifai.engines.sumcheck.protocol.suite import commitment_root
from verifai.engines.sumcheck.protocol.sumcheck import product_rounds
from verifai.engines.sumcheck.verifier.proof_channel import ProofChannel
from verifai.errors import EvidenceRejected


@dataclass(frozen=True, slots=True)
class Opened:
    """One commitment with its trusted root and what the proof shows of it; ``number``: which opening of the root this is."""

    commitment: Commitment
    root: bytes
    opening: Opening
    number: int = 0


def check_openings(channel: ProofChannel, groups: Sequence[Sequence[Opened]], claims: Sequence[OpeningClaim]) -> None:
    """Check all claims against the commitments. The members of a group share C, n, positions and one combination.

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
    by_member = dict(zip((id(member) for member in everything), values, strict=True))
    mix = channel.challenge("openings.mix")
    combinations = [channel.receive_open("openings.combination", group[0].commitment.shape.message) for group in groups]
    for number, (group, combination) in enumerate(zip(groups, combinations, strict=True)):
        shape = group[0].commitment.shape
        positions = channel.transcript.positions(f"openings.positions{number}", log_length(shape), shape.queries)
        factors = powers_of(mix, len(group))
        expected = field.total(field.product(by_member[id(m)], f) for m, f in zip(group, factors, strict=True))
        _check_combination(group, combination, z, factors, expected, positions)


def _check_combination(
    group: Sequence[Opened], u: Sequence[Ext], z: Sequence[Ext], factors: Sequence[Ext], expected: Ext, positions: Sequence[int]
) -> None:
    first = group[0].commitment
    found = field.dot(u, ax.eq_table(z[len(z) - first.log_message :]))
    if found != expected:
        raise refuse("a combination does not have the claimed value", first.shape.label)
    codeword = evaluate_code(u, log_length(first.shape), positions)
    for member, factor in zip(group, factors, strict=True):
        subtract_columns(codeword, member, [field.product(w, factor) for w in row_weights(member.commitment, z)])
    if any(difference != field.ZERO for difference in codeword):
        raise refuse("a combination's code word differs from the opened columns", first.shape.label)
    for member in group:
        check_columns(member, positions)


def subtract_columns(codeword: list[Ext], member: Opened, weights: Sequence[Ext]) -> None:
    """Take the opened columns' combination off the combined code word."""
    packed = field.pack(weights)
    for i, column in enumerate(member.opening.columns):
        codeword[i] = field.sub(codeword[i], field.packed_dot(column, packed))


def check_columns(member: Opened, positions: Sequence[int]) -> None:
    """Every opened column is in the tree, and the tree is the committed one. Raises EvidenceRejected (``proof-invalid``)."""
    shape, opening = member.commitment.shape, member.opening
    if commitment_root(shape, member.commitment.log_cells, root_of_cap(opening.cap)) != member.root:
        raise refuse("the opened tree is not the committed one", shape.label)
    salts = opening.salts or (b"",) * len(positions)
    for position, column, salt, path in zip(positions, opening.columns, salts, opening.paths, strict=True):
        check_path(position, leaf(struct.pack(f"<{len(column)}Q", *column), salt), path, opening.cap, shape.label)


def refuse(message: str, where: str) -> EvidenceRejected:
    """The opening does not hold."""
    return EvidenceRejected("proof-invalid", message, where=where)
