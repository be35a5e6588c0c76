"""Privacy asked for on the command line and in ``circuit.toml``: what is written, what is offered, what is refused."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from verifai.circuit_folder import CircuitFolder
from verifai.cli import app as cli
from verifai.domain.circuit_spec import CircuitSpec
from verifai.domain.statement import Privacy
from verifai.engines.interface import PrivacySupport
from verifai.engines.sumcheck.engine import SumcheckEngine
from verifai.stages.chain.split import split_model

FIXTURE = ROOT / "fixtures" / "digits-cnn"
MODEL = str(FIXTURE / "model.onnx")


def ran(capsys: pytest.CaptureFixture[str], *arguments: Any) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return status, document


@pytest.fixture
def circuit(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "circuits" / "digits-cnn", tmp_path / "c" / "digits-cnn", ignore=shutil.ignore_patterns("build"))
    shutil.copytree(FIXTURE, tmp_path / "fixtures" / "digits-cnn")
    folder = tmp_path / "c" / "digits-cnn"
    edit(folder, "../../fixtures", str(tmp_path / "fixtures"))
    return folder


def edit(folder: Path, old: str, new: str) -> None:
    text = (folder / "circuit.toml").read_text()
    assert old in text
    (folder / "circuit.toml").write_text(text.replace(old, new))


# init


def test_init_writes_nothing_that_its_engine_cannot_give(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for number, (options, code) in enumerate(
        (
            (["--private-weights", "--engine", "ezkl"], "privacy-unsupported"),
            (["--private-weights", "--private", "image", "--on-chain"], "privacy-unsupported"),
            (["--weights", "withheld", "--engine", "sumcheck"], "privacy-unsupported"),
            (["--weights", "withheld", "--private-weights"], "bad-option"),
            (["--engine", "sumcheck", "--on-chain"], "bad-option"),
            (["--private", "picture"], "unknown-tensor"),
            (["--private", "image", "--tensor", "image=public"], "bad-option"),
            (["--private", "image", "--tensor", "image=hashed"], "bad-option"),
        )
    ):
        target = tmp_path / str(number)
        status, document = ran(capsys, "init", MODEL, "-o", target, "--yes", *options)
        assert (status, document["error"]["code"]) == (2, code), options
        assert not target.exists()


def test_init_writes_what_was_asked_with_the_level_spelled_out(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "c"
    options = ["--private", "image", "--private-weights", "--engine", "sumcheck", "--tensor", "image=private", "--yes"]
    assert ran(capsys, "init", MODEL, "-o", target, *options)[0] == 0
    text = (target / "circuit.toml").read_text()
    written = tomllib.loads(text)
    assert written["tensors"] == {"image": "private", "logits": "public"}
    assert written["weights"] == {"visibility": "private"}
    assert written["privacy"] == {"level": "zero-knowledge"}
    assert CircuitFolder(target).spec.zero_knowledge
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert any("hiding commitment root" in line for line in comments)


def test_init_without_an_ask_leaves_the_level_as_a_comment(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert ran(capsys, "init", MODEL, "-o", tmp_path / "c", "--yes")[0] == 0
    text = (tmp_path / "c" / "circuit.toml").read_text()
    assert "privacy" not in tomllib.loads(text)
    assert '# level = "zero-knowledge"' in text.splitlines()
    assert not CircuitFolder(tmp_path / "c").spec.zero_knowledge
    for line in ("# [privacy]", '# level = "zero-knowledge"'):  # the comment is a valid table, once it is none
        text = text.replace(line, line.removeprefix("# "), 1)
    (tmp_path / "c" / "circuit.toml").write_text(text)
    assert CircuitFolder(tmp_path / "c").spec.zero_knowledge


# check


def by_engine(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["engine"]: one for one in document["engines"]}


def test_check_refuses_when_no_engine_asked_can_hide_it(capsys: pytest.CaptureFixture[str]) -> None:
    status, document = ran(capsys, "check", MODEL, "--private-weights", "--engine", "ezkl")
    assert (status, document["error"]["code"], document["error"]["where"]) == (2, "privacy-unsupported", "engine ezkl")
    assert "ezkl cannot hide weights" in document["error"]["message"]
    status, document = ran(capsys, "check", MODEL, "--private", "picture")
    assert (status, document["error"]["code"], document["error"]["where"]) == (2, "unknown-tensor", "--private")


def test_check_names_what_each_engine_lacks_when_none_can(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: SumcheckEngine, spec: CircuitSpec) -> PrivacySupport:
        return PrivacySupport(False, Privacy.INTEGRITY_ONLY, "It hides nothing.", "")

    monkeypatch.setattr(SumcheckEngine, "privacy_support", refuses)
    status, document = ran(capsys, "check", MODEL, "--private-weights")
    assert (status, document["error"]["code"]) == (2, "privacy-unsupported")
    assert "ezkl: ezkl cannot hide weights" in document["error"]["message"]
    assert document["error"]["message"].endswith("sumcheck: It hides nothing.")


def test_check_tells_what_each_engine_hides(capsys: pytest.CaptureFixture[str]) -> None:
    status, document = ran(capsys, "check", MODEL, "--private", "image")
    assert status == 0
    found = by_engine(document)
    levels = {"ezkl": "zero-knowledge", "sumcheck": "zero-knowledge, unaudited"}
    for engine, level in levels.items():
        assert found[engine]["provable"] and found[engine]["privacy"]["offered"]
        assert found[engine]["privacy"]["level"] == level and found[engine]["privacy"]["cost"]


def test_check_prints_the_same_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["check", MODEL, "--private-weights"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "ezkl: Privacy as asked for: not offered. ezkl cannot hide weights" in text
    assert "sumcheck: Privacy: zero-knowledge, unaudited." in text and "Cost of privacy: Prove time" in text


def test_check_of_a_circuit_adds_to_what_it_asks(capsys: pytest.CaptureFixture[str], circuit: Path) -> None:
    assert by_engine(ran(capsys, "check", circuit)[1])["sumcheck"]["privacy"]["level"].startswith("integrity-only")
    edit(circuit, "[weights]", '[privacy]\nlevel = "integrity-only"\n[weights]')
    assert ran(capsys, "check", circuit)[0] == 0
    status, document = ran(capsys, "check", circuit, "--private", "image")
    assert (status, document["error"]["code"]) == (2, "privacy-contradiction")
    assert document["error"]["where"].endswith("tensors.image")


def test_check_says_what_the_suite_gives_and_aims_at(capsys: pytest.CaptureFixture[str]) -> None:
    status, document = ran(capsys, "check", MODEL, "--private-weights")
    assert status == 0
    found = by_engine(document)
    support = found["sumcheck"]["privacy"]
    assert support["offered"] and support["level"] == "zero-knowledge, unaudited"
    assert "opening" in support["cost"] and "integrity-only suite" in support["cost"]
    assert not found["ezkl"]["privacy"]["offered"] and found["ezkl"]["refusal"]["code"] == "privacy-unsupported"


# compile and prove


def test_compile_refuses_a_contradiction_and_what_the_engine_cannot_hide(
    capsys: pytest.CaptureFixture[str], circuit: Path
) -> None:
    before = (circuit / "circuit.lock").read_bytes()
    edit(circuit, "[weights]", '[privacy]\nlevel = "zero-knowledge"\n[weights]')
    for engine, weights in (("sumcheck", "withheld"), ("sumcheck", "committed"), ("ezkl", "private")):
        text = (circuit / "circuit.toml").read_text()
        edit(circuit, 'visibility = "public"', f'visibility = "{weights}"')
        status, document = ran(capsys, "compile", circuit, "--engine", engine)
        assert (status, document["error"]["code"]) == (2, "privacy-unsupported"), (engine, weights)
        (circuit / "circuit.toml").write_text(text)
    edit(circuit, 'visibility = "public"', 'visibility = "private"')
    edit(circuit, 'level = "zero-knowledge"', 'level = "integrity-only"')
    status, document = ran(capsys, "compile", circuit, "--engine", "sumcheck")
    assert (status, document["error"]["code"]) == (2, "privacy-contradiction")
    assert (circuit / "circuit.lock").read_bytes() == before


def test_compile_says_what_its_proofs_hide_and_a_later_edit_is_not_taken_for_it(
    capsys: pytest.CaptureFixture[str], circuit: Path, tmp_path: Path
) -> None:
    status, document = ran(capsys, "compile", circuit, "--engine", "sumcheck")
    assert status == 0 and document["privacy"]["offered"]
    assert document["privacy"]["level"] == "integrity-only (not zero-knowledge)"
    prove = ["prove", circuit, FIXTURE / "heldout.npz", "--limit", "1", "--engine", "sumcheck", "-o", tmp_path / "e"]
    for old, new, code in (
        ('image = "hashed"', 'image = "private"', "stale-lock"),
        ('image = "private"', 'image = "public"', "stale-lock"),
        ('image = "public"', 'image = "hashed"', ""),
        ("[weights]", '[privacy]\nlevel = "zero-knowledge"\n[weights]', "stale-lock"),
        ('level = "zero-knowledge"', 'level = "integrity-only"', ""),
        ('visibility = "public"', 'visibility = "committed"', "stale-lock"),
        ('visibility = "committed"', 'visibility = "public"', ""),
    ):
        edit(circuit, old, new)
        status, document = ran(capsys, *prove)
        assert (status, document.get("error", {}).get("code", "")) == (2 if code else 0, code), new
        assert len(list((tmp_path / "e").glob("0*"))) == (not code), "a proof that shows more than asked was written"
        shutil.rmtree(tmp_path / "e", ignore_errors=True)


def test_private_weights_from_init_to_verify(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The real engine: nothing of the model travels, and what is printed is what the statement says."""
    folder, evidence = tmp_path / "c", tmp_path / "e"
    options = ["--private", "image", "--private-weights", "--engine", "sumcheck", "--calibration", FIXTURE / "calibration.npz"]
    assert ran(capsys, "init", MODEL, "-o", folder, "--yes", *options)[0] == 0
    status, document = ran(capsys, "compile", folder)
    assert (status, document["privacy"]["level"]) == (0, "zero-knowledge, unaudited"), document
    assert ran(capsys, "prove", folder, FIXTURE / "heldout.npz", "--limit", "1", "-o", evidence)[0] == 0
    bundle = evidence / "000000"
    assert not {"model.onnx", "weights.bin"} & {path.name for path in bundle.rglob("*")}
    status, document = ran(capsys, "verify", bundle, "--lock", folder)
    (found,) = document["bundles"]
    assert status == 0 and found["statement"]["weights"] == "private"
    assert found["privacy"]["level"] == "zero-knowledge, unaudited"
    assert {"the values of the weights"} < set(found["privacy"]["hidden"])
    assert "how often a commitment was used" in found["privacy"]["not_hidden"]
    assert found["statement"]["openings"], "each proof of private weights spends an opening, and says so"
    assert cli.run(["verify", str(bundle), "--lock", str(folder)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("Privacy: zero-knowledge, unaudited.", "the values of the weights", "model extraction by queries", "opening"):
        assert part in text


# split


def test_split_hands_the_level_to_every_segment(tmp_path: Path, circuit: Path) -> None:
    split_model(circuit, ["max_pool2d"], tmp_path / "plain")
    assert all("privacy" not in tomllib.loads((tmp_path / "plain" / n / "circuit.toml").read_text()) for n in "12")
    for level in ("zero-knowledge", "integrity-only"):
        edit(circuit, "[weights]", f'[privacy]\nlevel = "{level}"\n[weights]')
        split_model(circuit, ["max_pool2d"], tmp_path / level)
        for number in "12":
            folder = CircuitFolder(tmp_path / level / number)
            assert tomllib.loads((folder.folder / "circuit.toml").read_text())["privacy"] == {"level": level}
            assert folder.spec.zero_knowledge == (level == "zero-knowledge")
        edit(circuit, f'[privacy]\nlevel = "{level}"\n', "")


def test_a_segment_s_model_is_readable_by_its_owner_alone_unless_the_weights_are_public(tmp_path: Path, circuit: Path) -> None:
    split_model(circuit, ["max_pool2d"], tmp_path / "public")
    edit(circuit, 'visibility = "public"', 'visibility = "committed"')
    split_model(circuit, ["max_pool2d"], tmp_path / "committed")
    for number in "12":
        assert (tmp_path / "public" / number / "model.onnx").stat().st_mode & 0o077 == 0o044
        assert (tmp_path / "committed" / number / "model.onnx").stat().st_mode & 0o077 == 0
