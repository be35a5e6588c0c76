"""Tiny circuits of every kind of secret, and random witnesses of them that agree in all that is public."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import requant_t
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Table, Visibility, Weight, WeightVisibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.batched import batched_circuit
from verifai.engines.sumcheck.planning import levels
from verifai.engines.sumcheck.planning import plan as planner
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol import soundness, storage
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE


@contextmanager
def security(bits):
    """Plan for fewer bits: fewer queries, shorter tails. Hiding does not depend on how many there are."""
    honest = soundness.SECURITY_BITS
    soundness.SECURITY_BITS = planner.SECURITY_BITS = bits
    _forget()
    try:
        yield
    finally:
        soundness.SECURITY_BITS = planner.SECURITY_BITS = honest
        _forget()


def _forget():
    """Numbers of queries, and levels that were chosen by them."""
    soundness.queries_needed.cache_clear()
    levels._cheapest.cache_clear()


@contextmanager
def pieces():
    """Cut every tensor into pieces that is not a power of two along some axis, however little that saves."""
    honest = storage.LEAST_SAVED
    storage.LEAST_SAVED = 1
    storage.stored.cache_clear()
    try:
        yield
    finally:
        storage.LEAST_SAVED = honest
        storage.stored.cache_clear()


@dataclass(frozen=True)
class Case:
    """A circuit and where its witnesses come from. ``reach``: how often a witness is drawn to match another one's outputs."""

    circuit: Circuit
    weights: tuple
    inputs: tuple
    reach: int = 20000

    def draw(self, random):
        """Weights and inputs, those that are public as they are in the case."""
        circuit = self.circuit
        hidden = circuit.weight_visibility is WeightVisibility.COMMITTED
        weights = [random.integers(-w.bound, w.bound + 1, w.shape) if hidden else c for w, c in self._pairs()]
        tensors = [circuit.tensors[port.tensor] for port in circuit.inputs]
        inputs = [
            cells if port.visibility is Visibility.PUBLIC else random.integers(t.low, t.high + 1, t.shape)
            for port, t, cells in zip(circuit.inputs, tensors, self.inputs, strict=True)
        ]
        return weights, inputs

    def _pairs(self):
        return zip(self.circuit.weights, self.weights, strict=True)

    def shown(self, weights, inputs):
        """All public output cells."""
        trace = run(self.circuit, weights, inputs)
        ports = [port.tensor for port in self.circuit.outputs if port.visibility is Visibility.PUBLIC]
        return [trace.tensors[tensor].reshape(-1).tolist() for tensor in ports]

    def witnesses(self, random, count, weights=None):
        """``count`` random witnesses of one statement; ``weights``: those that each of them has."""
        found, wanted = [], None
        for _ in range(self.reach):
            one = self.draw(random)
            if weights is not None:
                one = (weights[len(found)], one[1])
            wanted = wanted or self.shown(*one)
            if self.shown(*one) == wanted:
                found.append(one)
            if len(found) == count:
                return found
        raise AssertionError("no other witness of this statement was found")


class Tiny(Sketch):
    """Sketches with small weights and tables, and any number of openings of the weights."""

    suite = ZERO_KNOWLEDGE

    def weight(self, shape, bound=3):
        cells = self.random.integers(-bound, bound + 1, shape)
        self.weights.append(Weight(f"w{len(self.weights)}", shape, bound, bound * int(np.prod(shape[1:]))))
        self.cells.append(cells)
        return len(self.weights) - 1

    def small(self, z, low, high, bits=3):
        """Requant by the shift that lets the largest reachable value just reach 2^bits, then clamp to [low, high]."""
        described = self.tensors[z]
        shift = max(0, max(abs(described.low), abs(described.high)).bit_length() - bits)
        limbs = tuple([4] * (shift // 4) + ([shift % 4] if shift % 4 else []))
        reach = max(-requant_t(described.low, shift), requant_t(described.high, shift) + 1, 1)
        start = -(1 << (reach - 1).bit_length())
        values = tuple(min(max(t, low), high) for t in range(start, -start))
        self.tables.append(Table(f"table{len(self.tables)}", start, values))
        return self.add(ops.Requant, z, table=len(self.tables) - 1, shift=shift, limbs=limbs, saturate=False)

    def dense(self, x, size, contract=1):
        shape = self.tensors[x].shape
        weight, bias = self.weight((size, *shape[len(shape) - contract :])), self.weight((size,))
        return self.add(ops.MatMul, x, weight, bias, contract=contract)

    def case(self, *outputs, hashed=(), private=(), committed=False, budget=3):
        """The planned circuit with the sketch's weights and random inputs."""
        kinds = dict.fromkeys(hashed, Visibility.HASHED) | dict.fromkeys(private, Visibility.PRIVATE)
        circuit = replace(
            self._circuit(),
            suite="draft",
            inputs=tuple(self.inputs),
            outputs=tuple(Port(out, kinds.get(out, Visibility.PUBLIC)) for out in outputs),
            weight_visibility=WeightVisibility.COMMITTED if committed else WeightVisibility.PUBLIC,
        )
        circuit = planned(circuit, self.suite, budget)
        check(circuit)
        inputs = [self.tensors[port.tensor] for port in self.inputs]
        return Case(circuit, tuple(self.cells), tuple(self.random.integers(t.low, t.high + 1, t.shape) for t in inputs))


def mlp(*, private=False, hashed=False, committed=False, hashed_output=False, budget=3):
    """4 → 3 → 2, sizes that need padding; outputs in [0, 1], so that other witnesses share them."""
    sketch = Tiny(1)
    x = sketch.input((1, 4), -4, 3, private=private, hashed=hashed)
    hidden = sketch.small(sketch.dense(x, 3), 0, 7)
    last = sketch.dense(hidden, 4 if hashed_output else 2)
    if hashed_output:
        out = sketch.small(last, -4, 3, bits=6)
        return sketch.case(out, hashed=(out,), committed=committed, budget=budget)
    return sketch.case(sketch.small(last, 0, 1), committed=committed, budget=budget)


def batch(single, items):
    """The same for several inferences, each with an input of its own."""
    circuit = planned(batched_circuit(single.circuit, items)[0], ZERO_KNOWLEDGE, single.circuit.opening_budget)
    random = np.random.default_rng(4)
    tensors = [circuit.tensors[port.tensor] for port in circuit.inputs]
    return replace(single, circuit=circuit, inputs=tuple(random.integers(t.low, t.high + 1, t.shape) for t in tensors))


def consumer():
    """Reads the four cells that ``mlp(hashed_output=True)`` makes, as a hashed tensor of the same root."""
    sketch = Tiny(7)
    x = sketch.input((1, 4), -4, 3, hashed=True)
    return sketch.case(sketch.small(sketch.dense(x, 2), 0, 1))


def cnn(*, committed=False):
    """Convolution, maxima over four taps, dense, arg-max: the logits stay hidden."""
    sketch = Tiny(2)
    x = sketch.input((1, 1, 4, 4), -4, 3, private=True)
    z = sketch.add(
        ops.Conv,
        x,
        sketch.weight((2, 1, 3, 3)),
        sketch.weight((2,)),
        groups=1,
        stride=(1, 1),
        dilation=(1, 1),
        pads=(1, 1, 1, 1),
    )
    pooled = sketch.pool(sketch.small(z, -2, 7))
    logits = sketch.small(sketch.dense(pooled, 3, contract=3), -8, 7)
    return sketch.case(sketch.add(ops.ArgMax, logits), committed=committed)


def rows():
    """Every product of hidden tensors that needs no wide range: batched, square, saturated twice, rows' sums of products."""
    sketch = Tiny(3)
    x, y = (sketch.input(shape, -4, 3, private=True) for shape in ((2, 2, 3), (2, 3, 2)))
    z = sketch.add(ops.BatchedMatMul, x, y, multiplier=3)
    sketch.tables.append(Table("narrow", -4, tuple(range(-4, 4))))
    scores = sketch.add(ops.Requant, z, table=0, shift=3, limbs=(3,), saturate=True)
    sketch.tables.append(Table("exp", 0, (7, 4, 2, 0)))
    maxima = sketch.add(ops.RowMax, scores, table=1, saturate=True, outs=("out", "exp"))
    total = sketch.add(ops.RowSum, maxima + 1, ops.NONE, multiplier=1, axes=1)
    mixed = sketch.add(ops.RowSum, maxima + 1, scores, multiplier=1, axes=1)
    square = sketch.add(ops.Mul, maxima, maxima, multiplier=2)
    both = sketch.add(ops.LinearCombination, (total, mixed, square), (1, -2, 1), 3)
    return sketch.case(sketch.small(both, 0, 1))


def odd(*, committed=False):
    """Rows of five, three of them: pieces 4 + 1 along columns, 2 + 1 along rows. Lookups in groups of 2 + 1, 4 + 1 and more."""
    sketch = Tiny(5)
    x = sketch.input((3, 5), -4, 2, private=True)
    hidden = sketch.small(sketch.dense(x, 5), -2, 3)
    sketch.tables.append(Table("exp", 0, (7, 4, 2, 0)))
    maxima = sketch.add(ops.RowMax, hidden, table=len(sketch.tables) - 1, saturate=True, outs=("out", "exp"))
    mixed = sketch.add(ops.RowSum, maxima + 1, hidden, multiplier=1, axes=1)
    both = sketch.add(ops.LinearCombination, (mixed, maxima), (1, -2), 3)
    return sketch.case(sketch.small(both, 0, 1), committed=committed)


def softmax():
    """Maximum, exponentials, reciprocal and root: tables of 2^15 and 2^16 rows."""
    sketch = Tiny(4)
    x = sketch.input((2, 3), -4, 3, private=True)
    sketch.tables.append(Table("exp", 0, (7, 6, 5, 4, 3, 2, 1, 0)))
    maxima = sketch.add(ops.RowMax, x, table=0, saturate=False, outs=("out", "exp"))
    total = sketch.add(ops.RowSum, maxima + 1, ops.NONE, multiplier=1, axes=1)
    inverse = sketch.add(ops.Recip, total)
    root = sketch.add(ops.Isqrt, sketch.add(ops.Mul, total, total, multiplier=1))
    return sketch.case(root, inverse, private=(root, inverse))


def language(*, committed=False):
    """What language models need: rows of a weight by public tokens, wide sums, a gated layer, scaled rows, the top index."""
    sketch = Tiny(6)
    ids, x = sketch.input((2,), 0, 3), sketch.input((2, 3), -2, 1, private=True)
    table = sketch.weight((4, 3), 2)
    start = sketch.add(ops.LinearCombination, (sketch.add(ops.WeightRows, ids, table), x), (1, 1), 0)
    wide = sketch.add(ops.Rescale, start, shift=2, limbs=(1, 1), digits=(1, 2))
    gated = sketch.add(ops.GatedMatMul, wide, x, sketch.weight((3, 3), 1), ops.NONE, contract=1)
    factor = sketch.add(ops.RowSum, x, ops.NONE, multiplier=1, axes=1)
    scaled = sketch.add(ops.RowScale, gated, factor, multiplier=1)
    last = sketch.add(ops.Rescale, scaled, shift=3, limbs=(3,), digits=(3, 3))
    logits = sketch.add(ops.MatMul, last, table, ops.NONE, contract=1)
    return sketch.case(sketch.add(ops.TopIndex, logits, digits=(4, 4)), committed=committed)
