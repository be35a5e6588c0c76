"""The prover of the lookups: leaves, layers of fractions, and a sumcheck per layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifai.engines.sumcheck.prover.arrays import element, eq_vector, scalars
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.prover.kernels import U64, halve_sum
from verifai.engines.sumcheck.prover.lookup_kernels import fingerprints, fingerprints_single
from verifai.engines.sumcheck.prover.parallel import add_scaled, fold, fraction_layer, fraction_round
from verifai.engines.sumcheck.verifier import field
from verifai.engines.sumcheck.verifier.buses import Bus
from verifai.engines.sumcheck.verifier.field import Ext


@dataclass(frozen=True, slots=True)
class Block:
    """Leaves of one block: columns over F_p, and numerators (None: all 1)."""

    table: int
    log_size: int
    offset: int
    row: Sequence[U64]
    numerators: U64 | None


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
        p[side, 0, start:stop] = 1 if block.numerators is None else block.numerators
        constant = np.array(field.add(alpha, field.scale(identity, block.table + 1)), dtype=np.uint64)
        targets = q[side, 0, start:stop], q[side, 1, start:stop]
        if len(block.row) == 1:
            fingerprints_single(*targets, constant, block.row[0])
        else:
            fingerprints(*targets, constant, block.row[0], block.row[1], *scalars(beta))
    return p, q


def prove_layers(channel: ProverChannel, p: U64, q: U64) -> tuple[Ext, ...]:
    """Send root and layers; the leaves' point. The mirror image of the verifier's ``check_layers``."""
    layers = [(p, q)]
    while layers[-1][0].shape[2] > 1:
        layers.append(fraction_layer(*layers[-1]))
    top_q = layers[-1][1]
    channel.send("lookups.root", [field.product(element(*top_q[0, :, 0]), element(*top_q[1, :, 0]))])
    point: list[Ext] = []
    while layers:
        p, q = layers.pop()
        mix = channel.challenge("lookups.mix")
        ends, rest = _prove_layer(channel, p, q, mix, point)
        channel.send("lookups.ends", ends)
        point = [channel.challenge("lookups.child"), *rest]
    return tuple(point)


def _prove_layer(channel: ProverChannel, p: U64, q: U64, mix: Ext, anchor: Sequence[Ext]) -> tuple[list[Ext], list[Ext]]:
    """Σ eq(anchor, x)·(p0·q1 + q0·(p1 + mix·q1)): rounds, then (p0, p1, q0, q1) at the point."""
    p0, q0, q1 = p[0], q[0], q[1]
    s1 = add_scaled(p[1], q1, *scalars(mix))
    eq = eq_vector(anchor)
    point: list[Ext] = []
    for _ in anchor:
        eq = halve_sum(eq)
        a0, a1, c0, c1 = fraction_round(eq, p0, q1, q0, s1)
        channel.send("lookups.round", [element(a0, a1), element(c0, c1)])
        r = channel.challenge("lookups.point")
        p0, q0, q1, s1 = (fold(one, *scalars(r)) for one in (p0, q0, q1, s1))
        point.append(r)
    e0, f0, f1, g1 = (element(*one[:, 0]) for one in (p0, q0, q1, s1))
    return [e0, field.sub(g1, field.product(mix, f1)), f0, f1], point
