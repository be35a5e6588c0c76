"""Classifiers: on all rows of real data the export computes the same, and its largest column is what ``predict`` says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

from sklearn import svm
from sklearn.calibration import CalibratedClassifierCV
from sklearn.covariance import EllipticEnvelope
from sklearn.decomposition import PCA, FastICA, KernelPCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.feature_selection import RFE, SelectFromModel, SelectKBest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    PassiveAggressiveClassifier,
    Perceptron,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDOneClassSVM,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier
from sklearn.naive_bayes import BernoulliNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)

from tests.support.estimators import DATA, Build, computed, fitted, gap, saved
from verifai.stages.export import export


def logistic() -> LogisticRegression:
    return LogisticRegression(max_iter=3000)


def scaled(*steps: Any) -> Any:
    return make_pipeline(StandardScaler(), *steps)


PROBABLE: dict[str, Build] = {
    "logistic": lambda: scaled(logistic()),
    "logistic, raw": lambda: LogisticRegression(max_iter=200),
    "logistic, penalty chosen": lambda: scaled(LogisticRegressionCV(max_iter=2000, Cs=3)),
    "perceptron with layers": lambda: scaled(MLPClassifier((8,), max_iter=60, random_state=0)),
    "perceptron with layers, logistic": lambda: scaled(
        MLPClassifier((8, 4), activation="logistic", max_iter=60, random_state=0)
    ),
    "Gaussian naive Bayes, raw": GaussianNB,
    "Bernoulli naive Bayes": lambda: scaled(BernoulliNB()),
    "multinomial naive Bayes": lambda: make_pipeline(MinMaxScaler(), MultinomialNB()),
    "complement naive Bayes": lambda: make_pipeline(MinMaxScaler(), ComplementNB()),
    "linear discriminants": LinearDiscriminantAnalysis,
    "quadratic discriminants": lambda: scaled(QuadraticDiscriminantAnalysis(reg_param=0.1)),
    "neighbours": lambda: scaled(KNeighborsClassifier()),
    "neighbours, raw": KNeighborsClassifier,
    "neighbours by a ball tree": lambda: scaled(KNeighborsClassifier(algorithm="ball_tree")),
    "neighbours by brute force": lambda: scaled(KNeighborsClassifier(algorithm="brute")),
    "neighbours, weighted": lambda: scaled(KNeighborsClassifier(weights="distance")),
    "neighbours by sums": lambda: scaled(KNeighborsClassifier(p=1)),
    "calibrated": lambda: scaled(CalibratedClassifierCV(svm.LinearSVC(), cv=3)),
    "calibrated by steps": lambda: scaled(CalibratedClassifierCV(svm.LinearSVC(), method="isotonic", cv=3)),
    "calibrated densities": lambda: CalibratedClassifierCV(GaussianNB(), cv=3),
    "calibrated kernel machine": lambda: scaled(CalibratedClassifierCV(svm.SVC(), ensemble=False)),
    "one against the rest": lambda: scaled(OneVsRestClassifier(logistic())),
    "components": lambda: scaled(PCA(5), logistic()),
    "independent components": lambda: scaled(FastICA(4, random_state=0, max_iter=1000), logistic()),
    "kernel components": lambda: scaled(KernelPCA(4, kernel="rbf"), logistic()),
    "kernel features": lambda: scaled(Nystroem(n_components=20, random_state=0), logistic()),
    "polynomials": lambda: scaled(PCA(4), PolynomialFeatures(3), logistic()),
    "chosen columns": lambda: make_pipeline(SelectKBest(k=6), StandardScaler(), logistic()),
    "columns chosen by a model": lambda: scaled(SelectFromModel(logistic()), logistic()),
    "columns eliminated": lambda: scaled(RFE(logistic(), n_features_to_select=4)),
    "rows of length one": lambda: make_pipeline(Normalizer(), logistic()),
    "rows of sum one": lambda: make_pipeline(Normalizer("l1"), logistic()),
    "powers": lambda: make_pipeline(PowerTransformer(), logistic()),
    "largest one": lambda: make_pipeline(MaxAbsScaler(), logistic()),
    "bins": lambda: make_pipeline(KBinsDiscretizer(5, encode="onehot"), logistic()),
    "side by side": lambda: make_pipeline(make_union(StandardScaler(), PCA(2)), StandardScaler(), logistic()),
    "soft votes": lambda: scaled(VotingClassifier([("a", logistic()), ("b", GaussianNB())], voting="soft", weights=[2, 1])),
    "stacked": lambda: scaled(StackingClassifier([("a", logistic()), ("b", svm.LinearSVC())])),
    "stacked, passed through": lambda: scaled(StackingClassifier([("a", logistic()), ("b", svm.SVC())], passthrough=True)),
    "bag": lambda: scaled(BaggingClassifier(logistic(), 4, max_features=0.5, random_state=0)),
    "bag of votes": lambda: scaled(BaggingClassifier(svm.LinearSVC(), 4, random_state=0)),
    "best of a search": lambda: GridSearchCV(scaled(logistic()), {"logisticregression__C": [1, 2]}, scoring="accuracy"),
}

SCORED: dict[str, Build] = {
    "stochastic gradients": lambda: scaled(SGDClassifier(random_state=0)),
    "stochastic gradients, raw": lambda: SGDClassifier(random_state=0),
    "stochastic gradients, clipped": lambda: scaled(SGDClassifier(loss="modified_huber", random_state=0)),
    "perceptron": lambda: scaled(Perceptron(random_state=0)),
    "passive aggressive": lambda: scaled(PassiveAggressiveClassifier(random_state=0)),
    "ridge": lambda: scaled(RidgeClassifier()),
    "linear machine": lambda: make_pipeline(RobustScaler(), svm.LinearSVC()),
    "machine, linear kernel": lambda: scaled(svm.SVC(kernel="linear")),
    "machine, radial kernel": lambda: scaled(svm.SVC()),
    "machine, radial kernel, raw": svm.SVC,
    "machine, polynomial kernel": lambda: scaled(svm.SVC(kernel="poly", coef0=1)),
    "machine, sigmoid kernel": lambda: scaled(svm.SVC(kernel="sigmoid")),
    "machine with ν": lambda: scaled(svm.NuSVC(nu=0.3)),
    "machine, one against one": lambda: scaled(svm.SVC(decision_function_shape="ovo")),
    "machine, ties broken": lambda: scaled(svm.SVC(break_ties=True)),
    "machine with probabilities": lambda: scaled(svm.SVC(probability=True, random_state=0)),
    "one against one": lambda: scaled(OneVsOneClassifier(svm.LinearSVC())),
    "one against one by densities": lambda: scaled(OneVsOneClassifier(GaussianNB())),
    "machines against the rest": lambda: scaled(OneVsRestClassifier(svm.SVC())),
    "regressions against the rest": lambda: scaled(OneVsRestClassifier(Ridge())),
    "centroids": lambda: scaled(NearestCentroid()),
    "centroids, raw": NearestCentroid,
    "centroids, shrunk": lambda: scaled(NearestCentroid(shrink_threshold=0.5)),
    "centroids by sums": lambda: scaled(NearestCentroid(metric="manhattan")),
    "hard votes": lambda: scaled(
        VotingClassifier([("a", logistic()), ("b", GaussianNB()), ("c", svm.SVC())], weights=[2, 1.5, 1])
    ),
    "stacked under a machine": lambda: scaled(StackingClassifier([("a", logistic())], final_estimator=svm.LinearSVC())),
}


OWN_SCORES = {
    "machine, one against one",
    "one against one",
    "one against one by densities",
    *(n for n in SCORED if "centroids" in n),
}
"""Their decision functions have another form, or do not decide alone; the parity check compares these scores."""


def decision(estimator: Any, rows: np.ndarray) -> np.ndarray:
    scores = np.asarray(estimator.decision_function(rows))
    return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores


@pytest.mark.parametrize("data", ["wine", "cancer"])
@pytest.mark.parametrize("name", PROBABLE)
def test_probabilities_are_those_of_the_estimator(name: str, data: str, tmp_path: Path) -> None:
    estimator, rows = fitted(PROBABLE[name], data), DATA[data][0]
    result = export(saved(tmp_path, estimator))
    assert [spec.name for spec in result.model.outputs] == ["probabilities"]
    ours = computed(result.model, rows)
    assert gap(estimator.predict_proba(rows), ours) < 1e-4
    assert (estimator.classes_[ours.argmax(axis=1)] == estimator.predict(rows)).all()
    assert result.facts is not None and result.facts.labels == tuple(str(label) for label in estimator.classes_)


@pytest.mark.parametrize("data", ["wine", "cancer"])
@pytest.mark.parametrize("name", SCORED)
def test_scores_are_named_scores_and_the_largest_is_the_prediction(name: str, data: str, tmp_path: Path) -> None:
    estimator, rows = fitted(SCORED[name], data), DATA[data][0]
    result = export(saved(tmp_path, estimator))
    assert [(spec.name, spec.shape) for spec in result.model.outputs] == [("scores", (1, len(estimator.classes_)))]
    ours = computed(result.model, rows)
    assert result.parity.max_error < 1e-4
    assert (estimator.classes_[ours.argmax(axis=1)] == estimator.predict(rows)).all()
    if name not in OWN_SCORES and hasattr(estimator, "decision_function"):
        assert gap(decision(estimator, rows), ours) < 1e-4


def test_unequal_priors_of_centroids_count(tmp_path: Path) -> None:
    estimator, rows = fitted(lambda: scaled(NearestCentroid(priors="empirical")), "cancer"), DATA["cancer"][0]
    ours = computed(export(saved(tmp_path, estimator)).model, rows)
    assert gap(estimator.decision_function(rows), ours[:, 1] - ours[:, 0]) < 1e-5
    assert (ours.argmax(axis=1) == estimator.predict(rows)).all()


@pytest.mark.parametrize(
    "build",
    [
        lambda: scaled(svm.OneClassSVM(nu=0.1)),
        lambda: scaled(SGDOneClassSVM()),
        lambda: scaled(EllipticEnvelope(random_state=0)),
    ],
)
def test_outliers_are_a_class(build: Build, tmp_path: Path) -> None:
    estimator, rows = fitted(build, "wine"), DATA["wine"][0]
    result = export(saved(tmp_path, estimator))
    ours = computed(result.model, rows)
    assert result.facts is not None and (result.facts.task, result.facts.labels) == ("classification", ("-1", "1"))
    assert gap(decision(estimator, rows), ours) < 1e-4
    assert (np.array([-1, 1])[ours.argmax(axis=1)] == estimator.predict(rows)).all()


@pytest.mark.parametrize(
    ("build", "output"),
    [
        (lambda: scaled(MLPClassifier((8,), max_iter=60, random_state=0)), "probabilities"),
        (lambda: scaled(OneVsRestClassifier(logistic())), "probabilities"),
        (lambda: scaled(RidgeClassifier()), "scores"),
    ],
)
def test_several_labels_at_once_are_not_a_choice(build: Build, output: str, tmp_path: Path) -> None:
    estimator, rows = fitted(build, "labels"), DATA["labels"][0]
    result = export(saved(tmp_path, estimator))
    assert result.facts is not None and (result.facts.task, result.facts.output) == ("multilabel", output)
    ours = computed(result.model, rows)
    assert ((ours > (0.5 if output == "probabilities" else 0)) == estimator.predict(rows)).all()


def test_a_machine_fitted_with_probabilities_says_why_it_gives_scores(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = saved(tmp_path, fitted(SCORED["machine with probabilities"], "cancer"))
    assert any("predict follows them" in notice for notice in export(path).notices)
