"""scikit-learn sources: linear models, perceptrons and their scalers exactly; trees and kernels refused by name."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from verifai.errors import UsageError
from verifai.stages.export import export

pytest.importorskip("sklearn", reason="needs the [sklearn] extra")
pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
skops_io = pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris  # noqa: E402
from sklearn.decomposition import PCA  # noqa: E402
from sklearn.ensemble import RandomForestClassifier  # noqa: E402
from sklearn.impute import SimpleImputer  # noqa: E402
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier, SGDClassifier  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import Binarizer, MaxAbsScaler, MinMaxScaler, Normalizer, StandardScaler  # noqa: E402
from sklearn.svm import SVC, LinearSVC  # noqa: E402
from sklearn.tree import DecisionTreeRegressor  # noqa: E402

DATA: dict[str, Any] = {
    "iris": load_iris(return_X_y=True),
    "cancer": load_breast_cancer(return_X_y=True),
    "diabetes": load_diabetes(return_X_y=True),
}

EXACT: dict[str, tuple[Callable[[], Any], str]] = {
    "logistic regression, two classes": (lambda: LogisticRegression(max_iter=30), "cancer"),
    "logistic regression, three classes": (lambda: LogisticRegression(max_iter=30), "iris"),
    "scaler and logistic regression": (lambda: make_pipeline(StandardScaler(), LogisticRegression()), "cancer"),
    "perceptron, two classes": (lambda: make_pipeline(StandardScaler(), MLPClassifier((5,), max_iter=20)), "cancer"),
    "perceptron, three classes": (lambda: MLPClassifier((5,), activation="tanh", max_iter=20), "iris"),
    "perceptron, regression": (
        lambda: make_pipeline(MinMaxScaler(), MLPRegressor(hidden_layer_sizes=(5,), max_iter=20)),
        "diabetes",
    ),
    "linear regression": (LinearRegression, "diabetes"),
    "normalised rows": (lambda: make_pipeline(Normalizer(), Ridge()), "diabetes"),
    "binarised columns": (lambda: make_pipeline(Binarizer(threshold=0.01), Ridge()), "diabetes"),
    "components": (lambda: make_pipeline(PCA(2), SGDClassifier(random_state=0)), "iris"),
    "selected columns": (
        lambda: make_pipeline(
            ColumnTransformer([("a", StandardScaler(), [0, 2]), ("b", MaxAbsScaler(), [3])]), LogisticRegression()
        ),
        "iris",
    ),
    "linear support vectors": (lambda: LinearSVC(max_iter=50), "iris"),
    "linear support vectors, two classes": (lambda: LinearSVC(max_iter=50), "cancer"),
    "ridge classifier": (RidgeClassifier, "iris"),
    "imputer": (lambda: make_pipeline(SimpleImputer(), Ridge()), "diabetes"),
    "a scaler alone": (StandardScaler, "iris"),
}


def fitted(build: Callable[[], Any], data: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build().fit(*DATA[data])


def saved(tmp_path: Path, estimator: Any) -> Path:
    skops_io.dump(estimator, tmp_path / "model.skops")
    return tmp_path / "model.skops"


def refused(path: Path | str, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        export(path, **options)
    return caught.value


@pytest.mark.parametrize("name", EXACT)
def test_estimator_is_exported_exactly(name: str, tmp_path: Path) -> None:
    build, data = EXACT[name]
    result = export(saved(tmp_path, fitted(build, data)))
    assert {item.domain for item in result.model.proto.graph.node} == {""}
    assert result.parity.max_error < 1e-5
    assert [(spec.name, spec.dtype, spec.shape[0]) for spec in result.model.inputs] == [("features", "float32", 1)]


@pytest.mark.parametrize(
    ("build", "data", "name"),
    [
        (lambda: RandomForestClassifier(3), "iris", "trees"),
        (DecisionTreeRegressor, "diabetes", "trees"),
        (SVC, "iris", "SVMClassifier"),
    ],
)
def test_what_has_no_exact_form_is_refused_by_name(build: Callable[[], Any], data: str, name: str, tmp_path: Path) -> None:
    error = refused(saved(tmp_path, fitted(build, data)))
    assert error.status == 2
    assert error.code in {"model-unknown-operator", "model-unknown-domain"}
    assert name in error.message
    assert error.hint


def test_trees_from_a_trusted_pickle_are_refused_by_operator(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(fitted(lambda: RandomForestClassifier(3), "iris")))
    error = refused(path, trust_pickle=True)
    assert (error.code, "TreeEnsembleClassifier" in error.message) == ("model-unknown-domain", True)


def test_a_pickle_needs_trust(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps(fitted(LinearRegression, "diabetes")))
    assert refused(path).code == "pickle-refused"
    assert export(path, trust_pickle=True).parity.max_error < 1e-5


def test_types_that_skops_does_not_know_need_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_estimator.py").write_text(
        "from sklearn.linear_model import Ridge\n\nclass Own(Ridge):\n    pass\n\ndef unfitted():\n    return Ridge()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    from own_estimator import Own  # type: ignore[import-not-found]  # written above

    error = refused(saved(tmp_path, fitted(Own, "diabetes")))
    assert (error.code, "own_estimator.Own" in error.message) == ("pickle-refused", True)
    assert refused("own_estimator:unfitted").code == "source-failed"


def test_a_file_that_is_no_skops_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.skops").write_bytes(b"nothing")
    assert refused(tmp_path / "model.skops").code == "source-failed"
    skops_io.dump({"a": 1}, tmp_path / "dict.skops")
    assert refused(tmp_path / "dict.skops").code == "source-failed"
    assert refused(tmp_path / "none.skops").code == "file-missing"


def test_classifiers_say_which_class_is_which(tmp_path: Path) -> None:
    result = export(saved(tmp_path, fitted(lambda: LogisticRegression(max_iter=30), "iris")))
    assert any("0, 1, 2" in notice for notice in result.notices)
    assert [spec.shape for spec in result.model.outputs] == [(1, 3)]
