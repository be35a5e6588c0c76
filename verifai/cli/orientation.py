"""``explain``, ``help``, ``version``, ``completion``: for those who look for their way."""

from __future__ import annotations

import contextlib
import difflib
import io
import platform
from importlib.metadata import version as installed
from typing import Annotated

import typer
from rich.markup import escape

from verifai.cli.completion import Shell, completion_script
from verifai.cli.frame import Result, plain, verb
from verifai.domain.codes import all_codes
from verifai.errors import UsageError

_STATUS = {
    0: "a check that holds",
    1: "false evidence",
    2: "usage",
    3: "genuine, but the policy is not met",
    4: "could not be checked",
    70: "a bug of ours",
    130: "interrupted",
}


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @verb(app, "explain", example="verifai explain proof-invalid")
    def explain(code: Annotated[str, typer.Argument(help="A code, as it stands in brackets behind a message.")]) -> Result:
        """Say what a code means, and what to do about it."""
        found = all_codes().get(code)
        if found is None:
            near = difflib.get_close_matches(code, all_codes(), n=3)
            hint = f"Did you mean: {', '.join(near)}?" if near else "Codes stand in brackets behind messages: docs/codes.md."
            raise UsageError("bad-option", f"there is no code {code[:80]!r}", where="CODE", hint=hint)
        statuses = [f"{one}, {_STATUS[one]}" for one in found.statuses]
        lines = [f"[bold]{plain(code)}[/]: {plain(found.meaning)}"]
        lines += [f"  exit status {'; or '.join(statuses)}"]
        lines += [f"  what to do: {plain(found.remedy)}"] if found.remedy else []
        data = {"code": code, "meaning": found.meaning, "statuses": list(found.statuses), "remedy": found.remedy}
        return Result(data, lines, verdict="done")

    @verb(app, "help", example="verifai help trust add")
    def help_(words: Annotated[list[str] | None, typer.Argument(help="A command, or nothing for all.")] = None) -> Result:
        """Show the help of a command, as --help does."""
        from verifai.cli.app import run  # which imports the verbs when they run

        told = io.StringIO()
        with contextlib.redirect_stdout(told):
            status = run([*(words or ()), "--help"])
        if status != 0:
            raise UsageError("bad-option", "there is no such command", hint="Run: `verifai help`")
        return Result({"text": told.getvalue()}, [escape(told.getvalue().rstrip())], verdict="done")

    @verb(app, "version", example="verifai version")
    def version() -> Result:
        """Print the versions of verifai and of what its verdicts rest on."""
        packages = {name: installed(name) for name in ("verifai", "ezkl", "onnx", "onnxruntime", "numpy", "cryptography")}
        lines = [f"{name} {found}" for name, found in packages.items()]
        lines.append(f"Python {platform.python_version()} on {platform.machine()}, {platform.system()}")
        return Result({"versions": packages, "python": platform.python_version()}, lines, verdict="done")

    @verb(app, "completion", example="verifai completion bash")
    def completion(shell: Annotated[Shell, typer.Argument(help="Your shell.")]) -> Result:
        """Print a script that lets a shell complete commands and options.

        bash: verifai completion bash > ~/.local/share/bash-completion/completions/verifai
        zsh: verifai completion zsh > a folder of your fpath, as _verifai
        fish: verifai completion fish > ~/.config/fish/completions/verifai.fish
        """
        script = completion_script(shell)
        return Result({"script": script}, [escape(script.rstrip())], verdict="done")
