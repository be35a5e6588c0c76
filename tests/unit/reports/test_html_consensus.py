"""The page of a round: every verifier with its distance, in words and numbers that need no statistics."""

from __future__ import annotations

import pytest

from verifai.reports.html_consensus import Band, ConsensusPage, NodeRow, render_consensus


def page(ratio: float, name: str = "29e5ce7e", note: str = "looks like prune-1%") -> str:
    nodes = (NodeRow("7ea3d75f", "within", 0.0, True, ""), NodeRow(name, "beyond", ratio, False, note))
    bands = (Band("threads=2", 0.0, 0.1),), (Band("prune-1%", 300.0, 2000.0),)
    made = ConsensusPage("accept", "2 of 3 votes agree", nodes, *bands, (), (("model", "ab"),))
    return render_consensus(made).decode()


@pytest.mark.parametrize(
    ("ratio", "text"), [(1.5, "1.5 × limit"), (803.4, "803 × limit"), (57_512.0, "57,500 × limit"), (1e6, "1,000,000 × limit")]
)
def test_a_distance_is_written_as_people_write_numbers(ratio: float, text: str) -> None:
    assert f"disagrees · {text}" in page(ratio)
    assert "e+0" not in page(ratio)


def test_the_page_says_what_it_shows_and_runs_nothing() -> None:
    text = page(803.0)
    for part in ("They agree", "2 of 3 votes agree", "the centre", "looks like prune-1%", "prune-1%", "honest runs", "limit"):
        assert part in text
    assert "<script" not in text


def test_foreign_text_stays_text() -> None:
    text = page(3.0, name="<b>x</b>", note="<script>alert(1)</script>")
    assert "<script" not in text
    assert "<b>x" not in text
