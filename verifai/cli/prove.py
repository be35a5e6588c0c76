"""``prove``: evidence made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from verifai.bundle.keys import load_signer
from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import CircuitArgument, DropOption, EngineOption, MaxMemoryOption, memory_limit, read_tensors
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import bytes_text, finding_lines, seconds_text, value_lines
from verifai.domain.findings import Finding, Outcome
from verifai.domain.shell import shell
from verifai.domain.shown import statement_document
from verifai.execution.outputs import Kind
from verifai.stages.chain.output_tensors import check_target, write_outputs
from verifai.stages.chain.tensor_secrets import read_secrets, write_secrets
from verifai.stages.prove import ProvedBundle
from verifai.stages.prove import prove as prove_samples


def register(app: typer.Typer) -> None:
    """Add the verb."""

    @verb(app, "prove", example="verifai prove circuits/digits-mlp fixtures/digits-mlp/heldout.npz -o evidence --limit 1")
    def prove(
        circuit: CircuitArgument,
        inputs: Annotated[
            list[str], typer.Argument(help="Inputs (.npz, .npy, CSV, Parquet, .json, images) or -.", show_default=False)
        ],
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the bundles: 000000, 000001, …"), Kind.TREE],
        engine: EngineOption = None,
        context: Annotated[str, typer.Option("--context", help="Text bound into the statement, such as a nonce.")] = "",
        key: Annotated[list[Path] | None, typer.Option("--key", help="Private key that signs; repeatable.")] = None,
        limit: Annotated[int | None, typer.Option("--limit", min=1, help="Prove only the first N samples.")] = None,
        threads: Annotated[int | None, typer.Option("--threads", min=1, help="Worker threads of the engine.")] = None,
        jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, max=256, help="Samples proven at once.")] = 1,
        output_tensors: Annotated[
            Path | None,
            typer.Option(
                "--output-tensors", help="Private .npz of the outputs, for whoever proves the next segment.", metavar="FILE"
            ),
            Kind.FILE,
        ] = None,
        input_secrets: Annotated[
            Path | None,
            typer.Option(
                "--input-secrets", help="Private seeds that came with hashed inputs (zero-knowledge).", metavar="FILE"
            ),
        ] = None,
        drop: DropOption = None,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Prove samples: one evidence bundle each.

        Every proof is verified before its bundle is written. Bundles are never overwritten.
        """
        folder = CircuitFolder(circuit)
        if output_tensors is not None:
            check_target(output_tensors, folder, engine)
        columns = folder.table_columns(drop or ())
        samples = [sample for source in inputs for sample in read_tensors(source, folder.model, columns)]
        samples = samples[:limit] if limit is not None else samples
        secrets = read_secrets(input_secrets, len(samples)) if input_secrets is not None else []
        signers = [load_signer(path) for path in key or []]
        if not signers:
            current().note("No --key: the bundles are unsigned. They prove the statement, but not who made them.")
        made = []
        with current().progress() as progress:
            for bundle in prove_samples(
                folder,
                samples,
                output,
                engine=engine,
                context=context,
                signers=signers,
                threads=threads,
                jobs=jobs,
                max_memory=memory_limit(max_memory),
                keep_outputs=output_tensors is not None,
                input_secrets=secrets,
                progress=progress,
            ):
                made.append(bundle)
        if output_tensors is not None:
            write_outputs(output_tensors, folder, made)
            seeds = write_secrets(output_tensors, made)
            if seeds is not None:
                current().note(
                    f"Seeds of the hashed outputs: {plain(str(seeds))}. For the next prover alone; never publish them."
                )
        lines = [line for one in made for line in _bundle_lines(one)]
        lines += _told(made)
        lines.append(f"Next: verifai verify {plain(shell(made[0].path))} --lock {plain(shell(folder.lock_path))}")
        bundles = [
            {
                "path": str(one.path),
                "bundle_id": one.bundle_id,
                "seconds": one.seconds,
                "peak_rss_bytes": one.peak_rss_bytes,
                "statement": statement_document(one.statement, one.values),
                "findings": [finding.to_json() for finding in one.findings],
            }
            for one in made
        ]
        findings = [finding for one in made for finding in _doubts(one)]
        return Result({"bundles": bundles, "signed": bool(signers)}, lines, findings, verdict="done")


def _bundle_lines(one: ProvedBundle) -> list[str]:
    head = f"{plain(str(one.path))}  bundle {one.bundle_id[:12]}…  proven in {seconds_text(one.seconds)}, "
    return [head + f"peak memory {bytes_text(one.peak_rss_bytes)}", *value_lines(one.values), *finding_lines(_doubts(one))]


def _doubts(one: ProvedBundle) -> list[Finding]:
    """What keeps a proven value from standing for the float model's."""
    return [
        finding for finding in one.findings if finding.outcome is not Outcome.HOLDS and finding.code != "reference-distance"
    ]


def _told(made: Sequence[ProvedBundle]) -> list[str]:
    """How many of them are doubtful, by what."""
    told = {"output-saturated": "with values at the end of the circuit's range", "reference-far": "far from the float model"}
    counts = {code: sum(any(finding.code == code for finding in one.findings) for one in made) for code in told}
    found = [f"{count} {told[code]}" for code, count in counts.items() if count]
    return [f"[bold yellow]Of {len(made)} proven:[/] {'; '.join(found)}. The proofs hold, for the circuit."] if found else []
