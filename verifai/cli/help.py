"""How a verb's ``--help`` looks: what an option takes in one word, and an example that can be pasted as it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand

_WORDS = {"path": "PATH", "str": "TEXT", "text": "TEXT", "int": "NUMBER", "int range": "NUMBER"} | {
    "integer": "NUMBER",
    "float": "NUMBER",
    "float range": "NUMBER",
}
_TYPE = re.compile(r"<(?:list\[)?([\w ]+)\]?>")
_PIECES = re.compile(r"""(?:[^\s'"]|'[^']*'|"[^"]*")+""")
_CONTINUED = " \\"


class VerbCommand(TyperCommand):
    """A verb whose help is read by people who have not seen its code."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, then options, each with the kind of its value in a word that is no Python."""
        rows: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                is_argument = parameter.param_type_name == "argument"
                name = _TYPE.sub("" if is_argument else _word, record[0]).rstrip()
                rows["Arguments" if is_argument else "Options"].append((name, record[1]))
        for heading, listed in rows.items():
            if listed:
                with formatter.section(heading):
                    formatter.write_dl(listed)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The example, broken where a shell joins lines again; wrapped as prose, a path would come apart."""
        if not self.epilog:
            return
        heading, _, example = self.epilog.partition(": ")
        formatter.write_paragraph()
        formatter.write(f"  {heading}:\n")
        for line in example_lines(example, formatter.width - 4):
            formatter.write(f"    {line}\n")


def _pieces(command: str) -> Iterator[str]:
    """Its words, an option together with its value."""
    option = ""
    for word in _PIECES.findall(command):
        if option and not word.startswith(("-", "&")):
            yield f"{option} {word}"
            option = ""
            continue
        if option:
            yield option
        option = word if word.startswith("-") else ""
        if not option:
            yield word
    if option:
        yield option


def _word(found: re.Match[str]) -> str:
    return _WORDS.get(found[1].lower(), found[0])


def example_lines(command: str, width: int) -> Iterator[str]:
    """``command`` in lines of at most ``width`` characters, as far as its words allow: a shell reads them as the one line."""
    line = ""
    for piece in _pieces(command):
        joined = f"{line} {piece}" if line else piece
        if line.endswith("&&"):
            yield line
            line = piece
        elif line and len(joined) + len(_CONTINUED) > width:
            yield line + _CONTINUED
            line = f"  {piece}"
        else:
            line = joined
    yield line
