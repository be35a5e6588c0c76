"""The prover of the lookups: leaves, layers of fractions, and a sumcheck per layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.buses import Bus
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.lookups import Leaves, check_layers
from verifai.engines.sumcheck.prover.arrays import element, eq_vector, scalars
from verifai.engines.sumcheck.prover.channel import Sender
from verifai.engines.sumcheck.prover.kernels import U64, halve_sum
from verifai.engines.sumcheck.prover.lookup_kernels import fingerprints, fingerprints_single
from verifai.engines.sumcheck.prover.parallel import add_scaled, fold, fraction_layer, fraction_round


@dataclass(frozen=True, slots=True)
class Member:
    """Which leaves of a block: those at (any, ``index``, any) of (…, 2^log_members, 2^log_rest)."""

    index: int
    log_members: int
    log_rest: int


@dataclass(frozen=True, slots=True)
class Block:
    """Leaves of one block, or of one member of it: columns over F_p, and numerators (None: all 1)."""

    table: int
    log_size: int
    offset: int
    row: Sequence[U64]
    numerators: U64 | None
    member: Member | None = None


def build_leaves(bus: Bus, blocks: Sequence[Block], alpha: Ext, beta: Ext) -> tuple[U64, U64]:
    """Numerators and denominators as (half, component, 2^(L − 1)); filler is 0 / 1."""
    half = 1 << (bus.log_leaves - 1)
    p = np.zeros((2, 2, half), dtype=np.uint64)
    q = np.zeros((2, 2, half), dtype=np.uint64)
    q[:, 0] = 1
    identity = field.ONE
    for _ in range(bus.width):
        identity = field.product(identity, beta)
    for block in blocks:
        side, start = divmod(block.offset, half)
        stop = start + (1 << block.log_size)
        constant = np.array(field.add(alpha, field.scale(identity, block.table + 1)), dtype=np.uint64)
        member = block.member if block.member is not None and block.member.log_members else None
        if member is None:
            p[side, 0, start:stop] = 1 if block.numerators is None else block.numerators
            targets = q[side, 0, start:stop], q[side, 1, start:stop]
        else:  # every member of a group is filled in, so the numerators are set once for each
            p[side, 0, start:stop] = 1
            targets = np.zeros_like(block.row[0]), np.zeros_like(block.row[0])
        if len(block.row) == 1:
            fingerprints_single(*targets, constant, block.row[0])
        else:
            fingerprints(*targets, constant, block.row[0], block.row[1], *scalars(beta))
        if member is not None:
            shape = (-1, 1 << member.log_members, 1 << member.log_rest)
            for component, values in enumerate(targets):
                leaves = q[side, component, start:stop].reshape(shape)
                leaves[:, member.index] = values.reshape(-1, 1 << member.log_rest)
    return p, q


def prove_layers(channel: Sender, p: U64, q: U64) -> Leaves:
    """Send root and layers, by running the verifier's own script."""
    layers = _Layers(channel, p, q)
    return check_layers(layers, layers.count)


class _Layers:
    """The verifier's channel as seen from the prover: a message is computed when the script takes it.

    A layer's sum is Σ eq(anchor, x)·(p0·q1 + q0·s1) with s1 = p1 + mix·q1; the anchor is the layer above's point.
    """

    def __init__(self, channel: Sender, p: U64, q: U64) -> None:
        self._channel = channel
        self._layers = [(p, q)]
        while self._layers[-1][0].shape[2] > 1:
            self._layers.append(fraction_layer(*self._layers[-1]))
        self.count = len(self._layers)
        self._anchor: list[Ext] = []
        self._point: list[Ext] = []
        self._mix = field.ZERO
        self._arrays: list[U64] = []
        self._eq: U64 | None = None

    def receive(self, label: str, count: int) -> list[Claim]:
        """Root, round, or the four ends of a layer."""
        if label == "lookups.root":
            top = self._layers[-1][1]
            return self._channel.send(label, [field.product(element(*top[0, :, 0]), element(*top[1, :, 0]))])
        if label == "lookups.round":
            self._eq = halve_sum(eq_vector(self._anchor) if self._eq is None else self._eq)
            a0, a1, c0, c1 = fraction_round(self._eq, *self._arrays)
            return self._channel.send(label, [element(a0, a1), element(c0, c1)])
        e0, f1, f0, g1 = (element(*one[:, 0]) for one in self._arrays)
        return self._channel.send(label, [e0, field.sub(g1, field.product(self._mix, f1)), f0, f1])

    def challenge(self, label: str) -> Ext:
        """Mix: the next layer begins. Point: a variable is bound. Child: the layer ends."""
        r = self._channel.challenge(label)
        if label == "lookups.mix":
            p, q = self._layers.pop()
            self._mix, self._eq = r, None
            self._arrays = [p[0], q[1], q[0], add_scaled(p[1], q[1], *scalars(r))]
            self._point = []
        elif label == "lookups.point":
            self._arrays = [fold(one, *scalars(r)) for one in self._arrays]
            self._point.append(r)
        else:
            self._anchor = [r, *self._point]
        return r
