"""Settings, proofs and lock sections: one byte form each, and nothing else is read."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Callable
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ezkl_small import SmallCircuit
from verifai.engines.ezkl import field, proof, settings
from verifai.engines.ezkl.lock_section import expect_version, parse_section
from verifai.engines.ezkl.proof import Proof
from verifai.errors import EngineCrashed, EvidenceRejected, UsageError

elements = st.integers(0, field.MODULUS - 1)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_settings_are_refused_not_crashed_on(data: bytes) -> None:
    with pytest.raises(EvidenceRejected):
        settings.parse(data)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_settings_with_any_field_replaced_by_any_value_parse_or_are_refused(
    small_hashed: SmallCircuit, data: st.DataObject
) -> None:
    document = json.loads(small_hashed.files["settings.json"])
    target = data.draw(st.sampled_from([document, document["run_args"], document["einsum_params"], document["module_sizes"]]))
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(json_values)
    try:
        settings.parse(json.dumps(document).encode())
    except EvidenceRejected as problem:
        assert problem.code == "settings-malformed"


def test_every_field_of_the_settings_is_needed(small_public: SmallCircuit) -> None:
    document = json.loads(small_public.files["settings.json"])
    optional = {"num_blinding_factors", "timestamp"}
    for name in set(document) - optional:
        with pytest.raises(EvidenceRejected):
            settings.parse(json.dumps({key: value for key, value in document.items() if key != name}).encode())


def test_the_order_of_range_checks_and_keys_and_the_timestamp_do_not_matter(small_public: SmallCircuit) -> None:
    data = small_public.files["settings.json"]
    document = json.loads(data)
    shuffled = dict(reversed(list(document.items())))
    shuffled["required_range_checks"] = document["required_range_checks"][::-1]
    shuffled["timestamp"] = 1_700_000_000_000
    assert settings.normalise(json.dumps(shuffled, indent=3).encode()) == data
    assert settings.normalise(data) == data
    assert settings.is_normal(data)


def test_a_hashed_input_is_read_as_such(small_hashed: SmallCircuit) -> None:
    parsed = settings.parse(small_hashed.files["settings.json"])
    assert (parsed.inputs.value, parsed.outputs.value, parsed.poseidon_instances) == ("hashed", "public", 1)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_proof_are_refused_not_crashed_on(data: bytes) -> None:
    with pytest.raises(EvidenceRejected) as caught:
        proof.parse(data, instances=1, proof_bytes=64)
    assert caught.value.code == "proof-malformed"


@given(st.lists(elements, min_size=1, max_size=8), st.binary(min_size=1, max_size=100))
def test_a_proof_survives_its_file(instances: list[int], data: bytes) -> None:
    made = Proof(tuple(instances), data)
    assert proof.parse(made.to_bytes(), instances=len(instances), proof_bytes=len(data)) == made


@given(st.lists(elements, min_size=1, max_size=8), st.binary(min_size=1, max_size=100))
def test_a_proof_survives_the_form_that_ezkl_reads(instances: list[int], data: bytes) -> None:
    made = Proof(tuple(instances), data)
    assert proof.from_ezkl(made.for_ezkl()) == made


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"instances": [["00" * 32], ["00" * 32]], "proof": [1]},
        {"instances": [["F" * 64]], "proof": [1]},
        {"instances": [["00" * 32]], "proof": [256]},
        {"instances": [["00" * 32]], "proof": "00"},
        {"instances": 5, "proof": [1]},
        [],
    ],
)
def test_an_odd_answer_of_ezkl_is_a_crash_of_the_engine(document: Any) -> None:
    with pytest.raises(EngineCrashed):
        proof.from_ezkl(json.dumps(document).encode())


def test_a_section_survives_toml(small_hashed: SmallCircuit) -> None:
    section = tomllib.loads(tomli_w.dumps(dict(small_hashed.section)))
    assert parse_section(section).to_toml() == small_hashed.section


LOCK_ROWS: dict[str, Callable[[dict[str, Any]], object]] = {
    "unknown field": lambda s: s.update(comment="x"),
    "short digest": lambda s: s.update(vk_sha256="00"),
    "upper-case digest": lambda s: s.update(settings_sha256="A" * 64),
    "no proof size": lambda s: s.pop("proof_bytes"),
    "proof size 0": lambda s: s.update(proof_bytes=0),
    "committed weights": lambda s: s.update(weights="committed"),
    "private weights": lambda s: s.update(weights="private"),
    "no tensors": lambda s: s.update(tensors=[]),
    "no outputs": lambda s: s.update(tensors=s["tensors"][:1]),
    "outputs first": lambda s: s.update(tensors=s["tensors"][::-1]),
    "all private": lambda s: [tensor.update(visibility="private") for tensor in s["tensors"]],
    "visibilities mixed": lambda s: s["tensors"].insert(1, {**s["tensors"][0], "name": "z", "visibility": "private"}),
    "shape of zero": lambda s: s["tensors"][0].update(shape=[1, 0]),
    "shape too large": lambda s: s["tensors"][0].update(shape=[2**20, 2]),
    "scale out of range": lambda s: s["tensors"][0].update(scale=10**6),
    "boolean inputs": lambda s: s["tensors"][0].update(dtype="bool"),
    "logrows 60": lambda s: s["parameters"].update(logrows=60),
    "0 inner columns": lambda s: s["parameters"].update(num_inner_cols=0),
    "fidelity without samples": lambda s: s["fidelity"].update(samples=0),
    "more matches than samples": lambda s: s["fidelity"].update(top1_matches=s["fidelity"]["samples"] + 1),
    "nested table in the tuner's rows": lambda s: s.update(tried=[{"a": {"b": 1}}]),
    "srs missing": lambda s: s.pop("srs"),
}


@pytest.mark.parametrize("row", LOCK_ROWS)
def test_a_section_that_is_not_as_its_schema_says_is_refused(small_public: SmallCircuit, row: str) -> None:
    section = copy.deepcopy(dict(small_public.section))
    LOCK_ROWS[row](section)
    with pytest.raises(UsageError) as caught:
        parse_section(section)
    assert caught.value.code == "bad-lock"
    assert "engine.ezkl" in caught.value.where


def test_a_lock_of_another_ezkl_release_is_refused(small_public: SmallCircuit) -> None:
    with pytest.raises(UsageError) as caught:
        expect_version(parse_section({**small_public.section, "engine_version": "22.3.0"}))
    assert caught.value.code == "engine-version"


def test_the_pinned_release_is_the_installed_one() -> None:
    from importlib.metadata import version

    assert version("ezkl") == settings.VERSION
