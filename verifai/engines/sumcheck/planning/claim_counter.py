"""What a party of the script is asked for, counted: messages, claims, lengths of vectors. Standard library only.

The rules of :mod:`.claim_rows`, :mod:`.claim_checks` and :mod:`.claim_reductions` ask; :mod:`.claim_count` plays the script.
"""

from __future__ import annotations

from collections.abc import Sequence

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor, Weight, WeightVisibility
from verifai.engines.sumcheck.protocol.layout import MAX_CLAIMS, public_tensors
from verifai.engines.sumcheck.protocol.proof import MAX_MESSAGES
from verifai.errors import UnsupportedModel

ENTRY_BYTES = 144
"""Of one element of F in a vector: a pair of integers."""
ENTRY_NS = 1_600
"""To make one entry of a vector, or to evaluate it at a point."""
CELL_NS = 120
"""Per cell of a public tensor or weight, each time that it is evaluated."""
ROW_NS = 1_500
"""Per row of them."""
TABLE_NS, TABLE_BYTES = 500, 64
"""Per row of a public table."""
VARIABLE_NS = 12_000
"""Per variable of a column and claim on it that is opened: for each of up to five pieces."""
KEPT_TABLES = 16
"""Tables of eq vectors that are kept for the next claim."""
STEP_NS = 1_000
"""Per product of entry and weight of a window."""

CLASSES = 8
"""Kinds of claims on one tensor that are told apart; beyond, all count as the most costly."""

REFUSED = "it is not part of this suite: the planner refuses it"
"""Why a table has no rule for an operation that no circuit of this suite holds."""

Mask = int
"""Which axes of a functional are lists of entries: bit i is axis i. The others are eq vectors, given by their points, or one eq
vector per piece of the axis. A Relabel can cut these wherever it has to, as it can cut eq vectors: an axis of other axes has a
multiple of the inner ones' places, and so has each of its pieces."""


class ClaimCounter:
    """Plays the script on numbers of claims. What it counts is in its attributes.

    Attributes:
        circuit: whose script is played. public_weights: whether the verifier has its weights.
        messages, claims: elements sent, claims to be opened. nanoseconds: of vectors and public values.
        kept: bytes of vectors that live until the openings. most: the most that is needed for a while beside them.
        pending: per virtual tensor, claims on it by their mask. deferred: per operation, products that are still to be checked.
    """

    def __init__(self, circuit: Circuit) -> None:
        self.circuit = circuit
        self.messages = self.claims = self.nanoseconds = self.kept = self.most = 0
        self._shown = frozenset(public_tensors(circuit))
        self.public_weights = circuit.weight_visibility is WeightVisibility.PUBLIC
        self.pending: dict[int, dict[Mask, int]] = {
            out: {} for op in circuit.ops if not ops.holds_results(op) for out in ops.results(op)
        }
        self.deferred: dict[int, list[int]] = {}

    # --- what the script asks a party for, ``times`` times ---

    def send(self, count: int) -> None:
        """Elements of messages."""
        self.messages += count
        if self.messages > MAX_MESSAGES:
            raise UnsupportedModel(
                "sumcheck-too-large", f"a proof would need more than {MAX_MESSAGES} messages", where="messages"
            )

    def open(self, bits: Sequence[int], mask: Mask, times: int) -> None:
        """Claims for the openings, on a column with axes of ``bits`` variables."""
        self.claims += times
        if self.claims > MAX_CLAIMS:
            raise UnsupportedModel("sumcheck-too-large", f"more than {MAX_CLAIMS} claims would be opened", where="openings")
        entries = sum(1 << width for axis, width in enumerate(bits) if mask >> axis & 1)
        self.nanoseconds += times * (ENTRY_NS * entries + VARIABLE_NS * sum(bits))
        self.most = max(self.most, KEPT_TABLES * ENTRY_BYTES * entries)

    def make(self, entries: int, times: int) -> None:
        """Vectors of ``entries`` entries, which their claims keep."""
        self.nanoseconds += times * ENTRY_NS * entries
        self.kept += times * ENTRY_BYTES * entries
        self.most = max(self.most, 2 * ENTRY_BYTES * entries)

    def look(self, entries: int, times: int) -> None:
        """Vectors that are made and forgotten."""
        self.nanoseconds += times * ENTRY_NS * entries
        self.most = max(self.most, 2 * ENTRY_BYTES * entries)

    def column(self, shape: Tensor, times: int, mask: Mask = 0) -> None:
        """A committed column of a tensor's shape."""
        self.send(times)
        self.open(shape.bits, mask, times)

    def read(self, tensor: int, mask: Mask, times: int) -> None:
        """A tensor under a functional, its padding masked."""
        described = self.circuit.tensors[tensor]
        if described.fill:
            self.nanoseconds += 2 * times * (ENTRY_NS >> 2) * dense_entries(described.bits, mask)
        if tensor in self._shown:
            self._evaluate(described, times)
        elif tensor in self.pending:
            self.send(times)
            classes = self.pending[tensor]
            if mask not in classes and len(classes) >= CLASSES:
                mask = (1 << len(described.shape)) - 1
            classes[mask] = classes.get(mask, 0) + times
        else:
            self.column(described, times, mask)

    def weight(self, weight: int, mask: Mask, times: int) -> None:
        """A weight under a functional."""
        described = self.circuit.weights[weight]
        if self.public_weights:
            self._evaluate(described, times)
        else:
            self.send(times)
            self.open(described.bits, mask, times)

    def _evaluate(self, described: Tensor | Weight, times: int) -> None:
        sizes = list(described.shape)
        row = sizes.pop()
        while sizes and sizes[-1] * row <= 4096:
            row *= sizes.pop()
        rows = described.size // row
        entries = sum(described.padded) + row
        self.nanoseconds += times * (CELL_NS * described.size + ROW_NS * rows + ENTRY_NS * entries)
        self.most = max(self.most, ENTRY_BYTES * (2 * entries + rows))

    def pin(self, shape: Sequence[int], bits: Sequence[int], times: int) -> None:
        """A second claim on a value, under its functional cut off at the true sizes."""
        mask = 0
        for axis, (size, width) in enumerate(zip(shape, bits, strict=True)):
            if size != 1 << width:
                mask |= 1 << axis
                self.make(1 << width, times)
        self.open(bits, mask, times)

    def rounds(self, count: int, elements: int, times: int) -> None:
        """Rounds of a sumcheck."""
        self.send(times * count * elements)

    def defer(self, number: int, which: int) -> None:
        """A claim on a product of the operation."""
        self.deferred.setdefault(number, []).append(which)


def dense_entries(bits: Sequence[int], mask: Mask) -> int:
    """Entries of the vectors of a functional that are lists."""
    return sum(1 << width for axis, width in enumerate(bits) if mask >> axis & 1)
