"""The writer of graphs: what it puts together means the same, and no row that was given out changes its meaning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from verifai.exporters.sklearn.writer import Row, Writer
from verifai.onnx_graph.canonicalise import canonicalise
from verifai.onnx_graph.reference import Reference

RNG = np.random.default_rng(0)
A, B, C = RNG.normal(size=(3, 4)), RNG.normal(size=(2, 3)), RNG.normal(size=(2, 4))
X = RNG.normal(size=(1, 4)).astype(np.float32)


def run(build: Callable[[Writer], Row]) -> tuple[list[str], np.ndarray]:
    """Operators of the canonical model, and its output for X."""
    writer = Writer(4)
    row = build(writer)
    model = canonicalise(writer.model(row, "y"), where="written").model
    values = Reference(model).run({"features": X})["y"]
    assert values.shape == (1, row.width)
    return [node.op_type for node in model.proto.graph.node], values


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


TOGETHER: dict[str, tuple[Callable[[Writer], Row], list[str], np.ndarray]] = {
    "two linear parts in a row": (lambda w: w.linear(w.linear(w.features, A, np.ones(3)), B), ["Gemm"], (X @ A.T + 1) @ B.T),
    "a factor and a constant": (
        lambda w: w.add(w.multiply(w.subtract(w.linear(w.features, A), 1.0), [1, 2, 3]), 5.0),
        ["Gemm"],
        (X @ A.T - 1) * [1, 2, 3] + 5,
    ),
    "linear parts side by side": (
        lambda w: w.concatenate([w.linear(w.features, A), w.linear(w.features, C, np.ones(2))]),
        ["Gemm"],
        np.hstack([X @ A.T, X @ C.T + 1]),
    ),
    "functions side by side": (
        lambda w: w.concatenate([w.apply("Sigmoid", w.linear(w.features, weights)) for weights in (A, C)]),
        ["Gemm", "Sigmoid"],
        sigmoid(np.hstack([X @ A.T, X @ C.T])),
    ),
    "both signs": (lambda w: w.two_sided(w.linear(w.features, A[:1], 0.5)), ["Gemm"], (X @ A[:1].T + 0.5) * [-1, 1]),
    "both probabilities": (
        lambda w: w.complement(w.apply("Sigmoid", w.linear(w.features, A[:1]))),
        ["Gemm", "Sigmoid"],
        sigmoid((X @ A[:1].T) * [-1, 1]),
    ),
    "the complement of a mean": (
        lambda w: w.complement(w.linear(w.apply("Relu", w.features), np.full((1, 4), 0.25))),
        ["Relu", "Gemm"],
        np.hstack([1 - np.maximum(X, 0).mean(keepdims=True), np.maximum(X, 0).mean(keepdims=True)]),
    ),
    "columns of columns": (lambda w: w.columns(w.columns(w.features, [3, 1, 0]), [2, 0]), ["Gather"], X[:, [0, 3]]),
    "nothing": (lambda w: w.multiply(w.add(w.columns(w.features, range(4)), 0.0), 1.0), ["Identity"], X),
    "a small middle": (lambda w: w.centred_linear(w.features, np.ones(4), A), ["Gemm"], (X - 1) @ A.T),
    "a large middle": (lambda w: w.centred_linear(w.features, np.full(4, 1e3), A), ["Sub", "Gemm"], (X - 1e3) @ A.T),
    "a wide product after a narrow one": (
        lambda w: w.linear(w.linear(w.features, A[:1]), np.ones((9, 1))), ["Gemm", "Gemm"], np.tile(X @ A[:1].T, 9),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TOGETHER)
def test_parts_are_put_together(name: str) -> None:
    build, operators, expected = TOGETHER[name]
    found, values = run(build)
    assert found == operators
    assert np.allclose(values, expected, rtol=1e-5, atol=1e-5)


TWICE: dict[str, Callable[[Writer, Row], Row]] = {
    "a product": lambda w, row: w.linear(row, B),
    "a factor": lambda w, row: w.multiply(row, 3.0),
    "a constant": lambda w, row: w.add(row, 7.0),
    "columns": lambda w, row: w.columns(row, [2, 0]),
    "signs": lambda w, row: w.two_sided(w.columns(row, [1])),
    "side by side": lambda w, row: w.concatenate([row, w.linear(w.features, A)]),
    "a complement": lambda w, row: w.complement(w.apply("Sigmoid", w.columns(row, [0]))),
}


@pytest.mark.parametrize("kind", ["linear", "columns", "sigmoid"])
@pytest.mark.parametrize("name", TWICE)
def test_a_row_that_is_used_again_means_what_it_meant(name: str, kind: str) -> None:
    def build(writer: Writer) -> Row:
        row = writer.linear(writer.features, A) if kind == "linear" else writer.columns(writer.features, [3, 1, 0])
        row = writer.apply("Sigmoid", row) if kind == "sigmoid" else row
        TWICE[name](writer, row)
        return writer.apply("Neg", row)

    row = X @ A.T if kind == "linear" else X[:, [3, 1, 0]]
    assert np.allclose(run(build)[1], -(sigmoid(row) if kind == "sigmoid" else row), atol=1e-6)
