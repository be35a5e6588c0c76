"""What the verifier sees of one proof of the real engine, and the matrix by which it depends on the prover's coins.

With challenges, positions and triples of pads fixed, everything that a proof shows is an affine function of the other coins:

    view = offset(witness, triples) + matrix · coins

Hash outputs (roots, paths, salts) are left out: they are another argument's business. :class:`Scene` runs the engine with
scripted challenges and coins; :func:`blocks_of` writes the matrix down from the protocol. That it is the *engine's* matrix is
for the tests to check: for random coins, the engine's view is offset + matrix·coins in every element.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from hashlib import sha256

import numpy as np
from zk_algebra import subtract

from verifai.engines.sumcheck.interpreter import run
from verifai.engines.sumcheck.prover import opening_hiding
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.arrays import eq_vector, scalars, vector
from verifai.engines.sumcheck.prover.coins import commitment_key
from verifai.engines.sumcheck.prover.commitment import commit_hiding
from verifai.engines.sumcheck.prover.kernels import fold, outer, scaled
from verifai.engines.sumcheck.prover.prove import TensorSecret, commit_and_prove
from verifai.engines.sumcheck.prover.party import padded_weight
from verifai.engines.sumcheck.prover.witness import Witness
from verifai.engines.sumcheck.verifier import field as F
from verifai.engines.sumcheck.verifier.axes import eq_table
from verifai.engines.sumcheck.verifier.hiding import LEFT, MESSAGES, RIGHT, X
from verifai.engines.sumcheck.verifier.opening import powers_of, row_weights
from verifai.engines.sumcheck.verifier.proof import decode, log_length
from verifai.engines.sumcheck.verifier.transcript import Domain, Stream, Transcript

CLEAR = ("product", "products.values", "openings.round", "openings.values", "openings.mask", "openings.combination")
"""Messages that no pad of the witness encrypts as they are."""


class Script:
    """A transcript's coins that do not listen: every challenge follows from a name, its label and how often it was drawn.

    ``in_base``: (label, occurrence) of challenges that are to lie in F_p, against the rules.
    """

    def __init__(self, name, in_base=frozenset()):
        self.name, self.in_base = name, in_base
        self.drawn = Counter()
        self._last = b""

    def absorb(self, data):
        size = data[0]
        self._last = data[1 : 1 + size] + b"|" + data[9 + size :]

    def seed(self):
        label = self._last
        self.drawn[label.split(b"|", 1)[1].decode()] += 1
        return sha256(b"%s|%s|%d" % (self.name.encode(), label, self.drawn[label.split(b"|", 1)[1].decode()])).digest()

    def again(self):
        """The same coins from the start."""
        return Script(self.name, self.in_base)


def obey_base(monkeypatch):
    """Let scripts put challenges into F_p."""
    honest = Transcript.challenge

    def challenge(self, label, domain=Domain.OUTSIDE_BASE):
        value = honest(self, label, domain)
        coins = self._coins
        return (value[0], 0) if (label, coins.drawn[label] - 1) in getattr(coins, "in_base", ()) else value

    monkeypatch.setattr(Transcript, "challenge", challenge)


class GivenCoins:
    """The prover's coins by purpose; zeros where none are given. ``sizes``: what was asked for."""

    def __init__(self, values=None):
        self.values = dict(values or {})
        self.sizes = {}

    def field(self, purpose, count):
        assert purpose not in self.sizes, purpose
        self.sizes[purpose] = count
        given = self.values.get(purpose)
        assert given is None or len(given) == count
        return np.zeros(count, dtype=np.uint64) if given is None else given.copy()

    def salts(self, purpose, count):
        return np.zeros((count, 4), dtype=np.uint64)


@dataclass
class Scene:
    """One proof to be made, apart from its coins.

    Attributes:
        weights: true cells of each. inputs: cells of each input.
        name: of the script. number: which opening of the weights' root. secrets: by hashed tensor, (owner's name, number).
    """

    key: proving.ProvingKey
    weights: list
    inputs: list
    name: str = "script"
    number: int = 0
    secrets: dict = field(default_factory=dict)
    in_base: frozenset = frozenset()

    def script(self):
        """Fresh transcript coins."""
        return Script(self.name, self.in_base)

    def prove(self, coins, seen=None, own=None):
        """The view with ``coins``: purpose → cells, by owner ("x", "w" and the names of hashed tensors' owners).

        ``seen`` collects the final rounds' weights. ``own``: in place of coins of "x".
        """
        trace = run(self.key.circuit, self.weights, self.inputs)
        key = self._key(coins.get("w"))
        witness = Witness(key.circuit, key.layout, trace.tensors, trace.columns)
        given = own or GivenCoins(coins.get("x"))
        owners = {commitment_key(_seed(owner)): coins.get(owner) for owner, _ in self.secrets.values()}
        heard = []
        honest, rounds = proving.SecretCoins, opening_hiding.FinalRounds

        def listening(members):
            if seen is not None:
                seen.extend(member.weights.copy() for member in members)
            return rounds(members)

        proving.SecretCoins = lambda key: GivenCoins(owners[key])
        opening_hiding.FinalRounds = listening
        try:
            proven = commit_and_prove(
                key,
                witness,
                opening_number=self.number,
                secrets={tensor: TensorSecret(_seed(owner), number) for tensor, (owner, number) in self.secrets.items()},
                coins=self.script(),
                own_coins=given,
                listener=heard.append,
            )
        finally:
            proving.SecretCoins, opening_hiding.FinalRounds = honest, rounds
        proof = decode(proven.proof, key.layout.commitments())
        public = [one for one in proven.statement.tensors if hasattr(one, "cells")]
        return View(self, _flat(proof), tuple(heard[0].labels), heard[0].pads, getattr(given, "sizes", {}), tuple(public))

    def _key(self, coins):
        """The proving key for these weights and coins."""
        arrays = tuple(padded_weight(w, cells) for w, cells in zip(self.key.circuit.weights, self.weights, strict=True))
        plan, committed = self.key.layout.weights, None
        if plan is not None:
            columns = {("weight", i, 0): cells.reshape(-1) for i, cells in enumerate(arrays)}
            committed = commit_hiding(plan, columns, GivenCoins(coins), "weights")
        return replace(self.key, weights=arrays, committed=committed)

    def members(self):
        """(owner, prefix of purposes, plan, opening number, group), in the order of the proof's openings."""
        layout = self.key.layout
        found = [("x", "witness", layout.witness, 0, 0)]
        if layout.weights is not None:
            found.append(("w", "weights", layout.weights, self.number, 0))
        for group, (tensor, plan) in enumerate(layout.hashed.items(), 1):
            owner, number = self.secrets[tensor]
            found.append((owner, "tensor", plan, number, group))
        return found


@dataclass
class View:
    """What one proof shows: messages, then opened columns, as elements of F_p."""

    scene: Scene
    vector: np.ndarray
    labels: tuple
    pads: object
    sizes: dict
    public: tuple

    def at(self, label):
        """(first element, count) of every message with this label, in elements of F_p."""
        place, found = 0, []
        for name, count in self.labels:
            if name == label:
                found.append((place, 2 * count))
            place += 2 * count
        return found

    def encrypted(self):
        """First element of every message element that is encrypted by a message pad, in the pads' order."""
        place, found = 0, []
        for name, count in self.labels:
            if name not in CLEAR:
                found += range(place, place + 2 * count, 2)
            place += 2 * count
        return np.array(found)

    def name_of(self, pad):
        """Label of the message that pad ``pad`` encrypts."""
        return [name for name, count in self.labels if name not in CLEAR for _ in range(count)][pad]

    def products(self):
        """Places of all factors that were sent again: (products, 4) elements."""
        return np.array([range(place, place + 4) for place, _ in self.at("product")], dtype=np.int64).reshape(-1, 4)


def _seed(owner):
    return sha256(owner.encode()).digest()


def _flat(proof):
    parts = [np.array(proof.messages, dtype=np.uint64).reshape(-1)]
    parts += [np.array(opening.columns, dtype=np.uint64).reshape(-1) for opening in proof.openings]
    return np.concatenate(parts)


# --- triples of pads: the same products in the view, whatever the witness ---


def triples(random, plan):
    """Random factors of all triples, as coins."""
    size = 2 << plan.log_products
    return {name: random.integers(0, F.P, size, dtype=np.uint64) for name in ("pads.left", "pads.right")}


def coupled(scene, view, given, fixed=()):
    """The triples' pads under which ``scene`` shows the factors and values that ``view`` shows: a' = a + A − A'.

    Triple 0 takes up the rest, so that the values shown at the products' point agree too. A bijection between the coins of two
    witnesses. ``fixed``: triples that keep their pads, as if these were known.
    """
    plan = scene.key.layout.pads
    zeros = {name: np.zeros_like(cells) for name, cells in given.items()}
    truth = scene.prove({"x": zeros})  # all factors in clear
    result = {}
    point = challenges(scene.script(), "products.point", plan.log_products)
    weights = eq_table(point)
    for side, name in enumerate(("pads.left", "pads.right")):
        old, new = (given[name].reshape(2, -1).copy() for _ in range(2))
        for number, places in enumerate(view.products(), 1):
            here = places[2 * side : 2 * side + 2]
            if number not in fixed:
                new[:, number] = subtract(view.vector[here], truth.vector[here])
        if 0 not in fixed:
            pairs = [list(zip(*one.tolist(), strict=True)) for one in (old, new)]
            rest = F.sub(F.dot(pairs[0][1:], weights[1:]), F.dot(pairs[1][1:], weights[1:]))
            new[:, 0] = F.add(pairs[0][0], F.product(rest, F.inverse(weights[0])))
        result[name] = np.ascontiguousarray(new).reshape(-1)
    return result


def challenges(script, label, count):
    """The first ``count`` challenges of ``label``, as the transcript draws them."""
    transcript = Transcript(script.again())
    return [transcript.challenge(label, Domain.OUTSIDE_BASE) for _ in range(count)]


# --- the matrix ---


def blocks_of(view, weights, domain=None):
    """(owner, purpose) → matrix (view, coins) of everything but the triples. ``weights``: of the final rounds, by member.

    ``domain``: positions, per group, that are to be taken for x = 0.
    """
    return _Matrix(view, weights, domain or {}).blocks()


class _Matrix:
    def __init__(self, view, weights, zeroed):
        self.view, self.scene, self.weights, self.zeroed = view, view.scene, weights, zeroed
        self.members = self.scene.members()
        self.rounds = max(plan.log_cells for _, _, plan, _, _ in self.members)
        script = self.scene.script()
        self.z = challenges(script, "openings.point", self.rounds)
        (self.mix,) = challenges(script, "openings.mix", 1)
        (self.blind,) = challenges(script, "openings.blind", 1)
        self.mask = self._mask()

    def _mask(self):
        """D: what is left of the pads of the final rounds in the claim after them."""
        factors, after = [], F.ONE
        for r in reversed(self.z):
            square = F.product(r, r)
            factors += [F.sub(square, r), F.sub(F.ONE, F.add(r, r))]
            factors[-2:] = [F.scale(F.product(one, after), -1) for one in factors[-2:]]
            after = F.product(after, r)
        return factors[::-1]

    def blocks(self):
        result = {}
        start = sum(2 * count for _, count in self.view.labels)
        for index, (owner, prefix, plan, number, group) in enumerate(self.members):
            shape = plan.shape
            for purpose, rows, columns in _cells(prefix, plan, self.view.sizes if prefix == "witness" else None):
                block = np.zeros((len(self.view.vector), len(rows)), dtype=np.uint64)
                self._opened(block, start, shape, group, rows, columns)
                self._combined(block, index, rows, columns)
                self._rounds(block, index, rows, columns)
                if prefix == "witness":
                    self._shown(block, plan, rows, columns)
                    if purpose == "pads.messages":
                        self._encrypted(block)
                result[owner, purpose] = block
            start += shape.queries * shape.rows
        return result

    def _opened(self, block, start, shape, group, rows, columns):
        """Columns at the opened positions: Σ cells·x^column."""
        log = log_length(shape)
        positions = Transcript(self.scene.script()).positions(f"openings.positions{group}", log, shape.queries)
        omega = F.root_of_unity(log)
        for i, position in enumerate(positions):
            x = 0 if position in self.zeroed.get(group, ()) else pow(omega, int(f"{position:0{log}b}"[::-1], 2), F.P)
            powers = [1]
            while len(powers) < shape.degree:
                powers.append(powers[-1] * x % F.P)
            block[start + i * shape.rows + rows, np.arange(len(rows))] = np.array(powers, dtype=np.uint64)[columns]

    def _combined(self, block, index, rows, columns):
        """u, row by row."""
        _, _, plan, number, group = self.members[index]
        place, _ = self.view.at("openings.combination")[group]
        inside = [i for i, member in enumerate(self.members) if member[4] == group]
        factor = powers_of(self.mix, len(inside))[inside.index(index)]
        weights = vector([F.product(w, factor) for w in row_weights(plan, self.z, number, self.blind)])
        for component in range(2):
            block[place + 2 * columns + component, np.arange(len(rows))] = weights[component][rows]

    def _rounds(self, block, index, rows, columns):
        """Final rounds and the value at their point, of the coins that are cells of the extension."""
        _, prefix, plan, number, _ = self.members[index]
        addresses = _addresses(plan, number, rows, columns)
        used = np.flatnonzero(addresses >= 0)
        cells = addresses[used]
        places = [place for place, _ in self.view.at("openings.round")]
        for round_, parts in enumerate(_round_parts(self.weights[index], self.z, plan.log_cells)):
            for which, part in enumerate(parts):
                for component in range(2):
                    block[places[round_] + 2 * which + component, used] = part[component][cells]
        (place, _), skip = self.view.at("openings.values")[0], self.rounds - plan.log_cells
        values = eq_vector(self.z[skip:])
        for component in range(2):
            block[place + 2 * index + component, used] = values[component][cells]
        if prefix == "witness":  # the pads of the rounds themselves
            size, masks = plan.shape.message, plan.shape.rows - plan.shape.mask_rows
            for i in np.flatnonzero((rows >= masks) & (columns >= size) & (columns < size + plan.shape.mask)):
                step, which = divmod(int(columns[i]) - size, 2)
                block[places[step] + 2 * which + int(rows[i]) - masks, i] = 1

    def _shown(self, block, plan, rows, columns):
        """⟨D, y_x on the mask region⟩."""
        (place, _), size = self.view.at("openings.mask")[0], plan.shape.message
        weights = row_weights(plan, self.z)
        for i in np.flatnonzero((columns >= size) & (columns < size + plan.shape.mask)):
            block[place : place + 2, i] = F.product(weights[int(rows[i])], self.mask[int(columns[i]) - size])

    def _encrypted(self, block):
        size = block.shape[1] // 2
        for pad, place in enumerate(self.view.encrypted()):
            for component in range(2):
                block[place + component, component * size + pad] = 1


def _cells(prefix, plan, sizes):
    """(purpose, rows, columns in the stored matrix) of each purpose's coins."""
    shape = plan.shape
    size, last = shape.message, shape.rows - shape.mask_rows

    def grid(first, count, start, width):
        index = np.arange(count * width)
        return first + index // width, start + index % width

    if prefix == "witness":
        address = plan.offsets["pad", MESSAGES, 0] + np.arange(sizes["pads.messages"])
        yield "pads.messages", address // size - plan.first_row + shape.reserved_rows, address % size
    yield f"{prefix}.tail", *grid(0, shape.rows, size + shape.mask, shape.tail)
    yield f"{prefix}.blind", *grid(0, shape.reserved_rows, 0, size)
    if shape.mask_rows:
        yield f"{prefix}.mask.blind", *grid(0, shape.reserved_rows, size, shape.mask)
        yield f"{prefix}.mask.pads", *grid(last, shape.mask_rows, size, shape.mask)


def _addresses(plan, number, rows, columns):
    """The extension's address of each cell of the stored matrix, −1 for those it does not contain."""
    shape = plan.shape
    table = np.full(shape.rows, -1, dtype=np.int64)
    table[2 * number : 2 * number + 2] = (0, 1)
    table[shape.reserved_rows : shape.rows - shape.mask_rows] = list(plan.value_rows())
    inside = (table[rows] >= 0) & (columns < shape.message)
    return np.where(inside, table[rows] * shape.message + columns, -1)


def _round_parts(weights, z, log_cells):
    """Per round, what each cell adds to the constant and to the leading coefficient: two (2, 2^v) arrays."""
    high, skip = F.ONE, len(z) - log_cells
    for r in z[:skip]:
        part = scaled(weights, *scalars(high)) if high != F.ONE else weights
        yield part, np.zeros_like(part)
        high = F.product(high, F.sub(F.ONE, r))
    weights = scaled(weights, *scalars(high)) if skip else weights
    for step in range(log_cells):
        half = weights.shape[1] // 2
        low, rest = weights[:, :half], weights[:, half:]
        difference = subtract(rest, low)
        bound = eq_vector(z[skip : skip + step]) if step else np.array([[1], [0]], dtype=np.uint64)
        constant = np.ascontiguousarray(np.concatenate([low, np.zeros_like(low)], axis=1))
        leading = np.ascontiguousarray(np.concatenate([subtract(np.zeros_like(low), difference), difference], axis=1))
        yield outer(bound, constant), outer(bound, leading)
        weights = fold(np.ascontiguousarray(weights), *scalars(z[skip + step]))
