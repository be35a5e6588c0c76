"""``seal``, ``pack``, ``unpack``, ``inspect``: bundles as things to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.bundle.keyless import SigstoreSigner
from verifai.bundle.keys import load_signer
from verifai.bundle.summary import BundleSummary
from verifai.cli.arguments import BundleArgument
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.printable import printable
from verifai.cli.text import bytes_text, escaped_table
from verifai.domain.privacy_words import privacy_words, weights_words
from verifai.domain.shown import shown_line
from verifai.execution.outputs import Kind
from verifai.stages.inspect import inspect_bundle
from verifai.stages.pack import WrittenBundle, pack_bundle, unpack_bundle
from verifai.stages.seal import seal_bundle


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    _register_seal(app)
    _register_pack(app)
    _register_show(app)


def _register_seal(app: typer.Typer) -> None:
    @verb(app, "seal", example="verifai seal evidence/000000 --key signing.key")
    def seal(
        bundle: BundleArgument,
        key: Annotated[list[Path] | None, typer.Option("--key", help="Private key that signs; repeatable.")] = None,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the new bundle."), Kind.FOLDER] = None,
        log: Annotated[Path | None, typer.Option("--log", help="Audit log to append to and prove from.")] = None,
        log_key: Annotated[Path | None, typer.Option("--log-key", help="The log's private key.")] = None,
        checkpoint: Annotated[
            Path | None, typer.Option("--checkpoint", help="Cosigned checkpoint of the log to prove by.")
        ] = None,
        sigstore: Annotated[
            bool, typer.Option("--sigstore", help="Vouch under the environment's identity (extra sigstore; network).")
        ] = False,
    ) -> Result:
        """Sign a bundle's manifest.

        With --log, also put its attestations on the audit log, and the log's proofs into a new bundle.
        """
        signers = [load_signer(path) for path in key or []]
        log_signer = None if log_key is None else load_signer(log_key)
        keyless = None
        if sigstore:
            keyless = SigstoreSigner()
        sealed = seal_bundle(
            bundle,
            signers=signers,
            output=output,
            log=log,
            log_signer=log_signer,
            checkpoint=checkpoint,
            keyless=keyless,
        )
        if log is not None and not signers:
            current().note("No --key: the new bundle is unsigned.")
        lines = [f"Sealed {plain(str(sealed.path))}  bundle {sealed.bundle_id}"]
        lines += [f"  signed by {one}" for one in sealed.signers]
        lines += [f"  log entry {position}: attestation {one}" for one, position in sealed.positions.items()]
        if sealed.sidecar is not None:
            lines.append(f"  log proof of the manifest: {plain(str(sealed.sidecar))}")
        data = {
            "path": str(sealed.path),
            "bundle_id": sealed.bundle_id,
            "signers": [str(one) for one in sealed.signers],
            "positions": sealed.positions,
            "sidecar": None if sealed.sidecar is None else str(sealed.sidecar),
        }
        return Result(data, lines, verdict="done")


def _register_pack(app: typer.Typer) -> None:
    @verb(app, "pack", example="verifai pack evidence/000000 -o release.vbundle")
    def pack(
        bundle: BundleArgument,
        output: Annotated[Path, typer.Option("--output", "-o", help="File to write."), Kind.FILE],
    ) -> Result:
        """Write a bundle as one file.

        The same bytes for the same bundle, on every machine.
        """
        return _written("Packed", pack_bundle(bundle, output))

    @verb(app, "unpack", example="verifai unpack release.vbundle -o unpacked")
    def unpack(
        bundle: BundleArgument,
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write."), Kind.FOLDER],
    ) -> Result:
        """Write a bundle as a folder."""
        return _written("Unpacked", unpack_bundle(bundle, output))


def _written(done: str, written: WrittenBundle) -> Result:
    line = f"{done} {plain(str(written.path))}  bundle {written.bundle_id}"
    return Result({"path": str(written.path), "bundle_id": written.bundle_id}, [line], verdict="done")


def _register_show(app: typer.Typer) -> None:
    @verb(app, "inspect", example="verifai inspect evidence/000000")
    def inspect(bundle: BundleArgument) -> Result:
        """Show what a bundle says it holds.

        Nothing is verified but that it is well formed and complete.
        """
        summary = inspect_bundle(bundle)
        return Result(summary.to_json(), _describe(summary), verdict="done")


def _describe(summary: BundleSummary) -> list[Any]:
    lines: list[Any] = [
        f"Bundle {summary.bundle_id}",
        f"  written {summary.created}" + (f", extends {summary.succeeds}" if summary.succeeds else ""),
        "  [yellow]not signed[/]" if not summary.signers else f"  manifest signed by {len(summary.signers)} (not verified)",
    ]
    if summary.circuit is not None:
        circuit = summary.circuit
        insecure = f"  [bold red]{plain(', '.join(circuit.insecure))}[/]" if circuit.insecure else ""
        engine = f"{circuit.engine.value} {plain(circuit.engine_version)}"
        lines.append(f"  circuit {circuit.name}, engine {engine}, model {circuit.model_sha256}{insecure}")
    if summary.proof is not None:
        for tensor in summary.proof.statement.tensors:
            shape = "×".join(str(size) for size in tensor.shape)
            lines.append(f"  {tensor.role.value} {plain(tensor.name)} ({shape}): {tensor.visibility.value}")
        lines += [f"  {plain(one.words())}" for one in summary.proof.statement.openings]
        lines += [f"  As the bundle claims, not verified: {plain(shown_line(one))}" for one in summary.values]
        words = (weights_words(summary.proof.statement), *privacy_words(summary.proof.statement))
        lines += ["  As the bundle claims, not verified:", *(f"    {plain(line)}" for line in words)]
    if summary.log is not None:
        lines.append(f"  on log {plain(summary.log[0])}, checkpoint of {summary.log[1]} entries (not verified)")
    rows = [[one.id[:16], printable(one.predicate_type), str(len(one.signers))] for one in summary.attestations]
    lines.append(escaped_table(["attestation", "type", "signatures"], rows))
    lines.append(
        escaped_table(["file", "size", "sha256"], [[one.path, bytes_text(one.size), one.sha256[:16]] for one in summary.files])
    )
    lines.append("Nothing here was verified. Next: verifai verify, or verifai audit.")
    return lines
