"""Fidelity in a lock: one spelling, older locks as they were, and nothing that a judge could stumble over."""

from __future__ import annotations

from typing import Any

import pytest

from verifai.domain.fidelity import Fidelity, LanguageFigures, OutputFigures, Task, parse_fidelity
from verifai.domain.record import Record
from verifai.errors import UsageError

OUTPUT = {"name": "y", "spread": [1.5], "low": -1.0, "high": 2.0}
OLD = {"samples": 4, "max_abs_error": 0.5, "mean_abs_error": 0.1, "worst_sample": 3}


def parse(document: dict[str, Any]) -> Fidelity:
    return parse_fidelity(Record(document, "lock", error=UsageError, code="bad-lock"))


def test_a_lock_without_the_newer_figures_keeps_its_document() -> None:
    assert parse(dict(OLD)).to_document() == OLD and parse(dict(OLD)).task is None


def test_what_is_written_is_read_back() -> None:
    figures = (
        OutputFigures("y", (1.5, 2.0), -1.0, 2.0, 0.5),
        OutputFigures("z", (1e-9,), 0.0, 0.0),
        OutputFigures("w", (1.0, 3.0), -1.0, 2.0, stride=5),
    )
    fidelity = Fidelity(4, 3, 0.5, 0.1, 3, 0.01, 0.99, 1, Task.MULTI_LABEL, figures)
    assert parse(fidelity.to_document()) == fidelity
    assert fidelity.output("z") is figures[1] and fidelity.output("none") is None
    assert [figures[0].spread_of(1), figures[1].spread_of(7)] == [2.0, 1e-9]
    assert [figures[2].spread_of(at) for at in (0, 4, 5, 9, 10)] == [1.0, 1.0, 3.0, 3.0, 1.0]


def test_figures_of_texts_are_read_back() -> None:
    for language in (LanguageFigures(90, 89, 4.5, 4.51), LanguageFigures(90, 90)):
        fidelity = Fidelity(4, 3, 1.0, 0.1, 3, task=Task.GENERATION, language=language)
        assert parse(fidelity.to_document()) == fidelity
        assert fidelity.top1_agreement == language.matches / 90


TEXTS = {"positions": 9, "matches": 8, "perplexity": 2.0, "circuit_perplexity": 2.0}


@pytest.mark.parametrize(
    "change",
    [
        {"task": "generation"},
        {"task": "regression", "language": TEXTS},
        {"task": "generation", "language": {**TEXTS, "matches": 10}},
        {"task": "generation", "language": {**TEXTS, "positions": 0}},
        {"task": "generation", "language": {**TEXTS, "perplexity": 0.5}},
        {"task": "generation", "language": {"positions": 9, "matches": 8, "circuit_perplexity": 2.0}},
        {"task": "generation", "language": {"positions": 9, "matches": 8, "perplexity": 2.0}},
        {"outputs": [OUTPUT]},
        {"task": "guessing"},
        {"task": "regression", "outputs": [OUTPUT, OUTPUT]},
        {"task": "regression", "outputs": [{**OUTPUT, "spread": []}]},
        {"task": "regression", "outputs": [{**OUTPUT, "stride": 4}]},
        {"task": "regression", "outputs": [{**OUTPUT, "spread": [1.0, 2.0], "stride": 1}]},
        {"task": "regression", "outputs": [{**OUTPUT, "spread": [1.0, 2.0], "stride": 0}]},
        {"task": "regression", "outputs": [{**OUTPUT, "spread": [0.0]}]},
        {"task": "regression", "outputs": [{**OUTPUT, "spread": [-1.0]}]},
        {"task": "regression", "outputs": [{**OUTPUT, "spread": [float("nan")]}]},
        {"task": "regression", "outputs": [{**OUTPUT, "spread": [float("inf")]}]},
        {"task": "regression", "outputs": [{**OUTPUT, "spread": [1.0] * 257}]},
        {"task": "regression", "outputs": [{**OUTPUT, "spread": [True]}]},
        {"task": "regression", "outputs": [{**OUTPUT, "low": 3.0}]},
        {"task": "regression", "outputs": [{**OUTPUT, "threshold": 0.7}]},
        {"task": "regression", "outputs": [{**OUTPUT, "weight": 1.0}]},
    ],
)
def test_figures_of_another_form_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError) as refused:
        parse({**OLD, **change})
    assert refused.value.code == "bad-lock" and refused.value.where.startswith("lock")
