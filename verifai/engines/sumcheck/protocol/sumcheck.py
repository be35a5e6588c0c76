"""Sumcheck rounds, as the verifier sees them.

Every round sends all coefficients of its polynomial but the linear one, which the claim determines; so a round has no check of
its own that could be forgotten, and a claim stays an affine form in the messages.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.channel import Channel
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext


def product_rounds(channel: Channel, label: str, claim: Claim, rounds: int) -> tuple[Claim, list[Ext]]:
    """Σ_x f(x)·g(x) = claim over {0, 1}^rounds, down to (f·g)(point).

    A round's polynomial is h0 + h1·X + h2·X² with 2·h0 + h1 + h2 = claim; h0 and h2 are sent.
    """
    point: list[Ext] = []
    for _ in range(rounds):
        h0, h2 = channel.receive(f"{label}.round", 2)
        r = channel.challenge(f"{label}.point")
        square = field.product(r, r)
        constant = field.sub(field.ONE, field.add(r, r))
        claim = h0.mixed(constant, [(claim, r), (h2, field.sub(square, r))])
        point.append(r)
    return claim, point


def weighted_rounds(channel: Channel, label: str, claim: Claim, rounds: int) -> tuple[Claim, list[Ext]]:
    """Σ_x w(x)·f(x)·g(x) = claim, w public, down to (w·f·g)(point).

    A round's polynomial is h0 + h1·X + h2·X² + h3·X³ with 2·h0 + h1 + h2 + h3 = claim; h0, h2 and h3 are sent.
    """
    point: list[Ext] = []
    for _ in range(rounds):
        h0, h2, h3 = channel.receive(f"{label}.round", 3)
        r = channel.challenge(f"{label}.point")
        square = field.product(r, r)
        cube = field.product(square, r)
        others = [(claim, r), (h2, field.sub(square, r)), (h3, field.sub(cube, r))]
        claim = h0.mixed(field.sub(field.ONE, field.add(r, r)), others)
        point.append(r)
    return claim, point


def eq_rounds(channel: Channel, label: str, claim: Claim, anchor: Sequence[Ext], degree: int) -> tuple[Claim, list[Ext]]:
    """Σ_x eq(anchor, x)·g(x) = claim, g of ``degree`` per variable, down to g(point): the eq factors are divided out.

    With h the inner polynomial of a round, claim = (1 − a)·h(0) + a·h(1) for a = the anchor's coordinate, which lies outside
    F_p and so is not 0; coefficients h0, h2 … h_degree are sent.
    """
    point: list[Ext] = []
    for a in anchor:
        h0, *rest = channel.receive(f"{label}.round", degree)
        r = channel.challenge(f"{label}.point")
        inverse = field.inverse(a)
        # h1 = (claim − h0)/a − Σ_{k≥2} h_k, and the next claim is h0 + h1·r + Σ_{k≥2} h_k·r^k.
        slope = field.product(inverse, r)
        others, power = [(claim, slope)], r
        for h in rest:
            power = field.product(power, r)
            others.append((h, field.sub(power, r)))
        claim = h0.mixed(field.sub(field.ONE, slope), others)
        point.append(r)
    return claim, point
