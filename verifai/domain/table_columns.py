"""Which columns of a table (CSV, Parquet) are which input of a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from verifai.domain.categories import Categories, placed
from verifai.domain.model_facts import ModelFacts


@dataclass(frozen=True, slots=True)
class TableColumns:
    """What is known of the columns.

    Attributes:
        names: by input, the names of its columns in order; an input that is not listed has none that are known.
        dropped: columns that are no input, such as the target; they are left out where a table has them.
        categories: by input, and by place in its columns, the texts that stand for numbers.
        named_only: whether columns that no input names are left out, and told; for a reader who compares a table with what was
            proven of some of its columns.
    """

    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()
    categories: Mapping[str, Mapping[int, Categories]] = field(default_factory=dict)
    named_only: bool = False


def known(facts: ModelFacts | None, dropped: Collection[str] = ()) -> TableColumns:
    """What the facts beside a model say of its columns."""
    if facts is None:
        return TableColumns(dropped=frozenset(dropped))
    names = {facts.input: facts.columns} if facts.columns else {}
    categories = {facts.input: placed(facts.categories, facts.columns)} if facts.categories else {}
    return TableColumns(names, frozenset(dropped), categories)


UNNAMED = TableColumns()
"""Nothing is known."""
