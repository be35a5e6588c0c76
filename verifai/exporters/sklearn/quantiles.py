"""QuantileTransformer: per column, straight lines between the quantiles that it was fitted on."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, Rules, inconsistent, unsupported
from verifai.exporters.sklearn.moved import Function
from verifai.exporters.sklearn.writer import Array, Row
from verifai.onnx_graph.passes.trees import below, next_below

_MAX_RAMPS = 1 << 17


def _interpolated(quantiles: Array, references: Array) -> Function:
    """As scikit-learn's ``_transform_col`` has it: the mean of both interpolations, which differ where quantiles are equal."""

    def function(values: Array) -> Array:
        upwards = np.interp(values, quantiles, references)
        found = np.asarray(0.5 * (upwards - np.interp(-values, -quantiles[::-1], -references[::-1])))
        found[values == quantiles[-1]] = references[-1]
        found[values == quantiles[0]] = references[0]
        return found

    return function


def _quantiles(build: Build, estimator: Any, row: Row) -> Row:
    """A sum of ramps, each from 0 to 1 between two quantiles, and where quantiles are equal, of steps: half at x ≥ q, half
    above; at the least quantile all of it above, and at the largest all of it there.

    Raises:
        UnsupportedModel: for a normal output, whose inverse error function no ONNX operator is.
        UsageError: ``source-failed``.
    """
    if estimator.output_distribution != "uniform":
        hint = "Fit it with output_distribution='uniform', or use PowerTransformer."
        raise unsupported(estimator, "makes a normal distribution, which has no operator,", hint)
    quantiles = np.asarray(estimator.quantiles_, np.float64)
    references = np.asarray(estimator.references_, np.float64)
    fits = quantiles.shape == (len(references), row.width) and len(references) > 1 and np.isfinite(quantiles).all()
    if not fits or (np.diff(quantiles, axis=0) < 0).any() or (np.diff(references) < 0).any():
        raise inconsistent(estimator, "its quantiles contradict each other")
    spans, rises = np.diff(quantiles, axis=0), np.diff(references)
    if spans.size > _MAX_RAMPS:
        raise unsupported(estimator, f"has {spans.size:,} pieces", "Fit it with fewer n_quantiles.")
    # Quantiles between which no float32 number lies: 6.9 and 6.8999…9, of the same decimals by two ways of computing.
    steps = (spans == 0) | (_above(quantiles[:-1]) >= quantiles[1:])
    apart, column = np.nonzero(~steps)
    if not len(column):
        raise unsupported(estimator, "was fitted on columns of one value each", "Leave these columns out.")
    # The difference before the product: a product first would cancel digits on steep ramps.
    starts = build.apply("Sub", build.columns(row, column), build.constant(quantiles[apart, column], "quantiles"))
    slopes = 1 / spans[apart, column]
    ramps = build.apply("Clip", build.multiply(starts, slopes), build.constant(np.array(0.0)), build.constant(np.array(1.0)))
    owners = np.arange(row.width)[:, None] == column[None]
    found = build.linear(ramps, owners * rises[apart][None], np.full(row.width, references[0]))
    functions = [_interpolated(quantiles[:, at], references) for at in range(row.width)]
    return build.increasing(_with_steps(build, row, found, quantiles, references, steps), row, functions)


def _with_steps(build: Build, row: Row, found: Row, quantiles: Array, references: Array, steps: Array) -> Row:
    """``found``, and at each pair of quantiles that are one step its rise; a float32 row is compared with float64 quantiles, so
    limits are the float32 numbers that decide alike."""
    rises = np.diff(references)
    pairs, tied = np.nonzero(steps & (rises > 0)[:, None])
    if not len(tied):
        return found
    low, high = quantiles[pairs, tied], quantiles[pairs + 1, tied]
    # At least q, or more than q: from which float32 number on.
    least, more = -_at_most(-high), _above(low)
    apart, first, last = low < high, low == quantiles[0, tied], high == quantiles[-1, tied]
    limits = (np.where(first & ~apart, more, least), np.where(apart | (last & ~first), least, more))
    halves = (np.arange(row.width)[:, None] == tied[None]) * (rises[pairs][None] / 2)
    read = build.columns(row, tied)
    for values in limits:
        reached = build.apply("Cast", build.apply("GreaterOrEqual", read, build.constant(values, "ties")), to=1)
        found = build.apply("Add", found, build.linear(reached, halves))
    return found


def _at_most(values: Array) -> Array:
    """The largest float32 numbers that are not above these."""
    return np.array([below(value) for value in values.reshape(-1).tolist()]).reshape(values.shape)


def _above(values: Array) -> Array:
    """The least float32 numbers above these."""
    return -np.array([next_below(-value) for value in values.reshape(-1).tolist()]).reshape(values.shape)


RULES = Rules(transforms={"QuantileTransformer": _quantiles})
