"""``split`` and ``verify-chain``: one inference, proven in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.circuit_folder import read_lock
from verifai.cli.arguments import MaxMemoryOption, memory_limit, read_named
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import finding_lines, value_lines
from verifai.domain.circuit_spec import Budget
from verifai.domain.shown import statement_document
from verifai.execution.outputs import Kind
from verifai.onnx_graph.load import load_path
from verifai.stages.chain.split import split_model
from verifai.stages.chain.verify_chain import VerifiedChain, describe_chain
from verifai.stages.chain.verify_chain import verify_chain as run_chain
from verifai.stages.verify import Expectations

_SPLIT = (
    "verifai split fixtures/digits-cnn/model.onnx --calibration fixtures/digits-cnn/calibration.npz --at max_pool2d -o chain "
    "&& verifai compile chain/1 && verifai compile chain/2"
)
_CHAIN = (
    "verifai prove chain/1 fixtures/digits-cnn/heldout.npz --limit 1 -o parts/1 --output-tensors boundary.npz "
    "&& verifai prove chain/2 boundary.npz -o parts/2 "
    "&& verifai verify-chain parts/1/000000 parts/2/000000 --lock chain/1 --lock chain/2 --model fixtures/digits-cnn/model.onnx"
)


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @verb(app, "split", example=_SPLIT)
    def split(
        model: Annotated[Path, typer.Argument(help="Circuit folder, or canonical ONNX file.", show_default=False)],
        at: Annotated[
            list[str], typer.Option("--at", help="Tensor or node to cut after, or A,B for several; repeatable.", metavar="NAME")
        ],
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the segments: 1, 2, …"), Kind.TREE],
        calibration: Annotated[
            Path | None, typer.Option("--calibration", help="Real inputs (.npz); by default the circuit's.")
        ] = None,
    ) -> Result:
        """Cut a model into circuits whose proofs chain.

        Each segment is a circuit folder of its own, for the sumcheck engine: compile and prove them on different machines.
        """
        with current().progress() as progress:
            segments = split_model(model, at, output, calibration=calibration, progress=progress)
        lines = [
            f"{plain(str(one.folder))}  {one.nodes} nodes: {plain(', '.join(one.inputs))} to {plain(', '.join(one.outputs))}"
            for one in segments
        ]
        lines.append("Next: verifai compile each; prove in this order, each with --output-tensors for the next one's input.")
        data = [
            {
                "path": str(one.folder),
                "model_sha256": one.model_sha256,
                "nodes": one.nodes,
                "inputs": list(one.inputs),
                "outputs": list(one.outputs),
            }
            for one in segments
        ]
        return Result({"segments": data}, lines, verdict="done")

    @verb(app, "verify-chain", example=_CHAIN)
    def verify_chain(
        bundles: Annotated[list[Path], typer.Argument(help="Bundles, in the order of the segments.", show_default=False)],
        lock: Annotated[list[Path], typer.Option("--lock", help="Lock that you trust; one per bundle, in the same order.")],
        model: Annotated[
            Path | None, typer.Option("--model", help="The whole model: must split into the pinned segments.")
        ] = None,
        input_: Annotated[
            str | None, typer.Option("--input", help="Input of the first segment that must be the proven one.", metavar="FILE")
        ] = None,
        output: Annotated[
            str | None, typer.Option("--output", help="Output of the last segment (.npz).", metavar="FILE")
        ] = None,
        expect_context: Annotated[
            str | None, typer.Option("--expect-context", help="Nonce that every proof must bind.", metavar="TEXT")
        ] = None,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Check the proofs of all segments as one inference.

        Each bundle is verified against its own lock; each segment must have taken what the one before put out.
        """
        expect = Expectations(
            inputs=None if input_ is None else lambda tensors, names: read_named(input_, tensors, names, "--input"),
            outputs=None if output is None else lambda tensors, names: read_named(output, tensors, names, "--output"),
            context=expect_context,
        )
        with current().progress() as progress:
            chain = run_chain(
                bundles,
                [read_lock(path) for path in lock],
                expect,
                model=None if model is None else load_path(model),
                budget=Budget(memory_bytes=memory_limit(max_memory)),
                progress=progress,
            )
        return _verified(bundles, chain)


def _verified(paths: list[Path], chain: VerifiedChain) -> Result:
    lines: list[Any] = []
    documents = []
    for path, bundle in zip(paths, chain.bundles, strict=True):
        lines += [f"[bold green]ACCEPTED[/] {plain(str(path))}", *value_lines(bundle.values), *finding_lines(bundle.findings)]
        lines += [f"   {plain(one.words())}" for one in bundle.statement.openings]
        findings = [finding.to_json() for finding in bundle.findings]
        statement = statement_document(bundle.statement, bundle.values)
        documents.append({"path": str(path), "bundle_id": bundle.bundle_id, "statement": statement, "findings": findings})
    lines += ["[bold green]CHAIN ACCEPTED[/]", *finding_lines(chain.findings)]
    words = describe_chain(chain)
    lines += ["   " + plain(line) for line in words]
    every = [finding for bundle in chain.bundles for finding in bundle.findings]
    return Result({"bundles": documents, "claims": words}, lines, [*every, *chain.findings])
