"""Estimators that were fitted on tables of named columns, made to take plain arrays in the order of those columns.

scikit-learn's column transformers look names up in a table, which needs pandas (or another library of tables) at every call.
The places of the names were fixed at fitting, so that the parity check can do without.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from verifai.exporters.sklearn.build import own
from verifai.exporters.sklearn.selection import chosen_columns

_OUTPUT = "_sklearn_output_config"
_MAX_OBJECTS = 100_000


def positional(estimator: Any) -> Any:
    """The estimator itself, or a copy of it that selects columns by number and gives plain arrays."""
    if not any(_by_name(part) for part in _estimators(estimator)):
        return estimator
    result = copy.deepcopy(estimator)
    for part in _estimators(result):
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


def _estimators(estimator: Any) -> Iterator[Any]:
    """Every estimator of scikit-learn's own that is reachable through fields, lists, tuples and dictionaries."""
    seen: set[int] = set()
    stack = [estimator]
    while stack and len(seen) < _MAX_OBJECTS:
        value = stack.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, (list, tuple)):
            stack.extend(value)
        elif isinstance(value, dict):
            stack.extend(value.values())
        elif own(value) and hasattr(value, "get_params") and not isinstance(value, type):
            yield value
            stack.extend(vars(value).values())
