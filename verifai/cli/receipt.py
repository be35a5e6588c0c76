"""``receipt``: what a bundle says, in the words of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from verifai.circuit_folder import read_lock
from verifai.cli.arguments import BundleArgument, MaxMemoryOption, memory_limit
from verifai.cli.frame import Result, current, plain, verb
from verifai.domain.circuit_spec import Budget
from verifai.domain.shell import shell
from verifai.execution.outputs import Kind
from verifai.stages.receipt import add_receipt


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(
        app,
        "receipt",
        example=("verifai receipt evidence/000000 --lock circuits/digits-mlp/circuit.lock --allow-test-srs -o receipted"),
    )
    def receipt(
        bundle: BundleArgument,
        lock: Annotated[Path, typer.Option("--lock", help="circuit.lock that you trust, or its folder.")],
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new bundle."), Kind.FOLDER],
        allow_test_srs: Annotated[
            bool, typer.Option("--allow-test-srs", help="INSECURE: accept a set-up whose maker can forge proofs.")
        ] = False,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Add an in-toto computation receipt and SLSA provenance to a bundle.

        The bundle is verified first; whoever verifies the new one composes both documents again. Seal it anew: signatures on
        the old manifest do not carry over.
        """
        with current().progress() as progress:
            made = add_receipt(
                bundle,
                output,
                read_lock(lock),
                allow_test_srs=allow_test_srs,
                budget=Budget(memory_bytes=memory_limit(max_memory)),
                progress=progress,
            )
        lines = [
            f"Wrote {plain(str(made.path))}  bundle {made.bundle_id}",
            *(f"  payload/{name}" for name in made.files),
            f"Next: verifai seal {plain(shell(made.path))} --key release.key",
        ]
        return Result({"path": str(made.path), "bundle_id": made.bundle_id, "files": list(made.files)}, lines, verdict="done")
