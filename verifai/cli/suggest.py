"""A command or an option that does not exist: which one was meant. Commands are answered from the table of verbs, so none is
loaded; verbs are where a hint names an option of others."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Collection, Sequence

from verifai.cli.verbs import VERBS, Verb

_OTHER_WORDS = {
    "vote": "round join",
    "show": "inspect",
    "info": "inspect",
    "fingerprint": "inspect",
    "sign": "seal",
    "attest": "gate",
    "verdict": "gate-show",
    "policy": "gate-init",
    "mail": "handover",
    "send": "handover",
    "export-case": "handover",
    "zip": "pack",
    "unzip": "unpack",
    "train": "export",
    "convert": "export",
    "setup": "compile",
    "build": "compile",
    "run": "prove",
    "keygen": "key new",
    "new": "key new",
    "roles": "trust add",
    "error": "explain",
    "code": "explain",
    "tour": "demo",
    "start": "quickstart",
}
"""What people type for another tool's word."""


def suggestions(word: str, group: str = "") -> Sequence[str]:
    """Up to three commands that ``word`` may have meant, the likeliest first; whole, as they are typed."""
    every: list[str] = []
    for name, row in VERBS.items():
        every += [name] if isinstance(row, Verb) else [f"{name} {one}" for one in row.verbs]
    word = word.lower().strip("-_ ").replace("_", "-")
    mine = [one for one in every if not group or one.startswith(f"{group} ")]
    last = {one: one.split()[-1] for one in every}
    found = [_OTHER_WORDS[word]] if word in _OTHER_WORDS and not group else [one for one in mine if last[one] == word]
    found = found or [one for one in every if last[one] == word]
    for pool in (mine, every):
        if not found:
            near = difflib.get_close_matches(word, [*{last[one] for one in pool}, *pool], n=3, cutoff=0.6)
            found = [one for name in near for one in pool if name in (last[one], one)]
        if not found:
            found = [one for one in pool if one.startswith(word) and len(word) > 1]
    return list(dict.fromkeys(found))[:3]


_OTHER_OPTIONS = {
    "--lock": {
        "--trust": "What you trust stands in a trust file: "
        "`verifai trust init -o trust.toml --lock CIRCUIT/circuit.lock`; then --trust trust.toml.",
        "--policy": "A gate takes its locks from its policy: "
        "`verifai gate-init BUNDLE --lock CIRCUIT/circuit.lock`; then --policy FILE.",
    },
    "--trust": {
        "--lock": "It judges by a lock: --lock CIRCUIT/circuit.lock. By a trust file: `verifai audit BUNDLE --trust FILE`.",
        "--policy": 'A gate takes its trust file from its policy: write `trust = "trust.toml"` there.',
    },
    "--policy": {"": "A policy is judged by: `verifai gate BUNDLE --policy FILE`."},
    "--anchors": {
        "--policy": "A gate never takes what came along in a case: it judges by its policy.",
        "": "The fingerprint of a case is compared by: `verifai audit CASE --anchors DIGITS`.",
    },
}
"""By an option that other commands take: what to do instead, by an option that this command takes; "" for any command."""


def other_option(option: str, taken: Collection[str]) -> str:
    """What to do instead of giving ``option`` to a command that takes only ``taken``; "" where nothing is known."""
    ways = _OTHER_OPTIONS.get(option, {})
    return "" if option in taken else next((way for other, way in ways.items() if not other or other in taken), "")


_TICKED = re.compile(r"`[^`]*`")
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*[a-z]")
_NAMED = 3
"""Most commands that are named for an option."""


def followable(hint: str, command: str) -> str:
    """``hint``, and of options in it that ``command`` has not: which commands have them.

    One text is said by all commands that meet the same thing, and not all have the option that it names. Commands between
    backticks say themselves whose their options are.

    Args:
        command: as ``--json`` names it, such as ``trust-init``.
    """
    named = list(dict.fromkeys(_OPTION.findall(_TICKED.sub("", hint))))
    taken = {options for name, options in option_names() if name.replace(" ", "-") == command} if named else ()
    for option in named if taken else []:
        owners = ["`" + f"verifai {name}" + "`" for name, options in option_names() if option in options]
        if owners and option not in frozenset().union(*taken) and f"{option} is an option of" not in hint:
            more = len(owners) - _NAMED
            last = f"{more} more" if more > 0 else owners.pop() if len(owners) > 1 else ""
            hint += f" {option} is an option of " + " and ".join(filter(None, (", ".join(owners[:_NAMED]), last))) + "."
    return hint


@functools.cache
def option_names() -> tuple[tuple[str, frozenset[str]], ...]:
    """Every command, and the options that it takes. Imports all verbs, so it is for a command that has failed."""
    from verifai.cli.lazy import commands_of

    found = []
    for name, row in VERBS.items():
        verbs = {name: row} if isinstance(row, Verb) else {f"{name} {one}": verb for one, verb in row.verbs.items()}
        for whole, verb in verbs.items():
            params = commands_of(verb.module)[whole.split()[-1]].params
            found.append((whole, frozenset(one for parameter in params for one in parameter.opts)))
    return tuple(found)
