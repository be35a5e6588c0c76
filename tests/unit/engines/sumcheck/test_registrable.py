"""Hidden weights of which no registration can be proven are refused before anything of them is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.batch_circuits import small_circuit
from tests.support.sumcheck_hostile import Draft
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.engines.sumcheck import compiling
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Circuit, Weight
from verifai.engines.sumcheck.compiling import require_registrable
from verifai.engines.sumcheck.planning.plan import planned
from verifai.engines.sumcheck.planning.plan_relation import plan_relation
from verifai.engines.sumcheck.protocol.relations import Kind
from verifai.engines.sumcheck.protocol.soundness import FIELD_SIZE, millibits
from verifai.engines.sumcheck.protocol.suite import ZERO_KNOWLEDGE
from verifai.errors import UnsupportedModel, UsageError


def hidden(rows: int, columns: int) -> Circuit:
    """A product with that many hidden weights of eight bits, of which a circuit holds nothing but the shape."""
    draft = Draft()
    x = draft.hidden((1, columns))
    draft.weights.append(Weight("w", (rows, columns), 127, (1 << 20) - 1))
    total = draft.add(ops.RowSum, draft.add(ops.MatMul, x, 0, ops.NONE, contract=1), ops.NONE, multiplier=1, axes=1)
    return planned(draft.close(draft.requant(total), committed=True), ZERO_KNOWLEDGE, 1)


@pytest.mark.parametrize("rows", [1024, 4096, 5120])
def test_a_registration_counts_its_own_leaves(rows: int) -> None:
    circuit = hidden(rows, 8192)
    require_registrable(circuit)
    layout = plan_relation(Kind.REGISTRATION, circuit).layout
    assert layout.bus.leaves > 2 * rows * 8192 and layout.bus.log_leaves in (25, 27)
    counted = 4 << 25 if layout.bus.log_leaves == 25 else 3 * layout.bus.leaves
    assert layout.soundness[0].millibits == millibits(counted, FIELD_SIZE) >= 100_000


def test_weights_that_are_too_many_for_their_registration_are_refused() -> None:
    with pytest.raises(UnsupportedModel) as caught:
        require_registrable(hidden(16384, 8192))
    assert (caught.value.code, caught.value.where) == ("sumcheck-too-large", "lookups: fractions")
    assert "98.414 bits" in caught.value.message and "split" in caught.value.hint


def test_nothing_of_them_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(kind: Kind, circuit: Circuit) -> None:
        raise UnsupportedModel("sumcheck-too-large", "only 99.4 bits", where="lookups: fractions")

    monkeypatch.setattr(compiling, "plan_relation", refuse)
    with pytest.raises(UnsupportedModel) as caught:
        small_circuit(tmp_path, "many", Visibility.PUBLIC, WeightVisibility.PRIVATE)
    assert caught.value.code == "sumcheck-too-large"
    assert not list(tmp_path.rglob("weights-*")) and not list(tmp_path.rglob("circuit.lock"))
    monkeypatch.undo()
    (tmp_path / "kept").mkdir()
    small_circuit(tmp_path / "kept", "few", Visibility.PUBLIC, WeightVisibility.PRIVATE)
    assert list(tmp_path.rglob("weights-*")) and list(tmp_path.rglob("circuit.lock"))


def test_private_weights_of_a_model_without_any_are_no_weights() -> None:
    draft = Draft()
    circuit = planned(draft.close(draft.requant(draft.hidden((1, 4))), committed=True), ZERO_KNOWLEDGE, 1)
    assert not circuit.weights and circuit.opening_budget == 1
    with pytest.raises(UsageError) as caught:
        require_registrable(circuit)
    assert (caught.value.code, caught.value.where) == ("privacy-unsupported", "weights")
