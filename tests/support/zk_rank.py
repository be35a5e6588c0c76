"""The rank test: are two witnesses' views equally distributed, and are they still when some coins are missing or used twice?

Views of both witnesses are offset + matrix·coins, with one matrix. For uniform coins they are equally distributed exactly when
the difference of the offsets lies in the matrix's column span. The difference then equals matrix·x for some *shift of the
coins* x; coins that are fixed cannot be shifted, and coins that are used twice must be shifted by the same amount. So every
mask's absence is a linear condition on x, and one reduction of the matrix answers for all of them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tests.support.zk_algebra import add, reduce, subtract, times, uniform
from tests.support.zk_matrix import blocks_of
from tests.support.zk_views import Scene, Script, coupled, triples
from verifai.engines.sumcheck.protocol.proof import log_length
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover.prove import prepare


class Act:
    """One proof, under several witnesses of its statement: the first one's view and matrix, the others' differences.

    ``scene``, ``layout``: of a proof that is none of an inference.
    """

    def __init__(
        self,
        case,
        witnesses,
        random,
        *,
        name="script",
        number=0,
        secrets=None,
        in_base=frozenset(),
        fixed=(),
        scene=Scene,
        layout=None,
    ):
        weights, inputs = witnesses[0]
        self.case, self.random = case, random
        key = prepare(case.circuit, list(case.weights))
        key = key if layout is None else replace(key, layout=layout)
        self.key = key
        more = {"name": name, "number": number, "secrets": dict(secrets or {}), "in_base": in_base}
        self.scene = scene(key, weights, inputs, **more)
        self.given = triples(random, key.layout.pads)
        self.final = []
        self.view = self.scene.prove({"x": self.given}, self.final)
        self.differences, self.same_weights, self.same_statement = [], True, True
        for weights, inputs in witnesses[1:]:
            other, final = scene(key, weights, inputs, **more), []
            view = other.prove({"x": coupled(other, self.view, self.given, fixed)}, final)
            assert view.labels == self.view.labels
            self.same_statement &= view.public == self.view.public
            self.same_weights &= all(np.array_equal(a, b) for a, b in zip(final, self.final, strict=True))
            self.differences.append(subtract(view.vector, self.view.vector))

    def blocks(self, zeroed=None):
        """The matrix by owner and purpose."""
        return blocks_of(self.view, self.final, zeroed)

    def predicted(self):
        """The engine's view under random coins, and what the matrix makes of them."""
        coins, expected = {}, self.view.vector
        for (owner, purpose), block in self.blocks().items():
            drawn = uniform(self.random, block.shape[1])
            coins.setdefault(owner, {})[purpose] = drawn
            expected = add(expected, times(block, drawn))
        coins["x"] |= self.given
        return self.scene.prove(coins).vector, expected

    def equations(self):
        """How many of the view's elements the verifier's equations and the coupled products leave to be derived.

        Factors of products, and two values at their point; the value at z and the masks' sum; the code word at every position:
        two elements of F_p each. All that levels show is derived from the combinations.
        """
        shapes = [self.key.layout.witness.shape, *(plan.shape for plan in self.key.layout.hashed.values())]
        products = 4 * (self.key.layout.pads.products - 1) + 4
        levels = self.key.layout.levels
        derived = sum(4 * level.log_cells + level.shape.queries * level.shape.rows for level in levels)
        derived += 2 * levels[-1].shape.degree if levels else 0
        return products + 2 + sum(2 + 2 * shape.queries for shape in shapes) + derived


class Stage:
    """Several proofs that share coins: owners other than "x" are one and the same in all of them.

    ``shared``: purposes of which all proofs' witness commitments use the same coins, against the rules. ``zeroed``: positions
    by group that stand for x = 0.
    """

    def __init__(self, acts, shared=(), zeroed=None):
        self.acts = acts

        def name_of(act, owner, purpose):
            return (owner if owner != "x" else f"x{0 if purpose in shared else act}", purpose)

        blocks = [{name_of(i, *name): block for name, block in act.blocks(zeroed).items()} for i, act in enumerate(acts)]
        self.starts, width = {}, 0
        for some in blocks:
            for name, block in some.items():
                if name not in self.starts:
                    self.starts[name] = (width, block.shape[1])
                    width += block.shape[1]
        self.height, self.width = sum(len(act.view.vector) for act in acts), width
        differences = np.stack([np.concatenate(column) for column in zip(*(a.differences for a in acts), strict=True)], axis=1)
        matrix, row = np.zeros((self.height, width + differences.shape[1]), dtype=np.uint64), 0
        matrix[:, width:] = differences
        for act, some in zip(acts, blocks, strict=True):
            for name, block in some.items():
                start, count = self.starts[name]
                matrix[row : row + len(block), start : start + count] = block
            row += len(act.view.vector)
        for name in [name for name in self.starts if name[1] == "pads.messages"]:
            matrix[:, self._spare(name)] = 0
        self.pairs = differences.shape[1]
        pivots = reduce(matrix, width)
        found = pivots >= 0
        self.rank = int(found.sum())
        self.outside = (matrix[~found, width:] != 0).any(axis=0) if not found.all() else np.zeros(self.pairs, dtype=bool)
        self.free = np.setdiff1d(np.arange(width), pivots[found])
        self._row_of = {int(column): row for row, column in enumerate(pivots) if column >= 0}
        self._result = matrix

    def _spare(self, name):
        """Message pads beyond the plan: random too, but nothing may rely on them, so here they are not."""
        act = self.acts[int(name[0][1:])]
        used, half = act.key.layout.pads.messages, self.starts[name][1] // 2
        return self.coins(*name, np.arange(used, half), np.arange(half + used, 2 * half))

    def coins(self, owner, purpose, *indices):
        """Numbers of the coins of one purpose; all of them, or those at ``indices``."""
        start, count = self.starts[owner, purpose]
        index = np.concatenate([np.atleast_1d(one) for one in indices]) if indices else np.arange(count)
        assert len(index) == 0 or (index.min() >= 0 and index.max() < count)
        return start + index

    def leaks(self, missing=(), twice=()):
        """Per pair of witnesses: do the views differ when the coins ``missing`` are 0, and pairs of ``twice`` are one coin?"""
        rows = [self._shift(int(coin)) for coin in missing]
        rows += [subtract(self._shift(int(one)), self._shift(int(other))) for one, other in twice]
        if not rows:
            return self.outside
        conditions = np.stack(rows)
        pivots = reduce(conditions, len(self.free))
        short = conditions[pivots < 0][:, len(self.free) :]
        return self.outside | (short != 0).any(axis=0)

    def needed(self, coins):
        """Of ``coins``: those whose absence alone changes the distribution of some pair's views."""
        return [int(coin) for coin in coins if self.leaks([coin]).any()]

    def _shift(self, coin):
        """The coin's shift as an affine function of the free coins' shifts: coefficients, then one constant per pair."""
        row = np.zeros(len(self.free) + self.pairs, dtype=np.uint64)
        if coin in self._row_of:
            values = self._result[self._row_of[coin]]
            row[: len(self.free)] = values[self.free]  # signs agree on both sides of the equation
            row[len(self.free) :] = values[self.width :]
            return row
        row[np.searchsorted(self.free, coin)] = 1
        # A pivot's shift is constant − Σ coefficient·free; with f = −free, a free coin's own shift is −f.
        row[: len(self.free)] = subtract(np.zeros_like(row[: len(self.free)]), row[: len(self.free)])
        return row


def apart(shape, count, group=0):
    """Names of ``count`` scripts whose opened positions of a commitment are all different."""
    names, seen, number = [], set(), 0
    while len(names) < count:
        number += 1
        transcript = Transcript(Script(f"script {number}"))
        opened = set(transcript.positions(f"openings.positions{group}", log_length(shape), shape.queries))
        if not opened & seen:
            names.append(f"script {number}")
            seen |= opened
    return names


def cross_equations(acts, owner):
    """Of a commitment that is opened alone: every opening's combination is also known at the other openings' positions, where
    all columns are shown too."""
    shapes = [plan.shape for act in acts for name, _, plan, _, _ in act.scene.members() if name == owner]
    return 2 * shapes[0].queries * len(shapes) * (len(shapes) - 1)


def overlap(acts, owner):
    """Elements that several openings of ``owner``'s commitment show again, because they open the same position."""
    seen, again = set(), 0
    for act in acts:
        for name, _, plan, _, group in act.scene.members():
            if name == owner:
                bits, count = log_length(plan.shape), plan.shape.queries
                opened = set(Transcript(act.scene.script()).positions(f"openings.positions{group}", bits, count))
                again += plan.shape.rows * len(opened & seen)
                seen |= opened
    return again
