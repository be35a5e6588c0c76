"""Circuits of one inference, made into circuits of several, and their inputs."""

from __future__ import annotations

import numpy as np

from tests.support import sumcheck_examples as examples
from tests.support.sumcheck_examples import Sketch
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Table
from verifai.engines.sumcheck.lowering.batched import batched_circuit
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.tensors import filled


def in_batch(made, items):
    """A circuit with its weights' cells, for a batch."""
    circuit, cells = made
    return planned(batched_circuit(circuit, items)[0], Sketch.suite), cells


def stacked(single, items, batch, seed=0):
    """``items`` random inputs of the single circuit, one by one; and all of them with filler, as a batch takes them."""
    each = [examples.random_input(single, seed + at) for at in range(items)]
    whole = [filled(np.stack([one[port] for one in each]), batch) for port in range(len(single.inputs))]
    return each, whole


def whole_rows():
    """A vector without any other axis: its maximum, its exponentials, their sum, and the place of its largest cell."""
    sketch = Sketch(8)
    x = sketch.input((11,))
    sketch.tables.append(Table("exp", 0, (*(max(0, 90 - i) for i in range(255)), 0)))
    maxima = sketch.add(ops.RowMax, x, table=0, saturate=False, outs=("out", "exp"))
    total = sketch.add(ops.RowSum, maxima + 1, ops.NONE, multiplier=1, axes=1)
    square = sketch.add(ops.RowSum, x, x, multiplier=1, axes=1)
    weighted = sketch.requant(sketch.add(ops.Mul, maxima + 1, x, multiplier=1), relu=False)
    index = sketch.add(ops.ArgMax, weighted)
    out = sketch.requant(sketch.add(ops.LinearCombination, (total, maxima, index, square), (1, -2, 3, 1), 4), relu=False)
    return sketch.finish(out, weighted), sketch.cells


def views():
    """A reshape across the model's own first axis, groups, and pictures that are three to begin with."""
    sketch = Sketch(9)
    x = sketch.input((3, 4, 6, 5))
    a = sketch.requant(sketch.conv(x, 8, (3, 2), groups=2, pads=(1, 0, 1, 1)))
    pooled = sketch.pool(a, (2, 1), stride=(2, 1))
    shape = sketch.tensors[pooled].shape
    every = [tuple(range(size)) for size in shape]
    turned = ops.Piece(pooled, (1, 0, 2, 3), (every[1], every[0], every[2], every[3]), (ops.NONE,) * 4)
    view = sketch.add(ops.View, (turned,), constant=0, shape=(shape[1], shape[0], *shape[2:]))
    total = sketch.add(ops.WindowSum, view, multiplier=3, kernel=(2, 2), stride=(1, 1), pads=(0, 0, 0, 0))
    out = sketch.requant(sketch.matmul(total, 3, 3), relu=False)
    return sketch.finish(out), sketch.cells


CIRCUITS = {
    "mlp": examples.mlp,
    "hashed mlp": lambda: examples.mlp(hashed_input=True, hashed_output=True, committed=True),
    "cnn": lambda: examples.cnn(committed=True),
    "products": examples.products,
    "odd rows": examples.odd_rows,
    "odd image": examples.odd_image,
    "whole rows": whole_rows,
    "views": views,
    "language model": lambda: examples.language_model(committed=True),
}
"""Together, every operation that a proof can have."""
