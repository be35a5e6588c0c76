"""The published JSON schemas and the strict parsers say the same: whatever a parser accepts, its schema accepts."""

from __future__ import annotations

import base64
import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.paths import ROOT
from verifai.bundle import canonical
from verifai.domain.attestation.envelope import Envelope, parse_envelope
from verifai.domain.attestation.manifest import parse_manifest
from verifai.domain.attestation.types import parse_attestation, predicate_class, predicate_types, schema_name
from verifai.errors import EvidenceRejected

SCHEMAS = ROOT / "verifai" / "bundle" / "schemas"
FOLDER = ROOT / "fixtures" / "bundles" / "v1" / "accept" / "folder"


def _payload(path: Path) -> Any:
    return json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))


def _documents() -> dict[str, Any]:
    found = {
        "manifest": _payload(FOLDER / "bundle.dsse.json"),
        "envelope": json.loads((FOLDER / "bundle.dsse.json").read_text()),
    }
    for path in (FOLDER / "attestations").iterdir():
        document = _payload(path)
        found[document["predicateType"].split(":")[2]] = document
    counts = {"samples": 3, "right": 2, "confusion": [[0, 0, 2], [1, 0, 1]], "top_k": [[2, 3]]}
    found["evaluation"] = _evaluation(found["proof"], {"whole": counts, "groups": [{"group": "a", **counts}]})
    errors = {"samples": 3, "mean_absolute_error": "0.5", "root_mean_squared_error": "0.75", "r2": "undefined"}
    found["evaluation of numbers"] = _evaluation(found["proof"], {"whole": errors, "groups": [{"group": "a", **errors}]})
    inside = {"samples": 3, "right": 2, "left_out": 1}
    found["evaluation counted inside"] = _evaluation(found["proof"], {"whole": inside, "groups": []})
    found["evaluation counted inside"]["predicate"]["left_out"] = [1]
    found["proof with openings"] = with_openings = copy.deepcopy(found["proof"])
    with_openings["predicate"]["statement"]["openings"] = [
        {"what": "weights", "root": "a" * 64, "number": 15, "budget": 16},
        {"what": "x", "root": "b" * 64, "number": 0, "budget": 4},
    ]
    found["proof with clamped cells"] = clamped = copy.deepcopy(found["proof"])
    clamped["predicate"]["clamped_cells"] = 7
    clamped["predicate"]["statement"]["tensors"][0] |= {"stored": True, "scale": ["1", "8"]}
    return found


def _evaluation(proof: Any, metrics: Any) -> Any:
    predicate = {
        "circuit": "a" * 64,
        "proofs": ["c" * 64, "b" * 64],
        "data": {"root": "d" * 64, "count": 3},
        "output": "y",
        "metrics": metrics,
        "created": "2026-01-31T23:59:59Z",
    }
    return {**proof, "predicateType": "urn:verifai:evaluation:v1", "predicate": predicate}


PARSERS: dict[str, Callable[[bytes], object]] = {
    "manifest": lambda data: parse_manifest(data, ""),
    "envelope": lambda data: parse_envelope(data, ""),
    "circuit": lambda data: parse_attestation(Envelope(data), ""),
    "proof": lambda data: parse_attestation(Envelope(data), ""),
    "evaluation": lambda data: parse_attestation(Envelope(data), ""),
    "evaluation of numbers": lambda data: parse_attestation(Envelope(data), ""),
    "evaluation counted inside": lambda data: parse_attestation(Envelope(data), ""),
    "proof with openings": lambda data: parse_attestation(Envelope(data), ""),
    "proof with clamped cells": lambda data: parse_attestation(Envelope(data), ""),
}


def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((SCHEMAS / f"{name.split()[0]}-v1.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_every_predicate_type_has_a_schema() -> None:
    missing = [one for one in predicate_types() if not (SCHEMAS / schema_name(one)).is_file()]
    assert not missing


@pytest.mark.parametrize("path", sorted(SCHEMAS.glob("*.json")), ids=lambda path: path.name)
def test_every_schema_is_one_and_refuses_unknown_fields(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert not Draft202012Validator(schema).is_valid({})


@pytest.mark.parametrize("name", list(PARSERS))
def test_parser_and_schema_agree_on_every_edit_of_a_real_document(name: str) -> None:
    from tests.tamper.test_bundle_matrix import edits_of

    document, parse, validator = _documents()[name], PARSERS[name], _validator(name)
    parse(canonical.encode(document))
    validator.validate(document)
    accepted = refused = by_schema = 0
    for edit in edits_of(document):
        changed, raw = edit.apply(document)
        assert raw is None
        try:
            parse(canonical.encode(changed))
        except EvidenceRejected:
            refused += 1
            by_schema += not validator.is_valid(changed)
        else:
            accepted += 1
            assert validator.is_valid(changed), f"the parser accepts what the schema refuses: {edit.name}"
    assert refused > accepted
    assert by_schema > refused * 0.6, "a schema that says nothing"


@pytest.mark.parametrize("predicate_type", predicate_types())
def test_a_schema_names_the_fields_that_its_predicate_reads(predicate_type: str) -> None:
    """Every field name in the schema occurs as a literal in the parser's module or in one that it imports from the domain."""
    module = sys.modules[predicate_class(predicate_type, "").__module__]
    sources = Path(str(module.__file__)).read_text() + "".join(
        path.read_text()
        for path in (ROOT / "verifai" / "domain").glob("*.py")
        if f"domain.{path.stem} import" in _source(module)
    )
    schema = json.loads((SCHEMAS / schema_name(predicate_type)).read_text())
    fields = schema["properties"]["predicate"]["properties"]
    assert fields
    for name in fields:
        assert f'"{name}"' in sources, name


def _source(module: Any) -> str:
    return Path(str(module.__file__)).read_text()
