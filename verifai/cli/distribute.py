"""``push``, ``pull`` and ``promote``: evidence beside its model in a registry."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.bundle.find import find_distinct
from verifai.cli.arguments import BundlesArgument, MaxMemoryOption, memory_limit
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import finding_lines
from verifai.domain.circuit_spec import Budget
from verifai.domain.findings import Outcome
from verifai.domain.policy.verdict import summary
from verifai.domain.shell import shell
from verifai.execution.outputs import Kind
from verifai.stages.distribute import Moved, promote_version, pull_bundles, push_bundles
from verifai.stages.gate.load import load_policy

ReferenceArgument = Annotated[
    str, typer.Argument(help="oci:FOLDER:TAG, HOST/NAME:TAG, or models:/NAME/VERSION.", show_default=False)
]
OutputOption = Annotated[Path, typer.Option("--output", "-o", help="Folder for the bundles."), Kind.TREE]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    _register_push(app)
    _register_pull(app)
    _register_promote(app)


def _register_push(app: typer.Typer) -> None:
    @verb(
        app,
        "push",
        example="verifai push evidence oci:models:digits-1.0 --model fixtures/digits-mlp/model.onnx",
    )
    def push(
        bundles: BundlesArgument,
        reference: ReferenceArgument,
        model: Annotated[
            Path | None, typer.Option("--model", help="Put this model there first, under the reference's tag.")
        ] = None,
    ) -> Result:
        """Put bundles beside their model: in an OCI layout or registry, or in MLflow.

        Each becomes a referrer of the model's manifest (OCI 1.1), or an artifact of the model version's run.
        """
        moved = push_bundles(find_distinct(bundles).paths, reference, model=model)
        return _moved(moved, "Pushed", f"verifai pull {plain(shell(reference))} -o pulled")


def _register_pull(app: typer.Typer) -> None:
    @verb(app, "pull", example="verifai pull oci:models:digits-1.0 -o pulled")
    def pull(reference: ReferenceArgument, output: OutputOption) -> Result:
        """Fetch the bundles beside a model. Nothing that they say is judged: verify, audit or gate them.

        What is fetched has its digest compared and must read as a bundle; files get names of ours.
        """
        moved = pull_bundles(reference, output)
        return _moved(moved, "Pulled", f"verifai gate {plain(shell(output))} --policy verifai.toml")


def _moved(moved: Moved, word: str, following: str) -> Result:
    lines: list[Any] = [f"{word} {len(moved.bundles)} bundles, {plain(moved.where)}"]
    lines += [f"  {plain(str(path))}  bundle {identifier}" for path, identifier in moved.bundles]
    lines.append(f"Next: {following}")
    listed = [{"path": str(path), "bundle_id": identifier} for path, identifier in moved.bundles]
    return Result({"where": moved.where, "bundles": listed}, lines, verdict="done")


def _register_promote(app: typer.Typer) -> None:
    @verb(app, "promote", example="verifai promote models:/digits/1 --alias champion --policy gate.toml -o judged")
    def promote(
        reference: ReferenceArgument,
        alias: Annotated[str, typer.Option("--alias", help="Alias of MLflow that is to name this version.")],
        output: OutputOption,
        policy: Annotated[Path, typer.Option("--policy", help="Policy file.")] = Path("verifai.toml"),
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Let an alias in MLflow name a model version, once a gate lets its evidence through.

        The version's own ONNX file must be the model that the policy pins. When the gate refuses, the alias stays where it was.
        """
        loaded = load_policy(policy)
        with current().progress() as progress:
            done = promote_version(
                reference,
                alias,
                loaded,
                output,
                now=datetime.now(UTC),
                budget=Budget(memory_bytes=memory_limit(max_memory)),
                progress=progress,
            )
        failed = [one for one in (done.model, *done.verdict.all_findings()) if one.outcome is not Outcome.HOLDS]
        head = f"{plain(alias)} names {plain(reference)} now" if done.promoted else f"{plain(alias)} was not moved"
        lines: list[Any] = [head, plain(summary(done.verdict)), *finding_lines(failed)]
        found = {
            "promoted": done.promoted,
            "alias": alias,
            "policy_digest": done.verdict.policy_sha256,
            "bundles": [identifier for _, identifier in done.bundles.bundles],
            "findings": [one.to_json() for one in (done.model, *done.verdict.all_findings())],
        }
        verdicts = {0: "accepted", 1: "rejected", 3: "policy-not-met"}
        return Result(found, lines, verdict=verdicts.get(done.status, "undecided"), status=done.status)
