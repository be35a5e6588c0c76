"""The frame around every verb: common options, one JSON object or text, progress, and the exit status.

Rich is imported where something is printed with it: help and JSON do without.

A verb is a function that returns a :class:`Result`; :func:`verb` adds ``--json``, ``-q`` and ``-v``, prints, and exits.
"""

from __future__ import annotations

import functools
import inspect
import json as json_module
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from verifai.cli.help import VerbCommand
from verifai.cli.outputs import check_outputs, output_kind
from verifai.cli.printable import printable
from verifai.cli.streams import width_of
from verifai.cli.suggest import followable
from verifai.domain.codes import remedy
from verifai.domain.findings import Finding
from verifai.errors import Interrupted, UsageError, VerifaiError
from verifai.execution.streamed import Streamed

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from verifai.cli.progress import ProgressDisplay

_IN_MEMORY = 16 * 2**20
"""Characters of a JSON document that are kept in memory."""
_AT_ONCE = 10_000
"""Pieces of it that are written together."""

VERDICTS = {
    0: "accepted",
    1: "rejected",
    2: "usage",
    3: "policy-not-met",
    4: "undecided",
    70: "bug",
    130: "interrupted",
}
"""The word in ``verdict`` of ``--json``, per exit status."""


@dataclass(frozen=True)
class Result:
    """What a verb has to say.

    Attributes:
        data: fields of the JSON object beside schema, verdict, status and findings.
        lines: what a person reads on stdout: strings with Rich markup, or renderables such as tables.
        findings: one per check.
        status: exit status.
        verdict: the JSON word; by default that of the status. Verbs that judge nothing say ``done``.
        brief: what ``-q`` leaves of ``lines``; by default all of them, for they are the result and no remark.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    lines: Sequence[RenderableType] = ()
    findings: Sequence[Finding] = ()
    status: int = 0
    verdict: str = ""
    brief: Sequence[RenderableType] | None = None


@dataclass
class Frame:
    """One invocation."""

    command: str
    json: bool = False
    quiet: bool = False
    verbose: bool = False
    inputs: Sequence[Path] = ()
    """What the command line names, outputs left out: no report may take its place."""
    beside: Result | None = None
    """What is told beside an error: found before it was one."""
    _display: ProgressDisplay | None = None

    @classmethod
    def for_failure(cls, command: str, arguments: Sequence[str]) -> Frame:
        """The frame to report with when parsing itself fails; reads the flags without a parser."""
        before_dashes = list(arguments)[: list(arguments).index("--")] if "--" in arguments else list(arguments)
        return cls(command, json="--json" in before_dashes, quiet=bool({"-q", "--quiet"} & set(before_dashes)))

    def out(self) -> Console:
        """Results: stdout."""
        return _console(stderr=False)

    def err(self) -> Console:
        """Everything else: stderr."""
        return _console(stderr=True)

    def note(self, text: str) -> None:
        """A remark on stderr, unless ``-q``. ``text`` is plain, not markup."""
        if self._display is not None:
            self._display.note(text)  # which knows whether a bar is on the screen
        elif not self.quiet:
            _show(self.err(), printable(text), style="dim", markup=False)

    def progress(self) -> ProgressDisplay:
        """A progress listener to use in a ``with`` block; silent where no terminal watches, or with ``-q``."""
        from verifai.cli.progress import ProgressDisplay

        self._display = ProgressDisplay(self.err(), quiet=self.quiet, verbose=self.verbose)
        return self._display

    def finish(self, result: Result) -> int:
        """Print ``result`` and return its status."""
        if self.json:
            document = {
                "schema": f"verifai/{self.command}/v1",
                "verdict": result.verdict or VERDICTS[result.status],
                "status": result.status,
                "findings": Streamed(len(result.findings), lambda: (finding.to_json() for finding in result.findings)),
                **result.data,
            }
            _write_json(document)
            return result.status
        console = self.out()
        for line in result.brief if self.quiet and result.brief is not None else result.lines:
            _show(console, line, soft_wrap=isinstance(line, str))
        return result.status

    def ask(self, question: str, *, default: str, hint: str) -> str:
        """The answer to ``question``, one line of standard input; ``default`` when the line is empty.

        Raises:
            UsageError: code ``bad-option`` with ``hint``, when there is nobody to answer.
        """
        self.err().print(f"{plain(question)} [dim]\\[{plain(default)}][/]: ", end="", highlight=False)
        answer = sys.stdin.readline() if sys.stdin is not None else ""
        if not answer:
            raise UsageError("bad-option", "standard input ended before it answered", hint=hint)
        return answer.strip() or default

    def fail(self, error: VerifaiError) -> int:
        """Report ``error``, and what to do about it, and return its status."""
        hint = followable(error.hint or remedy(error.code), self.command)
        if self.json:
            document: dict[str, Any] = {
                "schema": f"verifai/{self.command or 'verifai'}/v1",
                "verdict": VERDICTS[error.status],
                "status": error.status,
                "findings": [Finding.from_error(error).to_json()] if error.status in (1, 3, 4) else [],
                "error": {"code": error.code, "message": error.message, "where": error.where, "hint": hint},
                **(self.beside.data if self.beside is not None else {}),
            }
            _write_json(document)
            return error.status
        if self.beside is not None:
            out = self.out()
            for line in self.beside.lines:
                _show(out, line, soft_wrap=isinstance(line, str))
        console = self.err()
        word = {1: "rejected", 3: "policy not met", 4: "undecided", 70: "bug", 130: "interrupted"}.get(error.status, "error")
        _show(console, f"[bold red]{word}[/] [dim]\\[{error.code}][/] {plain(error.message)}", soft_wrap=True)
        if error.where:
            _show(console, f"  [dim]at[/]   {plain(error.where)}", soft_wrap=True)
        if hint:
            _show(console, f"  [dim]hint[/] {plain(hint)}", soft_wrap=True)
        return error.status


def plain(text: str) -> str:
    """Foreign text as Rich markup that shows exactly it, on one line: no tag, no control character, no forged line."""
    from rich.markup import escape

    return str(escape(printable(text).replace("\n", "\\n")))


def _write_json(document: Mapping[str, Any]) -> None:
    # allow_nan=False: a NaN would make the output unreadable for strict parsers, so it is a bug of the verb.
    # Encoded whole before the first byte is written, so that an error leaves no half of a document; a large one on disk.
    encoder = json_module.JSONEncoder(indent=2, ensure_ascii=True, allow_nan=False)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY, "w+", encoding="ascii", newline="") as whole:
        # Not with writelines: that looks at the size once, when all of it is in memory.
        pieces = encoder.iterencode(document)
        while block := "".join(islice(pieces, _AT_ONCE)):
            whole.write(block)
        whole.seek(0)
        shutil.copyfileobj(whole, sys.stdout)
    sys.stdout.write("\n")


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    # Without a terminal Rich assumes 80 columns and would break paths and digests that scripts read.
    return Console(stderr=stderr, width=width_of(sys.stderr if stderr else sys.stdout), emoji=False)


def _show(console: Console, line: RenderableType, **options: Any) -> None:
    """Print one line. What cannot be laid out is written as it is: how a thing looks decides nothing."""
    try:
        if options.get("soft_wrap") and isinstance(line, str) and console.is_terminal:
            options["soft_wrap"], line = _laid_out(console, line)
        console.print(line, highlight=False, **options)
    except (OSError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - markup in foreign text, an odd terminal: the words are what counts
        console.file.write(f"{printable(str(line))}\n")


def _laid_out(console: Console, line: str) -> tuple[bool, RenderableType]:
    """A line for a terminal: broken between words, below its own beginning; and whether the terminal shall break it after all.

    It shall where a command is in it: one that was broken here could not be copied.
    """
    from rich.padding import Padding
    from rich.text import Text

    text = Text.from_markup(line)
    if text.cell_len <= console.width or "verifai " in text.plain:
        return True, line
    indent = len(text.plain) - len(text.plain.lstrip(" "))
    return False, Padding(text[indent:], (0, 0, 0, min(indent, console.width // 2)))


_current: ContextVar[Frame] = ContextVar("frame")


def current() -> Frame:
    """The running verb's frame."""
    return _current.get()


JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.", rich_help_panel="Output")]
QuietFlag = Annotated[bool, typer.Option("--quiet", "-q", help="No notes, no progress.", rich_help_panel="Output")]
VerboseFlag = Annotated[bool, typer.Option("--verbose", "-v", help="Say more.", rich_help_panel="Output")]


def verb(
    app: typer.Typer, name: str, *, example: str, group: str = "", cls: type[VerbCommand] = VerbCommand
) -> Callable[[Callable[..., Result]], Any]:
    """Register a verb.

    Args:
        name: as typed.
        example: a worked command line for the end of ``--help``; the tests run it.
        group: name of the group the verb belongs to, such as ``srs``.
        cls: how its command line is parsed.
    """
    command = f"{group} {name}".strip()

    def decorate(function: Callable[..., Result]) -> Any:
        @functools.wraps(function)
        def wrapper(*, json: bool = False, quiet: bool = False, verbose: bool = False, **arguments: Any) -> int:
            frame = Frame(command.replace(" ", "-"), json=json, quiet=quiet, verbose=verbose)
            token = _current.set(frame)
            try:
                frame.inputs = check_outputs(arguments, outputs)
                return frame.finish(function(**arguments))
            except VerifaiError as problem:
                return frame.fail(problem)
            except KeyboardInterrupt:
                # Caught here because Typer would turn it into a bare exit that prints no JSON.
                return frame.fail(Interrupted("interrupted", "stopped; nothing was left half-written"))
            finally:
                _current.reset(token)

        hints = get_type_hints(function, include_extras=True)
        hints.pop("return", None)
        outputs = {name: kind for name, hint in hints.items() if (kind := output_kind(hint)) is not None}
        parameters = [
            parameter.replace(annotation=hints[parameter.name], kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(function).parameters.values()
        ]
        for flag, annotation in (("json", JsonFlag), ("quiet", QuietFlag), ("verbose", VerboseFlag)):
            parameters.append(inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=annotation))
        wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapper.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del wrapper.__wrapped__
        app.command(name, cls=cls, epilog=f"Example: {example}")(wrapper)
        return wrapper

    return decorate


def guess_command(arguments: Sequence[str]) -> str:
    """The verb's name in a command line that could not be parsed; empty when there is none."""
    words = [argument for argument in arguments if not argument.startswith("-")]
    return words[0] if words and words[0].replace("-", "").isalnum() else ""
