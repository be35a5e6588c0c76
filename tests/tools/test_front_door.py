"""What counts as proven, refused or a bug among the runs of quickstart that the page counts."""

from __future__ import annotations

from typing import Any

import pytest

from tools.estimators.front_door_results import outcome_of, read, section

FIDELITY = {"top1_matches": 9, "samples": 10, "spread_error": 0.25}


@pytest.mark.parametrize(
    "document, outcome",
    [
        ({"status": 0, "fidelity": FIDELITY}, "proven"),
        ({"status": 3, "findings": [{"code": "fidelity-below-floor", "message": "m"}]}, "below the floor"),
        ({"status": 2, "error": {"code": "pickle-refused", "message": "m"}}, "refused"),
        ({"status": 1, "findings": [{"code": "proof-invalid", "message": "m"}]}, "rejected"),
        ({"status": 70, "error": {"code": "bug", "message": "m"}}, "bug"),
        ({}, "bug"),
    ],
)
def test_a_run_is_counted_for_what_its_document_says(document: dict[str, Any], outcome: str) -> None:
    found = outcome_of("slug", "name", "data", "public", document, "/folder")
    assert found.outcome == outcome
    assert (found.error, found.agreement) == ((0.25, "9/10") if outcome == "proven" else (None, ""))


def test_every_estimator_went_through_in_both_modes() -> None:
    outcomes = read()
    public, private = ({one.slug for one in outcomes if one.mode == mode} for mode in ("public", "private"))
    assert public == private and len(public) >= 40
    table = section(outcomes)
    for mode in ("public", "private"):
        (line,) = (one for one in table if one.startswith(f"| {mode} |"))
        assert sum(int(cell) for cell in line.split("|")[2:-1]) == len(public)
