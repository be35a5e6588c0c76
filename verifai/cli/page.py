"""``page``: evidence as one HTML file that checks itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verifai.bundle.find import FoundBundles, find_distinct
from verifai.cli.arguments import no_links
from verifai.cli.folders import combined_status, other_lines
from verifai.cli.frame import Result, plain, verb
from verifai.cli.text import bytes_text
from verifai.errors import UsageError
from verifai.execution.outputs import check_output
from verifai.reports.evidence_page import program_digest
from verifai.stages.page import WrittenPage, write_empty_page, write_page


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "page", example="verifai page evidence/000000 --lock circuits/digits-mlp/circuit.lock -o evidence.html")
    def page(
        bundles: Annotated[
            list[Path] | None,
            typer.Argument(help="Bundle folders or files, or folders of bundles.", show_default=False, callback=no_links),
        ] = None,
        lock: Annotated[Path | None, typer.Option("--lock", help="circuit.lock that the reader shall check against.")] = None,
        trust: Annotated[Path | None, typer.Option("--trust", help="Trust file: whose signatures count.")] = None,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="HTML file to write.")] = None,
        empty: Annotated[bool, typer.Option("--empty", help="A page without a bundle, into which people drop theirs.")] = False,
        digest: Annotated[bool, typer.Option("--digest", help="Print the SHA-256 of the program that pages hold.")] = False,
    ) -> Result:
        """Write bundles as a page that checks itself in a browser.

        One file, offline: it holds the bundles, the lock and a second verifier, and checks when it is opened. Nothing is judged
        here, and a page is to be trusted only from where you trust.
        """
        if digest:
            if bundles or lock or trust or output or empty:
                raise UsageError("bad-option", "it stands alone", where="--digest", hint="Leave the other options out.")
            return Result({"program_sha256": program_digest()}, [program_digest()], verdict="done")
        if output is None:
            raise UsageError(
                "bad-option", "where to write the page is not said", where="--output", hint="Add: -o evidence.html"
            )
        if empty:
            if bundles or lock or trust:
                message = "an empty page holds no bundle, lock or trust file"
                raise UsageError("bad-option", message, where="--empty", hint="Leave --empty out, or the others.")
            check_output(output)
            return _result(write_empty_page(output), None)
        if not bundles or lock is None:
            missing, hint = ("--lock", "Add: --lock circuit.lock") if bundles else ("BUNDLE", "Name bundles, or say --empty.")
            raise UsageError("bad-option", "bundles and the lock to check them against are needed", where=missing, hint=hint)
        found = find_distinct(bundles)
        read = [*found.paths, lock, *([trust] if trust else [])]
        check_output(output, inputs=read)
        return _result(write_page(found.paths, lock, output, trust=trust), found)


def _result(written: WrittenPage, found: FoundBundles | None) -> Result:
    document = {
        "path": str(written.path),
        "sha256": written.sha256,
        "program_sha256": written.program_sha256,
        "bytes": written.size,
        "bundle_ids": list(written.bundle_ids),
    }
    told = "The lock pins a tokenizer that does not lie beside it: the page shows tokens as numbers. Put tokenizer.json there."
    count = len(written.bundle_ids)
    what = f"{count} bundle{'s' * (count != 1)}" if count else "no bundle"
    lines = [
        f"Written {plain(str(written.path))}  {bytes_text(written.size)}, {what}",
        f"   SHA-256 of the page     {written.sha256}",
        f"   SHA-256 of its program  {written.program_sha256}",
        "Not checked here: the page checks when it is opened. Whoever receives it should trust it only from you, or drop the",
        "bundle into a page of their own: `verifai page --empty -o verifier.html`",
        *([told] if written.untold else []),
    ]
    others = [] if found is None else found.other_findings()
    status = combined_status({0}, found) if found is not None else 0
    return Result(document, [*lines, *(other_lines(found) if found else [])], others, status, verdict="done")
