"""Drops the operations of a new circuit that nothing reads: a circuit has no tensor, weight or table that is not read.

Rules of the lowering make what their operator may need. An output that nothing reads, the last step of a recurrent layer of
which only the steps are wanted, a rank that only orders another one, is found here, once for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypeVar

from verifai.engines.sumcheck.circuit.ops import NONE, Op, operands, results
from verifai.engines.sumcheck.circuit.program import Circuit, Port

_Item = TypeVar("_Item")
_TENSORS = frozenset({"x", "y", "z", "a", "b", "q", "v", "index", "factor", "out", "exp"})
_WEIGHTS = frozenset({"weight", "bias"})


def without_unread(circuit: Circuit) -> tuple[Circuit, list[int], list[int]]:
    """The draft without what neither its outputs nor the statement of its inputs needs.

    Returns:
        The circuit; the numbers of the operations that it keeps; and those of the weights. Inputs stay, read or not.
    """
    needed = {port.tensor for port in circuit.outputs}
    kept: list[int] = []
    for number, op in reversed(list(enumerate(circuit.ops))):
        if needed.intersection(results(op)):
            needed.update(operands(op))
            kept.append(number)
    kept.reverse()
    if len(kept) == len(circuit.ops):
        return circuit, kept, list(range(len(circuit.weights)))
    made = [circuit.ops[number] for number in kept]
    tensors = {port.tensor for port in circuit.inputs}.union(*(results(op) for op in made))
    weights = {getattr(op, name) for op in made for name in _WEIGHTS if getattr(op, name, NONE) != NONE}
    tables = {getattr(op, "table") for op in made if hasattr(op, "table")}  # noqa: B009 - some classes have the field
    numbers = _Numbers(_numbered(tensors), _numbered(weights), _numbered(tables))
    return (
        replace(
            circuit,
            tensors=_chosen(circuit.tensors, tensors),
            weights=_chosen(circuit.weights, weights),
            tables=_chosen(circuit.tables, tables),
            ops=tuple(numbers.renumbered(op) for op in made),
            inputs=numbers.ports(circuit.inputs),
            outputs=numbers.ports(circuit.outputs),
        ),
        kept,
        sorted(weights),
    )


def _numbered(kept: set[int]) -> dict[int, int]:
    return {old: new for new, old in enumerate(sorted(kept))}


def _chosen(items: Sequence[_Item], kept: set[int]) -> tuple[_Item, ...]:
    return tuple(items[number] for number in sorted(kept))


class _Numbers:
    """Old numbers of tensors, weights and tables → new ones."""

    def __init__(self, tensors: Mapping[int, int], weights: Mapping[int, int], tables: Mapping[int, int]) -> None:
        self._tensors, self._weights, self._tables = ({**numbers, NONE: NONE} for numbers in (tensors, weights, tables))

    def renumbered(self, op: Op) -> Op:
        """The operation on the new numbers."""
        changes: dict[str, Any] = {}
        for one in fields(op):
            value = getattr(op, one.name)
            if one.name in _TENSORS:
                changes[one.name] = self._tensors[value]
            elif one.name in _WEIGHTS:
                changes[one.name] = self._weights[value]
            elif one.name == "table":
                changes[one.name] = self._tables[value]
            elif one.name == "sources":
                changes[one.name] = tuple(self._tensors[source] for source in value)
            elif one.name == "pieces":
                changes[one.name] = tuple(replace(piece, source=self._tensors[piece.source]) for piece in value)
        return replace(op, **changes)

    def ports(self, ports: Sequence[Port]) -> tuple[Port, ...]:
        """The ports on the new numbers."""
        return tuple(replace(port, tensor=self._tensors[port.tensor]) for port in ports)
