"""Kernels between the row and stored points, and what is built on them: Gaussian processes, kernel ridge, Nyström maps.

|x − s|² is written as |x|² − 2 x·s + |s|², measured from the points' middle, so that little cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, Rules, inconsistent, numbers, unsupported, vector
from verifai.exporters.sklearn.writer import Array, Row

_HINT = "Use a linear, polynomial, sigmoid or RBF kernel."


def centred(build: Build, row: Row, points: Array) -> tuple[Row, Array]:
    """Row and points, both measured from the points' middle where that is further away than they spread."""
    middle = points.mean(axis=0)
    if (np.abs(middle) <= points.std(axis=0)).all():
        return row, points
    return build.subtract(row, middle), points - middle


def squared_distances(build: Build, row: Row, points: Array, factor: float = 1.0) -> Row:
    """factor · |row − point|² for each point; with rounding it may fall a little below 0."""
    row, points = centred(build, row, points)
    square = build.multiply(build.total(build.apply("Mul", row, row)), factor)
    rest = build.linear(row, -2 * factor * points, factor * (points**2).sum(axis=1))
    return build.apply("Add", rest, square)


def rbf(build: Build, row: Row, points: Array, gamma: float) -> Row:
    """exp(−γ |row − point|²)."""
    return build.apply("Exp", squared_distances(build, row, points, -gamma))


def raised(build: Build, row: Row, exponent: float) -> Row:
    """row^exponent by repeated products for small whole exponents."""
    if exponent == 1:
        return row
    if exponent == int(exponent) and 2 <= exponent <= 16:
        result, square = None, row
        for bit in reversed(f"{int(exponent):b}"):
            if bit == "1":
                result = square if result is None else build.apply("Mul", result, square)
            square = build.apply("Mul", square, square)
        assert result is not None
        return result
    return build.apply("Pow", row, build.constant(np.array(float(exponent))))


def kernel(build: Build, estimator: Any, row: Row, points: Array, name: Any, gamma: float, offset: float, degree: float) -> Row:
    """scikit-learn's named kernels with one column per point. Raises UnsupportedModel for others."""
    if name == "linear":
        return build.linear(row, points)
    if name in ("poly", "polynomial") and degree > 0:
        return raised(build, build.linear(row, gamma * points, np.array(offset)), degree)
    if name == "sigmoid":
        return build.apply("Tanh", build.linear(row, gamma * points, np.array(offset)))
    if name == "rbf":
        return rbf(build, row, points, gamma)
    if name == "cosine":
        lengths = np.linalg.norm(points, axis=1)
        axis = build.constant(np.array([1]))
        norm = build.apply("ReduceL2", row, axis, width=1, base="norm", keepdims=1)
        product = build.linear(row, points / np.where(lengths == 0, 1.0, lengths)[:, None])
        return build.apply("Div", product, build.add(norm, 1e-30))
    raise unsupported(estimator, f"with kernel {_named(name)} has no fixed formula here", _HINT)


def _named(name: Any) -> str:
    return repr(name)[:40] if isinstance(name, str) else "of its own"


def _pairwise(build: Build, estimator: Any, row: Row, points: Array) -> Row:
    """The kernel of KernelRidge and Nystroem, with scikit-learn's defaults for what is ``None``."""
    gamma = 1 / row.width if estimator.gamma is None else float(estimator.gamma)
    offset = 1.0 if estimator.coef0 is None else float(estimator.coef0)
    degree = 3.0 if estimator.degree is None else float(estimator.degree)
    return kernel(build, estimator, row, points, estimator.kernel, gamma, offset, degree)


def _kernel_ridge(build: Build, estimator: Any, row: Row) -> Row:
    points = numbers(estimator, "X_fit_", None, row.width)
    dual = np.asarray(estimator.dual_coef_, dtype=np.float64)
    if len(dual) != len(points):
        raise inconsistent(estimator, f"it has {len(dual)} dual coefficients for {len(points)} points")
    return build.linear(_pairwise(build, estimator, row, points), dual.reshape(len(points), -1).T)


def _nystroem(build: Build, estimator: Any, row: Row) -> Row:
    points = numbers(estimator, "components_", None, row.width)
    return build.linear(
        _pairwise(build, estimator, row, points), numbers(estimator, "normalization_", len(points), len(points))
    )


def _kernel_components(build: Build, estimator: Any, row: Row) -> Row:
    """KernelPCA: the centred kernel times the scaled eigenvectors; centring is linear in the kernel."""
    points = numbers(estimator, "X_fit_", None, row.width)
    count = len(points)
    values = numbers(estimator, "eigenvalues_", None)
    vectors = numbers(estimator, "eigenvectors_", count, len(values))
    means, mean = numbers(estimator._centerer, "K_fit_rows_", count), numbers(estimator._centerer, "K_fit_all_").item()
    scaled = np.where(values > 0, vectors / np.sqrt(np.where(values > 0, values, 1.0)), 0.0)
    gamma = numbers(estimator, "gamma_").item()
    given = kernel(build, estimator, row, points, estimator.kernel, gamma, float(estimator.coef0), float(estimator.degree))
    return build.linear(given, (scaled - scaled.mean(axis=0)).T, (mean - means) @ scaled)


def _process(build: Build, estimator: Any, row: Row) -> Row:
    """GaussianProcessRegressor: the posterior mean, K(x, training points) · α, undone from its normalisation."""
    points = numbers(estimator, "X_train_", None, row.width)
    alpha = np.asarray(estimator.alpha_, dtype=np.float64).reshape(len(points), -1)
    covariance = _covariance(build, estimator, estimator.kernel_, row, points)
    if isinstance(covariance, float):
        raise unsupported(estimator, "has a kernel that does not depend on its input", _HINT)
    spread, mean = vector(estimator, "_y_train_std", alpha.shape[1]), vector(estimator, "_y_train_mean", alpha.shape[1])
    return build.linear(covariance, (alpha * spread).T, mean)


def _covariance(build: Build, estimator: Any, part: Any, row: Row, points: Array) -> Row | float:
    """A covariance function between the row and each point; a number where it is the same for all."""
    name = type(part).__name__
    if name in ("Sum", "Product"):
        first = _covariance(build, estimator, part.k1, row, points)
        return _joined(build, name, first, _covariance(build, estimator, part.k2, row, points))
    if name == "ConstantKernel":
        return float(part.constant_value)
    if name == "WhiteKernel":
        return 0.0  # noise of the training points only
    if name == "Exponentiation":
        base = _covariance(build, estimator, part.kernel, row, points)
        exponent = float(part.exponent)
        return base**exponent if isinstance(base, float) else raised(build, base, exponent)
    rule = _COVARIANCES.get(name)
    if rule is None:
        raise unsupported(estimator, f"with the kernel {name} has no fixed formula here", "Use RBF, Matern or DotProduct.")
    return rule(build, estimator, part, row, points)


def _joined(build: Build, name: str, first: Row | float, second: Row | float) -> Row | float:
    if isinstance(first, float) and isinstance(second, float):
        return first + second if name == "Sum" else first * second
    if isinstance(first, float):
        first, second = second, first
    assert isinstance(first, Row)
    if isinstance(second, float):
        return build.add(first, second) if name == "Sum" else build.multiply(first, second)
    return build.apply("Add" if name == "Sum" else "Mul", first, second)


def _in_lengths(build: Build, part: Any, row: Row, points: Array) -> tuple[Row, Array]:
    lengths = vector(part, "length_scale", row.width)
    return build.multiply(row, 1 / lengths), points / lengths


def _rbf_covariance(build: Build, estimator: Any, part: Any, row: Row, points: Array) -> Row:
    if np.size(part.length_scale) == 1:
        return rbf(build, row, points, 0.5 / float(np.ravel(part.length_scale)[0]) ** 2)
    return rbf(build, *_in_lengths(build, part, row, points), 0.5)


def _distance(build: Build, row: Row, points: Array) -> Row:
    """|row − point|."""
    return build.apply("Sqrt", build.apply("Relu", squared_distances(build, row, points)))


def _matern(build: Build, estimator: Any, part: Any, row: Row, points: Array) -> Row:
    row, points = _in_lengths(build, part, row, points)
    if np.isinf(part.nu):
        return rbf(build, row, points, 0.5)
    if part.nu not in (0.5, 1.5, 2.5):
        raise unsupported(
            estimator, f"with a Matern kernel of nu = {part.nu} has no fixed formula", "Use nu = 0.5, 1.5 or 2.5."
        )
    distance = build.multiply(_distance(build, row, points), np.sqrt(2 * part.nu))
    decay = build.apply("Exp", build.multiply(distance, -1.0))
    if part.nu == 0.5:
        return decay
    polynomial = build.add(distance, 1.0)
    if part.nu == 2.5:
        polynomial = build.apply("Add", polynomial, build.multiply(build.apply("Mul", distance, distance), 1 / 3))
    return build.apply("Mul", polynomial, decay)


def _rational(build: Build, estimator: Any, part: Any, row: Row, points: Array) -> Row:
    """(1 + |x − s|² / (2 α l²))^−α."""
    base = build.add(squared_distances(build, row, points, 0.5 / (part.alpha * part.length_scale**2)), 1.0)
    return build.apply("Exp", build.multiply(build.apply("Log", base), -part.alpha))


def _periodic(build: Build, estimator: Any, part: Any, row: Row, points: Array) -> Row:
    """exp(−2 (sin(π |x − s| / p) / l)²)."""
    wave = build.apply("Sin", build.multiply(_distance(build, row, points), np.pi / part.periodicity))
    return build.apply("Exp", build.multiply(build.apply("Mul", wave, wave), -2 / part.length_scale**2))


def _dot(build: Build, estimator: Any, part: Any, row: Row, points: Array) -> Row:
    return build.linear(row, points, np.array(float(part.sigma_0) ** 2))


_COVARIANCES: dict[str, Callable[[Build, Any, Any, Row, Array], Row]] = {
    "RBF": _rbf_covariance,
    "Matern": _matern,
    "RationalQuadratic": _rational,
    "ExpSineSquared": _periodic,
    "DotProduct": _dot,
}

RULES = Rules(
    predictions={"GaussianProcessRegressor": _process, "KernelRidge": _kernel_ridge},
    transforms={"Nystroem": _nystroem, "KernelPCA": _kernel_components},
)
