"""Inner saturation: cells of a witness that were cut off at the range that calibration gave their tensor.

An input inside its accepted range can make inner values larger than any that calibration saw. The circuit cuts them, the proof
holds all the same, and the output can be farther from the float model's than the lock says. Only the prover sees it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verifai.domain.findings import Finding, not_checked
from verifai.domain.record import Record
from verifai.domain.shell import rebuild_hint
from verifai.domain.statement import EngineName
from verifai.domain.strict_json import loads
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, Visibility, WeightVisibility
from verifai.engines.sumcheck.interpreter.run import Trace
from verifai.engines.sumcheck.lowering.clamps import FAR, Uncut
from verifai.errors import UsageError
from verifai.execution.files import read_limited, write_atomic

RANGES_FILE = "ranges.json"
_MAX_RUNS = 1 << 18


@dataclass(frozen=True, slots=True)
class Clamped:
    """Cut cells of one witness.

    Attributes:
        cells: how many, of ``of`` cells of all inner tensors that can be cut.
        worst: the tensor with the most of them, with its number of cut cells and of cells; "" where none is cut.
        hidden: whether the exact number would tell something about tensors or weights that the proof hides.
        item: of a batch, whose cells these are: the item with the most cut cells; else None.
    """

    cells: int
    of: int
    worst: tuple[str, int, int]
    tensors: int
    hidden: bool
    item: int | None = None

    @property
    def bound(self) -> int:
        """What others may be told: the number itself, or, of something hidden, the least 2^k − 1 that is not below it."""
        return (1 << self.cells.bit_length()) - 1 if self.hidden else self.cells


def write_ranges(folder: Path, circuit_sha256: str, runs: Sequence[Uncut]) -> None:
    """Keep the runs in the build folder."""
    document = {"circuit_sha256": circuit_sha256, "uncut": [[run.operation, run.first, run.last] for run in runs]}
    write_atomic(folder / RANGES_FILE, json.dumps(document).encode("ascii"), mode=0o600)


def read_ranges(folder: Path, circuit_sha256: str) -> tuple[Uncut, ...] | None:
    """The runs that compile kept for this circuit; None where an older release kept none. Raises UsageError."""
    path = folder / RANGES_FILE
    if not path.exists():
        return None
    try:
        data, code = read_limited(path, limit=1 << 26), "stale-build"
        record = Record(loads(data, where=str(path), error=UsageError, code=code), str(path), error=UsageError, code=code)
        if record.sha256("circuit_sha256") != circuit_sha256:
            raise record.refuse("it belongs to another circuit", "circuit_sha256")
        runs = record.array("uncut", _run, max_length=_MAX_RUNS)
        record.done()
    except UsageError as problem:
        hint = rebuild_hint(folder.parent.parent, EngineName.SUMCHECK)
        raise UsageError("stale-build", problem.message, where=problem.where, hint=hint) from None
    return runs


def _run(value: object, where: str) -> Uncut:
    if not isinstance(value, list) or len(value) != 3 or not all(type(one) is int and abs(one) <= FAR for one in value):
        raise UsageError("stale-build", "a run is not three integers", where=where)
    return Uncut(*value)


def count_clamped(circuit: Circuit, trace: Trace, runs: Sequence[Uncut], items: int = 0) -> Clamped:
    """The cut cells of a witness. Padding is not counted, nor public outputs, which show by themselves where they end.

    Args:
        items: of a batch, how many of its items count; the figures are then of the one that has most cut cells, so that they
            mean the same as those of a single inference.
    """
    kept = list(_kept_cells(circuit, trace, runs, items))
    item = None
    if items:
        per_item = sum((~one.reshape(items, -1)).sum(axis=1) for _, one in kept)
        item = int(np.argmax(per_item)) if kept else 0
        kept = [(name, one[item]) for name, one in kept]
    total = cells = tensors = 0
    worst = ("", 0, 0)
    for name, one in kept:
        cut = int(one.size - np.count_nonzero(one))
        total, cells, tensors = total + cut, cells + one.size, tensors + (cut > 0)
        if cut > worst[1]:
            worst = (name, cut, one.size)
    ports = (*circuit.inputs, *circuit.outputs)
    hidden = circuit.weight_visibility is WeightVisibility.COMMITTED or any(
        port.visibility is not Visibility.PUBLIC for port in ports
    )
    return Clamped(total, cells, worst, tensors, hidden, item)


def _kept_cells(circuit: Circuit, trace: Trace, runs: Sequence[Uncut], items: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """By inner tensor that can be cut, which of its true cells were not; of a batch, those of the items that count."""
    shown = {port.tensor for port in circuit.outputs if port.visibility is Visibility.PUBLIC}
    by_operation: dict[int, list[Uncut]] = {}
    for run in runs:
        if run.operation < len(circuit.ops):
            by_operation.setdefault(run.operation, []).append(run)
    for number, mine in by_operation.items():
        op = circuit.ops[number]
        if shown.intersection(ops.results(op)):
            continue
        if isinstance(op, ops.Requant):
            arguments = trace.true(op.z)
            if op.shift:
                arguments = (arguments + (1 << (op.shift - 1))) >> op.shift
        elif isinstance(op, ops.Lookup):
            arguments = trace.true(op.x)
        else:
            continue
        if items:
            arguments = arguments[:items]
        kept = np.zeros(arguments.shape, np.bool_)
        for run in mine:
            kept |= (arguments >= run.first) & (arguments <= run.last)
        yield circuit.tensors[op.out].name, kept


def clamped_finding(clamped: Clamped) -> tuple[Finding, ...]:
    """What the prover is told; none where nothing was cut. It is printed, and what is printed ends in logs: of something hidden
    it says no more than the evidence does."""
    if not clamped.cells:
        return ()
    name, cut, size = clamped.worst
    if clamped.hidden:
        many, worst, name = f"up to {clamped.bound:,} of {clamped.of:,} inner cells", "", ""
    else:
        many = f"{clamped.cells:,} of {clamped.of:,} inner cells, in {clamped.tensors} tensor{'s' * (clamped.tensors != 1)},"
        many = many if clamped.item is None else f"item {clamped.item}: {many}"
        worst = f" (most in {name!r}: {cut:,} of {size:,})"
    message = (
        f"{many} lie beyond the range that calibration gave them and were cut off{worst}: the output may be farther from the "
        "float model's than the lock says"
    )
    remedy = (
        "Compile with calibration data that covers such inputs, or with a larger activation_margin in [engine.sumcheck] of "
        "circuit.toml, and prove again."
    )
    return (not_checked("inner-saturated", message, "5", remedy=remedy, where=name),)
