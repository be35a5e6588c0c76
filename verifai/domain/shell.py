"""Words of commands that are printed to be copied: quoted for a POSIX shell, so that a path with a blank stays one word."""

from __future__ import annotations

import shlex


def shell(path: object) -> str:
    """A path as one word of a command line. One that begins with a dash is made no option."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def rebuild_hint(circuit: object, engine: str) -> str:
    """How to make a circuit folder's build of one engine anew from what its lock pins."""
    return f"Run: `verifai compile {shell(circuit)} --engine {shell(engine)} --locked`, to rebuild what the lock pins."
