"""What the verifier sees of one proof of the real engine, and the matrix by which it depends on the prover's coins.

With challenges, positions and triples of pads fixed, everything that a proof shows is an affine function of the other coins:

    view = offset(witness, triples) + matrix · coins

Hash outputs (roots, paths, salts) are left out: they are another argument's business. :class:`Scene` runs the engine with
scripted challenges and coins; :mod:`.zk_matrix` writes the matrix down from the protocol. That it is the *engine's* matrix is
for the tests to check: for random coins, the engine's view is offset + matrix·coins in every element.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from hashlib import sha256

import numpy as np

from tests.support.sumcheck_scripted import prove_heard, verify_scripted
from tests.support.zk_algebra import subtract
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.axes import eq_table
from verifai.engines.sumcheck.protocol.proof import decode
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover import opening_hiding
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.commitment import commit_hiding
from verifai.engines.sumcheck.prover.padded_weights import padded_weight
from verifai.engines.sumcheck.prover.prove import TensorOpening
from verifai.engines.sumcheck.prover.witness import Witness
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights

CLEAR = (
    "product",
    "products.values",
    "openings.round",
    "openings.values",
    "openings.mask",
    "openings.combination",
    "level.round",
)
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

    def challenge(self, label):
        value = honest(self, label)
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


def _from_address_0(member):
    """The weights of all cells; those in front of the first stored row, which the prover does not keep, are 0."""
    return np.pad(member.weights, ((0, 0), (member.matrix.first, 0)))


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
    secrets: dict = attribute(default_factory=dict)
    in_base: frozenset = frozenset()
    last: tuple = ()

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
        owners = {_seed(owner): coins.get(owner) for owner, _ in self.secrets.values()}
        honest, rounds = proving.commitment_coins, opening_hiding.FinalRounds
        combine, combinations = opening_hiding.combine, []

        def combining(*given, **more):
            groups = combine(*given, **more)
            combinations.extend(group.u for group in groups)
            return groups

        def listening(members):
            if seen is not None:
                seen.extend(_from_address_0(member) for member in members)
            return rounds(members)

        proving.commitment_coins = lambda plan, columns, seed: GivenCoins(owners[seed])
        opening_hiding.FinalRounds, opening_hiding.combine = listening, combining
        try:
            proven, channel = prove_heard(
                key,
                witness,
                opening_number=self.number,
                secrets={tensor: TensorOpening(_seed(owner), number) for tensor, (owner, number) in self.secrets.items()},
                coins=self.script(),
                own_coins=given,
            )
        finally:
            proving.commitment_coins, opening_hiding.FinalRounds, opening_hiding.combine = honest, rounds, combine
        self.last = key, proven
        proof = decode(proven.proof, key.layout.commitments())
        public = [one for one in proven.statement.tensors if hasattr(one, "cells")]
        # Levels are computed from the combinations. With these in clear the view says no less.
        more = [u.T.reshape(-1) for u in combinations] if key.layout.levels else []
        vector = np.concatenate([_flat(proof), *more])
        return View(self, vector, tuple(channel.labels), channel.pads, getattr(given, "sizes", {}), tuple(public))

    def _key(self, coins):
        """The proving key for these weights and coins."""
        arrays = tuple(padded_weight(w, cells) for w, cells in zip(self.key.circuit.weights, self.weights, strict=True))
        plan, committed = self.key.layout.weights, None
        if plan is not None:
            columns = {("weight", i, 0): cells.reshape(-1) for i, cells in enumerate(arrays)}
            committed = commit_hiding(plan, columns, GivenCoins(coins), "weights")
        identity = self.key.identity if committed is None else committed.root.hex()
        return replace(self.key, weights=arrays, committed=committed, identity=identity)

    def verify(self):
        """Let the verifier check the last proof, under the same script. Raises EvidenceRejected."""
        key, proven = self.last
        data = encode(key.circuit)
        trusted = trust_circuit(data, circuit_digest(data))
        blob = encode_weights(key.circuit, [np.asarray(cells).reshape(-1).tolist() for cells in self.weights])
        return verify_scripted(
            trusted, trust_weights(trusted, key.identity, blob), proven.statement, proven.proof, self.script()
        )

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
    """What one proof shows: messages, then opened columns, as elements of F_p; then combinations, when levels follow them."""

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
    return {name: random.integers(0, field.P, size, dtype=np.uint64) for name in ("pads.left", "pads.right")}


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
            rest = field.sub(field.dot(pairs[0][1:], weights[1:]), field.dot(pairs[1][1:], weights[1:]))
            new[:, 0] = field.add(pairs[0][0], field.product(rest, field.inverse(weights[0])))
        result[name] = np.ascontiguousarray(new).reshape(-1)
    return result


def challenges(script, label, count):
    """The first ``count`` challenges of ``label``, as the transcript draws them."""
    transcript = Transcript(script.again())
    return [transcript.challenge(label) for _ in range(count)]
