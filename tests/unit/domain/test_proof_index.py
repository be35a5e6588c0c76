"""The index of a batch: what is no index is refused with its line, and what a crash cut short is left out."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from verifai.domain.digest import Sha256
from verifai.domain.proof_index import (
    START,
    IndexHeader,
    IndexRow,
    ProofIndex,
    SampleStatus,
    first_difference,
    header_line,
    parse_index,
    row_line,
)
from verifai.domain.statement import EngineName
from verifai.errors import UsageError

A, B, C = (Sha256(digit * 64) for digit in "abc")
HEADER = IndexHeader("0" * 32, "net", EngineName.SUMCHECK, A, B, 3, C, "release-7", True, ("k",))
PROVEN = IndexRow(0, SampleStatus.PROVEN, A, B, C, {"y": (0.5, -1.0)}, 1.25, 1000)
FAILED = IndexRow(2, SampleStatus.FAILED, A, code="out-of-memory")


def edited(one: IndexRow, /, **fields: Any) -> bytes:
    return json.dumps({**one.to_json(), **fields}).encode() + b"\n"


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"", ""),
        (b"{}\n", ":1.schema"),
        (b'{"schema": "verifai/prove-index/v2"}\n', ":1.schema"),
        (header_line(HEADER).replace(b'"samples": 3', b'"samples": 0'), ":1.samples"),
        (header_line(HEADER).replace(b'"run"', b'"ran"'), ":1.run"),
        (header_line(HEADER) + b"nothing\n", ":2"),
        (header_line(HEADER) + b"\n", ":2"),
        (header_line(HEADER) + row_line(PROVEN)[:-2] + b"\n" + row_line(FAILED), ":2"),
        (header_line(HEADER) + edited(PROVEN, row=3, id="000003", bundle="000003"), ":2.row"),
        (header_line(HEADER) + edited(PROVEN, id="000001"), ":2.bundle"),
        (header_line(HEADER) + edited(PROVEN, bundle="../../etc"), ":2.bundle"),
        (header_line(HEADER) + edited(PROVEN, bundle_id=None), ":2"),
        (header_line(HEADER) + edited(PROVEN, bundle_id="x"), ":2.bundle_id"),
        (header_line(HEADER) + edited(PROVEN, status="done"), ":2.status"),
        (header_line(HEADER) + edited(PROVEN, code="bug"), ":2"),
        (header_line(HEADER) + edited(PROVEN, outputs={"y": ["1"]}), ":2.outputs.y[0]"),
        (header_line(HEADER) + edited(FAILED, code=None), ":2"),
        (header_line(HEADER) + edited(FAILED, more=1), ":2.more"),
    ],
)
def test_what_is_no_index_is_refused_with_its_place(data: bytes, place: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_index(data, "index.jsonl")
    assert caught.value.code == "index-malformed"
    assert caught.value.where == f"index.jsonl{place}"


@pytest.mark.parametrize("cut", range(1, len(row_line(FAILED))))
def test_a_line_that_a_crash_cut_short_is_none(cut: int) -> None:
    whole = header_line(HEADER) + row_line(PROVEN) + row_line(FAILED)
    index = parse_index(whole[:-cut], "index.jsonl")
    assert set(index.rows) == {0}
    assert index.cut is (cut < len(row_line(FAILED)))
    assert parse_index(index.with_rows([FAILED]).to_bytes(), "i").rows == {0: PROVEN, 2: FAILED}


def test_the_later_of_two_rows_counts_and_the_file_is_in_order() -> None:
    again = replace(PROVEN, row=2)
    index = parse_index(header_line(HEADER) + row_line(FAILED) + row_line(PROVEN) + row_line(again), "i")
    assert index.rows == {0: PROVEN, 2: again}
    assert index.to_bytes() == header_line(HEADER) + row_line(PROVEN) + row_line(again)
    assert index.to_bytes().startswith(START)
    assert parse_index(index.to_bytes(), "i") == index


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"engine": EngineName.EZKL}, "the engine"),
        ({"model_sha256": C}, "the model"),
        ({"section_sha256": C}, "the compiled circuit"),
        ({"samples": 4}, "the number of samples"),
        ({"inputs_sha256": A}, "the inputs"),
        ({"inputs_sha256": None}, "the inputs"),
        ({"context": "x"}, "the context"),
        ({"context_per_sample": False}, "--context-per-sample"),
        ({"signers": ()}, "the signing keys"),
        ({"run": "1" * 32}, ""),
    ],
)
def test_every_difference_between_two_runs_is_named(fields: dict[str, Any], words: str) -> None:
    assert first_difference(HEADER, replace(HEADER, **fields)) == words


def test_contexts_of_samples() -> None:
    assert HEADER.context_of(17) == "release-7#000017"
    assert replace(HEADER, context="").context_of(17) == "000017"
    assert replace(HEADER, context_per_sample=False).context_of(17) == "release-7"


def test_a_row_that_contradicts_itself_cannot_be_made() -> None:
    for fields in ({"code": "bug"}, {"bundle_id": None}, {"statement_sha256": None}):
        with pytest.raises(ValueError, match="row 0"):
            replace(PROVEN, **fields)  # type: ignore[arg-type]


def test_an_index_without_rows_is_one() -> None:
    assert parse_index(header_line(HEADER), "i") == ProofIndex(HEADER)
