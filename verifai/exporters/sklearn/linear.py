"""Linear models, and generalised ones: one product, and a function of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, Rules, class_count, inconsistent, matrix, numbers, own, unsupported, vector
from verifai.exporters.sklearn.writer import Row


def _product(build: Build, estimator: Any, row: Row) -> Row:
    """row · coef_ᵀ + intercept_."""
    weights = matrix(estimator, "coef_", row.width)
    return build.linear(row, weights, vector(estimator, "intercept_", len(weights)))


def _decision(build: Build, estimator: Any, row: Row) -> Row:
    classes = class_count(estimator)
    result = _product(build, estimator, row)
    if result.width != classes and (result.width, classes) != (1, 2):
        raise inconsistent(estimator, f"it has {result.width} rows of coefficients for {classes} classes")
    return result


def _one_class(build: Build, estimator: Any, row: Row) -> Row:
    """SGDOneClassSVM: row · coef_ᵀ − offset_."""
    return build.linear(row, matrix(estimator, "coef_", row.width), -vector(estimator, "offset_", 1))


def _logistic(build: Build, estimator: Any, row: Row) -> Row:
    """Sigmoid for two classes; else softmax, or one sigmoid per class normalised where each class was fitted for itself."""
    score = build.decision(estimator, row)
    if score.width == 1:
        return build.apply("Sigmoid", score)
    apart = getattr(estimator, "multi_class", None) == "ovr" or getattr(estimator, "solver", None) == "liblinear"
    return build.sigmoids(score) if apart else build.softmax(score)


def _discriminant(build: Build, estimator: Any, row: Row) -> Row:
    score = build.decision(estimator, row)
    return build.apply("Sigmoid", score) if score.width == 1 else build.softmax(score)


def _stochastic(build: Build, estimator: Any, row: Row) -> Row:
    """SGDClassifier: sigmoids for ``log_loss``, clipped lines for ``modified_huber``, each normalised for several classes."""
    score = build.decision(estimator, row)
    if estimator.loss == "log_loss":
        if score.width > 1:
            # Below, float64 has no sigmoid but 0, and scikit-learn calls all classes equally probable.
            return build.sigmoids(build.apply("Max", score, build.constant(np.array(-745.0))))
        result = build.apply("Sigmoid", score)
    elif estimator.loss == "modified_huber":
        low, high = build.constant(np.array(0.0)), build.constant(np.array(1.0))
        result = build.apply("Clip", build.add(build.multiply(score, 0.5), 0.5), low, high)
    else:
        raise unsupported(estimator, f"has no probabilities with loss {estimator.loss!r}", "Export the scores.")
    return result if result.width == 1 else build.normalised(result)


def _generalised(build: Build, estimator: Any, row: Row) -> Row:
    """Poisson, gamma and Tweedie regression: the inverse link of the product."""
    link = "log"
    if type(estimator).__name__ == "TweedieRegressor":
        link = estimator.link if estimator.link != "auto" else ("identity" if estimator.power <= 0 else "log")
    product = _product(build, estimator, row)
    return product if link == "identity" else build.apply("Exp", product)


def _partial_least_squares(build: Build, estimator: Any, row: Row) -> Row:
    """(row − mean) · coef_ᵀ + intercept_."""
    weights = matrix(estimator, "coef_", row.width)
    bias = vector(estimator, "intercept_", len(weights))
    return build.centred_linear(row, numbers(estimator, "_x_mean", row.width), weights, bias)


def _consensus(build: Build, estimator: Any, row: Row) -> Row:
    """RANSACRegressor: the regressor that was fitted on the inliers."""
    return build.predict(estimator.estimator_, row)


def _transformed_target(build: Build, estimator: Any, row: Row) -> Row:
    """TransformedTargetRegressor: the inner regressor, and the target's transformation undone."""
    prediction = build.predict(estimator.regressor_, row)
    transformer, kind = estimator.transformer_, type(estimator.transformer_).__name__
    if not own(transformer) or kind not in (
        "StandardScaler",
        "MinMaxScaler",
        "MaxAbsScaler",
        "RobustScaler",
        "FunctionTransformer",
    ):
        raise unsupported(estimator, f"with {kind} has no exact form here", "Scale the target with StandardScaler.")
    if kind == "FunctionTransformer":
        return function_of(build, estimator, transformer.inverse_func, prediction)
    if kind == "MinMaxScaler":
        shifted = build.subtract(prediction, numbers(transformer, "min_", prediction.width))
        return build.multiply(shifted, 1 / numbers(transformer, "scale_", prediction.width))
    scale, centre = ("scale_", "center_") if kind == "RobustScaler" else ("scale_", "mean_")
    result = prediction
    if getattr(transformer, scale, None) is not None:
        result = build.multiply(result, numbers(transformer, scale, prediction.width))
    if getattr(transformer, centre, None) is not None:
        result = build.add(result, numbers(transformer, centre, prediction.width))
    return result


_FUNCTIONS = {"exp": "Exp", "log": "Log", "sqrt": "Sqrt", "absolute": "Abs", "abs": "Abs", "tanh": "Tanh", "negative": "Neg",
              "reciprocal": "Reciprocal"}  # fmt: skip


def function_of(build: Build, estimator: Any, function: Any, row: Row) -> Row:
    """One of NumPy's functions, cell by cell. Raises UnsupportedModel for any other."""
    if function is None:
        return row
    name = getattr(function, "__name__", "") if isinstance(function, np.ufunc) else ""
    if name in _FUNCTIONS:
        return build.apply(_FUNCTIONS[name], row)
    if name == "square":
        return build.apply("Mul", row, row)
    if name == "log1p":
        return build.apply("Log", build.add(row, 1.0))
    if name == "expm1":
        return build.subtract(build.apply("Exp", row), 1.0)
    raise unsupported(
        estimator,
        "calls a function of its own",
        "Apply the function to the data beforehand, or use NumPy's log1p, expm1, log, exp, sqrt, square, abs or tanh.",
    )


_REGRESSORS = (
    "LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC", "ElasticNet",
    "ElasticNetCV", "Lars", "LarsCV", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "BayesianRidge",
    "ARDRegression", "HuberRegressor", "TheilSenRegressor", "QuantileRegressor", "SGDRegressor", "PassiveAggressiveRegressor",
    "LinearSVR", "MultiTaskLasso", "MultiTaskLassoCV", "MultiTaskElasticNet", "MultiTaskElasticNetCV",
)  # fmt: skip
_CLASSIFIERS = (
    "LogisticRegression", "LogisticRegressionCV", "SGDClassifier", "Perceptron", "PassiveAggressiveClassifier",
    "RidgeClassifier", "RidgeClassifierCV", "LinearSVC", "LinearDiscriminantAnalysis",
)  # fmt: skip

RULES = Rules(
    predictions={
        **dict.fromkeys(_REGRESSORS, _product),
        **dict.fromkeys(("PoissonRegressor", "GammaRegressor", "TweedieRegressor"), _generalised),
        **dict.fromkeys(("PLSRegression", "PLSCanonical", "CCA"), _partial_least_squares),
        "RANSACRegressor": _consensus,
        "TransformedTargetRegressor": _transformed_target,
    },
    decisions={**dict.fromkeys(_CLASSIFIERS, _decision), "SGDOneClassSVM": _one_class},
    probabilities={
        "LogisticRegression": _logistic,
        "LogisticRegressionCV": _logistic,
        "SGDClassifier": _stochastic,
        "LinearDiscriminantAnalysis": _discriminant,
    },
)
