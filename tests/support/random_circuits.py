"""Small random circuits: chains of operations on rows or on pictures, of odd sizes, with any visibility that the suite has."""

from __future__ import annotations

import random
from typing import Any

from tests.support.sumcheck_examples import Sketch, normed_rows
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, Table
from verifai.engines.sumcheck.interpreter.values import Ints


def random_circuit(seed: int) -> tuple[Circuit, list[Ints]]:
    """The circuit of ``seed``, of the suite that :class:`Sketch` stands at, and its weights' cells."""
    chance, sketch = random.Random(seed), Sketch(seed)
    hidden = "private" if sketch.suite.zero_knowledge else "hashed"
    visible: dict[str, Any] = {hidden: True} if chance.random() < 0.4 else {}
    out = _rows(chance, sketch, visible) if chance.random() < 0.6 else _picture(chance, sketch, visible)
    hashed = (out,) if chance.random() < 0.3 and not sketch.suite.zero_knowledge else ()
    return sketch.finish(out, hashed=hashed, committed=chance.random() < 0.5 and bool(sketch.weights)), sketch.cells


def _rows(chance: random.Random, sketch: Sketch, visible: dict[str, Any]) -> int:
    x = sketch.input((chance.randint(1, 5), chance.randint(2, 40)), **visible)
    steps = [_dense, _squares, _exponentials, _rescaled, _turned, _normed, _with_index]
    for step in chance.choices(steps, k=chance.randint(1, 4)):
        x = step(chance, sketch, x)
    return _dense(chance, sketch, x)


def _dense(chance: random.Random, sketch: Sketch, x: int) -> int:
    return sketch.requant(sketch.matmul(x, chance.randint(2, 40)), relu=chance.random() < 0.5, offset=chance.randint(-3, 3))


def _squares(chance: random.Random, sketch: Sketch, x: int) -> int:
    product = sketch.add(ops.Mul, x, x, multiplier=chance.choice([1, -3, 7]))
    total = sketch.add(ops.LinearCombination, (product, x), (1, chance.choice([-5, 9])), chance.randint(-9, 9))
    return sketch.requant(total, relu=False)


def _exponentials(chance: random.Random, sketch: Sketch, x: int) -> int:
    width = chance.choice([6, 7, 8, 9])
    last = (1 << width) - 1
    values = (*(max(0, 100 + width - i) for i in range(last)), 0)
    sketch.tables.append(Table(f"exp{len(sketch.tables)}", 0, values))
    span = sketch.tensors[x].high - sketch.tensors[x].low
    maxima = sketch.add(ops.RowMax, x, table=_unlike(sketch), saturate=span > last, outs=("out", "exp"))
    return sketch.requant(sketch.add(ops.Mul, maxima + 1, x, multiplier=1), relu=False)


def _unlike(sketch: Sketch) -> int:
    """The last table; an equal one that was there before takes its place."""
    last = sketch.tables[-1]
    same = [i for i, table in enumerate(sketch.tables[:-1]) if (table.low, table.values) == (last.low, last.values)]
    if same:
        sketch.tables.pop()
    return same[0] if same else len(sketch.tables) - 1


def _rescaled(chance: random.Random, sketch: Sketch, x: int) -> int:
    first = chance.randint(1, 3)
    made = sketch.add(ops.Rescale, sketch.matmul(x, chance.randint(2, 37)), shift=first + 2, limbs=(first, 2), digits=(9, 8, 7))
    return sketch.requant(made, relu=False)


def _turned(chance: random.Random, sketch: Sketch, x: int) -> int:
    rows, columns = sketch.tensors[x].shape
    kept = tuple(sorted(chance.sample(range(columns), chance.randint(1, columns))))
    piece = ops.Piece(x, (1, 0), (kept, tuple(range(rows))), (ops.NONE, ops.NONE))
    view = sketch.add(ops.View, (piece,), constant=0, shape=(len(kept), rows))
    return sketch.requant(sketch.add(ops.LinearCombination, (view,), (3,), 2), relu=False)


def _normed(chance: random.Random, sketch: Sketch, x: int) -> int:
    return normed_rows(sketch, x, constant=1 << 16)


def _with_index(chance: random.Random, sketch: Sketch, x: int) -> int:
    """The place of the largest cell, times a column of ones, added to every cell."""
    rows, columns = sketch.tensors[x].shape
    index = sketch.add(ops.ArgMax, x)
    piece = ops.Piece(index, (0, ops.NONE), (tuple(range(rows)), (0,) * columns), (ops.NONE,))
    spread = sketch.add(ops.View, (piece,), constant=0, shape=(rows, columns))
    return sketch.requant(sketch.add(ops.LinearCombination, (spread, x), (2, 1), 0), relu=False)


def _picture(chance: random.Random, sketch: Sketch, visible: dict[str, Any]) -> int:
    groups = chance.choice([1, 1, 2])
    x = sketch.input((chance.randint(1, 2), 2 * groups, chance.randint(7, 12), chance.randint(7, 12)), **visible)
    kernel, stride = (chance.randint(1, 3), chance.randint(1, 3)), (chance.randint(1, 2), chance.randint(1, 2))
    pads = tuple(chance.randint(0, 1) for _ in range(4))
    a = sketch.conv(x, 4, kernel, groups=groups, stride=stride, dilation=(1, chance.randint(1, 2)), pads=pads)
    a = sketch.requant(a, offset=chance.randint(-2, 2))
    if chance.random() < 0.6:
        a = sketch.pool(a, chance.choice([(2, 2), (1, 3), (1, 2), (3, 1)]), stride=(1, 1))
    if chance.random() < 0.6:
        a = sketch.add(ops.WindowSum, a, multiplier=3, kernel=(2, 2), stride=(1, 1), pads=(0, 0, 1, chance.randint(0, 1)))
        a = sketch.requant(a, relu=False)
    return sketch.requant(sketch.matmul(a, chance.randint(2, 9), 3), relu=False)
