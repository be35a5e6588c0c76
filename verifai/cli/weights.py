"""``weights``: roots of private weights and their openings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.circuit_folder import CircuitFolder
from verifai.cli.frame import Result, current, plain, verb
from verifai.engines.capabilities import RootState
from verifai.stages.weights import renew_root, show_roots

CircuitFolderArgument = Annotated[Path, typer.Argument(help="Circuit folder with private weights.", show_default=False)]


def _example(verb_: str, folder: str) -> str:
    return (
        f"verifai init fixtures/digits-mlp/model.onnx -o {folder} --private-weights --engine sumcheck --calibration "
        f"fixtures/digits-mlp/calibration.npz --yes && verifai compile {folder} && verifai weights {verb_} {folder}"
    )


def register(group: typer.Typer) -> None:
    """Add the group's verbs."""

    @verb(group, "show", group="weights", example=_example("show", "hidden"))
    def show(circuit: CircuitFolderArgument) -> Result:
        """List the roots that commit to a circuit's private weights, and how often each may still be opened."""
        found = show_roots(CircuitFolder(circuit))
        return Result({"roots": [_document(one) for one in found]}, [_line(one) for one in found], verdict="done")

    @verb(group, "renew", group="weights", example=_example("renew", "hidden-2"))
    def renew(circuit: CircuitFolderArgument) -> Result:
        """Make a fresh root for the same private weights, proven equal to the pinned one; it takes one opening of that.

        Proofs use the newest root that has openings left. The lock does not change.
        """
        with current().progress() as progress:
            made = renew_root(CircuitFolder(circuit), progress=progress)
        return Result({"root": _document(made)}, [_line(made)], verdict="done")


def _document(one: RootState) -> dict[str, Any]:
    return {"root": one.root, "pinned": one.pinned, "used": one.used, "budget": one.budget}


def _line(one: RootState) -> str:
    kind = "pinned" if one.pinned else "epoch"
    return plain(f"{one.root}  {kind}, {one.used} of {one.budget} openings spent")
