"""The rules of a circuit: structure, order, the no-wrap rule and every bound, recomputed. Standard library only.

The lowering, the prover and the verifier each call :func:`check` before they use a circuit.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import gcd
from typing import Any

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.batch import check_batch
from verifai.engines.sumcheck.circuit.bounds import MAX_MAGNITUDE, Facts, infer, need
from verifai.engines.sumcheck.circuit.dispatch import Dispatch, dispatch, find
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Circuit, Table, Tensor, Visibility, Weight, WeightVisibility
from verifai.errors import EvidenceRejected

MAX_LOG_CELLS = 28
MAX_RANK = 7
MAX_ITEM_RANK = MAX_RANK - 1
"""Axes of one inference's tensor; a batch adds one."""
MAX_OPENINGS = 64
"""Of one hiding commitment: each costs t coefficients in every row."""


def check(circuit: Circuit) -> None:
    """Check ``circuit`` against every rule of :mod:`.program` and :mod:`.ops`.

    Raises:
        EvidenceRejected: code ``circuit-invalid``, with the tensor, weight, table or operation named.
    """
    _at("names", lambda: _names(circuit))
    for tensor in circuit.tensors:
        _at(tensor.name, lambda tensor=tensor: _tensor(tensor))
    for weight in circuit.weights:
        _at(weight.name, lambda weight=weight: _weight(weight))
    for table in circuit.tables:
        _at(table.name, lambda table=table: _table(table))
    defined: set[int] = set()
    _at("inputs", lambda: _inputs(circuit, defined))
    read: set[int] = set()
    facts = Facts(circuit)
    for number, op in enumerate(circuit.ops):
        _at(f"op {number} ({type(op).__name__})", lambda op=op: _op(circuit, facts, op, defined))
        defined.update(ops.results(op))
        read.update(ops.operands(op))
    _at("outputs", lambda: _outputs(circuit, defined, read))
    _at("indices", lambda: _stated_indices(circuit))
    _at("suite", lambda: _privacy(circuit))
    _at("batch", lambda: check_batch(circuit))
    _at("weights and tables", lambda: _no_leftovers(circuit))


def _at(where: str, rule: Any) -> None:
    try:
        rule()
    except EvidenceRejected as problem:
        raise EvidenceRejected(problem.code, problem.message, where=problem.where or where) from None


def _names(circuit: Circuit) -> None:
    for items in (circuit.tensors, circuit.weights, circuit.tables):
        named: tuple[Any, ...] = items
        need(len({item.name for item in named}) == len(named), "a name occurs twice")


def _shape(shape: tuple[int, ...], log_cells: int) -> None:
    need(0 < len(shape) <= MAX_RANK and min(shape) > 0, "a shape has no axes, too many, or an empty one")
    need(log_cells <= MAX_LOG_CELLS, "too many cells")


def _tensor(tensor: Tensor) -> None:
    _shape(tensor.shape, tensor.log_cells)
    need(-MAX_MAGNITUDE < tensor.low <= tensor.high < MAX_MAGNITUDE, "the bounds are not inside ±2^62")
    numerator, denominator = tensor.scale
    need(numerator > 0 and denominator > 0 and gcd(numerator, denominator) == 1, "the scale is not in lowest terms")
    need(-(2**31) <= tensor.zero_point <= 2**31, "the zero point is out of range")


def _weight(weight: Weight) -> None:
    _shape(weight.shape, weight.log_cells)
    need(0 <= weight.bound <= weight.row_l1 < MAX_MAGNITUDE, "0 ≤ bound ≤ row L1 < 2^62 does not hold")


def _table(table: Table) -> None:
    need(1 <= table.width <= 16 and len(table.values) == 1 << table.width, "a table does not have 2^w values, 1 ≤ w ≤ 16")
    need(table.low in (0, -(len(table.values) >> 1)), "a table's domain starts neither at 0 nor at −2^(w−1)")
    need(min(table.values) >= -(2**31) and max(table.values) < 2**31, "a table's value does not fit in 32 bits")


def _inputs(circuit: Circuit, defined: set[int]) -> None:
    need(bool(circuit.inputs) and bool(circuit.outputs) and bool(circuit.ops), "no inputs, outputs or operations")
    need(
        max(len(circuit.inputs), len(circuit.outputs)) < 256,
        "more than 255 inputs or outputs: a statement counts them in a byte",
    )
    for port in circuit.inputs:
        need(port.tensor < len(circuit.tensors) and port.tensor not in defined, "an input does not exist or occurs twice")
        tensor = circuit.tensors[port.tensor]
        need(tensor.fill == 0, f"the padding of input {tensor.name} is not 0")
        if port.visibility is Visibility.PUBLIC:
            need(tensor.low > -(1 << 31) and tensor.high < 1 << 31, f"the range of input {tensor.name} reaches 2^31")
        else:
            # Hidden cells are looked up in a table of their range.
            need(tensor.high - tensor.low < 1 << 16, f"the range of input {tensor.name} is wider than 2^16")
        defined.add(port.tensor)


@dataclass(frozen=True, slots=True)
class _Named:
    """What an operation names beside tensors: a weight with its bias, which may be absent; a table."""

    weights: tuple[int, ...] = ()
    table: tuple[int, ...] = ()


def _names_weights(op: ops.MatMul | ops.Conv | ops.GatedMatMul) -> _Named:
    return _Named(weights=(op.weight, op.bias))


def _names_rows(op: ops.WeightRows) -> _Named:
    return _Named(weights=(op.weight,))


def _names_table(op: ops.Requant | ops.Lookup | ops.RowMax) -> _Named:
    return _Named(table=(op.table,))


_NAMED: Dispatch[Callable[[Any], _Named]] = dispatch(
    {
        ops.MatMul: _names_weights,
        ops.Conv: _names_weights,
        ops.GatedMatMul: _names_weights,
        ops.WeightRows: _names_rows,
        ops.Requant: _names_table,
        ops.Lookup: _names_table,
        ops.RowMax: _names_table,
    },
    (
        "it works on tensors and on its own parameters alone",
        (
            ops.BatchedMatMul,
            ops.Mul,
            ops.LinearCombination,
            ops.WindowSum,
            ops.RowSum,
            ops.WindowMax,
            ops.Recip,
            ops.Isqrt,
            ops.ArgMax,
            ops.Rescale,
            ops.RowScale,
            ops.TopIndex,
            ops.Relabel,
            ops.View,
            ops.Gather,
        ),
    ),
)


def _named(op: ops.Op) -> _Named:
    rule = find(_NAMED, op, "weights and tables")
    return _Named() if rule is None else rule(op)


def _indices(circuit: Circuit, op: ops.Op) -> Iterator[tuple[int, int, bool]]:
    """(index, limit, whether it may be absent) of every weight and table that ``op`` names."""
    named = _named(op)
    for position, weight in enumerate(named.weights):
        yield weight, len(circuit.weights), position > 0
    for index in named.table:
        yield index, len(circuit.tables), False


def _op(circuit: Circuit, facts: Facts, op: ops.Op, defined: set[int]) -> None:
    for operand in ops.operands(op):
        need(operand in defined, "an operand is not defined before it is read")
    outs = ops.results(op)
    for out in outs:
        need(out < len(circuit.tensors) and out not in defined, "a result does not exist or is defined twice")
    need(len(set(outs)) == len(outs), "a result is defined twice")
    for index, limit, optional in _indices(circuit, op):
        need(index < limit or (optional and index == NONE), "a weight or table does not exist")
    found = infer(circuit, op, circuit.tensors[outs[0]].shape, facts)
    for out, result in zip(outs, found, strict=True):
        tensor = circuit.tensors[out]
        need(tensor.shape == result.shape, f"the shape of {tensor.name} does not follow from its operands")
        need(
            (tensor.low, tensor.high, tensor.fill) == (result.low, result.high, result.fill),
            f"bounds or fill of {tensor.name} are not ({result.low}, {result.high}, {result.fill})",
        )


def _outputs(circuit: Circuit, defined: set[int], read: set[int]) -> None:
    need(len(defined) == len(circuit.tensors), "a tensor is defined by nothing")
    held = {out for op in circuit.ops if ops.holds_results(op) for out in ops.results(op)}
    outputs = [port.tensor for port in circuit.outputs]
    need(len(set(outputs)) == len(outputs) and set(outputs) <= held, "an output occurs twice or is not a held tensor")
    maxima = {op.out for op in circuit.ops if isinstance(op, ops.RowMax)}
    dead = set(range(len(circuit.tensors))) - read - set(outputs) - maxima
    need(not dead, f"{', '.join(circuit.tensors[i].name for i in sorted(dead)[:3])}: read by nothing")


def _stated_indices(circuit: Circuit) -> None:
    """Numbers that choose rows, or are shown to be the largest cell's, are numbers that both sides know."""
    shown = {port.tensor for port in circuit.inputs + circuit.outputs if port.visibility is Visibility.PUBLIC}
    outputs = {port.tensor for port in circuit.outputs if port.visibility is Visibility.PUBLIC}
    for op in circuit.ops:
        if isinstance(op, ops.WeightRows):
            need(op.index in shown, f"{circuit.tensors[op.index].name} chooses rows of a weight, but is not public")
        elif isinstance(op, ops.TopIndex):
            need(op.out in outputs, f"{circuit.tensors[op.out].name} is a top index, but no public output")


def _privacy(circuit: Circuit) -> None:
    private = any(port.visibility is Visibility.PRIVATE for port in circuit.inputs + circuit.outputs)
    need(circuit.zero_knowledge or not private, "a tensor is private, but the suite is integrity-only")
    hidden = circuit.zero_knowledge and circuit.weight_visibility is WeightVisibility.COMMITTED
    need(0 < circuit.opening_budget <= MAX_OPENINGS if hidden else circuit.opening_budget == 0, "an impossible opening budget")


def _no_leftovers(circuit: Circuit) -> None:
    weights = [weight for op in circuit.ops for weight in _named(op).weights if weight != NONE]
    need(set(weights) == set(range(len(circuit.weights))), "a weight is used by no operation")
    tables = {index for op in circuit.ops for index in _named(op).table}
    need(len(tables) == len(circuit.tables), "a table is used by no operation")
    need(len({(t.low, _content(t)) for t in circuit.tables}) == len(circuit.tables), "two tables are equal")


def _content(table: Table) -> bytes:
    """A digest of the values, which fit in 32 bits. Tuples of integers have hashes that a circuit's maker can bring to collide
    (-1 and -2 have the same), and then each table would be compared with every other one, value by value."""
    return sha256(array("i", table.values).tobytes()).digest()
