"""Regressors, clusterings and transformations: the export computes the same on all rows of real data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

from sklearn import linear_model as lm
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.compose import TransformedTargetRegressor
from sklearn.cross_decomposition import CCA, PLSRegression
from sklearn.decomposition import PCA, FactorAnalysis, FastICA, IncrementalPCA, TruncatedSVD
from sklearn.ensemble import BaggingRegressor, StackingRegressor, VotingRegressor
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, Matern, RationalQuadratic, WhiteKernel
from sklearn.isotonic import IsotonicRegression
from sklearn.kernel_ridge import KernelRidge
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.multioutput import MultiOutputRegressor, RegressorChain
from sklearn.neighbors import KNeighborsRegressor
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    StandardScaler,
)
from sklearn.svm import SVR, LinearSVR, NuSVR

from tests.support.estimators import DATA, Build, computed, fitted, gap, saved
from verifai.stages.export import export


def scaled(*steps: Any) -> Any:
    return make_pipeline(StandardScaler(), *steps)


def process(kernel: Any) -> Any:
    return scaled(GaussianProcessRegressor(kernel, alpha=1.0, normalize_y=True, optimizer=None))


ONE: dict[str, Build] = {
    "least squares": lm.LinearRegression,
    **{
        kind.__name__: lambda kind=kind: scaled(kind())
        for kind in (
            lm.Ridge, lm.RidgeCV, lm.Lasso, lm.LassoCV, lm.LassoLars, lm.ElasticNet, lm.Lars, lm.BayesianRidge,
            lm.ARDRegression, lm.OrthogonalMatchingPursuit, lm.PoissonRegressor, lm.GammaRegressor, lm.TweedieRegressor,
            lm.HuberRegressor,
            lm.RANSACRegressor, lm.SGDRegressor, LinearSVR, NuSVR,
        )
    },
    "quantile": lambda: scaled(lm.QuantileRegressor(alpha=0.01)),
    "Tweedie with a power": lambda: scaled(lm.TweedieRegressor(power=1.5)),
    "layers": lambda: scaled(MLPRegressor(hidden_layer_sizes=(8,), max_iter=100, random_state=0)),
    "machine, radial kernel": lambda: scaled(SVR(C=100)),
    "machine, radial kernel, raw": lambda: SVR(C=100),
    "machine, linear kernel": lambda: scaled(SVR(kernel="linear")),
    "machine, polynomial kernel": lambda: scaled(SVR(kernel="poly", degree=2)),
    "neighbours": lambda: scaled(KNeighborsRegressor()),
    "neighbours, weighted": lambda: scaled(KNeighborsRegressor(weights="distance")),
    "process, radial": lambda: process(RBF(5.0)),
    "process, per column": lambda: process(RBF([5.0] * 10)),
    "process, Matérn": lambda: process(ConstantKernel(2.0) * Matern(3.0, nu=2.5) + WhiteKernel()),
    "process, rational": lambda: process(RationalQuadratic(5, 2) + DotProduct()),
    "kernel ridge": lambda: scaled(KernelRidge(kernel="rbf")),
    "partial least squares": lambda: PLSRegression(4),
    "polynomials": lambda: scaled(PolynomialFeatures(2), lm.Ridge()),
    "polynomials, raw": lambda: make_pipeline(PolynomialFeatures(2, interaction_only=True), lm.Ridge()),
    "rows of length one": lambda: make_pipeline(Normalizer(), lm.Ridge()),
    "a threshold": lambda: make_pipeline(Binarizer(threshold=0.01), lm.Ridge()),
    "target scaled": lambda: TransformedTargetRegressor(scaled(lm.Ridge()), transformer=StandardScaler()),
    "target in a range": lambda: TransformedTargetRegressor(scaled(lm.Ridge()), transformer=MinMaxScaler()),
    "target's logarithm": lambda: TransformedTargetRegressor(scaled(lm.Ridge()), func=np.log1p, inverse_func=np.expm1),
    "mean vote": lambda: scaled(VotingRegressor([("a", lm.Ridge()), ("b", SVR())], weights=[3, 1])),
    "stacked": lambda: scaled(StackingRegressor([("a", lm.Ridge()), ("b", lm.Lasso())])),
    "bag": lambda: scaled(BaggingRegressor(lm.Ridge(), 4, max_features=0.5, random_state=0)),
}  # fmt: skip

SEVERAL: dict[str, Build] = {
    "ridge": lm.Ridge,
    "one by one": lambda: scaled(MultiOutputRegressor(lm.Ridge())),
    "machines one by one": lambda: scaled(MultiOutputRegressor(SVR())),
    "chain": lambda: scaled(RegressorChain(lm.Ridge(), order=[2, 0, 1])),
    "neighbours": lambda: KNeighborsRegressor(3),
    "layers": lambda: scaled(MLPRegressor(hidden_layer_sizes=(8,), max_iter=100, random_state=0)),
    "lasso": lambda: lm.MultiTaskLasso(0.1),
    "correlated": lambda: CCA(2),
    "target scaled": lambda: TransformedTargetRegressor(scaled(lm.Ridge()), transformer=StandardScaler()),
}

TRANSFORMS: dict[str, Build] = {
    "scaler": StandardScaler,
    "range": lambda: MinMaxScaler((-1, 2), clip=True),
    "largest one": MaxAbsScaler,
    "components, raw": lambda: PCA(4),
    "components, whitened": lambda: scaled(PCA(4, whiten=True)),
    "components in batches": lambda: scaled(IncrementalPCA(4)),
    "singular vectors": lambda: TruncatedSVD(4),
    "independent components": lambda: scaled(FastICA(4, random_state=0, max_iter=1000)),
    "factors": lambda: scaled(FactorAnalysis(3)),
}


@pytest.mark.parametrize("name", ONE)
def test_one_target(name: str, tmp_path: Path) -> None:
    estimator, rows = fitted(ONE[name], "diabetes"), DATA["diabetes"][0]
    result = export(saved(tmp_path, estimator))
    assert [(spec.name, spec.shape) for spec in result.model.outputs] == [("prediction", (1, 1))]
    assert gap(estimator.predict(rows), computed(result.model, rows)) < 1e-4
    assert result.facts is not None and (result.facts.task, result.facts.labels) == ("regression", ())


@pytest.mark.parametrize("name", SEVERAL)
def test_several_targets(name: str, tmp_path: Path) -> None:
    estimator, rows = fitted(SEVERAL[name], "three targets"), DATA["three targets"][0]
    result = export(saved(tmp_path, estimator))
    assert gap(estimator.predict(rows), computed(result.model, rows)) < 1e-5


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transformation(name: str, tmp_path: Path) -> None:
    estimator, rows = fitted(TRANSFORMS[name], "wine"), DATA["wine"][0]
    result = export(saved(tmp_path, estimator))
    assert [spec.name for spec in result.model.outputs] == ["transformed"]
    assert gap(estimator.transform(rows), computed(result.model, rows)) < 1e-5
    assert result.facts is not None and result.facts.task == "transform"


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans])
def test_clusters_are_the_largest_score_and_distances_can_be_asked_for(kind: Any, tmp_path: Path) -> None:
    build = lambda: scaled(kind(3, n_init=4, random_state=0))  # noqa: E731
    rows, target = DATA["wine"]
    # Fitted in float32, scikit-learn's clusterings take float32 only.
    estimator = build().fit(rows.astype(np.float32), target)
    path = saved(tmp_path, estimator)
    result = export(path)
    ours = computed(result.model, rows)
    assert (ours.argmax(axis=1) == estimator.predict(rows.astype(np.float32))).all()
    assert gap(-(estimator.transform(rows) ** 2), ours) < 1e-5
    assert result.facts is not None and (result.facts.task, result.facts.labels) == ("clustering", ("0", "1", "2"))
    distances = export(path, select=["transformed"])
    assert gap(estimator.transform(rows), computed(distances.model, rows)) < 1e-5


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_a_mixture_gives_the_probabilities_of_its_parts(kind: str, tmp_path: Path) -> None:
    estimator = fitted(lambda: scaled(GaussianMixture(3, covariance_type=kind, random_state=0)), "wine")
    rows = DATA["wine"][0]
    result = export(saved(tmp_path, estimator))
    assert gap(estimator.predict_proba(rows), computed(result.model, rows)) < 1e-4
    assert result.facts is not None and result.facts.task == "clustering"


@pytest.mark.parametrize("prior", ["dirichlet_process", "dirichlet_distribution"])
@pytest.mark.parametrize("kind", ["full", "tied"])
def test_a_bayesian_mixture_gives_the_probabilities_of_its_parts(kind: str, prior: str, tmp_path: Path) -> None:
    mixture = BayesianGaussianMixture(
        n_components=3, covariance_type=kind, weight_concentration_prior_type=prior, random_state=0
    )
    estimator, rows = fitted(lambda: scaled(mixture), "wine"), DATA["wine"][0]
    result = export(saved(tmp_path, estimator))
    assert gap(estimator.predict_proba(rows), computed(result.model, rows)) < 1e-4
    assert result.facts is not None and result.facts.task == "clustering"


def test_columns_that_hardly_spread_are_bent_apart_from_others(tmp_path: Path) -> None:
    """Breast cancer's columns spread from 0.003 to 0.6 of their centre: under one logarithm the small ones would be lost."""
    estimator, rows = fitted(PowerTransformer, "cancer"), DATA["cancer"][0]
    result = export(saved(tmp_path, estimator))
    assert sum(node.op_type == "Log" for node in result.model.proto.graph.node) > 2
    assert np.abs(estimator.transform(rows) - computed(result.model, rows)).max() < 1e-3


def test_a_rising_line_of_one_column(tmp_path: Path) -> None:
    rows, target = DATA["diabetes"]
    estimator = IsotonicRegression(out_of_bounds="clip").fit(rows[:, 2], target)
    result = export(saved(tmp_path, estimator))
    assert gap(estimator.predict(rows[:, 2]), computed(result.model, rows[:, 2:3])) < 1e-4
