"""The command line's entry: hands over to a verb, turns every ending into the contract's exit status.

0 accepted · 1 rejected · 2 usage · 3 policy not met · 4 undecided · 70 a bug of ours · 130 interrupted
"""

from __future__ import annotations

if __name__ == "__main__":  # before the imports below: one that fails must not end as Python's own status 1
    import runpy

    runpy.run_module("verifai.cli.main", run_name="__main__")  # which ends the process

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import join
from typing import Any

import typer
from typer.exceptions import TyperException

from verifai.cli.frame import Frame, guess_command
from verifai.cli.lazy import LazyGroup, known_verb
from verifai.cli.suggest import other_option, suggestions
from verifai.errors import InternalError, Interrupted, Undecided, UsageError, VerifaiError, undecided
from verifai.execution.packages import install_hint

app = typer.Typer(
    name="verifai",
    cls=LazyGroup,
    help=(
        "Make machine-learning inference verifiable: prove that an output came from this model on this input, "
        "hand the evidence over, re-check it offline, and stop releases whose evidence does not hold."
    ),
    epilog="Start with: verifai demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts in half the time: Rich would load a Markdown parser for it
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version  # costs 20 ms, and only this option asks

        sys.stdout.write(f"verifai {version('verifai')}\n")
        raise typer.Exit(0)


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit."),
) -> None:
    """Options that come before a command."""


_NO_OPTION = re.compile(r"No such option: (--[A-Za-z0-9-]{1,40})")
_NO_COMMAND = re.compile(r"No such command '([^']{0,80})[^']*'\.")
_WAYS_ON = {
    "--trust": "Write what you trust: `verifai trust init -o trust.toml --lock CIRCUIT/circuit.lock`; then --trust trust.toml.",
    "--lock": "Give the circuit.lock that you trust, of the circuit's folder: --lock CIRCUIT/circuit.lock.",
}
"""Where an option that is missing comes from."""


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit status. Never raises, never prints a traceback (unless asked to)."""
    command = typer.main.get_command(app)
    frame = Frame.for_failure(guess_command(arguments), arguments)
    try:
        outcome = command.main(args=arguments, prog_name="verifai", standalone_mode=False)
        return outcome if isinstance(outcome, int) else 0
    except typer.Exit as ending:
        return ending.exit_code
    except TyperException as problem:
        if type(problem).__name__ == "NoArgsIsHelpError":
            sys.stdout.write(problem.format_message() + "\n")
            return 2
        known = known_verb(arguments)
        hint = f"Run: `{join(('verifai', *known, '--help'))}`"
        told = problem.format_message()
        if found := _NO_COMMAND.match(told):
            meant = suggestions(found[1], " ".join(known))
            told = found[0]
            if meant:
                hint = f"Did you mean {' or '.join(_ticked(one) for one in meant)}? {hint}"
        if unknown := _NO_OPTION.match(told):
            way = other_option(unknown[1], _options_of(command, known))
            told, hint = (unknown[0], f"{way} {hint}") if way else (told, hint)
        for option, way in _WAYS_ON.items():
            if told.startswith(f"Missing option '{option}'"):
                hint = f"{way} {hint}"
        return frame.fail(UsageError("bad-option", told, hint=hint))
    except VerifaiError as problem:
        return frame.fail(problem)
    except (KeyboardInterrupt, typer.Abort):
        return frame.fail(Interrupted("interrupted", "stopped; nothing was left half-written"))
    except UnicodeEncodeError as problem:
        if any(not _is_text(argument) for argument in arguments):
            hint = "Give it in UTF-8; only the names of files may be other bytes."
            return frame.fail(UsageError("bad-option", "an argument is not UTF-8 text", hint=hint))
        return frame.fail(_bug(problem))
    except ImportError as problem:
        return frame.fail(_missing_package(problem))
    except (OSError, MemoryError) as problem:
        return frame.fail(_refused(problem))
    except (Exception, SystemExit) as problem:  # the one place where an unforeseen failure becomes status 70
        if os.environ.get("VERIFAI_TRACEBACK") == "1":
            raise
        return frame.fail(_bug(problem))


def failed(arguments: Sequence[str], problem: VerifaiError) -> int:
    """Report what ended a command that could not do so itself; its status."""
    return Frame.for_failure(guess_command(arguments), arguments).fail(problem)


def _ticked(words: str) -> str:
    """A command of ours, as it is copied."""
    return f"`{join(('verifai', *words.split()))}`"


def _options_of(command: Any, words: Sequence[str]) -> frozenset[str]:
    """The options that the command ``words`` takes."""
    context = command.make_context("verifai", [], resilient_parsing=True)
    for word in words:
        command = command.get_command(context, word)
        if command is None:
            return frozenset()
    return frozenset(one for parameter in command.params for one in parameter.opts)


def _bug(problem: BaseException) -> InternalError:
    hint = "Please report it; VERIFAI_TRACEBACK=1 prints the whole trace."
    return InternalError("bug", f"{type(problem).__name__}: {str(problem)[:300]}", where=_innermost(problem), hint=hint)


def _missing_package(problem: ImportError) -> VerifaiError:
    if (problem.name or "").partition(".")[0] == "verifai":
        return _bug(problem)
    return Undecided("package-missing", f"a package that verifai needs cannot be loaded: {problem}", hint=install_hint())


def _refused(problem: OSError | MemoryError) -> Undecided:
    try:
        Path.cwd()
    except OSError:
        return Undecided("disk", "the current folder was removed", hint="Change to a folder that exists.")
    return undecided(problem)


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _innermost(problem: BaseException) -> str:
    trace = problem.__traceback__
    place = ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.startswith("verifai"):
            place = f"{module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
