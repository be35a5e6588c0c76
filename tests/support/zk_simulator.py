"""The simulator of docs/engine/zero-knowledge.md, section 3, as a program: proofs made without a witness.

Challenges are scripted, which is what programming the random oracle comes to; leaves of positions that are never opened are
random digests. Everything else is drawn as the text says, and put before the verifier as it is.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass, field
from hashlib import sha256

from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field as f
from verifai.engines.sumcheck.protocol.batching import batched, evaluate_code, pad_columns, powers_of, row_weights, weights_at
from verifai.engines.sumcheck.protocol.claim import public
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.layout import Commitment
from verifai.engines.sumcheck.protocol.levels import PointClaim, SpanClaim
from verifai.engines.sumcheck.protocol.merkle import cap_size, leaf, node, path_length
from verifai.engines.sumcheck.protocol.products import check_products
from verifai.engines.sumcheck.protocol.proof import Opening, Proof, encode, log_length
from verifai.engines.sumcheck.protocol.script import check_lookups, check_operations
from verifai.engines.sumcheck.protocol.suite import commitment_root
from verifai.engines.sumcheck.protocol.sumcheck import product_rounds
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover.arrays import vector
from verifai.engines.sumcheck.prover.channel import ProverChannel
from verifai.engines.sumcheck.prover.levels import Combination, prove_combinations
from verifai.engines.sumcheck.verifier.opening_hiding import _pad_weights
from verifai.engines.sumcheck.verifier.proof_channel import HidingChannel, MaskedChannel
from verifai.engines.sumcheck.verifier.verifier_party import VerifierParty
from verifai.engines.sumcheck.verifier.verify import TrustedCircuit


class ScriptedCoins:
    """Challenges fixed in advance, whatever is said."""

    def __init__(self, name: bytes, drawn: int = 0) -> None:
        self._name, self.drawn = name, drawn

    def absorb(self, data: bytes) -> None:
        pass

    def seed(self) -> bytes:
        self.drawn += 1
        return sha256(self._name + self.drawn.to_bytes(8, "little")).digest()


def element(rng: random.Random) -> f.Ext:
    return (rng.randrange(P), rng.randrange(P))


@dataclass
class Root:
    """A commitment to nothing: columns and salts as they were shown, and the combination of every pair that was opened."""

    plan: Commitment
    rng: random.Random
    columns: dict[int, list[int]] = field(default_factory=dict)
    salts: dict[int, bytes] = field(default_factory=dict)
    opened: dict[int, tuple[list[f.Ext], list[f.Ext]]] = field(default_factory=dict)  # number: (row weights, u)

    def combination(self, number: int, weights: list[f.Ext]) -> list[f.Ext]:
        """u: uniform among those that agree with the columns already shown."""
        u = [element(self.rng) for _ in range(self.plan.shape.degree)]
        shown = sorted(self.columns)
        gaps = [
            f.sub(f.packed_dot(self.columns[q], f.pack(weights)), found)
            for q, found in zip(shown, evaluate_code(u, log_length(self.plan.shape), shown), strict=True)
        ]
        u = [f.add(a, b) for a, b in zip(u, interpolated(self.points(shown), gaps) + [f.ZERO] * len(u), strict=False)]
        self.opened[number] = weights, u
        return u

    def points(self, positions: list[int]) -> list[int]:
        log = log_length(self.plan.shape)
        return [pow(f.root_of_unity(log), int(f"{q:0{log}b}"[::-1], 2), P) for q in positions]

    def show(self, positions: list[int]) -> None:
        """Columns: uniform, but for the pairs whose combination is known."""
        fresh = [q for q in positions if q not in self.columns]
        codes = {b: evaluate_code(u, log_length(self.plan.shape), fresh) for b, (_, u) in self.opened.items()}
        for i, q in enumerate(fresh):
            column = [self.rng.randrange(P) for _ in range(self.plan.shape.rows)]
            for b, (weights, _) in self.opened.items():
                column[2 * b : 2 * b + 2] = 0, 0
                rest = f.packed_dot(column, f.pack(weights))
                column[2 * b : 2 * b + 2] = split(f.sub(codes[b][i], rest), weights[2 * b], weights[2 * b + 1])
            self.columns[q], self.salts[q] = column, self.rng.randbytes(32)

    def tree(self) -> list[list[bytes]]:
        layer = [
            leaf(struct.pack(f"<{len(self.columns[q])}Q", *self.columns[q]), self.salts[q])
            if q in self.columns
            else self.rng.randbytes(32)
            for q in range(self.plan.shape.length)
        ]
        layers = [layer]
        while len(layer) > 1:
            layer = [node(layer[i], layer[i + 1]) for i in range(0, len(layer), 2)]
            layers.append(layer)
        return layers

    def opening(self, layers: list[list[bytes]], positions: list[int]) -> Opening:
        log = log_length(self.plan.shape)
        paths = tuple(tuple(layers[k][(q >> k) ^ 1] for k in range(path_length(log))) for q in positions)
        columns = tuple(tuple(self.columns[q]) for q in positions)
        cap = tuple(layers[path_length(log)][: cap_size(log)])
        return Opening(columns, paths, cap, tuple(self.salts[q] for q in positions))

    def digest(self, layers: list[list[bytes]]) -> bytes:
        return commitment_root(self.plan.shape, self.plan.log_cells, layers[-1][0])


def split(value: f.Ext, e0: f.Ext, e1: f.Ext) -> tuple[int, int]:
    """(a, b) over F_p with e0·a + e1·b = value: unique, because e1/e0 lies outside F_p."""
    ratio, target = f.product(e1, f.inverse(e0)), f.product(value, f.inverse(e0))
    b = target[1] * pow(ratio[1], -1, P) % P
    return (target[0] - ratio[0] * b) % P, b


def interpolated(points: list[int], values: list[f.Ext]) -> list[f.Ext]:
    """Coefficients of the polynomial of least degree with these values, by Newton's differences."""
    table, result = list(values), []
    for k in range(len(points)):
        for i in range(len(points) - 1, k, -1):
            table[i] = f.scale(f.sub(table[i], table[i - 1]), pow(points[i] - points[i - k - 1], -1, P))
    for k in range(len(points) - 1, -1, -1):  # result·(X − x_k) + table[k]
        shifted = [f.ZERO, *result]
        result = [f.sub(a, f.scale(b, points[k])) for a, b in zip(shifted, [*result, f.ZERO], strict=True)]
        result[0] = f.add(result[0], table[k])
    return result


class InventingChannel(HidingChannel):
    """Every message is uniform."""

    def __init__(self, transcript: Transcript, plan: object, rng: random.Random) -> None:
        super().__init__(transcript, (), plan)
        self.said: list[f.Ext] = []
        self.rng = rng

    def receive_open(self, label: str, count: int) -> list[f.Ext]:
        values = [element(self.rng) for _ in range(count)]
        self.said += values
        return values


@dataclass
class View:
    """One simulated proof, until the trees are built."""

    roots: list[Root]
    positions: list[list[int]]
    messages: tuple[f.Ext, ...]
    below: tuple[Opening, ...]
    """Of the levels, which are computed from the combinations: these trees are real."""

    def proof(self, trees: dict[int, list[list[bytes]]]) -> bytes:
        openings = tuple(root.opening(trees[id(root)], shown) for root, shown in zip(self.roots, self.positions, strict=True))
        first = self.roots[0].digest(trees[id(self.roots[0])])
        return encode(Proof(first, (*openings, *self.below), self.messages))


class _LaterTree:
    """Stands for a tree that is built when all proofs are simulated: scripted challenges do not depend on it."""

    layers = (b"",)

    def open(self, positions: list[int]) -> None:
        return None


def simulate(
    trusted: TrustedCircuit,
    shown: dict[int, tuple[int, ...]],
    hashed: dict[int, tuple[Root, int]],
    weights: tuple[Root, int] | tuple[tuple[int, ...], ...],
    name: bytes,
    rng: random.Random,
) -> View:
    """Steps S1 to S6. ``hashed`` and committed ``weights``: long-lived roots, and which opening of them this is."""
    layout = trusted.layout
    coins = ScriptedCoins(name)
    transcript = Transcript(coins)
    channel = InventingChannel(transcript, layout.pads, rng)
    committed = layout.weights is not None
    party = VerifierParty(trusted.circuit, channel, shown, tuple(hashed), None if committed else weights)
    check_lookups(party, layout.bus)
    check_operations(party)
    claims = [*party.openings, *check_products(channel, layout.pads)]
    powers = powers_of(channel.challenge("openings.alpha"), len(claims) + len(channel.pads.equations))
    target, coefficients = batched(channel.pads, claims, powers)
    witness = Root(layout.witness, rng)
    groups = [[(witness, 0)] + ([weights] if committed else []), *([one] for one in hashed.values())]
    everything = [member for group in groups for member in group]
    masked = MaskedChannel(channel)
    claim, z = product_rounds(masked, "openings", public(target), max(root.plan.log_cells for root, _ in everything))
    mask = masked.forms.coefficients(claim)
    mix, blind = channel.challenge("openings.mix"), channel.challenge("openings.blind")
    drawn = coins.drawn
    positions = [
        transcript.positions("", log_length(group[0][0].plan.shape), group[0][0].plan.shape.queries) for group in groups
    ]
    values, combinations = [], []
    for group, places in zip(groups, positions, strict=True):
        values += _open(group, places, z, mix, blind, combinations)
    expected = f.ZERO
    for (root, _), value in zip(everything, values, strict=True):
        weight = weights_at(root.plan, claims, powers[: len(claims)], z)
        if root is witness:
            weight = f.add(weight, _pad_weights(root.plan, pad_columns(channel.pads, coefficients), z))
        expected = f.add(expected, f.product(weight, value))
    region = slice(witness.plan.shape.message, witness.plan.shape.message + witness.plan.shape.mask)
    hidden = f.product(blind, f.sub(expected, claim.value))
    x2 = f.sub(f.dot(combinations[0][region], mask), hidden)
    shown_at = [places for group, places in zip(groups, positions, strict=True) for _ in group]
    # S5b: what follows u is computed from u, as the prover computes it.
    after = ProverChannel(Transcript(ScriptedCoins(name, drawn)))
    made = []
    for number, (group, u) in enumerate(zip(groups, combinations, strict=True)):
        plan = group[0][0].plan
        asked = [PointClaim(tuple(z[len(z) - plan.log_message :]), f.ZERO)]
        asked += [SpanClaim(region.start, tuple(mask), f.ZERO)] if number == 0 else []
        made.append(Combination(plan.shape, vector(u), (_LaterTree(),) * len(group), tuple(asked), ""))
    below = prove_combinations(after, made, layout.levels)[len(everything) :]
    messages = (*channel.said, *values, x2, *after.messages)
    return View([root for root, _ in everything], shown_at, messages, below)


def _open(
    group: list[tuple[Root, int]],
    positions: list[int],
    z: list[f.Ext],
    mix: f.Ext,
    blind: f.Ext,
    combinations: list[list[f.Ext]],
) -> list[f.Ext]:
    """u and columns of one group; returns the members' values."""
    (first, number), rest = group[0], group[1:]
    others = []
    for root, other in rest:  # C_w: its pair makes v_w uniform, its columns are uniform
        root.show(positions)
        weights = [f.product(w, mix) for w in row_weights(root.plan, z, other, blind)]
        others.append((root, weights, element(root.rng)))
    own = row_weights(first.plan, z, number, blind)
    u = first.combination(number, own)
    combinations.append(u)
    # Columns of the first member answer for the whole group's code word.
    code = evaluate_code(u, log_length(first.plan.shape), positions)
    if others:
        for i, q in enumerate(positions):
            column = [first.rng.randrange(P) for _ in range(first.plan.shape.rows)]
            column[0:2] = 0, 0
            total = f.packed_dot(column, f.pack(own))
            for root, weights, _ in others:
                total = f.add(total, f.packed_dot(root.columns[q], f.pack(weights)))
            column[0:2] = split(f.sub(code[i], total), own[0], own[1])
            first.columns[q], first.salts[q] = column, first.rng.randbytes(32)
    else:
        first.show(positions)
    size = first.plan.shape.message
    value = f.dot(u[:size], ax.eq_table(z[len(z) - first.plan.log_message :]))
    for _, _, v in others:
        value = f.sub(value, f.product(v, mix))
    return [value, *(v for _, _, v in others)]
