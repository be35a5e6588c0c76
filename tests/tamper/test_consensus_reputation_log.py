"""Reputation over the log: a record that nobody trusted signed, or that the log does not hold, does not count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.gate_world import LOG_KEY, MALLORY, World, fake_engines
from tests.tamper.test_consensus_bundle import CHAIR, VOTERS, Played, _files, answers, decision_of
from verifai.bundle.log import create_log
from verifai.bundle.log_check import proof_file
from verifai.bundle.reader import open_bundle
from verifai.bundle.writer import write_bundle
from verifai.cli.app import run

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")
FAR = "2096-01-01T00:00:00Z"


def _trust(world: World, *, log: bool = True, expires: str = "", chair: Any = CHAIR) -> Path:
    table = f'[log]\norigin = "example.org/log"\nkey = "{LOG_KEY.public_key}"' if log else ""
    world.trust({"voter": (VOTERS, 1), "consensus": ([chair], 1)}, log=table)
    path = world.folder / "trust.toml"
    path.write_text(path.read_text() + (f'[freshness]\nexpires = "{expires}"\n' if expires else ""))
    return path


def _past(world: World, name: str, **changes: Any) -> Path:
    """A logged decision in which one of the three was wrong."""
    log = world.folder / "audit.log"
    if not log.exists():
        create_log(log, origin="example.org/log", key=LOG_KEY.public_key)
    played = Played(world, nonce=name, given={VOTERS[2].seed: answers(3.0)}, until=FAR)
    written, _ = played.write(name, **({"log": log, "log_signer": LOG_KEY} | changes))
    return written.path


def _exchanged(world: World, past: Path, *, renamed: bool) -> Path:
    """Another decision, which the coordinator signed too, in the place of the one that was logged."""
    other, _ = Played(world, nonce="past", until=FAR).write("other")
    target = world.folder / "exchanged"
    with open_bundle(past) as old, open_bundle(other.path) as new:
        log = dict(old.log)
        if renamed:
            log[proof_file(other.decision_id)] = log.pop(proof_file(decision_of(old.attestations)[0]))
        write_bundle(
            target, payload=dict(new.payload), attestations=list(new.attestations.values()), created=new.manifest.created,
            signers=[CHAIR], log=log,
        )  # fmt: skip
    return target


def _decide(world: World, folder: Path, *more: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    capsys.readouterr()
    status = run(["consensus", *_files(Played(world, until=FAR), folder), "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def test_a_logged_and_signed_record_weighs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path)
    past = [part for number in range(12) for part in ("--history", str(_past(world, f"past-{number}")))]
    status, said = _decide(world, tmp_path / "now", *past, "--history-trust", str(_trust(world)), capsys=capsys)
    assert (status, said["outcome"]) == (0, "accept")
    assert 0 < said["weighted"]["support"] <= 1


@pytest.mark.parametrize(
    ("what", "status", "code"),
    [
        ("not on the log", 3, "not-logged"),
        ("signed by nobody who is trusted", 3, "below-threshold"),
        ("a decision that was exchanged", 3, "not-logged"),
        ("a decision that was exchanged, with the log proof renamed", 1, "log-proof-invalid"),
        ("a log proof of another log", 1, "log-signature-invalid"),
        ("a trust file without a log", 2, "bad-trust"),
        ("a trust file that expired", 3, "trust-expired"),
    ],
)
def test_a_record_that_is_not_what_was_decided_does_not_count(
    what: str, status: int, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = World(tmp_path)
    trust = _trust(
        world,
        log=what != "a trust file without a log",
        expires="2020-01-01T00:00:00Z" if what == "a trust file that expired" else "",
        chair=MALLORY if what == "signed by nobody who is trusted" else CHAIR,
    )
    past = _past(world, "past", **({"log": None, "log_signer": None} if what == "not on the log" else {}))
    if what.startswith("a decision that was exchanged"):
        past = _exchanged(world, past, renamed="renamed" in what)
    if what == "a log proof of another log":
        trust.write_text(trust.read_text().replace("example.org/log", "example.org/other"))
    found = _decide(world, tmp_path / "now", "--history", str(past), "--history-trust", str(trust), capsys=capsys)
    assert (found[0], found[1]["error"]["code"]) == (status, code)


def test_the_option_does_not_stand_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(tmp_path)
    found = _decide(world, tmp_path / "now", "--history-trust", str(_trust(world)), capsys=capsys)
    assert (found[0], found[1]["error"]["code"]) == (2, "bad-option")
