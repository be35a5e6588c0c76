"""The price of verifying: its counts are the rehearsal's, and no verification takes more than its price."""

from __future__ import annotations

import re
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support import sumcheck_examples as examples
from tests.support.cpu_time import takes_at_most
from tests.support.paths import ROOT
from tests.support.sumcheck_examples import Sketch
from tests.support.zk_circuits import pieces
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Circuit
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.planning import price as pricing
from verifai.engines.sumcheck.planning.plan import plan, planned
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.planning.price import (
    BASE_BYTES,
    Allowance,
    most_messages,
    price_of,
    price_of_relation,
    price_with_openings,
)
from verifai.engines.sumcheck.planning.rehearsal import RehearsalParty, _play
from verifai.engines.sumcheck.protocol import axes
from verifai.engines.sumcheck.protocol.proof import opening_bytes
from verifai.engines.sumcheck.protocol.relations import Kind, check_relation
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE, Suite
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.prover.warm_up_circuits import random_input, warm_up_circuits
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.errors import ResourceExhausted


def _rows() -> tuple[Circuit, list]:
    """Every operation along rows, and views, relabels and products of virtual tensors."""
    s = Sketch(5)
    x = s.input((3, 5))
    y = s.requant(s.add(ops.LinearCombination, (x,), (3,), 1))
    turned = s.add(ops.View, (ops.Piece(y, (1, 0), (tuple(range(5)), tuple(range(3))), (ops.NONE,) * 2),), 0, shape=(5, 3))
    sums = s.add(ops.BatchedMatMul, y, turned, multiplier=2)
    flat = s.add(ops.Relabel, s.requant(sums), shape=(3, 3))
    joined = s.add(
        ops.View,
        (
            ops.Piece(flat, (0, 1), ((0, 1, 2), (0, 1, 2, ops.NONE)), (ops.NONE,) * 2),
            ops.Piece(y, (0, ops.NONE), ((0, 1, 2), (ops.NONE,) * 3 + (0,)), (ops.NONE, 4)),
        ),
        0,
        shape=(3, 4),
    )
    squared = s.requant(s.add(ops.Mul, joined, joined, multiplier=1))
    rows = s.requant(s.add(ops.RowSum, squared, squared, multiplier=1, axes=1))
    best = s.add(ops.ArgMax, y)
    return s.finish(rows, best), s.cells


def _cut_slice() -> tuple[Circuit, list]:
    """A slice of a reshape, whose vector another reshape would have to cut."""
    s = Sketch(25)
    held = s.requant(s.matmul(s.input((1, 4)), 16))
    folded = s.add(ops.Relabel, s.add(ops.Relabel, held, shape=(1, 1, 4, 4)), shape=(1, 1, 16, 1))
    kept = ((0,), (0,), (0, 1, 2), (0,))
    narrow = s.add(ops.View, (ops.Piece(folded, (0, 1, 2, 3), kept, (ops.NONE,) * 4),), 0, shape=(1, 1, 3, 1))
    return s.finish(s.requant(narrow)), s.cells


def _many_points() -> tuple[Circuit, list]:
    """Sums over one long input, each of which ends at a point of its own, whose table is that long."""
    s = Sketch(1)
    x = s.input((1, 1 << 11))
    sums = tuple(s.requant(s.matmul(x, 1)) for _ in range(10))
    return s.finish(s.requant(s.add(ops.LinearCombination, sums, (1,) * len(sums), 0))), s.cells


CIRCUITS: dict[str, Callable[[], tuple[Circuit, list]]] = {
    "mlp": examples.mlp,
    "hashed": lambda: examples.mlp(hashed_input=True, hashed_output=True),
    "committed": lambda: examples.cnn(committed=True),
    "cnn": examples.cnn,
    "products": examples.products,
    "rows": _rows,
    "odd rows": examples.odd_rows,
    "wide sums": examples.wide_sums,
    "language model": examples.language_model,
    "language model, committed": lambda: examples.language_model(committed=True),
    "odd image": lambda: examples.odd_image(committed=True),
    "slice of a reshape": _cut_slice,
    "many points": _many_points,
    **{f"warm-up {i}": lambda i=i: warm_up_circuits()[i] for i in range(len(warm_up_circuits()))},
}


def _in(suite: Suite, made: tuple[Circuit, list]) -> tuple[Circuit, list]:
    return planned(replace(made[0], commitments=(), soundness=()), suite), made[1]


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
@pytest.mark.parametrize("name", CIRCUITS)
def test_counts_are_those_of_the_rehearsal(name, suite):
    circuit, _ = _in(suite, CIRCUITS[name]())
    played = _play(circuit, plan(circuit).bus)
    inverses = suite.zero_knowledge  # of the lookups' root
    price = price_of(circuit)
    assert price.messages == sum(count for label, count in played.messages if label != "product") - inverses
    assert price.claims == played.claims + len(played.openings)


@pytest.mark.parametrize("name", CIRCUITS)
def test_counts_are_those_of_the_rehearsal_in_pieces_too(name):
    """Every odd tensor in pieces, so that lookups of all operations fall into several groups."""
    with pieces():
        test_counts_are_those_of_the_rehearsal(name, INTEGRITY)


@pytest.mark.parametrize(
    ("kind", "widths", "alone", "sums"),
    [
        (Kind.REGISTRATION, (11, 11, 11, 11), False, 1),
        (Kind.LINK, (11, 11, 11, 11), False, 0),
        (Kind.REGISTRATION, (11, 12, 11, 15), True, 1),
        (Kind.REGISTRATION, (11, 16, 29, 15), True, 2),
        (Kind.LINK, (11, 16, 29, 15), True, 0),
    ],
)
def test_counts_of_relations_are_those_of_the_rehearsal(kind, widths, alone, sums):
    made = examples.mlp(committed=True)[0]
    bounds = [(1 << bits) - 1 for bits in widths]
    norms = [
        bound * (one.size // one.shape[0]) if alone else (1 << 12) - 1 for one, bound in zip(made.weights, bounds, strict=True)
    ]
    weights = tuple(
        replace(one, bound=bound, row_l1=norm) for one, bound, norm in zip(made.weights, bounds, norms, strict=True)
    )
    circuit = planned(replace(made, weights=weights, commitments=(), soundness=()), ZERO_KNOWLEDGE)
    drawn = plan_relation(kind, circuit)
    party = RehearsalParty(drawn.circuit)
    check_relation(kind, party, circuit.weights, drawn.parts, drawn.layout.bus, drawn.sums)
    price = price_of_relation(kind, circuit)
    assert price.messages == sum(count for label, count in party.messages if label != "product") - sums
    assert price.claims == party.claims + len(party.openings)


@pytest.mark.parametrize("suite", [INTEGRITY, ZERO_KNOWLEDGE], ids=lambda suite: suite.name)
@pytest.mark.parametrize(
    "name",
    [
        "mlp",
        "hashed",
        "committed",
        "cnn",
        "rows",
        "odd rows",
        "odd image",
        "language model, committed",
        "many points",
    ],
)
def test_verifying_takes_no_more_than_its_price(name, suite, monkeypatch):
    circuit, weights = _in(suite, CIRCUITS[name]())
    key = prepare(circuit, weights)
    proven = prove(key, run(circuit, weights, random_input(circuit)), opening_number=0)
    data, blob = encode(circuit), encode_weights(circuit, [cells.reshape(-1).tolist() for cells in weights])
    digest = circuit_digest(data)

    def verified():
        trusted = trust_circuit(data, digest)
        verify(trusted, trust_weights(trusted, key.identity, blob), proven.statement, proven.proof)
        return trusted

    trusted = verified()
    monkeypatch.setattr(axes, "_recent_table", axes._RecentTables())  # what it keeps for later is its own as well
    tracemalloc.start()
    try:
        verified()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert takes_at_most(trusted.price.seconds, verified)
    assert peak <= trusted.price.memory_bytes - BASE_BYTES
    assert trusted.price.memory_bytes < 200 << 20
    assert trusted.price.seconds < 5
    shapes = trusted.layout.commitments()
    assert len(proven.proof) <= 16 * most_messages(trusted.price, trusted.layout) + sum(
        opening_bytes(shape) for shape in shapes
    )


def test_what_exceeds_the_allowance_is_refused_before_it_is_planned(monkeypatch):
    circuit, _ = examples.cnn()
    data = encode(circuit)
    digest = circuit_digest(data)
    price = trust_circuit(data, digest).price
    for allowance in (Allowance(price.memory_bytes - 1, 60.0), Allowance(1 << 40, price.seconds / 2)):
        with pytest.raises(ResourceExhausted) as caught:
            trust_circuit(data, digest, allowance)
        assert (caught.value.code, caught.value.status) == ("verification-over-budget", 4)
    assert trust_circuit(data, digest, Allowance(price.memory_bytes, price.seconds)).price == price
    with_openings = price_with_openings(price_of(circuit, len(data)), plan(circuit))
    assert with_openings == price


def test_kinds_of_claims_that_are_too_many_count_as_the_most_costly():
    """A tensor that is read in more ways than are told apart: the price may only grow."""
    s = Sketch(1)
    x = s.input((4, 4, 4, 4))
    whole = tuple(range(4))
    z = s.add(ops.Mul, x, x, multiplier=1)
    views = []
    for bits in range(16):
        kept = tuple(whole if bits >> axis & 1 else (1, 0, 3, 2) for axis in range(4))
        views.append(s.add(ops.View, (ops.Piece(z, (0, 1, 2, 3), kept, (ops.NONE,) * 4),), 0, shape=(4, 4, 4, 4)))
    total = s.add(ops.LinearCombination, tuple(views), (1,) * 16, 0)
    out = s.requant(s.add(ops.RowSum, total, ops.NONE, multiplier=1, axes=4))
    circuit = s.finish(out)
    played = _play(circuit, plan(circuit).bus)
    assert price_of(circuit).messages == sum(count for _, count in played.messages)


def test_the_constants_in_the_protocol_are_the_code_s() -> None:
    text = (ROOT / "docs" / "engine" / "protocol.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \| ([0-9]+(?:, [0-9]+)*) \|", text, re.MULTILINE)
    pairs = [pair for names, values in rows for pair in zip(names.split(", "), values.split(", "), strict=True)]
    told = {name.strip("`"): int(value) for name, value in pairs}
    assert len(told) >= 20
    assert told == {name: getattr(pricing, name) for name in told}
