"""The estimators, each fitted on scikit-learn's own data as they come: nothing is scaled beforehand unless a pipeline does."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn import (
    calibration,
    cluster,
    compose,
    cross_decomposition,
    datasets,
    decomposition,
    discriminant_analysis,
    ensemble,
    feature_selection,
    gaussian_process,
    impute,
    linear_model,
    mixture,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    neural_network,
    preprocessing,
    svm,
)
from sklearn.pipeline import make_pipeline

from verifai.domain.fidelity import Task

Scaler = preprocessing.StandardScaler
lm = linear_model


@dataclass(frozen=True)
class Case:
    """One estimator on one data set.

    Attributes:
        make: a new, unfitted estimator. data: name of the data set in :func:`load`.
    """

    name: str
    data: str
    task: Task
    make: Callable[[], Any]

    @property
    def slug(self) -> str:
        """A file name."""
        return f"{self.data}-" + "".join(c if c.isalnum() else "-" for c in self.name.lower()).strip("-")


def load(name: str) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Rows and targets, in an order that has nothing to do with the target."""
    if name == "mixed":
        return _mixed()
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True, **({"scaled": False} if name == "diabetes" else {}))
    order = np.random.default_rng(0).permutation(len(x))
    return x[order].astype(np.float32), y[order]


def _mixed() -> tuple[NDArray[np.float32], NDArray[Any]]:
    """Wine with a column of categories: the class of alcohol, as a number from 0 to 3."""
    x, y = load("wine")
    strength = np.digitize(x[:, 0], np.quantile(x[:, 0], [0.25, 0.5, 0.75])).astype(np.float32)
    return np.column_stack([x[:, 1:6], strength]), y


def _columns() -> Any:
    numbers = make_pipeline(impute.SimpleImputer(), Scaler())
    return compose.ColumnTransformer(
        [("numbers", numbers, [0, 1, 2, 3, 4]), ("kinds", preprocessing.OneHotEncoder(handle_unknown="ignore"), [5])]
    )


def _scaled(make: Callable[..., Any], *args: Any, **options: Any) -> Callable[[], Any]:
    return lambda: make_pipeline(Scaler(), make(*args, **options))


CLASSIFIERS: dict[str, Callable[[], Any]] = {
    "LogisticRegression": _scaled(lm.LogisticRegression, max_iter=2000),
    "LogisticRegression, raw": lambda: lm.LogisticRegression(max_iter=5000),
    "LogisticRegressionCV": _scaled(lm.LogisticRegressionCV, max_iter=2000, Cs=3),
    "SGDClassifier, log loss": _scaled(lm.SGDClassifier, loss="log_loss", random_state=0),
    "SGDClassifier": _scaled(lm.SGDClassifier, random_state=0),
    "Perceptron": _scaled(lm.Perceptron, random_state=0),
    "PassiveAggressiveClassifier": _scaled(lm.PassiveAggressiveClassifier, random_state=0),
    "RidgeClassifier": _scaled(lm.RidgeClassifier),
    "RidgeClassifierCV": _scaled(lm.RidgeClassifierCV),
    "LinearSVC": _scaled(svm.LinearSVC),
    "SVC, linear": _scaled(svm.SVC, kernel="linear"),
    "SVC, RBF": _scaled(svm.SVC),
    "NuSVC": _scaled(svm.NuSVC),
    "MLPClassifier": _scaled(neural_network.MLPClassifier, (32,), max_iter=600, random_state=0),
    "MLPClassifier, tanh": _scaled(neural_network.MLPClassifier, (16, 16), activation="tanh", max_iter=600, random_state=0),
    "GaussianNB": naive_bayes.GaussianNB,
    "BernoulliNB": _scaled(naive_bayes.BernoulliNB),
    "MultinomialNB": lambda: make_pipeline(preprocessing.MinMaxScaler(), naive_bayes.MultinomialNB()),
    "ComplementNB": lambda: make_pipeline(preprocessing.MinMaxScaler(), naive_bayes.ComplementNB()),
    "LinearDiscriminantAnalysis": discriminant_analysis.LinearDiscriminantAnalysis,
    "QuadraticDiscriminantAnalysis": lambda: discriminant_analysis.QuadraticDiscriminantAnalysis(reg_param=0.1),
    "KNeighborsClassifier": _scaled(neighbors.KNeighborsClassifier),
    "KNeighborsClassifier, weighted by distance": _scaled(neighbors.KNeighborsClassifier, weights="distance"),
    "NearestCentroid": _scaled(neighbors.NearestCentroid),
    "CalibratedClassifierCV": lambda: make_pipeline(Scaler(), calibration.CalibratedClassifierCV(svm.LinearSVC(), cv=3)),
    "OneVsRestClassifier": lambda: make_pipeline(Scaler(), multiclass.OneVsRestClassifier(lm.LogisticRegression())),
    "OneVsOneClassifier": lambda: make_pipeline(Scaler(), multiclass.OneVsOneClassifier(lm.LogisticRegression())),
    "PCA + LogisticRegression": lambda: make_pipeline(Scaler(), decomposition.PCA(5), lm.LogisticRegression()),
    "PolynomialFeatures + LogisticRegression": lambda: make_pipeline(
        Scaler(), preprocessing.PolynomialFeatures(2), lm.LogisticRegression(max_iter=3000)
    ),
    "SelectKBest + LogisticRegression": lambda: make_pipeline(
        feature_selection.SelectKBest(k=6), Scaler(), lm.LogisticRegression()
    ),
    "RobustScaler + LinearSVC": lambda: make_pipeline(preprocessing.RobustScaler(), svm.LinearSVC()),
    "Normalizer + LogisticRegression": lambda: make_pipeline(preprocessing.Normalizer(), lm.LogisticRegression(max_iter=3000)),
    "VotingClassifier": lambda: make_pipeline(
        Scaler(),
        ensemble.VotingClassifier([("a", lm.LogisticRegression()), ("b", naive_bayes.GaussianNB())], voting="soft"),
    ),
    "BaggingClassifier": lambda: make_pipeline(
        Scaler(), ensemble.BaggingClassifier(lm.LogisticRegression(), 5, random_state=0)
    ),
}
REGRESSORS: dict[str, Callable[[], Any]] = {
    "LinearRegression, raw": lm.LinearRegression,
    "Ridge": _scaled(lm.Ridge),
    "RidgeCV": _scaled(lm.RidgeCV),
    "Lasso": _scaled(lm.Lasso, 0.1),
    "LassoLars": _scaled(lm.LassoLars, 0.1),
    "ElasticNet": _scaled(lm.ElasticNet, 0.1),
    "Lars": _scaled(lm.Lars),
    "OrthogonalMatchingPursuit": _scaled(lm.OrthogonalMatchingPursuit),
    "BayesianRidge": _scaled(lm.BayesianRidge),
    "ARDRegression": _scaled(lm.ARDRegression),
    "HuberRegressor": _scaled(lm.HuberRegressor, max_iter=1000),
    "TheilSenRegressor": _scaled(lm.TheilSenRegressor, random_state=0, max_subpopulation=200),
    "RANSACRegressor": _scaled(lm.RANSACRegressor, random_state=0),
    "QuantileRegressor": _scaled(lm.QuantileRegressor, alpha=0.01),
    "SGDRegressor": _scaled(lm.SGDRegressor, random_state=0),
    "PoissonRegressor": _scaled(lm.PoissonRegressor),
    "GammaRegressor": _scaled(lm.GammaRegressor),
    "TweedieRegressor": _scaled(lm.TweedieRegressor, power=1.5),
    "LinearSVR": _scaled(svm.LinearSVR, max_iter=10000),
    "SVR, RBF": _scaled(svm.SVR, C=100),
    "SVR, linear": _scaled(svm.SVR, kernel="linear"),
    "MLPRegressor": _scaled(neural_network.MLPRegressor, hidden_layer_sizes=(32,), max_iter=2000, random_state=0),
    "KNeighborsRegressor": _scaled(neighbors.KNeighborsRegressor),
    "KNeighborsRegressor, weighted by distance": _scaled(neighbors.KNeighborsRegressor, weights="distance"),
    "PLSRegression": lambda: cross_decomposition.PLSRegression(4),
    "MultiOutputRegressor": lambda: make_pipeline(Scaler(), multioutput.MultiOutputRegressor(lm.Ridge())),
    "PolynomialFeatures + Ridge": lambda: make_pipeline(Scaler(), preprocessing.PolynomialFeatures(2), lm.Ridge()),
    "GaussianProcessRegressor": lambda: make_pipeline(
        Scaler(), gaussian_process.GaussianProcessRegressor(gaussian_process.kernels.RBF(5.0), alpha=1.0, normalize_y=True)
    ),
}
TRANSFORMERS: dict[str, Callable[[], Any]] = {
    "PCA": lambda: make_pipeline(Scaler(), decomposition.PCA(4)),
    "TruncatedSVD, raw": lambda: decomposition.TruncatedSVD(4),
    "StandardScaler": Scaler,
    "MinMaxScaler": preprocessing.MinMaxScaler,
}
CLUSTERS: dict[str, Callable[[], Any]] = {
    "KMeans": _scaled(cluster.KMeans, 3, n_init=4, random_state=0),
    "MiniBatchKMeans": _scaled(cluster.MiniBatchKMeans, 3, n_init=4, random_state=0),
    "GaussianMixture": _scaled(mixture.GaussianMixture, 3, random_state=0),
}
MIXED: dict[str, Callable[[], Any]] = {
    "ColumnTransformer + LogisticRegression": lambda: make_pipeline(_columns(), lm.LogisticRegression(max_iter=2000)),
}
SMALL = ("breast_cancer-logisticregression--raw", "diabetes-ridge", "diabetes-linearregression--raw",
         "wine-mlpclassifier", "wine-pca")  # fmt: skip
"""What the tests run."""


def cases() -> Iterator[Case]:
    """All of them: classifiers on three classes and on two."""
    for name, make in CLASSIFIERS.items():
        for data in ("wine", "breast_cancer"):
            yield Case(name, data, Task.CLASSIFICATION, make)
    for name, make in REGRESSORS.items():
        yield Case(name, "diabetes", Task.REGRESSION, make)
    for name, make in TRANSFORMERS.items():
        yield Case(name, "wine", Task.REGRESSION, make)
    for name, make in CLUSTERS.items():
        yield Case(name, "wine", Task.CLASSIFICATION, make)
    for name, make in MIXED.items():
        yield Case(name, "mixed", Task.CLASSIFICATION, make)


def targets(case: Case, y: NDArray[Any]) -> NDArray[Any]:
    """What the estimator is fitted to."""
    return np.stack([y, np.sqrt(np.abs(y))], axis=1) if "MultiOutput" in case.name else y


def save(case: Case, work: Path) -> tuple[Path, NDArray[Any], int]:
    """Fit the estimator on the first half of its data, and save it without pickle as ``model.skops``.

    Returns:
        Its folder below ``work``, all rows, and how many it was fitted on.
    """
    x, y = load(case.data)
    half = len(x) // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's own, of data that are as they are
        fitted = case.make().fit(x[:half], targets(case, y)[:half])
    folder = work / case.slug
    folder.mkdir(exist_ok=True)
    skops.io.dump(fitted, folder / "model.skops")
    return folder, x, half
