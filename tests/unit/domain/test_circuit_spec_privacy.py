"""What a person writes in ``circuit.toml`` about privacy: read strictly, and never taken for less than it asks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from verifai.domain.circuit_spec import AskedPrivacy, CircuitSpec, parse_spec
from verifai.domain.statement import Visibility, WeightVisibility
from verifai.errors import UsageError


def document(privacy: Any = None, weights: Any = None, **tensors: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "circuit": {"name": "net", "model": "model.onnx"},
        "tensors": {"x": "public", "y": "public", **tensors},
    }
    if privacy is not None:
        found["privacy"] = privacy
    if weights is not None:
        found["weights"] = {"visibility": weights}
    return found


def parsed(*arguments: Any, **tensors: str) -> CircuitSpec:
    return parse_spec(document(*arguments, **tensors), "circuit.toml")


@pytest.mark.parametrize(
    "privacy",
    [
        {},
        {"level": ""},
        {"level": "Zero-Knowledge"},
        {"level": "zero-knowledge, unaudited"},
        {"level": "integrity-only (not zero-knowledge)"},
        {"level": "none"},
        {"level": True},
        {"level": ["zero-knowledge"]},
        {"level": None},
        {"level": "zero-knowledge", "suite": "x"},
        {"levels": "zero-knowledge"},
        "zero-knowledge",
        [],
    ],
    ids=str,
)
def test_a_privacy_table_that_is_not_exactly_one_level_is_refused(privacy: Any) -> None:
    with pytest.raises(UsageError) as caught:
        parsed(privacy)
    assert caught.value.code == "bad-spec"
    assert caught.value.where.startswith("circuit.toml.privacy")


@pytest.mark.parametrize(
    ("weights", "tensors", "field"),
    [
        (None, {"x": "private"}, "tensors.x"),
        (None, {"y": "private"}, "tensors.y"),
        ("private", {}, "weights.visibility"),
        ("private", {"y": "private"}, "tensors.y"),
        ("withheld", {"x": "private"}, "tensors.x"),
    ],
)
def test_a_level_that_takes_back_what_a_field_asks_for_is_refused(weights: Any, tensors: dict[str, str], field: str) -> None:
    with pytest.raises(UsageError) as caught:
        parsed({"level": "integrity-only"}, weights, **tensors)
    assert (caught.value.code, caught.value.where, caught.value.status) == ("privacy-contradiction", f"circuit.toml.{field}", 2)


def test_a_contradiction_that_was_not_parsed_still_asks_for_privacy() -> None:
    spec = replace(parsed(x="private"), privacy=AskedPrivacy.INTEGRITY_ONLY)
    assert spec.zero_knowledge
    with pytest.raises(UsageError):
        spec.refuse_contradiction("here")


@pytest.mark.parametrize("visibility", ["Private", "hidden", "", 1, None])
def test_weights_of_another_visibility_are_refused(visibility: Any) -> None:
    with pytest.raises(UsageError) as caught:
        parse_spec(document() | {"weights": {"visibility": visibility}}, "circuit.toml")
    assert (caught.value.code, caught.value.where) == ("bad-spec", "circuit.toml.weights.visibility")


@pytest.mark.parametrize(
    ("privacy", "weights", "tensors", "asked"),
    [
        (None, None, {}, False),
        (None, "withheld", {"x": "hashed"}, False),
        (None, "committed", {"y": "hashed"}, False),
        ("integrity-only", "committed", {"x": "hashed"}, False),
        (None, None, {"x": "private"}, True),
        (None, None, {"y": "private"}, True),
        (None, "private", {}, True),
        ("zero-knowledge", None, {}, True),
        ("zero-knowledge", "committed", {"x": "hashed"}, True),
        ("zero-knowledge", "private", {"x": "private"}, True),
    ],
)
def test_zero_knowledge_is_asked_for_by_the_level_or_by_any_private_field(
    privacy: str | None, weights: str | None, tensors: dict[str, str], asked: bool
) -> None:
    spec = parsed(None if privacy is None else {"level": privacy}, weights, **tensors)
    assert spec.zero_knowledge is asked
    assert spec.privacy == privacy
    assert spec.weights == (weights or "public")


def test_private_weights_are_a_kind_of_their_own() -> None:
    spec = parsed(None, "private")
    assert spec.weights is WeightVisibility.PRIVATE
    assert Visibility.PRIVATE not in spec.tensors.values()
