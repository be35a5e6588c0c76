"""Estimators made of estimators: pipelines, votes, stacks, bags, calibration, one-versus-rest, several targets, searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, NoRule, Rules, class_count, inconsistent, numbers, parts, unsupported
from verifai.exporters.sklearn.choice import SCORES, preferred
from verifai.exporters.sklearn.selection import before_last
from verifai.exporters.sklearn.support import voted
from verifai.exporters.sklearn.writer import Array, Row

Method = Callable[[Build, Any, Row], Row]


def _of_pipeline(method: Method) -> Method:
    def rule(build: Build, estimator: Any, row: Row) -> Row:
        last, row = before_last(build, estimator, row)
        return method(build, last, row)

    return rule


def _of(attribute: str, method: Method) -> Method:
    """The same method of the estimator inside: the best of a search, the one behind a threshold."""

    def rule(build: Build, estimator: Any, row: Row) -> Row:
        inner = getattr(estimator, attribute, None)
        if inner is None:
            raise inconsistent(estimator, f"{attribute} is missing; was it fitted with refit=True?")
        return method(build, inner, row)

    return rule


def _after_selection(method: Method) -> Method:
    """RFE and RFECV: the estimator inside, on the columns that were kept."""

    def rule(build: Build, estimator: Any, row: Row) -> Row:
        return method(build, estimator.estimator_, build.transform(estimator, row))

    return rule


def chosen(build: Build, estimator: Any, row: Row) -> Row:
    """One column per class: 1 at the class that ``predict`` names, else 0."""
    values = build.scores(estimator, row) if preferred(estimator) == SCORES else build.probabilities(estimator, row)
    place = build.node("ArgMax", [values.name], "chosen", axis=1, keepdims=0, select_last_index=0)
    return Row(build.node("Gather", [build.constant(np.eye(values.width), "classes"), place], "vote", axis=0), values.width)


# Votes


def _vote_weights(estimator: Any, count: int) -> Array:
    given = estimator.weights
    if given is None:
        return np.ones(count)
    kept = [
        w for (_, inner), w in zip(estimator.estimators, given, strict=True) if not (isinstance(inner, str) and inner == "drop")
    ]
    if len(kept) != count:
        raise inconsistent(estimator, f"it has {len(kept)} weights for {count} estimators")
    return np.asarray(kept, dtype=np.float64)


def _soft_vote(build: Build, estimator: Any, row: Row) -> Row:
    if estimator.voting != "soft":
        raise NoRule("VotingClassifier.predict_proba")
    inner = parts(estimator)
    one = class_count(estimator) == 2
    rows = [build.positive(part, row) if one else build.probabilities(part, row) for part in inner]
    return build.average(rows, _vote_weights(estimator, len(inner)))


def _hard_vote(build: Build, estimator: Any, row: Row) -> Row:
    """The weights of the votes for each class."""
    inner = parts(estimator)
    weights = _vote_weights(estimator, len(inner))
    return build.linear(
        build.concatenate([chosen(build, part, row) for part in inner]),
        np.concatenate([weight * np.eye(class_count(estimator)) for weight in weights], axis=1),
    )


def _mean_vote(build: Build, estimator: Any, row: Row) -> Row:
    inner = parts(estimator)
    return build.average([build.predict(part, row) for part in inner], _vote_weights(estimator, len(inner)))


# Stacks


def _stacked(build: Build, estimator: Any, row: Row) -> Row:
    """What the final estimator is given."""
    inner, methods = parts(estimator), parts(estimator, "stack_method_")
    if len(inner) != len(methods):
        raise inconsistent(estimator, f"it has {len(methods)} methods for {len(inner)} estimators")
    classes = getattr(estimator, "classes_", None)
    results = []
    for part, method in zip(inner, methods, strict=True):
        if method == "predict_proba":
            two = isinstance(classes, np.ndarray) and len(classes) == 2
            results.append(build.positive(part, row) if two else build.probabilities(part, row))
        elif method == "decision_function":
            results.append(build.decision(part, row))
        elif method == "predict" and not hasattr(part, "classes_"):
            results.append(build.predict(part, row))
        else:
            raise unsupported(estimator, "feeds class labels to its final estimator", "Use stack_method='auto'.")
    return build.concatenate([*results, row] if estimator.passthrough else results)


def _of_stack(method: Method) -> Method:
    def rule(build: Build, estimator: Any, row: Row) -> Row:
        return method(build, estimator.final_estimator_, _stacked(build, estimator, row))

    return rule


# Bags


def _bag(build: Build, estimator: Any, row: Row, method: Method) -> Row:
    """The mean over the estimators, each on its own columns."""
    inner, features = parts(estimator), parts(estimator, "estimators_features_")
    if len(inner) != len(features):
        raise inconsistent(estimator, f"it has {len(features)} choices of columns for {len(inner)} estimators")
    rows = [method(build, part, build.columns(row, columns)) for part, columns in zip(inner, features, strict=True)]
    return build.average(rows, np.ones(len(rows)))


def _bag_mean(build: Build, estimator: Any, row: Row) -> Row:
    return _bag(build, estimator, row, Build.predict)


def _bag_probabilities(build: Build, estimator: Any, row: Row) -> Row:
    classes = class_count(estimator)

    def method(build: Build, part: Any, row: Row) -> Row:
        if not hasattr(part, "predict_proba"):
            return chosen(build, part, row)
        if classes == 2 and class_count(part) == 2:
            return build.positive(part, row)
        result = build.probabilities(part, row)
        if result.width == classes:
            return result
        # A part that saw some classes only; its classes are numbers of the bag's.
        return build.linear(result, np.arange(classes)[:, None] == np.asarray(part.classes_)[None])

    return _bag(build, estimator, row, method)


# Calibration


def _calibrated(build: Build, estimator: Any, row: Row) -> Row:
    inner = parts(estimator, "calibrated_classifiers_")
    return build.average([_calibrated_one(build, part, row, class_count(estimator)) for part in inner], np.ones(len(inner)))


def _calibrated_one(build: Build, part: Any, row: Row, classes: int) -> Row:
    """One fold: the classifier's decision (else its probabilities), one calibrator per class, normalised."""
    classifier, method = part.estimator, part.method
    if classes != class_count(classifier):
        raise unsupported(part, "has a fold that lacks a class", "Fit it with fewer folds, or stratified ones.")
    by_decision = hasattr(classifier, "decision_function")
    if by_decision:
        values = build.decision(classifier, row)
    else:
        values = build.positive(classifier, row) if classes == 2 else build.probabilities(classifier, row)
    if method == "temperature":
        return _tempered(build, part, values, by_decision)
    calibrators = parts(part, "calibrators")
    if len(calibrators) != values.width:
        raise inconsistent(part, f"it has {len(calibrators)} calibrators for {values.width} columns")
    if method == "sigmoid":
        slopes = np.array([numbers(calibrator, "a_").item() for calibrator in calibrators])
        shifts = np.array([numbers(calibrator, "b_").item() for calibrator in calibrators])
        logit = build.add(build.multiply(values, -slopes), -shifts)
        return build.apply("Sigmoid", logit) if classes == 2 else build.sigmoids(logit)
    result = build.concatenate(
        [isotonic(build, calibrator, build.columns(values, [place])) for place, calibrator in enumerate(calibrators)]
    )
    return result if classes == 2 else build.normalised(result)


def _tempered(build: Build, part: Any, values: Row, by_decision: bool) -> Row:
    """softmax(β · logits); the logits of a decision s are (−s, s) for two classes, of probabilities their logarithms."""
    beta = numbers(parts(part, "calibrators")[0], "beta_").item()
    if not by_decision:
        full = build.complement(values) if values.width == 1 else values
        return build.softmax(build.multiply(build.apply("Log", build.add(full, 1e-12)), beta))
    if values.width == 1:
        return build.apply("Sigmoid", build.multiply(values, 2 * beta))
    return build.softmax(build.multiply(values, beta))


def isotonic(build: Build, estimator: Any, row: Row) -> Row:
    """IsotonicRegression: straight lines between thresholds, constant beyond; a sum of clipped ramps."""
    x, y = numbers(estimator, "X_thresholds_", None), numbers(estimator, "y_thresholds_", None)
    if len(x) != len(y) or not len(x) or (np.diff(x) <= 0).any():
        raise inconsistent(estimator, "its thresholds contradict each other")
    if estimator.out_of_bounds != "clip":
        raise unsupported(estimator, "is undefined beyond its thresholds", "Fit it with out_of_bounds='clip'.")
    rises = np.flatnonzero(np.diff(y))
    if not len(rises):
        return build.linear(row, np.zeros((1, 1)), y[:1])
    steps, slopes = np.diff(y)[rises], 1 / np.diff(x)[rises]
    # The difference before the product: a product first would cancel digits on steep ramps.
    starts = build.apply("Sub", row, build.constant(x[rises]), width=len(rises))
    ramps = build.apply("Clip", build.multiply(starts, slopes), build.constant(np.array(0.0)), build.constant(np.array(1.0)))
    return build.linear(ramps, steps[None], y[:1])


# One against the rest, one against one


def _rest(build: Build, estimator: Any, row: Row) -> Row:
    """OneVsRestClassifier.predict_proba."""
    result = build.concatenate([build.positive(part, row) for part in parts(estimator)])
    return result if result.width == 1 or estimator.multilabel_ else build.normalised(result)


def _rest_decision(build: Build, estimator: Any, row: Row) -> Row:
    """``decision_function``, or what ``predict`` compares where the parts have none: predictions or probabilities."""
    found = [_binary(build, part, row) for part in parts(estimator)]
    if len(found) == 1:
        return build.subtract(*found[0])
    return build.concatenate([confidence for confidence, _ in found])


def _binary(build: Build, part: Any, row: Row) -> tuple[Row, float]:
    """A binary part's confidence in its second class, and the number above which it means that class."""
    if not hasattr(part, "classes_"):
        return build.predict(part, row), 0.5
    if hasattr(part, "decision_function"):
        return build.decision(part, row), 0.0
    return build.positive(part, row), 0.5


def _one_to_one(build: Build, estimator: Any, row: Row) -> Row:
    classes, inner = class_count(estimator), parts(estimator)
    if len(inner) != classes * (classes - 1) // 2 or estimator.pairwise_indices_ is not None:
        raise unsupported(estimator, "does not compare each pair of classes on all columns", "Use OneVsRestClassifier.")
    found = [_binary(build, part, row) for part in inner]
    result = voted(build, build.concatenate([confidence for confidence, _ in found]), classes, found[0][1])
    return build.columns(result, [1]) if classes == 2 else result


def _pair(build: Build, estimator: Any, row: Row) -> Row:
    """The scores of OneVsOneClassifier: its votes; for two classes what the one part compares, without a vote."""
    if class_count(estimator) > 2:
        return build.decision(estimator, row)
    return build.two_sided(build.subtract(*_binary(build, parts(estimator)[0], row)))


# Several targets


def _targets(build: Build, estimator: Any, row: Row) -> Row:
    return build.concatenate([build.predict(part, row) for part in parts(estimator)])


def _chain(build: Build, estimator: Any, row: Row) -> Row:
    """RegressorChain: each regressor is also given the predictions of those before it."""
    results: list[Row] = []
    for part in parts(estimator):
        results.append(build.predict(part, build.concatenate([row, *results]) if results else row))
    return build.columns(build.concatenate(results), np.argsort(np.asarray(estimator.order_)))


_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")
_METHODS: dict[str, Method] = {
    "transforms": Build.transform,
    "predictions": Build.predict,
    "decisions": Build.decision,
    "scores": Build.scores,
    "probabilities": Build.natural_probabilities,
}


def _wrappers(table: str) -> dict[str, Method]:
    """Rules that hand one method on to the estimator inside."""
    method = _METHODS[table]
    found = {**dict.fromkeys(_SEARCHES, _of("best_estimator_", method)), "FrozenEstimator": _of("estimator", method)}
    if table != "transforms":
        found |= {"Pipeline": _of_pipeline(method), "RFE": _after_selection(method), "RFECV": _after_selection(method)}
    return found


RULES = Rules(
    transforms=_wrappers("transforms"),
    predictions={
        **_wrappers("predictions"),
        "VotingRegressor": _mean_vote,
        "StackingRegressor": _of_stack(Build.predict),
        "BaggingRegressor": _bag_mean,
        "MultiOutputRegressor": _targets,
        "RegressorChain": _chain,
        "IsotonicRegression": isotonic,
    },
    decisions={
        **_wrappers("decisions"),
        "StackingClassifier": _of_stack(Build.decision),
        "OneVsRestClassifier": _rest_decision,
        "OneVsOneClassifier": _one_to_one,
    },
    scores={**_wrappers("scores"), "VotingClassifier": _hard_vote, "OneVsOneClassifier": _pair},
    probabilities={
        **_wrappers("probabilities"),
        "VotingClassifier": _soft_vote,
        "StackingClassifier": _of_stack(Build.natural_probabilities),
        "BaggingClassifier": _bag_probabilities,
        "CalibratedClassifierCV": _calibrated,
        "OneVsRestClassifier": _rest,
    },
)
