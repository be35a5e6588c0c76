"""Receipts, SLSA provenance and bills of materials: every change of what they say is refused, whoever made it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.bundle import canonical
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.errors import EvidenceRejected
from verifai.stages.receipt import add_receipt
from verifai.stages.verify import verify_bundle

from tests.support.provenance_world import World, make_world  # isort: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    made = make_world(tmp_path_factory.mktemp("documents") / "world", weights="public")
    made.prove("plain")
    add_receipt(made.root / "plain" / "000000", made.root / "receipted", made.folder.lock())
    return made


def document(world: World, name: str) -> Any:
    return json.loads((world.root / "receipted" / "payload" / name).read_bytes())


def rewritten(world: World, target: Path, name: str, data: bytes) -> Path:
    """The bundle with one payload file exchanged and its manifest made anew, as an insider could."""
    with open_bundle(world.root / "receipted") as bundle:
        write_bundle(
            target,
            payload={**bundle.payload, name: data},
            attestations=list(bundle.attestations.values()),
            created=bundle.manifest.created,
        )
    return target


def test_the_receipt_names_weights_request_parameters_and_output(world: World) -> None:
    found = document(world, "receipt.intoto.json")
    lock = world.folder.lock()
    assert found["_type"] == "https://in-toto.io/Statement/v1" and found["predicateType"] == "urn:verifai:receipt:v1"
    predicate = found["predicate"]
    assert predicate["weights"]["model_sha256"] == lock.model_sha256
    assert [one["name"] for one in predicate["request"]["inputs"]] == ["x"]
    assert [one["name"] for one in predicate["output"]["outputs"]] == [one["name"] for one in found["subject"]] == ["y"]
    assert predicate["parameters"]["engine"] == "sumcheck"
    slsa = document(world, "compile.slsa.json")
    assert slsa["predicateType"] == "https://slsa.dev/provenance/v1"
    assert slsa["predicate"]["buildDefinition"]["resolvedDependencies"][0]["digest"] == {"sha256": lock.model_sha256}


def test_verify_says_that_it_compared_them(world: World) -> None:
    verified = verify_bundle(world.root / "receipted", world.folder.lock())
    assert "documents-match" in [one.code for one in verified.findings]
    assert world.audit(world.root / "receipted").status == 0


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places of all texts, numbers and truth values."""
    if isinstance(value, dict):
        return [place for key in value for place in leaves(value[key], (*path, key))]
    if isinstance(value, list):
        return [place for index, one in enumerate(value) for place in leaves(one, (*path, index))]
    return [path]


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int) else f"{value}0"


@pytest.mark.parametrize("name", ["receipt.intoto.json", "compile.slsa.json"])
def test_every_value_of_a_document_is_compared(world: World, name: str) -> None:
    """Each is exchanged by itself; the comparison is that of verify, without proving the proof again each time."""
    from verifai.stages.verify import compare_documents, find_claims

    lock, original = world.folder.lock(), document(world, name)
    places = leaves(original)
    assert len(places) > 10
    with open_bundle(world.root / "receipted") as bundle:
        circuit, proof = find_claims(bundle)
        assert compare_documents(bundle, circuit, proof, lock)
        path = bundle.payload[name]
        for place in places:
            changed = json.loads(json.dumps(original))
            inner: Any = changed
            for step in place[:-1]:
                inner = inner[step]
            inner[place[-1]] = other(inner[place[-1]])
            path.chmod(0o600)
            path.write_bytes(canonical.encode(changed))
            with pytest.raises(EvidenceRejected) as caught:
                compare_documents(bundle, circuit, proof, lock)
            assert caught.value.code == "document-mismatch", place


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("receipt.intoto.json", lambda one: one["predicate"]["request"].update(context="another")),
        ("receipt.intoto.json", lambda one: one.update(more=1)),
        ("compile.slsa.json", lambda one: one["predicate"]["runDetails"]["builder"].update(id="https://example.org")),
    ],
)
def test_an_edited_document_is_refused_by_the_whole_program(
    world: World, name: str, change: Callable[[Any], None], tmp_path: Path
) -> None:
    edited = document(world, name)
    change(edited)
    path = rewritten(world, tmp_path / "bundle", name, canonical.encode(edited))
    with pytest.raises(EvidenceRejected) as caught:
        verify_bundle(path, world.folder.lock())
    assert caught.value.code == "document-mismatch"
    assert world.audit(path).status == 1


def test_a_receipt_of_another_inference_is_refused(world: World, tmp_path: Path) -> None:
    world.prove("second", seed=9)
    add_receipt(world.root / "second" / "000000", tmp_path / "second", world.folder.lock())
    replayed = (tmp_path / "second" / "payload" / "receipt.intoto.json").read_bytes()
    path = rewritten(world, tmp_path / "bundle", "receipt.intoto.json", replayed)
    with pytest.raises(EvidenceRejected) as caught:
        verify_bundle(path, world.folder.lock())
    assert caught.value.code == "document-mismatch"


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card["quantitativeAnalysis"]["performanceMetrics"][0].update(value="0"),
        lambda card: card["modelParameters"]["inputs"][0].update(format="x: 1x4, public, linear integers, scale 1"),
        lambda card: card["properties"][0].update(value="another"),
        lambda card: card.update(considerations={"users": ["everybody"]}),
        lambda card: card.clear(),
    ],
    ids=["fidelity", "quantisation", "property", "more", "less"],
)
def test_an_edited_model_card_is_refused(world: World, change: Callable[[Any], None], tmp_path: Path) -> None:
    bill = document(world, "sbom.cdx.json")
    change(bill["metadata"]["component"]["modelCard"])
    path = rewritten(world, tmp_path / "bundle", "sbom.cdx.json", canonical.encode(bill))
    report = world.audit(path)
    assert report.status == 1 and "sbom-mismatch" in [one.code for one in report.findings]


def test_bills_of_materials_of_older_bundles_still_hold() -> None:
    """A frozen bundle, whose model has no card."""
    folder = ROOT / "fixtures" / "bundles" / "v1" / "accept" / "folder"
    bill = json.loads((folder / "payload" / "sbom.cdx.json").read_bytes())
    assert "modelCard" not in bill["metadata"]["component"]
