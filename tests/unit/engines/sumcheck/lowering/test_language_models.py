"""A whole Llama, as exporters write it: what is recognised, what stays unrounded, how near it comes, and that it is proven."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from tests.support.llama_model import llama
from tests.support.sumcheck_models import Array, model, samples, scales_for
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.codec import circuit_digest, encode
from verifai.engines.sumcheck.circuit.program import Visibility, WeightVisibility
from verifai.engines.sumcheck.circuit.weights import encode_weights
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.batched import batched
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.planning.plan import DEFAULT_BUDGET, plan, planned
from verifai.engines.sumcheck.protocol.suite import INTEGRITY, ZERO_KNOWLEDGE, Suite
from verifai.engines.sumcheck.prover.prove import prepare, prove
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions
from verifai.engines.sumcheck.verifier.verify import trust_circuit, trust_weights, verify
from verifai.onnx_graph.model import OnnxModel
from verifai.onnx_graph.reference import Reference

OPTIONS = QuantiserOptions(activation_bits=12, output_bits=12)


@cache
def net(massive: float = 1.0) -> OnnxModel:
    return llama(massive=massive)


@cache
def feeds() -> tuple[dict[str, Array], ...]:
    random = np.random.default_rng(1)
    return tuple({"ids": random.integers(0, 300, (1, 6))} for _ in range(16))


@cache
def lowered(massive: float = 1.0, unrounded: bool = True, committed: bool = False, suite: Suite = INTEGRITY) -> Lowered:
    source, kind = net(massive), WeightVisibility.COMMITTED if committed else WeightVisibility.PUBLIC
    options = replace(OPTIONS, unrounded=unrounded)
    public = {"ids": Visibility.PUBLIC, "next": Visibility.PUBLIC}
    budget = DEFAULT_BUDGET if committed and suite.zero_knowledge else 0
    return lower(
        source, scales_for(source, feeds(), options), tensors=public, weights=kind, split=True, suite=suite,
        unrounded=unrounded, opening_budget=budget,
    )  # fmt: skip


def kinds(made: Lowered) -> Counter[type]:
    return Counter(type(op) for op in made.circuit.ops)


def agreement(made: Lowered, source: OnnxModel) -> float:
    """The share of positions at which the circuit's next token is onnxruntime's."""
    reference = Reference(source)
    found = [run(made.circuit, made.weights, [feed["ids"]]).outputs()[0].reshape(-1) for feed in feeds()]
    wanted = [np.asarray(reference.run(feed)["next"]).reshape(-1) for feed in feeds()]
    return float((np.stack(found) == np.stack(wanted)).mean())


def test_every_part_of_a_llama_is_recognised() -> None:
    found = kinds(lowered())
    assert (found[ops.WeightRows], found[ops.TopIndex]) == (1, 1)
    assert found[ops.GatedMatMul] == 2  # gate × up of each layer
    assert found[ops.RowScale] == 7  # five norms, two mixtures
    assert found[ops.Recip] == 7 and found[ops.Isqrt] == 5
    assert not found[ops.Mul] and not found[ops.ArgMax]
    assert found[ops.BatchedMatMul] == 4


def test_embedding_and_head_are_one_weight() -> None:
    made = lowered()
    rows = next(op for op in made.circuit.ops if isinstance(op, ops.WeightRows))
    head = [op for op in made.circuit.ops if isinstance(op, ops.MatMul) and op.weight == rows.weight]
    assert len(head) == 1 and head[0].out == made.circuit.ops[-1].x  # type: ignore[union-attr]
    assert sum(weight.shape == (300, 16) for weight in made.circuit.weights) == 1


def test_rotated_rows_are_not_rounded() -> None:
    """Both operands of the scores are virtual, through transposes and the repetition of groups."""
    made = lowered()
    makers = {out: op for op in made.circuit.ops for out in ops.results(op)}
    scores = next(op for op in made.circuit.ops if isinstance(op, ops.BatchedMatMul))
    for tensor in (scores.a, scores.b):
        while isinstance(makers[tensor], ops.View | ops.Relabel):
            tensor = ops.operands(makers[tensor])[0]
        assert isinstance(makers[tensor], ops.LinearCombination)


@pytest.mark.parametrize("massive", [1.0, 300.0])
def test_next_tokens_are_those_of_float32(massive: float) -> None:
    assert agreement(lowered(massive), net(massive)) >= 0.98


def test_it_commits_less_than_with_everything_rounded() -> None:
    few, many = (plan(planned(lowered(unrounded=flag).circuit, INTEGRITY)) for flag in (True, False))
    assert few.witness.stored_cells < 0.8 * many.witness.stored_cells


def test_a_stream_with_massive_cells_is_held_on_a_wide_grid() -> None:
    """And its cells keep many steps; a stream of ordinary cells is not."""
    wide = [op for op in lowered(300.0).circuit.ops if isinstance(op, ops.Rescale) and sum(op.digits) > 16]
    ordinary = [op for op in lowered().circuit.ops if isinstance(op, ops.Rescale) and sum(op.digits) > 16]
    assert len(wide) == 3 and not ordinary


@pytest.mark.parametrize(
    ("suite", "committed"),
    [
        pytest.param(INTEGRITY, False, id="public"),
        pytest.param(ZERO_KNOWLEDGE, True, id="hidden", marks=pytest.mark.slow),
    ],
)
def test_a_llama_is_proven_and_verified(suite: Suite, committed: bool) -> None:
    made = lowered(300.0, committed=committed, suite=suite)
    circuit = planned(made.circuit, suite, DEFAULT_BUDGET if committed else 0)
    key = prepare(circuit, made.weights, weights_seed=bytes(32))
    proven = prove(key, run(circuit, made.weights, [feeds()[0]["ids"]]), opening_number=0)
    data, blob = encode(circuit), encode_weights(circuit, [cells.reshape(-1).tolist() for cells in made.weights])
    trusted = trust_circuit(data, circuit_digest(data))
    verified = verify(trusted, trust_weights(trusted, key.identity, blob), proven.statement, proven.proof)
    assert verified.statement.tensors[0].cells == tuple(feeds()[0]["ids"].reshape(-1).tolist())  # type: ignore[union-attr]


def test_a_circuit_that_was_pinned_before_is_lowered_as_before() -> None:
    found = kinds(lowered(unrounded=False))
    assert not {ops.GatedMatMul, ops.RowScale, ops.Rescale, ops.WeightRows, ops.TopIndex} & set(found)


def test_hidden_tokens_do_not_choose_rows_of_a_weight() -> None:
    """A functional of the weight would show them."""
    hidden = {"ids": Visibility.PRIVATE, "next": Visibility.PUBLIC}
    scales = scales_for(net(), feeds(), OPTIONS)
    made = lower(net(), scales, tensors=hidden, split=True, suite=ZERO_KNOWLEDGE)
    assert ops.WeightRows not in kinds(made)


def test_a_product_that_something_else_reads_is_rounded() -> None:
    from onnx import helper

    random = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["u"]),
        helper.make_node("MatMul", ["x", "b"], ["v"]),
        helper.make_node("Mul", ["u", "v"], ["p"]),
        helper.make_node("MatMul", ["p", "c"], ["y"]),
    ]
    constants = {name: random.uniform(-1, 1, (5, 5)).astype(np.float32) for name in "abc"}
    for extra, expected in (([], 1), ([helper.make_node("Relu", ["p"], ["z"])], 0)):
        outputs = {"y": (2, 5)} | ({"z": (2, 5)} if extra else {})
        source = model([*nodes, *extra], {"x": (2, 5)}, outputs, constants)
        public = {t.name: Visibility.PUBLIC for t in (*source.inputs, *source.outputs)}
        made = lower(source, scales_for(source, samples(source), OPTIONS), tensors=public)
        assert kinds(made)[ops.GatedMatMul] == expected


def test_a_batch_of_a_llama_computes_each_item_as_alone() -> None:
    made = lowered(300.0)
    wide = batched(made, 3)
    inputs = np.stack([feed["ids"] for feed in feeds()[:3]])
    together = run(wide.circuit, wide.weights, [inputs]).outputs()[0]
    for item in range(3):
        assert np.array_equal(together[item], run(made.circuit, made.weights, [inputs[item]]).outputs()[0])
