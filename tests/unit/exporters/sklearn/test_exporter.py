"""scikit-learn sources: what is refused, what goes to skl2onnx, which output is chosen, what is said about it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verifai.errors import UnsupportedModel, UsageError
from verifai.stages.export import export

pytest.importorskip("sklearn", reason="needs the [sklearn] extra")
pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

import skops.io
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import NMF
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import AdaBoostClassifier, VotingClassifier
from sklearn.feature_extraction import DictVectorizer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, Perceptron, Ridge, SGDClassifier
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier, RadiusNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, StandardScaler
from sklearn.svm import SVC

from tests.support.estimators import DATA, fitted, saved


def refused(path: Path | str, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        export(path, **options)
    return caught.value


NO_FORMULA: dict[str, tuple[Callable[[], Any], str, str, str]] = {
    "an iteration": (
        lambda: make_pipeline(MinMaxScaler(), NMF(2), LogisticRegression()),
        "iris",
        "NMF.transform",
        "docs/sklearn.md",
    ),
    "neighbours within a radius": (
        lambda: RadiusNeighborsClassifier(50.0),
        "iris",
        "RadiusNeighborsClassifier",
        "docs/sklearn.md",
    ),
    "another distance": (lambda: KNeighborsClassifier(p=3), "iris", "minkowski", "euclidean"),
    "several targets": (
        lambda: MultiOutputClassifier(LogisticRegression(max_iter=10)),
        "labels",
        "several targets",
        "estimators_[0]",
    ),
    "quantiles of a target": (
        lambda: TransformedTargetRegressor(Ridge(), transformer=QuantileTransformer(n_quantiles=9)),
        "diabetes",
        "QuantileTransformer",
        "Scale",
    ),
    "votes of probabilities of a machine": (
        lambda: VotingClassifier([("a", SVC(probability=True)), ("b", LogisticRegression(max_iter=10))], voting="soft"),
        "iris",
        "iteration that stops early",
        "CalibratedClassifierCV",
    ),
    "a process that float32 cannot hold": (lambda: GaussianProcessRegressor(), "diabetes", "spread", "Scale the columns"),
}


@pytest.mark.parametrize("name", NO_FORMULA)
def test_what_has_no_formula_is_refused_with_a_way_on(name: str, tmp_path: Path) -> None:
    build, data, problem, way = NO_FORMULA[name]
    error = refused(saved(tmp_path, fitted(build, data)))
    assert error.status == 2
    assert problem in error.message
    assert way in error.hint


def test_what_has_no_rule_goes_to_skl2onnx(tmp_path: Path) -> None:
    for build in (
        lambda: make_pipeline(StandardScaler(), AdaBoostClassifier(LogisticRegression(), n_estimators=3)),
        lambda: make_pipeline(QuantileTransformer(n_quantiles=20), LogisticRegression()),
    ):
        result = export(saved(tmp_path, fitted(build, "iris")))
        assert [spec.name for spec in result.model.outputs] == ["probabilities"]
        assert result.facts is not None and result.facts.labels == ("0", "1", "2")


def test_a_class_of_ones_own_is_not_taken_for_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may compute something else."""
    (tmp_path / "own_ridge.py").write_text(
        "from sklearn.linear_model import Ridge\n\n"
        "class Twice(Ridge):\n    def predict(self, X):\n        return 2 * super().predict(X)\n\n"
        "def fitted():\n    return Twice().fit([[0.0], [1.0]], [0.0, 1.0])\n"
    )
    monkeypatch.chdir(tmp_path)
    error = refused("own_ridge:fitted")
    assert (error.code, "Twice" in error.message) == ("model-unknown-operator", True)


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
    skops.io.dump({"a": 1}, tmp_path / "dict.skops")
    assert refused(tmp_path / "dict.skops").code == "source-failed"
    assert refused(tmp_path / "none.skops").code == "file-missing"


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")  # few iterations keep the test quick
def test_classifiers_say_which_class_is_which(tmp_path: Path) -> None:
    names = np.array(["setosa", "versicolor", "virginica"])
    estimator = LogisticRegression(max_iter=30).fit(DATA["iris"][0], names[DATA["iris"][1]])
    result = export(saved(tmp_path, estimator))
    assert any("setosa, versicolor, virginica" in notice for notice in result.notices)
    assert result.facts is not None
    assert result.facts.labels == ("setosa", "versicolor", "virginica")
    assert (result.facts.input, result.facts.output) == ("features", "probabilities")
    assert result.facts.model_sha256 == result.model.sha256


@pytest.mark.parametrize(
    ("build", "wanted", "output"),
    [
        (lambda: LogisticRegression(max_iter=30), "scores", "scores"),
        (lambda: SGDClassifier(loss="log_loss", random_state=0), "probabilities", "probabilities"),
        (lambda: LinearDiscriminantAnalysis(), "scores", "scores"),
    ],
)
def test_another_output_can_be_asked_for(build: Callable[[], Any], wanted: str, output: str, tmp_path: Path) -> None:
    result = export(saved(tmp_path, fitted(build, "iris")), select=[wanted])
    assert [spec.name for spec in result.model.outputs] == [output]


@pytest.mark.parametrize("wanted", [["prediction"], ["label"], ["scores", "probabilities"]])
def test_an_output_that_it_does_not_have_is_refused(wanted: list[str], tmp_path: Path) -> None:
    error = refused(saved(tmp_path, fitted(lambda: LogisticRegression(max_iter=30), "iris")), select=wanted)
    assert (error.code, error.where) == ("bad-option", "--select")


def test_probabilities_of_a_machine_are_refused_with_a_way_on(tmp_path: Path) -> None:
    error = refused(saved(tmp_path, fitted(lambda: SVC(probability=True), "cancer")), select=["probabilities"])
    assert "CalibratedClassifierCV" in error.hint


def test_the_same_estimator_gives_the_same_bytes(tmp_path: Path) -> None:
    path = saved(tmp_path, fitted(lambda: make_pipeline(StandardScaler(), SVC()), "iris"))
    assert export(path).model.data == export(path).model.data


def test_real_data_of_large_ranges_pass_the_parity_check(tmp_path: Path) -> None:
    """float32 rounds; that is not a difference."""
    rows, target = DATA["cancer"]
    large = (rows * 1e4).astype(np.float32).astype(np.float64)
    for estimator in (Ridge().fit(large, target * 1e7 + 1e9), Perceptron().fit(large, target)):
        samples = [{"features": row[None].astype(np.float32)} for row in large[:50]]
        assert export(saved(tmp_path, estimator), samples=samples).parity.max_error < 1e-3


TEXTS = ["a good film", "a bad film", "good acting", "bad plot"]


@pytest.mark.parametrize(
    ("reader", "told"),
    [
        (lambda: make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, [1, 0, 1, 0]), "TfidfVectorizer"),
        (
            lambda: make_pipeline(HashingVectorizer(n_features=8), LogisticRegression()).fit(TEXTS, [1, 0, 1, 0]),
            "HashingVectorizer",
        ),
        (lambda: make_pipeline(DictVectorizer(), Ridge()).fit([{"a": 1.0}, {"b": 2.0}], [1, 2]), "DictVectorizer"),
        (lambda: CountVectorizer().fit(TEXTS), "CountVectorizer"),
    ],
)
def test_what_reads_texts_is_fitted_all_the_same(reader: Callable[[], Any], told: str, tmp_path: Path) -> None:
    skops.io.dump(reader(), tmp_path / "m.skops")
    with pytest.raises(UnsupportedModel, match=f"{told} reads texts or records") as caught:
        export(tmp_path / "m.skops")
    assert caught.value.code == "model-unknown-operator"


def test_the_rest_of_a_pipeline_of_texts_can_be_exported_as_the_hint_says(tmp_path: Path) -> None:
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(TEXTS, [1, 0, 1, 0])
    skops.io.dump(pipeline[1:], tmp_path / "m.skops")
    assert export(tmp_path / "m.skops").model.inputs[0].shape == (1, 5)


def test_what_is_not_fitted_is_said_to_be_so(tmp_path: Path) -> None:
    for estimator in (make_pipeline(StandardScaler(), LogisticRegression()), Ridge()):
        skops.io.dump(estimator, tmp_path / "m.skops")
        assert refused(tmp_path / "m.skops").message == "the estimator is not fitted"
