"""XGBoost's JSON and UBJSON models (``Booster.save_model``) as forests.

A node sends x to its left child just when x < split_condition, in float32; a node of a category set, just when the whole part
of x is none of the set. Leaves are kept in split_conditions. Source: xgboost, doc/model.schema, src/tree/tree_model.cc,
src/common/categorical.h, src/learner.cc and src/objective, releases 1.7 to 3.2.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from verifai.errors import UsageError
from verifai.exporters.boosters import ubjson
from verifai.exporters.boosters.boosted import (
    MAX_COLUMNS,
    MAX_OUTPUTS,
    Boosted,
    Grower,
    Link,
    inconsistent,
    integer,
    merged,
    numbers,
    plain_names,
    unsupported,
)
from verifai.exporters.boosters.coded import Coded, coded, recoded
from verifai.onnx_graph.passes.trees import Branching, Forest, next_below

_MAX_CATEGORY = 1 << 24
_MAX_DEPTH = 64
_MAX_ROUNDS = 1 << 24
_SIGMOIDS = ("binary:logistic", "reg:logistic")
_LINKS: dict[str, Link] = {
    **dict.fromkeys(_SIGMOIDS, Link.SIGMOID),
    **dict.fromkeys(("multi:softprob", "multi:softmax"), Link.SOFTMAX),
    **dict.fromkeys(("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"), Link.EXPONENTIAL),
    **dict.fromkeys(
        (
            "reg:squarederror", "reg:linear", "reg:squaredlogerror", "reg:pseudohubererror", "reg:absoluteerror",
            "reg:quantileerror", "binary:logitraw", "rank:pairwise", "rank:ndcg", "rank:map",
        ),
        Link.IDENTITY,
    ),
}  # fmt: skip


def read(data: bytes) -> Boosted:
    """The model in a file: its trees up to the best iteration, where it is an estimator's that stopped early.

    XGBClassifier and its like predict with these alone, a Booster with all trees; which of them saved a file it says itself.

    Raises:
        UsageError: ``source-failed``, when it is no such file, or contradicts itself.
        UnsupportedModel: ``model-unknown-operator``, for what has no exact formula here, by name.
    """
    document = _document(data)
    if "learner" not in document and "features_info" in document:
        hint = "Save it with format='onnx'; or as .cbm, which `verifai export FILE -o model.onnx --trust-pickle` reads."
        raise UsageError("source-failed", "not a model of XGBoost but one of CatBoost, as JSON", hint=hint)
    learner = _table(document, "learner")
    parameters, objective = _table(learner, "learner_model_param"), _table(learner, "objective").get("name")
    if objective not in _LINKS:
        raise unsupported(f"XGBoost's objective {str(objective)[:40]!r} has no formula here", _KNOWN)
    columns = integer(parameters.get("num_feature"), 1, MAX_COLUMNS, "num_feature")
    classes = integer(parameters.get("num_class", "0"), 0, MAX_OUTPUTS, "num_class")
    targets = integer(parameters.get("num_target", "1"), 1, MAX_OUTPUTS, "num_target")
    outputs = max(classes, targets, 1)
    link = _LINKS[objective]
    if (link is Link.SOFTMAX) != (classes > 1):
        raise inconsistent("its objective does not fit its number of classes")
    model, drops = _booster(_table(learner, "gradient_booster"))
    best = _best(learner.get("attributes"))
    forest, gaps = _forest(model, drops, outputs, columns, best)
    kinds, note = _coded(model.get("cats"), columns)
    two = 2 if objective in ("binary:logistic", "binary:logitraw") and outputs == 1 else 0
    names = learner.get("feature_names")
    return Boosted(
        forest=recoded(forest, kinds, gaps),
        coded=kinds,
        notes=tuple(one for one in (note, "" if best is None or best.by_estimator else _ALL_TREES) if one),
        rounds=best.rounds if best is not None and best.by_estimator else 0,
        base=_base(parameters.get("base_score"), outputs, objective),
        columns=columns,
        link=link,
        classes=classes or (two if objective == "binary:logistic" else 0),
        names=plain_names(names, columns) if isinstance(names, list) else (),
    )


_KNOWN = "Known are: " + ", ".join(sorted(_LINKS)) + "."


_ALL_TREES = (
    "Training stopped early, but no estimator saved this file: the exported model uses all trees, as Booster.predict does; "
    "XGBClassifier and its like would use those up to the best iteration."
)


def _forest(
    model: dict[str, Any], drops: list[float] | None, outputs: int, columns: int, best: _Best | None
) -> tuple[Forest, dict[int, bool]]:
    """The trees that predictions are made with, and for which nodes a missing value passes the test."""
    grower, gaps = Grower.empty(), dict[int, bool]()
    trees, owners = model.get("trees"), model.get("tree_info")
    if not isinstance(trees, list) or not isinstance(owners, list) or len(trees) != len(owners):
        raise inconsistent("trees and tree_info differ in length")
    if drops is not None and len(drops) != len(trees):
        raise inconsistent("it has another number of dropout weights than trees")
    used = _used(model, best, outputs, len(trees))
    for place, (tree, owner) in enumerate(zip(trees[:used], owners[:used], strict=True)):
        if not isinstance(tree, dict):
            raise inconsistent("a tree is no object")
        factor = 1.0 if drops is None else drops[place]
        _add(grower, tree, integer(owner, 0, outputs - 1, "tree_info"), columns, factor, gaps)
    return grower.done(), gaps


@dataclass(frozen=True)
class _Best:
    """Early stopping: how many rounds it found best, and whether an estimator saved the file, which predicts with these."""

    rounds: int
    by_estimator: bool


def _best(attributes: Any) -> _Best | None:
    if not isinstance(attributes, dict) or attributes.get("best_iteration") is None:
        return None
    rounds = integer(attributes["best_iteration"], 0, _MAX_ROUNDS, "best_iteration") + 1
    return _Best(rounds, attributes.get("scikit_learn") is not None)


def _used(model: dict[str, Any], best: _Best | None, outputs: int, trees: int) -> int:
    """How many of the trees, which are in the order of the rounds, predictions are made with."""
    if best is None or not best.by_estimator:
        return trees
    ends = model.get("iteration_indptr")
    if ends is None:
        # A release before 2.0 does not keep them.
        parallel = integer(
            _table(model, "gbtree_model_param").get("num_parallel_tree", "1"), 1, MAX_OUTPUTS, "num_parallel_tree"
        )
        ends = list(range(0, trees + 1, max(parallel, 1) * outputs))
    places = [integer(one, 0, trees, "iteration_indptr") for one in _listed(ends, len(ends) if isinstance(ends, list) else 1)]
    if places != sorted(places) or len(places) <= best.rounds or places[0] != 0 or places[-1] != trees:
        raise inconsistent("its best iteration is none of its rounds")
    return places[best.rounds]


def _document(data: bytes) -> dict[str, Any]:
    if re.match(rb"\s*\{\s*\"", data[:64]):
        try:
            found = json.loads(data)
        except (ValueError, RecursionError):
            raise inconsistent("its JSON cannot be read") from None
    elif data[:1] == b"{":
        found = ubjson.loads(data)
    else:
        raise inconsistent("it is neither JSON nor UBJSON")
    if not isinstance(found, dict):
        raise inconsistent("it is no object")
    return found


def _table(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    if not isinstance(found, dict):
        raise inconsistent(f"{name} is missing")
    return found


def _booster(booster: dict[str, Any]) -> tuple[dict[str, Any], list[float] | None]:
    """The trees' table; with DART the weight of each."""
    name = booster.get("name")
    if name == "dart":
        drops = booster.get("weight_drop")
        inner = _table(booster, "gbtree")
        count = len(drops) if isinstance(drops, list) else -1
        model, weights = _table(inner, "model"), numbers(drops, count, "weight_drop")
    elif name == "gbtree":
        model, weights = _table(booster, "model"), None
    else:
        raise unsupported(
            f"XGBoost's booster {str(name)[:40]!r} has no trees", "Train with booster='gbtree', or a linear model."
        )
    return model, weights


_CODES = (
    "XGBoost keeps texts with other letters than ASCII cut wrongly; the exported model takes the codes of all categories, "
    "from 0, in the order of the table that the model was trained on."
)


def _coded(cats: Any, columns: int) -> tuple[dict[int, Coded], str]:
    """The categories of each column that XGBoost (since 3.1) codes itself, and what to say where the model takes codes.

    Texts are bytes with their ends. XGBoost 3.2 counts ends in letters, so that texts which are not ASCII are cut at other
    places, and the last ones lost: what they were cannot be known.
    """
    lists = cats.get("enc") if isinstance(cats, dict) else None
    if not lists:
        return {}, ""
    if not isinstance(lists, list) or len(lists) != columns or not all(isinstance(one, dict) for one in lists):
        raise inconsistent("it has another number of lists of categories than of columns")
    found = {}
    for column, one in enumerate(lists):
        values, ends = one.get("values"), one.get("offsets")
        if not isinstance(values, list) or not isinstance(ends, (list, type(None))):
            raise inconsistent("a list of categories is none")
        known = values if ends is None else _texts(values, ends)
        if not all(isinstance(one, (int, float)) or one.isascii() for one in known):
            return {}, _CODES
        if known:
            found[column] = coded(known, "XGBoost", others=False)
    return found, ""


def _texts(values: list[Any], ends: list[Any]) -> list[str]:
    data = bytes(integer(one, -128, 255, "a category") & 0xFF for one in values)
    places = [integer(one, 0, len(data), "a category") for one in ends]
    if places and (places[0] != 0 or places[-1] != len(data) or places != sorted(places)):
        raise inconsistent("its categories do not fill their bytes")
    return [data[low:high].decode("utf-8", errors="replace") for low, high in pairwise(places)]


def _base(text: Any, outputs: int, objective: str) -> tuple[float, ...]:
    """What sums start from. The file has it as predictions are: a probability, a mean."""
    if not isinstance(text, str):
        raise inconsistent("base_score is missing")
    try:
        values = [float(one) for one in text.strip().strip("[]").split(",")]
    except ValueError:
        raise inconsistent("base_score is no number") from None
    values = values * outputs if len(values) == 1 else values
    if len(values) != outputs or not np.isfinite(values).all():
        raise inconsistent("base_score does not fit its outputs")
    found = np.array(values, np.float64)
    if objective in (*_SIGMOIDS, "binary:logitraw"):
        if ((found <= 0) | (found >= 1)).any():
            raise inconsistent("base_score is no probability")
        found = -np.log(1.0 / found - 1.0)
    elif _LINKS[objective] is Link.EXPONENTIAL:
        if (found <= 0).any():
            raise inconsistent("base_score is not positive")
        found = np.log(found)
    return tuple(found.tolist())


def _add(grower: Grower, tree: dict[str, Any], output: int, columns: int, factor: float, gaps: dict[int, bool]) -> None:
    parameters = _table(tree, "tree_param")
    if integer(parameters.get("size_leaf_vector", "1"), 0, MAX_OUTPUTS, "size_leaf_vector") > 1:
        raise unsupported("XGBoost's trees with vectors as leaves have no formula here", "Train with one tree per output.")
    left, right = (tree.get(f"{side}_children") for side in ("left", "right"))
    count = len(left) if isinstance(left, list) else 0
    if not count:
        raise inconsistent("a tree has no nodes")
    children = [[integer(one, -1, count - 1, "a child") for one in _listed(side, count)] for side in (left, right)]
    # float32, of which JSON has the shortest decimals.
    with np.errstate(over="ignore"):
        conditions = np.array(
            numbers(tree.get("split_conditions"), count, "split_conditions", finite=False), np.float32
        ).tolist()
    read_from = [integer(one, 0, MAX_COLUMNS, "split_indices") for one in _listed(tree.get("split_indices"), count)]
    kinds = _listed(tree.get("split_type") or [0] * count, count)
    lefts = [int(one) if isinstance(one, bool) else one for one in _listed(tree.get("default_left") or [0] * count, count)]
    sets = _categories(tree)
    start = grower.start()
    grower.roots.append(start)
    for node in range(count):
        yes, no = children[0][node], children[1][node]
        if yes == -1 or no == -1:
            if yes != no or not np.isfinite(conditions[node]):
                raise inconsistent("a leaf has one child, or no value")
            grower.weights[start + node] = {output: factor * conditions[node]}
            continue
        if read_from[node] >= columns:
            raise inconsistent("a tree reads a column that there is not")
        if integer(kinds[node], 0, 1, "split_type") == 0:
            branch = Branching(read_from[node], "BRANCH_LT", conditions[node], start + yes, start + no)
        else:
            # XGBoost takes no number from 2²⁴ on for a category.
            known = (one for one in sets.get(node, []) if one < _MAX_CATEGORY)
            between = merged((next_below(float(one)), next_below(float(one + 1))) for one in known)
            if not between:
                raise inconsistent("a set of categories is empty")
            branch = Branching(read_from[node], "BRANCH_BETWEEN", 0.0, start + no, start + yes, between=between)
        grower.inner[start + node] = branch
        # Right is where the members of a set go.
        gaps[start + node] = (integer(lefts[node], 0, 1, "default_left") == 1) == (branch.mode == "BRANCH_LT")


def _listed(values: Any, count: int) -> list[Any]:
    if not isinstance(values, list) or len(values) != count:
        raise inconsistent("a tree's lists differ in length")
    return values


def _categories(tree: dict[str, Any]) -> dict[int, list[int]]:
    """The set of each node that has one."""
    names = ("categories_nodes", "categories_segments", "categories_sizes", "categories")
    lists = [tree.get(name) or [] for name in names]
    if not all(isinstance(one, list) for one in lists) or len({len(one) for one in lists[:3]}) != 1:
        raise inconsistent("a tree's categories differ in length")
    nodes, starts, sizes, values = ([integer(value, 0, _MAX_CATEGORY, "a category") for value in one] for one in lists)
    if sum(sizes) > len(values):
        # Nor may they overlap: what is read is as long as the file then.
        raise inconsistent("its sets of categories are longer than all of them")
    found = {}
    for node, start, size in zip(nodes, starts, sizes, strict=True):
        if start + size > len(values):
            raise inconsistent("a set of categories ends beyond the others")
        found[node] = values[start : start + size]
    return found
