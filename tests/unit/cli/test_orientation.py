"""Finding one's way: explain, help, version, completion."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from verifai.cli.app import run
from verifai.cli.completion import Shell, completion_script
from verifai.cli.suggest import suggestions
from verifai.cli.verbs import VERBS, Verb
from verifai.domain.codes import all_codes


@pytest.mark.parametrize("code", ["proof-invalid", "anchors-came-along", "round-late"])
def test_a_code_is_explained(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", code, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["meaning"], tuple(found["statuses"])) == (all_codes()[code].meaning, all_codes()[code].statuses)


def test_an_unknown_code_is_answered_with_near_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["explain", "proof-invald"]) == 2
    assert "proof-invalid" in capsys.readouterr().err
    assert run(["explain", "\x1b[31m"]) == 2
    assert "\x1b[31m" not in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["verify"], ["trust", "add"], ["round"]])
def test_help_is_what_the_option_prints(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*words, "--help"]) == 0
    told = capsys.readouterr().out
    assert run(["help", *words]) == 0
    assert capsys.readouterr().out.split() == told.split()


def test_help_of_nothing_that_exists_is_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", "nonsense"]) == 2
    assert run(["version"]) == 0
    assert capsys.readouterr().out.startswith("verifai ")


@pytest.mark.parametrize(
    ("line", "wanted", "unwanted"),
    [
        ("verifai ga", {"gate", "gate-init", "gate-show", "gate-verify"}, {"trust"}),
        ("verifai trust ", {"init", "add", "show"}, {"append"}),
        ("verifai trust add --ro", {"--role"}, {"--key"}),
        ("verifai --json audit --tr", {"--trust"}, {"--lock"}),
        ("verifai round join x --coord", {"--coordinator"}, {"--state"}),
    ],
)
def test_bash_completes_commands_and_options(line: str, wanted: set[str], unwanted: set[str], tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("bash is not here, so its completion cannot be tried")
    script = tmp_path / "verifai.bash"
    script.write_text(completion_script(Shell.BASH))
    words = line.split(" ")
    quoted = " ".join(f'"{word}"' for word in words)
    ask = f'source {script}; COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _verifai; printf "%s\\n" "${{COMPREPLY[@]}}"'
    told = subprocess.run([bash, "--norc", "-c", ask], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert told.stderr == "" and wanted <= set(told.stdout.split()) and not unwanted & set(told.stdout.split())


def test_the_printed_script_is_the_whole_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", "bash"]) == 0
    assert capsys.readouterr().out.strip() == completion_script(Shell.BASH).strip()
    for shell in Shell:
        text = completion_script(shell)
        assert all(name in text for name in VERBS)
    assert "--anchors" in completion_script(Shell.ZSH) and "-l anchors" in completion_script(Shell.FISH)


def test_a_suggestion_is_always_a_command_that_exists() -> None:
    every = {name for name, row in VERBS.items() if isinstance(row, Verb)}
    every |= {f"{name} {one}" for name, row in VERBS.items() if not isinstance(row, Verb) for one in row.verbs}
    for word in ("vote", "sign", "mail", "verfy", "x", "", "-", "🦊", "a" * 500, "show", "log", "policy", "keygen", *VERBS):
        assert set(suggestions(word)) <= every, word
