"""The demo's hidden picture: both engines prove its digit, neither bundle contains the picture, another digit is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.domain.progress import SILENT
from verifai.domain.statement import EngineName, Role, Visibility
from verifai.engines.sumcheck.payload.statement import HIDING_MAGIC
from verifai.errors import InternalError
from verifai.onnx_graph.inputs import read_samples
from verifai.showcase import demo_hidden
from verifai.showcase.demo_hidden import HiddenPicture, hidden_picture
from verifai.showcase.demo_steps import CONTEXT, Refused, refusals


def test_both_engines_prove_the_digit_of_a_hidden_picture(tmp_path: Path) -> None:
    folder = CircuitFolder(ROOT / "circuits" / "digits-cnn")
    read = read_samples(ROOT / "fixtures" / "digits-cnn" / "heldout.npz", folder.model)
    assert read.label is not None
    label = int(read.label[0])
    before = sorted(folder.folder.rglob("*"))
    shown, *refused = hidden_picture(folder, read.samples[0], label, tmp_path, SILENT)
    assert isinstance(shown, HiddenPicture) and shown.agree
    assert list(shown.proofs) == [EngineName.EZKL, EngineName.SUMCHECK]
    for proof in shown.proofs.values():
        statement = proof.verified.statement
        (picture,) = statement.of(Role.INPUT)
        assert (picture.visibility, picture.quantised, picture.digest) == (Visibility.PRIVATE, None, None)
        assert len(statement.of(Role.OUTPUT)[0].values()) == demo_hidden.CLASSES
        assert proof.digit == label and proof.proof_bytes > 1000
        assert proof.hidden == ("the values of private input 'image' and of all inner tensors",)
    assert shown.proofs[EngineName.SUMCHECK].verified.statement.privacy.value == "zero-knowledge, unaudited"
    assert [type(one) for one in refused] == [Refused, Refused]
    assert [(one.error.status, one.error.code) for one in refused] == [(1, "proof-invalid")] * 2  # type: ignore[union-attr]
    assert sorted(folder.folder.rglob("*")) == before

    ezkl, sumcheck = (proof.bundle.path / "payload" for proof in shown.proofs.values())
    assert len(json.loads((ezkl / "proof.json").read_text("utf-8"))["instances"]) == demo_hidden.CLASSES
    fixed = len(HIDING_MAGIC) + 8 + len(CONTEXT)
    assert (sumcheck / "statement.bin").stat().st_size == fixed + 4 * demo_hidden.CLASSES


def test_a_forgery_that_is_accepted_stops_the_demo() -> None:
    with pytest.raises(InternalError) as stopped:
        list(refusals({"nothing changed": lambda: None}))  # type: ignore[arg-type,return-value]
    assert stopped.value.code == "demo-accepted-forgery" and "nothing changed" in stopped.value.message
