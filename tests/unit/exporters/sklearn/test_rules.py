"""The tables of rules: complete in the documentation, real classes of scikit-learn, each rule in one place."""

from __future__ import annotations

import re
from dataclasses import fields

import pytest

pytest.importorskip("sklearn", reason="needs the [sklearn] extra")

from sklearn.utils import all_estimators

from tests.support.paths import ROOT
from verifai.exporters.sklearn.build import Rules
from verifai.exporters.sklearn.rules import RULES

NAMES = {name for table in fields(Rules) for name in getattr(RULES, table.name)}
EXPERIMENTAL = {"HalvingGridSearchCV", "HalvingRandomSearchCV", "IterativeImputer"}
DOCUMENTED = set(re.findall(r"\b[A-Z]\w+\b", (ROOT / "docs" / "sklearn.md").read_text()))


def test_every_class_with_a_rule_is_documented() -> None:
    assert sorted(NAMES - DOCUMENTED) == []


def test_every_documented_estimator_has_a_rule() -> None:
    real = {name for name, _ in all_estimators()}
    assert sorted((DOCUMENTED & real) - NAMES - {"NMF"}) == []


def test_rules_are_for_classes_that_exist() -> None:
    real = {name for name, _ in all_estimators()} | EXPERIMENTAL
    # Older releases lack the newest ones.
    assert sorted(NAMES - real - {"FrozenEstimator"}) == []
