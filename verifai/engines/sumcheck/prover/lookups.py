"""The prover of the lookups: leaves, layers of fractions, and a sumcheck per layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.buses import Bus
from verifai.engines.sumcheck.protocol.claim import Claim
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.lookups import Leaves, check_layers
from verifai.engines.sumcheck.prover.arrays import element, embed, eq_vector, scalars, vector
from verifai.engines.sumcheck.prover.channel import Sender
from verifai.engines.sumcheck.prover.kernels import U64, halve_sum
from verifai.engines.sumcheck.prover.lookup_kernels import fingerprints, fingerprints_single, mix_range
from verifai.engines.sumcheck.prover.parallel import fold, fraction_layer, fraction_next, fraction_start


@dataclass(frozen=True, slots=True)
class Member:
    """Which leaves of a block: those at (any, ``index``, any) of (…, 2^log_members, 2^log_rest)."""

    index: int
    log_members: int
    log_rest: int


@dataclass(frozen=True, slots=True)
class Block:
    """Leaves of one block or one member of it: columns (signed integers or over F_p), numerators over F_p (None: all 1)."""

    table: int
    log_size: int
    offset: int
    row: Sequence[U64 | Ints]
    numerators: U64 | None
    member: Member | None = None
    sum: int = 0


@dataclass(frozen=True, slots=True)
class Layer:
    """Fractions, in two halves: node x of the layer above is p0/q0 + p1/q1 at x.

    Attributes:
        p0, q0: (2, n). p1, q1: (2, V), V ≤ n. Leaves have p0 and p1 over F_p, (n,) and (V,). Behind V, p1/q1 is 0/1: filler.
    """

    p0: U64
    p1: U64
    q0: U64
    q1: U64


def build_leaves(bus: Bus, blocks: Sequence[Block], alpha: Ext, beta: Ext) -> Layer:
    """The leaves; those of the low half are all used, as there are more than half."""
    half, sums = 1 << (bus.log_leaves - 1), 1 << bus.log_sums
    used = sums * max(block.offset + (1 << block.log_size) for block in blocks) - half
    if used <= 0:
        raise ValueError("more than half of the leaves are filler")
    p = np.zeros(half, dtype=np.uint64), np.zeros(used, dtype=np.uint64)
    q = np.empty((2, half), dtype=np.uint64), np.empty((2, used), dtype=np.uint64)
    if sums > 1:  # the shorter ones have filler between the leaves of the longest; one sum is packed
        for denominators in q:
            denominators[0], denominators[1] = 1, 0
    identity = field.ONE
    for _ in range(bus.width):
        identity = field.product(identity, beta)
    for block in blocks:
        side, start = divmod(block.offset * sums, half)
        places = slice(start + block.sum, start + (sums << block.log_size), sums)
        constant = np.array(field.add(alpha, field.scale(identity, block.table + 1)), dtype=np.uint64)
        p[side][places] = 1 if block.numerators is None else block.numerators
        member = block.member if block.member is not None and block.member.log_members else None
        aside = member is not None or sums > 1
        if not aside:
            targets = q[side][0, places], q[side][1, places]
        else:
            targets = np.empty(block.row[0].shape, np.uint64), np.empty(block.row[0].shape, np.uint64)
        if len(block.row) == 1:
            fingerprints_single(*targets, constant, block.row[0])
        else:
            fingerprints(*targets, constant, block.row[0], block.row[1], *scalars(beta))
        for component, values in enumerate(targets if aside else ()):
            leaves = q[side][component, places]
            if member is None:
                leaves[:] = values
            else:
                shape = (-1, 1 << member.log_members, 1 << member.log_rest)
                leaves.reshape(shape)[:, member.index] = values.reshape(-1, 1 << member.log_rest)
    return Layer(*p, *q)


def prove_layers(channel: Sender, leaves: Layer, log_sums: int = 0) -> Leaves:
    """Send roots and layers, by running the verifier's own script."""
    layers = _Layers(channel, leaves, log_sums)
    return check_layers(layers, layers.count + log_sums, log_sums)


class _Layers:
    """The verifier's channel as seen from the prover: a message is computed when the script takes it.

    A layer's sum is Σ eq(anchor, x)·(p0·q1 + q0·s1) with s1 = p1 + mix·q1; the anchor is the layer above's point. A variable is
    bound in the pass that computes the next round. Passes write into the memory that earlier ones have read.
    """

    def __init__(self, channel: Sender, leaves: Layer, log_sums: int = 0) -> None:
        self._channel = channel
        self._layers = [leaves]
        while self._layers[-1].q0.shape[1] > 1 << log_sums:
            below = self._layers[-1]
            self._layers.append(Layer(*fraction_layer(below.p0, below.p1, below.q0, below.q1)))
        self.count = len(self._layers)
        self._anchor: list[Ext] = []
        self._point: list[Ext] = []
        self._mix = field.ZERO
        self._arrays: list[U64] = []
        self._sources: list[U64] = []
        self._memory: list[list[U64]] = []
        self._bound: Ext | None = None
        self._eq: U64 = np.empty((2, 0), dtype=np.uint64)

    def receive(self, label: str, count: int) -> list[Claim]:
        """Roots, round, or the four ends of a layer."""
        if label == "lookups.root":
            return self._channel.send(label, _products(self._layers[-1], count))
        if label == "lookups.round":
            a0, a1, c0, c1 = self._round()
            return self._channel.send(label, [element(a0, a1), element(c0, c1)])
        self._bind_last()
        e0, f1, f0, g1 = (element(*one[:, 0]) for one in self._arrays)
        return self._channel.send(label, [e0, field.sub(g1, field.product(self._mix, f1)), f0, f1])

    def challenge(self, label: str) -> Ext:
        """Sum: a coordinate of the point among the sums. Mix: the next layer begins. Point: a variable is bound, by what
        follows. Child: the layer ends."""
        r = self._channel.challenge(label)
        if label == "lookups.sum":
            self._anchor.append(r)
        elif label == "lookups.mix":
            self._mix, self._bound, self._point = r, None, []
        elif label == "lookups.point":
            self._bound = r
            self._point.append(r)
        else:
            self._anchor = [r, *self._point]
        return r

    def _start(self) -> None:
        """Take the next layer. Its p1 becomes s1."""
        layer = self._layers.pop()
        p1 = layer.p1 if layer.p1.ndim == 2 else embed(layer.p1)
        self._arrays = [layer.p0, layer.q1, layer.q0, p1]
        self._memory, self._sources = [self._sources, self._arrays], self._arrays

    def _round(self) -> tuple[int, ...]:
        mix = scalars(self._mix)
        if self._bound is None:
            self._eq = eq_vector(self._anchor[1:])
            self._start()
            return fraction_start(self._eq, self._arrays, *mix)
        self._eq = halve_sum(self._eq)
        outs = self._outs()
        words = fraction_next(self._eq, self._arrays, *mix, *scalars(self._bound), outs)
        self._arrays = outs
        return words

    def _outs(self) -> list[U64]:
        """Room for the arrays with one more variable bound."""
        half = self._arrays[2].shape[1] // 2
        sizes = [min(half, one.shape[-1]) for one in self._arrays]
        room = self._memory[0]  # of the layer above, which is half as long; then this layer's own
        if not room:  # the first layer of several sums has none above
            room = [np.empty((2, size), dtype=np.uint64) for size in sizes]
        self._memory.reverse()
        return [one.reshape(-1)[: 2 * size].reshape(2, size) for one, size in zip(room, sizes, strict=True)]

    def _bind_last(self) -> None:
        """The layer's ends: the last variable is bound. The root's children have none."""
        if self._bound is None:
            self._start()
            mix_range(self._arrays[3], self._arrays[1], *scalars(self._mix), 0, 1)
        p0, *others = self._arrays
        whole = [p0 if p0.ndim == 2 else embed(p0), *others]
        size = whole[2].shape[1]
        for number, tail in ((1, field.ONE), (3, self._mix)):
            missing = vector([tail] * (size - whole[number].shape[1])) if whole[number].shape[1] < size else None
            whole[number] = whole[number] if missing is None else np.concatenate([whole[number], missing], axis=1)
        self._arrays = whole if self._bound is None else [fold(one, *scalars(self._bound)) for one in whole]


def _products(top: Layer, count: int) -> list[Ext]:
    """The denominators of the layer above ``top``; behind what is stored of it, the second child is filler."""
    stored = [element(*one) for one in top.q1.T] + [field.ONE] * (count - top.q1.shape[1])
    return [field.product(element(*one), other) for one, other in zip(top.q0.T, stored, strict=True)]
