"""Tools of provers that cheat with what only the zero-knowledge suite has: pads, masks, blind rows and the hidden opening."""

from __future__ import annotations

import struct
from dataclasses import replace

import numpy as np

from verifai.engines.sumcheck.protocol import axes as ax
from verifai.engines.sumcheck.protocol import field
from verifai.engines.sumcheck.protocol.batching import evaluate_code, powers_of, row_weights
from verifai.engines.sumcheck.protocol.channel import MaskForms
from verifai.engines.sumcheck.protocol.field import P
from verifai.engines.sumcheck.protocol.merkle import leaf
from verifai.engines.sumcheck.protocol.proof import log_length
from verifai.engines.sumcheck.protocol.suite import commitment_root
from verifai.engines.sumcheck.prover import opening_hiding
from verifai.engines.sumcheck.prover import prove as proving
from verifai.engines.sumcheck.prover.arrays import vector
from verifai.engines.sumcheck.prover.channel import HidingProverChannel
from verifai.engines.sumcheck.prover.commitment import SALT_WORDS, encode, extension_values, merkle_layers, opened_cells
from verifai.engines.sumcheck.prover.opening import FinalRounds


def recommitted(made, change, *, wider=None):
    """``made`` again, with ``change(plan, rows)`` made to its stored rows (R, K) beforehand; salts stay.

    ``wider``: {(row, degree): coefficient} beyond K, in the code words alone, since no combination has room for them.
    """
    plan, shape, rows = made.plan, made.plan.shape, made.masked.copy()
    change(plan, rows)
    whole = 1 << (shape.degree - 1).bit_length()
    full = np.zeros((SALT_WORDS + shape.rows, whole), dtype=np.uint64)
    full[SALT_WORDS:, : shape.degree] = rows
    for (row, degree), coefficient in (wider or {}).items():
        assert shape.degree <= degree < whole
        full[SALT_WORDS + row, degree] = coefficient
    codeword = encode(full, log_length(shape), whole)
    codeword[:, 1 : 1 + SALT_WORDS] = made.codeword[:, 1 : 1 + SALT_WORDS]
    layers = merkle_layers(codeword)
    cells, blind = opened_cells(plan, rows, made.number)
    root = commitment_root(shape, plan.log_cells, layers[-1])
    return replace(made, cells=cells, blind=blind, codeword=codeword, layers=layers, root=root, masked=rows)


def cheat_when_committing(patch, purpose, change, **more):
    """Let the prover commit ``purpose`` ("witness", "weights" or "tensor") with changed rows."""
    honest = proving.commit_hiding

    def commit_hiding(plan, columns, coins, name, **options):
        made = honest(plan, columns, coins, name, **options)
        return recommitted(made, change, **more) if name == purpose else made

    patch.setattr(proving, "commit_hiding", commit_hiding)


class Forger(HidingProverChannel):
    """Lies while the final rounds and the opening are sent, knowing everything that its own prover knows.

    Attributes, set per test: ``final``: {element of the final rounds: lie}; ``values``: {member: lie}; ``shown``: lie;
    ``repair``: whether the combinations are made to fit the lies, so that only the code words speak against them.
    """

    final: dict[int, field.Ext] = {}  # noqa: RUF012
    values: dict[int, field.Ext] = {}  # noqa: RUF012
    shown = field.ZERO
    repair = True
    members: list = []  # noqa: RUF012
    mask: list[field.Ext] = []  # noqa: RUF012

    def __init__(self, *args):
        super().__init__(*args)
        self.sent, self.group = 0, 0
        Forger.last = self
        self.point: list[field.Ext] = []

    def challenge(self, label):
        r = super().challenge(label)
        if label == "openings.point":
            self.point.append(r)
        elif label == "openings.mix":
            self.mix = r
        elif label == "openings.blind":
            self.blind = r
        return r

    def send_open(self, label, values):
        values = list(values)
        if label == "openings.round":
            values = [field.add(v, self.final.get(self.sent + i, field.ZERO)) for i, v in enumerate(values)]
            self.sent += len(values)
        elif label == "openings.values":
            values = [field.add(v, self.values.get(i, field.ZERO)) for i, v in enumerate(values)]
        elif label == "openings.mask":
            values = [field.add(values[0], self.shown)]
        super().send_open(label, values)

    def _combination(self, u):
        """Add what the lies change in u's value at z, and in what its mask region must come to."""
        if not self.repair:
            return u
        joint = [m for m in self.members if not m.matrix.plan.shape.label.startswith("io:")]
        alone = [m for m in self.members if m.matrix.plan.shape.label.startswith("io:")]
        group = joint if self.group == 0 else [alone[self.group - 1]]
        size = group[0].matrix.plan.shape.message
        eq = ax.eq_table(self.point[len(self.point) - size.bit_length() + 1 :])
        factors = powers_of(self.mix, len(group))
        lies = [self.values.get(next(i for i, m in enumerate(self.members) if m is one), field.ZERO) for one in group]
        shift = field.total(field.product(lie, factor) for lie, factor in zip(lies, factors, strict=True))
        u[1] = field.add(u[1], field.product(shift, field.inverse(eq[1])))
        if self.group == 0:
            hidden = field.total(field.product(m.weight, self.values.get(i, field.ZERO)) for i, m in enumerate(self.members))
            for k, lie in self.final.items():  # the claim loses D[k] times the lie
                hidden = field.add(hidden, field.product(self.mask[k], lie))
            wanted = field.add(self.shown, field.product(self.blind, hidden))
            u[size] = field.add(u[size], field.product(wanted, field.inverse(self.mask[0])))
        return u


class _Known:
    """A member of the final sum, and its weights' extension at the point."""

    def __init__(self, member):
        self.matrix = member.matrix
        self.weight = (int(member.weights[0, 0]), int(member.weights[1, 0]))


def arm(patch, **lies):
    """Let the prover send its messages through a :class:`Forger` with these lies."""
    for name, value in {"final": {}, "values": {}, "shown": field.ZERO, "repair": True, **lies}.items():
        patch.setattr(Forger, name, value)
    honest_values, honest_mask = FinalRounds.values, MaskForms.coefficients

    def values(self):
        Forger.members = [_Known(member) for member in self.members]
        return honest_values(self)

    def coefficients(self, claim):
        Forger.mask = honest_mask(self, claim)
        return Forger.mask

    honest_combine = opening_hiding.combine

    def combine(*given, **more):
        groups = honest_combine(*given, **more)
        for number, group in enumerate(groups):
            Forger.last.group = number
            groups[number] = replace(group, u=vector(Forger.last._combination(extension_values(group.u))))
        return groups

    patch.setattr(opening_hiding, "combine", combine)
    patch.setattr(FinalRounds, "values", values)
    patch.setattr(opening_hiding.MaskForms, "coefficients", coefficients)
    patch.setattr(proving, "HidingProverChannel", Forger)


def blind_rows_to_fit(cheat, proof):
    """``proof`` with the opened cells of the witness's two blind rows rewritten so that its combination's code word fits.

    The rows' weights are independent over F_p, so that two cells per position can make up any difference in F.
    """
    channel, members = cheat.channel, Forger.members
    shape = members[0].matrix.plan.shape
    messages = channel.messages
    sizes = [m.matrix.plan.shape.degree for m in members if m.matrix.plan.shape.label != "w"]
    start = len(messages) - sum(sizes)
    u = messages[start : start + shape.degree]
    weights = row_weights(members[0].matrix.plan, channel.point, 0, channel.blind)
    positions = _positions(cheat, proof)
    columns = []
    for value, column in zip(evaluate_code(u, log_length(shape), positions), proof.openings[0].columns, strict=True):
        found = field.total(field.scale(w, cell) for w, cell in zip(weights, column, strict=True))
        (a, b), (w0, w1) = field.sub(value, found), weights[:2]
        determinant = pow(w0[0] * w1[1] - w1[0] * w0[1], -1, P)
        first = (a * w1[1] - b * w1[0]) * determinant % P
        second = (b * w0[0] - a * w0[1]) * determinant % P
        columns.append(((column[0] + first) % P, (column[1] + second) % P, *column[2:]))
    opening = replace(proof.openings[0], columns=tuple(columns))
    return replace(proof, openings=(opening, *proof.openings[1:]))


def _positions(cheat, proof):
    """Where the columns were opened, found by their leaves."""
    matrix = Forger.members[0].matrix
    leaves = {matrix.layers[0][32 * i : 32 * i + 32]: i for i in range(matrix.plan.shape.length)}
    opening = proof.openings[0]
    return [
        leaves[leaf(struct.pack(f"<{len(column)}Q", *column), salt)]
        for column, salt in zip(opening.columns, opening.salts, strict=True)
    ]
