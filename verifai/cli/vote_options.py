"""Options that calibrating and voting share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from verifai.bundle.keys import FileSigner, load_signer
from verifai.cli.frame import current
from verifai.domain.trust_keys import PublicKey
from verifai.errors import UsageError

KeyOption = Annotated[Path | None, typer.Option("--key", help="Private key that signs.")]
ParameterOption = Annotated[
    list[str] | None,
    typer.Option("--parameter", help="Fingerprint parameter, such as projections=16; repeatable.", metavar="NAME=VALUE"),
]
ThreadsOption = Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads of one run; not part of the job.")]


def key_names(paths: Sequence[Path], keys: Sequence[PublicKey]) -> dict[str, str]:
    """What the owners of keys are called here, by key identifier: ``alice.key.pub`` is ``alice``."""
    return {key.keyid: path.name.removesuffix(".pub").removesuffix(".key") for path, key in zip(paths, keys, strict=True)}


def signers_of(key: Path | None) -> list[FileSigner]:
    """The key that signs, or none, with a note that says so. Raises UsageError."""
    if key is None:
        current().note("No --key: unsigned, so nobody vouches for it.")
        return []
    return [load_signer(key)]


def parameters_of(given: list[str] | None) -> dict[str, int | str]:
    """``--parameter`` as a mapping; digits become integers. Raises UsageError."""
    found: dict[str, int | str] = {}
    for one in given or ():
        name, equals, value = one.partition("=")
        if not equals or name in found:
            raise UsageError("bad-option", f"{one!r} is not NAME=VALUE, or comes twice", where="--parameter")
        found[name] = int(value) if value.isascii() and value.isdecimal() else value
    return found
