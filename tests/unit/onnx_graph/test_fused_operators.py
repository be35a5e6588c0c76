"""Operators of onnxruntime's optimisers and of newer opsets mean the same once canonical, and the engine has rules for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tools.coverage import fused, handwritten, handwritten_more
from tools.coverage.case import Case, Made
from verifai.engines.sumcheck.lowering.operators import operator_support
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.refusal import words
from verifai.onnx_graph.runtime import open_session

CASES = {case.slug: case for part in (fused, handwritten, handwritten_more) for case in part.cases()}
FUSED = words(
    "ms-attention ms-attention-causal ms-attention-masked ms-multi-head ms-group-query ms-rotary ms-embed-layer-norm "
    "ms-skip-layer-norm ms-skip-layer-norm-sum ms-skip-rms-norm ms-rms-norm ms-fused-matmul ms-fused-conv ms-fused-gemm "
    "ms-grid-sample ms-trilu"
)
NEWER = words(
    "attention-23 attention-23-causal attention-23-softcap attention-23-bool-mask attention-23-float-mask attention-23-3d "
    "attention-23-groups attention-23-past rotary-23 affine-grid tensor-scatter-24 average-pool-19-dilated dft-20-onesided"
)
LINEAR = words(
    "dft stft mel-matrix col2im roi-align grid-sample-16 einsum-ellipsis einsum-three eye-like scatter-elements scatter-add "
    "scatter-nd-add gather-nd-batch det det-2 bit-shift bitwise-and bitwise-not pow-data"
)


def both(made: Made, data: bytes, sample: int) -> tuple[list[Any], list[Any]]:
    """The outputs of a file, and of its canonical form, on one of its samples."""
    feed = {name: array[sample] for name, array in made.inputs.items()}
    names = [output.name for output in onnx.load(made.model).graph.output]
    source, canonical = (open_session(one).run(names, feed) for one in (made.model.read_bytes(), data))
    return source, canonical


@pytest.mark.parametrize("slug", [*FUSED, *(f"hand-{one}" for one in (*NEWER, *LINEAR))])
def test_the_canonical_form_computes_the_same_and_can_be_lowered(slug: str, tmp_path: Path) -> None:
    made = CASES[slug].make(tmp_path)
    model = canonicalise(made.model.read_bytes(), where=slug).model
    for sample in range(3):
        for wanted, found in zip(*both(made, model.data, sample), strict=True):
            assert found.shape == wanted.shape
            np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * max(1.0, float(np.abs(wanted).max())))
    assert not [(one.op_type, one.reason) for one in operator_support(model) if not one.supported]
    again = canonicalise(model.data, where=slug).model
    assert again.data == model.data


def test_a_position_that_looks_at_nothing_gets_nothing(tmp_path: Path) -> None:
    made = CASES["hand-attention-23-bool-mask"].make(tmp_path)
    made.inputs["m"][0, 1] = False
    wanted, found = both(made, canonicalise(made.model.read_bytes(), where="m").model.data, 0)
    assert not wanted[0][0, :, 1].any()
    np.testing.assert_allclose(found[0], wanted[0], atol=1e-5)


def test_the_comparison_notices_another_scale(tmp_path: Path) -> None:
    """An attention whose scale is left out is far from the one that has it."""
    made = CASES["hand-attention-23-causal"].make(tmp_path)
    source = onnx.load(made.model)
    del source.graph.node[0].attribute[:]
    other = canonicalise(source.SerializeToString(), where="m").model
    wanted, found = both(made, other.data, 0)
    assert np.abs(wanted[0] - found[0]).max() > 1e-2


def one_node(node: onnx.NodeProto, inputs: dict[str, list[int]], weights: dict[str, Any], opset: int = 23) -> bytes:
    """A model of one node whose result has no declared shape."""
    kinds = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    arrays = [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()]
    graph = helper.make_graph([node], "g", kinds, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], arrays)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


MS = {"domain": "com.microsoft"}
X = {"x": [1, 4, 6]}
HOSTILE = {
    "heads that do not divide": one_node(
        helper.make_node("Attention", ["x", "w"], ["y"], num_heads=5, **MS), X, {"w": np.ones((6, 18), "f")}
    ),
    "no heads": one_node(helper.make_node("Attention", ["x", "w"], ["y"], **MS), X, {"w": np.ones((6, 18), "f")}),
    "weights without axes": one_node(
        helper.make_node("Attention", ["x", "w"], ["y"], num_heads=2, **MS), X, {"w": np.float32(1)}
    ),
    "an operand left out": one_node(helper.make_node("Attention", ["x", ""], ["y"], num_heads=2, **MS), X, {}),
    "keys left out": one_node(helper.make_node("MultiHeadAttention", ["x"], ["y"], num_heads=2, **MS), X, {}),
    "a mask of another length": one_node(
        helper.make_node("Attention", ["x", "w", "", "m"], ["y"], num_heads=2, **MS),
        X,
        {"w": np.ones((6, 18), "f"), "m": np.ones((1, 3), "i")},
    ),
    "a cache that is computed": one_node(
        helper.make_node("GroupQueryAttention", ["x", "x", "x", "", "", "x", "x"], ["y"], num_heads=2, kv_num_heads=2, **MS),
        X,
        {},
    ),
    "negative heads": one_node(
        helper.make_node("GroupQueryAttention", ["x", "", "", "", "", "l", "l"], ["y"], num_heads=-2, kv_num_heads=2, **MS),
        X,
        {"l": np.array([3], "i")},
    ),
    "a rotation without tables": one_node(
        helper.make_node("RotaryEmbedding", ["x", "p", "c", "c"], ["y"], **MS),
        X,
        {"p": np.zeros((1, 4), np.int64), "c": np.float32(1)},
    ),
    "scores of 2^40 cells": one_node(
        helper.make_node("Attention", ["q", "q", "q"], ["y"], is_causal=1), {"q": [1, 1, 1 << 20, 1]}, {}
    ),
    "a transform of 2^40 cells": one_node(
        helper.make_node("DFT", ["x", "n"], ["y"], axis=1), {"x": [1, 8, 1]}, {"n": np.array(1 << 40)}, 17
    ),
    "an image of 2^40 cells": one_node(
        helper.make_node("Col2Im", ["x", "i", "b"], ["y"]),
        {"x": [1, 4, 4]},
        {"i": np.array([1 << 20, 1 << 20]), "b": np.array([2, 2])},
        18,
    ),
    "a grid of 2^40 places": one_node(
        helper.make_node("AffineGrid", ["x", "s"], ["y"]), {"x": [1, 2, 3]}, {"s": np.array([1, 1, 1 << 20, 1 << 20])}, 20
    ),
    "a result of 2^48 cells": one_node(
        helper.make_node("Einsum", ["x", "x", "x"], ["y"], equation="abc,def,ghi->abcdefghi"), {"x": [256, 16, 16]}, {}
    ),
    "an equation with a letter too many": one_node(helper.make_node("Einsum", ["x"], ["y"], equation="abcd->a"), X, {}),
    "an index beyond its axis": one_node(
        helper.make_node("ScatterElements", ["x", "i", "x"], ["y"], axis=1, reduction="add"),
        X,
        {"i": np.full((1, 4, 6), 9)},
        18,
    ),
    "windows that are all padding": one_node(
        helper.make_node("AveragePool", ["p"], ["y"], kernel_shape=[1 << 30], dilations=[2], pads=[1 << 31, 1 << 31]),
        {"p": [1, 1, 8]},
        {},
        19,
    ),
    "a region of no picture": one_node(
        helper.make_node("RoiAlign", ["p", "r", "b"], ["y"]),
        {"p": [1, 1, 8, 8]},
        {"r": np.ones((1, 4), "f"), "b": np.array([7])},
        16,
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_node_that_does_not_fit_its_operands_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedModel) as found:
        canonicalise(HOSTILE[name], where="m.onnx")
    assert found.value.code.startswith("model-") and found.value.message and found.value.where


def test_every_case_has_a_name_of_its_own() -> None:
    assert len(CASES) == sum(len(part.cases()) for part in (fused, handwritten, handwritten_more))
    assert all(isinstance(case, Case) for case in CASES.values())
