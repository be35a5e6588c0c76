"""Three small circuits that together run every kernel: what warming up proves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import infer
from verifai.engines.sumcheck.circuit.check import check
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Table, Tensor, Visibility, Weight, WeightVisibility
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol.suite import INTEGRITY

Shape = tuple[int, ...]


def warm_up_circuits() -> list[tuple[Circuit, list[Ints]]]:
    """Planned for the integrity-only suite, each with the cells of its weights."""
    return [_dense(), _convolutions(), _products()]


def random_input(circuit: Circuit, seed: int = 0) -> list[Ints]:
    """Uniform cells for every input."""
    random = np.random.default_rng(seed)
    described = [circuit.tensors[port.tensor] for port in circuit.inputs]
    return [random.integers(tensor.low, tensor.high + 1, tensor.shape) for tensor in described]


def _dense() -> tuple[Circuit, list[Ints]]:
    """13 → 10 → 5, sizes that need padding; input and output are hashed, the weights committed."""
    operations: list[ops.Op] = [
        ops.MatMul(x=0, weight=0, bias=1, out=1, contract=1),
        ops.Requant(z=1, out=2, table=0, shift=8, limbs=(8,), saturate=False),
        ops.MatMul(x=2, weight=2, bias=3, out=3, contract=1),
        ops.Requant(z=3, out=4, table=1, shift=8, limbs=(8,), saturate=False),
    ]
    tables = [_clamp("relu", 0, 127), _clamp("shifted", -128, 127, offset=3)]
    weights = [(10, 13), (10,), (5, 10), (5,)]
    return _circuit([(1, 13)], weights, tables, operations, Visibility.HASHED, WeightVisibility.COMMITTED)


def _convolutions() -> tuple[Circuit, list[Ints]]:
    """Convolution, maximum, strided convolution, residual sum, average, dense: every linear path of the protocol."""
    operations: list[ops.Op] = [
        ops.Conv(x=0, weight=0, bias=1, out=1, stride=(1, 1), dilation=(1, 1), pads=(1, 1, 1, 1), groups=1),
        ops.Requant(z=1, out=2, table=0, shift=9, limbs=(8, 1), saturate=False),
        ops.WindowMax(x=2, out=3, kernel=(2, 2), stride=(2, 2), dilation=(1, 1), pads=(0, 0, 0, 0)),
        ops.Conv(x=3, weight=2, bias=3, out=4, stride=(2, 1), dilation=(1, 2), pads=(1, 0, 0, 1), groups=1),
        ops.Requant(z=4, out=5, table=1, shift=9, limbs=(8, 1), saturate=False),
        ops.Conv(x=5, weight=4, bias=5, out=6, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=1),
        ops.Requant(z=6, out=7, table=2, shift=7, limbs=(7,), saturate=False),
        ops.LinearCombination(sources=(5, 7), multipliers=(3, -2), constant=5, out=8),
        ops.Requant(z=8, out=9, table=1, shift=1, limbs=(1,), saturate=False),
        ops.WindowSum(x=9, out=10, multiplier=7, kernel=(2, 2), stride=(1, 1), pads=(0, 0, 1, 0)),
        ops.Requant(z=10, out=11, table=3, shift=3, limbs=(3,), saturate=False),
        ops.MatMul(x=11, weight=6, bias=7, out=12, contract=3),
        ops.Requant(z=12, out=13, table=3, shift=9, limbs=(8, 1), saturate=False),
    ]
    tables = [
        _clamp("relu, raised", 0, 127, offset=2),
        _clamp("relu", 0, 127),
        _clamp("lowered", -128, 127, offset=-1),
        _clamp("identity", -128, 127),
    ]
    weights = [(3, 2, 3, 3), (3,), (4, 3, 3, 2), (4,), (4, 4, 1, 1), (4,), (6, 4, 2, 3), (6,)]
    return _circuit([(1, 2, 11, 10)], weights, tables, operations)


def _products() -> tuple[Circuit, list[Ints]]:
    """A batched product, a square and a quotient that saturates."""
    operations: list[ops.Op] = [
        ops.BatchedMatMul(a=0, b=1, out=2, multiplier=3),
        ops.Requant(z=2, out=3, table=0, shift=8, limbs=(8,), saturate=True),
        ops.Mul(a=3, b=3, out=4, multiplier=9),
        ops.Requant(z=4, out=5, table=1, shift=3, limbs=(3,), saturate=False),
    ]
    tables = [Table("narrow", -16, tuple(range(-16, 16))), _clamp("identity", -128, 127)]
    return _circuit([(2, 3, 5), (2, 5, 3)], [], tables, operations)


def _clamp(name: str, low: int, high: int, offset: int = 0) -> Table:
    return Table(name, -512, tuple(min(max(t, low), high) + offset for t in range(-512, 512)))


def _circuit(
    inputs: Sequence[Shape],
    weights: Sequence[Shape],
    tables: Sequence[Table],
    operations: Sequence[ops.Op],
    visibility: Visibility = Visibility.PUBLIC,
    weight_visibility: WeightVisibility = WeightVisibility.PUBLIC,
) -> tuple[Circuit, list[Ints]]:
    """int8 inputs, random weights and biases. Results are numbered in the order of the operations; the last is the output."""
    random = np.random.default_rng(1)
    bounds = [127 if len(shape) > 1 else 1000 for shape in weights]
    cells = [random.integers(-bound, bound + 1, shape) for bound, shape in zip(bounds, weights, strict=True)]
    described = [
        Weight(f"w{i}", one.shape, bound, max(bound, int(np.abs(one).reshape(one.shape[0], -1).sum(axis=1).max())))
        for i, (one, bound) in enumerate(zip(cells, bounds, strict=True))
    ]
    tensors = tuple(Tensor(f"t{i}", shape, -128, 127) for i, shape in enumerate(inputs))
    ports = tuple(Port(i, visibility) for i in range(len(inputs)))
    draft = Circuit("draft", tensors, tuple(described), tuple(tables), (), ports, (), weight_visibility)
    for op in operations:
        (result,) = infer(draft, op, ())
        made = Tensor(f"t{len(draft.tensors)}", result.shape, result.low, result.high, result.fill)
        draft = replace(draft, tensors=(*draft.tensors, made), ops=(*draft.ops, op))
    circuit = planned(replace(draft, outputs=(Port(len(draft.tensors) - 1, visibility),)), INTEGRITY)
    check(circuit)
    return circuit, cells
