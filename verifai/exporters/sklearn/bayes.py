"""Classifiers by densities: naive Bayes, discriminant analysis, mixtures. Probabilities are the softmax of log densities."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, Rules, class_count, inconsistent, numbers, parts, unsupported, vector
from verifai.exporters.sklearn.selection import one_hot
from verifai.exporters.sklearn.writer import Array, Row


def _gaussian(build: Build, estimator: Any, row: Row) -> Row:
    """log prior − ½ Σ log 2πσ² − ½ Σ (x − θ)² / σ², as a product with x and one with x²."""
    classes = class_count(estimator)
    means, variances = numbers(estimator, "theta_", classes, row.width), numbers(estimator, "var_", classes, row.width)
    priors = numbers(estimator, "class_prior_", classes)
    if (variances <= 0).any() or (priors <= 0).any():
        raise inconsistent(estimator, "a variance or prior is not positive")
    row, middle, spread = standardised(build, row, means.mean(axis=0), np.sqrt(variances.mean(axis=0) + means.var(axis=0)))
    means, variances = (means - middle) / spread, variances / spread**2
    constant = np.log(priors) - 0.5 * (np.log(2 * np.pi * variances * spread**2) + means**2 / variances).sum(axis=1)
    straight = build.linear(row, means / variances, constant)
    # Two products, not one of both side by side: x and x² differ in size, and a circuit has one scale per value.
    return build.apply("Add", straight, build.linear(build.apply("Mul", row, row), -0.5 / variances))


def standardised(build: Build, row: Row, middle: Array, spread: Array) -> tuple[Row, Array, Array]:
    """(row − middle) / spread, and what was subtracted and divided by: 0 and 1 where the row is about standard already.

    Columns of one size, measured from their middle, keep float32 (and the integers of a circuit) precise.
    """
    if np.abs(middle).max() <= 1 and spread.min() >= 0.1 and spread.max() <= 10:
        return row, np.zeros_like(middle), np.ones_like(spread)
    return build.multiply(build.subtract(row, middle), 1 / spread), middle, spread


def _bernoulli(build: Build, estimator: Any, row: Row) -> Row:
    classes = class_count(estimator)
    present = numbers(estimator, "feature_log_prob_", classes, row.width)
    absent = np.log1p(-np.exp(present))
    if estimator.binarize is not None:
        row = binarised(build, row, float(estimator.binarize))
    return build.linear(row, present - absent, numbers(estimator, "class_log_prior_", classes) + absent.sum(axis=1))


def binarised(build: Build, row: Row, threshold: float) -> Row:
    """1 where a cell exceeds the threshold, else 0."""
    above = build.apply("Greater", row, build.constant(np.array(threshold)))
    return build.apply("Cast", above, to=1)


def _multinomial(build: Build, estimator: Any, row: Row) -> Row:
    classes = class_count(estimator)
    weights = numbers(estimator, "feature_log_prob_", classes, row.width)
    return build.linear(row, weights, numbers(estimator, "class_log_prior_", classes))


def _complement(build: Build, estimator: Any, row: Row) -> Row:
    return build.linear(row, numbers(estimator, "feature_log_prob_", class_count(estimator), row.width))


def _categorical(build: Build, estimator: Any, row: Row) -> Row:
    """Columns hold the numbers of categories."""
    tables = [np.asarray(table, dtype=np.float64) for table in parts(estimator, "feature_log_prob_")]
    if len(tables) != row.width or any(table.ndim != 2 or len(table) != class_count(estimator) for table in tables):
        raise inconsistent(estimator, "feature_log_prob_ does not fit its columns and classes")
    build.note("CategoricalNB takes whole numbers; another number is rounded down by it, and belongs to no category here.")
    encoded = one_hot(build, row, [np.arange(table.shape[1], dtype=np.float64) for table in tables])
    return build.linear(encoded, np.hstack(tables), numbers(estimator, "class_log_prior_", class_count(estimator)))


def _softmax_of(density: Any) -> Any:
    def rule(build: Build, estimator: Any, row: Row) -> Row:
        return build.softmax(density(build, estimator, row))

    return rule


def _quadratic(build: Build, estimator: Any, row: Row) -> Row:
    """QuadraticDiscriminantAnalysis: log prior − ½ (|(x − μ) W|² + Σ log s) per class, W the rotation over √s."""
    classes = class_count(estimator)
    means, priors = numbers(estimator, "means_", classes, row.width), numbers(estimator, "priors_", classes)
    scalings, rotations = parts(estimator, "scalings_"), parts(estimator, "rotations_")
    if not len(scalings) == len(rotations) == classes:
        raise inconsistent(estimator, "scalings_ and rotations_ do not fit its classes")
    whitening, constants = [], []
    for scaling, rotation in zip(scalings, rotations, strict=True):
        scaling, rotation = np.asarray(scaling, dtype=np.float64), np.asarray(rotation, dtype=np.float64)
        if scaling.ndim != 1 or rotation.shape != (row.width, len(scaling)) or not (scaling > 0).all():
            raise inconsistent(estimator, f"a rotation has the shape {rotation.shape} and {scaling.size} scalings")
        whitening.append(rotation / np.sqrt(scaling))
        constants.append(np.log(scaling).sum())
    return gaussians(build, row, means, whitening, np.log(priors) - 0.5 * np.array(constants))


def gaussians(build: Build, row: Row, means: Array, whitening: list[Array], constants: Array) -> Row:
    """constant − ½ |(x − mean) · whitening|² for each density."""
    spread = np.sqrt(1 / np.maximum(np.mean([(part**2).sum(axis=1) for part in whitening], axis=0), 1e-30))
    row, middle, spread = standardised(build, row, means.mean(axis=0), spread)
    shifts = np.concatenate([(middle - mean) @ part for mean, part in zip(means, whitening, strict=True)])
    white = build.linear(row, (np.hstack(whitening) * spread[:, None]).T, shifts)
    squares = build.apply("Mul", white, white)
    owner = np.repeat(np.arange(len(means)), [part.shape[1] for part in whitening])
    return build.linear(squares, -0.5 * (owner[None] == np.arange(len(means))[:, None]), constants)


def _difference(build: Build, estimator: Any, row: Row) -> Row:
    """The decision for two classes is the second density minus the first."""
    density = _quadratic(build, estimator, row)
    return build.linear(density, np.array([[-1.0, 1.0]])) if density.width == 2 else density


def _expected(estimator: Any, means: Array) -> Array:
    """Per part, the expected logarithm of its weight, and what the expected density has beside that of a Gaussian.

    Source: scikit-learn's ``_estimate_log_weights`` and ``_estimate_log_prob``; Bishop, Pattern Recognition and Machine
    Learning, 10.65 and 10.66.
    """
    from scipy.special import digamma

    parts, width = means.shape
    concentration = estimator.weight_concentration_
    if estimator.weight_concentration_prior_type == "dirichlet_process":
        first, second = (np.asarray(one, np.float64) for one in concentration)
        if first.shape != (parts,) or second.shape != (parts,):
            raise inconsistent(estimator, "it has concentrations of another number of parts")
        whole = digamma(first + second)
        weights = digamma(first) - whole + np.concatenate([[0.0], np.cumsum(digamma(second) - whole)[:-1]])
    else:
        alone = vector(estimator, "weight_concentration_", parts)
        weights = digamma(alone) - digamma(alone.sum())
    freedom, precision = (vector(estimator, name, parts) for name in ("degrees_of_freedom_", "mean_precision_"))
    spread = width * np.log(2) + digamma(0.5 * (freedom[None] - np.arange(width)[:, None])).sum(axis=0)
    found = weights - 0.5 * width * np.log(freedom) + 0.5 * (spread - width / precision)
    if not np.isfinite(found).all():
        raise inconsistent(estimator, "its concentrations are no positive numbers")
    return np.asarray(found)


def _mixture(build: Build, estimator: Any, row: Row) -> Row:
    """GaussianMixture.predict_proba; of the Bayesian one too, whose weights and densities are expected ones."""
    means = numbers(estimator, "means_", None, row.width)
    bayesian = type(estimator).__name__ == "BayesianGaussianMixture"
    logarithms = _expected(estimator, means) if bayesian else np.log(vector(estimator, "weights_", len(means)))
    factors, kind = np.asarray(estimator.precisions_cholesky_, dtype=np.float64), estimator.covariance_type
    shapes = {"full": (len(means), row.width, row.width), "tied": (row.width, row.width), "diag": means.shape,
              "spherical": (len(means),)}  # fmt: skip
    if kind not in shapes or factors.shape != shapes[kind]:
        raise inconsistent(estimator, f"precisions_cholesky_ has the shape {factors.shape} for {kind!r}")
    if kind == "full":
        whitening = list(factors)
    elif kind == "tied":
        whitening = [factors] * len(means)
    else:
        whitening = [np.diag(np.broadcast_to(factor, row.width)) for factor in factors]
    constants = logarithms + np.array([np.log(np.abs(np.diagonal(part))).sum() for part in whitening])
    return build.softmax(gaussians(build, row, means, whitening, constants))


def _elliptic(build: Build, estimator: Any, row: Row) -> Row:
    """EllipticEnvelope.decision_function: −(x − location)ᵀ P (x − location) − offset, P the precision."""
    if not hasattr(estimator, "precision_"):
        raise unsupported(estimator, "does not store its precision", "Fit it with store_precision=True.")
    precision, offset = numbers(estimator, "precision_", row.width, row.width), numbers(estimator, "offset_").item()
    centred = build.subtract(row, numbers(estimator, "location_", row.width))
    product = build.apply("Mul", build.linear(centred, precision), centred)
    return build.linear(product, -np.ones((1, row.width)), np.array([-offset]))


_DENSITIES = {
    "GaussianNB": _gaussian,
    "BernoulliNB": _bernoulli,
    "MultinomialNB": _multinomial,
    "ComplementNB": _complement,
    "CategoricalNB": _categorical,
    "QuadraticDiscriminantAnalysis": _quadratic,
}

RULES = Rules(
    decisions={"QuadraticDiscriminantAnalysis": _difference, "EllipticEnvelope": _elliptic},
    probabilities={
        **{name: _softmax_of(density) for name, density in _DENSITIES.items()},
        **dict.fromkeys(("GaussianMixture", "BayesianGaussianMixture"), _mixture),
    },
)
