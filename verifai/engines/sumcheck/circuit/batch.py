"""The batch axis: many inferences in one circuit, and the rule that keeps them apart. Standard library only.

In a circuit with a batch axis every tensor's first axis counts *items*, the inferences; weights and tables have no such axis.
The rule says, operation by operation, that cell (i, …) of a result reads no cell (j, …) of an operand with j ≠ i. So by
induction the output of item i is a function of the input of item i, whoever made the circuit: the verifier checks it, and does
not rely on the compiler.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import need
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find
from verifai.engines.sumcheck.circuit.program import Circuit

MIN_BATCH, MAX_BATCH = 2, 1 << 16


def check_batch(circuit: Circuit) -> None:
    """Check that no operation mixes items. Raises EvidenceRejected (``circuit-invalid``)."""
    if not circuit.batch:
        return
    need(MIN_BATCH <= circuit.batch <= MAX_BATCH, f"a batch has {MIN_BATCH} to {MAX_BATCH:,} items")
    for tensor in circuit.tensors:
        need(tensor.shape[0] == circuit.batch, f"the first axis of {tensor.name} is not that of the batch")
    for number, op in enumerate(circuit.ops):
        need(keeps_apart(circuit, op), f"op {number} ({type(op).__name__}) mixes the items of a batch")


def _more_than_one(operand: Callable[[Any], int], taken: Callable[[Any], int]) -> Callable[[Circuit, Any], bool]:
    """Whether an operation along the last ``taken`` axes of ``operand`` leaves the first axis alone."""
    return lambda circuit, op: len(circuit.tensors[operand(op)].shape) > taken(op)


def _view(circuit: Circuit, op: ops.View) -> bool:
    """Whether each piece takes item i from item i, or nothing; items that it does not cover come from other pieces."""
    return all(
        piece.axes[0] == 0 and all(index in (item, ops.NONE) for item, index in enumerate(piece.indices[0]))
        for piece in op.pieces
    )


_RULES: Dispatch[Callable[[Circuit, Any], bool]] = dispatch(
    {
        ops.MatMul: _more_than_one(lambda op: op.x, lambda op: op.contract),
        ops.BatchedMatMul: _more_than_one(lambda op: op.a, lambda op: 2),
        ops.Conv: _more_than_one(lambda op: op.x, lambda op: 3),
        ops.WindowSum: _more_than_one(lambda op: op.x, lambda op: 2),
        ops.WindowMax: _more_than_one(lambda op: op.x, lambda op: 2),
        ops.RowSum: _more_than_one(lambda op: op.x, lambda op: op.axes),
        ops.RowMax: _more_than_one(lambda op: op.x, lambda op: 1),
        ops.ArgMax: _more_than_one(lambda op: op.x, lambda op: 1),
        ops.TopIndex: _more_than_one(lambda op: op.x, lambda op: 1),
        ops.RowScale: _more_than_one(lambda op: op.x, lambda op: 1),
        ops.GatedMatMul: _more_than_one(lambda op: op.a, lambda op: op.contract),
        ops.View: _view,
        ops.Gather: lambda circuit, op: False,
    },
    (
        "its result's cells stand where its operands' do; both have the batch's first axis, and a Relabel keeps what is below",
        (
            ops.Mul,
            ops.LinearCombination,
            ops.Requant,
            ops.Rescale,
            ops.Lookup,
            ops.Recip,
            ops.Isqrt,
            ops.Relabel,
            ops.WeightRows,
        ),
    ),
)


def keeps_apart(circuit: Circuit, op: ops.Op) -> bool:
    """Whether cell (i, …) of each result reads cells (i, …) of the operands alone; all of them have the batch's axis."""
    rule = find(_RULES, op, "items kept apart")
    return rule is None or rule(circuit, op)
