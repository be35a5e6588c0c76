"""Completion scripts: they hold all commands and options, so that pressing TAB starts no Python."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import typer


class Shell(StrEnum):
    """A shell that completes."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def completion_script(shell: Shell) -> str:
    """The script for ``shell``."""
    from verifai.cli.app import app  # which is what the script is about

    table = dict(_table(typer.main.get_command(app), ()))
    if shell is Shell.FISH:
        return _fish(table)
    head = "#compdef verifai\nautoload -U +X bashcompinit && bashcompinit\n" if shell is Shell.ZSH else ""
    return head + _bash(table)


def _table(command: Any, path: tuple[str, ...]) -> Any:
    """(command, the words that may follow it) for every command."""
    children = getattr(command, "commands", None)
    if children is not None:
        yield " ".join(path), [*children, "--help"]
        for name, child in children.items():
            yield from _table(child, (*path, name))
        return
    options = [name for one in command.params for name in one.opts if name.startswith("--")]
    yield " ".join(path), sorted({*options, "--help"})


def _bash(table: Mapping[str, list[str]]) -> str:
    cases = "\n".join(f'    "{path}") words="{" ".join(words)}" ;;' for path, words in table.items())
    return f"""# Completion of verifai for bash, and for zsh through bashcompinit.
_verifai() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" path="" words="" word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${{COMP_WORDS[i]}}"
    case "$word" in -*) ;; *)
      if _verifai_is "${{path:+$path }}$word"; then path="${{path:+$path }}$word"; fi ;;
    esac
  done
  case "$path" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ -n "$path" ] && [[ "$current" != -* ]]; then COMPREPLY+=($(compgen -f -- "$current")); fi
}}
_verifai_is() {{
  case "$1" in {" | ".join(f'"{path}"' for path in table if path)}) return 0 ;; esac
  return 1
}}
complete -o filenames -F _verifai verifai
"""


def _fish(table: Mapping[str, list[str]]) -> str:
    lines = ["# Completion of verifai for fish."]
    for path, words in table.items():
        seen = " ".join(path.split())
        names = [word for word in words if not word.startswith("-")]
        condition = "__fish_use_subcommand" if not path else f"__fish_seen_subcommand_from {seen.split()[-1]}"
        if names:
            lines.append(f"complete -c verifai -n '{condition}' -f -a '{' '.join(names)}'")
        lines += [f"complete -c verifai -n '{condition}' -l {word[2:]}" for word in words if word.startswith("--")]
    return "\n".join(lines) + "\n"
