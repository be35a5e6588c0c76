"""``verifai srs``: the set-up material of the ezkl engine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import bytes_text, table
from verifai.engines.capabilities import SetUpFile
from verifai.execution.outputs import Kind
from verifai.stages.srs import cut_file, fetch_file, generate_file, import_file, judge_file, list_files

LogrowsOption = Annotated[int, typer.Option("--logrows", "-k", help="log2 of the circuit rows it serves.", min=1, max=26)]


def register(group: typer.Typer) -> None:
    """Add the group's verbs."""

    @verb(group, "list", group="srs", example="verifai srs list")
    def list_() -> Result:
        """List the local store; every file is judged again."""
        store = list_files()
        rows = [[str(srs.logrows), _trust(srs), srs.sha256[:16], plain(str(srs.path))] for srs in store.files]
        lines: list[Any] = [table(["k", "trust", "sha256", "file"], rows)] if rows else [f"No SRS in {plain(str(store.root))}"]
        return Result({"store": str(store.root), "files": [_json(srs) for srs in store.files]}, lines, verdict="done")

    @verb(group, "check", group="srs", example="verifai srs check fixtures/srs/INSECURE-TEST-k12.srs")
    def check(file: Annotated[Path, typer.Argument(help="SRS file, whole or cut.", show_default=False)]) -> Result:
        """Judge a file by its digest and points: the public ceremony's, or test material, or neither."""
        srs = judge_file(file)
        lines = [f"{_trust(srs)}  k = {srs.logrows}, sha256 {srs.sha256}"]
        if srs.insecure:
            lines.append("Whoever made this file can forge every proof that is checked with it.")
        return Result({"srs": _json(srs)}, lines, verdict="done")

    @verb(group, "import", group="srs", example="verifai srs import fixtures/srs/INSECURE-TEST-k12.srs --test")
    def import_(
        file: Annotated[Path, typer.Argument(help="SRS file.", show_default=False)],
        test: Annotated[bool, typer.Option("--test", help="INSECURE: accept test material.")] = False,
    ) -> Result:
        """Check a file against the ceremony's digests and points, then copy it into the store."""
        srs = import_file(file, allow_test=test)
        return Result(
            {"srs": _json(srs)}, [f"Imported {_trust(srs)} k = {srs.logrows} as {plain(str(srs.path))}"], verdict="done"
        )

    @verb(group, "fetch", group="srs", example="verifai srs fetch -k 17")
    def fetch(logrows: LogrowsOption) -> Result:
        """Download the ceremony's file with ezkl's own download; keep it only when its digest is the pinned one."""
        with current().progress() as progress:
            srs = fetch_file(logrows, progress=progress)
        return _made("Fetched", srs)

    @verb(group, "generate", group="srs", example="verifai srs generate -k 8")
    def generate(logrows: LogrowsOption) -> Result:
        """INSECURE, for tests only: make an SRS whose maker can forge every proof."""
        frame = current()
        frame.err().print(
            "[bold red]INSECURE-TEST[/] the maker of this SRS can forge proofs. Never use it for a release.", highlight=False
        )
        with frame.progress() as progress:
            srs = generate_file(logrows, progress=progress)
        return Result(
            {"srs": _json(srs)}, [f"Generated {_trust(srs)} k = {srs.logrows}: {plain(str(srs.path))}"], verdict="done"
        )

    @verb(group, "cut", group="srs", example="verifai srs cut fixtures/srs/INSECURE-TEST-k12.srs -k 8 -o k08.srs")
    def cut(
        file: Annotated[Path, typer.Argument(help="SRS file.", show_default=False)],
        logrows: LogrowsOption,
        output: Annotated[Path, typer.Option("--output", "-o", help="New file.", show_default=False), Kind.NEW],
    ) -> Result:
        """Cut a file to fewer rows: the same set-up, no better and no worse; compile does it by itself."""
        with current().progress() as progress:
            srs = cut_file(file, logrows, output, progress=progress)
        return _made("Cut", srs)


def _made(done: str, srs: SetUpFile) -> Result:
    line = f"{done} {_trust(srs)} SRS, k = {srs.logrows}, {bytes_text(srs.size)}: {plain(str(srs.path))}"
    return Result({"srs": _json(srs)}, [line], verdict="done")


def _trust(srs: SetUpFile) -> str:
    return f"[bold red]{srs.trust}[/]" if srs.insecure else f"[green]{srs.trust}[/]"


def _json(srs: SetUpFile) -> dict[str, Any]:
    return {
        "path": str(srs.path),
        "logrows": srs.logrows,
        "sha256": srs.sha256,
        "trust": srs.trust,
        "bytes": srs.size,
    }
