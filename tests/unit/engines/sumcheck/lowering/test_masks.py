"""Constant masks before a softmax: masked cells are 0, and the others are as precise as without a mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.support.lowering_runs import FINE, built, feeds_of, n, net, outputs, prove_in_both_suites, supported, worst_steps
from tests.support.sumcheck_models import scales_for
from verifai.engines.sumcheck.circuit.program import Visibility, WeightVisibility
from verifai.engines.sumcheck.lowering.lower import lower
from verifai.onnx_graph.model import OnnxModel

f = np.float32
CAUSAL = np.tri(5, dtype=bool)
LOW = f(-1e9)


def added(mask: Any, shape: tuple[int, ...] = (2, 5, 5), axis: int = -1) -> OnnxModel:
    return net(shape, shape, n("Add", "x", "m", out="s"), n("Softmax", "s", axis=axis), m=np.asarray(mask, f))


def chosen(mask: Any, value: Any = LOW, shape: tuple[int, ...] = (2, 5, 5), axis: int = -1) -> OnnxModel:
    return net(shape, shape, n("Where", "m", "x", "k", out="s"), n("Softmax", "s", axis=axis), m=mask, k=value)


CASES: dict[str, OnnxModel] = {
    "causal, added": added(np.where(CAUSAL, 0, LOW)),
    "causal, -10000": added(np.where(CAUSAL, 0, -1e4)),
    "causal, the least float": added(np.where(CAUSAL, 0, np.finfo(f).min)),
    "causal, chosen": chosen(CAUSAL),
    "causal, chosen where it does not hold": net(
        (2, 5, 5), (2, 5, 5), n("Where", "m", "k", "x", out="s"), n("Softmax", "s"), m=~CAUSAL, k=LOW
    ),
    "columns": chosen(np.array([1, 0, 1, 1, 0], bool)),
    "along another axis": added(np.where(CAUSAL, 0, LOW), axis=1),
    "with positions": added(np.where(CAUSAL, np.arange(5) / 4, LOW)),
    "with another number in each row": added(np.where(CAUSAL, np.arange(5)[:, None], LOW)),
    "a row masked in full": chosen(np.tri(5, k=-1, dtype=bool)),
    "a row lowered in full": added(np.where(np.arange(5)[:, None] == 2, LOW, 0) + np.zeros((5, 5))),
    "nothing masked": added(np.arange(5) / 4),
    "a choice within reach": chosen(CAUSAL, f(-1)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_masked_softmax_is_as_precise_as_any(name: str) -> None:
    source = CASES[name]
    feeds = feeds_of(source, low=-4, high=4)
    made = built(source, feeds)
    assert worst_steps(source, made, feeds) <= 4
    assert supported(source)


@pytest.mark.parametrize("name", ["causal, added", "causal, chosen", "columns"])
def test_masked_cells_are_exactly_0_at_the_ends_of_the_range(name: str) -> None:
    """Kept cells at the least value, masked ones at the largest: what could come nearest to showing."""
    source = CASES[name]
    feeds = feeds_of(source, low=-4, high=4)
    made = built(source, feeds)
    keep = np.broadcast_to(np.array([1, 0, 1, 1, 0], bool) if name == "columns" else CAUSAL, (2, 5, 5))
    ((found, expected, step),) = outputs(source, made, {"x": np.where(keep, -4, 4).astype(f)})
    assert not found[~keep].any() and np.abs(found - expected).max() <= 3 * step


def test_a_mask_that_is_barely_one_is_kept_as_numbers() -> None:
    """-9 is within reach of the others, so it is added, not taken for a mask."""
    source = added(np.where(CAUSAL, 0, -9))
    feeds = feeds_of(source, low=-4, high=4)
    made = built(source, feeds)
    assert worst_steps(source, made, feeds) <= 12  # a step of 17/4096 in the exponent


@pytest.mark.parametrize("name", ["causal, added", "with positions", "a row masked in full"])
def test_a_mask_is_proven_in_both_suites(name: str) -> None:
    prove_in_both_suites(CASES[name], feeds_of(CASES[name]))


def hidden(source: OnnxModel) -> list[str]:
    """The circuit's operations when the weights are committed."""
    tensors = {"x": Visibility.PUBLIC, "y": Visibility.PUBLIC}
    scales = scales_for(source, feeds_of(source), FINE)
    made = lower(source, scales, tensors=tensors, weights=WeightVisibility.COMMITTED, split=True)
    return [type(op).__name__ for op in made.circuit.ops]


def test_only_the_causal_mask_shows_in_a_circuit_whose_weights_are_hidden() -> None:
    """Any other mask may be a secret of the model: it stays among the weights, at the price of precision."""
    assert "Conv" not in hidden(CASES["causal, added"])
    assert "Conv" in hidden(CASES["columns"])


def test_circuits_pinned_before_masks_were_looked_for_come_out_as_they_were() -> None:
    source = CASES["causal, added"]
    scales = scales_for(source, feeds_of(source), FINE)
    made = lower(source, scales, tensors={"x": Visibility.PUBLIC, "y": Visibility.PUBLIC}, fold=False)
    assert "Conv" in [type(op).__name__ for op in made.circuit.ops]


FIRST = np.array([True, False, False, False, False])


def computed(keeps: bool) -> OnnxModel:
    """Cells above 0, and the first of each row, are kept: the mask depends on the input."""
    chosen_from = ("c", "x", "k") if keeps else ("d", "k", "x")
    nodes = [n("Greater", "x", "zero", out="g"), n("Or", "g", "first", out="c"), n("Not", "c", out="d")]
    nodes.append(n("Where", *chosen_from, out="s"))
    used = nodes if not keeps else [nodes[0], nodes[1], nodes[3]]
    return net((2, 5, 5), (2, 5, 5), *used, n("Softmax", "s"), zero=f(0), first=FIRST, k=f(-30000))


@pytest.mark.parametrize("keeps", [True, False])
def test_a_computed_mask_is_as_precise_as_any_and_masks_in_full(keeps: bool) -> None:
    source = computed(keeps)
    feeds = feeds_of(source, low=-4, high=4)
    made = built(source, feeds)
    assert worst_steps(source, made, feeds) <= 4
    assert supported(source)
    values = np.where(np.broadcast_to(FIRST, (2, 5, 5)), -4, np.where(np.arange(5) % 2, -4, 4)).astype(f)
    ((found, expected, step),) = outputs(source, made, {"x": values})
    keep = (values > 0) | FIRST
    assert not found[~keep].any()
    assert np.abs(found - expected).max() <= 3 * step


def test_a_computed_mask_is_proven_in_both_suites() -> None:
    prove_in_both_suites(computed(True), feeds_of(computed(True)))


def test_a_computed_choice_within_reach_is_no_mask() -> None:
    nodes = (n("Greater", "x", "zero", out="c"), n("Where", "c", "x", "k", out="s"), n("Softmax", "s"))
    source = net((2, 5, 5), (2, 5, 5), *nodes, zero=f(0), k=f(-2))
    feeds = feeds_of(source, low=-4, high=4)
    assert worst_steps(source, built(source, feeds), feeds) <= 12
