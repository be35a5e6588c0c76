"""Every concern of the engine knows every operation: no table has a gap, and a gap would be refused, not passed over."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest

import verifai.engines.sumcheck as engine
from verifai.engines.sumcheck import constraints
from verifai.engines.sumcheck.circuit import batch, bounds, check, codec, ops
from verifai.engines.sumcheck.circuit.dispatch import NotApplicable, dispatch, find, require
from verifai.engines.sumcheck.interpreter import positions
from verifai.engines.sumcheck.interpreter import run as interpreter
from verifai.engines.sumcheck.lowering import batched
from verifai.engines.sumcheck.planning import claim_checks, claim_reductions, claim_rows
from verifai.engines.sumcheck.protocol import buses, operations
from verifai.engines.sumcheck.prover import product_arrays, witness
from verifai.errors import InternalError

KINDS: tuple[type[Any], ...] = get_args(ops.Op)
Table = Mapping[type[Any], Any]


def circuit_of(op: Any) -> Any:
    """The least that a dispatcher looks at before it looks into its table."""
    return SimpleNamespace(ops=[op], tensors=(), weights=(), inputs=(), outputs=())


def party_of(op: Any, *deferred: Any) -> Any:
    return SimpleNamespace(circuit=circuit_of(op), deferred=lambda number: deferred)


CONCERNS: dict[str, Callable[[Any], Any]] = {
    "circuit.ops._RESULT_KIND": ops.holds_results,
    "circuit.ops._OPERANDS": ops.operands,
    "circuit.ops._RESULTS": ops.results,
    "circuit.bounds._RULES": lambda op: bounds.infer(circuit_of(op), op),
    "circuit.check._NAMED": check._named,
    "circuit.batch._RULES": lambda op: batch.keeps_apart(circuit_of(op), op),
    "lowering.batched._TAKEN": batched.axes_taken_in,
    "circuit.codec._WRITTEN": codec._op,
    "interpreter.positions._RULES": lambda op: positions.rows_of(circuit_of(op), ()),
    "interpreter.run.STEPS": lambda op: interpreter.run(circuit_of(op), [], []),
    "constraints._RULES": lambda op: constraints.constraints(circuit_of(op)),
    "protocol.buses._LOOKUPS": lambda op: buses.lookups_of(circuit_of(op), 0),
    "protocol.buses._COLUMNS": lambda op: buses.columns_of(circuit_of(op), op),
    "protocol.operations._LOOKUP_ROWS": lambda op: operations.lookup_rows(party_of(op), 0, lambda size: ()),
    "protocol.operations._CHECKS": lambda op: operations.check_operation(party_of(op), 0),
    "protocol.operations._PRODUCTS": lambda op: operations.check_operation(party_of(op, object()), 0),
    "protocol.operations._REDUCTIONS": lambda op: operations.reduce_claim(party_of(op), 0, (), None),  # type: ignore[arg-type]
    "planning.claim_rows._ROWS": lambda op: claim_rows.count_rows(party_of(op), 0, ()),
    "planning.claim_checks._CHECKS": lambda op: claim_checks.count_check(party_of(op), 0),
    "planning.claim_checks._PRODUCTS": lambda op: claim_checks.count_product(party_of(op), 0, 0),
    "planning.claim_reductions._REDUCTIONS": lambda op: claim_reductions.count_claims(party_of(op), 0, 0, 1),
    "prover.witness._COLUMNS": lambda op: witness.Witness(circuit_of(op), None, [], {}),  # type: ignore[arg-type]
    "prover.witness._ROWS": lambda op: witness.Witness.rows(party_of(op), 0),
    "prover.witness._MESSAGES": lambda op: witness.Witness.message(party_of(op), 0),
    "prover.witness._FACTORS": lambda op: witness.Witness.factors(party_of(op), 0, 0),
    "prover.product_arrays._INNER_PRODUCTS": lambda op: product_arrays.inner_product_arrays(party_of(op), (), op, ()),
    "prover.product_arrays._WEIGHTED_PRODUCTS": lambda op: product_arrays.weighted_product_arrays(party_of(op), 0, 0, ()),
}
"""Every dispatch table of the engine, and what a caller does to use it. The cost estimate and the prover's functionals have
none: they work on sizes and vectors, whatever the operation."""


@cache
def all_tables() -> dict[str, Table]:
    """Every dict of the engine's modules that is keyed by classes of operations."""
    found: dict[str, Table] = {}
    for module in pkgutil.walk_packages(engine.__path__, f"{engine.__name__}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            imported = any(value is other for other in found.values())
            if isinstance(value, dict) and value and set(value) & set(KINDS) and not imported:
                found[f"{module.name.removeprefix(engine.__name__ + '.')}.{name}"] = value
    return found


def gaps(tables: Mapping[str, Table], kinds: tuple[type[Any], ...] = KINDS) -> list[tuple[str, str]]:
    """(table, operation) wherever a table says nothing about an operation, or gives no reason for doing nothing."""
    return [
        (name, kind.__name__)
        for name, table in tables.items()
        for kind in kinds
        if kind not in table or (isinstance(table[kind], NotApplicable) and not table[kind].reason.strip())
    ]


def instance(kind: type[Any]) -> Any:
    """An operation without fields: a dispatcher has to choose by class alone."""
    return object.__new__(kind)


class Unheard:
    """An operation that no table knows."""


def test_the_union_lists_every_operation_of_the_module() -> None:
    defined = {value for value in vars(ops).values() if isinstance(value, type) and value.__module__ == ops.__name__}
    assert defined - {ops.Piece} == set(KINDS)
    assert len(KINDS) == len(set(KINDS)) == 22


def test_the_tables_below_are_all_there_are() -> None:
    assert set(all_tables()) == set(CONCERNS)


@pytest.mark.parametrize("name", CONCERNS)
def test_every_table_knows_every_operation_and_no_other(name: str) -> None:
    table = all_tables()[name]
    assert gaps({name: table}) == []
    assert set(table) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("name", CONCERNS)
def test_an_entry_that_is_taken_away_is_found_missing_and_refused(
    name: str, kind: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    table: Any = all_tables()[name]
    # What comes before the look-up in some dispatchers, and is not their concern.
    monkeypatch.setattr(witness, "columns_of", lambda circuit, op: [])
    if name != "protocol.operations._CHECKS":
        monkeypatch.setitem(operations._CHECKS, kind, NotApplicable("not what this test is about"))  # type: ignore[arg-type]
    monkeypatch.delitem(table, kind)
    assert gaps({name: table}) == [(name, kind.__name__)]
    with pytest.raises(InternalError, match=kind.__name__) as caught:
        CONCERNS[name](instance(kind))
    assert caught.value.code == "bug"


@pytest.mark.parametrize("name", CONCERNS)
def test_an_operation_that_no_table_knows_is_refused_and_never_treated_as_another(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(witness, "columns_of", lambda circuit, op: [])
    if name == "protocol.operations._PRODUCTS":
        monkeypatch.setitem(operations._CHECKS, Unheard, NotApplicable("not what this test is about"))  # type: ignore[arg-type]
    assert gaps({name: all_tables()[name]}, (*KINDS, Unheard)) == [(name, "Unheard")]
    with pytest.raises(InternalError, match="Unheard") as caught:
        CONCERNS[name](Unheard())
    assert caught.value.code == "bug"


def test_a_reason_has_to_be_given() -> None:
    assert gaps({"some": {**dict.fromkeys(KINDS, 1), ops.View: NotApplicable(" ")}}) == [("some", "View")]


def test_an_operation_with_nothing_to_do_is_told_from_one_that_is_missing() -> None:
    rules = dispatch({ops.Mul: 1}, ("it has no parameters", (ops.View,)))
    assert find(rules, instance(ops.Mul), "numbers") == require(rules, instance(ops.Mul), "numbers") == 1
    assert find(rules, instance(ops.View), "numbers") is None
    with pytest.raises(InternalError, match="it has no parameters"):
        require(rules, instance(ops.View), "numbers")
    with pytest.raises(InternalError, match="Conv is not in the table of numbers"):
        find(rules, instance(ops.Conv), "numbers")


def test_an_operation_cannot_be_entered_twice() -> None:
    with pytest.raises(InternalError, match="twice"):
        dispatch({ops.Mul: 1}, ("it has no parameters", (ops.Mul,)))


def test_no_module_has_a_default_for_operations_that_it_does_not_know() -> None:
    sources = Path(engine.__path__[0]).rglob("*.py")
    assert [path.name for path in sources if ".get(type(" in path.read_text("utf-8")] == []


def test_every_operation_is_written_field_by_field_under_a_code_of_its_own() -> None:
    assert len({code for code, _, _ in codec.OPERATIONS}) == len({kind for _, kind, _ in codec.OPERATIONS}) == len(KINDS)
    for _, kind, written in codec.OPERATIONS:
        assert len(fields(kind)) == len(written)
        assert set(written) <= set(codec._ENCODE) & set(codec._DECODE)
