"""Sums of language models that are not cut off: fewer cells, the same integers within their range, and a refusal beyond it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from onnx import helper

from tests.support.sumcheck_models import Array, model, samples, scales_for
from verifai.domain.record import Record
from verifai.engines.sumcheck.circuit import ops
from verifai.engines.sumcheck.circuit.program import Visibility
from verifai.engines.sumcheck.interpreter.run import run
from verifai.engines.sumcheck.lowering.lower import Lowered, lower
from verifai.engines.sumcheck.protocol.buses import tables_of
from verifai.engines.sumcheck.quantise.scales import QuantiserOptions, parse_options
from verifai.errors import InputRejected, UsageError
from verifai.onnx_graph.model import OnnxModel

OPTIONS = QuantiserOptions(activation_bits=12, input_bits=12, output_bits=12)
WIDE = 512


@cache
def net() -> OnnxModel:
    """Two layers, so wide that the first one's sums can lie far beyond what random inputs give."""
    random = np.random.default_rng(0)
    constants: dict[str, Array] = {
        "a": random.uniform(-1, 1, (WIDE, 24)).astype(np.float32),
        "b": random.uniform(-1, 1, (24, 5)).astype(np.float32),
    }
    nodes = [helper.make_node("MatMul", ["x", "a"], ["inner"]), helper.make_node("MatMul", ["inner", "b"], ["y"])]
    return model(nodes, {"x": (4, WIDE)}, {"y": (4, 5)}, constants)


@cache
def lowered(unclamped: bool) -> Lowered:
    public = dict.fromkeys(("x", "y"), Visibility.PUBLIC)
    scales = scales_for(net(), samples(net()), OPTIONS)
    return lower(net(), scales, tensors=public, split=True, unclamped=unclamped)


def made_by(made: Lowered, name: str) -> ops.Op:
    return next(op for op in made.circuit.ops if any(made.circuit.tensors[tensor].name == name for tensor in ops.results(op)))


def test_a_sum_that_could_lie_far_beyond_its_range_is_not_cut_off() -> None:
    cut, free = made_by(lowered(False), "inner"), made_by(lowered(True), "inner")
    assert isinstance(cut, ops.Requant) and cut.saturate
    assert isinstance(free, ops.Rescale) and len(free.digits) == 1
    few, many = (len(tables_of(lowered(flag).circuit, 1)) for flag in (True, False))
    assert (few, many) == (2, 6)


def test_what_a_model_puts_out_keeps_its_range() -> None:
    assert isinstance(made_by(lowered(True), "y"), ops.Requant)


def test_within_the_range_results_are_near_each_other_and_beyond_it_none_is_proven() -> None:
    spec = lowered(True).circuit.tensors[lowered(True).circuit.inputs[0].tensor]
    random = np.random.default_rng(3)
    usual = random.integers(spec.low // 4, spec.high // 4, spec.shape)
    results = [run(lowered(flag).circuit, lowered(flag).weights, [usual]).outputs()[0] for flag in (True, False)]
    assert np.abs(results[0] - results[1]).max() <= 2
    sign = np.sign(np.random.default_rng(0).uniform(-1, 1, (WIDE, 24))[:, 0])
    far = np.where(np.broadcast_to(sign > 0, spec.shape), spec.high, spec.low)
    run(lowered(False).circuit, lowered(False).weights, [far])
    with pytest.raises(InputRejected) as caught:
        run(lowered(True).circuit, lowered(True).weights, [far])
    assert (caught.value.code, caught.value.where) == ("input-out-of-range", "inner")


def test_locks_without_the_option_are_lowered_as_before() -> None:
    def parsed(options: QuantiserOptions) -> QuantiserOptions:
        record = Record(options.to_document(), "lock", error=UsageError, code="bad-lock")
        return parse_options(record, pinned=True)

    assert "unclamped" not in OPTIONS.to_document()
    assert not parsed(OPTIONS).unclamped and parsed(replace(OPTIONS, unclamped=True)).unclamped
