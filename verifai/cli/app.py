"""The command line's entry: hands over to a verb, turns every ending into the contract's exit status.

0 accepted · 1 rejected · 2 usage · 3 policy not met · 4 undecided · 70 a bug of ours · 130 interrupted
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

import typer
from typer.exceptions import TyperException

from verifai.cli.frame import Frame, guess_command
from verifai.cli.lazy import LazyGroup
from verifai.errors import InternalError, Interrupted, ResourceExhausted, Undecided, UsageError, VerifaiError

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
        hint = f"Run: verifai {frame.command} --help" if frame.command else "Run: verifai --help"
        return frame.fail(UsageError("bad-option", problem.format_message(), hint=hint))
    except VerifaiError as problem:
        return frame.fail(problem)
    except (KeyboardInterrupt, typer.Abort):
        return frame.fail(Interrupted("interrupted", "stopped; nothing was left half-written"))
    except BrokenPipeError:
        # The reader of our output went away (`| head`), so nothing can be reported.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError:
        return frame.fail(ResourceExhausted("out-of-memory", "no memory left"))
    except OSError as problem:
        return frame.fail(Undecided("disk", f"{problem.strerror or problem}", where=str(problem.filename or "")))
    except Exception as problem:  # the one place where an unforeseen failure becomes status 70
        if os.environ.get("VERIFAI_TRACEBACK") == "1":
            raise
        place = _innermost(problem)
        return frame.fail(
            InternalError(
                "bug",
                f"{type(problem).__name__}: {str(problem)[:300]}",
                where=place,
                hint="Please report it; VERIFAI_TRACEBACK=1 prints the whole trace.",
            )
        )


def _innermost(problem: BaseException) -> str:
    trace = problem.__traceback__
    place = ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if module.startswith("verifai"):
            place = f"{module}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """The console script."""
    # A CI job is stopped with SIGTERM; it deserves the same clean ending as Ctrl-C.
    signal.signal(signal.SIGTERM, _terminate)
    status = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)


if __name__ == "__main__":
    main()
