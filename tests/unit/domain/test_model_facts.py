"""Facts about a model: strictly read, and read back as written."""

from __future__ import annotations

from typing import Any

import pytest

from verifai.domain.digest import Sha256
from verifai.domain.model_facts import MAX_NAME, ModelFacts, Task
from verifai.errors import UsageError

FACTS = ModelFacts(
    Sha256("ab" * 32), Task.CLASSIFICATION, "features", ("length", "width"), "probabilities", ("", "yes", "größer")
)


def test_what_is_written_is_read_back() -> None:
    for facts in (FACTS, ModelFacts(Sha256("0" * 64), Task.REGRESSION, "x", (), "y", ())):
        assert ModelFacts.from_document(facts.to_document(), "facts") == facts


MALFORMED: dict[str, dict[str, Any]] = {
    "another schema": {"schema": "verifai/model-facts/v2"},
    "an unknown field": {"accuracy": 1},
    "an unknown task": {"task": "guessing"},
    "no digest": {"model_sha256": "ab"},
    "no input": {"input": ""},
    "columns that are no list": {"columns": "length"},
    "a number as a label": {"labels": [1, 2]},
    "two labels alike": {"labels": ["a", "a"]},
    "two columns alike": {"columns": ["a", "a"]},
    "a label that is not printable": {"labels": ["a\x1b[31m"]},
    "a label that is too long": {"labels": ["a" * (MAX_NAME + 1)]},
    "too many labels": {"labels": [str(number) for number in range(100_001)]},
}


@pytest.mark.parametrize("name", MALFORMED)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        ModelFacts.from_document({**FACTS.to_document(), **MALFORMED[name]}, "m.facts.json")
    assert caught.value.code == "bad-facts"
    assert "m.facts.json" in caught.value.where


@pytest.mark.parametrize("field", FACTS.to_document())
def test_no_field_may_be_missing(field: str) -> None:
    document = FACTS.to_document()
    del document[field]
    with pytest.raises(UsageError) as caught:
        ModelFacts.from_document(document, "m.facts.json")
    assert field in caught.value.where


def test_a_document_is_an_object() -> None:
    for value in ([], "facts", None, 3):
        with pytest.raises(UsageError):
            ModelFacts.from_document(value, "m.facts.json")
