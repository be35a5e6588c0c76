"""Matrix products with constants on either side, in batches, of two values, with any bias."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.lowering_runs import built, feeds_of, n, net, prove_in_both_suites, supported, worst_steps
from verifai.onnx_graph.model import OnnxModel

RNG = np.random.default_rng(6)
f = np.float32


def w(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(f)


CASES: dict[str, OnnxModel] = {
    "a constant matrix on the left": net((4, 3), (5, 3), n("MatMul", "w", "x"), w=w(5, 4)),
    "a constant matrix on the left of batches": net((2, 4, 3), (2, 5, 3), n("MatMul", "w", "x"), w=w(5, 4)),
    "a constant matrix on the left, then a function": net(
        (4, 3), (5, 3), n("MatMul", "w", "x", out="z"), n("Tanh", "z"), w=w(5, 4)
    ),
    "a constant row on the left": net((4, 3), (3,), n("MatMul", "w", "x"), w=w(4)),
    "a constant matrix on the left of a vector": net((4,), (5,), n("MatMul", "w", "x"), w=w(5, 4)),
    "a constant vector on the right": net((3, 4), (3,), n("MatMul", "x", "w"), w=w(4)),
    "a vector and a constant vector": net((4,), (), n("MatMul", "x", "w"), w=w(4)),
    "constant batches on the right": net((3, 2, 4), (3, 2, 5), n("MatMul", "x", "w"), w=w(3, 4, 5)),
    "one value, constant batches on the right": net((2, 4), (3, 2, 5), n("MatMul", "x", "w"), w=w(3, 4, 5)),
    "constant batches on the left": net((3, 4, 2), (3, 5, 2), n("MatMul", "w", "x"), w=w(3, 5, 4)),
    "one value, constant batches on the left": net((4, 2), (3, 5, 2), n("MatMul", "w", "x"), w=w(3, 5, 4)),
    "a constant batch of one on the left": net((1, 4, 2), (1, 5, 2), n("MatMul", "w", "x"), w=w(1, 5, 4)),
    "Gemm, constant first": net((4, 3), (5, 3), n("Gemm", "w", "x"), w=w(5, 4)),
    "Gemm, constant first, transposed second": net((3, 4), (5, 3), n("Gemm", "w", "x", transB=1), w=w(5, 4)),
    "Gemm, constant first, a bias per row": net((4, 3), (5, 3), n("Gemm", "w", "x", "b"), w=w(5, 4), b=w(5, 1)),
    "Gemm, constant first, a bias per column": net((4, 3), (5, 3), n("Gemm", "w", "x", "b"), w=w(5, 4), b=w(3)),
    "Gemm with a bias per row": net((4, 3), (4, 5), n("Gemm", "x", "w", "b"), w=w(3, 5), b=w(4, 1)),
    "Gemm with a bias per cell": net((4, 3), (4, 5), n("Gemm", "x", "w", "b"), w=w(3, 5), b=w(4, 5)),
    "Gemm with a computed bias": net((4, 3), (4, 3), n("Gemm", "x", "w", "x"), w=w(3, 3)),
    "Gemm of two values": net((3, 3), (3, 3), n("Tanh", "x", out="t"), n("Gemm", "x", "t")),
    "Gemm of two values with a bias": net((3, 3), (3, 3), n("Tanh", "x", out="t"), n("Gemm", "x", "t", "b"), b=w(3)),
}


@pytest.mark.parametrize("name", CASES)
def test_a_product_is_what_onnxruntime_computes(name: str) -> None:
    source = CASES[name]
    feeds = feeds_of(source)
    assert worst_steps(source, built(source, feeds), feeds) <= 1.6
    assert supported(source)


@pytest.mark.parametrize(
    "name",
    [
        "a constant matrix on the left of batches",
        "constant batches on the right",
        "one value, constant batches on the left",
        "Gemm with a bias per cell",
    ],
)
def test_a_product_is_proven_in_both_suites(name: str) -> None:
    prove_in_both_suites(CASES[name], feeds_of(CASES[name]))
