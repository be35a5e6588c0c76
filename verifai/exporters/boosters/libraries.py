"""The boosting libraries themselves: loading files for the parity check, and what their wrappers for scikit-learn hold.

A file reaches a library's compiled reader only after our own reader found it whole; of CatBoost's own format there is no other
reader, so such files need ``--trust-pickle``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from verifai.errors import UsageError
from verifai.execution.packages import install_hint
from verifai.exporters.boosters import catboost_files, lightgbm_files, xgboost_files
from verifai.exporters.boosters.boosted import Boosted, Link, Predict, unsupported
from verifai.exporters.sklearn.writer import Array

_CLASSIFIERS = ("XGBClassifier", "XGBRFClassifier", "LGBMClassifier", "CatBoostClassifier")
_OTHERS = ("XGBRegressor", "XGBRFRegressor", "XGBRanker", "LGBMRegressor", "LGBMRanker", "CatBoostRegressor", "CatBoostRanker")
WRAPPERS = frozenset((*_CLASSIFIERS, *_OTHERS))
"""Names of the estimators that the libraries give scikit-learn's form."""
CLASSIFIERS = frozenset(_CLASSIFIERS)
_PACKAGES = ("xgboost", "lightgbm", "catboost")


def known(value: object) -> bool:
    """Whether the object's class is one of these libraries' own wrappers, not derived from it."""
    return type(value).__module__.split(".")[0] in _PACKAGES and type(value).__name__ in WRAPPERS


def missing(name: str, where: str) -> UsageError:
    """The library is not installed."""
    return UsageError("extra-missing", f"exporting from {name} needs {name}", where=where, hint=install_hint("boosters"))


def of_wrapper(estimator: Any) -> Boosted:
    """The trees of a fitted wrapper: those that its ``predict`` uses.

    Raises:
        UsageError: ``source-failed``. UnsupportedModel: ``model-unknown-operator``.
    """
    package = type(estimator).__module__.split(".")[0]
    if package == "xgboost":
        gap = getattr(estimator, "missing", np.nan)
        if not (gap is None or np.isnan(gap)):
            raise unsupported(f"XGBoost takes {gap} for a missing value in this model", "Train with missing=nan.")
        # As a file, with the estimator's mark: a slice of the trees would have lost the categories of its columns.
        booster = estimator.get_booster().copy()
        booster.set_attr(scikit_learn="{}")
        return xgboost_files.read(bytes(booster.save_raw("json")))
    if package == "lightgbm":
        return lightgbm_files.read(estimator.booster_.model_to_string().encode())
    return of_catboost(estimator)


def of_catboost(model: Any) -> Boosted:
    """The trees of a CatBoost model. Raises as :func:`of_wrapper`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        document = json.loads(path.read_bytes())
    loss = str(model.get_all_params().get("loss_function", "")).partition(":")[0]
    return catboost_files.read(document, loss)


def xgboost_predict(path: str, read: Boosted) -> Predict:
    """XGBoost on rows; softmax written out, since ``multi:softmax`` predicts the class alone. Raises ImportError."""
    import xgboost

    # One row at a time: threads would only wait for each other.
    booster = xgboost.Booster({"nthread": 1}, model_file=path)

    def predict(rows: Array) -> Array:
        margin = read.link is Link.SOFTMAX
        # Without a table, XGBoost takes the codes of categories for what they are.
        kinds = booster.feature_types if "c" in (booster.feature_types or ()) else None
        matrix = xgboost.DMatrix(
            rows.astype(np.float32), feature_names=booster.feature_names, feature_types=kinds, nthread=1,
            enable_categorical=kinds is not None,
        )  # fmt: skip
        found = np.asarray(booster.predict(matrix, output_margin=margin, iteration_range=(0, read.rounds)), np.float64)
        if margin:
            raised = np.exp(found - found.max(axis=1, keepdims=True))
            found = raised / raised.sum(axis=1, keepdims=True)
        return found

    return predict


def lightgbm_predict(path: str, read: Boosted) -> Predict:
    """LightGBM on rows. Raises ImportError."""
    import lightgbm

    del read
    booster = lightgbm.Booster(model_file=path)
    return lambda rows: np.asarray(booster.predict(rows.astype(np.float64), num_threads=1), np.float64)


def catboost_loaded(path: str) -> Any:
    """A .cbm file as CatBoost reads it. Raises ImportError."""
    import catboost

    return catboost.CatBoost().load_model(path)


def catboost_predict(model: Any, read: Boosted) -> Predict:
    """CatBoost on rows."""
    kind = "Probability" if read.classes else "Exponent" if read.link is Link.EXPONENTIAL else "RawFormulaVal"
    kind = "RawFormulaVal" if read.link is Link.SIGMOID and not read.classes else kind

    def predict(rows: Array) -> Array:
        found = np.asarray(model.predict(rows, prediction_type=kind, thread_count=1), np.float64)
        return 1.0 / (1.0 + np.exp(-found)) if read.link is Link.SIGMOID and not read.classes else found

    return predict


READERS: dict[str, tuple[str, Callable[[bytes], Boosted], Callable[[str, Boosted], Predict]]] = {
    "XGBoost": ("xgboost", xgboost_files.read, xgboost_predict),
    "LightGBM": ("lightgbm", lightgbm_files.read, lightgbm_predict),
}
"""By the library's name: its package, our reader of its files, and the library on rows."""
