"""``key`` and ``trust``: who may vouch for evidence."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from verifai.cli.frame import Result, current, plain, verb
from verifai.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the groups."""
    keys = typer.Typer(help="Make and show Ed25519 signing keys.", no_args_is_help=True)
    app.add_typer(keys, name="key")
    _register_key(keys)
    trust = typer.Typer(help="Write the file that says whom and what you trust.", no_args_is_help=True)
    app.add_typer(trust, name="trust")
    _register_trust(trust)


def _register_key(group: typer.Typer) -> None:
    @verb(group, "new", group="key", example="verifai key new signing.key --no-passphrase")
    def new(
        path: Annotated[Path, typer.Argument(help="Private key file to make; PATH.pub is made beside it.", show_default=False)],
        no_passphrase: Annotated[bool, typer.Option("--no-passphrase", help="Leave the file in clear (0600).")] = False,
    ) -> Result:
        """Make a private key (PKCS#8, 0600) and its public half. The passphrase is asked for, or VERIFAI_PASSPHRASE."""
        from verifai.bundle.keys import ENVIRONMENT_NAME, new_key, public_key_path

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
        from verifai.bundle.keys import MAX_KEY_BYTES, load_signer, parse_public_key
        from verifai.execution.files import read_limited

        data = read_limited(path, limit=MAX_KEY_BYTES)
        private = b"PRIVATE KEY-----" in data
        key = load_signer(path).public_key if private else parse_public_key(data, str(path))
        return Result(
            {"key": str(key), "keyid": key.keyid, "private": private}, [str(key), f"keyid {key.keyid}"], verdict="done"
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


def _register_trust(group: typer.Typer) -> None:
    @verb(
        group,
        "init",
        group="trust",
        example="verifai trust init -o trust.toml --lock circuits/digits-mlp/circuit.lock --allow-test-srs",
    )
    def init(
        output: Annotated[Path, typer.Option("--output", "-o", help="File to write.")],
        lock: Annotated[list[Path] | None, typer.Option("--lock", help="circuit.lock that you trust; repeatable.")] = None,
        key: Annotated[list[Path] | None, typer.Option("--key", help="Public key that must sign releases; repeatable.")] = None,
        threshold: Annotated[int, typer.Option("--threshold", min=1, help="How many distinct keys must sign.")] = 1,
        log_origin: Annotated[str, typer.Option("--log-origin", help="Name of the audit log.")] = "",
        log_key: Annotated[Path | None, typer.Option("--log-key", help="Public key of the audit log.")] = None,
        allow_test_srs: Annotated[
            bool, typer.Option("--allow-test-srs", help="INSECURE: accept a set-up whose maker can forge proofs.")
        ] = False,
    ) -> Result:
        """Write a commented trust file. Read it before you use it: verdicts rest on it."""
        from verifai.stages.trust import TrustRequest, init_trust

        request = TrustRequest(
            locks=tuple(lock or ()),
            keys=tuple(key or ()),
            threshold=threshold,
            log_origin=log_origin,
            log_key=log_key,
            allow_test_srs=allow_test_srs,
        )
        trust = init_trust(output, request)
        lines = [
            f"Wrote {plain(str(output))}: {len(trust.circuits)} circuits, {len(trust.keys)} keys",
            f"Next: verifai audit BUNDLE --trust {plain(str(output))}",
        ]
        return Result(
            {"path": str(output), "circuits": sorted(trust.circuits), "keys": sorted(trust.keys)}, lines, verdict="done"
        )
