"""A whole round on the command line: calibrate, open, commit, reveal, decide; and what happens when a verifier cheats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from verifai.bundle.keys import load_public_key, new_key
from verifai.cli.app import run
from verifai.consensus.attacks import standard_model_attacks
from verifai.fingerprints.output import Output

FIXTURE = ROOT / "fixtures" / "digits-cnn"
VOTERS = ("a", "b", "c")
BEACON = {"source": "lottery", "number": 7, "value": "5a" * 32}


def _rows(count: int) -> dict[str, Any]:
    with np.load(FIXTURE / "heldout.npz") as arrays:
        name = next(key for key in arrays if key != "label")
        return {name: arrays[name][:count]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keys, a tolerance, an open round and three honest commitments."""
    made = tmp_path_factory.mktemp("round")
    for name in (*VOTERS, "coordinator"):
        new_key(made / f"{name}.key")
    np.savez(made / "calibration.npz", **_rows(24))
    np.savez(made / "two.npz", **_rows(2))
    (made / "beacon.json").write_text(json.dumps(BEACON))
    model = str(FIXTURE / "model.onnx")
    coordinator = ["--key", str(made / "coordinator.key")]
    assert run(["calibrate", model, str(made / "calibration.npz"), "-o", str(made / "tolerance.json"), *coordinator]) == 0
    voters = [part for name in VOTERS for part in ("--voter", str(made / f"{name}.key.pub"))]
    beacon = ["--beacon-source", "lottery", "--beacon-number", "7"]
    tolerance = ["--calibration", str(made / "tolerance.json")]
    opened = [
        "vote-open",
        model,
        str(made / "two.npz"),
        "-o",
        str(made / "round.json"),
        *voters,
        *beacon,
        *tolerance,
        *coordinator,
    ]
    assert run(opened) == 0
    for name in VOTERS:
        assert _commit(made, name, model) == 0
    return made


def _commit(folder: Path, name: str, model: str, suffix: str = "", *more: str) -> int:
    files = [str(folder / "round.json"), model, str(folder / "two.npz")]
    target = folder / f"{name}{suffix}.commitment.json"
    return run(["vote-commit", *files, "--key", str(folder / f"{name}.key"), "-o", str(target), *more])


def _reveal(folder: Path, name: str, commitments: list[str], suffix: str, beacon: str = "beacon.json", mine: str = "") -> int:
    given = [str(folder / f"{one}.commitment.json") for one in commitments]
    secret = folder / f"{name}{mine}.commitment.json.secret"
    return run(
        [
            "vote-reveal",
            str(folder / "round.json"),
            *given,
            "--beacon",
            str(folder / beacon),
            "--secret",
            str(secret),
            "--key",
            str(folder / f"{name}.key"),
            "-o",
            str(folder / f"{name}{suffix}.vote.json"),
        ]
    )


def _decide(folder: Path, messages: list[str], *more: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    voters = [part for name in VOTERS for part in ("--voter", str(folder / f"{name}.key.pub"))]
    files = [str(folder / one) for one in ("round.json", "tolerance.json", *messages)]
    status = run(["consensus", *files, "--beacon", str(folder / "beacon.json"), *voters, "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def test_a_verifier_with_a_cheaper_model_is_named_and_its_attack_guessed(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from verifai.consensus.runner import VoteRunner
    from verifai.domain.consensus.job import RuntimeOptions

    model = (FIXTURE / "model.onnx").read_bytes()
    cheap = next(one for one in standard_model_attacks() if one.name == "int4-weights").apply(model)
    runner = VoteRunner(cheap, RuntimeOptions())
    rows = [{runner.inputs[0]: row[None]} for row in next(iter(_rows(2).values()))]
    lied: list[Output] = list(runner.run(rows))
    np.savez(folder / "lied.npz", **{name: np.stack([one[name] for one in lied]) for name in lied[0]})
    assert _commit(folder, "c", str(FIXTURE / "model.onnx"), "-lied", "--outputs", str(folder / "lied.npz")) == 0
    commitments = ["a", "b", "c-lied"]
    for name, mine in (("a", ""), ("b", ""), ("c", "-lied")):
        assert _reveal(folder, name, commitments, "-1", mine=mine) == 0
    messages = [f"{one}.commitment.json" for one in commitments] + [f"{one}-1.vote.json" for one in VOTERS]
    page = folder / "votes.html"
    status, said = _decide(folder, messages, "--report", f"html={page}", capsys=capsys)
    assert (status, said["outcome"]) == (0, "accept")
    far = [node for node in said["nodes"] if node["relation"] == "beyond"]
    assert len(far) == 1
    assert far[0]["looks_like"] in ("int4-weights", "swap-layer", "prune-10%", "input-edited")
    text = page.read_text(encoding="utf-8")
    assert "They agree" in text
    assert "disagrees" in text
    assert "<script" not in text
    wrong, claimed = _decide(folder, messages, "--claim", str(folder / "lied.npz"), capsys=capsys)
    assert wrong == 1
    assert claimed["findings"][-1]["code"] == "claim-outside-ball"


def _policy(folder: Path, environments: int) -> Path:
    """The policy file of a release that asks for three signers in so many environments, on the log."""
    keys = {name: str(load_public_key(folder / f"{name}.key.pub")) for name in (*VOTERS, "coordinator", "log")}
    voters = ", ".join(f'"{name}"' for name in VOTERS)
    lines = ['schema = "verifai/trust/v1"', "[keys]", *(f'{name} = "{key}"' for name, key in keys.items())]
    lines += [f"[roles.voter]\nkeys = [{voters}]\nthreshold = 1", '[roles.consensus]\nkeys = ["coordinator"]\nthreshold = 1']
    lines += [f'[log]\norigin = "example.org/log"\nkey = "{keys["log"]}"', ""]
    (folder / "trust.toml").write_text("\n".join(lines))
    lock = FIXTURE.parents[1] / "circuits" / "digits-cnn" / "circuit.lock"
    (folder / "circuit.lock").write_bytes(lock.read_bytes())
    path = folder / f"{environments}.toml"
    path.write_text(
        'schema = "verifai/policy/v1"\ntrust = "trust.toml"\n[[model]]\nname = "digits-cnn"\nlock = "circuit.lock"\n'
        f'evidence = ["consensus"]\nlog = true\n[model.consensus]\nverifiers = 3\nenvironments = {environments}\n'
    )
    return path


def _gate(policy: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, set[str]]:
    capsys.readouterr()
    status = run(["gate", str(bundle), "--policy", str(policy), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert "error" not in document, document["error"]
    found = document["findings"]
    return status, {one["code"] for one in found if one["outcome"] not in ("holds", "not-checked")}


def test_a_decision_becomes_a_bundle_that_the_gate_passes_or_not(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifai.consensus import environment

    with monkeypatch.context() as patch:
        patch.setattr(environment, "instruction_set", lambda: "an older machine")
        assert _commit(folder, "c", str(FIXTURE / "model.onnx"), "-elsewhere") == 0
    commitments = ["a", "b", "c-elsewhere"]
    for name, mine in (("a", ""), ("b", ""), ("c", "-elsewhere")):
        assert _reveal(folder, name, commitments, "-4", mine=mine) == 0
    new_key(folder / "log.key")
    log = folder / "audit.log"
    assert run(["log", "init", str(log), "--origin", "example.org/log", "--key", str(folder / "log.key.pub")]) == 0
    messages = [f"{one}.commitment.json" for one in commitments] + [f"{one}-4.vote.json" for one in VOTERS]
    signed = ["--key", str(folder / "coordinator.key")]
    logged = [*signed, "--log", str(log), "--log-key", str(folder / "log.key")]
    status, made = _decide(folder, messages, "-o", str(folder / "logged"), *logged, capsys=capsys)
    assert (status, made["outcome"], made["environments"]) == (0, "accept", 2)
    assert len(made["log"]["positions"]) == 9
    assert _decide(folder, messages, "-o", str(folder / "unlogged"), *signed, capsys=capsys)[0] == 0
    assert _decide(folder, messages, "-o", str(folder / "unsigned"), capsys=capsys)[0] == 0
    assert _decide(folder, messages, "-o", str(folder / "logged"), *signed, capsys=capsys)[0] == 2
    assert _decide(folder, messages, *signed, capsys=capsys)[0] == 2
    assert _gate(_policy(folder, 2), folder / "logged", capsys) == (0, set())
    assert _gate(_policy(folder, 3), folder / "logged", capsys) == (3, {"too-few-environments"})
    assert _gate(_policy(folder, 2), folder / "unlogged", capsys) == (3, {"not-logged"})
    assert _gate(_policy(folder, 2), folder / "unsigned", capsys)[0] == 3
    status, again = _decide(folder, messages, "--history", str(folder / "logged"), capsys=capsys)
    assert status == 0
    assert again["weighted"] is not None


def test_an_honest_round_is_accepted_and_too_few_votes_are_not(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in VOTERS:
        assert _reveal(folder, name, list(VOTERS), "-2") == 0
    messages = [f"{one}.commitment.json" for one in VOTERS] + [f"{one}-2.vote.json" for one in VOTERS]
    coordinator = ("--coordinator", str(folder / "coordinator.key.pub"))
    status, said = _decide(folder, messages, *coordinator, capsys=capsys)
    assert (status, said["outcome"], len(said["agreeing"])) == (0, "accept", 3)
    few, told = _decide(folder, messages[:-1], capsys=capsys)
    assert (few, told["outcome"]) == (3, "no-quorum")
    forged, refused = _decide(folder, messages, "--coordinator", str(folder / "a.key.pub"), capsys=capsys)
    assert (forged, refused["error"]["code"]) == (1, "terms-not-signed")


def test_secrets_are_private_and_nothing_is_overwritten(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (folder / "a.commitment.json.secret").stat().st_mode & 0o077 == 0
    assert _commit(folder, "a", str(FIXTURE / "model.onnx")) == 2
    assert "file-exists" in capsys.readouterr().err


def test_a_beacon_that_the_terms_do_not_name_is_refused(folder: Path) -> None:
    (folder / "other.json").write_text(json.dumps({**BEACON, "number": 8}))
    assert _reveal(folder, "a", list(VOTERS), "-3", beacon="other.json") == 1
    (folder / "broken.json").write_text('{"source": "lottery", "number": 7, "number": 8, "value": "00"}')
    assert _reveal(folder, "a", list(VOTERS), "-3", beacon="broken.json") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [
            "vote-open",
            "MODEL",
            "two.npz",
            "-o",
            "x.json",
            "--voter",
            "a.key.pub",
            "--beacon-source",
            "s",
            "--beacon-number",
            "1",
        ],
        ["calibrate", "MODEL", "absent.npz", "-o", "x.json"],
        ["calibrate", "MODEL", "two.npz", "-o", "x.json", "--parameter", "projections=4"],
        ["calibrate", "MODEL", "calibration.npz", "-o", "x.json", "--tensor", "no_such"],
        ["consensus", "tolerance.json", "--beacon", "beacon.json", "--voter", "a.key.pub"],
    ],
)
def test_what_cannot_be_done_as_asked_is_a_usage_error(arguments: list[str], folder: Path) -> None:
    names = {"MODEL": str(FIXTURE / "model.onnx")}
    filled = [names.get(one, str(folder / one) if one.endswith((".npz", ".json", ".pub")) else one) for one in arguments]
    assert run(filled) in (2, 3)
    assert not (folder / "x.json").exists()
