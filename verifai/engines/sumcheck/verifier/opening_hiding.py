"""Openings of the zero-knowledge suite: the same as :mod:`.opening`, with messages encrypted and everything shown masked.

1. All products of pads are checked (:mod:`..protocol.products`); then nothing is left but linear equations in committed cells:
   claims on columns, and equations between forms in pads. α batches both.
2. The final rounds are encrypted by the mask rows' pads g; after them the claim is ĉ + ⟨D, g⟩, D public.
3. Values v_c, which the blind rows make uniform, and x2 = ⟨D, y_x on the mask region⟩; then λ, κ; then
   u = y_x + λ·y_w + κ·g for the first group, u = y_io for every other.
4. u's value at z_col is v_x + λ·v_w, and ⟨D, u on the mask region⟩ = x2 + κ·(Σ W_c(z)·v_c − ĉ): g is zero on values, C_w on the
   mask region, or else λ or κ, drawn after these values, would show it.
5. Columns at positions, with salts and paths, as in :mod:`.opening`.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import batched, evaluate_code, pad_columns, powers_of, row_weights, weights_at
from verifai.engines.sumcheck.protocol.claim import public
from verifai.engines.sumcheck.protocol.field import ZERO, Ext
from verifai.engines.sumcheck.protocol.hiding import X
from verifai.engines.sumcheck.protocol.layout import MAX_CLAIMS, Commitment
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.products import check_products
from verifai.engines.sumcheck.protocol.proof import log_length
from verifai.engines.sumcheck.protocol.sumcheck import product_rounds
from verifai.engines.sumcheck.verifier.opening import Opened, check_columns, refuse, subtract_columns
from verifai.engines.sumcheck.verifier.proof_channel import HidingChannel, MaskedChannel


def check_hidden_openings(channel: HidingChannel, groups: Sequence[Sequence[Opened]], claims: Sequence[OpeningClaim]) -> None:
    """Check all claims and equations against the commitments. The first group begins with C_x, which alone has mask rows.

    Raises:
        EvidenceRejected: code ``proof-invalid``.
    """
    pads = channel.pads
    claims = [*claims, *check_products(channel, pads.plan)]
    count = len(claims) + len(pads.equations)
    if count > MAX_CLAIMS:
        raise refuse(f"{count} claims and equations are more than {MAX_CLAIMS}", "openings")
    powers = powers_of(channel.challenge("openings.alpha"), count)
    target, coefficients = batched(pads, claims, powers)
    everything = [member for group in groups for member in group]
    rounds = max(member.commitment.log_cells for member in everything)
    masked = MaskedChannel(channel)
    claim, z = product_rounds(masked, "openings", public(target), rounds)
    mask = masked.forms.coefficients(claim)
    values = channel.receive_open("openings.values", len(everything))
    (shown,) = channel.receive_open("openings.mask", 1)
    expected = ZERO
    for member, value in zip(everything, values, strict=True):
        weight = weights_at(member.commitment, claims, powers[: len(claims)], z)
        if member is everything[0]:
            weight = field.add(weight, _pad_weights(member.commitment, pad_columns(pads, coefficients), z))
        expected = field.add(expected, field.product(weight, value))
    hidden = field.sub(expected, claim.value)  # ⟨D, g⟩, if all is well
    by_member = dict(zip((id(member) for member in everything), values, strict=True))
    mix, blind = channel.challenge("openings.mix"), channel.challenge("openings.blind")
    combinations = [channel.receive_open("openings.combination", group[0].commitment.shape.degree) for group in groups]
    for number, (group, combination) in enumerate(zip(groups, combinations, strict=True)):
        shape = group[0].commitment.shape
        positions = channel.transcript.positions(f"openings.positions{number}", log_length(shape), shape.queries)
        factors = powers_of(mix, len(group))
        total = field.total(field.product(by_member[id(m)], f) for m, f in zip(group, factors, strict=True))
        if field.dot(combination[: shape.message], ax.eq_table(z[len(z) - _log(shape.message) :])) != total:
            raise refuse("a combination does not have the claimed value", shape.label)
        if number == 0 and field.dot(combination[shape.message : shape.message + shape.mask], mask) != field.add(
            shown, field.product(blind, hidden)
        ):
            raise refuse("the final rounds do not end at the committed cells", shape.label)
        _check_code(group, combination, z, factors, blind, positions)


def _log(size: int) -> int:
    return size.bit_length() - 1


def _pad_weights(commitment: Commitment, columns: Sequence[tuple[int, Sequence[Ext]]], z: Sequence[Ext]) -> Ext:
    """The extension at z of the pads' weights: coefficient c of a pad is c on its low cell and c·x on its high one."""
    result = ZERO
    for column, coefficients in columns:
        placed = commitment.columns["pad", column, 0]
        split = len(z) - placed.storage.log_rest
        block = ax.located(placed.storage, placed.addresses, z[len(z) - commitment.log_cells :]).total()
        half = z[split]
        component = field.add(field.sub(field.ONE, half), field.product(half, X))
        local = field.dot(coefficients, ax.eq_table(z[split + 1 :]))
        result = field.add(result, field.product(field.product(block, component), local))
    for r in z[: len(z) - commitment.log_cells]:
        result = field.product(result, field.sub(field.ONE, r))
    return result


def _check_code(
    group: Sequence[Opened], u: Sequence[Ext], z: Sequence[Ext], factors: Sequence[Ext], blind: Ext, positions: Sequence[int]
) -> None:
    codeword = evaluate_code(u, log_length(group[0].commitment.shape), positions)
    for member, factor in zip(group, factors, strict=True):
        weights = row_weights(member.commitment, z, member.number, blind)
        subtract_columns(codeword, member, [field.product(weight, factor) for weight in weights])
    if any(difference != ZERO for difference in codeword):
        raise refuse("a combination's code word differs from the opened columns", group[0].commitment.shape.label)
    for member in group:
        check_columns(member, positions)
