"""Small circuits written down by hand, with random weights, for tests of the protocol."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import infer, requant_t
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Table, Tensor, Visibility, Weight, WeightVisibility
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, Suite
from verifai.engines.sumcheck.prover.warm_up_circuits import random_input as random_input

_LIMB = 8


@dataclass
class Sketch:
    """A circuit under construction; every method returns a tensor number."""

    suite: ClassVar[Suite] = INTEGRITY
    """Of every circuit that is finished; a fixture puts the other one in its place, to run everything once more."""

    seed: int = 0
    tensors: list[Tensor] = field(default_factory=list)
    weights: list[Weight] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    operations: list[ops.Op] = field(default_factory=list)
    cells: list[Ints] = field(default_factory=list)
    inputs: list[Port] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = np.random.default_rng(self.seed)

    def _circuit(self) -> Circuit:
        listed = (tuple(self.tensors), tuple(self.weights), tuple(self.tables), tuple(self.operations))
        return Circuit("", *listed, (), (), WeightVisibility.PUBLIC)

    def add(
        self, kind: type[Any], *fields: Any, shape: tuple[int, ...] = (), outs: tuple[str, ...] = ("out",), **more: Any
    ) -> int:
        """Append an operation whose results' numbers are filled in; bounds and fills follow from the rules."""
        first = len(self.tensors)
        numbers = {name: first + i for i, name in enumerate(outs)}
        op = kind(*fields, **more, **numbers)
        for result in infer(self._circuit(), op, shape):
            self.tensors.append(Tensor(f"t{len(self.tensors)}", result.shape, result.low, result.high, result.fill))
        self.operations.append(op)
        return first

    def input(
        self, shape: tuple[int, ...], low: int = -128, high: int = 127, *, hashed: bool = False, private: bool = False
    ) -> int:
        """A circuit input."""
        self.tensors.append(Tensor(f"t{len(self.tensors)}", shape, low, high))
        visibility = Visibility.PRIVATE if private else Visibility.HASHED if hashed else Visibility.PUBLIC
        self.inputs.append(Port(len(self.tensors) - 1, visibility))
        return len(self.tensors) - 1

    def weight(self, shape: tuple[int, ...], bound: int = 127) -> int:
        """A random weight."""
        cells = self.random.integers(-bound, bound + 1, shape)
        l1 = int(np.abs(cells).reshape(shape[0], -1).sum(axis=1).max())
        self.weights.append(Weight(f"w{len(self.weights)}", shape, bound, max(l1, bound)))
        self.cells.append(cells)
        return len(self.weights) - 1

    def requant(self, z: int, *, relu: bool = True, low: int = -128, high: int = 127, offset: int = 0) -> int:
        """Bring a tensor to int8 range: the shift that lets the largest reachable value just reach 2^9, then clamp."""
        described = self.tensors[z]
        shift = max(0, max(abs(described.low), abs(described.high)).bit_length() - 9)
        limbs = tuple([_LIMB] * (shift // _LIMB) + ([shift % _LIMB] if shift % _LIMB else []))
        reach = max(-requant_t(described.low, shift), requant_t(described.high, shift) + 1, 1)
        width = (reach - 1).bit_length() + 1
        start = -(1 << (width - 1))
        values = tuple(min(max(max(t, 0) if relu else t, low), high) + offset for t in range(start, -start))
        same = [i for i, table in enumerate(self.tables) if table.low == start and table.values == values]
        if not same:
            self.tables.append(Table(f"table{len(self.tables)}", start, values))
        table = same[0] if same else len(self.tables) - 1
        return self.add(ops.Requant, z, table=table, shift=shift, limbs=limbs, saturate=False)

    def table(self, low: int, high: int) -> int:
        """A table that changes nothing."""
        values = tuple(range(low, high + 1))
        same = [i for i, table in enumerate(self.tables) if (table.low, table.values) == (low, values)]
        if same:
            return same[0]
        self.tables.append(Table(f"table{len(self.tables)}", low, tuple(range(low, high + 1))))
        return len(self.tables) - 1

    def matmul(self, x: int, size: int, contract: int = 1) -> int:
        """A dense layer's z."""
        shape = self.tensors[x].shape
        weight, bias = self.weight((size, *shape[len(shape) - contract :])), self.weight((size,), 1000)
        return self.add(ops.MatMul, x, weight, bias, contract=contract)

    def conv(self, x: int, channels: int, kernel: tuple[int, int], **more: Any) -> int:
        """A convolution's z."""
        groups = more.pop("groups", 1)
        weight = self.weight((channels, self.tensors[x].shape[1] // groups, *kernel))
        options = {"stride": (1, 1), "dilation": (1, 1), "pads": (0, 0, 0, 0), **more}
        return self.add(ops.Conv, x, weight, self.weight((channels,), 1000), groups=groups, **options)

    def pool(self, x: int, kernel: tuple[int, int] = (2, 2), **more: Any) -> int:
        """A maximum over windows."""
        options = {"stride": kernel, "dilation": (1, 1), "pads": (0, 0, 0, 0), **more}
        return self.add(ops.WindowMax, x, kernel=kernel, **options)

    def finish(
        self, *outputs: int, hashed: tuple[int, ...] = (), private: tuple[int, ...] = (), committed: bool = False
    ) -> Circuit:
        """The planned circuit."""
        kinds = dict.fromkeys(hashed, Visibility.HASHED) | dict.fromkeys(private, Visibility.PRIVATE)
        ports = tuple(Port(out, kinds.get(out, Visibility.PUBLIC)) for out in outputs)
        visibility = WeightVisibility.COMMITTED if committed else WeightVisibility.PUBLIC
        circuit = replace(
            self._circuit(), suite="draft", inputs=tuple(self.inputs), outputs=ports, weight_visibility=visibility
        )
        circuit = planned(circuit, self.suite)
        check(circuit)
        return circuit


def mlp(
    *,
    hashed_input: bool = False,
    hashed_output: bool = False,
    private_input: bool = False,
    committed: bool = False,
    seed: int = 1,
) -> tuple[Circuit, list[Ints]]:
    """13 → 10 → 5, sizes that need padding."""
    sketch = Sketch(seed)
    x = sketch.input((1, 13), hashed=hashed_input, private=private_input)
    hidden = sketch.requant(sketch.matmul(x, 10))
    out = sketch.requant(sketch.matmul(hidden, 5), relu=False, offset=3)
    return sketch.finish(out, hashed=(out,) if hashed_output else (), committed=committed), sketch.cells


def cnn(*, committed: bool = False, seed: int = 2) -> tuple[Circuit, list[Ints]]:
    """Convolution, maximum, strided convolution, residual sum, average, dense: every linear path of the protocol."""
    sketch = Sketch(seed)
    x = sketch.input((1, 2, 11, 10))
    a = sketch.requant(sketch.conv(x, 3, (3, 3), pads=(1, 1, 1, 1)), offset=2)
    pooled = sketch.pool(a)
    b = sketch.requant(sketch.conv(pooled, 4, (3, 2), stride=(2, 1), dilation=(1, 2), pads=(1, 0, 0, 1)))
    c = sketch.requant(sketch.conv(b, 4, (1, 1)), relu=False, offset=-1)
    total = sketch.requant(sketch.add(ops.LinearCombination, (b, c), (3, -2), 5))
    mean = sketch.requant(
        sketch.add(ops.WindowSum, total, multiplier=7, kernel=(2, 2), stride=(1, 1), pads=(0, 0, 1, 0)), relu=False
    )
    out = sketch.requant(sketch.matmul(mean, 6, contract=3), relu=False)
    return sketch.finish(out, committed=committed), sketch.cells


def products(seed: int = 3) -> tuple[Circuit, list[Ints]]:
    """A batched product, a square and a quotient that saturates."""
    sketch = Sketch(seed)
    x, y = sketch.input((2, 3, 5)), sketch.input((2, 5, 3))
    z = sketch.add(ops.BatchedMatMul, x, y, multiplier=3)
    sketch.tables.append(Table("narrow", -16, tuple(range(-16, 16))))
    narrow = sketch.add(ops.Requant, z, table=0, shift=8, limbs=(8,), saturate=True)
    out = sketch.requant(sketch.add(ops.Mul, narrow, narrow, multiplier=9), relu=False)
    return sketch.finish(out), sketch.cells


def odd_rows(*, committed: bool = False, seed: int = 5, **visible: bool) -> tuple[Circuit, list[Ints]]:
    """Three rows of 37 cells, in pieces of 32, 4 and 2 columns: three limbs and less, a saturating softmax's first half, sums.

    ``visible``: ``hashed`` or ``private``, of the input.
    """
    sketch = Sketch(seed)
    x = sketch.input((3, 21), **visible)
    hidden = sketch.requant(sketch.matmul(x, 37), relu=False, offset=2)
    sketch.tables.append(Table("exp", 0, (*(max(0, 90 - i) for i in range(127)), 0)))
    maxima = sketch.add(ops.RowMax, hidden, table=len(sketch.tables) - 1, saturate=True, outs=("out", "exp"))
    product = sketch.add(ops.Mul, maxima + 1, hidden, multiplier=3)
    narrow = sketch.table(-32, 31)
    limited = sketch.add(ops.Requant, product, table=narrow, shift=9, limbs=(4, 5), saturate=True)
    total = sketch.add(ops.RowSum, limited, ops.NONE, multiplier=1, axes=1)
    index = sketch.add(ops.ArgMax, hidden)
    out = sketch.requant(sketch.add(ops.LinearCombination, (total, maxima, index), (1, -2, 3), 4), relu=False)
    return sketch.finish(out, committed=committed), sketch.cells


def odd_image(*, committed: bool = False, seed: int = 6, **visible: bool) -> tuple[Circuit, list[Ints]]:
    """Five channels, in pieces of 4 and 1, then nine by a reshape; a maximum over three taps."""
    sketch = Sketch(seed)
    x = sketch.input((1, 3, 10, 9), **visible)
    a = sketch.requant(sketch.conv(x, 5, (3, 2), pads=(1, 0, 1, 1)), offset=3)
    pooled = sketch.pool(a, (1, 3))
    b = sketch.requant(sketch.conv(pooled, 9, (1, 2), stride=(2, 1)), relu=False, offset=-1)
    shape = sketch.tensors[b].shape
    flat = sketch.add(ops.Relabel, b, shape=(9, *shape[2:]))
    out = sketch.requant(sketch.matmul(flat, 3, 2), relu=False)
    return sketch.finish(out, committed=committed), sketch.cells


def wide_sums(*, committed: bool = False, seed: int = 7, **visible: bool) -> tuple[Circuit, list[Ints]]:
    """Sums on a wide grid: several digits and limbs, one of each, a bound that the digits alone give; 37 columns in pieces.

    ``visible``: ``hashed`` or ``private``, of the input.
    """
    sketch = Sketch(seed)
    x = sketch.input((3, 21), **visible)
    first = sketch.add(ops.Rescale, sketch.matmul(x, 37), shift=3, limbs=(1, 2), digits=(6, 5, 8))
    more = sketch.requant(first, relu=False, offset=2)
    total = sketch.add(ops.LinearCombination, (first, sketch.matmul(more, 37)), (9, 1), 5)
    second = sketch.add(ops.Rescale, total, shift=4, limbs=(4,), digits=(16, 16))
    third = sketch.add(ops.Rescale, second, shift=2, limbs=(2,), digits=(16,))
    sketch.tables.append(Table("ends", -(1 << 11), tuple(range(-(1 << 11), 1 << 11))))
    out = sketch.add(ops.Requant, third, table=len(sketch.tables) - 1, shift=7, limbs=(7,), saturate=False)
    return sketch.finish(out, committed=committed), sketch.cells


def normed_rows(sketch: Sketch, x: int, *, constant: int = 1 << 16) -> int:
    """x divided by its row's norm, as int8."""
    squares = sketch.add(ops.RowSum, x, x, multiplier=1, axes=1)
    root = sketch.add(ops.Isqrt, sketch.add(ops.LinearCombination, (squares,), (1,), constant))
    unit = sketch.add(ops.RowScale, x, sketch.add(ops.Recip, root), multiplier=1)
    table = sketch.table(-1024, 1023)
    return sketch.add(ops.Requant, unit, table=table, shift=38, limbs=(10, 12, 16), saturate=False)


def mixed_rows(sketch: Sketch, scores: int, values: int) -> int:
    """Rows of ``values``, weighted by a softmax of ``scores`` that is divided after the sum."""
    sketch.tables.append(Table("exp", 0, (*(max(1, 1000 - 7 * i) for i in range(127)), 0)))
    maxima = sketch.add(ops.RowMax, scores, table=len(sketch.tables) - 1, saturate=True, outs=("out", "exp"))
    total = sketch.add(ops.RowSum, maxima + 1, ops.NONE, multiplier=1, axes=1)
    mixed = sketch.add(ops.BatchedMatMul, maxima + 1, values, multiplier=1)
    mean = sketch.add(ops.RowScale, mixed, sketch.add(ops.Recip, total), multiplier=1)
    table = sketch.table(-2048, 2047)
    return sketch.add(ops.Requant, mean, table=table, shift=46, limbs=(14, 16, 16), saturate=False)


def language_model(
    *, committed: bool = False, tokens: int = 3, vocabulary: int = 37, seed: int = 8, **visible: bool
) -> tuple[Circuit, list[Ints]]:
    """Everything of a language model in small: tied rows of a weight, a norm, a softmax divided last, a gated layer, sums on a
    wide grid, the largest logit of each token.

    ``visible``: ``hashed`` or ``private``, of a second input that is added to the embedding.
    """
    sketch = Sketch(seed)
    ids, more = sketch.input((tokens,), 0, vocabulary - 1), sketch.input((tokens, 6), **visible)
    table = sketch.weight((vocabulary, 6))
    start = sketch.add(ops.LinearCombination, (sketch.add(ops.WeightRows, ids, table), more), (4, 1), 0)
    stream = sketch.add(ops.Rescale, start, shift=1, limbs=(1,), digits=(6, 4))
    normed = normed_rows(sketch, stream)
    mixed = mixed_rows(sketch, sketch.requant(sketch.matmul(normed, tokens), relu=False), normed)
    stream = sketch.add(
        ops.Rescale, sketch.add(ops.LinearCombination, (stream, mixed), (4, 1), 0), shift=2, limbs=(2,), digits=(6, 4)
    )
    gate, up = sketch.requant(sketch.matmul(stream, 11)), sketch.requant(sketch.matmul(stream, 11), relu=False)
    gated = sketch.add(ops.GatedMatMul, gate, up, sketch.weight((6, 11)), sketch.weight((6,), 1000), contract=1)
    total = sketch.add(ops.LinearCombination, (stream, gated), (1 << 12, 1), 0)
    stream = sketch.add(ops.Rescale, total, shift=12, limbs=(6, 6), digits=(9, 8))
    logits = sketch.add(ops.MatMul, normed_rows(sketch, stream), table, ops.NONE, contract=1)
    out = sketch.add(ops.TopIndex, logits, digits=(10, 12))
    return sketch.finish(out, committed=committed), sketch.cells


def many_lookups(count: int, suite: Suite = INTEGRITY, rows: int = 2048) -> Circuit:
    """``count`` lookups of each cell of a hidden square of ``rows``, added up: many leaves and few bytes, for what is decided
    before anybody proves anything."""
    sketch = Sketch()
    x = sketch.input((1, rows, rows), hashed=not suite.zero_knowledge, private=suite.zero_knowledge)
    table = sketch.table(-128, 127)
    sums = []
    for _ in range(count - 1):  # the input's range is the first
        same = sketch.add(ops.Lookup, x, table=table)
        sums.append(sketch.add(ops.RowSum, same, ops.NONE, multiplier=1, axes=2))
    total = sketch.add(ops.LinearCombination, tuple(sums), (1,) * len(sums), 0)
    out = sketch.requant(total, relu=False)
    circuit = replace(sketch._circuit(), suite="draft", inputs=tuple(sketch.inputs), outputs=(Port(out, Visibility.PUBLIC),))
    return planned(circuit, suite)
