"""Labels and columns: refused unless they fit, pinned outside every engine's section, absent where nobody wrote them."""

from __future__ import annotations

from typing import Any

import pytest

from verifai.domain.circuit_lock import CircuitLock, parse_lock
from verifai.domain.circuit_spec import parse_spec
from verifai.domain.digest import sha256
from verifai.domain.names import MAX_NAME, PlaceNames, resolve_names
from verifai.domain.statement import EngineName
from verifai.domain.tensor import TensorSpec
from verifai.errors import UsageError

X = TensorSpec("x", "float32", (1, 2))
Y = TensorSpec("y", "float32", (1, 3))
NUMBER = TensorSpec("n", "float32", (1, 1))
KIND = TensorSpec("k", "int64", (1,))


def spec(**more: Any) -> PlaceNames:
    document = {"circuit": {"name": "c", "model": "m.onnx"}, "tensors": {"x": "public", "y": "public"}, **more}
    return parse_spec(document, "circuit.toml").names


@pytest.mark.parametrize(
    ("more", "place"),
    [
        ({"outputs": {}}, "outputs"),
        ({"outputs": {"labels": []}}, "outputs.labels"),
        ({"outputs": {"labels": "abc"}}, "outputs.labels"),
        ({"outputs": {"labels": ["a", ""]}}, "outputs.labels[1]"),
        ({"outputs": {"labels": ["a", 1]}}, "outputs.labels[1]"),
        ({"outputs": {"labels": ["a", "a"]}}, "outputs.labels"),
        ({"outputs": {"labels": ["a", "b\n✓ V6"]}}, "outputs.labels[1]"),
        ({"outputs": {"labels": ["\x1b[2J", "b"]}}, "outputs.labels[0]"),
        ({"outputs": {"labels": ["a", "b" * (MAX_NAME + 1)]}}, "outputs.labels[1]"),
        ({"outputs": {"names": ["a"]}}, "outputs.names"),
        ({"outputs": {"y": ["a"]}}, "outputs.y"),
        ({"outputs": {"y": {}}}, "outputs.y.labels"),
        ({"outputs": {"y": {"labels": ["a"], "colour": 1}}}, "outputs.y.colour"),
        ({"outputs": {"labels": ["a", "b"], "y": {"labels": ["a"]}}}, "outputs.labels"),
        ({"inputs": {"labels": ["a", "b"]}}, "inputs.labels"),
        ({"inputs": {"x": {"columns": ["a", "a"]}}}, "inputs.x.columns"),
    ],
)
def test_what_is_not_a_list_of_different_names_is_refused_with_its_place(more: dict[str, Any], place: str) -> None:
    with pytest.raises(UsageError) as refused:
        spec(**more)
    assert refused.value.code == "bad-spec" and refused.value.where.endswith(place)


@pytest.mark.parametrize(
    ("given", "outputs"),
    [
        ({"labels": ["a", "b"]}, [Y]),
        ({"labels": ["a", "b", "c", "d"]}, [Y]),
        ({"labels": ["a"]}, [NUMBER]),
        ({"labels": ["a", "b", "c"]}, [NUMBER]),
        ({"labels": ["a", "b", "c"]}, [Y, NUMBER]),
        ({"z": {"labels": ["a", "b", "c"]}}, [Y]),
    ],
)
def test_labels_of_another_number_or_of_no_output_are_refused(given: dict[str, Any], outputs: list[TensorSpec]) -> None:
    with pytest.raises(UsageError) as refused:
        resolve_names(spec(outputs=given), [X], outputs, "circuit.toml")
    assert refused.value.code == "bad-spec" and "outputs" in refused.value.where and refused.value.hint


@pytest.mark.parametrize("columns", [["a"], ["a", "b", "c"]])
def test_columns_of_another_number_are_refused(columns: list[str]) -> None:
    with pytest.raises(UsageError) as refused:
        resolve_names(spec(inputs={"columns": columns}), [X], [Y], "circuit.toml")
    assert "Give exactly 2" in refused.value.hint


def test_names_of_the_only_tensor_are_its_own_and_a_single_cell_has_two_sides() -> None:
    found = resolve_names(spec(outputs={"labels": ["a", "b", "c"]}, inputs={"columns": ["p", "q"]}), [X], [Y], "t")
    assert found == PlaceNames({"y": ("a", "b", "c")}, {"x": ("p", "q")})
    assert resolve_names(spec(outputs={"n": {"labels": ["no", "yes"]}}), [X], [Y, NUMBER], "t").labels == {"n": ("no", "yes")}
    assert resolve_names(spec(outputs={"labels": list("abcde")}), [X], [KIND], "t").labels["k"] == tuple("abcde")
    assert resolve_names(spec(), [X], [Y], "t") == PlaceNames()
    # An output may be called like the field.
    labels = TensorSpec("labels", "float32", (1, 2))
    assert resolve_names(spec(outputs={"labels": {"labels": ["a", "b"]}}), [X], [labels], "t").labels == {"labels": ("a", "b")}


def test_a_lock_keeps_names_apart_from_sections_and_older_locks_keep_their_document() -> None:
    plain = CircuitLock("c", sha256(b"m"), {EngineName.SUMCHECK: {"suite": "s"}})
    assert plain.to_document()["circuit"] == {"name": "c", "model_sha256": sha256(b"m")}
    named = CircuitLock("c", sha256(b"m"), plain.engines, PlaceNames({"y": ("a", "b")}, {"x": ("p",)}))
    document = named.to_document()
    assert document["engine"] == plain.to_document()["engine"]
    assert parse_lock(document, "circuit.lock") == named
    assert named.with_section(EngineName.SUMCHECK, {}).names == named.names


@pytest.mark.parametrize(
    "names",
    [
        {"labels": {}},
        {"labels": {"y": []}},
        {"labels": {"y": ["a", "a"]}},
        {"columns": {"x": [1]}},
        {"labels": ["a"]},
        {"label": {}},
    ],
)
def test_a_lock_with_names_of_another_form_is_refused(names: dict[str, Any]) -> None:
    document = CircuitLock("c", sha256(b"m"), {}).to_document()
    document["circuit"] |= names
    with pytest.raises(UsageError) as refused:
        parse_lock(document, "circuit.lock")
    assert refused.value.code == "bad-lock"
