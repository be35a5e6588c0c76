"""The columns of histogram-based gradient boosting: which its trees read where, and what is a category in them.

scikit-learn (since 1.4) puts the columns of categories first, each coded by its place among the categories that were there at
fitting; what is none of these becomes a missing value. Its trees then keep, per split, the codes that go to the left, as a set
of 256 bits. Source: sklearn/ensemble/_hist_gradient_boosting/gradient_boosting.py, _predictor.pyx, release 1.9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import inconsistent, own, unsupported
from verifai.exporters.sklearn.selection import chosen_columns
from verifai.exporters.sklearn.writer import Array
from verifai.onnx_graph.passes.trees import Branching, below

_CODES = 256
_WORDS = 8
_NOWHERE = ((np.inf, np.inf),)
"""An interval without a number."""


@dataclass(frozen=True)
class Kinds:
    """A column's categories.

    Attributes:
        values: (n,), float64: the numbers that are the categories; the places of texts, where they are texts.
        texts: empty where they are numbers. known: which codes the trees know.
    """

    values: Array
    texts: tuple[str, ...]
    known: frozenset[int]


def columns_of(estimator: Any) -> tuple[list[int], list[Kinds | None]]:
    """Which of the estimator's columns its trees read at each place, and its categories there.

    Raises:
        UsageError: ``source-failed``, where the estimator contradicts itself.
        UnsupportedModel: ``model-unknown-operator``, for what has no exact formula, by name.
    """
    width = int(estimator.n_features_in_)
    coded = getattr(estimator, "_preprocessor", None)
    if coded is None:
        if getattr(estimator, "is_categorical_", None) is not None:
            raise unsupported(estimator, "of a release before 1.4 with categories has no rule", "Fit it with a newer release.")
        if np.any(getattr(getattr(estimator, "_bin_mapper", None), "is_categorical_", 0)):
            raise inconsistent(estimator, "its bins are not those of its columns")
        return list(range(width)), [None] * width
    steps = getattr(coded, "transformers_", None)
    if not own(coded) or type(coded).__name__ != "ColumnTransformer" or not isinstance(steps, list):
        raise inconsistent(estimator, "its columns are not coded as fit codes them")
    if [str(step[0]) for step in steps[:2]] != ["encoder", "numerical"] or any(step[1] != "drop" for step in steps[2:]):
        raise inconsistent(estimator, "its columns are not coded as fit codes them")
    encoder, first = steps[0][1], chosen_columns(coded, steps[0][2])
    others = chosen_columns(coded, steps[1][2])
    order = [*first, *others]
    if int(getattr(coded, "n_features_in_", 0)) != width or sorted(order) != list(range(width)):
        raise inconsistent(estimator, "its columns are not coded as fit codes them")
    _require_unchanged(estimator, steps[1][1])
    return order, [*_kinds(estimator, encoder, len(first)), *([None] * len(others))]


def _require_unchanged(estimator: Any, step: Any) -> None:
    """Numbers go as they are: what scikit-learn puts there looks at them only."""
    function = getattr(step, "func", None)
    checks = isinstance(function, partial) and getattr(function.func, "__name__", "") == "check_array" and not function.args
    plain = own(step) and type(step).__name__ == "FunctionTransformer" and (function is None or checks)
    if step != "passthrough" and not plain:
        raise inconsistent(estimator, "its columns are not coded as fit codes them")
    if plain and function is None:
        # A file without it (see archive.py): it makes numbers of a table of texts and numbers.
        from sklearn.utils import check_array

        step.func = partial(check_array, dtype=[np.float64], ensure_all_finite=False)


def _kinds(estimator: Any, encoder: Any, count: int) -> list[Kinds]:
    lists = getattr(encoder, "categories_", None)
    plain = own(encoder) and type(encoder).__name__ == "OrdinalEncoder" and isinstance(lists, list) and len(lists) == count
    if not plain or getattr(encoder, "_infrequent_enabled", False):
        raise inconsistent(estimator, "its categories are not coded as fit codes them")
    if getattr(encoder, "handle_unknown", "") != "use_encoded_value" or not np.isnan(encoder.unknown_value):
        raise inconsistent(estimator, "its categories are not coded as fit codes them")
    binned = getattr(estimator, "_bin_mapper", None)
    marked, codes = np.asarray(getattr(binned, "is_categorical_", None)), getattr(binned, "bin_thresholds_", None)
    whole = np.arange(int(estimator.n_features_in_)) < count
    if (
        marked.dtype.kind not in "bui"
        or not np.array_equal(marked != 0, whole)
        or not isinstance(codes, list)
        or len(codes) != len(whole)
    ):
        raise inconsistent(estimator, "its bins are not those of its columns")
    return [_kind(estimator, np.asarray(values), codes[place]) for place, values in enumerate(lists or [])]


def _kind(estimator: Any, values: Array, codes: Any) -> Kinds:
    listed = values.tolist() if values.ndim == 1 else []
    if listed and isinstance(listed[-1], float) and np.isnan(listed[-1]):
        listed = listed[:-1]
    if len(listed) >= _CODES:
        raise inconsistent(estimator, f"a column has {len(listed):,} categories, more than fit takes")
    found = np.asarray(codes)
    inside = found.ndim == 1 and found.dtype.kind in "fiu" and np.isin(found, np.arange(min(len(listed), _CODES))).all()
    if not inside:
        raise inconsistent(estimator, "its bins hold codes that no category has")
    known = frozenset(int(code) for code in found.tolist())
    if listed and all(isinstance(one, str) for one in listed):
        return Kinds(np.arange(len(listed), dtype=np.float64), tuple(listed), known)
    if not all(isinstance(one, (int, float)) for one in listed):
        hint = "Fill missing ones in before fitting, and use texts or numbers alone."
        raise unsupported(estimator, "has categories that are texts and other values", hint)
    numbers = np.array(listed, np.float64)
    if not np.array_equal(numbers.astype(np.float32).astype(np.float64), numbers):
        raise unsupported(estimator, "has categories that are no exact float32 numbers", "Use whole numbers or texts.")
    return Kinds(numbers, (), known)


def check_predictor(estimator: Any, predictor: Any, kinds: Sequence[Kinds | None]) -> None:
    """A tree's splits of categories are of columns of categories, and each has its set.

    Raises:
        UsageError: ``source-failed``.
    """
    nodes = predictor.nodes
    inner = ~nodes["is_leaf"].astype(bool)
    marked = nodes["is_categorical"].astype(bool)[inner]
    columns = nodes["feature_idx"].astype(np.int64)[inner]
    coded = np.array([one is not None for one in kinds], bool)
    if not np.array_equal(marked, coded[columns]):
        raise inconsistent(estimator, "a tree takes a column of categories for one of numbers, or the reverse")
    sets = getattr(predictor, "raw_left_cat_bitsets", None)
    if not marked.any():
        return
    if not isinstance(sets, np.ndarray) or sets.dtype != np.uint32 or sets.ndim != 2 or sets.shape[1] != _WORDS:
        raise inconsistent(estimator, "its sets of categories are not those that fit leaves")
    if not sets.flags.c_contiguous or bool((nodes["bitset_idx"][inner][marked] >= len(sets)).any()):
        raise inconsistent(estimator, "a split has no set of categories")


def split_of(kinds: Kinds, words: Array, missing_left: bool, column: int, left: int, right: int) -> Branching:
    """The split that sends the codes of a set to the left, other known ones to the right, and what is none of the categories to
    the side of missing values.

    Args:
        words: (8,), uint32: the set, a bit per code.
    """
    bits = np.unpackbits(np.ascontiguousarray(words, "<u4").view(np.uint8), bitorder="little").astype(bool)
    unknown = np.ones(len(kinds.values), bool)
    unknown[list(kinds.known)] = False
    goes_left = bits[: len(kinds.values)] | (unknown & missing_left)
    aside = kinds.values[goes_left != missing_left]
    yes, no = (right, left) if missing_left else (left, right)
    if not aside.size:
        return Branching(column, "BRANCH_BETWEEN", 0.0, yes, no, between=_NOWHERE)
    if not kinds.texts:
        return Branching(column, "BRANCH_MEMBER", 0.0, yes, no, members=tuple(aside.tolist()))
    return Branching(column, "BRANCH_BETWEEN", 0.0, yes, no, between=around(aside))


def around(places: Array) -> tuple[tuple[float, float], ...]:
    """Whole numbers, ascending, as intervals half a unit around them; those that follow each other as one."""
    runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
    return tuple((below(float(run[0]) - 0.5), below(float(run[-1]) + 0.5)) for run in runs)
