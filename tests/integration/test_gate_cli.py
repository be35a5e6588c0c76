"""The commands ``gate`` and ``gate-init``: statuses, reports in every ending, and output that hostile names cannot steer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from tests.support.gate_world import GATE_KEY, LOG_KEY, World, fake_engines, section
from verifai.bundle.log import create_log
from verifai.cli import app as cli
from verifai.domain.statement import EngineName
from verifai.reports.registry import ReportName

__all__ = ["fake_engines"]
pytestmark = pytest.mark.usefixtures("fake_engines")
TODAY = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.chdir(tmp_path)
    return World(tmp_path)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    status = cli.run([*map(str, arguments), "--json"])
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert document["status"] == status
    return status, document


def all_reports(folder: Path) -> list[str]:
    return [word for name in ReportName for word in ("--report", f"{name.value}={folder / name.value}")]


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


ALL = {name.value for name in ReportName}


def _accepted(world: World) -> list[object]:
    return [world.bundle("a", created=TODAY), "--policy", world.policy()]


def _rejected(world: World) -> list[object]:
    return [world.bundle("a", created=TODAY, forged=True), "--policy", world.policy()]


def _not_met(world: World) -> list[object]:
    return [world.bundle("a", created=TODAY), "--policy", world.policy(proof="inferences = 2")]


def _empty(world: World) -> list[object]:
    (world.folder / "empty.toml").write_text("")
    return [world.bundle("a", created=TODAY), "--policy", "empty.toml"]


def _no_policy(world: World) -> list[object]:
    return [world.bundle("a", created=TODAY), "--policy", "nowhere.toml"]


def _nothing(world: World) -> list[object]:
    return ["--policy", world.policy()]


@pytest.mark.parametrize(
    ("status", "case"), [(1, _rejected), (3, _not_met), (4, _nothing), (2, _empty), (2, _no_policy), (0, _accepted)]
)
def test_every_report_is_written_whatever_the_ending_and_none_changes_it(
    status: int, case: Any, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = world.folder / "reports"
    folder.mkdir()
    arguments = case(world)
    for name in ReportName:  # alone: no format has a status of its own
        assert run(capsys, "gate", *arguments, "--report", f"{name.value}={folder / name.value}")[0] == status
        (folder / name.value).unlink()
    assert run(capsys, "gate", *arguments, *all_reports(folder))[0] == status
    assert written(folder) == ALL
    assert json.loads((folder / "json").read_text())["status"] == status
    suite = next(iter(JUnitXml.fromstring((folder / "junit").read_bytes())))
    assert bool(suite.failures + suite.errors) == bool(status)


def test_the_json_report_is_what_json_prints(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    _, document = run(capsys, "gate", *_rejected(world), "--report", "json=report.json")
    report = json.loads((world.folder / "report.json").read_text())
    for volatile in ("created",):
        report.pop(volatile), document.pop(volatile)
    assert report == document


def test_a_report_that_cannot_be_written_is_no_acceptance(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from verifai.errors import Undecided
    from verifai.reports import write

    def full(path: Path, pieces: Iterable[bytes]) -> None:
        if path.name == "sarif":
            raise Undecided("disk", "cannot write: no space left on device", where=str(path))
        path.write_bytes(b"".join(pieces))

    monkeypatch.setattr(write, "write_atomic", full)
    status, document = run(capsys, "gate", *_accepted(world), *all_reports(world.folder))
    assert status == 4
    assert document["findings"][0]["code"] == "report-not-written"
    assert (world.folder / "html").is_file(), "one that fails does not take the others with it"
    assert run(capsys, "gate", *_rejected_again(world), *all_reports(world.folder))[0] == 1


def _rejected_again(world: World) -> list[object]:
    return [world.bundle("b", 2, created=TODAY, forged=True), "--policy", world.policy()]


@pytest.mark.parametrize(
    "bad", ["sarif", "sarif=", "pdf=x", "=x", "sarif=nowhere/x", "html=/dev/stdout", "json=link", "markdown=taken"]
)
def test_a_report_option_that_cannot_work_is_refused_before_any_work(
    bad: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    (world.folder / "link").symlink_to("verifai.toml")
    policy = world.policy()
    before = policy.read_bytes()
    status, document = run(
        capsys, "gate", world.bundle("a"), "--policy", policy, "--report", "junit=taken", "--report", bad
    )  # fmt: skip
    assert (status, document["error"]["code"]) == (2, "bad-option")
    assert policy.read_bytes() == before
    assert b"bad-option" in (world.folder / "taken").read_bytes(), "the report that can be written tells of it"


def test_interruption_is_told_in_the_reports(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("verifai.stages.gate.gate.judge_all", stop)
    assert run(capsys, "gate", *_accepted(world), *all_reports(world.folder))[0] == 130
    assert b"interrupted" in (world.folder / "junit").read_bytes()
    assert b"accepted" not in (world.folder / "markdown").read_bytes()


def test_a_bug_is_told_in_the_reports(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object, **__: object) -> None:
        raise ZeroDivisionError("1/0")

    monkeypatch.setattr("verifai.stages.gate.gate.judge_all", crash)
    assert run(capsys, "gate", *_accepted(world), *all_reports(world.folder))[0] == 70
    assert written(world.folder) >= ALL


def _lines(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, list[str]]:
    status = cli.run([str(one) for one in arguments])
    captured = capsys.readouterr()
    return status, (captured.out + captured.err).splitlines()


HOSTILE_NAMES: Sequence[str] = (
    "a\n::error::forged",
    "a\r::add-mask::x",
    "\x1b[2Jcleared",
    "[bold]markup",
    "\u2028::notice::x",
)


@pytest.mark.parametrize("name", HOSTILE_NAMES, ids=range(len(HOSTILE_NAMES)))
def test_a_hostile_bundle_name_starts_no_line_and_moves_no_cursor(
    name: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = world.bundle("plain", created=TODAY, forged=True).rename(world.folder / name)
    status, lines = _lines(capsys, "gate", bundle, "--policy", world.policy())
    assert status == 1
    assert not [line for line in lines if line.lstrip().startswith("::")]
    assert "\x1b" not in "".join(lines)
    assert not [line for line in lines if "ACCEPTED" in line]


def test_explain_says_what_is_demanded_and_what_would_satisfy_it(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    policy = world.policy(proof='inferences = 3\ncontext = "release-9"', fidelity="top1_agreement = 0.97")
    status, document = run(capsys, "gate", "--explain", "--policy", policy)
    text = "\n".join(document["text"])
    assert (status, document["verdict"]) == (0, "done")
    for words in ("3 distinct inferences", "'release-9'", "0.97", "zero-knowledge", "To satisfy it: `verifai prove", world.pin):
        assert words in text


@pytest.mark.parametrize("extra", [["a"], ["--report", "json=x"], ["--attest", "x"]])
def test_an_explanation_cannot_be_taken_for_a_verdict(
    extra: list[str], world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.bundle("a")
    assert run(capsys, "gate", "--explain", "--policy", world.policy(), *extra)[0] == 2


def test_the_verdict_is_attested_signed_and_logged(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    key, log_key = GATE_KEY.write(world.folder / "gate.key"), LOG_KEY.write(world.folder / "log.key")
    create_log(world.folder / "log.db", origin="example.org/log", key=LOG_KEY.public_key)
    attest = ["--attest", "verdict", "--key", key, "--log", "log.db", "--log-key", log_key]
    status, document = run(capsys, "gate", *_accepted(world), *attest)
    assert status == 0
    top = world.trust(
        {"gate": ([GATE_KEY], 1)}, log=f'[log]\norigin = "example.org/log"\nkey = "{LOG_KEY.public_key}"'
    )  # fmt: skip
    (world.folder / "next.toml").write_text(
        f'schema = "verifai/policy/v1"\n{top}\n[[model]]\nname = "net"\nlock = "circuit.lock"\n'
        f'evidence = ["gate"]\nlog = true\n[model.gate]\npolicies = ["{document["facts"]["policy_digest"]}"]\n'
    )
    assert run(capsys, "gate", "verdict", "--policy", "next.toml")[0] == 0
    assert run(capsys, "gate", *_accepted_again(world), *attest)[0] == 2, "evidence is never written over"


def _accepted_again(world: World) -> list[object]:
    return [world.bundle("b", 2, created=TODAY), "--policy", world.policy()]


@pytest.mark.parametrize(
    "options", [["--attest", "v"], ["--key", "gate.key"], ["--attest", "v", "--key", "gate.key", "--log", "log.db"]]
)
def test_half_of_an_attestation_is_refused(options: list[str], world: World, capsys: pytest.CaptureFixture[str]) -> None:
    GATE_KEY.write(world.folder / "gate.key")
    assert run(capsys, "gate", *_accepted(world), *options)[0] == 2
    assert not (world.folder / "v").exists()


def test_gate_init_writes_a_policy_that_the_bundle_meets(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, lock = world.bundle("evidence/a", created=TODAY), world.write_lock()
    status, document = run(capsys, "gate-init", bundle, "--lock", lock)
    unsigned, older = document["warnings"]
    assert (status, unsigned) == (0, "The policy asks for no signature: it says what was proven, not by whom or when.")
    assert older.startswith("The lock pins no error in spreads of the output"), "its figures ask for no more than was reached"
    assert run(capsys, "gate", bundle)[0] == 0
    text = (world.folder / "verifai.toml").read_text()
    assert text.count("#") > 20, "it is commented"
    assert run(capsys, "gate", "--explain")[0] == 0
    assert run(capsys, "gate-init", bundle, "--lock", lock)[0] == 2, "an existing policy is kept"


def test_gate_init_is_loud_about_a_test_set_up(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.sections[EngineName.EZKL] = section(srs="test")
    bundle = world.bundle("a", created=TODAY)
    _, document = run(capsys, "gate-init", bundle, "--lock", world.write_lock())
    assert any(warning.startswith("INSECURE") for warning in document["warnings"])
    assert "# INSECURE" in (world.folder / "verifai.toml").read_text()
    assert run(capsys, "gate", bundle)[0] == 0


@pytest.mark.parametrize("case", ["forged", "other model"])
def test_gate_init_writes_nothing_for_a_bundle_that_does_not_hold(
    case: str, world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = world.write_lock()
    maker = world if case == "forged" else World(world.folder / "other", model=b"another model")
    status, _ = run(capsys, "gate-init", maker.bundle("a", created=TODAY, forged=case == "forged"), "--lock", lock)
    assert status == 1
    assert not (world.folder / "verifai.toml").exists()
    assert not [path for path in world.folder.iterdir() if path.name.endswith(".draft")]


def test_gate_init_finds_the_one_lock_that_fits_and_guesses_nothing(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = world.bundle("a", created=TODAY)
    status, document = run(capsys, "gate-init", bundle)
    assert (status, document["error"]["code"]) == (2, "no-lock")
    lock = world.write_lock().read_bytes()
    for name in ("net", "twin"):
        (world.folder / "circuits" / name).mkdir(parents=True)
        (world.folder / "circuits" / name / "circuit.lock").write_bytes(lock)
        assert run(capsys, "gate-init", bundle, "--force")[0] == (0 if name == "net" else 2)
