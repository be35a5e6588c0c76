"""``ai.onnx.ml`` operators: lowered to what onnxruntime computes for them, or refused by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.support.onnx_builders import canonical, model, node, operators, weights
from verifai.errors import UnsupportedModel
from verifai.onnx_graph.reference import Reference

WEIGHTS = [float(value) for value in weights(12)]


def ml(
    op_type: str, inputs: list[str], outputs: list[str], constants: dict[str, np.ndarray] | None = None, **attributes: Any
) -> Any:
    source = model(
        [node(op_type, inputs, outputs, domain="ai.onnx.ml", **attributes)],
        constants,
        outputs=[outputs[-1]],
        domains={"ai.onnx.ml": 3},
    )
    source.graph.output[0].type.tensor_type.elem_type = 1
    return source


def machine(kernel: str, **attributes: Any) -> Any:
    given = {
        "coefficients": WEIGHTS[:3],
        "kernel_params": [0.3, 0.5, 3.0],
        "kernel_type": kernel,
        "n_supports": 3,
        "rho": [0.25],
        "support_vectors": WEIGHTS,
    }
    return ml("SVMRegressor", ["x"], ["y"], **{**given, **attributes})


def classes(*per_class: int, **attributes: Any) -> Any:
    count, pairs = sum(per_class), len(per_class) * (len(per_class) - 1) // 2
    numbers = [float(value) for value in weights(min(count * (len(per_class) - 1 + 4) + pairs, 10_000), seed=3)]
    given = {
        "classlabels_ints": list(range(len(per_class))),
        "coefficients": numbers[: count * (len(per_class) - 1)],
        "kernel_params": [0.3, 0.0, 3.0],
        "kernel_type": "RBF",
        "rho": numbers[-pairs:],
        "support_vectors": numbers[-pairs - 4 * count : -pairs],
        "vectors_per_class": list(per_class),
    }
    return ml("SVMClassifier", ["x"], ["l", "y"], **{**given, **attributes})


LOWERED: dict[str, tuple[Any, list[str]]] = {
    "a scaler": (ml("Scaler", ["x"], ["y"], offset=[1.0, 2.0, 3.0, 4.0], scale=[0.5, 2.0, 1.0, -1.0]), ["Sub", "Mul"]),
    "a scaler with one factor": (ml("Scaler", ["x"], ["y"], offset=[1.0], scale=[0.5]), ["Sub", "Mul"]),
    "a regression": (ml("LinearRegressor", ["x"], ["y"], coefficients=WEIGHTS[:4], intercepts=[0.5]), ["Gemm"]),
    "a regression without intercepts": (ml("LinearRegressor", ["x"], ["y"], coefficients=WEIGHTS[:8], targets=2), ["Gemm"]),
    "scores": (
        ml("LinearClassifier", ["x"], ["l", "y"], coefficients=WEIGHTS, intercepts=[0.1, 0.2, 0.3], classlabels_ints=[0, 1, 2]),
        ["Gemm"],
    ),
    "probabilities by softmax": (
        ml(
            "LinearClassifier",
            ["x"],
            ["l", "y"],
            coefficients=WEIGHTS,
            intercepts=[0.1, 0.2, 0.3],
            classlabels_ints=[0, 1, 2],
            post_transform="SOFTMAX",
        ),
        ["Gemm", "Softmax"],
    ),
    "probabilities one by one": (
        ml(
            "LinearClassifier",
            ["x"],
            ["l", "y"],
            coefficients=WEIGHTS,
            intercepts=[0.1, 0.2, 0.3],
            classlabels_strings=["a", "b", "c"],
            post_transform="LOGISTIC",
        ),
        ["Gemm", "Sigmoid"],
    ),
    "rows of length one": (ml("Normalizer", ["x"], ["y"], norm="L2"), ["ReduceL2", "Equal", "Where", "Div"]),
    "rows of sum one": (ml("Normalizer", ["x"], ["y"], norm="L1"), ["ReduceL1", "Equal", "Where", "Div"]),
    "columns": (ml("ArrayFeatureExtractor", ["x", "i"], ["y"], {"i": np.array([2, 0])}), ["Gather"]),
    "a threshold": (ml("Binarizer", ["x"], ["y"], threshold=0.1), ["Greater", "Cast"]),
    "a machine of numbers": (machine("LINEAR"), ["Gemm"]),
    "a radial machine": (machine("RBF"), ["Sub", "Mul", "ReduceSum", "Mul", "Gemm", "Add", "Exp", "Gemm"]),
    "a cubic machine": (machine("POLY"), ["Gemm", "Mul", "Mul", "Gemm"]),
    "a sigmoid machine": (machine("SIGMOID"), ["Gemm", "Tanh", "Gemm"]),
    "a machine of two classes": (classes(2, 2), ["Sub", "Mul", "ReduceSum", "Mul", "Gemm", "Add", "Exp", "Gemm"]),
    "a machine of three classes": (classes(2, 1, 2), ["Sub", "Mul", "ReduceSum", "Mul", "Gemm", "Add", "Exp", "Gemm"]),
    "columns side by side": (ml("FeatureVectorizer", ["x", "x"], ["y"], inputdimensions=[4, 4]), ["Concat"]),
}


@pytest.mark.parametrize("name", LOWERED)
def test_lowering_computes_what_onnxruntime_computes(name: str) -> None:
    source, expected = LOWERED[name]
    result = canonical(source)
    assert operators(result) == expected
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    reference = Reference(result.model)
    for values in (*(weights(1, 4, seed=seed) for seed in range(5)), np.zeros((1, 4), np.float32)):
        theirs = session.run(["y"], {"x": values})[0]
        np.testing.assert_allclose(reference.run({"x": values})["y"], np.reshape(theirs, (1, -1)), rtol=1e-6, atol=1e-7)


REFUSED: dict[str, Any] = {
    "SVMRegressor": machine("RBF", one_class=1),
    "SVMClassifier": classes(2, 2, prob_a=[1.0], prob_b=[0.0]),
    "OneHotEncoder": ml("OneHotEncoder", ["x"], ["y"], cats_strings=["a"]),
    "Imputer": ml("Imputer", ["x"], ["y"], imputed_value_floats=[1.0], replaced_value_float=-1.0),
    "Normalizer": ml("Normalizer", ["x"], ["y"], norm="MAX"),
    "Scaler": ml("Scaler", ["x"], ["y"], offset=[1.0, 2.0], scale=[1.0, 2.0]),
    "LinearRegressor": ml("LinearRegressor", ["x"], ["y"], coefficients=WEIGHTS[:3]),
    "LinearClassifier": ml(
        "LinearClassifier", ["x"], ["l", "y"], coefficients=WEIGHTS[:4], intercepts=[0.0], classlabels_ints=[0, 1]
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_exact_form_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonical(REFUSED[name])
    assert caught.value.code == "model-unknown-domain"
    assert f"ai.onnx.ml.{name}" in caught.value.message
    assert f"the_{name}" in caught.value.where


@pytest.mark.parametrize("transform", ["SOFTMAX_ZERO", "PROBIT"])
def test_transforms_without_an_exact_form_are_refused(transform: str) -> None:
    source = ml("LinearRegressor", ["x"], ["y"], coefficients=WEIGHTS[:4], post_transform=transform)
    with pytest.raises(UnsupportedModel) as caught:
        canonical(source)
    assert (caught.value.code, transform in caught.value.message) == ("model-unknown-domain", True)


BROKEN: dict[str, Any] = {
    "no vectors": machine("RBF", n_supports=0),
    "too few coefficients": machine("RBF", coefficients=WEIGHTS[:2]),
    "too few numbers in the vectors": machine("RBF", support_vectors=WEIGHTS[:8]),
    "two kernel parameters": machine("RBF", kernel_params=[1.0, 2.0]),
    "no such kernel": machine("COSINE"),
    "half a degree": machine("POLY", kernel_params=[1.0, 0.0, 2.5]),
    "a huge degree": machine("POLY", kernel_params=[1.0, 0.0, 1e9]),
    "two constants": machine("RBF", rho=[1.0, 2.0]),
    "a transform": machine("RBF", post_transform="LOGISTIC"),
    "one class": classes(3, 2, vectors_per_class=[5]),
    "a negative count": classes(3, 2, vectors_per_class=[6, -1]),
    "more classes than coefficients": classes(2, 2, vectors_per_class=[1, 1, 2]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_machines_whose_parts_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        canonical(BROKEN[name])
    assert caught.value.code == "model-unknown-domain"
    assert ".skops" in caught.value.hint


def test_many_classes_in_a_small_file_are_a_bomb() -> None:
    """The pairs of classes grow with their square, and the weights with the vectors besides."""
    count = 600
    source = classes(
        *([1] * count),
        coefficients=[0.0] * ((count - 1) * count),
        rho=[0.0] * (count * (count - 1) // 2),
        support_vectors=[0.0] * (4 * count),
    )
    with pytest.raises(UnsupportedModel) as caught:
        canonical(source)
    assert caught.value.code == "model-size-bomb"


@pytest.mark.parametrize("kind", [1, 7], ids=["float", "int64"])
def test_codes_become_columns(kind: int) -> None:
    source = model(
        [
            node("OneHotEncoder", ["x"], ["h"], domain="ai.onnx.ml", cats_int64s=[7, 2, -1], zeros=0),
            node("Identity", ["h"]),
        ],
        domains={"ai.onnx.ml": 3},
        input_type=kind,
    )
    result = canonical(source)
    assert any("unknown category" in notice for notice in result.notices)
    values = np.array([[2, -1, 7, 2]], dtype=np.float32 if kind == 1 else np.int64)
    session = onnxruntime.InferenceSession(source.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(["y"], {"x": values})[0]
    assert np.array_equal(Reference(result.model).run({"x": values})["y"], expected)


def test_a_softmax_is_not_normalised_again() -> None:
    source = model(
        [node("Softmax", ["x"], ["s"], axis=1), node("Normalizer", ["s"], ["y"], domain="ai.onnx.ml", norm="L1")],
        domains={"ai.onnx.ml": 3},
    )
    assert operators(canonical(source)) == ["Softmax"]


def test_a_classifier_whose_label_is_asked_for_is_refused() -> None:
    source = ml("LinearClassifier", ["x"], ["y", "s"], coefficients=WEIGHTS, intercepts=[0.1] * 3, classlabels_ints=[0, 1, 2])
    source.graph.output[0].name = "y"
    with pytest.raises(UnsupportedModel) as caught:
        canonical(source)
    assert "labels" in caught.value.message


def test_imputing_missing_values_is_removed_with_a_notice() -> None:
    source = model(
        [
            node("Imputer", ["x"], ["a"], domain="ai.onnx.ml", imputed_value_floats=[1.0], replaced_value_float=float("nan")),
            node("Relu", ["a"]),
        ],
        domains={"ai.onnx.ml": 3},
    )
    result = canonical(source)
    assert operators(result) == ["Relu"]
    assert any("NaN" in notice for notice in result.notices)


def test_columns_of_another_rank_are_refused() -> None:
    source = model(
        [node("Scaler", ["x"], domain="ai.onnx.ml", offset=[0.0], scale=[1.0])],
        inputs={"x": (1, 2, 2)},
        domains={"ai.onnx.ml": 3},
    )
    assert isinstance(source, onnx.ModelProto)
    with pytest.raises(UnsupportedModel) as caught:
        canonical(source)
    assert caught.value.code == "model-unknown-domain"
