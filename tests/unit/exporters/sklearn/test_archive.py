"""skops files from strangers: nothing of them runs, and no array in them leads compiled code astray."""

from __future__ import annotations

import copy
import importlib
import io
import json
import shlex
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("skl2onnx", reason="needs the [sklearn] extra")
pytest.importorskip("skops.io", reason="needs the [sklearn] extra")

import skops.io
from sklearn import svm
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import KMeans
from sklearn.ensemble import VotingClassifier
from sklearn.feature_selection import SelectKBest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import BallTree, KDTree, KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, PolynomialFeatures, SplineTransformer, StandardScaler

from tests.support.estimators import DATA, Build, fitted, saved
from verifai.errors import UsageError
from verifai.exporters.interface import Source
from verifai.exporters.sklearn.archive import LOADERS, load_skops
from verifai.stages.export import export

State = dict[str, Any]


def rewritten(path: Path, change: Callable[[State], None]) -> Path:
    """The file with its description changed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(members["schema.json"])
    change(schema)
    members["schema.json"] = json.dumps(schema).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def field(schema: State, name: str) -> State:
    """The state of the root's field ``name``."""
    found: State = schema["content"]["content"]
    state: State = found[name]
    return state


def refused(path: Path, **options: Any) -> UsageError:
    with pytest.raises(UsageError) as caught:
        export(path, **options)
    assert caught.value.status == 2
    return caught.value


def ridge(tmp_path: Path) -> Path:
    return saved(tmp_path, fitted(Ridge, "diabetes"))


# What scikit-learn keeps in its estimators


@pytest.mark.parametrize(
    ("build", "data"),
    [
        (lambda: KNeighborsClassifier(algorithm="kd_tree"), "wine"),
        (lambda: KNeighborsClassifier(algorithm="ball_tree"), "wine"),
        (lambda: CalibratedClassifierCV(svm.LinearSVC(), cv=3), "cancer"),
        (lambda: VotingClassifier([("a", LogisticRegression(max_iter=10)), ("b", LogisticRegression(max_iter=20))]), "iris"),
        (lambda: make_pipeline(SelectKBest(k=3), LogisticRegression(max_iter=10)), "wine"),
        (lambda: GridSearchCV(Ridge(), {"alpha": [1, 2]}, scoring="r2"), "diabetes"),
        (lambda: MLPClassifier((3,), max_iter=3), "iris"),
    ],
)
def test_what_no_prediction_needs_is_never_constructed(
    build: Build, data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, fitted(build, data))
    made: list[str] = []
    real = importlib.import_module("skops.io._general").gettype

    def watched(module: str, name: str) -> Any:
        made.append(f"{module}.{name}")
        return real(module, name)

    monkeypatch.setattr("skops.io._general.gettype", watched)
    load_skops(Source(str(path), {}))
    spare = ("_kd_tree", "_ball_tree", "_dist_metrics", "_bunch", "_scorer", "f_classif", "_split", "_stochastic_optimizers")
    assert made and not [name for name in made if any(part in name for part in spare)]


def test_neighbours_without_their_tree_are_the_same(tmp_path: Path) -> None:
    estimator, rows = fitted(KNeighborsClassifier, "wine"), DATA["wine"][0]
    loaded = load_skops(Source(str(saved(tmp_path, estimator)), {}))
    assert loaded._tree is None
    assert (loaded.predict(rows) == estimator.predict(rows)).all()


# What nobody vouches for

UNTRUSTED: dict[str, tuple[Callable[[], Any], str]] = {
    "a tree by itself": (lambda: KDTree(DATA["iris"][0]), "sklearn.neighbors._kd_tree.KDTree"),
    "a ball tree in a parameter": (lambda: Ridge(alpha=BallTree(DATA["iris"][0])), "sklearn.neighbors._ball_tree.BallTree"),
    "splines in compiled code": (lambda: fitted(lambda: make_pipeline(SplineTransformer(), Ridge()), "diabetes"), "BSpline"),
    "a function of the standard library": (lambda: FunctionTransformer(shlex.quote), "shlex.quote"),
    "a function of scikit-learn": (lambda: FunctionTransformer(a_score_function()), "sklearn.feature_selection"),
}


def a_score_function() -> Any:
    from sklearn.feature_selection import f_classif

    return f_classif


@pytest.mark.parametrize("name", UNTRUSTED)
def test_other_types_are_refused_by_name_with_a_command_that_works(name: str, tmp_path: Path) -> None:
    build, kind = UNTRUSTED[name]
    path = saved(tmp_path, build())
    error = refused(path)
    assert (error.code, kind in error.message) == ("pickle-refused", True)
    words = shlex.split(error.hint.split("`")[1])
    assert words[:3] == ["verifai", "export", str(path)]
    trusted = [words[place + 1] for place, word in enumerate(words) if word == "--trust-type"]
    load_skops(Source(str(path), {}, trusted_types=tuple(trusted)))


def test_one_trusted_type_does_not_vouch_for_another(tmp_path: Path) -> None:
    path = saved(tmp_path, Ridge(alpha=BallTree(DATA["iris"][0])))
    error = refused(path, trusted_types=["sklearn.neighbors._ball_tree.BallTree"])
    assert "EuclideanDistance64" in error.message
    assert "BallTree" in error.hint  # what was trusted already stays in the command


def test_what_a_notebook_defined_has_another_way_on(tmp_path: Path) -> None:
    path = saved(tmp_path, FunctionTransformer(np.log1p))
    change = lambda schema: field(schema, "func").update(__module__="__main__", __class__="double", __loader__="FunctionNode")  # noqa: E731
    error = refused(rewritten(path, change))
    assert (error.code, "module" in error.hint) == ("pickle-refused", True)


# Files made by hand


def command(schema: State) -> None:
    field(schema, "alpha").update(
        __module__="os", __class__="system", __loader__="ConstructorFromReduceNode", content=json_tuple("touch /tmp/ran")
    )


def json_tuple(text: str) -> State:
    return {
        "__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode",
        "content": [{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": json.dumps(text)}],
    }  # fmt: skip


HOSTILE: dict[str, Callable[[State], None]] = {
    "a command": command,
    "a command as a function": lambda schema: field(schema, "alpha").update(
        __module__="os", __class__="system", __loader__="FunctionNode"
    ),
    "a method": lambda schema: field(schema, "alpha").update(
        __module__="sklearn.linear_model._ridge",
        __class__="Ridge",
        __loader__="MethodNode",
        content={"func": "fit", "obj": {**copy.deepcopy(schema), "__id__": 1}},
    ),
    "a partial call": lambda schema: field(schema, "alpha").update(
        __module__="functools",
        __class__="partial",
        __loader__="PartialNode",
        content=dict.fromkeys(("func", "args", "kwds", "namespace"), json_tuple("x")),
    ),
    "a spare part elsewhere": lambda schema: field(schema, "alpha").update(
        __module__="sklearn.metrics._scorer", __class__="_Scorer", __loader__="ObjectNode", content=json_tuple("x")
    ),
    "a tree that is no part of scikit-learn": lambda schema: schema["content"]["content"].update(
        _tree={"__module__": "os", "__class__": "system", "__loader__": "FunctionNode"}
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_would_run_something_is_refused(name: str, tmp_path: Path) -> None:
    error = refused(rewritten(ridge(tmp_path), HOSTILE[name]))
    assert error.code in ("pickle-refused", "source-failed")
    assert not Path("/tmp/ran").exists()


@pytest.mark.parametrize("kind", sorted(name for name in LOADERS if not name.startswith("builtins")))
def test_a_known_type_is_not_called_with_arguments_of_the_file(kind: str, tmp_path: Path) -> None:
    module, _, name = kind.rpartition(".")

    def change(schema: State) -> None:
        field(schema, "alpha").update(
            __module__=module, __class__=name, __loader__="ConstructorFromReduceNode", content=json_tuple("x")
        )

    error = refused(rewritten(ridge(tmp_path), change))
    assert (error.code, "ConstructorFromReduceNode" in error.message) == ("pickle-refused", True)


def test_a_function_that_is_left_out_never_changes_what_is_computed(tmp_path: Path) -> None:
    """Leaving it out would turn a transformation into none."""
    path = saved(tmp_path, make_pipeline(FunctionTransformer(a_score_function()), Ridge()))
    assert refused(path).code == "pickle-refused"


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_archive_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "m.skops").write_bytes(content)
    assert refused(tmp_path / "m.skops").code == "source-failed"


def test_deep_broken_and_doubled_descriptions_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.skops"
    for text in ("{", "[" * 100_000, '{"a":' * 5000 + "1" + "}" * 5000):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("schema.json", text)
        assert refused(path).code == "source-failed"
    with warnings.catch_warnings(), zipfile.ZipFile(ridge(tmp_path), "a") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("schema.json", "{}")
    assert refused(tmp_path / "model.skops").code == "source-failed"


def test_an_archive_bomb_is_refused(tmp_path: Path) -> None:
    path = ridge(tmp_path)
    data = path.read_bytes()
    at = data.index(b"PK\x01\x02") + 24
    path.write_bytes(data[:at] + (0xF0000000).to_bytes(4, "little") + data[at + 4 :])
    error = refused(path)
    assert error.code in ("model-too-large", "source-failed")


# Arrays that contradict each other


def changed(estimator: Any, **fields: Any) -> Any:
    vars(estimator).update(fields)
    return estimator


def machine() -> Any:
    return fitted(svm.SVC, "iris")


def neighbours() -> Any:
    return fitted(KNeighborsClassifier, "iris")


def counts(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int32)


INCONSISTENT: dict[str, Callable[[], Any]] = {
    "too many vectors counted": lambda: changed(machine(), _n_support=counts(10**7, 10**7, 10**7)),
    "counts that cancel": lambda: changed(machine(), _n_support=counts(10**7, len(machine().support_) - 10**7, 0)),
    "a count too few": lambda: changed(machine(), _n_support=counts(1, 2)),
    "one column of coefficients": lambda: changed(machine(), _dual_coef_=machine()._dual_coef_[:, :1].copy()),
    "one constant": lambda: changed(machine(), _intercept_=machine()._intercept_[:1].copy()),
    "one slope for three pairs": lambda: changed(machine(), _probA=np.ones(1), _probB=np.ones(1)),
    "vectors of one column": lambda: changed(machine(), support_vectors_=machine().support_vectors_[:, :1].copy()),
    "fewer places than vectors": lambda: changed(machine(), support_=machine().support_[:2].copy()),
    "more classes than fitted": lambda: changed(machine(), classes_=np.arange(9)),
    "another machine": lambda: changed(machine(), _impl="epsilon_svr"),
    "a regression of two": lambda: changed(fitted(svm.SVR, "diabetes"), _n_support=counts(5, 5)),
    "points of one column": lambda: changed(neighbours(), _fit_X=neighbours()._fit_X[:, :1].copy()),
    "fewer targets than points": lambda: changed(neighbours(), _y=neighbours()._y[:3]),
    "a target that is no class": lambda: changed(neighbours(), _y=np.full(150, 10**7)),
    "a target below 0": lambda: changed(neighbours(), _y=np.full(150, -1)),
    "more neighbours than points": lambda: changed(neighbours(), n_neighbors=10**6),
    "another number of points": lambda: changed(neighbours(), n_samples_fit_=10**6),
    "points by columns": lambda: changed(neighbours(), _fit_X=np.asfortranarray(neighbours()._fit_X)),
    "targets of nobody": lambda: changed(fitted(KNeighborsRegressor, "diabetes"), _y=np.zeros((3, 1))),
    "centres of one column": lambda: changed(fitted(lambda: KMeans(3), "iris"), cluster_centers_=np.zeros((3, 1))),
}


@pytest.mark.parametrize("wrap", [lambda estimator: estimator, lambda estimator: make_pipeline(fitted_scaler(), estimator)])
@pytest.mark.parametrize("name", INCONSISTENT)
def test_arrays_that_compiled_code_believes_are_compared_first(name: str, wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    error = refused(saved(tmp_path, wrap(INCONSISTENT[name]())))
    assert error.code == "source-failed"
    assert error.hint


def fitted_scaler() -> StandardScaler:
    scaler = StandardScaler()
    scaler.fit(DATA["iris"][0])
    return scaler


def test_a_machine_beside_what_has_no_rule_is_checked_too(tmp_path: Path) -> None:
    """skl2onnx converts what the rules do not know, and looks at nothing."""
    from sklearn.ensemble import AdaBoostClassifier

    estimator = fitted(lambda: AdaBoostClassifier(svm.SVC(), n_estimators=2), "iris")
    changed(estimator.estimators_[0], _n_support=counts(10**7, 10**7, 10**7))
    assert "contradict" in refused(saved(tmp_path, estimator)).message


def test_a_process_with_points_of_another_width_is_refused(tmp_path: Path) -> None:
    estimator = changed(fitted(lambda: GaussianProcessRegressor(alpha=1.0), "diabetes"), X_train_=np.zeros((442, 3)))
    assert "X_train_" in refused(saved(tmp_path, estimator)).message


def test_an_object_from_memory_is_read_like_a_file(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    skops.io.dump(fitted(Ridge, "diabetes"), buffer)
    (tmp_path / "m.skops").write_bytes(buffer.getvalue())
    assert export(tmp_path / "m.skops").parity.max_error < 1e-6


def test_a_polynomial_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    """scikit-learn lists all its terms when it is asked for them."""
    estimator = changed(fitted(lambda: PolynomialFeatures(2), "diabetes"), n_features_in_=10**5)
    assert "too many terms" in refused(saved(tmp_path, estimator)).message
    huge = changed(fitted(Normalizer, "diabetes"), n_features_in_=10**9)
    assert "1,000,000,000 columns" in refused(saved(tmp_path, huge)).message
