"""``log``: the audit log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from verifai.bundle.find import find_distinct
from verifai.bundle.keys import load_public_key, load_signer
from verifai.bundle.note import NoteKey
from verifai.cli.frame import Result, current, plain, verb
from verifai.domain.digest import is_sha256
from verifai.execution.files import write_atomic
from verifai.execution.outputs import Kind
from verifai.stages.log import (
    append_entries,
    check_log_file,
    cosign_checkpoint,
    make_log,
    one_entry,
    prove_consistency,
    prove_entry,
    sign_checkpoint,
    verify_entry,
)

LogArgument = Annotated[Path, typer.Argument(help="The log's file.", show_default=False)]
LogKeyOption = Annotated[Path, typer.Option("--key", help="The log's private key.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="File to write; by default stdout."), Kind.FILE]


def register(group: typer.Typer) -> None:
    """Add the group's verbs."""
    _register_writing(group)
    _register_proving(group)
    _register_witness(group)


def _register_writing(group: typer.Typer) -> None:
    @verb(group, "init", group="log", example="verifai log init audit.log --origin example.org/audit --key signing.key.pub")
    def init(
        log: Annotated[Path, typer.Argument(help="The log's file.", show_default=False), Kind.NEW],
        origin: Annotated[str, typer.Option("--origin", help="The log's name for ever, such as example.org/audit.")],
        key: Annotated[Path, typer.Option("--key", help="Public key that signs its checkpoints.")],
    ) -> Result:
        """Make an empty audit log in one file."""
        public = load_public_key(key)
        make_log(log, origin, public)
        line = f"Made {plain(str(log))}: log {plain(repr(origin))}"
        return Result({"path": str(log), "origin": origin, "key": str(public)}, [line], verdict="done")

    @verb(group, "append", group="log", example="verifai log append audit.log evidence/000000")
    def append(
        log: LogArgument,
        entries: Annotated[
            list[str],
            typer.Argument(help="Bundles, folders of bundles, or SHA-256 digests in hex.", show_default=False),
        ],
    ) -> Result:
        """Append bundles (manifest and attestations) or digests; what is there already keeps its place."""
        done = append_entries(log, [one for entry in entries for one in _meant(entry)])
        lines = [f"{position:>8}  {one}" for one, position in done.positions.items()]
        lines.append(f"{plain(str(log))} has {done.size} entries")
        return Result({"path": str(log), "positions": done.positions, "size": done.size}, lines, verdict="done")

    @verb(group, "check", group="log", example="verifai log check audit.log")
    def check(
        log: LogArgument,
        seen: Annotated[Path | None, typer.Option("--seen", help="Older checkpoint that must be a prefix of the log.")] = None,
    ) -> Result:
        """Recompute the whole tree from its entries; with --seen, check that the past was not changed."""
        size = check_log_file(log, seen)
        prefix = "" if seen is None else f", and extends {plain(str(seen))}"
        return Result({"path": str(log), "size": size}, [f"{plain(str(log))}: {size} entries, tree intact{prefix}"])


def _meant(entry: str) -> list[str]:
    """A digest, or the bundles that a path stands for; what lies beside them and is none is said."""
    if is_sha256(entry):
        return [entry]
    found = find_distinct([Path(entry)])
    for finding in found.other_findings():
        current().note(f"{finding.where}: {finding.message}")
    return [str(path) for path in found.paths]


def _register_proving(group: typer.Typer) -> None:
    @verb(group, "checkpoint", group="log", example="verifai log checkpoint audit.log --key signing.key -o checkpoint")
    def checkpoint(log: LogArgument, key: LogKeyOption, output: OutputOption = None) -> Result:
        """Sign the current tree head (C2SP checkpoint)."""
        return _write(sign_checkpoint(log, load_signer(key)).to_bytes(), output)

    @verb(
        group,
        "prove",
        group="log",
        example="verifai log prove audit.log evidence/000000 --key signing.key -o proof.tlog-proof",
    )
    def prove(
        log: LogArgument,
        entry: Annotated[str, typer.Argument(help="Bundle (its manifest), or SHA-256 digest.", show_default=False)],
        key: LogKeyOption,
        output: OutputOption = None,
    ) -> Result:
        """Prove that an entry is in the log (C2SP tlog-proof)."""
        return _write(prove_entry(log, one_entry(entry), load_signer(key)).to_bytes(), output)

    @verb(
        group,
        "verify",
        group="log",
        example="verifai log verify proof.tlog-proof evidence/000000 --origin example.org/audit --key signing.key.pub",
    )
    def verify(
        proof: Annotated[Path, typer.Argument(help=".tlog-proof file.", show_default=False)],
        entry: Annotated[str, typer.Argument(help="Bundle (its manifest), or SHA-256 digest.", show_default=False)],
        origin: Annotated[str, typer.Option("--origin", help="The log's name that you trust.")],
        key: Annotated[Path, typer.Option("--key", help="The log's public key that you trust.")],
    ) -> Result:
        """Check a log proof: the entry must be exactly this one."""
        one = one_entry(entry)
        found = verify_entry(proof, one, origin, load_public_key(key))
        line = f"{one} is in log {plain(found.origin)}, among its first {found.size} entries"
        return Result({"entry": one, "origin": found.origin, "size": found.size}, [line])

    @verb(group, "consistency", group="log", example="verifai log consistency audit.log --from 1")
    def consistency(
        log: LogArgument,
        first: Annotated[int, typer.Option("--from", min=1, max=2**53, help="Older size.")],
        second: Annotated[
            int | None, typer.Option("--to", min=1, max=2**53, help="Newer size; by default the current one.")
        ] = None,
        output: OutputOption = None,
    ) -> Result:
        """Prove that an older tree is a prefix of a newer one."""
        return _write(prove_consistency(log, first, second).to_bytes(), output)


def _register_witness(group: typer.Typer) -> None:
    @verb(
        group,
        "cosign",
        group="log",
        example=(
            "verifai key new witness.key --no-passphrase && "
            "verifai log cosign checkpoint --origin example.org/audit --log-key signing.key.pub "
            "--name witness.example/w --key witness.key --state seen"
        ),
    )
    def cosign(
        checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of the log.", show_default=False)],
        origin: Annotated[str, typer.Option("--origin", help="The log's name.")],
        log_key: Annotated[Path, typer.Option("--log-key", help="The log's public key.")],
        name: Annotated[str, typer.Option("--name", help="Your name as a witness.")],
        key: Annotated[Path, typer.Option("--key", help="Your private key.")],
        state: Annotated[Path, typer.Option("--state", help="File that remembers what you cosigned last."), Kind.FILE],
        consistency: Annotated[Path | None, typer.Option("--consistency", help="Proof from the last size to this one.")] = None,
        output: OutputOption = None,
    ) -> Result:
        """Cosign a checkpoint as a witness, once it extends what you saw last."""
        cosigned = cosign_checkpoint(
            checkpoint,
            NoteKey(origin, load_public_key(log_key)),
            name=name,
            signer=load_signer(key),
            state=state,
            consistency=consistency,
        )
        return _write(cosigned.to_bytes(), output)


def _write(data: bytes, output: Path | None) -> Result:
    text = data.decode()
    if output is None:
        return Result({"text": text, "path": None}, [escape(text.removesuffix("\n"))], verdict="done")
    write_atomic(output, data)
    return Result({"text": text, "path": str(output)}, [f"Wrote {plain(str(output))}"], verdict="done")
