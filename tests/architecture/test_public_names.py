"""What `import verifai` offers is a promise: adding a name is a decision, losing one is a break."""

from __future__ import annotations

import pytest

import verifai

PUBLIC = {
    "CircuitFolder",
    "EngineName",
    "EvidenceRejected",
    "Expectations",
    "PolicyNotMet",
    "Statement",
    "Undecided",
    "UsageError",
    "VerifaiError",
    "VerifiedBundle",
    "Visibility",
    "check_model",
    "compile_circuit",
    "export_model",
    "init_circuit",
    "load_model",
    "prove",
    "read_lock",
    "read_samples",
    "verify_bundle",
}


def test_the_public_names_are_pinned() -> None:
    assert set(verifai.__all__) == PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_public_name_resolves_and_is_documented(name: str) -> None:
    assert getattr(verifai, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = verifai.nonsense
