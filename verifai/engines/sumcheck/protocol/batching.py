"""How claims are brought to one point and rows are combined: what prover and verifier both compute for openings."""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.field import ZERO, Ext, P
from verifai.engines.sumcheck.protocol.hiding import LEFT, MESSAGES, MINUS_ONE, PRODUCT, RIGHT, HiddenClaim, Pads, X
from verifai.engines.sumcheck.protocol.layout import Commitment
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.suite import RESERVED_ROWS


def powers_of(base: Ext, count: int) -> list[Ext]:
    """1, base, base² …"""
    powers = [field.ONE]
    while len(powers) < count:
        powers.append(field.product(powers[-1], base))
    return powers


def weights_at(commitment: Commitment, claims: Sequence[OpeningClaim], powers: Sequence[Ext], z: Sequence[Ext]) -> Ext:
    """W_c's extension at z: Σ α^j·(functional_j on the column's stored cells), times the high variables' indicator."""
    skip = len(z) - commitment.log_cells
    result, places = field.ZERO, dict[object, ax.Pieces]()
    for one, power in zip(claims, powers, strict=True):
        column = commitment.columns.get(one.key)
        if column is None:
            continue
        if one.key not in places:
            places[one.key] = ax.located(column.storage, column.addresses, z[skip:])
        local = ax.located_weight(column.storage, one.axes, places[one.key], z)
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


def batched(pads: Pads, claims: Sequence[OpeningClaim], powers: Sequence[Ext]) -> tuple[Ext, list[Ext]]:
    """(target, coefficients of all pads) of Σ α^j·(functional_j − value_j) + Σ α^k·equation_k, claims first."""
    target, seeds = ZERO, []
    values = [(claim.value, MINUS_ONE) for claim in claims] + [(equation, field.ONE) for equation in pads.equations]
    for (value, sign), power in zip(values, powers, strict=True):
        signed = field.product(power, sign)
        target = field.sub(target, field.product(signed, value.value))
        if isinstance(value, HiddenClaim):
            seeds.append((value.form, field.product(signed, value.factor)))
    return target, pads.tape.coefficients(seeds, pads.count)


def pad_columns(pads: Pads, coefficients: Sequence[Ext]) -> list[tuple[int, Sequence[Ext]]]:
    """The coefficients by column of pads."""
    found = []
    for column in (MESSAGES, LEFT, RIGHT, PRODUCT):
        start = pads.index(column, 0)
        found.append((column, coefficients[start : start + (1 << pads.plan.log_size(column))]))
    return found
