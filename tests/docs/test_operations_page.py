"""docs/engine/operations.md is executed: its formulas and its order of messages are the engine's, operation by operation."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest

from tests.support import sumcheck_examples as examples
from tests.support.paths import ROOT
from tests.support.random_circuits import random_circuit
from tests.support.sumcheck_batches import CIRCUITS, in_batch
from tests.support.sumcheck_circuits import single, start
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.bounds import infer
from verifai.engines.sumcheck.circuit.program import Circuit, Table
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.planning import claim_counter, claim_readings
from verifai.engines.sumcheck.planning.rehearsal import RehearsalParty
from verifai.engines.sumcheck.protocol import buses
from verifai.engines.sumcheck.protocol.lookups import LeafSum
from verifai.engines.sumcheck.protocol.operations import check_operation, lookup_rows, reduce_claim
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE
from verifai.errors import EvidenceRejected

PAGE = (ROOT / "docs" / "engine" / "operations.md").read_text(encoding="utf-8")
KINDS = {kind.__name__: kind for kind in get_args(ops.Op)}
NEED_SHAPE = (ops.Relabel, ops.Gather)


def formulas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(block, "operations.md", "exec"), found)
    return found


TEXT = formulas()

WIDE = {"sums": examples.wide_sums, "hashed image": lambda: examples.odd_image(hashed=True, committed=True)}
MADE = {
    **CIRCUITS,
    **WIDE,
    **{f"random {seed}": (lambda seed=seed: random_circuit(seed)) for seed in range(4)},
    "mlp, batch": lambda: in_batch(CIRCUITS["mlp"](), 3),
    "odd rows, batch": lambda: in_batch(CIRCUITS["odd rows"](), 3),
}


@pytest.fixture(scope="module", params=MADE)
def made(request: pytest.FixtureRequest) -> tuple[Circuit, list[Any]]:
    return MADE[request.param]()


def test_each_operation_has_an_entry_and_nothing_else_has() -> None:
    headings = set(re.findall(r"^### (\w+)$", PAGE, flags=re.MULTILINE))
    assert headings == set(KINDS)
    for name, kind in KINDS.items():
        assert {name, f"{name}_result"} <= set(TEXT)
        looked_up = kind not in (*buses.LINEAR_OR_VIEW, ops.Gather)
        assert (f"{name}_reads" in TEXT) == looked_up
        assert (f"{name}_carry" in TEXT) == (kind in buses.LINEAR_OR_VIEW)
    assert {name for name in KINDS if f"{name}_check" in TEXT} == {"WindowMax", "ArgMax", "TopIndex"}
    assert {name for name in KINDS if f"{name}_product" in TEXT} == {"Requant", "RowMax", "Recip", "Isqrt"}


def results_of(circuit: Circuit, op: ops.Op) -> list[tuple[Any, ...]]:
    shape = circuit.tensors[ops.results(op)[0]].shape
    return [tuple(one) for one in TEXT[f"{type(op).__name__}_result"](op, circuit, shape)]


def test_shape_bounds_and_fill_of_every_result(made: tuple[Circuit, list[Any]]) -> None:
    circuit, _ = made
    for op in circuit.ops:
        tensors = [circuit.tensors[out] for out in ops.results(op)]
        assert results_of(circuit, op) == [(one.shape, one.low, one.high, one.fill) for one in tensors], op


def cells_of(circuit: Circuit, op: ops.Op, x: list[Any], w: list[Any]) -> Iterator[tuple[int, Callable[..., int]]]:
    name = type(op).__name__
    more: dict[type[Any], Any] = {kind: circuit.tensors[ops.results(op)[0]].shape for kind in NEED_SHAPE}
    if isinstance(op, ops.WindowMax):
        more[ops.WindowMax] = circuit.tensors[op.x].low
    extra = (more[type(op)],) if type(op) in more else ()
    yield ops.results(op)[0], TEXT[name](op, x, w, circuit.tables, *extra)
    if isinstance(op, ops.RowMax) and op.exp != ops.NONE:
        yield op.exp, TEXT["RowMax_exp"](op, x, w, circuit.tables)


def assert_cells(circuit: Circuit, weights: list[Any], inputs: list[Any], per_tensor: int = 60) -> set[type[Any]]:
    """Compare cells, all of a small tensor and a sample of a large one; the kinds of operations that were compared."""
    trace = run(circuit, weights, inputs)
    x = [np.array(trace.true(number), dtype=object) for number in range(len(circuit.tensors))]
    w = [np.array(cells, dtype=object) for cells in weights]
    chance = random.Random(7)
    for op in circuit.ops:
        for out, cell in cells_of(circuit, op, x, w):
            every = list(np.ndindex(x[out].shape))
            for index in every if len(every) <= per_tensor else chance.sample(every, per_tensor):
                assert cell(*index) == x[out][index], (op, index)
    return {type(op) for op in circuit.ops}


SEEN: set[type[Any]] = set()


def test_every_cell(made: tuple[Circuit, list[Any]]) -> None:
    circuit, weights = made
    SEEN.update(assert_cells(circuit, weights, examples.random_input(circuit, 3)))


def small_ones() -> dict[str, tuple[Circuit, list[Any]]]:
    """One operation each, with values at the ends of its domain."""
    wave = Table("wave", -4, (3, -1, 0, 7, 5, 2, -6, 1))
    falling = Table("falling", 0, (9, 4, 1, 0))
    none = Table("none", 0, (0, 0))
    window = {"kernel": (2, 2), "stride": (2, 1), "pads": (1, 0, 2, 3)}
    gated = [np.arange(-6, 6).reshape(2, 2, 3), np.array([5, -7])]
    return {
        "gather": (single(lambda out: ops.Gather(0, out, (5, 0, ops.NONE, 2), -4), [((2, 3), -9, 9)], shape=(2, 2)), []),
        "lookup": (single(lambda out: ops.Lookup(0, out, 0), [((3, 3), -4, 3)], tables=(wave,)), []),
        "requant": (single(lambda out: ops.Requant(0, out, 0, 3, (3,), True), [((40,), -90, 90)], tables=(wave,)), []),
        "no shift": (single(lambda out: ops.Requant(0, out, 0, 0, (), False), [((9,), -4, 3)], tables=(wave,)), []),
        "row max": (single(lambda out: ops.RowMax(0, out, out + 1, 0, True), [((4, 5), -9, 9)], tables=(falling,)), []),
        "maximum": (single(lambda out: ops.RowMax(0, out, ops.NONE, 0, True), [((5,), -9, 9)], tables=(none,)), []),
        "recip": (single(lambda out: ops.Recip(0, out), [((50,), 1, (1 << 30) - 1)]), []),
        "isqrt": (single(lambda out: ops.Isqrt(0, out), [((50,), 0, (1 << 60) - 1)]), []),
        "rescale": (single(lambda out: ops.Rescale(0, out, 4, (4,), (16, 8)), [((50,), -(1 << 20), 1 << 20)]), []),
        "arg max": (single(lambda out: ops.ArgMax(0, out), [((6, 3), -1, 1)]), []),
        "top index": (single(lambda out: ops.TopIndex(0, out, (2,)), [((6, 3), -1, 1)]), []),
        "window max": (single(lambda out: ops.WindowMax(0, out, dilation=(1, 3), **window), [((1, 2, 5, 4), -9, -3)]), []),
        "window sum": (single(lambda out: ops.WindowSum(0, out, multiplier=-3, **window), [((1, 2, 5, 4), -9, -3)]), []),
        "gated": (single(lambda out: ops.GatedMatMul(0, 1, 0, 1, out, 2), [((3, 2, 3), -9, 9)] * 2, gated), gated),
        "rows": (single(lambda out: ops.WeightRows(0, 0, out), [((2, 2), 0, 1)], gated[:1]), gated[:1]),
        "relabel": (single(lambda out: ops.Relabel(0, out), [((3, 2, 4), -9, 9)], shape=(3, 8)), []),
    }


SMALL = small_ones()


@pytest.mark.parametrize("name", SMALL)
def test_the_ends_of_each_domain(name: str) -> None:
    circuit, weights = SMALL[name]
    chance = np.random.default_rng(5)
    for _ in range(3):
        inputs = []
        for port in circuit.inputs:
            tensor = circuit.tensors[port.tensor]
            cells = chance.integers(tensor.low, tensor.high + 1, tensor.shape)
            flat = cells.reshape(-1)
            flat[:2] = (tensor.low, tensor.high)[: len(flat[:2])]
            inputs.append(cells)
        SEEN.update(assert_cells(circuit, weights, inputs))
    for op in circuit.ops:
        tensors = [circuit.tensors[out] for out in ops.results(op)]
        assert results_of(circuit, op) == [(one.shape, one.low, one.high, one.fill) for one in tensors]


def test_no_operation_was_left_out() -> None:
    if not SEEN:
        for circuit, _ in (*(make() for make in MADE.values()), *SMALL.values()):
            SEEN.update(type(op) for op in circuit.ops)
    assert set(KINDS.values()) == SEEN


# --- what is refused ---


def changed_field(chance: random.Random, circuit: Circuit, op: ops.Op) -> ops.Op:
    """``op`` with one field changed. Operands stay defined tensors, weights and tables; everything else may be anything."""
    field = chance.choice([one.name for one in fields(op)])
    value = getattr(op, field)
    defined = min(ops.results(op))
    odd = [0, 1, 2, 3, 5, 7, 8, 15, 16, 17, 40, 62, 1 << 16, (1 << 31) - 1, 1 << 31, ops.NONE]
    if field in ("out", "exp"):
        return op
    if field in ("x", "a", "b", "y", "z", "v", "q", "factor", "index"):
        return replace(op, **{field: chance.randrange(defined)})
    if field in ("weight", "bias", "table"):
        many = len(circuit.tables if field == "table" else circuit.weights)
        return replace(op, **{field: chance.randrange(many)})
    if field == "sources":
        return replace(op, sources=tuple(chance.randrange(defined) for _ in range(chance.randrange(4))))
    if field == "pieces":
        pieces = list(value)
        at = chance.randrange(len(pieces))
        piece = pieces[at]
        part = chance.choice(("source", "axes", "indices", "fixed"))
        if part == "source":
            pieces[at] = replace(piece, source=chance.randrange(defined))
        elif part == "indices":
            rows = [list(row) for row in piece.indices]
            row = chance.choice(rows)
            row[chance.randrange(len(row))] = chance.choice((0, 1, 2, 99, ops.NONE))
            pieces[at] = replace(piece, indices=tuple(map(tuple, rows)))
        else:
            numbers = list(getattr(piece, part))
            numbers[chance.randrange(len(numbers))] = chance.choice((0, 1, 2, 9, ops.NONE))
            pieces[at] = replace(piece, **{part: tuple(numbers)})
        if chance.random() < 0.2:
            pieces.append(chance.choice(pieces))
        return replace(op, pieces=tuple(pieces))
    if isinstance(value, bool):
        return replace(op, **{field: not value})
    if isinstance(value, int):
        return replace(op, **{field: chance.choice((value + 1, value - 1, -value, *odd)) & ~0 if value >= 0 else -value})
    numbers = list(value)
    if numbers and chance.random() < 0.7:
        numbers[chance.randrange(len(numbers))] = chance.choice(odd[:-1])
    else:
        numbers = numbers[:-1] if chance.random() < 0.5 else [*numbers, chance.choice(odd[:6])]
    return replace(op, **{field: tuple(numbers)})


def outcome(ask: Callable[[], list[tuple[Any, ...]]]) -> list[tuple[Any, ...]] | str:
    try:
        found = ask()
    except (EvidenceRejected, TEXT["Invalid"]):
        return "refused"
    inside = all(-TEXT["NO_WRAP"] < low and high < TEXT["NO_WRAP"] for _, low, high, _ in found)
    return found if inside else "refused"


def test_what_a_changed_field_makes_of_a_circuit(made: tuple[Circuit, list[Any]]) -> None:
    circuit, _ = made
    chance, refused, held = random.Random(11), 0, 0
    for number, op in product(range(len(circuit.ops)), range(12)):
        before = circuit.ops[number]
        changed = changed_field(chance, circuit, before)
        sizes = [v for field in fields(changed) for v in _numbers(getattr(changed, field.name))]
        if any(v < 0 for v in sizes) and not isinstance(changed, ops.LinearCombination | ops.View | ops.Gather):
            continue  # fields of unsigned numbers: bytes have no such circuit
        altered = replace(circuit, ops=(*circuit.ops[:number], changed, *circuit.ops[number + 1 :]))
        shape = circuit.tensors[ops.results(changed)[0]].shape
        engine = outcome(lambda op=changed, c=altered, s=shape: [(r.shape, r.low, r.high, r.fill) for r in infer(c, op, s)])
        text = outcome(lambda op=changed, c=altered, s=shape: [tuple(r) for r in TEXT[f"{type(op).__name__}_result"](op, c, s)])
        assert text == engine, changed
        refused += engine == "refused"
        held += engine != "refused"
    assert refused > 0
    assert held > 0


def _numbers(value: Any) -> list[int]:
    if isinstance(value, int):
        return [value]
    return [one for one in value if isinstance(one, int)] if isinstance(value, tuple) else []


def bounds_of(op: ops.Op, inputs: list[Any], weights: list[Any], tables: tuple[Table, ...], shape: Any = ()) -> list[Any]:
    """What engine and page say of the operation on these inputs."""
    circuit = replace(start(inputs, weights, tables), ops=(op,))
    engine = outcome(lambda: [(r.shape, r.low, r.high, r.fill) for r in infer(circuit, op, shape)])
    return [engine, outcome(lambda: [tuple(r) for r in TEXT[f"{type(op).__name__}_result"](op, circuit, shape)])]


def limits() -> Iterator[tuple[str, Any, Any]]:
    """(which, what just passes, what just does not): arguments of :func:`bounds_of`."""
    zeros = (Table("zeros", 0, (0, 0)),)
    slope = (Table("slope", -2, (5, 6, 7, 8)),)
    wide = (Table("wide", -(1 << 15), tuple(range(-(1 << 15), 1 << 15))),)
    picture, square = [((1, 1, 9, 9), -5, 9)], (1, 1)

    def window(kernel: Any, stride: Any = square, pads: Any = (0, 0, 0, 0)) -> ops.WindowMax:
        return ops.WindowMax(0, 1, kernel, stride, square, pads)

    def summed(kernel: Any, pads: Any = (0, 0, 0, 0)) -> ops.WindowSum:
        return ops.WindowSum(0, 1, 1, kernel, square, pads)

    def conv(groups: int) -> ops.Conv:
        return ops.Conv(0, 0, ops.NONE, 1, square, square, (0, 0, 0, 0), groups)

    def kernel(out: int, inner: int) -> list[Any]:
        return [np.ones((out, inner, 1, 1), np.int64)]

    def piece(indices: Any, fixed: Any = (ops.NONE,)) -> ops.Piece:
        return ops.Piece(0, (0,), (indices,), fixed)

    row = [((4,), -9, 9)]
    yield "taps", (window((2, 2)), picture, [], ()), (window((5, 1)), picture, [], ())
    yield "window", (window((4, 1)), [((1, 1, 4, 1), 0, 1)], [], ()), (window((4, 1)), [((1, 1, 3, 1), 0, 1)], [], ())
    yield "stride", (window(square, (65535, 1)), picture, [], ()), (window(square, (65536, 1)), picture, [], ())
    most = (65535, 0, 0, 0)
    yield "pads", (window(square, pads=most), picture, [], ()), (window(square, pads=(65536, 0, 0, 0)), picture, [], ())
    yield "kernel", (summed((2, 2), (1, 1, 1, 1)), picture, [], ()), (summed((0, 2)), picture, [], ())
    positive = [((1, 1, 9, 9), 5, 9)]
    yield "no pads", (summed((2, 2)), positive, [], ()), (summed((2, 10)), positive, [], ())
    span = [((1, 1, 2, 2), 0, (1 << 32) - 1)], [((1, 1, 2, 2), 0, 1 << 32)]
    yield "span", (window(square), span[0], [], ()), (window(square), span[1], [], ())
    groups = [((1, 8, 3, 3), -5, 5)], [((1, 6, 3, 3), -5, 5)]
    yield "groups", (conv(2), groups[0], kernel(4, 4), ()), (conv(2), groups[1], kernel(4, 3), ())
    yield "outer", (conv(2), groups[0], kernel(8, 4), ()), (conv(2), groups[0], kernel(6, 4), ())
    yield "channels", (conv(1), groups[0], kernel(3, 8), ()), (conv(3), groups[0], kernel(3, 8), ())
    yield (
        "digits",
        (ops.Rescale(0, 1, 1, (1,), (16, 16, 8)), row, [], ()),
        (ops.Rescale(0, 1, 1, (1,), (16, 16, 9)), row, [], ()),
    )
    yield (
        "reach",
        (ops.Rescale(0, 1, 31, (16, 15), (16, 15)), row, [], ()),
        (ops.Rescale(0, 1, 31, (16, 15), (16, 16)), row, [], ()),
    )
    far = [((4,), 256, 300)], [((4,), 257, 300)]
    yield "reached", (ops.Rescale(0, 1, 1, (1,), (8, 1)), far[0], [], ()), (ops.Rescale(0, 1, 1, (1,), (8,)), far[1], [], ())
    yield "limb", (ops.Rescale(0, 1, 16, (16,), (8,)), row, [], ()), (ops.Rescale(0, 1, 17, (17,), (8,)), row, [], ())
    yield "limbs", (ops.Rescale(0, 1, 2, (2,), (8,)), row, [], ()), (ops.Rescale(0, 1, 0, (), (8,)), row, [], ())
    yield "top", (ops.TopIndex(0, 1, (16, 16, 8)), row, [], ()), (ops.TopIndex(0, 1, (16, 16, 9)), row, [], ())
    long = [(((1 << 20) - 1,), 0, 1)], [((1 << 20,), 0, 1)]
    yield "row", (ops.TopIndex(0, 1, (1,)), long[0], [], ()), (ops.TopIndex(0, 1, (1,)), long[1], [], ())
    cells = [(((1 << 16) - 1,), 0, 1)], [((1 << 16,), 0, 1)]
    yield "arg max", (ops.ArgMax(0, 1), cells[0], [], ()), (ops.ArgMax(0, 1), cells[1], [], ())
    maximum, with_exp = ops.RowMax(0, 1, ops.NONE, 0, False), ops.RowMax(0, 1, 2, 0, False)
    yield "row max", (maximum, cells[0], [], zeros), (maximum, cells[1], [], zeros)
    yield "no exp", (maximum, [((4,), 0, 1)], [], zeros), (maximum, [((4,), 0, 1)], [], (Table("one", 0, (1, 0)),))
    yield (
        "last",
        (with_exp, [((4,), 0, 1)], [], (Table("one", 0, (1, 0)),)),
        (with_exp, [((4,), 0, 1)], [], (Table("one", 0, (0, 1)),)),
    )
    yield "saturate", (with_exp, [((4,), 0, 1)], [], zeros), (with_exp, [((4,), 0, 2)], [], zeros)
    half = (1 << 16) - 1
    split = [((4,), 0, 2 * half + 1)], [((4,), 0, 2 * half + 2)]
    yield (
        "split",
        (ops.Requant(0, 1, 0, 0, (), True), split[0], [], slope),
        (ops.Requant(0, 1, 0, 0, (), True), split[1], [], slope),
    )
    deep = ops.Requant(0, 1, 0, 46, (16, 16, 14), False), ops.Requant(0, 1, 0, 47, (16, 16, 15), False)
    yield "depth", (deep[0], row, [], wide), (deep[1], row, [], wide)
    yield (
        "flag",
        (ops.Requant(0, 1, 0, 0, (), False), [((4,), -2, 1)], [], slope),
        (ops.Requant(0, 1, 0, 0, (), False), [((4,), -2, 2)], [], slope),
    )
    yield "lookup", (ops.Lookup(0, 1, 0), [((4,), -2, 1)], [], slope), (ops.Lookup(0, 1, 0), [((4,), -3, 1)], [], slope)
    yield "domain", (ops.Lookup(0, 1, 0), [((4,), 0, 1)], [], slope), (ops.Lookup(0, 1, 0), [((4,), 0, 1)], [], zeros)
    yield "recip", (ops.Recip(0, 1), [((4,), 1, (1 << 30) - 1)], [], ()), (ops.Recip(0, 1), [((4,), 1, 1 << 30)], [], ())
    yield "nought", (ops.Recip(0, 1), [((4,), 1, 2)], [], ()), (ops.Recip(0, 1), [((4,), 0, 2)], [], ())
    yield "root", (ops.Isqrt(0, 1), [((4,), 0, (1 << 60) - 1)], [], ()), (ops.Isqrt(0, 1), [((4,), 0, 1 << 60)], [], ())
    yield "negative", (ops.Isqrt(0, 1), [((4,), 0, 1)], [], ()), (ops.Isqrt(0, 1), [((4,), -1, 1)], [], ())
    yield "multiplier", (ops.Mul(0, 0, 1, (1 << 31) - 1), row, [], ()), (ops.Mul(0, 0, 1, 1 << 31), row, [], ())
    yield "none", (ops.Mul(0, 0, 1, -1), row, [], ()), (ops.Mul(0, 0, 1, 0), row, [], ())
    big = [((4,), 0, (1 << 31) - 1)], [((4,), 0, 1 << 31)]
    yield "no wrap", (ops.Mul(0, 0, 1, 1), big[0], [], ()), (ops.Mul(0, 0, 1, 1), big[1], [], ())
    table = [np.ones((5, 2), np.int64)]
    yield "rows", (ops.WeightRows(0, 0, 1), [((4,), 0, 4)], table, ()), (ops.WeightRows(0, 0, 1), [((4,), 0, 5)], table, ())
    yield "no row", (ops.WeightRows(0, 0, 1), [((4,), 0, 4)], table, ()), (ops.WeightRows(0, 0, 1), [((4,), -1, 4)], table, ())
    twice = ops.LinearCombination((0, 1), (1, 2), 3, 2), ops.LinearCombination((0, 0), (1, 2), 3, 2)
    yield "sources", (twice[0], [((4,), -9, 9), ((4,), 0, 1)], [], ()), (twice[1], [((4,), -9, 9), ((4,), 0, 1)], [], ())
    whole, part, nothing = piece((0, 1, 2, 3)), piece((0, 1, 2, ops.NONE)), piece((ops.NONE,) * 4)
    yield "constant", (ops.View((part,), 7, 1), row, [], (), (4,)), (ops.View((whole,), 7, 1), row, [], (), (4,))
    yield "covers", (ops.View((part,), 0, 1), row, [], (), (4,)), (ops.View((nothing,), 0, 1), row, [], (), (4,))
    other = piece((ops.NONE,) * 3 + (0,))
    yield "overlap", (ops.View((part, other), 0, 1), row, [], (), (4,)), (ops.View((whole, other), 0, 1), row, [], (), (4,))
    yield (
        "index",
        (ops.View((piece((3,) * 4),), 0, 1), row, [], (), (4,)),
        (ops.View((piece((4,) * 4),), 0, 1), row, [], (), (4,)),
    )
    yield (
        "fixed",
        (ops.View((ops.Piece(0, (ops.NONE,), ((0,),), (3,)),), 0, 1), row, [], (), (1,)),
        (ops.View((ops.Piece(0, (ops.NONE,), ((0,),), (4,)),), 0, 1), row, [], (), (1,)),
    )
    yield "cells", (ops.Relabel(0, 1), [((3, 4), 0, 1)], [], (), (12,)), (ops.Relabel(0, 1), [((4, 3), 0, 1)], [], (), (12,))
    yield "gather", (ops.Gather(0, 1, (3,), 0), row, [], (), (1,)), (ops.Gather(0, 1, (4,), 0), row, [], (), (1,))
    yield (
        "no gather",
        (ops.Gather(0, 1, (3, ops.NONE), 5), row, [], (), (2,)),
        (ops.Gather(0, 1, (ops.NONE,) * 2, 5), row, [], (), (2,)),
    )


LIMITS = {which: (passes, fails) for which, passes, fails in limits()}


@pytest.mark.parametrize("which", LIMITS)
def test_every_limit_is_where_the_page_says(which: str) -> None:
    passes, fails = LIMITS[which]
    engine, text = bounds_of(*passes)
    assert text == engine
    assert engine != "refused"
    assert bounds_of(*fails) == ["refused", "refused"]


def test_bounds_that_intervals_alone_do_not_give() -> None:
    """Sums of exponentials and quotients, and the same with one number changed, which may take the better bound away."""
    found = set()
    for axes, constant, multiplier, scale in product((1, 2), (-1, 0, 1, 1 << 16), (1, 2), (1, 3)):
        sketch = examples.Sketch(3)
        x = sketch.input((2, 3, 5), 1 if constant < 0 else -100, 100)
        squares = sketch.add(ops.RowSum, x, x, multiplier=multiplier, axes=1)
        root = sketch.add(ops.Isqrt, sketch.add(ops.LinearCombination, (squares,), (scale,), constant))
        if constant in (0, 1):  # the root may be 0; with 1 added it is no root any more
            root = sketch.add(ops.LinearCombination, (root,), (1,), 1)
        sketch.add(ops.RowScale, x, sketch.add(ops.Recip, root), multiplier=1)
        sketch.tables.append(Table("exp", 0, (*(max(1, 1000 - 7 * i) for i in range(255)), 0)))
        exponentials = sketch.add(ops.RowMax, x, table=0, saturate=False, outs=("out", "exp")) + 1
        total = sketch.add(ops.RowSum, exponentials, ops.NONE, multiplier=multiplier, axes=axes)
        mixed = sketch.add(ops.BatchedMatMul, exponentials, sketch.input((2, 5, 4)), multiplier=scale)
        if axes == 1:
            sketch.add(ops.RowScale, mixed, sketch.add(ops.Recip, total), multiplier=1)
        else:  # the factors of all rows are one: a shape, and a maker, that do not fit
            sketch.add(ops.RowSum, x, x, multiplier=1, axes=2)
        circuit = replace(sketch._circuit(), inputs=tuple(sketch.inputs))
        for op in circuit.ops:
            tensors = [circuit.tensors[out] for out in ops.results(op)]
            assert results_of(circuit, op) == [(one.shape, one.low, one.high, one.fill) for one in tensors], op
            if isinstance(op, ops.RowScale | ops.RowSum):
                found.add(tensors[0].high)
    assert len(found) >= 10


# --- the order of messages ---


class Listening(RehearsalParty):
    """Notes every value that the script asks for, sent or computed."""

    def __init__(self, circuit: Circuit) -> None:
        super().__init__(circuit)
        self.asked: list[tuple[str, int]] = []

    def read(self, tensor: int, axes: Any, label: str) -> Any:
        self.asked.append((label, 1))
        return super().read(tensor, axes, label)

    def column(self, operation: int, number: int, axes: Any, label: str) -> Any:
        self.asked.append((label, 1))
        return super().column(operation, number, axes, label)

    def message(self, operation: int, which: int, axes: Any, label: str) -> Any:
        self.asked.append((label, 1))
        return super().message(operation, which, axes, label)

    def weight(self, weight: int, axes: Any, label: str) -> Any:
        self.asked.append((label, 1))
        return super().weight(weight, axes, label)

    def intermediate(self, product: Any, label: str) -> Any:
        self.asked.append((label, 1))
        return super().intermediate(product, label)

    def _rounds(self, label: str, rounds: int, count: int) -> Any:
        self.asked += [(f"{label}.round", count)] * rounds
        return super()._rounds(label, rounds, count)


def told(name: str, *given: Any) -> list[tuple[str, int]]:
    return [(label, elements) for label, elements, often in TEXT[name](*given) for _ in range(often)]


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
def test_the_order_of_messages(made: tuple[Circuit, list[Any]], suite: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, _ = made
    hidden = suite is ZERO_KNOWLEDGE
    if hidden != circuit.zero_knowledge:
        circuit = replace(circuit, suite=suite.name, opening_budget=int(hidden and circuit.weight_visibility != 0))
    bus = buses.build(circuit)
    party = Listening(circuit)
    leaf_sum = LeafSum(bus, party.fractions(bus, (2, 1), (3, 1)), (2, 1), (3, 1))
    for number, blocks in enumerate(bus.by_operation):
        if not blocks:
            continue
        places = [leaf_sum.functional(block) for block in blocks]
        party.asked.clear()
        lookup_rows(party, number, places)
        op = circuit.ops[number]
        expected: dict[tuple[Any, ...], str] = {}
        for label, column, slot in TEXT[f"{type(op).__name__}_reads"](op, circuit):
            expected.setdefault((label, column, id(places[slot])), label)
        assert [label for label, _ in party.asked] == list(expected.values()), op
    for number in range(len(circuit.ops) - 1, -1, -1):
        op, name = circuit.ops[number], type(circuit.ops[number]).__name__
        party.asked.clear()
        check_operation(party, number)
        expected_list = told(f"{name}_check", op, circuit) if f"{name}_check" in TEXT else []
        for deferred in party.deferred(number):
            expected_list += told(f"{name}_product", op, circuit, deferred.which)
        assert party.asked == expected_list, op
        if ops.holds_results(op):
            continue
        for claim in party.pending[op.out]:  # type: ignore[union-attr]
            party.asked.clear()
            reduce_claim(party, number, claim.axes, claim.value)
            carried = told(f"{name}_carry", op, circuit)
            whole = isinstance(op, ops.Relabel) and ("relabel.round", 2) not in party.asked
            if isinstance(op, ops.BatchedMatMul) and op.a == op.b and len(party.asked) < len(carried):
                carried.pop()  # both functionals were equal
            assert party.asked == [one for one in carried if not (whole and one[0] == "relabel.round")], op


def test_the_constants_of_the_price_are_the_code_s() -> None:
    rows = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \| ([0-9]+(?:, [0-9]+)*) \|", PAGE, flags=re.MULTILINE)
    pairs = [pair for names, values in rows for pair in zip(names.split(", "), values.split(", "), strict=True)]
    stated = {name.strip("`"): int(value) for name, value in pairs}
    from_elsewhere = {"MAX_CLAIMS", "MAX_MESSAGES", "LINEAR_OR_VIEW", "NO_AXIS", "RANGE", "NONE"}
    named = vars(claim_readings) | vars(claim_counter)
    constants = {name for name, value in named.items() if name.isupper() and isinstance(value, int)}
    assert set(stated) == constants - from_elsewhere
    assert stated == {name: named[name] for name in stated}
