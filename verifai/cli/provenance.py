"""``provenance`` and ``notarise``: from a signed release to a circuit."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.bundle.keys import load_signer
from verifai.circuit_folder import CircuitFolder
from verifai.cli.arguments import CircuitArgument, EngineOption, MaxMemoryOption, memory_limit, sizes_of_dims, sizes_of_shapes
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.text import finding_lines
from verifai.domain.circuit_spec import Budget
from verifai.domain.model_signing import ExportOptions
from verifai.domain.shell import shell
from verifai.execution.outputs import Kind
from verifai.stages.origin import HeldRelease
from verifai.stages.provenance import notarise as notarise_circuit
from verifai.stages.provenance import pin_release
from verifai.trust_file import read_trust

SignatureOption = Annotated[Path, typer.Option("--model-signature", help="The release's signature (OpenSSF Model Signing).")]
FilesOption = Annotated[
    Path | None,
    typer.Option("--release", help="Folder or file that was signed; by default the folder that the signature is in."),
]
TrustOption = Annotated[Path, typer.Option("--trust", help="Trust file: its [[model_signers]] count.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""

    @verb(
        app,
        "provenance",
        example="verifai provenance circuits/digits-cnn --model-signature release/model.sig --trust publishers.toml",
    )
    def provenance(
        circuit: CircuitArgument,
        model_signature: SignatureOption,
        trust: TrustOption,
        release: FilesOption = None,
        source: Annotated[
            str | None,
            typer.Option("--source", help="Signed file that was exported; . for the whole release.", metavar="PATH"),
        ] = None,
        dim: Annotated[
            list[str] | None, typer.Option("--dim", help="As it was exported with; repeatable.", metavar="NAME=SIZE")
        ] = None,
        shape: Annotated[
            list[str] | None, typer.Option("--shape", help="As it was exported with; repeatable.", metavar="NAME=SIZES")
        ] = None,
        select: Annotated[
            list[str] | None, typer.Option("--select", help="As it was exported with; repeatable.", metavar="NAME")
        ] = None,
        positions: Annotated[
            int | None, typer.Option("--positions", help="As it was exported with.", min=1, metavar="N")
        ] = None,
    ) -> Result:
        """Tie a circuit's lock to the signed release that its model comes from.

        Verifies the signature, compares every file, exports the model again, and pins what came out. Later bundles carry the
        signature.
        """
        held = HeldRelease(release or model_signature.parent, model_signature)
        options = ExportOptions(sizes_of_dims(dim or []), sizes_of_shapes(shape or []), tuple(select or ()), positions)
        with current().progress() as progress:
            made = pin_release(
                CircuitFolder(circuit), held, read_trust(trust).trust, source=source, options=options, progress=progress
            )
        lines = [
            plain(f"{made.release.sentence()}."),
            *(plain(f"  {one}.") for one in made.release.words),
            plain(f"{len(made.release.manifest.files)} signed files compared; {made.pin.how()} gives this circuit's model."),
            *(plain(f"  {one}.") for one in made.hub.sentences()),
            f"Pinned in {plain(str(made.lock_path))}; bundles will carry {plain(str(made.kept))}",
            "Weights that are not public need somebody who may see them to repeat the derivation.",
            f"Next: verifai notarise {plain(shell(circuit))} --model-signature "
            f"{plain(shell(model_signature))} --trust {plain(shell(trust))} --key notary.key",
        ]
        found = {
            "lock": str(made.lock_path),
            "attestation": str(made.kept),
            "provenance": made.pin.to_json(),
            "signed_by": list(made.release.names),
            "files": dict(made.staged.sha256),
            "hub": list(made.hub.sentences()),
        }
        return Result(found, lines, verdict="done")

    @verb(
        app,
        "notarise",
        example=(
            "verifai notarise circuits/digits-cnn --engine sumcheck --model-signature release/model.sig "
            "--trust publishers.toml --key a.key"
        ),
    )
    def notarise(
        circuit: CircuitArgument,
        model_signature: SignatureOption,
        trust: TrustOption,
        key: Annotated[list[Path], typer.Option("--key", help="Private key of the notary; repeatable.")],
        release: FilesOption = None,
        engine: EngineOption = None,
        output: Annotated[
            Path | None,
            typer.Option("--output", "-o", help="Attestation to write; by default into the circuit's folder."),
            Kind.NEW,
        ] = None,
        srs: Annotated[list[Path] | None, typer.Option("--srs", help="SRS file or folder; repeatable.")] = None,
        max_memory: MaxMemoryOption = None,
    ) -> Result:
        """Derive a circuit and its weight root from a signed release again, and sign that they came out.

        For whoever may see the weights: of private weights it needs the seed in the circuit's folder secrets.
        """
        held = HeldRelease(release or model_signature.parent, model_signature)
        with current().progress() as progress:
            made = notarise_circuit(
                CircuitFolder(circuit),
                held,
                read_trust(trust).trust,
                [load_signer(one) for one in key],
                engine=engine,
                output=output,
                setup_material=tuple(srs or ()),
                budget=Budget(memory_bytes=memory_limit(max_memory)),
                progress=progress,
            )
        lines: list[Any] = [
            plain(f"{made.release.sentence()}."),
            plain(f"Derived again: {made.predicate.pin.how()} gives the pinned model, and that the pinned circuit."),
            *finding_lines(made.findings),
            f"Wrote {plain(str(made.path))}  attestation {made.attestation}",
        ]
        found = {
            "path": str(made.path),
            "attestation": made.attestation,
            "derivation": dict(made.predicate.to_json()),
            "findings": [one.to_json() for one in made.findings],
        }
        return Result(found, lines, verdict="done")
