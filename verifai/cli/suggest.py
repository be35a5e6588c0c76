"""A command that does not exist: which one was meant. Answered from the table of verbs, so no verb is loaded."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

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
