"""The check of all products of pads at once: Σ_k eq(anchor, k)·(a_k·b_k − c_k) = 0 over the triples.

The rounds are encrypted like everything else. At the end a~ and b~ at the point are shown: triple 0 is random and used nowhere
else, so they are uniform. c~ at the point follows, and all three are held to the committed pads by the openings.
"""

from __future__ import annotations

from typing import Protocol

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import Dense, Eq, Functional
from verifai.engines.sumcheck.protocol.channel import Channel
from verifai.engines.sumcheck.protocol.claim import ZERO, public
from verifai.engines.sumcheck.protocol.field import ONE, Ext
from verifai.engines.sumcheck.protocol.hiding import LEFT, PRODUCT, RIGHT, PadPlan, X
from verifai.engines.sumcheck.protocol.party import OpeningClaim
from verifai.engines.sumcheck.protocol.sumcheck import eq_rounds


class OpenChannel(Channel, Protocol):
    """A channel that can also carry messages in clear."""

    def receive_open(self, label: str, count: int) -> list[Ext]:
        """A message that is not encrypted."""


def pads_axes(point: tuple[Ext, ...]) -> Functional:
    """The pads' extension at ``point`` as a functional of their cells, low halves first: lo~ + x·hi~."""
    return (Dense((ONE, X)), Eq(point))


def check_products(channel: OpenChannel, plan: PadPlan) -> list[OpeningClaim]:
    """Run the check; what the openings then have to hold."""
    anchor = [channel.challenge("products.anchor") for _ in range(plan.log_products)]
    rest, point = eq_rounds(channel, "products", ZERO, anchor, 2)
    left, right = channel.receive_open("products.values", 2)
    axes = pads_axes(tuple(point))
    return [
        OpeningClaim(("pad", LEFT, 0), axes, public(left)),
        OpeningClaim(("pad", RIGHT, 0), axes, public(right)),
        OpeningClaim(("pad", PRODUCT, 0), axes, public(field.product(left, right)) - rest),
    ]
