"""The constraint list: what the proof must enforce for each operation, derived from the circuit alone.

It is written from the definitions of the operations and shares no code with prover and verifier, as a second opinion.
:func:`audit` compares it with the columns that the protocol's plan commits, and refuses any column without a range and a claim.

A *range* bounds a column's cells (a lookup, or equality with something bounded). A *claim* ties it, at a random point drawn
after the commitment, to the rest of the computation. A multiplicity column needs no range: the lookups' sum of fractions
determines it as a field element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.ops import NONE
from verifai.engines.sumcheck.circuit.program import Circuit, Visibility, WeightVisibility
from verifai.errors import InternalError, UnsupportedModel

Column: TypeAlias = tuple[str, int, int]
"""As in the protocol's plan: ("tensor", index, 0), ("column", operation, number), ("count", table, 0), ("weight", index, 0)."""

RANGE, CLAIM = "range", "claim"


@dataclass(frozen=True, slots=True)
class Constraint:
    """One equation or membership.

    Attributes:
        operation: its number, or −1 for what belongs to the statement.
        kind: RANGE or CLAIM. columns: those it constrains in that way.
        text: the constraint, for people.
    """

    operation: int
    kind: str
    columns: tuple[Column, ...]
    text: str


def _tensor(index: int) -> Column:
    return ("tensor", index, 0)


class _Listing:
    """Emits the constraints of one operation."""

    def __init__(self, circuit: Circuit, number: int) -> None:
        self.circuit, self.number = circuit, number

    def name(self, tensor: int) -> str:
        return self.circuit.tensors[tensor].name

    def range(self, text: str, *columns: Column) -> Constraint:
        return Constraint(self.number, RANGE, columns, text)

    def claim(self, text: str, *columns: Column) -> Constraint:
        return Constraint(self.number, CLAIM, columns, text)

    def read(self, *tensors: int) -> Constraint:
        """Reading a tensor at a random point is a claim on it."""
        names = ", ".join(self.name(tensor) for tensor in tensors)
        return self.claim(f"claims on {names} at the operation's random point", *map(_tensor, tensors))

    def table(self, number: int) -> str:
        table = self.circuit.tables[number]
        return f"table {table.name} on [{table.low}, {table.high}]"


def _requant(at: _Listing, op: ops.Requant) -> Iterator[Constraint]:
    limbs = [("column", at.number, i) for i in range(len(op.limbs))]
    offset, parts = 0, []
    for (_, _, i), bits in zip(limbs, op.limbs, strict=True):
        yield at.range(f"rem{i} ∈ [0, 2^{bits}) on every padded cell", ("column", at.number, i))
        parts.append(f"2^{offset}·rem{i}")
        offset += bits
    assert offset == op.shift
    z = at.name(op.z)
    t = f"({z} + 2^{op.shift - 1} − {' − '.join(parts)}) / 2^{op.shift}" if op.shift else z
    if op.saturate:
        yield from _split(at, op, t, len(limbs))
        argument = "u"
    else:
        argument = "t"
    yield at.range(f"({argument}, {at.name(op.out)}) ∈ {at.table(op.table)}, t = {t}", _tensor(op.out))
    yield at.claim(f"t at the lookups' point is a claim on {z}, {at.name(op.out)} and every limb", _tensor(op.out), *limbs)
    yield at.read(op.z)


def _split(at: _Listing, op: ops.Requant, t: str, first: int) -> Iterator[Constraint]:
    """t = 2^(w−1)·h + l with (h, σ) and (h, κ) by lookup, u = σ·t + κ by a product check; l and u are not committed."""
    half = at.circuit.tables[op.table].width - 1
    h, sigma, kappa = (("column", at.number, first + i) for i in range(3))
    yield at.range(f"l = t − 2^{half}·h ∈ [0, 2^{half}), t = {t}", h)
    yield at.range("(h, σ) and (h, κ) in their tables: (1, 0) for h ∈ {−1, 0}, else (0, clamp)", h, sigma, kappa)
    yield at.claim("h, σ and κ at the lookups' point", h, sigma, kappa)
    yield at.claim("u = σ·t + κ by a product check", sigma, kappa)


def _lookup(at: _Listing, op: ops.Lookup) -> Iterator[Constraint]:
    yield at.range(f"({at.name(op.x)}, {at.name(op.out)}) ∈ {at.table(op.table)}", _tensor(op.out))
    yield at.claim("both at the lookups' point", _tensor(op.out))
    yield at.read(op.x)


def _window_max(at: _Listing, op: ops.WindowMax) -> Iterator[Constraint]:
    source = at.circuit.tensors[op.x]
    bits = max(1, (source.high - source.low).bit_length())
    taps = op.kernel[0] * op.kernel[1]
    y = at.name(op.out)
    for tap in range(taps):
        yield at.range(f"{y} − tap {tap} ∈ [0, 2^{bits}); taps outside read {source.low}", _tensor(op.out))
    yield at.claim(f"Π over {taps} taps of ({y} − tap) = 0 at a point drawn after the commitment", _tensor(op.out))
    yield at.read(op.x)


def _row_max(at: _Listing, op: ops.RowMax) -> Iterator[Constraint]:
    g, largest = ("column", at.number, 0), _tensor(op.out)
    held = [largest] + ([_tensor(op.exp)] if op.exp != NONE else [])
    argument = "u" if op.saturate else "d"
    yield at.range(f"d = max − {at.name(op.x)}, padding reads the last row; ({argument}, E) ∈ {at.table(op.table)}", *held)
    yield at.range(
        f"({argument}, g) ∈ flags, g = [{argument} = 0]; Σ g − 1 ∈ [0, n) in every true row, so max is a cell", g, largest
    )
    yield at.claim("d, E and g at the lookups' point; Σ g by a functional of the row; max's padding is 0", *held, g)
    if op.saturate:
        h, sigma, kappa = (("column", at.number, 1 + i) for i in range(3))
        yield at.range("l = d − 2^w·h in range; (h, σ) and (h, κ) in their tables", h, sigma, kappa)
        yield at.claim("u = σ·d + κ by a product check; h, σ and κ at the lookups' point", h, sigma, kappa)
    yield at.read(op.x)


def _recip(at: _Listing, op: ops.Recip) -> Iterator[Constraint]:
    e, power, scaled, r0, r1, rho0, rho1, a0, s0 = (("column", at.number, i) for i in range(9))
    out = _tensor(op.out)
    yield at.range("(e, 2^e) by lookup, e ∈ [0, 32)", e, power)
    yield at.range("q·2^e − 2^29 ∈ [0, 2^29) in limbs of 15 and 14 bits: the octave makes e unique", scaled, a0)
    yield at.range("R in limbs of 9 and 9 bits", r0, r1)
    yield at.range("ρ in limbs of 15 and 15 bits; q·2^e − 1 − ρ ∈ [0, 2^30) in limbs of 15 and 15", rho0, rho1, s0)
    yield at.range(f"{at.name(op.out)} = R·2^e, both bounded", out)
    yield at.claim(
        "products q·2^e, R·2^e and R·(q·2^e) = 2^46 − ρ at the lookups' point", power, scaled, r0, r1, rho0, rho1, out
    )
    yield at.claim("every limb and e at the lookups' point", e, a0, s0)
    yield at.read(op.q)


def _isqrt(at: _Listing, op: ops.Isqrt) -> Iterator[Constraint]:
    out = _tensor(op.out)
    q0, d0, f0 = (("column", at.number, i) for i in range(3))
    yield at.range("q in limbs of 15 and 15 bits", out, q0)
    yield at.range("v − q² and 2q − v + q² in limbs of 16 and 15 bits", d0, f0)
    yield at.claim("q² by a product check; q and every limb at the lookups' point", out, q0, d0, f0)
    yield at.read(op.v)


def _argmax(at: _Listing, op: ops.ArgMax) -> Iterator[Constraint]:
    out, g, value = _tensor(op.out), ("column", at.number, 0), ("column", at.number, 1)
    yield at.range("g ∈ {0, 1} by lookup, 0 on padding, Σ g = 1 on true rows", g)
    yield at.range("k = Σ j·g and v = Σ g·x: bounded by the row's indices and cells", out, value)
    yield at.range("v − x_j − [j < k] ∈ [0, 2^span) on true j, [j < k] = 1 − the inclusive prefix sum of g", value)
    yield at.claim("Σ g, Σ j·g and Σ g·x at a random row point, by functionals and a product sumcheck", out, g, value)
    yield at.read(op.x)


def _rescale(at: _Listing, op: ops.Rescale) -> Iterator[Constraint]:
    out, z, y = _tensor(op.out), at.name(op.z), at.name(op.out)
    limbs = [("column", at.number, i) for i in range(len(op.limbs) - 1)]
    digits = [("column", at.number, len(limbs) + i) for i in range(len(op.digits) - 1)]
    yield at.range(f"{z} + 2^{op.shift - 1} − 2^{op.shift}·{y} in limbs of {op.limbs} bits, on every stored cell", out, *limbs)
    yield at.range(f"{y} + 2^{sum(op.digits) - 1} in digits of {op.digits} bits, on every stored cell", out, *digits)
    yield at.claim(f"{y}, limbs and digits at the lookups' point; the highest limb and digit follow", out, *limbs, *digits)
    yield at.read(op.z)


def _top_index(at: _Listing, op: ops.TopIndex) -> Iterator[Constraint]:
    value = ("column", at.number, 0)
    lower = [("column", at.number, 1 + i) for i in range(len(op.digits) - 1)]
    x, k = at.name(op.x), at.name(op.out)
    yield at.range(f"v − {x}_j − [j < {k}] in digits of {op.digits} bits, on every stored cell; 0 on padding", value, *lower)
    yield at.claim(f"v = {x}_k at a random row point, k from the statement; digits at the lookups' point", value, *lower)
    yield at.read(op.x)


def _weight_rows(at: _Listing, op: ops.WeightRows) -> Iterator[Constraint]:
    text = f"every claim on {at.name(op.out)} is one functional of the weight's rows that {at.name(op.index)} states"
    yield at.claim(text, ("weight", op.weight, 0))


def _linear(at: _Listing, op: ops.MatMul | ops.Conv | ops.GatedMatMul) -> Iterator[Constraint]:
    kind = {ops.MatMul: "Σ W·x", ops.Conv: "Σ W·shifted x", ops.GatedMatMul: "Σ W·a·b"}[type(op)]
    bias = "" if op.bias == NONE else " + bias on true cells"
    weights = [("weight", w, 0) for w in (op.weight, op.bias) if w != NONE]
    text = f"every claim on {at.name(op.out)} is reduced by a sumcheck of {kind}{bias} to claims on operand and weights"
    yield at.claim(text, *weights)
    yield at.read(*ops.operands(op))


def _virtual(at: _Listing, op: Any) -> Iterator[Constraint]:
    yield at.claim(f"every claim on {at.name(op.out)} is carried to its operands")
    yield at.read(*ops.operands(op))


_RULES: dict[type[Any], Callable[[_Listing, Any], Iterator[Constraint]]] = {
    ops.MatMul: _linear,
    ops.Conv: _linear,
    ops.BatchedMatMul: _virtual,
    ops.Mul: _virtual,
    ops.LinearCombination: _virtual,
    ops.WindowSum: _virtual,
    ops.RowSum: _virtual,
    ops.Requant: _requant,
    ops.Lookup: _lookup,
    ops.WindowMax: _window_max,
    ops.RowMax: _row_max,
    ops.Recip: _recip,
    ops.Isqrt: _isqrt,
    ops.ArgMax: _argmax,
    ops.Rescale: _rescale,
    ops.GatedMatMul: _linear,
    ops.RowScale: _virtual,
    ops.WeightRows: _weight_rows,
    ops.TopIndex: _top_index,
    ops.Relabel: _virtual,
    ops.View: _virtual,
    ops.Gather: _virtual,  # what a proof would have to enforce; the planner refuses the operation
}


def _stated(circuit: Circuit) -> Iterator[Constraint]:
    for port in (*circuit.inputs, *circuit.outputs):
        tensor, column = circuit.tensors[port.tensor], _tensor(port.tensor)
        bounds = f"[{tensor.low}, {tensor.high}]"
        if port.visibility is Visibility.PUBLIC:
            yield Constraint(
                -1, RANGE, (column,), f"{tensor.name} ∈ {bounds}, padding {tensor.fill}: checked on the stated cells"
            )
        elif port.visibility is Visibility.PRIVATE and port in circuit.outputs:
            continue  # an inner tensor like any other: its operation keeps it in range
        else:
            root = "own root" if port.visibility is Visibility.HASHED else "in C_x"
            yield Constraint(-1, RANGE, (column,), f"{tensor.name} ∈ {bounds} by lookups, padding 0 by a zero-check; {root}")
        yield Constraint(-1, CLAIM, (column,), f"{tensor.name} is claimed at a point drawn after the commitment")
    for index, weight in enumerate(circuit.weights):
        text = f"|{weight.name}| ≤ {weight.bound}, row L1 ≤ {weight.row_l1}, padding 0: checked when the weights are accepted"
        yield Constraint(-1, RANGE, (("weight", index, 0),), text)


def constraints(circuit: Circuit) -> tuple[Constraint, ...]:
    """Every constraint of a checked circuit: the statement's, then per operation.

    Raises:
        InternalError: code ``bug``, for an operation whose constraints are not written down.
    """
    found = list(_stated(circuit))
    for number, op in enumerate(circuit.ops):
        if type(op) not in _RULES:
            raise InternalError("bug", f"the constraints of {type(op).__name__} are not listed", where=f"op {number}")
        found.extend(_RULES[type(op)](_Listing(circuit, number), op))
    return tuple(found)


def listing(circuit: Circuit) -> str:
    """All constraints as text, one per line."""
    lines, last = ["statement and weights"], -1
    for constraint in constraints(circuit):
        if constraint.operation != last:
            last = constraint.operation
            op = circuit.ops[last]
            names = ", ".join(circuit.tensors[out].name for out in ops.results(op))
            lines.append(f"op {last} {type(op).__name__} → {names}")
        lines.append(f"  {constraint.kind}: {constraint.text}")
    return "\n".join(lines) + "\n"


def committed_columns(circuit: Circuit) -> frozenset[Column]:
    """Every column that the protocol's plan commits for this circuit, weights and hashed tensors included."""
    from verifai.engines.sumcheck.planning.plan import plan

    layout = plan(circuit)
    columns = set(layout.witness.columns)
    if circuit.weight_visibility is WeightVisibility.COMMITTED and layout.weights is not None:
        columns |= set(layout.weights.columns)
    return frozenset(columns | {_tensor(tensor) for tensor in layout.hashed})


def audit(circuit: Circuit, committed: Iterable[Column] | None = None) -> tuple[Constraint, ...]:
    """The constraints, after checking that they cover every committed column.

    Args:
        committed: the columns to check; by default those of the protocol's plan.

    Raises:
        InternalError: code ``bug``: a column without a range or a claim, or one that no constraint mentions.
        UnsupportedModel: as the planner.
    """
    found = constraints(circuit)
    ranged = {column for one in found if one.kind == RANGE for column in one.columns}
    claimed = {column for one in found if one.kind == CLAIM for column in one.columns}
    columns = committed_columns(circuit) if committed is None else frozenset(committed)
    for column in sorted(columns):
        if column[0] in ("count", "pad"):  # no range is needed: the fractions determine counts, and a pad may be any value
            continue
        if column not in ranged or column not in claimed:
            missing = "range" if column not in ranged else "claim"
            raise InternalError("bug", f"committed column {column} has no {missing}", where=_where(circuit, column))
    return found


def _where(circuit: Circuit, column: Column) -> str:
    kind, index, _ = column
    if kind == "tensor" and index < len(circuit.tensors):
        return circuit.tensors[index].name
    if kind == "weight" and index < len(circuit.weights):
        return circuit.weights[index].name
    if kind == "column" and index < len(circuit.ops):
        return f"op {index} ({type(circuit.ops[index]).__name__})"
    raise UnsupportedModel("circuit-bound", f"the plan commits {column}, which is not in the circuit")
