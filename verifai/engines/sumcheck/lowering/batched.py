"""A circuit of one inference as one of N: every tensor gets a first axis of N items, weights and tables stay as they are.

It is done on the integer program and not on the ONNX graph, so whatever lowers can be batched: a model's own first axis, which
reshapes and transposes may have moved or fixed to 1, is none of the batch's business. Only an operation that takes in all
axes of its operand needs care: its result is one cell, written as one axis of one cell, and with the batch's axis in front it
takes a row that was not there. So such an operand is relabelled from (N, k…) to (N, 1, k…), which costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.batch import MAX_BATCH, MIN_BATCH
from verifai.engines.sumcheck.circuit.check import MAX_LOG_CELLS, check
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Tensor
from verifai.engines.sumcheck.lowering.lower import Lowered
from verifai.errors import UnsupportedModel, UsageError


def batched(lowered: Lowered, items: int) -> Lowered:
    """``lowered`` for ``items`` inferences in one proof; 0 and 1 leave it as it is. It is a draft: its proof is not planned.

    Raises:
        UsageError: ``bad-spec``. UnsupportedModel: ``sumcheck-too-large``, when a tensor would have too many cells.
    """
    if items in (0, 1):
        return lowered
    if not MIN_BATCH <= items <= MAX_BATCH:
        raise UsageError("bad-spec", f"a batch has {MIN_BATCH} to {MAX_BATCH:,} items, not {items:,}", where="circuit.batch")
    circuit, numbers = batched_circuit(lowered.circuit, items)
    calibrated = {numbers[number]: key for number, key in lowered.calibrated.items()}
    return replace(lowered, circuit=circuit, calibrated=calibrated)


def batched_circuit(single: Circuit, items: int) -> tuple[Circuit, dict[int, int]]:
    """The draft for ``items`` inferences; and by number of an operation, its number in there. Raises as :func:`batched`."""
    made = _Batch(single, items)
    circuit = made.circuit()
    for tensor in circuit.tensors:
        if tensor.log_cells > MAX_LOG_CELLS:
            raise UnsupportedModel(
                "sumcheck-too-large",
                f"{items:,} items of {tensor.name} have more than 2^{MAX_LOG_CELLS} cells",
                where="circuit.batch",
                hint="Make the batch smaller.",
            )
    check(circuit)
    return circuit, made.numbers


def _view(op: ops.View, items: int) -> ops.View:
    every = tuple(range(items))
    pieces = tuple(
        ops.Piece(
            piece.source,
            (0, *(NONE if axis == NONE else axis + 1 for axis in piece.axes)),
            (every, *piece.indices),
            (NONE, *piece.fixed),
        )
        for piece in op.pieces
    )
    return replace(op, pieces=pieces)


_TAKEN: Dispatch[Callable[[Any], int]] = dispatch(
    {
        ops.RowSum: lambda op: op.axes,
        ops.RowMax: lambda op: 1,
        ops.ArgMax: lambda op: 1,
        ops.TopIndex: lambda op: 1,
    },
    (
        "its result has the operand's leading axes, however many they are",
        (ops.MatMul, ops.GatedMatMul, ops.BatchedMatMul, ops.Conv, ops.WindowSum, ops.WindowMax),
    ),
    (
        "it takes no axis in",
        (
            ops.Mul,
            ops.RowScale,
            ops.LinearCombination,
            ops.Requant,
            ops.Rescale,
            ops.Lookup,
            ops.Recip,
            ops.Isqrt,
            ops.Relabel,
            ops.View,
            ops.Gather,
            ops.WeightRows,
        ),
    ),
)
"""Operations whose result is one axis of one cell when they take in all axes, and how many they take in."""


def axes_taken_in(op: ops.Op) -> int:
    """How many axes of its operand ``op`` takes in, if its result is one axis of one cell when that is all of them; else 0."""
    rule = find(_TAKEN, op, "axes taken in by a batch")
    return 0 if rule is None else rule(op)


@dataclass
class _Batch:
    """The circuit under way.

    Attributes:
        tensors: by number of the batched circuit. places: by number of the single one, its number there. rows: the same tensor
            with a row axis of one between the batch's and its own.
        numbers: by number of an operation in the single circuit, its number in the batched one.
    """

    single: Circuit
    items: int
    tensors: list[Tensor] = field(default_factory=list)
    operations: list[ops.Op] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)

    def circuit(self) -> Circuit:
        """All of it."""
        single = self.single
        for port in single.inputs:
            self.places[port.tensor] = self._tensor(port.tensor, single.tensors[port.tensor].shape)
        for number, op in enumerate(single.ops):
            self._op(number, op)
        return replace(
            single,
            tensors=tuple(self.tensors),
            ops=tuple(self.operations),
            inputs=tuple(Port(self.places[port.tensor], port.visibility) for port in single.inputs),
            outputs=tuple(self._output(port) for port in single.outputs),
            batch=self.items,
            commitments=(),
            soundness=(),
        )

    def _output(self, port: Port) -> Port:
        if port.tensor not in self.places:
            raise UnsupportedModel("batch-unsupported", "exponentials of a whole tensor are an output", where="circuit.batch")
        return Port(self.places[port.tensor], port.visibility)

    def _tensor(self, number: int, shape: tuple[int, ...], suffix: str = "") -> int:
        described = self.single.tensors[number]
        self.tensors.append(replace(described, name=described.name + suffix, shape=(self.items, *shape)))
        return len(self.tensors) - 1

    def _place(self, number: int) -> int:
        """Where a tensor of the single circuit is, made from its row form when it exists in no other."""
        if number not in self.places:
            self._relabel(self.rows[number], number, self.single.tensors[number].shape, self.places, " of the batch")
        return self.places[number]

    def _row(self, number: int) -> int:
        """The same with a row axis of one."""
        if number not in self.rows:
            self._relabel(self.places[number], number, (1, *self.single.tensors[number].shape), self.rows, " as one row")
        return self.rows[number]

    def _relabel(self, source: int, number: int, shape: tuple[int, ...], into: dict[int, int], suffix: str) -> None:
        into[number] = self._tensor(number, shape, self._unused(number, suffix))
        self.tensors[into[number]] = replace(self.tensors[into[number]], fill=0)
        self.operations.append(ops.Relabel(source, into[number]))

    def _unused(self, number: int, suffix: str) -> str:
        taken = {tensor.name for tensor in self.single.tensors}
        while self.single.tensors[number].name + suffix in taken:
            suffix += "'"
        return suffix

    def _op(self, number: int, op: ops.Op) -> None:
        if isinstance(op, ops.RowScale) and len(self.single.tensors[op.x].shape) == 1:
            raise UnsupportedModel("batch-unsupported", "a lone row is scaled by a number", where="circuit.batch")
        whole = axes_taken_in(op) == len(self.single.tensors[ops.operands(op)[0]].shape)
        read = self._row if whole else self._place
        moved: Any = _view(op, self.items) if isinstance(op, ops.View) else op
        moved = _renamed(moved, {operand: read(operand) for operand in ops.operands(op)})
        results: dict[int, int] = {}
        for result in ops.results(op):
            wide = whole and isinstance(op, ops.RowMax) and result == op.exp
            shape = self.single.tensors[result].shape
            results[result] = self._tensor(result, (1, *shape) if wide else shape)
            (self.rows if wide else self.places)[result] = results[result]
        self.numbers[number] = len(self.operations)
        self.operations.append(_with_results(moved, results))


_OPERAND_FIELDS = ("x", "y", "a", "b", "z", "q", "v", "index", "factor")


def _renamed(op: Any, places: dict[int, int]) -> Any:
    """``op`` with its operands at other places."""
    if isinstance(op, ops.View):
        return replace(op, pieces=tuple(replace(piece, source=places[piece.source]) for piece in op.pieces))
    if isinstance(op, ops.LinearCombination):
        return replace(op, sources=tuple(places[source] for source in op.sources))
    named = {name: getattr(op, name) for name in _OPERAND_FIELDS if hasattr(op, name)}
    return replace(op, **{name: places[value] for name, value in named.items() if value != NONE})


def _with_results(op: Any, places: dict[int, int]) -> ops.Op:
    fields = {"out": places[op.out]}
    if isinstance(op, ops.RowMax) and op.exp != NONE:
        fields["exp"] = places[op.exp]
    done: ops.Op = replace(op, **fields)
    return done
