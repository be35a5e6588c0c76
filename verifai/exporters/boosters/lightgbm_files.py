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

from verifai.errors import UnsupportedModel
from verifai.exporters.boosters.boosted import (
    MAX_COLUMNS,
    MAX_OUTPUTS,
    Boosted,
    Grower,
    Link,
    inconsistent,
    integer,
    plain_names,
    unsupported,
)
from verifai.exporters.boosters.coded import Coded, coded, recoded
from verifai.onnx_graph.passes.trees import Branching

_CATEGORICAL, _DEFAULT_LEFT = 1, 2
_MISSING_IS_ZERO, _MISSING_IS_NAN = 1, 2
_MAX_WORDS = 1 << 20
"""Of 32 categories each, in the sets of all trees."""
_MAX_PLACES = 1 << 25
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
    gaps: dict[int, bool] = {}
    words_left = _MAX_WORDS
    for place, block in enumerate(blocks):
        own = _fields(block.split("\nend of trees")[0])
        sets, words_left = _sets(own, words_left)
        _add(grower, own, place % outputs, columns, sets, gaps)
    if len(blocks) % outputs:
        raise inconsistent("its trees do not fit its classes")
    rounds = len(blocks) // outputs
    scale = 1.0 / rounds if "average_output" in head.split("\n") else 1.0
    several = objective in ("multiclass", "multiclassova")
    if several != (classes > 1) or classes != (outputs if several else 1):
        raise inconsistent("its objective does not fit its number of classes")
    kinds, note = _coded(text, fields, columns)
    return Boosted(
        forest=recoded(grower.done(), kinds, gaps),
        coded=kinds,
        notes=(note,) if note else (),
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

    Raises:
        UnsupportedModel: ``model-size-bomb``.
    """
    if (len(sizes) + 1) * (len(infos) + 1) > _MAX_PLACES:
        raise UnsupportedModel("model-size-bomb", f"{len(sizes):,} lists of categories for {len(infos):,} columns are too many")
    above, largest = np.array(sizes, np.float64), [_largest_code(info) for info in infos]
    # ways[c, k]: how many ways, up to 2, the first c columns hold the first k lists, and none of the others.
    ways = np.zeros((len(infos) + 1, len(sizes) + 1), np.uint8)
    ways[0, 0] = 1
    for column, code in enumerate(largest):
        if not (all_declared and column in declared):
            ways[column + 1] = ways[column]
        ways[column + 1, 1:] += np.where(code < above, ways[column, :-1], np.uint8(0))
        np.minimum(ways[column + 1], 2, out=ways[column + 1])
    if ways[-1, -1] != 1:
        return None
    chosen, count = [], len(sizes)
    for column in reversed(range(len(infos))):
        if count and largest[column] < sizes[count - 1] and ways[column, count - 1]:
            chosen.append(column)
            count -= 1
    return chosen[::-1]


def _largest_code(info: str) -> float:
    """The largest of a column's values, where they may be codes; else infinity. A constant column may be of any one code."""
    if info == "none":
        return -1.0
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


def _add(
    grower: Grower, fields: dict[str, str], output: int, columns: int, sets: Sequence[_Set], gaps: dict[int, bool]
) -> None:
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

    def place(child: int) -> int:
        return start + (child if child >= 0 else inner + ~child)

    for node in range(inner):
        yes, no = place(sides[0][node]), place(sides[1][node])
        column, kind = read_from[node], kinds[node]
        if kind & _CATEGORICAL:
            number = thresholds[node]
            if not 0 <= number < len(sets) or number != int(number) or not sets[int(number)]:
                raise inconsistent("a node has no set of categories")
            grower.inner[start + node] = Branching(column, "BRANCH_BETWEEN", 0.0, yes, no, between=sets[int(number)])
            continue
        if kind >> 2 == _MISSING_IS_ZERO:
            raise unsupported("LightGBM takes zeros for missing values in this model", "Train with zero_as_missing=False.")
        if kind >> 2 == _MISSING_IS_NAN:
            gaps[start + node] = bool(kind & _DEFAULT_LEFT)
        grower.inner[start + node] = Branching(column, "BRANCH_LEQ", _beside_zero(thresholds[node]), yes, no)


def _beside_zero(threshold: float) -> float:
    """The threshold as x meets it: LightGBM takes every x of at most ``_ZERO`` in size for 0."""
    if -_ZERO <= threshold < 0:
        return nextafter(-_ZERO, -inf)
    return _ZERO if 0 <= threshold < _ZERO else threshold


_Set = tuple[tuple[float, float], ...]


def _sets(fields: dict[str, str], left: int) -> tuple[list[_Set], int]:
    """The sets of categories, bits in words of 32, as intervals that nodes share; and how many words the other trees may have.

    Raises UsageError (``source-failed``), UnsupportedModel (``model-size-bomb``).
    """
    if not integer(fields.get("num_cat", "0"), 0, 1 << 24, "num_cat"):
        return [], left
    bounds = _integers(fields, "cat_boundaries", None, 0, 1 << 24)
    words = _integers(fields, "cat_threshold", None, 0, (1 << 32) - 1)
    if len(words) > left:
        hint = "Number categories from 0, or train fewer trees."
        raise UnsupportedModel("model-size-bomb", f"its sets have more than {32 * _MAX_WORDS:,} bits", hint=hint)
    found: list[_Set] = []
    for first, last in pairwise(bounds):
        if not first <= last <= len(words):
            raise inconsistent("a set of categories ends beyond the others")
        bits = np.unpackbits(np.array(words[first:last], "<u4").view(np.uint8), bitorder="little")
        # Where runs of ones begin, and where they end.
        runs = np.flatnonzero(np.diff(bits, prepend=np.uint8(0), append=np.uint8(0)))
        near = runs.astype(np.float32)
        ends = np.where(near < runs, near, np.nextafter(near, np.float32(-np.inf))).astype(np.float64)
        # The whole part of a number between −1 and 1 is 0.
        ends[runs == 0] = -1.0
        found.append(tuple((low, high) for low, high in ends.reshape(-1, 2).tolist()))
    return found, left - len(words)
