"""Columns that a library codes before its trees read them: the categories of a table (pandas' and others'), each by its place.

The trees ask of a code. For a column of texts the model takes that code, as it does wherever texts are. For one of numbers it
takes the number itself, as the table holds it: a question about codes becomes one about the numbers that have them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verifai.errors import UnsupportedModel
from verifai.exporters.sklearn.writer import Array
from verifai.onnx_graph.passes.trees import MAX_MEMBERS, Branching, Forest

_MAX_CATEGORIES = 1 << 20
_MAX_LOOKED = 1 << 26
"""Codes that are compared with the thresholds and sets of all trees."""
_LARGEST = 2.0**200
_NOWHERE = ((np.inf, np.inf),)
"""An interval without a number."""


@dataclass(frozen=True)
class Coded:
    """The categories of a column, in the order of their codes.

    Attributes:
        texts: or ``numbers``; the other is empty. others: whether the library takes what is none of them, as a missing value.
        library: its name.
    """

    texts: tuple[str, ...]
    numbers: tuple[float, ...]
    others: bool
    library: str

    @property
    def values(self) -> tuple[Any, ...]:
        """Whichever they are; whole numbers as such, which XGBoost asks for."""
        whole = all(number.is_integer() for number in self.numbers)
        return self.texts or (tuple(int(number) for number in self.numbers) if whole else self.numbers)

    def codes(self, cells: Array) -> Array:
        """What the trees read where the model is given ``cells``; NaN for what is none of the categories."""
        if self.texts:
            return np.where(np.isin(cells, np.arange(len(self.texts))), cells, np.nan)
        found = np.full(cells.shape, np.nan)
        for code, number in enumerate(self.numbers):
            found[cells == number] = code
        return found


def coded(values: Sequence[Any], library: str, *, others: bool) -> Coded:
    """The categories of one column as a file lists them. Raises UnsupportedModel (``model-unknown-operator``)."""
    hint = "Use texts, or whole numbers, as categories."
    if len(values) > _MAX_CATEGORIES or len(set(map(repr, values))) < len(values):
        raise UnsupportedModel("model-unknown-operator", f"{library} knows a category twice, or too many", hint=hint)
    if all(isinstance(one, str) for one in values):
        return Coded(tuple(values), (), others, library)
    if not all(isinstance(one, (int, float)) for one in values):
        raise UnsupportedModel("model-unknown-operator", f"{library} has categories that are texts and other values", hint=hint)
    # An integer may be too large even for float64.
    found = np.array([float(one) if abs(one) < _LARGEST else np.nan for one in values])
    if not np.array_equal(found.astype(np.float32).astype(np.float64), found):
        raise UnsupportedModel(
            "model-unknown-operator", f"{library} has categories that are no exact float32 numbers", hint=hint
        )
    if len(np.unique(found)) < len(found):
        raise UnsupportedModel("model-unknown-operator", f"{library} knows a category twice", hint=hint)
    return Coded((), tuple(found.tolist()), others, library)


def recoded(forest: Forest, columns: Mapping[int, Coded], gaps: Mapping[int, bool] | None = None) -> Forest:
    """The forest with questions about the numbers of a column, where its trees ask about their codes.

    Args:
        gaps: for nodes that say where a missing value goes, whether the branch's test holds for it; to the others it is 0, and
            none of their categories.

    Raises:
        UnsupportedModel: ``model-size-bomb``.
    """
    if not any(one.numbers for one in columns.values()):
        return forest
    codes = {column: np.arange(len(one.numbers), dtype=np.float64) for column, one in columns.items() if one.numbers}
    inner, looked, named = dict(forest.inner), 0, 0
    # Trees of one file share the intervals of a set, and ask for one threshold again and again.
    known: dict[tuple[int, int, str, float], Array] = {}
    for number, branch in forest.inner.items():
        if branch.column not in codes:
            continue
        key = (branch.column, id(branch.between) if branch.between else 0, branch.mode, branch.threshold)
        if key not in known:
            looked += len(codes[branch.column])
            if looked > _MAX_LOOKED:
                raise _too_many(looked)
            known[key] = _met(branch, codes[branch.column])
        rest = _rest(branch, (gaps or {}).get(number))
        aside = np.flatnonzero(known[key] != rest)
        named += len(aside)
        if named > MAX_MEMBERS:
            raise _too_many(named)
        inner[number] = _of_numbers(branch, columns[branch.column].numbers, aside, rest)
    return replace(forest, inner=inner)


def _too_many(count: int) -> UnsupportedModel:
    return UnsupportedModel(
        "model-size-bomb",
        f"the trees ask for {count:,} categories of numbers or more",
        hint="Train with fewer or smaller trees.",
    )


def _met(branch: Branching, codes: Array) -> Array:
    """For which codes, ascending, the branch's test holds."""
    if branch.mode == "BRANCH_BETWEEN":
        # Intervals in order: x is in one where an odd number of ends are below it.
        below = np.searchsorted(np.array(branch.between).reshape(-1), codes, side="left")
        return np.asarray(below % 2 == 1)
    return codes < branch.threshold if branch.mode == "BRANCH_LT" else codes <= branch.threshold


def _rest(branch: Branching, gap: bool | None) -> bool:
    """Whether the branch's test holds for what is none of the numbers."""
    if gap is not None:
        return gap
    # A missing value is 0 to a split of numbers that knew none in training, and in no set.
    if branch.mode == "BRANCH_BETWEEN":
        return False
    return bool(branch.threshold > 0.0 or (branch.mode != "BRANCH_LT" and branch.threshold == 0.0))


def _of_numbers(branch: Branching, numbers: Sequence[float], aside: Array, rest: bool) -> Branching:
    """The same question about numbers, of which those at the places ``aside`` do not go with the rest."""
    members = tuple(numbers[place] for place in aside.tolist())
    yes, no = (branch.no, branch.yes) if rest else (branch.yes, branch.no)
    if not members:
        return Branching(branch.column, "BRANCH_BETWEEN", 0.0, yes, no, between=_NOWHERE)
    return Branching(branch.column, "BRANCH_MEMBER", 0.0, yes, no, members=members)
