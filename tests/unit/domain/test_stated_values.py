"""Public tensors in signed documents: values up to a number of cells, and beyond it their digest; each in one spelling only."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from verifai.domain.record import Record
from verifai.domain.statement import MAX_STATED, Role, TensorStatement, Visibility, cells_digest
from verifai.errors import EvidenceRejected


def picture(cells: int) -> TensorStatement:
    values = tuple(place % 251 - 125 for place in range(cells))
    return TensorStatement(Role.INPUT, "picture", (1, cells), Visibility.PUBLIC, Fraction(1, 255), 0, values)


LARGE, SMALL = picture(MAX_STATED + 1), picture(MAX_STATED)


def read(document: dict[str, Any]) -> TensorStatement:
    return TensorStatement.from_record(Record(document, "tensor"))


def test_up_to_the_limit_the_values_are_listed() -> None:
    assert SMALL.attested() is SMALL
    assert read(SMALL.to_json()) == SMALL
    assert "quantised_sha256" not in SMALL.to_json()


def test_beyond_it_the_document_holds_their_digest() -> None:
    assert LARGE.quantised is not None
    document = LARGE.to_json()
    assert "quantised" not in document
    assert document["quantised_sha256"] == cells_digest(LARGE.quantised)
    assert read(document) == LARGE.attested() != LARGE
    assert LARGE.attested().to_json() == document


def test_the_digest_is_of_decimal_integers() -> None:
    assert cells_digest((1, -2, 30)) == "374e11904fb92509c5aab2df808822c2024562e8f98fafa23bba02ea14a59282"


@pytest.mark.parametrize("place", [0, 1, MAX_STATED])
def test_another_value_is_another_statement(place: int) -> None:
    assert LARGE.quantised is not None
    cells = list(LARGE.quantised)
    assert LARGE.attested().holds(cells)
    assert LARGE.holds(cells)
    cells[place] += 1
    assert not LARGE.attested().holds(cells)
    assert not LARGE.holds(cells)
    assert replace(LARGE, quantised=tuple(cells)).attested() != LARGE.attested()


def test_fewer_or_more_cells_are_not_those() -> None:
    assert LARGE.quantised is not None
    assert not LARGE.attested().holds(LARGE.quantised[:-1])
    assert not SMALL.holds((*SMALL.quantised, 0) if SMALL.quantised else ())


def test_a_digest_in_place_of_few_values_is_refused() -> None:
    document = SMALL.to_json()
    document["quantised_sha256"] = cells_digest(SMALL.quantised or ())
    with pytest.raises(EvidenceRejected):
        read(document)
    del document["quantised"]
    with pytest.raises(EvidenceRejected):
        read(document)


def test_values_in_place_of_the_digest_are_refused() -> None:
    document = LARGE.to_json()
    del document["quantised_sha256"]
    document["quantised"] = [str(cell) for cell in LARGE.quantised or ()]
    with pytest.raises(EvidenceRejected):
        read(document)
    with pytest.raises(EvidenceRejected):
        read({**LARGE.to_json(), "quantised": ["1"]})


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, 7, None])
def test_what_is_no_digest_is_refused(digest: Any) -> None:
    with pytest.raises(EvidenceRejected):
        read({**LARGE.to_json(), "quantised_sha256": digest})


def test_hidden_tensors_have_no_such_digest() -> None:
    hidden = TensorStatement(Role.INPUT, "picture", LARGE.shape, Visibility.PRIVATE, Fraction(1))
    with pytest.raises(EvidenceRejected):
        read({**hidden.to_json(), "quantised_sha256": "0" * 64})
