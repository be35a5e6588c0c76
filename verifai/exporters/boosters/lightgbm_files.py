"""LightGBM's text models (``Booster.save_model``) as forests.

A node sends x to its left child just when x ≤ threshold, in double precision; a node of a category set, just when the whole
part of x is in the set. Children below 0 are leaves, ~number. Source: LightGBM, src/boosting/gbdt_model_text.cpp,
src/io/tree.cpp, include/LightGBM/tree.h, release 4.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence, Set
from itertools import pairwise
from math import inf, nextafter

import numpy as np

from verifai.exporters.boosters.boosted import (
    MAX_COLUMNS,
    MAX_OUTPUTS,
    Boosted,
    Grower,
    Link,
    inconsistent,
    integer,
    merged,
    plain_names,
    unsupported,
)
from verifai.exporters.boosters.coded import Coded, coded, recoded
from verifai.onnx_graph.passes.trees import Branching, below, next_below

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_IS_ZERO = 1
_MAX_TREES = 1 << 20
_ZERO = float(np.float32(1e-35))
"""kZeroThreshold of include/LightGBM/meta.h."""
_LINKS: dict[str, Link] = {
    **dict.fromkeys(("binary", "cross_entropy", "xentropy", "multiclassova"), Link.SIGMOID),
    **dict.fromkeys(("multiclass",), Link.SOFTMAX),
    **dict.fromkeys(("poisson", "gamma", "tweedie"), Link.EXPONENTIAL),
    **dict.fromkeys(("regression", "regression_l1", "huber", "fair", "quantile", "mape"), Link.IDENTITY),
    **dict.fromkeys(("lambdarank", "rank_xendcg", "custom", "none", ""), Link.IDENTITY),
}  # fmt: skip


def read(data: bytes) -> Boosted:
    """The model in a file.

    Raises:
        UsageError: ``source-failed``, when it is no such file, or contradicts itself.
        UnsupportedModel: ``model-unknown-operator``, for what has no exact formula here, by name.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise inconsistent("it is not text") from None
    head, *blocks = re.split(r"^Tree=", text, flags=re.MULTILINE)
    if not head.startswith("tree\n") or not blocks or len(blocks) > _MAX_TREES:
        raise inconsistent("it does not begin as LightGBM's models do, or has no tree")
    fields = _fields(head)
    columns = integer(fields.get("max_feature_idx"), 0, MAX_COLUMNS - 1, "max_feature_idx") + 1
    classes = integer(fields.get("num_class"), 1, MAX_OUTPUTS, "num_class")
    outputs = integer(fields.get("num_tree_per_iteration"), 1, MAX_OUTPUTS, "num_tree_per_iteration")
    words = fields.get("objective", "").split()
    objective, parameters = (words[0] if words else ""), dict(word.partition(":")[::2] for word in words[1:])
    if objective not in _LINKS or "sqrt" in words:
        hint = "Known are: " + ", ".join(sorted(name for name in _LINKS if name)) + "."
        raise unsupported(f"LightGBM's objective {' '.join(words)[:60]!r} has no formula here", hint)
    sigmoid = _number(parameters.get("sigmoid", "1"))
    grower = Grower.empty()
    for place, block in enumerate(blocks):
        _add(grower, _fields(block.split("\nend of trees")[0]), place % outputs, columns)
    if len(blocks) % outputs:
        raise inconsistent("its trees do not fit its classes")
    rounds = len(blocks) // outputs
    scale = 1.0 / rounds if "average_output" in head.split("\n") else 1.0
    several = objective in ("multiclass", "multiclassova")
    if several != (classes > 1) or classes != (outputs if several else 1):
        raise inconsistent("its objective does not fit its number of classes")
    kinds, note = _coded(text, fields, columns)
    return Boosted(
        forest=recoded(grower.done(), kinds),
        coded=kinds,
        note=note,
        base=(0.0,) * outputs,
        columns=columns,
        link=_LINKS[objective],
        classes=classes if several else 2 if objective == "binary" else 0,
        factor=scale * (sigmoid if objective in ("binary", "multiclassova") else 1.0),
        double=True,
        names=plain_names(fields.get("feature_names", "").split(" "), columns),
    )


_TABLE = "\npandas_categorical:"
_DECLARED = re.compile(r"^\[categorical_feature: ([0-9,]*)\]$", re.MULTILINE)


def _coded(text: str, fields: Mapping[str, str], columns: int) -> tuple[dict[int, Coded], str]:
    """The categories that LightGBM's package for Python codes: lists at the end of the file, in the order of the columns; and
    what to say where no column is known for them.

    The file names the columns that its trees take for categories. Ordered categories, which are split as numbers, it does not
    name; a column whose values may be a list's codes is one of those. Where that fits in two ways, the model takes codes.
    """
    _, mark, last = text.rpartition(_TABLE)
    try:
        lists = json.loads(last) if mark else None
    except (ValueError, RecursionError):
        raise inconsistent("its categories cannot be read") from None
    if not lists or not isinstance(lists, list) or not all(isinstance(one, list) for one in lists):
        return {}, ""
    named = _DECLARED.search(text)
    declared = {integer(one, 0, columns - 1, "a column") for one in named[1].split(",") if one} if named else set()
    infos = fields.get("feature_infos", "").split(" ")
    if len(infos) != columns or len(lists) > columns:
        raise inconsistent("feature_infos does not fit its columns")
    found = _placed([len(one) for one in lists], infos, declared, all_declared=True)
    found = found or _placed([len(one) for one in lists], infos, declared, all_declared=False)
    if found is None:
        return {}, "LightGBM codes categories of columns that it does not name; the exported model takes their codes, from 0."
    pairs = zip(found, lists, strict=True)
    return {place: coded(one, "LightGBM", others=place in declared) for place, one in pairs}, ""


def _placed(sizes: Sequence[int], infos: Sequence[str], declared: Set[int], *, all_declared: bool) -> list[int] | None:
    """The one way to give each list a column, in order; ``None`` where there is none, or a second one.

    Args:
        sizes: of the lists. infos: what the file says of each column's values. declared: the columns of categories.
    """
    # ways[k]: how many ways, up to 2, the columns so far hold the first k lists, and one of them.
    ways: list[tuple[int, list[int]]] = [(1, []), *[(0, [])] * len(sizes)]
    for column, info in enumerate(infos):
        following = list(ways) if not (all_declared and column in declared) else [(0, [])] * len(ways)
        for count, size in enumerate(sizes):
            number, chosen = ways[count]
            if number and _largest_code(info) < size:
                before = following[count + 1]
                following[count + 1] = (min(2, before[0] + number), [*chosen, column])
        ways = following
    return ways[-1][1] if ways[-1][0] == 1 else None


def _largest_code(info: str) -> float:
    """The largest of a column's values, where they may be codes; else infinity."""
    listed = re.fullmatch(r"\[(\d{1,9}):(\d{1,9})\]", info)
    if listed:
        return float(listed[2])
    words = info.split(":")
    return max(map(float, words)) if all(re.fullmatch(r"-?\d{1,9}", word) for word in words) else np.inf


def _fields(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.split("\n"):
        key, mark, value = line.partition("=")
        if mark and key not in found:
            found[key] = value
    return found


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise inconsistent("a number of it is none") from None
    if np.isnan(value):
        raise inconsistent("a number of it is none")
    return value


def _numbers(fields: dict[str, str], name: str, count: int) -> list[float]:
    values = [_number(word) for word in fields.get(name, "").split()]
    if len(values) != count:
        raise inconsistent(f"{name} has {len(values)} entries, not {count}")
    return values


def _integers(fields: dict[str, str], name: str, count: int | None, low: int, high: int) -> list[int]:
    words = fields.get(name, "").split()
    if count is not None and len(words) != count:
        raise inconsistent(f"{name} has {len(words)} entries, not {count}")
    return [integer(word, low, high, name) for word in words]


def _add(grower: Grower, fields: dict[str, str], output: int, columns: int) -> None:
    leaves = integer(fields.get("num_leaves"), 1, 1 << 24, "num_leaves")
    if integer(fields.get("is_linear", "0"), 0, 1, "is_linear"):
        raise unsupported("LightGBM's linear trees have no formula here", "Train with linear_tree=False.")
    values = _numbers(fields, "leaf_value", leaves)
    if not np.isfinite(values).all():
        raise inconsistent("a leaf has no value")
    start, inner = grower.start(), leaves - 1
    grower.roots.append(start)
    for leaf, value in enumerate(values):
        grower.weights[start + inner + leaf] = {output: value}
    if not inner:
        return
    read_from = _integers(fields, "split_feature", inner, 0, columns - 1)
    thresholds, kinds = _numbers(fields, "threshold", inner), _integers(fields, "decision_type", inner, 0, 15)
    sides = [_integers(fields, f"{side}_child", inner, -leaves, inner - 1) for side in ("left", "right")]
    sets = _sets(fields)

    def place(child: int) -> int:
        return start + (child if child >= 0 else inner + ~child)

    for node in range(inner):
        yes, no = place(sides[0][node]), place(sides[1][node])
        column, kind = read_from[node], kinds[node]
        if kind & _CATEGORICAL:
            number = thresholds[node]
            if number != int(number) or not 0 <= number < len(sets) or not sets[int(number)]:
                raise inconsistent("a node has no set of categories")
            # The whole part of a number between −1 and 1 is 0.
            pairs = (
                (below(-1.0) if one == 0 else next_below(float(one)), next_below(float(one + 1))) for one in sets[int(number)]
            )
            grower.inner[start + node] = Branching(column, "BRANCH_BETWEEN", 0.0, yes, no, between=merged(pairs))
            continue
        if kind >> 2 == _MISSING_IS_ZERO:
            raise unsupported("LightGBM takes zeros for missing values in this model", "Train with zero_as_missing=False.")
        grower.inner[start + node] = Branching(column, "BRANCH_LEQ", _beside_zero(thresholds[node]), yes, no)


def _beside_zero(threshold: float) -> float:
    """The threshold as x meets it: LightGBM takes every x of at most ``_ZERO`` in size for 0."""
    if -_ZERO <= threshold < 0:
        return nextafter(-_ZERO, -inf)
    return _ZERO if 0 <= threshold < _ZERO else threshold


def _sets(fields: dict[str, str]) -> list[list[int]]:
    """The sets of categories: bits in words of 32."""
    if not integer(fields.get("num_cat", "0"), 0, 1 << 24, "num_cat"):
        return []
    bounds = _integers(fields, "cat_boundaries", None, 0, 1 << 24)
    words = _integers(fields, "cat_threshold", None, 0, (1 << 32) - 1)
    found = []
    for first, last in pairwise(bounds):
        if not first <= last <= len(words):
            raise inconsistent("a set of categories ends beyond the others")
        found.append([32 * at + bit for at, word in enumerate(words[first:last]) for bit in range(32) if word >> bit & 1])
    return found
