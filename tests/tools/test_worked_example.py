"""The worked example of the protocol is what prover and verifier make of it today."""

from __future__ import annotations

from tools.worked_example import PAGE, page


def test_the_page_has_the_numbers_of_todays_proof() -> None:
    """Making it also checks that the leaves' extensions are what the layers end in, and that the proof is accepted."""
    assert PAGE.read_text(encoding="utf-8") == page()
