"""What a bundle's maker writes into it reaches a terminal as text only."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.bundle_forge import Forge, read_folder, write_files
from tests.support.paths import ROOT
from verifai.cli.app import run
from verifai.engines.ezkl import verifying

V1 = ROOT / "fixtures" / "bundles" / "v1"


@pytest.mark.parametrize("context", ["[/]", "[/bold]", "[bold green]ACCEPTED[/]"])
@pytest.mark.parametrize("verb", ["verify", "audit"])
def test_a_context_is_shown_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str, context: str
) -> None:
    monkeypatch.setattr(verifying, "check_proof", lambda *arguments: None)
    forge = Forge.of(read_folder(V1 / "accept" / "folder"))
    forge.statements["proof"]["predicate"]["statement"]["context"] = context
    forge.payload.pop("sbom.cdx.json")
    folder = write_files(tmp_path / "b[bold]", forge.sealed())
    options = {
        "verify": ["--lock", str(V1 / "circuit.lock"), "--allow-test-srs"],
        "audit": ["--trust", str(V1 / "trust.toml"), "--no-rederive"],
    }
    assert run([verb, str(folder), *options[verb]]) in (0, 1, 3)
    told = capsys.readouterr().out
    assert context in told and str(folder) in told
