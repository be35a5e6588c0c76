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

from verifai.engines.sumcheck.verifier import axes as ax
from verifai.engines.sumcheck.verifier import field
from verifai.engines.sumcheck.verifier.channel import ProofChannel
from verifai.engines.sumcheck.verifier.claim import ZERO
from verifai.engines.sumcheck.verifier.field import Ext, P
from verifai.engines.sumcheck.verifier.hiding import X
from verifai.engines.sumcheck.verifier.layout import MAX_CLAIMS, Commitment
from verifai.engines.sumcheck.verifier.merkle import check_path, leaf, root_of_cap
from verifai.engines.sumcheck.verifier.party import OpeningClaim
from verifai.engines.sumcheck.verifier.proof import Opening, log_length
from verifai.engines.sumcheck.verifier.suite import RESERVED_ROWS, commitment_root
from verifai.engines.sumcheck.verifier.sumcheck import product_rounds
from verifai.errors import EvidenceRejected


@dataclass(frozen=True, slots=True)
class Opened:
    """One commitment with its trusted root and what the proof shows of it; ``number``: which opening of the root this is."""

    commitment: Commitment
    root: bytes
    opening: Opening
    number: int = 0


def check_openings(channel: ProofChannel, groups: Sequence[Sequence[Opened]], claims: Sequence[OpeningClaim]) -> None:
    """Hold all claims to the commitments. The members of a group share C, n, positions and one combination.

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


def powers_of(base: Ext, count: int) -> list[Ext]:
    """1, base, base² …"""
    powers = [field.ONE]
    while len(powers) < count:
        powers.append(field.product(powers[-1], base))
    return powers


def weights_at(commitment: Commitment, claims: Sequence[OpeningClaim], powers: Sequence[Ext], z: Sequence[Ext]) -> Ext:
    """W_c's extension at z: Σ α^j·eq(block, ·)·functional_j, times the high variables' indicator."""
    skip = len(z) - commitment.log_cells
    result, blocks = field.ZERO, dict[object, Ext]()
    for one, power in zip(claims, powers, strict=True):
        if one.key not in commitment.offsets:
            continue
        log_cells = commitment.logs[one.key]
        split = len(z) - log_cells
        if one.key not in blocks:
            blocks[one.key] = ax.eq_index(commitment.offsets[one.key] >> log_cells, z[skip:split])
        local = field.product(ax.weight_at(one.axes, z[split:]), blocks[one.key])
        result = field.add(result, field.product(local, power))
    for r in z[:skip]:
        result = field.product(result, field.sub(field.ONE, r))
    return result


def row_weights(commitment: Commitment, z: Sequence[Ext], number: int = 0, mask: Ext = field.ZERO) -> list[Ext]:
    """eq(z_row, row) of the stored rows. Of a hiding commitment, only the blind rows of opening ``number`` have weight, and the
    mask rows come with ``mask`` and ``mask``·x: together they are one row over F."""
    start = len(z) - commitment.log_cells
    table = ax.eq_table(z[start : len(z) - commitment.log_message])
    reserved = [field.ZERO] * commitment.shape.reserved_rows
    reserved[RESERVED_ROWS * number : RESERVED_ROWS * (number + 1)] = table[:RESERVED_ROWS]
    masks = [mask, field.product(mask, X)][: commitment.shape.mask_rows]
    return [*reserved, *(table[row] for row in commitment.value_rows()), *masks]


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


def evaluate_code(u: Sequence[Ext], log_n: int, positions: Sequence[int]) -> list[Ext]:
    """Σ_j u_j·x^j at x = ω^bitrev(position), for each position: √C powers of x, and packed dot products against them.

    Cheaper than a transform for the few positions that are opened.
    """
    block = 1 << ((len(u).bit_length() - 1) // 2 + 1)
    packed = field.pack(u)
    chunks = [packed[i : i + block] for i in range(0, len(packed), block)]
    omega = field.root_of_unity(log_n)
    result = []
    for position in positions:
        x = pow(omega, int(f"{position:0{log_n}b}"[::-1], 2), P)
        powers = [1]
        for _ in range(block - 1):
            powers.append(powers[-1] * x % P)
        step = powers[-1] * x % P
        value = field.ZERO
        for chunk in reversed(chunks):
            value = field.add(field.scale(value, step), field.packed_dot(powers, chunk))
        result.append(value)
    return result


def refuse(message: str, where: str) -> EvidenceRejected:
    """The opening does not hold."""
    return EvidenceRejected("proof-invalid", message, where=where)
