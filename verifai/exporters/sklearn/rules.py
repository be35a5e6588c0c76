"""All rules, from the files that hold them."""

from __future__ import annotations

from dataclasses import fields

from verifai.exporters.sklearn import (
    bayes,
    ensembles,
    histograms,
    kernels,
    linear,
    neighbours,
    neural,
    quantiles,
    scaling,
    selection,
    support,
    trees,
)
from verifai.exporters.sklearn.build import Rule, Rules

_FILES = (linear, neural, bayes, support, kernels, neighbours, scaling, quantiles, selection, ensembles, trees, histograms)


def _merged(table: str) -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for module in _FILES:
        rules: dict[str, Rule] = dict(getattr(module.RULES, table))
        twice = found.keys() & rules.keys()
        if twice:
            raise ValueError(f"two rules in {table} for {sorted(twice)}")
        found |= rules
    return found


RULES = Rules(**{table.name: _merged(table.name) for table in fields(Rules)})
