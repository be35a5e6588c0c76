"""Runs a circuit row by row along the positions of a sequence, keeping what later rows read: a key–value cache.

Each new token costs its own rows, not the whole sequence's. Every row is computed by the operations of :mod:`.run` on the
same integers, so the results are those of a whole run, bit for bit, where the circuit is causal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, Tensor
from verifai.engines.sumcheck.interpreter.linear import EXACT_FLOAT
from verifai.engines.sumcheck.interpreter.positions import Rows, fill_piece, rows_of
from verifai.engines.sumcheck.interpreter.run import STEPS, Interpreter
from verifai.engines.sumcheck.interpreter.values import Ints
from verifai.errors import InputRejected


class Stepwise:
    """A circuit with a sequence of tokens that grows.

    Args:
        weights: per circuit weight, its true cells in its shape. starts: per input, the position of its first token.

    Raises:
        NotByPositions: the circuit cannot be run row by row.
    """

    def __init__(self, circuit: Circuit, weights: Sequence[Ints], starts: Sequence[int]) -> None:
        self._circuit = circuit
        self._rows = rows_of(circuit, starts)
        self._cells = [np.zeros(tensor.shape, np.int64) for tensor in circuit.tensors]
        self._weights = list(weights)
        self._matrices: dict[int, NDArray[np.float64]] = {}
        self._done = 0

    def run(self, inputs: Sequence[Ints], end: int) -> tuple[Ints, ...]:
        """Compute the rows of the positions before ``end`` that were not computed yet.

        Args:
            inputs: per input, its cells in its shape; those of earlier positions as before, those from ``end`` are not read.

        Returns:
            The outputs; their rows of later positions are 0.

        Raises:
            InputRejected: ``input-out-of-range``, with the tensor named.
        """
        for port, values in zip(self._circuit.inputs, inputs, strict=True):
            spec, rows = self._circuit.tensors[port.tensor], self._rows[port.tensor]
            new = values[:, rows.at(self._done, end)]
            if new.size and not spec.low <= int(new.min()) <= int(new.max()) <= spec.high:
                raise InputRejected("input-out-of-range", f"a value lies outside [{spec.low}, {spec.high}]", where=spec.name)
            self._cells[port.tensor][:, rows.at(self._done, end)] = new
        state = _Slice(self._circuit, self._weights, self._rows, self._cells, self._matrices, (self._done, end))
        for number, op in enumerate(self._circuit.ops):
            state.step(number, op)
        self._done = end
        return tuple(self._cells[port.tensor] for port in self._circuit.outputs)


class _Shapes:
    """What the operations read of a circuit, with the shapes of some rows."""

    def __init__(self, circuit: Circuit) -> None:
        self.tables = circuit.tables
        self.tensors: list[Tensor] = list(circuit.tensors)


class _Slice(Interpreter):
    """Operations on the rows of some positions."""

    def __init__(
        self,
        circuit: Circuit,
        weights: list[Ints],
        rows: Sequence[Rows],
        cells: list[Ints],
        matrices: dict[int, NDArray[np.float64]],
        new: tuple[int, int],
    ) -> None:
        super().__init__(circuit, weights)
        self._whole = circuit
        self._rows, self._cells, self._matrices = rows, cells, matrices
        self._at = [one.at(*new) for one in rows]
        self._all: frozenset[int] = frozenset()
        shapes = _Shapes(circuit)
        for number, spec in enumerate(circuit.tensors):
            axis = rows[number].axis
            if spec.shape:
                shape = (*spec.shape[:axis], len(self._at[number]), *spec.shape[axis + 1 :])
                shapes.tensors[number] = replace(spec, shape=shape)
        self.circuit = shapes  # type: ignore[assignment]

    def step(self, number: int, op: ops.Op) -> None:
        """One operation, where it has new rows."""
        out = ops.results(op)[0]
        if not len(self._at[out]):
            return
        self.number = number
        if isinstance(op, ops.View):
            self._view(op)
        elif isinstance(op, ops.Gather | ops.Relabel):
            self._moved(op)
        elif isinstance(op, ops.MatMul | ops.GatedMatMul):
            self._linear(op)
        elif isinstance(op, ops.Conv):
            self._scaled(op)
        else:
            self._all = frozenset({op.b}) if isinstance(op, ops.BatchedMatMul) else frozenset()
            STEPS[type(op)](self, op)
            self._all = frozenset()

    def read(self, tensor: int) -> Ints:
        """The new rows; all rows of what attention looks back at."""
        if tensor in self._all:
            return self._cells[tensor]
        return np.take(self._cells[tensor], self._at[tensor], axis=self._rows[tensor].axis)

    def write(self, tensor: int, value: Ints) -> None:
        """Keep new rows."""
        self.require(tensor, value)
        where: list[Any] = [slice(None)] * self._cells[tensor].ndim
        where[self._rows[tensor].axis] = self._at[tensor]
        self._cells[tensor][tuple(where)] = value

    def keep(self, columns: Mapping[str, Ints], padding: Mapping[str, int]) -> None:
        """Nothing: no proof is made of this."""

    def _view(self, op: ops.View) -> None:
        out = np.full(self.circuit.tensors[op.out].shape, op.constant, np.int64)
        for piece in op.pieces:
            fill_piece(out, piece, self._cells[piece.source], (self._rows[op.out].axis, self._at[op.out]))
        self.write(op.out, out)

    def _moved(self, op: ops.Gather | ops.Relabel) -> None:
        shape = self._whole.tensors[op.out].shape
        if isinstance(op, ops.Relabel):
            indices = np.arange(self._cells[op.x].size).reshape(shape)
        else:
            indices = np.array(op.indices, np.int64).reshape(shape)
        wanted = np.take(indices, self._at[op.out], axis=self._rows[op.out].axis)
        constant = op.constant if isinstance(op, ops.Gather) else 0
        inside = wanted != ops.NONE
        self.write(op.out, np.where(inside, self._cells[op.x].reshape(-1)[np.where(inside, wanted, 0)], constant))

    def _linear(self, op: ops.MatMul | ops.GatedMatMul) -> None:
        """With the weights as float64, made once, where these hold every partial sum exactly."""
        bound, weight = self.bound(op.out), self.weights[op.weight]
        if bound >= EXACT_FLOAT:
            STEPS[type(op)](self, op)
            return
        if op.weight not in self._matrices:
            self._matrices[op.weight] = weight.reshape(len(weight), -1).astype(np.float64)
        x = self.read(op.x) if isinstance(op, ops.MatMul) else self.read(op.a) * self.read(op.b)
        flat = x.reshape(-1, weight[0].size).astype(np.float64)
        z = np.asarray(flat @ self._matrices[op.weight].T, np.int64) + self.bias(op.bias)
        self.write(op.out, z.reshape(*x.shape[: x.ndim - op.contract], len(weight)))

    def _scaled(self, op: ops.Conv) -> None:
        """A depthwise convolution of the rows' channels alone."""
        if self._rows[op.out].axis != len(self._whole.tensors[op.out].shape) - 3:
            STEPS[ops.Conv](self, op)
            return
        at, held = self._at[op.out], {index: self.weights[index] for index in (op.weight, op.bias) if index != ops.NONE}
        try:
            for index, weight in held.items():
                self.weights[index] = weight[at]  # type: ignore[index]
            STEPS[ops.Conv](self, replace(op, groups=len(at)))
        finally:
            for index, weight in held.items():
                self.weights[index] = weight  # type: ignore[index]
