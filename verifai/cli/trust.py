"""``trust``: the file that says whom and what is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verifai.cli.frame import Result, plain, verb
from verifai.cli.shown import shown_result
from verifai.domain.shell import shell
from verifai.domain.trust import TrustRole
from verifai.execution.outputs import Kind
from verifai.stages.show import show_trust
from verifai.stages.trust import TrustRequest, add_key, init_trust


def register(group: typer.Typer) -> None:
    """Add the group's verb."""

    @verb(
        group,
        "init",
        group="trust",
        example="verifai trust init -o trust.toml --lock circuits/digits-mlp/circuit.lock --allow-test-srs",
    )
    def init(
        output: Annotated[Path, typer.Option("--output", "-o", help="File to write."), Kind.NEW],
        lock: Annotated[list[Path] | None, typer.Option("--lock", help="circuit.lock that you trust; repeatable.")] = None,
        key: Annotated[list[Path] | None, typer.Option("--key", help="Public key that must sign releases; repeatable.")] = None,
        threshold: Annotated[int, typer.Option("--threshold", min=1, max=1024, help="How many distinct keys must sign.")] = 1,
        log_origin: Annotated[str, typer.Option("--log-origin", help="Name of the audit log.")] = "",
        log_key: Annotated[Path | None, typer.Option("--log-key", help="Public key of the audit log.")] = None,
        allow_test_srs: Annotated[
            bool, typer.Option("--allow-test-srs", help="INSECURE: accept a set-up whose maker can forge proofs.")
        ] = False,
    ) -> Result:
        """Write a commented trust file. Read it before you use it: verdicts rest on it."""
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
            f"Wrote {plain(str(output))}: {_counted(len(trust.circuits), 'circuit')}, {_counted(len(trust.keys), 'key')}",
            f"Next: verifai audit BUNDLE --trust {plain(shell(output))}",
        ]
        return Result(
            {"path": str(output), "circuits": sorted(trust.circuits), "keys": sorted(trust.keys)}, lines, verdict="done"
        )

    @verb(group, "show", group="trust", example="verifai trust show trust.toml")
    def show(path: Annotated[Path, typer.Argument(help="Trust file.", show_default=False)]) -> Result:
        """Show whom and what a trust file trusts, and its fingerprint for the telephone."""
        return shown_result([show_trust(path)])

    @verb(group, "add", group="trust", example="verifai trust add trust.toml --role release --key signing.key.pub")
    def add(
        path: Annotated[Path, typer.Argument(help="Trust file to change.", show_default=False)],
        role: Annotated[TrustRole, typer.Option("--role", help="What the key may sign.")],
        key: Annotated[Path, typer.Option("--key", help="Public key file.")],
        name: Annotated[str, typer.Option("--name", help="What to call the key; by default its file's name.")] = "",
        threshold: Annotated[
            int | None, typer.Option("--threshold", min=1, max=1024, help="How many keys of the role must sign from now on.")
        ] = None,
    ) -> Result:
        """Let a key fill a role: release, prover, voter, consensus or gate."""
        made = add_key(path, role, key, name=name, threshold=threshold)
        lines = [
            f"{plain(str(path))}: {plain(made.name)} may sign as {role.value}; {made.threshold} of {len(made.keys)} must",
            f"Next: verifai trust show {plain(shell(path))}",
        ]
        found = {"path": str(path), "key": made.name, "role": role.value, "keys": list(made.keys), "threshold": made.threshold}
        return Result(found, lines, verdict="done")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
