"""``diff``: what changed from one bundle to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.cli.arguments import BundleArgument
from verifai.cli.frame import Result, verb
from verifai.cli.printable import printable
from verifai.cli.text import escaped_table
from verifai.stages.diff import diff_bundles


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "diff", example="verifai diff evidence/000000 evidence/000000")
    def diff(
        before: BundleArgument,
        after: Annotated[Path, typer.Argument(help="The newer bundle.", show_default=False)],
    ) -> Result:
        """Show what changed between two bundles.

        Weights, operators, scale, fidelity, cost, signers. Neither bundle is verified.
        """
        changes = diff_bundles(before, after)
        rows = [[one.aspect.value, *(printable(cell) for cell in (one.item, one.before, one.after))] for one in changes]
        lines: list[Any] = (
            [escaped_table(["", "what", "before", "after"], rows)] if rows else ["No difference that matters to a release."]
        )
        return Result({"changes": [one.to_json() for one in changes]}, lines, verdict="done")
