"""Where the tables of a lowered model cut a function off at the range that calibration gave its value.

A table holds the function and the clamp in one, so the circuit cannot tell a rectifier's 0 from a value that was cut. The
lowering knows both. What it finds here is kept beside the circuit, for a prover that counts cut cells of its witness.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.lowering.builder import TableKey
from verifai.engines.sumcheck.quantise.functions import tabulate, tabulate_at
from verifai.errors import EvidenceRejected

FAR = 1 << 62
"""Beyond every argument."""
_BEYOND = (2, 16, 1 << 12)


@dataclass(frozen=True, slots=True)
class Uncut:
    """Operation ``operation`` does not cut arguments in [first, last]; it may have several such runs, and cuts all others."""

    operation: int
    first: int
    last: int


def uncut_runs(circuit: Circuit, functions: Mapping[int, TableKey]) -> tuple[Uncut, ...]:
    """The runs of every operation that can cut something, in the circuit's order.

    Args:
        functions: by operation, what its table was made of, for values whose range calibration chose.
    """
    found: list[Uncut] = []
    for number, key in sorted(functions.items()):
        op = circuit.ops[number]
        if not isinstance(op, ops.Requant | ops.Lookup):
            continue
        table = circuit.tables[op.table]
        values = np.array(tabulate(key.program, table.width, key.step_in, key.step_out, -FAR, FAR))
        kept = (values >= key.low) & (values <= key.high)
        arguments = np.arange(table.low, table.high + 1)
        if key.rectified:  # below 0 the rectifier is 0, and nothing is cut
            kept |= arguments <= 0
        edges = np.flatnonzero(np.diff(np.concatenate(([False], kept, [False])).astype(np.int8)))
        runs = [(int(arguments[a]), int(arguments[b - 1])) for a, b in zip(edges[::2], edges[1::2], strict=True)]
        # Beyond its domain a table's argument is cut, which changes nothing where the function is flat there.
        flat = (key.rectified or _flat(key, table.low, int(values[0])), _flat(key, table.high, int(values[-1])))
        runs = [
            (-FAR if first == table.low and flat[0] else first, FAR if last == table.high and flat[1] else last)
            for first, last in runs
        ]
        if runs != [(-FAR, FAR)] and not (runs == [(table.low, table.high)] and isinstance(op, ops.Lookup)):
            found += [Uncut(number, *run) for run in runs] or [Uncut(number, FAR, FAR)]
    return tuple(found)


def _flat(key: TableKey, end: int, value: int) -> bool:
    """Whether the function keeps the value that it has at the end of the domain, as far out as matters."""
    arguments = tuple(float(end * times * key.step_in) for times in _BEYOND)
    try:
        return set(tabulate_at(key.program, arguments, key.step_out, -FAR, FAR)) == {value}
    except EvidenceRejected:  # it has no value there
        return False
