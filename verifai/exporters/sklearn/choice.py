"""Which of an estimator's methods is exported, what its numbers are called and mean, and how scikit-learn gives the same."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifai.domain.model_facts import Task
from verifai.errors import UnsupportedModel, UsageError
from verifai.exporters.sklearn.build import name_of
from verifai.exporters.sklearn.neighbours import equal_priors

PROBABILITIES, SCORES, PREDICTION, TRANSFORMED = "probabilities", "scores", "prediction", "transformed"

RANKERS = frozenset({"XGBRanker", "LGBMRanker", "CatBoostRanker"})
"""Estimators of boosting libraries that predict a number, and say of themselves that they are no regressors."""

_INNER = {
    "GridSearchCV": "best_estimator_",
    "RandomizedSearchCV": "best_estimator_",
    "HalvingGridSearchCV": "best_estimator_",
    "HalvingRandomSearchCV": "best_estimator_",
    "FrozenEstimator": "estimator",
}


@dataclass(frozen=True)
class Choice:
    """What is exported of an estimator.

    Attributes:
        output: ``probabilities``, ``scores``, ``prediction`` or ``transformed``: the tensor's name.
        task: what the model is for.
        labels: of the output's columns, for classes and clusters; empty otherwise.
    """

    output: str
    task: Task
    labels: tuple[str, ...]


def choose(estimator: Any, wanted: str = "") -> Choice:
    """The output whose largest column is what ``predict`` says; or ``wanted``, when the estimator has that.

    Raises:
        UsageError: ``bad-option``, when it has no such output.
        UnsupportedModel: when it predicts nothing.
    """
    from sklearn.base import is_classifier, is_outlier_detector, is_regressor

    if is_classifier(estimator):
        offered = [PROBABILITIES] * hasattr(estimator, "predict_proba") + [SCORES]
        return Choice(_one_of(offered, wanted, preferred(estimator)), _kind(estimator), _labels(estimator.classes_))
    if is_outlier_detector(estimator):
        return Choice(_one_of([SCORES], wanted, SCORES), Task.CLASSIFICATION, ("-1", "1"))
    head = last(estimator)
    if type(head).__name__ in ("GaussianMixture", "BayesianGaussianMixture"):
        return Choice(_one_of([PROBABILITIES], wanted, PROBABILITIES), Task.CLUSTERING, _numbered(head.n_components))
    if isinstance(getattr(head, "cluster_centers_", None), np.ndarray):
        output = _one_of([SCORES, TRANSFORMED], wanted, SCORES)
        labels = _numbered(len(head.cluster_centers_)) if output == SCORES else ()
        return Choice(output, Task.CLUSTERING if output == SCORES else Task.TRANSFORM, labels)
    if is_regressor(estimator) or type(head).__name__ in RANKERS:
        return Choice(_one_of([PREDICTION], wanted, PREDICTION), Task.REGRESSION, ())
    if hasattr(estimator, "transform"):
        return Choice(_one_of([TRANSFORMED], wanted, TRANSFORMED), Task.TRANSFORM, ())
    raise UnsupportedModel(
        "model-unknown-operator",
        f"{name_of(estimator)} predicts nothing for a new row",
        hint="Use an estimator with predict, predict_proba, decision_function or transform.",
    )


def _one_of(offered: list[str], wanted: str, default: str) -> str:
    if wanted and wanted not in offered:
        raise UsageError(
            "bad-option", f"the estimator has no output {wanted!r}", where="--select", hint="It has: " + ", ".join(offered)
        )
    return wanted or default


def _kind(estimator: Any) -> Task:
    head = last(estimator)
    binarizer = getattr(head, "_label_binarizer", getattr(head, "label_binarizer_", None))
    several = str(getattr(binarizer, "y_type_", "")).startswith("multilabel") or getattr(head, "multilabel_", False)
    return Task.MULTILABEL if several else Task.CLASSIFICATION


def _labels(classes: Any) -> tuple[str, ...]:
    if not isinstance(classes, np.ndarray) or classes.ndim != 1:
        raise UnsupportedModel(
            "model-unknown-operator",
            "the classifier has several targets, each with classes of its own",
            hint="Export the classifier of each target for itself: estimator.estimators_[0], and so on.",
        )
    return tuple(str(label) for label in classes.tolist())


def _numbered(count: int) -> tuple[str, ...]:
    return tuple(str(place) for place in range(count))


def last(estimator: Any) -> Any:
    """The estimator that decides: the last step of a pipeline, the best of a search, the final one of a stack."""
    for _ in range(32):
        name = type(estimator).__name__
        if name == "Pipeline":
            estimator = estimator.steps[-1][1]
        elif name in _INNER:
            estimator = getattr(estimator, _INNER[name])
        elif name in ("RFE", "RFECV"):
            estimator = estimator.estimator_
        elif name in ("StackingClassifier", "StackingRegressor"):
            estimator = estimator.final_estimator_
        else:
            break
    return estimator


def preferred(estimator: Any) -> str:
    """Probabilities where the largest is what ``predict`` says, else scores."""
    head = last(estimator)
    name = type(head).__name__
    if name in ("SVC", "NuSVC", "NearestCentroid", "OneVsOneClassifier"):
        # Their predictions do not follow their probabilities.
        return SCORES
    if name == "SGDClassifier" and (head.loss != "log_loss" or len(head.classes_) > 2):
        # Several sigmoids far from 0 are all 0 or all 1, where the scores still differ.
        return SCORES
    if name == "OneVsRestClassifier" and any(preferred(part) == SCORES for part in head.estimators_):
        return SCORES
    return PROBABILITIES if hasattr(head, "predict_proba") else SCORES


def truth(estimator: Any, output: str, rows: NDArray[Any]) -> NDArray[Any]:
    """What scikit-learn gives for ``rows``, in the form that is exported: shape (rows, columns)."""
    if output == SCORES:
        result = _scores(*reaching(estimator, rows))
    elif output == PROBABILITIES:
        result = estimator.predict_proba(rows)
    elif output == PREDICTION:
        result = estimator.predict(rows)
    else:
        result = estimator.transform(rows)
    if hasattr(result, "toarray"):
        result = result.toarray()
    return np.asarray(result, dtype=np.float64).reshape(len(rows), -1)


def reaching(estimator: Any, rows: NDArray[Any]) -> tuple[Any, Any]:
    """The estimator that decides, and what reaches it."""
    for _ in range(32):
        name = type(estimator).__name__
        if name == "Pipeline":
            estimator, rows = estimator.steps[-1][1], estimator[:-1].transform(rows) if len(estimator.steps) > 1 else rows
        elif name in _INNER:
            estimator = getattr(estimator, _INNER[name])
        elif name in ("RFE", "RFECV"):
            estimator, rows = estimator.estimator_, estimator.transform(rows)
        elif name in ("StackingClassifier", "StackingRegressor"):
            estimator, rows = estimator.final_estimator_, estimator.transform(rows)
        else:
            break
    return estimator, rows


def _scores(head: Any, rows: Any) -> NDArray[Any]:
    name = type(head).__name__
    if name in ("KMeans", "MiniBatchKMeans"):
        return -np.square(np.asarray(head.transform(rows), dtype=np.float64))
    if name == "NearestCentroid":
        return _centroid_scores(head, rows)
    if name == "VotingClassifier":
        votes = np.asarray(head.transform(rows), dtype=np.int64)
        weights = np.ones(votes.shape[1]) if head.weights is None else np.asarray(head._weights_not_none, dtype=np.float64)
        return np.stack([np.bincount(row, weights=weights, minlength=len(head.classes_)) for row in votes])
    if getattr(head, "decision_function_shape", "ovr") == "ovo":
        head = copy.copy(head)
        head.decision_function_shape = "ovr"
    if name in ("OneVsRestClassifier", "OneVsOneClassifier") and not _decides(head):
        parts = head.estimators_
        columns = [_compared(part, rows) for part in parts]
        threshold = 0.0 if hasattr(parts[0], "decision_function") else 0.5
        decision = columns[0] - threshold if len(parts) == 1 else np.stack(columns, axis=1)
    else:
        decision = np.asarray(head.decision_function(rows), dtype=np.float64)
    return np.stack([-decision, decision], axis=1) if decision.ndim == 1 else decision


def _decides(head: Any) -> bool:
    """Whether its ``predict`` follows a decision function, above 0 for the second of two classes."""
    if type(head).__name__ == "OneVsOneClassifier":
        return len(head.classes_) > 2
    return hasattr(head, "decision_function")


def _compared(part: Any, rows: Any) -> NDArray[np.float64]:
    """What ``predict`` compares of a binary part: its decision, else the second class's probability, else its prediction."""
    if hasattr(part, "decision_function"):
        return np.ravel(np.asarray(part.decision_function(rows), dtype=np.float64))
    found = part.predict_proba(rows)[:, 1] if hasattr(part, "predict_proba") else part.predict(rows)
    return np.ravel(np.asarray(found, dtype=np.float64))


def _centroid_scores(head: Any, rows: Any) -> NDArray[Any]:
    if not equal_priors(head):
        return np.asarray(head._decision_function(rows), dtype=np.float64)
    from sklearn.metrics import pairwise_distances

    distances = np.asarray(pairwise_distances(rows, head.centroids_, metric=head.metric), dtype=np.float64)
    return -np.square(distances) if head.metric == "euclidean" else -distances


def named(estimator: Any, choice: Choice, rows: NDArray[Any]) -> NDArray[np.int64] | None:
    """Which label ``predict`` names for each row, as a place among the labels; ``None`` where it names no single one."""
    if choice.task not in (Task.CLASSIFICATION, Task.CLUSTERING):
        return None
    if choice.task is Task.CLUSTERING:
        head, reached = reaching(estimator, rows)
        stored = getattr(head, "cluster_centers_", np.zeros(0))
        # scikit-learn's clusterings accept the precision they were fitted in only.
        return np.asarray(head.predict(np.asarray(reached, dtype=stored.dtype)), dtype=np.int64)
    found = {label: place for place, label in enumerate(choice.labels)}
    return np.array([found[str(label)] for label in np.asarray(estimator.predict(rows)).tolist()], dtype=np.int64)
