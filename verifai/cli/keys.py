"""``key``: the keys that vouch for evidence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from verifai.bundle.keys import ENVIRONMENT_NAME, new_key, public_key_path, read_key
from verifai.cli.frame import Result, current, plain, verb
from verifai.domain.spoken import BITS, spoken
from verifai.errors import UsageError
from verifai.execution.outputs import Kind


def register(group: typer.Typer) -> None:
    """Add the group's verbs."""

    @verb(group, "new", group="key", example="verifai key new signing.key --no-passphrase")
    def new(
        path: Annotated[
            Path, typer.Argument(help="Private key file to make; PATH.pub is made beside it.", show_default=False), Kind.NEW
        ],
        no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Leave the file in clear (0600).")] = False,
    ) -> Result:
        """Make a private key (PKCS#8, 0600) and its public half. The passphrase is asked for, or VERIFAI_PASSPHRASE."""
        passphrase = None
        if not no_passphrase:
            passphrase = os.environ.get(ENVIRONMENT_NAME) or _ask_passphrase()
        key = new_key(path, passphrase=passphrase)
        public = public_key_path(path)
        lines = [
            f"Private key {plain(str(path))}: keep it.",
            f"Public key  {plain(str(public))}: hand it out.",
            str(key),
        ]
        data = {"private": str(path), "public": str(public), "key": str(key), "keyid": key.keyid, "encrypted": bool(passphrase)}
        return Result(data, lines, verdict="done")

    @verb(group, "show", group="key", example="verifai key show signing.key.pub")
    def show(path: Annotated[Path, typer.Argument(help="Private or public key file.", show_default=False)]) -> Result:
        """Print a key's public half and its identifier, as trust files and signatures name it."""
        found = read_key(path)
        key = found.public_key
        digits = spoken(key.keyid)
        return Result(
            {"key": str(key), "keyid": key.keyid, "fingerprint": digits, "private": found.private},
            [str(key), f"keyid {key.keyid}", f"fingerprint {digits} ({BITS} bits)"],
            verdict="done",
        )


def _ask_passphrase() -> str:
    frame = current()
    if frame.json or not os.isatty(0):
        raise UsageError(
            "bad-passphrase",
            "there is no terminal to ask for a passphrase",
            hint="Set VERIFAI_PASSPHRASE, or pass --no-passphrase.",
        )
    return str(typer.prompt("Passphrase", hide_input=True, confirmation_prompt=True, err=True))
