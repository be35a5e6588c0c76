"""docs/engine/worked-example.md: one Requant from its leaves to the opening, with every number.

python -m tools.worked_example    write the page

The proof is made here, read again by the verifier, and every item of its transcript is written down as it is absorbed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import infer
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Circuit, Port, Table, Tensor, Visibility, WeightVisibility
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.payload.statement import encode_statement
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.protocol import axes, field
from verifai.engines.sumcheck.protocol import proof as proofs
from verifai.engines.sumcheck.protocol.field import Ext
from verifai.engines.sumcheck.protocol.layout import Layout
from verifai.engines.sumcheck.protocol.statement import absorb_statement
from verifai.engines.sumcheck.protocol.suite import SUITES
from verifai.engines.sumcheck.protocol.transcript import Transcript
from verifai.engines.sumcheck.prover.prove import ProvenStatement, prepare, prove
from verifai.engines.sumcheck.verifier.verify import check_proof, trust_circuit, trust_weights

PAGE = Path(__file__).resolve().parent.parent / "docs" / "engine" / "worked-example.md"
INPUTS = (5, -3)
CONTEXT = b"example"


def example_circuit() -> Circuit:
    """y = T[⌊(z + 1)/2⌋] for two public cells z in [−8, 7], T clamping below at 0."""
    values = tuple(max(t, 0) for t in range(-8, 8))
    tensors = (Tensor("z", (2,), -8, 7),)
    circuit = Circuit(
        "", tensors, (), (Table("relu", -8, values),), (), (Port(0, Visibility.PUBLIC),), (), WeightVisibility.PUBLIC
    )
    op = ops.Requant(0, 1, 0, 1, (1,), False)
    (result,) = infer(circuit, op)
    made = Tensor("y", result.shape, result.low, result.high, result.fill)
    return planned(replace(circuit, tensors=(*tensors, made), ops=(op,), outputs=(Port(1, Visibility.PUBLIC),)))


class _Told(Transcript):
    """A transcript that writes down what is absorbed and drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.drawn: dict[str, list[Ext]] = {}
        self.sent: dict[str, list[Sequence[Ext]]] = {}
        self._quiet = False

    def absorb(self, label: str, data: bytes) -> None:
        super().absorb(label, data)
        if label not in ("challenge", "positions") and not self._quiet:
            shown = data.hex() if len(data) <= 64 else f"{data[:16].hex()}… ({len(data)} bytes)"
            self.lines.append(f"absorb    {label}: {shown or '(nothing)'}")

    def send(self, label: str, values: Sequence[Ext]) -> None:
        self._quiet = True
        super().send(label, values)
        self._quiet = False
        self.sent.setdefault(label, []).append(values)
        self.lines += [f"message   {label}[{i}] = {_element(value)}" for i, value in enumerate(values)]

    def challenge(self, label: str) -> Ext:
        found = super().challenge(label)
        self.drawn.setdefault(label, []).append(found)
        self.lines.append(f"challenge {label} = {_element(found)}")
        return found

    def positions(self, label: str, bits: int, count: int) -> list[int]:
        found = super().positions(label, bits, count)
        self.lines.append(f"positions {label}: {', '.join(map(str, found))}")
        return found


def _element(value: Ext) -> str:
    """a + b·x, each part in hex."""
    return f"{value[0]:016x} + {value[1]:016x}·x"


def example_proof(circuit: Circuit) -> ProvenStatement:
    """The proof of the example's run."""
    return prove(prepare(circuit, []), run(circuit, [], [np.array(INPUTS)]), CONTEXT)


def _leaves(circuit: Circuit, layout: Layout, outputs: Sequence[int]) -> list[tuple[str, int, tuple[int, int, int]]]:
    """(what, numerator, (id, c0, c1)) of every leaf before filler."""
    bus, found = layout.bus, dict[int, tuple[str, int, tuple[int, int, int]]]()
    ts = [(z + 1) >> 1 for z in INPUTS]
    rems = [z + 1 - 2 * t for z, t in zip(INPUTS, ts, strict=True)]
    looked = {0: list(zip(ts, outputs, strict=True)), 1: [(rem, 0) for rem in rems]}
    for block in bus.by_operation[0]:
        for place, row in enumerate(looked[block.slot]):
            found[block.group.addresses[0] + place] = (f"lookup {block.slot} of cell {place}", 1, (block.table, *row))
    for number, table in enumerate(bus.tables):
        for place in range(1 << table.log_size):
            row = (place - 8, circuit.tables[0].values[place]) if table.kind == "function" else (place, 0)
            used = looked[0 if table.kind == "function" else 1].count(row)
            found[table.offset + place] = (f"row {place} of table {number}", -used, (number, *row))
    return [found[at] for at in sorted(found)]


def page() -> str:
    """The page's text."""
    circuit = example_circuit()
    data = encode(circuit)
    digest, blob = circuit_digest(data), encode_weights(circuit, [])
    proven = example_proof(circuit)
    trusted = trust_circuit(data, digest)
    identity = prepare(circuit, []).identity
    weights = trust_weights(trusted, identity, blob)
    told = _Told()
    decoded = proofs.decode(proven.proof, trusted.layout.commitments())
    told.absorb("suite", SUITES[circuit.suite].parameters)
    absorb_statement(told, circuit, proven.statement, bytes.fromhex(digest), bytes.fromhex(identity))
    check_proof(trusted, weights, proven.statement, decoded, told)
    layout = trusted.layout
    outputs = [max((z + 1) >> 1, 0) for z in INPUTS]
    return "\n".join(
        [
            *_head(circuit, data, digest, proven, decoded),
            *_plan(layout),
            *_leaf_lines(circuit, layout, outputs, told),
            "## The transcript",
            "",
            "Each line is one item or one challenge, in order; elements of F are a + b·x in hex. Items above 64 bytes are",
            "cut off.",
            "",
            "```text",
            *told.lines,
            "```",
            "",
            *_ends(layout, told, decoded),
        ]
    )


def _head(circuit: Circuit, data: bytes, digest: str, proven: ProvenStatement, decoded: proofs.Proof) -> list[str]:
    statement = encode_statement(circuit, proven.statement)
    return [
        "# A worked example",
        "",
        "One Requant from its leaves to the opening, with every number: what a second implementation of",
        "[the protocol](protocol.md) is first held to. Generated by `python -m tools.worked_example`; a test makes it again.",
        "",
        "## The circuit",
        "",
        f"Two public cells z = {INPUTS[0]}, {INPUTS[1]} in [−8, 7]. y = T[t], t = ⌊(z + 1)/2⌋ (s = 1, one limb of 1 bit), T on",
        "[−8, 8) is max(t, 0). So t = 3, −1, rem = z + 1 − 2·t = 0, 0, y = 3, 0. Only rem and the tables' multiplicities are",
        f"committed. Suite `{circuit.suite}`, no weights, context `{CONTEXT.decode()}`.",
        "",
        "```text",
        f"circuit.bin ({len(data)} bytes), digest {digest}",
        *(f"  {data[at : at + 32].hex()}" for at in range(0, len(data), 32)),
        f"statement.bin ({len(statement)} bytes): {statement.hex()}",
        f"proof.bin: {len(proven.proof)} bytes, {len(decoded.messages)} elements in messages",
        "```",
        "",
    ]


def _plan(layout: Layout) -> list[str]:
    bus, shape = layout.bus, layout.witness.shape
    lines = ["## The plan", "", "```text"]
    for number, table in enumerate(bus.tables):
        lines.append(f"table {number}: {table.kind} {table.index}, 2^{table.log_size} rows, leaves from {table.offset} on")
    for block in bus.by_operation[0]:
        lines.append(f"lookup {block.slot}: table {block.table}, leaves from {block.group.addresses[0]} on")
    lines.append(f"L = {bus.log_leaves}")
    lines.append(
        f"C_x: v = {layout.witness.log_cells}, R = {shape.rows}, C = K = {shape.message}, n = {shape.length}, "
        f"t = {shape.queries}, first stored row {layout.witness.first_row}; {len(layout.levels)} levels"
    )
    for key, column in layout.witness.columns.items():
        lines.append(f"  column {key[0]} {key[1]} {key[2]}: 2^{sum(column.storage.bits)} cells from {column.addresses[0]} on")
    return [*lines, "```", ""]


def _leaf_lines(circuit: Circuit, layout: Layout, outputs: Sequence[int], told: _Told) -> list[str]:
    alpha, beta = told.drawn["lookups.alpha"][0], told.drawn["lookups.beta"][0]
    square = field.product(beta, beta)
    lines = [
        "## The leaves",
        "",
        "d = α + (id + 1)·β² − c0 − β·c1, for the α and β of the transcript below. Their fractions add up to 0.",
        "",
        "```text",
    ]
    product, numerators, denominators = field.ONE, list[Ext](), list[Ext]()
    for at, (what, numerator, (table, c0, c1)) in enumerate(_leaves(circuit, layout, outputs)):
        d = field.sub(field.add(alpha, field.scale(square, table + 1)), field.add(field.embed(c0), field.scale(beta, c1)))
        product = field.product(product, d)
        numerators.append(field.embed(numerator))
        denominators.append(d)
        lines.append(f"{at:2} {what:21} id {table}, ({c0}, {c1}): {numerator} / {_element(d)}")
    rest = (1 << layout.bus.log_leaves) - len(numerators)
    total = field.ZERO
    for p, d in zip(numerators, denominators, strict=True):
        total = field.add(total, field.product(p, field.inverse(d)))
    point = _leaf_point(told, layout.bus.log_leaves)
    weights = axes.eq_table(point)
    p_at = field.dot(numerators, weights[: len(numerators)])
    q_at = field.dot([*denominators, *[field.ONE] * rest], weights)
    p0, p1, q0, q1 = told.sent["lookups.ends"][-1]
    for low, high, found in (
        (p0, p1, p_at),
        (q0, q1, q_at),
    ):  # the line through the last layer's ends, at the child's challenge
        if found != field.add(low, field.product(field.sub(high, low), point[0])):
            raise AssertionError("the leaves are not what the layers end in")
    lines += [
        f"   and {rest} of filler: 0 / 1",
        f"sum of fractions = {_element(total)}",
        f"product of denominators = {_element(product)} (lookups.root)",
        "```",
        "",
        "The layers end at the point below (`lookups.child` of the last layer, then its `lookups.point`s). The extensions",
        "of numerators and denominators over the 2^L leaves have these values there, from z, y, rem and the",
        "tables.",
        "",
        "```text",
        *(f"r[{i}] = {_element(r)}" for i, r in enumerate(point)),
        f"numerators   = {_element(p_at)}",
        f"denominators = {_element(q_at)}",
        "```",
        "",
    ]
    return lines


def _leaf_point(told: _Told, log_leaves: int) -> list[Ext]:
    rounds = told.drawn["lookups.point"]
    return [told.drawn["lookups.child"][-1], *rounds[len(rounds) - (log_leaves - 1) :]]


def _ends(layout: Layout, told: _Told, decoded: proofs.Proof) -> list[str]:
    shape, opening = layout.witness.shape, decoded.openings[0]
    z = told.drawn["openings.point"]
    u = decoded.messages[len(decoded.messages) - shape.degree :]
    value = field.dot(u, axes.eq_table(z[len(z) - layout.witness.log_message :]))
    return [
        "## The opening",
        "",
        "Claims, with powers of α from α^0 on: rem under the lookup's functional, then the multiplicities of the tables. One",
        "value is `openings.values`; ⟨u, eq(z_col, ·)⟩ has to be it. Each opened column, weighted by eq(z_row, ·), is u's code",
        "word at its position.",
        "",
        "```text",
        f"⟨u, eq(z_col, ·)⟩ = {_element(value)}",
        *(f"column {i}: {' '.join(f'{cell:016x}' for cell in column)}" for i, column in enumerate(opening.columns[:4])),
        f"   … and {len(opening.columns) - 4} more",
        "```",
        "",
    ]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
