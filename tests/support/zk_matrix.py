"""The matrix by which a view depends on the prover's coins, written down from the protocol."""

from __future__ import annotations

import numpy as np

from tests.support.zk_algebra import subtract
from tests.support.zk_views import challenges
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import powers_of, row_weights
from verifai.engines.sumcheck.protocol.hiding import MESSAGES
from verifai.engines.sumcheck.protocol.proof import log_length
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover.arrays import eq_vector, scalars, vector
from verifai.engines.sumcheck.prover.kernels import outer, scaled
from verifai.engines.sumcheck.prover.parallel import fold


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
        factors, after = [], field.ONE
        for r in reversed(self.z):
            square = field.product(r, r)
            factors += [field.sub(square, r), field.sub(field.ONE, field.add(r, r))]
            factors[-2:] = [field.scale(field.product(one, after), -1) for one in factors[-2:]]
            after = field.product(after, r)
        return factors[::-1]

    def blocks(self):
        result = {}
        start = sum(2 * count for _, count in self.view.labels)
        for index, (owner, prefix, plan, _, group) in enumerate(self.members):
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
        omega = field.root_of_unity(log)
        for i, position in enumerate(positions):
            x = 0 if position in self.zeroed.get(group, ()) else pow(omega, int(f"{position:0{log}b}"[::-1], 2), field.P)
            powers = [1]
            while len(powers) < shape.degree:
                powers.append(powers[-1] * x % field.P)
            block[start + i * shape.rows + rows, np.arange(len(rows))] = np.array(powers, dtype=np.uint64)[columns]

    def _combined(self, block, index, rows, columns):
        """u, row by row."""
        _, _, plan, number, group = self.members[index]
        place, _ = self.view.at("openings.combination")[group]
        inside = [i for i, member in enumerate(self.members) if member[4] == group]
        factor = powers_of(self.mix, len(inside))[inside.index(index)]
        weights = vector([field.product(w, factor) for w in row_weights(plan, self.z, number, self.blind)])
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
            block[place : place + 2, i] = field.product(weights[int(rows[i])], self.mask[int(columns[i]) - size])

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
        (first,) = plan.columns["pad", MESSAGES, 0].addresses
        address = first + np.arange(sizes["pads.messages"])
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
    high, skip = field.ONE, len(z) - log_cells
    for r in z[:skip]:
        part = scaled(weights, *scalars(high)) if high != field.ONE else weights
        yield part, np.zeros_like(part)
        high = field.product(high, field.sub(field.ONE, r))
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
