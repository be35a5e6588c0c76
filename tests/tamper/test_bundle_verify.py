"""Plain verify refuses every resealed change of an attestation too: it needs neither SBOM nor signature nor trust file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundle_forge import Forge, read_folder, write_files
from tests.support.paths import ROOT
from tests.tamper.test_bundle_matrix import edits_of
from verifai.bundle import canonical
from verifai.circuit_folder import read_lock
from verifai.engines.ezkl import verifying
from verifai.errors import VerifaiError
from verifai.stages.verify import Expectations, verify_bundle

V1 = ROOT / "fixtures" / "bundles" / "v1"
GOOD = read_folder(V1 / "accept" / "folder")
LOCK = read_lock(V1 / "circuit.lock")
EXPECT = Expectations(context="frozen", context_signed=True, allow_test_srs=True)
CLAIMS = {"predicate/created"}
"""The prover's clock; only a trust file limits it."""


def test_every_resealed_field_is_refused_by_the_lock_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verifying, "check_proof", lambda *arguments: None)  # ezkl's own check is not what refuses here
    forge = Forge.of(GOOD)
    del forge.payload["sbom.cdx.json"]
    verify_bundle(write_files(tmp_path / "good", forge.sealed()), LOCK, EXPECT)
    tried = 0
    for kind, document in forge.statements.items():
        for edit in edits_of(json.loads(json.dumps(document))):
            changed, _ = edit.apply(document)
            if edit.name.removeprefix("change ") in CLAIMS or not isinstance(changed, dict):
                continue
            other = Forge.of(GOOD)
            del other.payload["sbom.cdx.json"]
            other.statements[kind] = changed
            relink = not (edit.path[:1] == ("subject",) or edit.path == ("predicate", "circuit"))
            tried += 1
            _refused(tmp_path / str(tried), other.sealed(relink=relink), f"{kind}: {edit.name}")
    assert tried > 150


def _refused(folder: Path, files: dict[str, bytes], why: str) -> None:
    with pytest.raises(VerifaiError) as problem:
        verify_bundle(write_files(folder, files), LOCK, EXPECT)
        pytest.fail(f"accepted: {why}")
    assert problem.value.status in (1, 2, 3), why
    assert problem.value.code, why


@pytest.mark.parametrize("value", [1, [], {"a": 1}])
def test_a_proof_that_is_no_proof(tmp_path: Path, value: Any) -> None:
    forge = Forge.of(GOOD)
    forge.payload["proof.json"] = canonical.encode({"instances": value})
    _refused(tmp_path / "b", forge.sealed(), str(value))


@pytest.mark.parametrize("name", ["circuit_sha256", "model_sha256", "section_sha256", "name", "insecure", "x", "X_sha256"])
def test_a_pin_cannot_stand_in_for_a_field(tmp_path: Path, name: str) -> None:
    """The right value under ``pins`` must not hide a wrong one in the field itself."""
    forge = Forge.of(GOOD)
    predicate = forge.statements["circuit"]["predicate"]
    predicate["pins"][name] = predicate.get(name) if name.endswith("_sha256") and name in predicate else "0" * 64
    if name in predicate and name.endswith("_sha256"):
        predicate[name] = "0" * 64
    _refused(tmp_path / "b", forge.sealed(), name)
