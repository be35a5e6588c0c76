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
from verifai.onnx_graph.passes.trees import Branching, Forest

_MAX_CATEGORIES = 1 << 20
_NOWHERE = ((np.inf, np.inf),)
"""An interval without a number."""


@dataclass(frozen=True)
class Coded:
    """The categories of a column, in the order of their codes.

    Attributes:
        texts: or ``numbers``; the other is empty. others: whether the library takes what is none of them, as a missing value.
    """

    texts: tuple[str, ...]
    numbers: tuple[float, ...]
    others: bool

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
        return Coded(tuple(values), (), others)
    if not all(isinstance(one, (int, float)) for one in values):
        raise UnsupportedModel("model-unknown-operator", f"{library} has categories that are texts and other values", hint=hint)
    found = np.array([float(one) for one in values])
    if not np.array_equal(found.astype(np.float32).astype(np.float64), found):
        raise UnsupportedModel(
            "model-unknown-operator", f"{library} has categories that are no exact float32 numbers", hint=hint
        )
    return Coded((), tuple(found.tolist()), others)


def recoded(forest: Forest, columns: Mapping[int, Coded]) -> Forest:
    """The forest with questions about the numbers of a column, where its trees ask about their codes."""
    if not any(one.numbers for one in columns.values()):
        return forest
    inner = {
        number: _of_numbers(branch, columns[branch.column].numbers)
        if branch.column in columns and columns[branch.column].numbers
        else branch
        for number, branch in forest.inner.items()
    }
    return replace(forest, inner=inner)


def _of_numbers(branch: Branching, numbers: Sequence[float]) -> Branching:
    codes = np.arange(len(numbers), dtype=np.float64)
    if branch.mode == "BRANCH_BETWEEN":
        met = np.zeros(len(codes), bool)
        for low, high in branch.between:
            met |= (codes > low) & (codes <= high)
        rest = False
    else:
        met = codes < branch.threshold if branch.mode == "BRANCH_LT" else codes <= branch.threshold
        # A missing value is 0 to a split of numbers that knew none in training.
        rest = bool(branch.threshold > 0.0 or (branch.mode != "BRANCH_LT" and branch.threshold == 0.0))
    members = tuple(number for number, one in zip(numbers, met.tolist(), strict=True) if one != rest)
    yes, no = (branch.no, branch.yes) if rest else (branch.yes, branch.no)
    if not members:
        return Branching(branch.column, "BRANCH_BETWEEN", 0.0, yes, no, between=_NOWHERE)
    return Branching(branch.column, "BRANCH_MEMBER", 0.0, yes, no, members=members)
