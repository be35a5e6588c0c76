"""Estimators that were fitted on tables of named columns, made to take plain arrays in the order of those columns.

scikit-learn's column transformers look names up in a table, which needs pandas (or another library of tables) at every call.
The places of the names were fixed at fitting, so that the parity check can do without.
"""

from __future__ import annotations

import copy
from typing import Any

from verifai.exporters.sklearn.selection import chosen_columns
from verifai.exporters.sklearn.stored import reachable

_OUTPUT = "_sklearn_output_config"


def positional(estimator: Any) -> Any:
    """The estimator itself, or a copy of it that selects columns by number and gives plain arrays."""
    if not any(_by_name(part) for part in reachable(estimator)):
        return estimator
    result = copy.deepcopy(estimator)
    for part in reachable(result):
        if getattr(part, _OUTPUT, None):
            setattr(part, _OUTPUT, {})
        if type(part).__name__ == "ColumnTransformer" and hasattr(part, "transformers_"):
            part.transformers_ = [(name, step, chosen_columns(part, chosen)) for name, step, chosen in part.transformers_]
    return result


def _by_name(part: Any) -> bool:
    """Whether it looks up names, or gives a table."""
    if getattr(part, _OUTPUT, None):
        return True
    if type(part).__name__ != "ColumnTransformer":
        return False
    return any(
        not isinstance(chosen, slice) or isinstance(chosen.start, str) or isinstance(chosen.stop, str)
        for _, _, chosen in getattr(part, "transformers_", ())
    )
