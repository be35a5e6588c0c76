"""scikit-learn pipelines and boosters, as skl2onnx and onnxmltools write them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tools.coverage.case import Array, Case, Made

ROUTE = "skl2onnx"


def _data(classes: int) -> tuple[Array, Array]:
    from sklearn.datasets import load_diabetes, load_iris, load_wine

    loaded = load_diabetes() if not classes else (load_iris() if classes == 3 else load_wine())
    rows, labels = np.asarray(loaded.data, np.float32), np.asarray(loaded.target)
    return rows, (labels > 0).astype(int) if classes == 2 else labels


def _made(build: Callable[[], Any], classes: int, options: dict[str, Any], work: Path) -> Made:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    rows, labels = _data(classes)
    model = build().fit(rows, labels)
    types = [("X", FloatTensorType([1, rows.shape[1]]))]
    converted = convert_sklearn(
        model, initial_types=types, options=({id(model): options} if options else None), target_opset=18
    )
    (work / "model.onnx").write_bytes(converted.SerializeToString())
    order = np.random.default_rng(0).permutation(len(rows))[:100]
    return Made(work / "model.onnx", {"X": rows[order][:, None]})


def _models() -> dict[str, tuple[Callable[[], Any], int, dict[str, Any]]]:
    from sklearn import (
        cluster,
        decomposition,
        discriminant_analysis,
        ensemble,
        feature_selection,
        gaussian_process,
        linear_model,
        naive_bayes,
        neighbors,
        neural_network,
        pipeline,
        preprocessing,
        svm,
        tree,
    )

    line = pipeline.make_pipeline
    scaled = preprocessing.StandardScaler
    return {
        "logistic": (lambda: line(scaled(), linear_model.LogisticRegression()), 3, {"zipmap": False}),
        "logistic-zipmap": (lambda: linear_model.LogisticRegression(max_iter=2000), 3, {}),
        "ridge": (lambda: line(preprocessing.PolynomialFeatures(2), linear_model.Ridge()), 0, {}),
        "lasso-minmax": (lambda: line(preprocessing.MinMaxScaler(), linear_model.Lasso(0.1)), 0, {}),
        "poisson": (lambda: linear_model.PoissonRegressor(max_iter=500), 0, {}),
        "sgd": (lambda: line(scaled(), linear_model.SGDClassifier(loss="log_loss")), 2, {"zipmap": False}),
        "svc": (lambda: line(scaled(), svm.SVC()), 3, {}), "svr-poly": (lambda: line(scaled(), svm.SVR(kernel="poly")), 0, {}),
        "linear-svc": (lambda: line(scaled(), svm.LinearSVC()), 13, {}), "mlp": (lambda: line(scaled(), neural_network.MLPClassifier((12,), max_iter=300)), 13, {"zipmap": False}),
        "mlp-regressor": (lambda: line(scaled(), neural_network.MLPRegressor((12,), activation="tanh", max_iter=500)), 0, {}),
        "forest": (lambda: ensemble.RandomForestClassifier(12, max_depth=5), 3, {"zipmap": False}), "forest-regressor": (lambda: ensemble.RandomForestRegressor(12, max_depth=5), 0, {}),
        "boosting": (lambda: ensemble.GradientBoostingClassifier(n_estimators=10), 3, {"zipmap": False}), "hist-boosting": (lambda: ensemble.HistGradientBoostingRegressor(max_iter=10), 0, {}),
        "ada-boost": (lambda: ensemble.AdaBoostClassifier(n_estimators=8), 3, {"zipmap": False}), "bagging": (lambda: ensemble.BaggingClassifier(tree.DecisionTreeClassifier(max_depth=3), 5), 3, {"zipmap": False}),
        "voting": (lambda: ensemble.VotingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=4))]), 0, {}), "stacking": (lambda: ensemble.StackingRegressor([("a", linear_model.Ridge()), ("b", tree.DecisionTreeRegressor(max_depth=3))]), 0, {}),
        "isolation-forest": (lambda: ensemble.IsolationForest(10), 3, {}), "naive-bayes": (lambda: naive_bayes.GaussianNB(), 3, {"zipmap": False}), "lda": (lambda: discriminant_analysis.LinearDiscriminantAnalysis(), 3, {"zipmap": False}), "qda": (lambda: discriminant_analysis.QuadraticDiscriminantAnalysis(), 3, {"zipmap": False}),
        "knn": (lambda: neighbors.KNeighborsClassifier(3), 3, {"zipmap": False}), "knn-regressor": (lambda: neighbors.KNeighborsRegressor(5, weights="distance"), 0, {}), "k-means": (lambda: line(scaled(), cluster.KMeans(4, n_init=2)), 3, {}), "pca-logistic": (lambda: line(scaled(), decomposition.PCA(4), linear_model.LogisticRegression()), 13, {"zipmap": False}),
        "gaussian-process": (lambda: gaussian_process.GaussianProcessRegressor(gaussian_process.kernels.RBF(2.0), alpha=0.1), 3, {}), "select-quantile": (lambda: line(feature_selection.SelectKBest(k=2), preprocessing.RobustScaler(), linear_model.LinearRegression()), 3, {}),
        "power-transform": (lambda: line(preprocessing.PowerTransformer(), linear_model.LinearRegression()), 3, {}), "binarize-normalize": (lambda: line(preprocessing.Normalizer(), preprocessing.Binarizer(threshold=0.3), linear_model.LogisticRegression()), 3, {"zipmap": False}),
        "bins": (lambda: line(preprocessing.KBinsDiscretizer(4, encode="onehot-dense", quantile_method="averaged_inverted_cdf"), linear_model.Ridge()), 0, {}), "bernoulli": (lambda: line(preprocessing.Binarizer(threshold=3.0), naive_bayes.BernoulliNB()), 3, {"zipmap": False}), "isotonic-calibrated": (lambda: _calibrated(), 2, {"zipmap": False}),
    }  # fmt: skip


def _calibrated() -> Any:
    from sklearn import calibration, linear_model

    return calibration.CalibratedClassifierCV(linear_model.LogisticRegression(max_iter=2000), cv=3)


def _booster(kind: str, work: Path) -> Made:
    rows, labels = _data(3)
    if kind == "xgboost":
        import xgboost
        from onnxmltools import convert_xgboost
        from onnxmltools.convert.common.data_types import FloatTensorType

        model = xgboost.XGBClassifier(n_estimators=8, max_depth=3, n_jobs=1).fit(rows, labels)
        converted = convert_xgboost(model, initial_types=[("X", FloatTensorType([1, 4]))], target_opset=15)
    else:
        import lightgbm
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType

        model = lightgbm.LGBMClassifier(n_estimators=8, max_depth=3, n_jobs=1, verbose=-1).fit(rows, labels)
        converted = convert_lightgbm(model, initial_types=[("X", FloatTensorType([1, 4]))], target_opset=15, zipmap=False)
    (work / "model.onnx").write_bytes(converted.SerializeToString())
    order = np.random.default_rng(0).permutation(len(rows))[:100]
    return Made(work / "model.onnx", {"X": rows[order][:, None]})


def cases() -> Sequence[Case]:
    """All of them."""
    found = [Case(f"skl-{slug}", ROUTE, partial(_made, *spec)) for slug, spec in _models().items()]
    return found + [Case(f"skl-{kind}", ROUTE, partial(_booster, kind)) for kind in ("xgboost", "lightgbm")]
