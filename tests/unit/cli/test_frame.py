"""Every ending of a command has its documented exit status, one clear error, and with --json exactly one JSON object."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
import typer
from rich.console import Console

from verifai import errors
from verifai.cli import app as cli
from verifai.cli import frame
from verifai.cli.frame import Frame, Result, guess_command, plain, printable, verb
from verifai.domain.findings import Finding, Outcome
from verifai.execution.streamed import Streamed


@pytest.fixture
def broken_app(monkeypatch: pytest.MonkeyPatch) -> typer.Typer:
    """An application whose one verb ends as its argument says."""
    app = typer.Typer()

    @app.callback()
    def root() -> None:
        """Root."""

    @verb(app, "end", example="verifai end well")
    def end(how: str) -> Result:
        """End as told."""
        kinds = {
            "rejected": errors.EvidenceRejected,
            "usage": errors.UsageError,
            "policy": errors.PolicyNotMet,
            "undecided": errors.Undecided,
        }
        if how in kinds:
            raise kinds[how]("some-code", "it went wrong", where="here", hint="do this")
        if how == "bug":
            raise ValueError("boom")
        if how == "memory":
            raise MemoryError
        if how == "disk":
            raise OSError(28, "No space left on device", "out.bin")
        if how == "interrupt":
            raise KeyboardInterrupt
        if how == "found":
            return Result({"x": 1}, ["text"], [Finding("some-code", Outcome.REJECTED, "false")], 1)
        return Result({"x": 1}, ["text"], verdict="done")

    monkeypatch.setattr(cli, "app", app)
    return app


STATUS = {
    "rejected": 1,
    "usage": 2,
    "policy": 3,
    "undecided": 4,
    "bug": 70,
    "memory": 4,
    "disk": 4,
    "interrupt": 130,
    "found": 1,
    "well": 0,
}


@pytest.mark.parametrize(("how", "status"), STATUS.items())
def test_each_ending_has_its_status(broken_app: typer.Typer, capsys: pytest.CaptureFixture[str], how: str, status: int) -> None:
    assert cli.run(["end", how]) == status
    captured = capsys.readouterr()
    assert "Traceback" not in captured.out + captured.err


@pytest.mark.parametrize(("how", "status"), STATUS.items())
def test_json_is_one_object_for_every_ending(
    broken_app: typer.Typer, capsys: pytest.CaptureFixture[str], how: str, status: int
) -> None:
    assert cli.run(["end", how, "--json"]) == status
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "verifai/end/v1"
    assert document["status"] == status
    assert isinstance(document["findings"], list)
    if how in ("rejected", "usage", "policy", "undecided"):
        assert document["error"] == {"code": "some-code", "message": "it went wrong", "where": "here", "hint": "do this"}


def test_errors_go_to_stderr_with_place_and_hint(broken_app: typer.Typer, capsys: pytest.CaptureFixture[str]) -> None:
    cli.run(["end", "policy"])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert all(part in captured.err for part in ("some-code", "it went wrong", "here", "do this"))


@pytest.mark.parametrize("arguments", [["nonsense"], ["verify"], ["verify", "--nonsense"], ["prove", "x"], ["srs", "nonsense"]])
def test_misuse_is_status_2_and_json_when_asked(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.run(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert cli.run([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["verdict"] == "usage"


def test_control_characters_of_foreign_names_are_shown_not_sent() -> None:
    assert printable("a\x1b[31mb\x07\n::error::c") == "a\\x1b[31mb\\x07\\x0a::error::c"


@pytest.mark.parametrize(
    ("arguments", "command"), [(["verify", "x"], "verify"), (["--json", "gate-init"], "gate-init"), (["../x"], ""), ([], "")]
)
def test_the_command_is_guessed_for_unparsable_lines(arguments: list[str], command: str) -> None:
    assert guess_command(arguments) == command


def test_a_bug_names_the_place_but_prints_no_trace(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def explode(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("verifai.cli.verify.read_lock", explode)
    assert cli.run(["verify", "x", "--lock", "y"]) == 70
    text = capsys.readouterr().err
    assert "ZeroDivisionError" in text
    assert "verifai.cli.verify" in text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_command_with_130(number: signal.Signals) -> None:
    code = (
        "import sys, time\nfrom verifai.cli import frame, main\nimport verifai.circuit_folder as room\n"
        "room.read_lock = lambda path: (print('started', flush=True), time.sleep(3600))\n"
        "sys.argv = ['verifai', 'verify', 'x', '--lock', 'y', '--json']\nmain.main()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    process.send_signal(number)
    out, err = process.communicate()
    assert process.returncode == 130
    assert json.loads(out)["verdict"] == "interrupted"
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "text", ["[/]", "[/foo]", "[bold green]ACCEPTED[/]", "a\nACCEPTED", "\x1b[2Jx", "[link=file:///]x", "\\[x]"]
)
def test_foreign_text_is_shown_and_never_obeyed(text: str) -> None:
    """Names and contexts come from provers: markup in one would hide a verdict, and a stray closing tag would crash."""
    from rich.markup import render

    shown = render(plain(text))
    assert not shown.spans and shown.plain == printable(text).replace("\n", "\\n")


@pytest.mark.parametrize("columns", [40, 80, 160])
def test_no_word_is_cut_on_a_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    words = "three inferences proven and verified, one more with both engines; all seven forgeries refused, each as it should"
    shown = _on_a_terminal(Result(lines=[words, f"   [dim]{words}[/]"]), columns, monkeypatch)
    lines = shown.splitlines()
    assert " ".join(" ".join(lines).split()) == f"{words} {words}"
    assert all(len(line.rstrip()) <= columns for line in lines)
    assert lines[-1].startswith("   ")


def test_a_command_is_left_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Broken by us it could not be copied."""
    command = "Next: verifai verify evidence/000000 --lock circuits/digits-mlp/circuit.lock --allow-test-srs"
    assert _on_a_terminal(Result(lines=[command]), 40, monkeypatch) == f"{command}\n"


def _on_a_terminal(result: Result, columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=columns, color_system=None, legacy_windows=False)
    monkeypatch.setattr(Frame, "out", lambda self: console)
    assert Frame("verify").finish(result) == 0
    return screen.getvalue()


def test_a_long_document_is_not_held_in_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ten thousand reports are of hundreds of megabytes."""
    count, text = 20_000, "x" * 200

    def peak(number: int) -> int:
        with (tmp_path / "out").open("w") as out:
            monkeypatch.setattr(sys, "stdout", out)
            tracemalloc.start()
            frame._write_json({"findings": Streamed(number, lambda: ({"message": text} for _ in range(number)))})
            found = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        return found

    monkeypatch.setattr(frame, "_IN_MEMORY", 100_000)
    small = peak(count // 10)
    assert peak(count) < 2 * small < 200 * count
