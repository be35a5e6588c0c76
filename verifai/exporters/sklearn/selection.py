"""Columns chosen, coded and put side by side: pipelines, unions, column transformers, encoders, selectors, imputers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from verifai.exporters.sklearn.build import Build, Rules, inconsistent, numbers, parts, unsupported
from verifai.exporters.sklearn.moved import Steps, steps_at
from verifai.exporters.sklearn.writer import Array, Row

_ENCODE = "Encode categories as whole numbers outside the model (OrdinalEncoder, say), and fit on those."


def _pipeline(build: Build, estimator: Any, row: Row) -> Row:
    """All steps as transformations."""
    for _, step in parts(estimator, "steps"):
        row = _step(build, step, row)
    return row


def _step(build: Build, step: Any, row: Row) -> Row:
    return row if step is None or isinstance(step, str) else build.transform(step, row)


def before_last(build: Build, estimator: Any, row: Row) -> tuple[Any, Row]:
    """A pipeline's last step, and what reaches it."""
    steps = parts(estimator, "steps")
    for _, step in steps[:-1]:
        row = _step(build, step, row)
    return steps[-1][1], row


def _union(build: Build, estimator: Any, row: Row) -> Row:
    weights = estimator.transformer_weights or {}
    results = []
    for name, step in parts(estimator, "transformer_list"):
        if isinstance(step, str) and step == "drop":
            continue
        results.append(build.multiply(_step(build, step, row), weights.get(name, 1.0)))
    return build.concatenate(results)


def _column_transformer(build: Build, estimator: Any, row: Row) -> Row:
    weights = estimator.transformer_weights or {}
    results = []
    for name, step, chosen in parts(estimator, "transformers_"):
        columns = chosen_columns(estimator, chosen)
        if (isinstance(step, str) and step == "drop") or not columns:
            continue
        results.append(build.multiply(_step(build, step, build.columns(row, columns)), weights.get(name, 1.0)))
    if not results:
        raise inconsistent(estimator, "it drops every column")
    return build.concatenate(results)


def chosen_columns(estimator: Any, chosen: Any) -> list[int]:
    """Indices of a column transformer's choice: one or many names, numbers or booleans, or a slice of them.

    Raises:
        UsageError: ``source-failed``.
    """
    width = int(estimator.n_features_in_)
    names = [str(name) for name in getattr(estimator, "feature_names_in_", ())]

    def index(value: Any) -> int:
        place = names.index(value) if isinstance(value, str) and value in names else value
        if not isinstance(place, (int, np.integer)) or not -width <= place < width:
            raise inconsistent(estimator, f"it selects a column that it was not fitted on: {value!r}"[:120])
        return int(place) % int(width)

    if isinstance(chosen, slice):
        if isinstance(chosen.start, str) or isinstance(chosen.stop, str):
            # A slice of names includes its end.
            first = 0 if chosen.start is None else index(chosen.start)
            last = width - 1 if chosen.stop is None else index(chosen.stop)
            return list(range(first, last + 1))
        return list(range(width))[chosen]
    if isinstance(chosen, (str, int, np.integer)):
        return [index(chosen)]
    values = list(chosen)
    if values and all(isinstance(value, (bool, np.bool_)) for value in values):
        return [place for place, taken in enumerate(values) if taken]
    return [index(value) for value in values]


def _selected(build: Build, estimator: Any, row: Row) -> Row:
    """Feature selection: the columns of the estimator's own mask."""
    mask = np.asarray(estimator.get_support())
    if mask.shape != (row.width,) or not mask.any():
        raise inconsistent(estimator, f"it keeps {int(mask.sum())} of {mask.size} columns")
    return build.columns(row, np.flatnonzero(mask))


def _imputer(build: Build, estimator: Any, row: Row) -> Row:
    """Columns without any value at fitting are dropped; a missing value that is a number is replaced."""
    missing = estimator.missing_values
    fitted = getattr(getattr(estimator, "initial_imputer_", estimator), "statistics_", None)
    if fitted is not None and np.asarray(fitted).dtype.kind == "O":
        return _text_imputer(build, estimator, row, list(fitted))
    if fitted is not None and np.asarray(fitted).dtype.kind not in "fiub":
        raise unsupported(estimator, "fills in text", _ENCODE)
    if getattr(estimator, "add_indicator", False) and estimator.indicator_.features_.size:
        raise unsupported(estimator, "adds columns that mark missing values", "Fit it with add_indicator=False.")
    if not (isinstance(missing, float) and np.isnan(missing)):
        return _replaced(build, estimator, row)
    build.note(
        f"{type(estimator).__name__} fills in missing values (NaN); inputs with NaN are refused, so it was left out: "
        "fill them in before proving."
    )
    if getattr(estimator, "keep_empty_features", False):
        return row
    known = getattr(estimator, "_valid_mask", None) if fitted is None else ~np.isnan(np.asarray(fitted, dtype=np.float64))
    return row if known is None else build.columns(row, np.flatnonzero(known))


def _text_imputer(build: Build, estimator: Any, row: Row, filling: list[Any]) -> Row:
    """An imputer of texts, or of columns of which some are texts: missing ones are refused, as missing numbers are."""
    missing = estimator.missing_values
    if not (missing is None or (isinstance(missing, float) and np.isnan(missing))):
        hint = "Replace it before fitting, and outside the model."
        raise unsupported(estimator, f"replaces the text {str(missing)[:40]!r}", hint)
    if len(filling) != row.width:
        raise inconsistent(estimator, f"statistics_ has {len(filling)} values for {row.width} columns")
    if getattr(estimator, "add_indicator", False) and estimator.indicator_.features_.size:
        raise unsupported(estimator, "adds columns that mark missing values", "Fit it with add_indicator=False.")
    kind = type(estimator).__name__
    build.note(f"{kind} fills in missing texts; a table with empty cells there is refused: fill them in before.")
    empty = [isinstance(value, float) and np.isnan(value) for value in filling]
    if not any(empty) or getattr(estimator, "keep_empty_features", False):
        return row
    return build.columns(row, np.flatnonzero(~np.array(empty)))


def _replaced(build: Build, estimator: Any, row: Row) -> Row:
    if type(estimator).__name__ != "SimpleImputer" or not isinstance(estimator.missing_values, (int, float)):
        raise unsupported(
            estimator, "replaces other values than NaN", "Mark missing values by NaN, or fill them in beforehand."
        )
    same = build.apply("Equal", row, build.constant(np.array(float(estimator.missing_values))))
    filling = build.constant(numbers(estimator, "statistics_", row.width))
    return build.apply("Where", same, filling, row)


def one_hot(build: Build, row: Row, categories: Sequence[Array]) -> Row:
    """For each column in turn, one column per category: 1 where the cell is that number."""
    owner = np.repeat(np.arange(row.width), [len(values) for values in categories])
    same = build.apply("Equal", build.columns(row, owner), build.constant(np.concatenate(categories), "categories"))
    return build.apply("Cast", same, to=1)


def _categories(build: Build, estimator: Any, row: Row, *, others: bool | None = None) -> list[Array]:
    """The encoder's categories as float64; of texts their places, which the model takes for them.

    Args:
        others: whether the encoder takes other texts; as its ``handle_unknown`` says where it has one.

    Raises:
        UnsupportedModel: for mixtures of texts and numbers, and for numbers that float32 cannot hold.
    """
    found = []
    for place, values in enumerate(parts(estimator, "categories_")):
        values = np.asarray(values)
        listed = values.tolist()
        if values.dtype.kind in "OU" and values.ndim == 1 and listed and all(isinstance(one, str) for one in listed):
            if place >= row.width:
                raise inconsistent(estimator, f"it has more lists of categories than the {row.width} columns")
            unknown = getattr(estimator, "handle_unknown", "error") != "error" if others is None else others
            build.text_column(estimator, row, place, listed, unknown)
            found.append(np.arange(len(listed), dtype=np.float64))
            continue
        if values.dtype.kind == "O" and all(isinstance(one, (int, float)) for one in listed):
            values = np.array(listed, dtype=np.float64)
        if values.dtype.kind not in "fiub":
            raise unsupported(estimator, "encodes text beside other values, missing ones perhaps", _ENCODE)
        numeric = values.astype(np.float64)
        if values.ndim != 1 or not np.array_equal(numeric.astype(np.float32).astype(np.float64), numeric):
            raise unsupported(estimator, "has categories that are no exact float32 numbers, NaN among them", _ENCODE)
        found.append(numeric)
    if len(found) != row.width:
        raise inconsistent(estimator, f"it has {len(found)} lists of categories for {row.width} columns")
    return found


def _one_hot_encoder(build: Build, estimator: Any, row: Row) -> Row:
    """One column per category that is neither dropped nor rare, then one for the rare ones together."""
    categories = _categories(build, estimator, row)
    encoded = one_hot(build, row, categories)
    if estimator.handle_unknown == "error":
        build.note("OneHotEncoder raises an error for an unknown category; the exported model gives it zeros instead.")
    unknown_is_rare = estimator.handle_unknown in ("infrequent_if_exist", "warn")
    weights, bias, start = [], [], 0
    steps: list[tuple[int, Steps]] = []
    for column, values in enumerate(categories):
        groups, rare = _groups(estimator, column, len(values))
        dropped = _dropped(estimator, column)
        for place, members in enumerate(groups):
            if place == dropped:
                continue
            complement = rare and place == len(groups) - 1 and unknown_is_rare
            line = np.zeros(encoded.width)
            if complement:
                # Whatever is none of the frequent ones.
                others = [m for m in range(len(values)) if m not in members]
                line[[start + m for m in others]] = -1
                steps.append((column, steps_at({float(values[m]): 0.0 for m in others}, 1.0)))
            else:
                line[[start + m for m in members]] = 1
                steps.append((column, steps_at({float(values[m]): 1.0 for m in members}, 0.0)))
            weights.append(line)
            bias.append(float(complement))
        start += len(values)
    chosen = np.array(weights)
    whole = np.array_equal(chosen, np.eye(encoded.width))
    return build.stepped(encoded if whole else build.linear(encoded, chosen, np.array(bias)), row, steps)


def _groups(estimator: Any, column: int, count: int) -> tuple[list[list[int]], bool]:
    """Categories that share an output column, in the encoder's order, and whether the last ones are the rare ones."""
    listed = getattr(estimator, "_infrequent_indices", None)
    rare = None if not listed else listed[column]
    if rare is None or not len(rare):
        return [[place] for place in range(count)], False
    together = [int(place) for place in rare]
    return [*([place] for place in range(count) if place not in together), together], True


def _dropped(estimator: Any, column: int) -> int | None:
    """The output column that is dropped, counted after rare categories were put together."""
    listed = getattr(estimator, "_drop_idx_after_grouping", getattr(estimator, "drop_idx_", None))
    return None if listed is None or listed[column] is None else int(listed[column])


def _ordinal_encoder(build: Build, estimator: Any, row: Row) -> Row:
    """The place of the category: Σ place · [cell = category]; an unknown one gives the encoder's value for it."""
    categories = _categories(build, estimator, row)
    if any(_groups(estimator, column, len(values))[1] for column, values in enumerate(categories)):
        raise unsupported(estimator, "puts rare categories together", "Fit it without min_frequency and max_categories.")
    encoded = one_hot(build, row, categories)
    unknown = float(estimator.unknown_value) if estimator.handle_unknown == "use_encoded_value" else 0.0
    if not np.isfinite(unknown):
        raise unsupported(estimator, "codes unknown categories as NaN", "Use a number as unknown_value.")
    if estimator.handle_unknown == "error":
        build.note("OrdinalEncoder raises an error for an unknown category; the exported model gives 0 instead.")
    weights, start = np.zeros((row.width, encoded.width)), 0
    steps: list[tuple[int, Steps]] = []
    for column, values in enumerate(categories):
        weights[column, start : start + len(values)] = np.arange(len(values)) - unknown
        steps.append((column, steps_at({float(value): float(place) for place, value in enumerate(values)}, unknown)))
        start += len(values)
    return build.stepped(build.linear(encoded, weights, np.full(row.width, unknown)), row, steps)


def _target_encoder(build: Build, estimator: Any, row: Row) -> Row:
    """TargetEncoder: the mean target of the category, smoothed as it was fitted, and of an unknown one that of all rows; per
    column of the row one column, or with more than two classes one per class."""
    categories = _categories(build, estimator, row, others=True)
    encoded = one_hot(build, row, categories)
    means = np.asarray(estimator.target_mean_, np.float64).reshape(-1)
    found = [np.asarray(one, np.float64) for one in parts(estimator, "encodings_")]
    owners = np.repeat(np.arange(row.width), len(means))
    if len(found) != len(owners) or any(one.shape != categories[at].shape for one, at in zip(found, owners, strict=True)):
        raise inconsistent(estimator, "its encodings are not one per category")
    starts = np.concatenate([[0], np.cumsum([len(values) for values in categories])])
    weights, steps = np.zeros((len(owners), encoded.width)), []
    overall = np.tile(means, row.width)
    for place, (values, at) in enumerate(zip(found, owners.tolist(), strict=True)):
        weights[place, starts[at] : starts[at + 1]] = values - overall[place]
        points = dict(zip(categories[at].tolist(), values.tolist(), strict=True))
        steps.append((at, steps_at(points, float(overall[place]))))
    return build.stepped(build.linear(encoded, weights, overall), row, steps)


def _bins(build: Build, estimator: Any, row: Row) -> Row:
    """KBinsDiscretizer: the number of inner edges that a cell has reached, or one column per bin."""
    edges = [np.asarray(values, dtype=np.float64)[1:-1] for values in estimator.bin_edges_]
    if len(edges) != row.width:
        raise inconsistent(estimator, f"it has edges for {len(edges)} of {row.width} columns")
    owner = np.repeat(np.arange(row.width), [len(values) for values in edges])
    if not len(owner):
        raise unsupported(estimator, "has one bin per column", "Leave it out.")
    reached = build.apply("GreaterOrEqual", build.columns(row, owner), build.constant(np.concatenate(edges), "edges"))
    steps = build.apply("Cast", reached, to=1)
    # A cell is in bin k once it has reached k edges: the numbers before an edge have not.
    ends = [tuple(np.nextafter(values, -np.inf).tolist()) for values in edges]
    if estimator.encode == "ordinal":
        counted = [(at, Steps(one, tuple(float(place) for place in range(len(one) + 1)))) for at, one in enumerate(ends)]
        return build.stepped(build.linear(steps, owner[None] == np.arange(row.width)[:, None]), row, counted)
    weights, bias = [], []
    chosen: list[tuple[int, Steps]] = []
    for column in range(row.width):
        mine = np.flatnonzero(owner == column)
        for place in range(len(mine) + 1):
            # In bin k: edge k was reached, edge k + 1 was not.
            line = np.zeros(len(owner))
            if place:
                line[mine[place - 1]] = 1
            if place < len(mine):
                line[mine[place]] -= 1
            weights.append(line)
            bias.append(float(place == 0))
            chosen.append((column, Steps(ends[column], tuple(float(one == place) for one in range(len(mine) + 1)))))
    return build.stepped(build.linear(steps, np.array(weights), np.array(bias)), row, chosen)


_SELECTORS = (
    "SelectKBest", "SelectPercentile", "SelectFpr", "SelectFdr", "SelectFwe", "GenericUnivariateSelect", "SelectFromModel",
    "RFE", "RFECV", "SequentialFeatureSelector", "VarianceThreshold",
)  # fmt: skip

RULES = Rules(
    transforms={
        "Pipeline": _pipeline,
        "FeatureUnion": _union,
        "ColumnTransformer": _column_transformer,
        "SimpleImputer": _imputer,
        "KNNImputer": _imputer,
        "IterativeImputer": _imputer,
        "OneHotEncoder": _one_hot_encoder,
        "OrdinalEncoder": _ordinal_encoder,
        "KBinsDiscretizer": _bins,
        "TargetEncoder": _target_encoder,
        **dict.fromkeys(_SELECTORS, _selected),
    },
)
