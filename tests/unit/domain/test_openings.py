"""Openings in a statement: one spelling, strict, and absent from every statement that needs none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate_world import World
from verifai.bundle import canonical
from verifai.domain.digest import Sha256
from verifai.domain.openings import OpenedBy, opening_words, repeated_openings
from verifai.domain.record import Record
from verifai.domain.statement import MAX_OPENINGS, CommitmentOpening, Statement
from verifai.errors import EvidenceRejected

A, B = Sha256("a" * 64), Sha256("b" * 64)
OPENING = CommitmentOpening("weights", A, 3, 16)


@pytest.fixture
def plain(tmp_path: Path) -> Statement:
    return World(tmp_path).statement(1)


def test_a_statement_without_openings_keeps_its_bytes(plain: Statement) -> None:
    assert set(plain.to_json()) == {
        "engine", "model_sha256", "circuit_sha256", "tensors", "context", "context_bound", "privacy", "weights",
    }  # fmt: skip
    assert Statement.from_record(Record(plain.to_json(), "")) == plain
    assert opening_words(plain) == []


def test_openings_are_written_read_and_said(plain: Statement) -> None:
    other = CommitmentOpening("hidden \x1b[31m", B, 0, 1)
    statement = replace(plain, openings=(OPENING, other))
    document = statement.to_json()
    assert document["openings"][0] == {"what": "weights", "root": A, "number": 3, "budget": 16}
    canonical.encode(document)
    assert Statement.from_record(Record(document, "")) == statement
    first, second = opening_words(statement)
    assert "opening 3 of 16 of the commitment to 'weights' (root aaaaaaaaaaaa…)" in first
    assert "\x1b" not in second


def bad(**changes: Any) -> dict[str, Any]:
    return {**OPENING.to_json(), **changes}


@pytest.mark.parametrize(
    "openings",
    [
        [],
        None,
        {},
        "opening",
        [1],
        [bad(number=16)],
        [bad(number=-1)],
        [bad(number=True)],
        [bad(number="3")],
        [bad(number=3.0)],
        [bad(budget=0, number=0)],
        [bad(budget=MAX_OPENINGS + 1)],
        [bad(root=A.upper())],
        [bad(root=A[:-1])],
        [bad(root=A + "\n")],
        [bad(what="")],
        [bad(what="w" * 513)],
        [bad(more=1)],
        [{"what": "weights", "root": A, "number": 3}],
        [bad(), bad()],
        [bad(), bad(what="another name for it")],
        [bad(), bad(number=4, budget=17)],
        [bad(root=f"{number:064x}") for number in range(513)],
    ],
)
def test_any_other_spelling_is_refused(plain: Statement, openings: Any) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        Statement.from_record(Record({**plain.to_json(), "openings": openings}, "statement"))
    assert "openings" in caught.value.where


@pytest.mark.parametrize(
    "fields", [("", A, 0, 1), ("w", "a" * 63, 0, 1), ("w", A, 1, 1), ("w", A, -1, 1), ("w", A, 0, MAX_OPENINGS + 1)]
)
def test_what_is_no_opening_cannot_be_made(fields: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match="opening"):
        CommitmentOpening(*fields)


def proof(where: str, digest: Sha256, *openings: CommitmentOpening) -> OpenedBy:
    return OpenedBy(where, digest, openings)


def test_only_different_proofs_with_one_root_and_number_repeat() -> None:
    found = repeated_openings(
        [
            proof("one", A, OPENING),
            None,
            proof("other root", Sha256("1" * 64), replace(OPENING, root=B)),
            proof("other number", Sha256("2" * 64), replace(OPENING, number=4)),
            proof("the same proof", A, OPENING),
            proof("none", Sha256("3" * 64)),
        ]
    )
    assert not any(found)
    found = repeated_openings([proof("one", A, OPENING), None, proof("two", B, replace(OPENING, what="said otherwise"))])
    assert [len(one) for one in found] == [1, 0, 1]
    for (finding,) in (found[0], found[2]):
        assert finding.code == "opening-repeated"
        assert "'one'" in finding.message
        assert "'two'" in finding.message
        assert A in finding.evidence
        assert B in finding.evidence
    assert (found[0][0].where, found[2][0].where) == ("two", "one")


def test_many_repeats_stay_readable() -> None:
    many = [proof(f"bundle {number}", Sha256(f"{number:064x}"), OPENING) for number in range(1000)]
    found = repeated_openings(many)
    assert all(len(one) == 1 and "and 996 more" in one[0].message and len(one[0].message) < 1000 for one in found)
