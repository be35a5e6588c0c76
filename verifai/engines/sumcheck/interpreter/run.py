"""The reference semantics: run a circuit on integers and keep every value. The prover's witness is this trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Circuit, padded_shape
from verifai.engines.sumcheck.interpreter import nonlinear
from verifai.engines.sumcheck.interpreter.linear import convolve, matmul, pad_axes, tap
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.errors import InputRejected, InternalError

# What a trace column holds on padding cells, where it is not 0. Requant's rem limbs hold 2^(s−1), see _requant.
_RECIP_PADDING = {"e": 29, "pow": 1 << 29, "qe": 1 << 29, "R": 1 << 17, "rho": 0}


@dataclass(frozen=True)
class Trace:
    """Everything that one run computes.

    Attributes:
        tensors: per circuit tensor, its padded cells, int64.
        columns: (operation number, column name) → padded cells, int64; names as in :mod:`..circuit.ops`.
    """

    circuit: Circuit
    tensors: tuple[Ints, ...]
    columns: Mapping[tuple[int, str], Ints]

    def true(self, tensor: int) -> Ints:
        """The true cells of a tensor, as a view."""
        return self.tensors[tensor][_box(self.circuit.tensors[tensor].shape)]

    def outputs(self) -> tuple[Ints, ...]:
        """The true cells of the circuit's outputs."""
        return tuple(np.ascontiguousarray(self.true(port.tensor)) for port in self.circuit.outputs)


def _box(shape: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(0, size) for size in shape)


def pad(values: Ints, fill: int) -> Ints:
    """``values`` in a power-of-two box whose other cells are ``fill``."""
    shape = padded_shape(values.shape)
    if shape == values.shape:
        return np.ascontiguousarray(values, np.int64)
    full = np.full(shape, fill, np.int64)
    full[_box(values.shape)] = values
    return full


class Interpreter:
    """A run so far. The operations read and write tensors through it alone, so that another can hold other cells."""

    def __init__(self, circuit: Circuit, weights: Sequence[Ints]) -> None:
        self.circuit = circuit
        self.weights = weights
        self.true: list[Ints | None] = [None] * len(circuit.tensors)
        self.columns: dict[tuple[int, str], Ints] = {}
        self.number = 0

    def read(self, tensor: int) -> Ints:
        """The true cells of a tensor."""
        value = self.true[tensor]
        assert value is not None
        return value

    def write(self, tensor: int, value: Ints) -> None:
        """Keep the true cells of a tensor."""
        self.require(tensor, value)
        self.true[tensor] = value

    def require(self, tensor: int, value: Ints) -> None:
        """Raise InternalError where ``value`` is not as the circuit says of the tensor."""
        spec = self.circuit.tensors[tensor]
        least, most = int(value.min()), int(value.max())
        if value.shape != spec.shape or least < spec.low or most > spec.high:
            raise InternalError("bug", f"interpreter: {value.shape} in [{least}, {most}] breaks its bounds", where=spec.name)

    def unreachable(self, tensor: int) -> InputRejected:
        """The error for an input that takes an inner value out of reach of its digits, and so has no proof."""
        spec = self.circuit.tensors[tensor]
        return InputRejected(
            "input-out-of-range", "this input takes an inner value out of the circuit's reach", where=spec.name
        )

    def within(self, tensor: int, value: Ints) -> None:
        """Refuse an input that takes ``value`` out of the tensor's bounds."""
        spec = self.circuit.tensors[tensor]
        if int(value.min()) < spec.low or int(value.max()) > spec.high:
            raise self.unreachable(tensor)

    def keep(self, columns: Mapping[str, Ints], padding: Mapping[str, int]) -> None:
        """Keep columns of the operation at hand; ``padding``: what they hold on padding cells, where it is not 0."""
        for name, value in columns.items():
            self.columns[self.number, name] = pad(value, padding.get(name, 0))

    def bias(self, index: int) -> Ints | int:
        """A weight of the biases, or 0."""
        return 0 if index == NONE else self.weights[index]

    def bound(self, tensor: int) -> int:
        """Of a tensor's cells, in magnitude."""
        return self.circuit.tensors[tensor].magnitude


def _matmul(run: Interpreter, op: ops.MatMul) -> None:
    x, weight = run.read(op.x), run.weights[op.weight]
    rows = x.shape[: x.ndim - op.contract]
    flat = x.reshape(-1, weight[0].size)
    z = matmul(flat, weight.reshape(len(weight), -1).T, run.bound(op.out)) + run.bias(op.bias)
    run.write(op.out, z.reshape(*rows, len(weight)))


def _conv(run: Interpreter, op: ops.Conv) -> None:
    x, weight = run.read(op.x), run.weights[op.weight]
    size = run.circuit.tensors[op.out].shape[-2:]
    grouped = x.reshape(prod(x.shape[:-3]), op.groups, -1, *x.shape[-2:])
    kernel = weight.reshape(op.groups, -1, *weight.shape[1:])
    z = convolve(grouped, kernel, op.stride, op.dilation, op.pads, size, run.bound(op.out))
    z = z.reshape(*x.shape[:-3], len(weight), *size)
    bias = run.bias(op.bias)
    run.write(op.out, z + (bias if isinstance(bias, int) else bias[:, None, None]))


def _batched(run: Interpreter, op: ops.BatchedMatMul) -> None:
    a, b = run.read(op.a), run.read(op.b)
    bound = a.shape[-1] * run.bound(op.a) * run.bound(op.b)
    run.write(op.out, matmul(a, b, bound) * op.multiplier)


def _mul(run: Interpreter, op: ops.Mul) -> None:
    run.write(op.out, run.read(op.a) * run.read(op.b) * op.multiplier)


def _combination(run: Interpreter, op: ops.LinearCombination) -> None:
    z = np.full(run.circuit.tensors[op.out].shape, op.constant, np.int64)
    for source, multiplier in zip(op.sources, op.multipliers, strict=True):
        z += run.read(source) * multiplier
    run.write(op.out, z)


def _window_sum(run: Interpreter, op: ops.WindowSum) -> None:
    size = run.circuit.tensors[op.out].shape[-2:]
    x = pad_axes(run.read(op.x), op.pads, 0)
    taps = [(u, v) for u in range(op.kernel[0]) for v in range(op.kernel[1])]
    total = sum(tap(x, at, op.stride, (1, 1), size) for at in taps)
    run.write(op.out, np.asarray(total) * op.multiplier)


def _row_sum(run: Interpreter, op: ops.RowSum) -> None:
    x = run.read(op.x)
    terms = x if op.y == NONE else x * run.read(op.y)
    total = terms.sum(axis=tuple(range(x.ndim - op.axes, x.ndim)))
    run.write(op.out, total.reshape(run.circuit.tensors[op.out].shape) * op.multiplier)


def _requant(run: Interpreter, op: ops.Requant) -> None:
    y, columns = nonlinear.requant(run.read(op.z), op, run.circuit.tables[op.table])
    padding = {"sigma": 1}
    if op.shift:
        # On padding the remainder is 2^(s−1): only the highest limb is not 0.
        padding[f"rem{len(op.limbs) - 1}"] = 1 << (op.limbs[-1] - 1)
    run.write(op.out, y)
    run.keep(columns, padding)


def _lookup(run: Interpreter, op: ops.Lookup) -> None:
    table = run.circuit.tables[op.table]
    run.write(op.out, nonlinear.table_array(table)[run.read(op.x) - table.low])


def _window_max(run: Interpreter, op: ops.WindowMax) -> None:
    out = run.circuit.tensors[op.out]
    run.write(op.out, nonlinear.window_max(run.read(op.x), op, out.shape[-2:], out.low))


def _row_max(run: Interpreter, op: ops.RowMax) -> None:
    table = run.circuit.tables[op.table]
    maximum, exp, columns = nonlinear.row_max(run.read(op.x), op, table)
    run.write(op.out, maximum.reshape(run.circuit.tensors[op.out].shape))
    if op.exp != NONE:
        run.write(op.exp, exp)
    run.keep(columns, {"l": table.high, "sigma": 1, "u": table.high})


def _recip(run: Interpreter, op: ops.Recip) -> None:
    value, columns = nonlinear.recip(run.read(op.q))
    run.write(op.out, value)
    run.keep(columns, _RECIP_PADDING)


def _isqrt(run: Interpreter, op: ops.Isqrt) -> None:
    run.write(op.out, nonlinear.isqrt(run.read(op.v)))


def _argmax(run: Interpreter, op: ops.ArgMax) -> None:
    # np.argmax returns the first, that is the lowest, maximal index.
    found = run.read(op.x).argmax(axis=-1).astype(np.int64)
    run.write(op.out, found.reshape(run.circuit.tensors[op.out].shape))


def _rescale(run: Interpreter, op: ops.Rescale) -> None:
    y, columns = nonlinear.rescale(run.read(op.z), op)
    run.within(op.out, y)
    run.write(op.out, y)
    last, base = len(op.limbs) - 1, len(op.digits) - 1
    # On padding the remainder is 2^(s−1) and y − base is 2^(B−1): only the highest limb and digit are not 0.
    run.keep(columns, {f"rem{last}": 1 << (op.limbs[-1] - 1), f"y{base}": 1 << (op.digits[-1] - 1)})


def _gated(run: Interpreter, op: ops.GatedMatMul) -> None:
    a, weight = run.read(op.a), run.weights[op.weight]
    flat = (a * run.read(op.b)).reshape(-1, weight[0].size)
    z = matmul(flat, weight.reshape(len(weight), -1).T, run.bound(op.out)) + run.bias(op.bias)
    run.write(op.out, z.reshape(*a.shape[: a.ndim - op.contract], len(weight)))


def _row_scale(run: Interpreter, op: ops.RowScale) -> None:
    x = run.read(op.x)
    run.write(op.out, x * run.read(op.factor).reshape(*x.shape[:-1], 1) * op.multiplier)


def _weight_rows(run: Interpreter, op: ops.WeightRows) -> None:
    run.write(op.out, np.asarray(run.weights[op.weight])[run.read(op.index)])


def _top_index(run: Interpreter, op: ops.TopIndex) -> None:
    x = run.read(op.x)
    if int((x.max(axis=-1) - x.min(axis=-1)).max()) >= 1 << sum(op.digits):
        raise run.unreachable(op.out)
    run.write(op.out, x.argmax(axis=-1).astype(np.int64).reshape(run.circuit.tensors[op.out].shape))


def _relabel(run: Interpreter, op: ops.Relabel) -> None:
    run.write(op.out, run.read(op.x).reshape(run.circuit.tensors[op.out].shape))


def _view(run: Interpreter, op: ops.View) -> None:
    out = np.full(run.circuit.tensors[op.out].shape, op.constant, np.int64)
    for piece in op.pieces:
        maps = [np.array(indices, np.int64) for indices in piece.indices]
        covered = [np.flatnonzero(indices != NONE) for indices in maps]
        at: list[Any] = [np.int64(constant) for constant in piece.fixed]
        for position, (axis, indices, where) in enumerate(zip(piece.axes, maps, covered, strict=True)):
            if axis != NONE:
                shape = [1] * out.ndim
                shape[position] = len(where)
                at[axis] = indices[where].reshape(shape)
        out[np.ix_(*covered)] = run.read(piece.source)[tuple(at)]
    run.write(op.out, out)


def _gather(run: Interpreter, op: ops.Gather) -> None:
    indices = np.array(op.indices, np.int64)
    inside = indices != NONE
    values = run.read(op.x).reshape(-1)[np.where(inside, indices, 0)]
    out = np.where(inside, values, op.constant)
    run.write(op.out, out.reshape(run.circuit.tensors[op.out].shape))


STEPS: dict[type[Any], Callable[[Interpreter, Any], None]] = {
    ops.MatMul: _matmul,
    ops.Conv: _conv,
    ops.BatchedMatMul: _batched,
    ops.Mul: _mul,
    ops.LinearCombination: _combination,
    ops.WindowSum: _window_sum,
    ops.RowSum: _row_sum,
    ops.Requant: _requant,
    ops.Lookup: _lookup,
    ops.WindowMax: _window_max,
    ops.RowMax: _row_max,
    ops.Recip: _recip,
    ops.Isqrt: _isqrt,
    ops.ArgMax: _argmax,
    ops.Rescale: _rescale,
    ops.GatedMatMul: _gated,
    ops.RowScale: _row_scale,
    ops.WeightRows: _weight_rows,
    ops.TopIndex: _top_index,
    ops.Relabel: _relabel,
    ops.View: _view,
    ops.Gather: _gather,
}


def run(circuit: Circuit, weights: Sequence[Ints], inputs: Sequence[Ints]) -> Trace:
    """Run a checked circuit.

    Args:
        weights: per circuit weight, its true cells in its shape, int64, within the declared bounds.
        inputs: per circuit input, its true cells in its shape, integers.

    Raises:
        InputRejected: code ``input-out-of-range`` or ``input-shape``, with the tensor named, an inner one where a value leaves
            the reach of a Rescale or TopIndex.
        InternalError: code ``bug``, for an operation that the interpreter does not know.
    """
    state = Interpreter(circuit, weights)
    if len(inputs) != len(circuit.inputs):
        raise InputRejected("input-shape", f"{len(inputs)} inputs given, the circuit has {len(circuit.inputs)}")
    for port, values in zip(circuit.inputs, inputs, strict=True):
        spec = circuit.tensors[port.tensor]
        if values.shape != spec.shape or not np.issubdtype(values.dtype, np.integer):
            raise InputRejected("input-shape", f"integers of shape {spec.shape} are expected", where=spec.name)
        if int(values.min()) < spec.low or int(values.max()) > spec.high:
            raise InputRejected("input-out-of-range", f"a value lies outside [{spec.low}, {spec.high}]", where=spec.name)
        state.true[port.tensor] = values.astype(np.int64)
    for number, op in enumerate(circuit.ops):
        state.number = number
        if type(op) not in STEPS:
            raise InternalError("bug", f"the interpreter cannot run {type(op).__name__}", where=f"op {number}")
        STEPS[type(op)](state, op)
    tensors = tuple(pad(state.read(i), spec.fill) for i, spec in enumerate(circuit.tensors))
    return Trace(circuit, tensors, state.columns)
