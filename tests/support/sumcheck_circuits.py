"""Small circuits for tests: one operation over given inputs, with inferred results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit.bounds import infer
from verifai.engines.sumcheck.circuit.ops import NONE, MatMul, Op, Requant
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Table, Tensor, Visibility, Weight, WeightVisibility

Ints = NDArray[np.int64]


def weight_of(name: str, cells: Ints) -> Weight:
    sums = np.abs(cells).reshape(len(cells), -1).sum(axis=1)
    return Weight(name, cells.shape, int(np.abs(cells).max()), int(sums.max()))


def clamp_table(width: int, low: int, high: int, name: str = "clamp") -> Table:
    half = 1 << (width - 1)
    return Table(name, -half, tuple(min(max(t, low), high) for t in range(-half, half)))


def with_op(circuit: Circuit, op: Op, shape: tuple[int, ...] = ()) -> Circuit:
    """``circuit`` with ``op`` appended; its results are the next tensors."""
    first = len(circuit.tensors)
    results = infer(circuit, op, shape)
    made = tuple(Tensor(f"t{first + i}", r.shape, r.low, r.high, r.fill) for i, r in enumerate(results))
    return replace(circuit, tensors=circuit.tensors + made, ops=(*circuit.ops, op))


def start(
    inputs: Sequence[tuple[tuple[int, ...], int, int]], weights: Sequence[Ints] = (), tables: Sequence[Table] = ()
) -> Circuit:
    """Inputs only: (shape, low, high) each."""
    tensors = tuple(Tensor(f"x{i}", shape, low, high) for i, (shape, low, high) in enumerate(inputs))
    return Circuit(
        "sumcheck/2",
        tensors,
        tuple(weight_of(f"w{i}", cells) for i, cells in enumerate(weights)),
        tuple(tables),
        (),
        tuple(Port(i, Visibility.PUBLIC) for i in range(len(tensors))),
        (),
        WeightVisibility.PUBLIC,
    )


def single(
    make: Callable[[int], Op],
    inputs: Sequence[tuple[tuple[int, ...], int, int]],
    weights: Sequence[Ints] = (),
    tables: Sequence[Table] = (),
    shape: tuple[int, ...] = (),
) -> Circuit:
    """One operation; ``make`` gets the number of its first result."""
    circuit = start(inputs, weights, tables)
    return with_op(circuit, make(len(circuit.tensors)), shape)


def with_output(circuit: Circuit, tensor: int) -> Circuit:
    return replace(circuit, outputs=(Port(tensor, Visibility.PUBLIC),))


def tiny_mlp() -> tuple[Circuit, tuple[Ints, ...]]:
    """A checked circuit of two operations: 3 inputs, 2 outputs, with bias."""
    weights = (np.array([[3, -2, 1], [1, 1, 5]]), np.array([10, -3]))
    circuit = start([((1, 3), 0, 255)], weights, [clamp_table(10, 0, 255)])
    circuit = with_op(circuit, MatMul(0, 0, 1, 1, 1))
    circuit = with_op(circuit, Requant(1, 2, 0, 3, (3,), False))
    return with_output(circuit, 2), weights


ABSENT = NONE
