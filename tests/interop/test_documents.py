"""What a bundle says in the words of other tools, put to these tools: in-toto's own types, and CycloneDX's validator."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.provenance_world import make_world
from verifai.stages.receipt import add_receipt

pytestmark = pytest.mark.interop


@pytest.fixture(scope="module")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = make_world(tmp_path_factory.mktemp("documents") / "world", weights="public")
    world.prove("plain")
    add_receipt(world.root / "plain" / "000000", world.root / "receipted", world.folder.lock())
    return world.root / "receipted" / "payload"


@pytest.mark.parametrize("name", ["receipt.intoto.json", "compile.slsa.json"])
def test_in_toto_reads_the_statements(payload: Path, name: str) -> None:
    from google.protobuf import json_format
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    message = json_format.Parse((payload / name).read_bytes(), Message())
    statement = Statement.copy_from_pb(message)
    statement.validate()
    assert json.loads(json_format.MessageToJson(statement.pb)) == json.loads((payload / name).read_bytes())


def test_in_toto_reads_the_envelope_of_every_attestation(payload: Path) -> None:
    from in_toto.models.metadata import Envelope

    paths = list((payload.parent / "attestations").iterdir())
    assert len(paths) == 2
    for path in paths:
        found = Envelope.from_dict(json.loads(path.read_bytes()))
        assert found.payload_type == "application/vnd.in-toto+json"


def test_the_validator_accepts_the_bill_of_materials_and_its_model_card(payload: Path) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (payload / "sbom.cdx.json").read_text()
    assert "modelCard" in json.loads(text)["metadata"]["component"]
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    broken = json.loads(text)
    broken["metadata"]["component"]["modelCard"]["modelParameters"]["inputs"] = "x"
    assert validator.validate_str(json.dumps(broken)) is not None
