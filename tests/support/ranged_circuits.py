"""Random circuits of one step that looks up, on operands whose bounds lie anywhere: on one side of 0, tight, one value."""

from __future__ import annotations

import random

import numpy as np

from tests.support.second_verifier import Case, case_of
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import requant_t
from verifai.engines.sumcheck.circuit.program import Circuit, Table
from verifai.engines.sumcheck.interpreter.run import Trace, run
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.prover.prove import prepare, prove

SHAPES = ((4, 8), (1, 6, 8), (3, 5), (1, 1), (1,), (3,), (2, 1, 3), (3, 37), (8, 5), (2, 33))
"""Without padding; with padding in each axis; a single cell; stored in pieces."""


def interval(chance: random.Random, most_bits: int = 15) -> tuple[int, int]:
    """Bounds on either side of 0, or on both; often of one value, a few, or a power of two of them, less one or more one."""
    span = chance.choice([0, 1, chance.randrange(40), (1 << chance.randrange(1, most_bits)) + chance.randint(-1, 1)])
    start = chance.choice([0, 1, chance.randrange(1 << most_bits), 1 << chance.randrange(most_bits)])
    side = chance.random()
    low, high = (start, start + span) if side < 0.4 else (-start - span, -start) if side < 0.8 else (-span, start)
    return low, high


def _quotient(chance: random.Random, sketch: Sketch, z: int) -> int:
    """A quotient by a table that is narrower than the range, or as wide."""
    described = sketch.tensors[z]
    shift = chance.choice([0, 1, 3, 8, 12])
    low, high = requant_t(described.low, shift), requant_t(described.high, shift)
    reach = max(-low, high + 1, 1)
    least = max(2, reach.bit_length() - 12)  # so that a split fits into a table of 2^16 rows
    width = chance.randint(least, max(least, 8))
    half = 1 << (width - 1)
    values = tuple(chance.randint(-50, 50) for _ in range(2 * half))
    sketch.tables.append(Table("function", -half, values))
    limbs = (shift,) if shift < 9 else (8, shift - 8)
    limbs = limbs if shift else ()
    return sketch.add(ops.Requant, z, table=0, shift=shift, limbs=limbs, saturate=low < -half or high >= half)


def _rescaled(chance: random.Random, sketch: Sketch, z: int) -> int:
    shift = chance.randint(1, 9)
    return sketch.add(ops.Rescale, z, shift=shift, limbs=(shift,), digits=(12, 14))


def _looked_up(chance: random.Random, sketch: Sketch, z: int) -> int:
    described = sketch.tensors[z]
    half = 1 << max(-described.low - 1, described.high, 1).bit_length()
    sketch.tables.append(Table("function", -half, tuple(chance.randint(-50, 50) for _ in range(2 * half))))
    return sketch.add(ops.Lookup, z, table=0)


def _row_maximum(chance: random.Random, sketch: Sketch, z: int) -> int:
    described, width = sketch.tensors[z], chance.randint(2, 8)
    last = (1 << width) - 1
    sketch.tables.append(Table("exp", 0, (*(chance.randrange(1, 99) for _ in range(last)), 0)))
    saturate = described.high - described.low >= last
    return sketch.add(ops.RowMax, z, table=0, saturate=saturate, outs=("out", "exp")) + 1


def _maximum(chance: random.Random, sketch: Sketch, z: int) -> int:
    shape = sketch.tensors[z].shape
    sizes = (1,) * (4 - len(shape)) + shape
    view = sketch.add(ops.Relabel, z, shape=sizes)
    return sketch.add(ops.WindowMax, view, kernel=(1, 2), stride=(1, 1), dilation=(1, 1), pads=(0, 1, 0, chance.randrange(2)))


def _place(chance: random.Random, sketch: Sketch, z: int) -> int:
    if chance.random() < 0.5:
        return sketch.add(ops.ArgMax, z)
    return sketch.add(ops.TopIndex, z, digits=(9, 13))


def _root(chance: random.Random, sketch: Sketch, z: int) -> int:
    return sketch.add(ops.Isqrt, sketch.add(ops.Mul, z, z, multiplier=chance.randint(1, 9)))


def _reciprocal(chance: random.Random, sketch: Sketch, z: int) -> int:
    least = sketch.tensors[z].low
    return sketch.add(ops.Recip, sketch.add(ops.LinearCombination, (z,), (1,), chance.choice([1, 1 << 14]) - least))


STEPS = (_quotient, _rescaled, _looked_up, _row_maximum, _maximum, _place, _root, _reciprocal)


def ranged(seed: int, step: int) -> tuple[Circuit, Trace]:
    """A circuit of ``STEPS[step]``, and an honest run whose cells are often at the ends of their range.

    In the zero-knowledge suite, every other seed's input and output are private.
    """
    chance, sketch = random.Random(f"{seed} {step}"), Sketch(seed)
    hidden = sketch.suite.zero_knowledge and seed % 2 == 0
    shape = chance.choice(SHAPES)
    low, high = interval(chance)
    x = sketch.input(shape, low, high, private=hidden)
    made = STEPS[step]
    if made is _quotient:  # a sum that moves away from 0
        multiplier, constant = chance.choice([1, -1, 3, -1024]), chance.choice([0, -512, chance.randint(-(1 << 20), 1 << 20)])
        x = sketch.add(ops.LinearCombination, (x,), (multiplier,), constant)
    out = made(chance, sketch, x)
    private = (out,) if hidden and made is not _place else ()
    span = sketch.tensors[out].high - sketch.tensors[out].low
    circuit = sketch.finish(out, private=private if span < 1 << 16 else ())
    drawn = np.random.default_rng(seed)
    ends = drawn.choice(np.array([low, high], dtype=np.int64), shape)
    inside = drawn.integers(low, high, shape, dtype=np.int64, endpoint=True)
    cells: Ints = np.where(drawn.random(shape) < 0.5, ends, inside)
    return circuit, run(circuit, [], [cells])


def ranged_case(seed: int, step: int) -> Case:
    """An honest proof of :func:`ranged`, as both verifiers read it."""
    circuit, trace = ranged(seed, step)
    key = prepare(circuit, [])
    shown = prove(key, trace, opening_number=0 if circuit.opening_budget else None)
    return case_of(f"{circuit.suite} {STEPS[step].__name__} {seed}", key, shown, [])
