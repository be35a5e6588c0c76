"""Wrappers of boosting libraries inside scikit-learn's pipelines, votes, stacks and searches."""

from __future__ import annotations

from typing import Any

from verifai.exporters.boosters.boosted import Link
from verifai.exporters.boosters.libraries import CLASSIFIERS, WRAPPERS, of_wrapper
from verifai.exporters.sklearn.build import Build, NoRule, Rules
from verifai.exporters.sklearn.writer import Row


def _probabilities(build: Build, estimator: Any, row: Row) -> Row:
    found = of_wrapper(estimator)
    if not found.classes:
        raise NoRule(f"{type(estimator).__name__} with such an objective")
    result = found.row(build, row, estimator)
    # LightGBM's one-versus-all sums to nothing in particular, as its predict_proba does.
    return result if found.link is not Link.IDENTITY else build.apply("Sigmoid", result)


def _values(build: Build, estimator: Any, row: Row) -> Row:
    return of_wrapper(estimator).row(build, row, estimator)


RULES = Rules(
    predictions=dict.fromkeys(WRAPPERS - CLASSIFIERS, _values),
    probabilities=dict.fromkeys(CLASSIFIERS, _probabilities),
)
