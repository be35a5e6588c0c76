"""Cells scaled, bent and combined: scalers, normalisers, power transforms, polynomials, projections."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from verifai.exporters.sklearn.bayes import binarised
from verifai.exporters.sklearn.build import Build, Rules, inconsistent, numbers, unsupported, vector
from verifai.exporters.sklearn.linear import function_of
from verifai.exporters.sklearn.moved import Function, Steps
from verifai.exporters.sklearn.writer import Array, Row

_MAX_TERMS = 1 << 20


def _standard(build: Build, estimator: Any, row: Row) -> Row:
    return _scaled(build, estimator, row, "mean_" if estimator.with_mean else "", "scale_" if estimator.with_std else "")


def _robust(build: Build, estimator: Any, row: Row) -> Row:
    return _scaled(
        build, estimator, row, "center_" if estimator.with_centering else "", "scale_" if estimator.with_scaling else ""
    )


def _scaled(build: Build, estimator: Any, row: Row, centre: str, scale: str) -> Row:
    """(row − centre) / scale, by the names of the fitted attributes; empty for none."""
    middle = numbers(estimator, centre, row.width) if centre else np.zeros(row.width)
    spread = _nonzero(estimator, scale, row.width) if scale else np.ones(row.width)
    found = build.subtract(row, middle) if centre else row
    found = build.multiply(found, 1 / spread) if scale else found
    return _increasing(build, found, row, [_quotient(m, s) for m, s in zip(middle, spread, strict=True)], spread)


def _quotient(middle: float, spread: float) -> Function:
    return lambda values: (values - middle) / spread


def _product(factor: float, shift: float) -> Function:
    return lambda values: values * factor + shift


def _increasing(build: Build, found: Row, row: Row, functions: list[Function], slopes: Array) -> Row:
    return build.increasing(found, row, functions) if found != row and (slopes > 0).all() else found


def _nonzero(estimator: Any, attribute: str, size: int) -> Array:
    values = numbers(estimator, attribute, size)
    if not values.all():
        raise inconsistent(estimator, f"{attribute} holds 0")
    return values


def _min_max(build: Build, estimator: Any, row: Row) -> Row:
    """row · scale + min, written as (row − (−min / scale)) · scale: what is small when the row is, float32 keeps precise."""
    scale, shift = _nonzero(estimator, "scale_", row.width), numbers(estimator, "min_", row.width)
    found = build.multiply(build.subtract(row, -shift / scale), scale)
    if estimator.clip:
        return _clipped(build, found, *estimator.feature_range)
    return _increasing(build, found, row, [_product(f, s) for f, s in zip(scale, shift, strict=True)], scale)


def _max_abs(build: Build, estimator: Any, row: Row) -> Row:
    scale = _nonzero(estimator, "scale_", row.width)
    found = build.multiply(row, 1 / scale)
    if getattr(estimator, "clip", False):
        return _clipped(build, found, -1.0, 1.0)
    return _increasing(build, found, row, [_quotient(0.0, one) for one in scale], scale)


def _clipped(build: Build, row: Row, low: float, high: float) -> Row:
    return build.apply("Clip", row, build.constant(np.array(float(low))), build.constant(np.array(float(high))))


def _normalizer(build: Build, estimator: Any, row: Row) -> Row:
    """row over its norm; a row of zeros stays as it is."""
    operator = {"l1": "ReduceL1", "l2": "ReduceL2", "max": "ReduceMax"}.get(estimator.norm)
    if operator is None:
        raise inconsistent(estimator, "its norm is unknown")
    measured = build.apply("Abs", row) if estimator.norm == "max" else row
    norm = build.apply(operator, measured, build.constant(np.array([1])), width=1, base="norm", keepdims=1)
    # A float32 that vanishes beside any other norm, and lets 0 over it be 0.
    return build.apply("Div", row, build.add(norm, 1e-30))


def _binarizer(build: Build, estimator: Any, row: Row) -> Row:
    threshold = float(estimator.threshold)
    above = Steps((threshold,), (0.0, 1.0))
    return build.stepped(binarised(build, row, threshold), row, [(at, above) for at in range(row.width)])


def _function(build: Build, estimator: Any, row: Row) -> Row:
    if estimator.kw_args:
        raise unsupported(estimator, "calls a function with arguments", "Apply it to the data beforehand.")
    found = function_of(build, estimator, estimator.func, row)
    if found == row or getattr(estimator.func, "__name__", "") not in _RISING:
        return found
    return build.increasing(found, row, [_rising(estimator.func)] * row.width)


_RISING = frozenset({"exp", "expm1", "log", "log1p", "sqrt", "tanh"})
"""Functions that never decrease where they are defined, which ends on one side at most."""


def _rising(function: Any) -> Function:
    """The function, and the least of all where it is not defined: scikit-learn refuses such a row."""

    def whole(values: Array) -> Array:
        with np.errstate(all="ignore"):
            found = np.asarray(function(values), np.float64)
        return np.where(np.isnan(found), -np.inf, found)

    return whole


def _power(build: Build, estimator: Any, row: Row) -> Row:
    """Yeo-Johnson or Box-Cox per column, then standardised.

    Box-Cox, λ: (x^λ − 1) / λ. Yeo-Johnson: the same of x + 1 for x ≥ 0; below, −((1 − x)^(2 − λ) − 1) / (2 − λ). Logarithms
    where the exponent is 0. With max(x, 0) and max(−x, 0) one of the two is 0, so that their difference needs no choice. All
    constants are put together before they are rounded: the −1 would cancel digits that the power still has. Columns whose
    spreads are unlike are transformed apart: one whose numbers hardly differ would be lost on the steps that another needs.
    """
    exponents = numbers(estimator, "lambdas_", row.width)
    mean, scale = np.zeros(row.width), np.ones(row.width)
    if estimator.standardize:
        mean, scale = numbers(estimator._scaler, "mean_", row.width), _nonzero(estimator._scaler, "scale_", row.width)
    centres = _centres(exponents, mean, 0.0 if estimator.method == "box-cox" else 1.0)
    # How far a column spreads beside its centre: alike ones share the steps of a logarithm.
    spreads = scale * centres ** (-exponents)
    found, order = [], []
    for group in _alike(spreads):
        part = build.columns(row, group)
        power = _box_cox if estimator.method == "box-cox" else _yeo_johnson
        found.append(power(build, part, exponents[group], mean[group], scale[group], centres[group]))
        order += group
    return found[0] if len(found) == 1 else build.columns(build.concatenate(found), np.argsort(order))


_ALIKE = 8.0
"""Columns whose relative spreads differ less than so many times are transformed together."""


def _centres(exponents: Array, mean: Array, shift: float) -> Array:
    """By column the number, ``shift`` added, that the transform takes to the mean; 1 where it lies beyond the branch."""
    flat = np.abs(exponents) < _FLAT
    with np.errstate(all="ignore"):
        found = np.where(flat, np.exp(mean), (exponents * mean + 1) ** (1 / np.where(flat, 1.0, exponents)))
    plain = np.isfinite(found) & (found > max(shift, 1e-30)) & (found < 1e30)
    return np.where(plain, found, 1.0)


def _alike(spreads: Array) -> list[list[int]]:
    """The columns in groups of like spreads, each group in order."""
    groups: list[list[int]] = []
    least = 0.0
    for column in np.argsort(spreads, kind="stable").tolist():
        if not groups or not spreads[column] <= _ALIKE * least:
            groups.append([])
            least = float(spreads[column])
        groups[-1].append(column)
    return [sorted(group) for group in groups]


def _box_cox(build: Build, row: Row, exponents: Array, mean: Array, scale: Array, centres: Array) -> Row:
    power, factor, constant = _powered(build, build.multiply(row, 1 / centres), exponents, centres)
    return build.add(build.multiply(power, factor / scale), (constant - mean) / scale)


def _yeo_johnson(build: Build, row: Row, exponents: Array, mean: Array, scale: Array, centres: Array) -> Row:
    # Cut off beside its centre too, a column keeps its steps.
    above = build.add(build.apply("Relu", build.multiply(row, 1 / centres)), 1 / centres)
    below = build.add(build.multiply(build.apply("Relu", build.multiply(row, -1 / centres)), centres), 1.0)
    power, factor, constant = _powered(build, above, exponents, centres)
    other, weight, offset = _powered(build, below, 2 - exponents, np.ones_like(centres))
    difference = build.apply("Sub", build.multiply(power, factor / scale), build.multiply(other, weight / scale))
    return build.add(difference, (constant - offset - mean) / scale)


_FLAT = 1e-7
"""Exponents nearer to 0 are 0."""


def _powered(build: Build, row: Row, exponents: Array, centres: Array) -> tuple[Row, Array, Array]:
    """``(p, f, c)`` with p · f + c = ((row · centre)^e − 1) / e per column; its limit log(row · centre) where e is 0.

    Beside its centre a column's numbers are near 1, and their logarithms near 0, where its steps are finest.
    """
    logarithm = build.apply("Log", row)
    flat = np.abs(exponents) < _FLAT
    safe = np.where(flat, 1.0, exponents)
    factor = np.where(flat, 1.0, centres**safe / safe)
    constant = np.where(flat, np.log(centres), -1 / safe)
    if flat.all():
        return logarithm, factor, constant
    power = build.apply("Exp", build.multiply(logarithm, safe))
    if flat.any():
        power = build.apply("Add", build.multiply(power, ~flat), build.multiply(logarithm, flat))
    return power, factor, constant


def _polynomial(build: Build, estimator: Any, row: Row) -> Row:
    """Products of columns; each of degree d is one of degree d − 1 times a column, so that every product is made once."""
    degree = estimator.degree if isinstance(estimator.degree, int) else max(estimator.degree)
    if not 0 <= degree <= 64 or math.comb(row.width + degree, degree) > _MAX_TERMS:
        raise unsupported(estimator, f"of degree {degree} has too many terms of {row.width} columns", "Use fewer columns.")
    powers = np.asarray(estimator.powers_)
    if powers.ndim != 2 or powers.shape[1] != row.width or powers.dtype.kind not in "iu" or powers.min() < 0:
        raise inconsistent(estimator, f"powers_ has the shape {powers.shape}")
    terms = [tuple(np.repeat(np.arange(row.width), power).tolist()) for power in powers]
    blocks: list[Row] = []
    order: list[tuple[int, ...]] = []
    known: dict[tuple[int, ...], int] = {(column,): column for column in range(row.width)}
    block = row
    for degree in range(max(len(term) for term in terms) + 1):
        if degree == 0:
            made = sorted({term for term in terms if not term})
            rows = [build.linear(row, np.zeros((1, row.width)), np.array(1.0))] if made else []
        elif degree == 1:
            made, rows = sorted(known), [row]
        else:
            # Also the beginnings of longer terms.
            made = sorted({term[:degree] for term in terms if len(term) >= degree})
            left = build.columns(block, [known[term[:-1]] for term in made])
            block = build.apply("Mul", left, build.columns(row, [term[-1] for term in made]))
            known, rows = {term: place for place, term in enumerate(made)}, [block]
        order += made
        blocks += rows
    places = {term: place for place, term in enumerate(order)}
    return build.columns(build.concatenate(blocks), [places[term] for term in terms])


def _components(build: Build, estimator: Any, row: Row) -> Row:
    """(row − mean) · componentsᵀ, over the root of the explained variance where it whitens."""
    components = numbers(estimator, "components_", None, row.width)
    middle = np.zeros(row.width) if getattr(estimator, "mean_", None) is None else numbers(estimator, "mean_", row.width)
    if getattr(estimator, "whiten", False) and hasattr(estimator, "explained_variance_"):
        variance = numbers(estimator, "explained_variance_", len(components))
        components = components / np.sqrt(np.maximum(variance, np.finfo(np.float64).eps))[:, None]
    return build.centred_linear(row, middle, components)


def _random_projection(build: Build, estimator: Any, row: Row) -> Row:
    components = estimator.components_
    return build.linear(
        row, np.asarray(components.toarray() if hasattr(components, "toarray") else components, dtype=np.float64)
    )


def _factors(build: Build, estimator: Any, row: Row) -> Row:
    """FactorAnalysis: the mean of the hidden factors given the row."""
    loadings, noise = numbers(estimator, "components_", None, row.width), numbers(estimator, "noise_variance_", row.width)
    weighted = loadings / noise
    covariance = np.linalg.inv(np.eye(len(loadings)) + weighted @ loadings.T)
    return build.centred_linear(row, numbers(estimator, "mean_", row.width), covariance @ weighted)


def _least_squares_scores(build: Build, estimator: Any, row: Row) -> Row:
    rotations = numbers(estimator, "x_rotations_", row.width, None)
    return build.linear(_scaled(build, estimator, row, "_x_mean", "_x_std"), rotations.T)


def _discriminant(build: Build, estimator: Any, row: Row) -> Row:
    scalings = numbers(estimator, "scalings_", row.width, None)[:, : estimator._max_components]
    if estimator.solver == "svd":
        row = build.subtract(row, numbers(estimator, "xbar_", row.width))
    return build.linear(row, scalings.T)


def _random_waves(build: Build, estimator: Any, row: Row) -> Row:
    """RBFSampler: √(2 / n) · cos(row · W + offset)."""
    weights = numbers(estimator, "random_weights_", row.width, None)
    angle = build.linear(row, weights.T, vector(estimator, "random_offset_", weights.shape[1]))
    return build.multiply(build.apply("Cos", angle), np.sqrt(2.0 / weights.shape[1]))


RULES = Rules(
    transforms={
        "StandardScaler": _standard,
        "RobustScaler": _robust,
        "MinMaxScaler": _min_max,
        "MaxAbsScaler": _max_abs,
        "Normalizer": _normalizer,
        "Binarizer": _binarizer,
        "FunctionTransformer": _function,
        "PowerTransformer": _power,
        "PolynomialFeatures": _polynomial,
        **dict.fromkeys(("PCA", "IncrementalPCA", "TruncatedSVD", "FastICA", "NeighborhoodComponentsAnalysis"), _components),
        **dict.fromkeys(("GaussianRandomProjection", "SparseRandomProjection"), _random_projection),
        "FactorAnalysis": _factors,
        "PLSRegression": _least_squares_scores,
        "PLSCanonical": _least_squares_scores,
        "CCA": _least_squares_scores,
        "LinearDiscriminantAnalysis": _discriminant,
        "RBFSampler": _random_waves,
    },
)
