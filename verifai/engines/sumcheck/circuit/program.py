"""The integer circuit: one fixed integer program, as values. Standard library only; the verifier reads it too.

A circuit is a list of tensors, weights and tables, and a list of operations in topological order. All arithmetic is over the
integers; the no-wrap rule (:mod:`.check`) makes congruence modulo the field's prime the same as integer equality.

Conventions, for all operations:

* A tensor has true sizes ``shape``; each axis is padded to the next power of two (:attr:`Tensor.padded`), row-major, the last
  axis fastest. The *mask* is 1 on the box of true cells, 0 elsewhere.
* Every padding cell of a tensor holds its ``fill``. Operations read their operands *masked*, that is, padding reads as 0
  (the extension is ``x̃ − fill·(1 − mask~)``); the exceptions state what padding reads as.
* Outputs of Requant, Rescale, Lookup, WindowMax, RowMax, Recip, Isqrt, ArgMax and TopIndex, and inputs, are *held* tensors:
  committed or public.
  Outputs of all other operations are *virtual*: their extension is derived by the protocol, and their fill is 0.
* ``⌊·⌋`` rounds towards minus infinity.

Operations: :mod:`.ops`. Bytes: :mod:`.codec`. Rules: :mod:`.check`. Semantics as code:
:mod:`..interpreter.run`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from math import prod

from verifai.engines.sumcheck.circuit.ops import Op

ZERO_KNOWLEDGE_PREFIX = "sumcheck-zk/"
"""How the names of suites begin whose proofs hide private tensors and weights."""


class Visibility(IntEnum):
    """How a circuit input or output is bound. Private: not stated at all, an ordinary hidden tensor of the witness."""

    PUBLIC = 0
    HASHED = 1
    PRIVATE = 2


class WeightVisibility(IntEnum):
    """How the weights are bound: the digest of their canonical bytes, or a commitment root."""

    PUBLIC = 0
    COMMITTED = 1


def log2_ceil(n: int) -> int:
    """The least b with 2^b ≥ n, for n ≥ 1."""
    return (n - 1).bit_length()


def padded_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Each size rounded up to a power of two."""
    return tuple(1 << log2_ceil(size) for size in shape)


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of centred integers x = q − zero_point.

    Attributes:
        name: unique, printable ASCII; for people, and for matching statement tensors.
        shape: true sizes.
        low, high: every true cell lies in [low, high]; recomputed by the rules.
        fill: the value of every padding cell.
        scale: (numerator, denominator) in lowest terms: the real value is x·scale. (1, 1) for tensors without one.
        zero_point: of the quantised integer q that statements show.
    """

    name: str
    shape: tuple[int, ...]
    low: int
    high: int
    fill: int = 0
    scale: tuple[int, int] = (1, 1)
    zero_point: int = 0

    @property
    def padded(self) -> tuple[int, ...]:
        """Sizes after padding, each a power of two."""
        return padded_shape(self.shape)

    @property
    def bits(self) -> tuple[int, ...]:
        """log2 of each padded size: how many variables of the multilinear extension belong to each axis."""
        return tuple(log2_ceil(size) for size in self.shape)

    @property
    def log_cells(self) -> int:
        """log2 of the number of padded cells."""
        return sum(self.bits)

    @property
    def size(self) -> int:
        """Number of true cells."""
        return prod(self.shape)

    @property
    def magnitude(self) -> int:
        """max |x| over the bound."""
        return max(abs(self.low), abs(self.high))


@dataclass(frozen=True, slots=True)
class Weight:
    """One weight tensor: W', b' or γ', with multipliers folded in. Padding cells are 0.

    Attributes:
        bound: max |w| is at most this.
        row_l1: for every index of axis 0, Σ|w| over the other axes is at most this.
    """

    name: str
    shape: tuple[int, ...]
    bound: int
    row_l1: int

    @property
    def padded(self) -> tuple[int, ...]:
        """Sizes after padding, each a power of two."""
        return padded_shape(self.shape)

    @property
    def bits(self) -> tuple[int, ...]:
        """log2 of each padded size."""
        return tuple(log2_ceil(size) for size in self.shape)

    @property
    def log_cells(self) -> int:
        """log2 of the number of padded cells."""
        return sum(self.bits)

    @property
    def size(self) -> int:
        """Number of true cells."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Table:
    """A public function on [low, low + 2^w), by its values; ``values[i]`` belongs to argument low + i.

    ``low`` is −2^(w−1) for Requant and Lookup, 0 for RowMax. 1 ≤ w ≤ 16.
    """

    name: str
    low: int
    values: tuple[int, ...]

    @property
    def width(self) -> int:
        """w."""
        return log2_ceil(len(self.values))

    @property
    def high(self) -> int:
        """The largest argument."""
        return self.low + len(self.values) - 1

    def at(self, argument: int) -> int:
        """The value at ``argument``, which lies in the domain."""
        return self.values[argument - self.low]


@dataclass(frozen=True, slots=True)
class Port:
    """A circuit input or output: a tensor and how it is bound."""

    tensor: int
    visibility: Visibility


@dataclass(frozen=True, slots=True)
class CommitmentShape:
    """The matrix of one commitment: R × C values, rows encoded to n positions. Never the prover's choice.

    Attributes:
        label: ``x``, ``w`` or ``io:<tensor name>``.
        rows: R, reserved and mask rows included. message: C. degree: K ≥ C, the coefficients per row. length: n.
        queries: t, opened positions.
        reserved_rows: rows at the top that hold no values; of a hiding commitment, its 2·B blind rows.
        mask: G, coefficients for the pads of the final rounds. tail: τ = B·t, uniform coefficients. budget: B, openings.
        mask_rows: rows at the end that carry those pads; 2 or none. All four are 0 unless the commitment hides.
    """

    label: str
    rows: int
    message: int
    degree: int
    length: int
    queries: int
    reserved_rows: int
    mask: int = 0
    tail: int = 0
    budget: int = 0
    mask_rows: int = 0

    @property
    def hiding(self) -> bool:
        """Whether it hides what it commits."""
        return self.budget > 0


@dataclass(frozen=True, slots=True)
class SoundnessStep:
    """The error bound of one protocol step: at most 2^(−millibits/1000)."""

    label: str
    millibits: int


@dataclass(frozen=True, slots=True)
class Circuit:
    """One integer program with everything that the protocol needs to be fixed.

    Attributes:
        suite: the protocol suite's name, such as ``sumcheck/2``.
        tensors, weights, tables: referred to by index.
        ops: topologically ordered; each tensor is an input or the output of exactly one operation.
        inputs, outputs: in the model's order.
        weight_visibility: public digest or commitment root.
        commitments, soundness: filled in by the protocol's planner (empty in a draft, which is never proven).
        opening_budget: B of the commitment to hidden weights; 0 in the integrity-only suite, which hides none.
        batch: how many inferences one proof holds: the length of every tensor's first axis, which no operation mixes
            (:mod:`.batch`). 0: one inference, and no such axis.
    """

    suite: str
    tensors: tuple[Tensor, ...]
    weights: tuple[Weight, ...]
    tables: tuple[Table, ...]
    ops: tuple[Op, ...]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    weight_visibility: WeightVisibility
    commitments: tuple[CommitmentShape, ...] = ()
    soundness: tuple[SoundnessStep, ...] = ()
    opening_budget: int = 0
    batch: int = 0

    @property
    def zero_knowledge(self) -> bool:
        """Whether its suite hides; the suite's name says so, in drafts too."""
        return self.suite.startswith(ZERO_KNOWLEDGE_PREFIX)
