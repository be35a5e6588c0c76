"""The constraint list explains every committed column, and refuses one that has no range or no claim."""

from __future__ import annotations

import pytest

from tests.support.sumcheck_circuits import tiny_mlp
from tests.support.sumcheck_models import lowered, samples, small_cnn
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.constraints import CLAIM, RANGE, audit, committed_columns, constraints, listing
from verifai.errors import InternalError


def test_every_column_of_a_network_is_explained() -> None:
    net = small_cnn()
    circuit = lowered(net, samples(net)).circuit
    assert {type(op) for op in circuit.ops} >= {ops.Conv, ops.MatMul, ops.Requant, ops.WindowMax, ops.LinearCombination}
    found = audit(circuit)
    assert {one.operation for one in found} == {-1, *range(len(circuit.ops))}


@pytest.mark.parametrize("kind", [RANGE, CLAIM])
def test_a_column_without_a_range_or_a_claim_is_refused(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, _ = tiny_mlp()
    columns = sorted(column for column in committed_columns(circuit) if column[0] != "count")
    assert columns
    genuine = constraints(circuit)
    for column in columns:
        without = tuple(one for one in genuine if not (one.kind == kind and column in one.columns))
        assert len(without) < len(genuine)
        monkeypatch.setattr("verifai.engines.sumcheck.constraints.constraints", lambda _, kept=without: kept)
        with pytest.raises(InternalError, match=kind):
            audit(circuit)


def test_a_column_that_no_constraint_mentions_is_refused() -> None:
    circuit, _ = tiny_mlp()
    with pytest.raises(InternalError, match="range"):
        audit(circuit, [*committed_columns(circuit), ("column", 1, 7)])


def test_the_listing_names_each_operation_and_its_limbs() -> None:
    text = listing(tiny_mlp()[0])
    assert "op 0 MatMul" in text and "op 1 Requant" in text and "rem0 ∈ [0, 2^3)" in text
    assert "checked on the stated cells" in text and "row L1" in text
