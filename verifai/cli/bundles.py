"""``seal``, ``pack``, ``unpack``, ``inspect``: bundles as things to hand on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from verifai.bundle.each import Done, each_bundle, free_names, make_folder
from verifai.bundle.find import PACKED, FoundBundles, find_distinct
from verifai.bundle.keyless import SigstoreSigner
from verifai.bundle.keys import load_signer
from verifai.bundle.summary import BundleSummary
from verifai.cli.arguments import BundleArgument, BundlesArgument
from verifai.cli.folders import FAILED_SHOWN, SHOWN, combined_status, ended, other_lines
from verifai.cli.frame import Result, current, plain, verb
from verifai.cli.printable import printable
from verifai.cli.shown import lock_lines, shown_result
from verifai.cli.text import bytes_text, escaped_table, finding_lines
from verifai.domain.findings import Finding
from verifai.domain.privacy_words import privacy_words, weights_words
from verifai.domain.shell import shell
from verifai.domain.shown import shown_blocks
from verifai.domain.totals import count_outcomes
from verifai.errors import InternalError, UsageError
from verifai.execution.outputs import Kind, check_output
from verifai.stages.inspect import inspect_bundle, inspect_lock, lock_file
from verifai.stages.pack import WrittenBundle, pack_bundle, unpack_bundle
from verifai.stages.seal import SealedBundle, check_seal_options, seal_bundle
from verifai.stages.show import show_file

R = TypeVar("R")


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    _register_seal(app)
    _register_pack(app)
    _register_show(app)


def _register_seal(app: typer.Typer) -> None:
    @verb(app, "seal", example="verifai seal evidence/000000 --key signing.key")
    def seal(
        bundles: BundlesArgument,
        key: Annotated[list[Path] | None, typer.Option("--key", help="Private key that signs; repeatable.")] = None,
        output: Annotated[
            Path | None,
            typer.Option("--output", "-o", help="Folder for the new bundle; for several, the folder around them."),
            Kind.FOLDER,
        ] = None,
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
        found = find_distinct(bundles)
        signers = [load_signer(path) for path in key or []]
        log_signer = None if log_key is None else load_signer(log_key)
        check_seal_options(
            signs=bool(signers) or sigstore,
            log=log is not None,
            log_key=log_key is not None,
            checkpoint=checkpoint is not None,
        )
        keyless = SigstoreSigner() if sigstore else None
        targets = _targets(found, output)
        with current().progress() as progress:
            done = each_bundle(
                found.paths,
                lambda path: seal_bundle(
                    path,
                    signers=signers,
                    output=targets.get(path),
                    log=log,
                    log_signer=log_signer,
                    checkpoint=checkpoint,
                    keyless=keyless,
                ),
                what="sealing",
                progress=progress,
            )
        if log is not None and not signers:
            current().note("No --key: the new bundle is unsigned.")
        return _each_result(found, done, "sealed", _sealed_lines, _sealed_document)


def _only(found: FoundBundles) -> bool:
    """Whether one bundle was named itself, so that the result is about it alone."""
    return not found.folders and len(found.paths) == 1


def _targets(found: FoundBundles, output: Path | None, ending: str = "") -> dict[Path, Path]:
    """Where each output goes: one bundle that was named itself to ``output``, several into the folder ``output``."""
    if output is None:
        return {}
    if _only(found):
        return {found.paths[0]: output}
    targets = free_names(found.paths, output, ending)
    make_folder(output)
    return targets


def _sealed_lines(sealed: SealedBundle) -> list[str]:
    lines = [f"Sealed {plain(str(sealed.path))}  bundle {sealed.bundle_id}"]
    lines += [f"  signed by {one}" for one in sealed.signers]
    lines += [f"  log entry {position}: attestation {one}" for one, position in sealed.positions.items()]
    if sealed.sidecar is not None:
        lines.append(f"  log proof of the manifest: {plain(str(sealed.sidecar))}")
    return lines


def _sealed_document(sealed: SealedBundle) -> dict[str, Any]:
    return {
        "path": str(sealed.path),
        "bundle_id": sealed.bundle_id,
        "signers": [str(one) for one in sealed.signers],
        "positions": sealed.positions,
        "sidecar": None if sealed.sidecar is None else str(sealed.sidecar),
    }


def _each_result(
    found: FoundBundles,
    done: Sequence[Done[R]],
    word: str,
    lines_of: Callable[[R], list[Any]],
    document_of: Callable[[R], dict[str, Any]],
) -> Result:
    """The result over one bundle that was named itself, or over several; the latter end in totals."""
    if _only(found):
        (only,) = done
        if only.problem is not None or only.result is None:
            raise only.problem or InternalError("bug", "a bundle came to nothing")
        return Result(document_of(only.result), lines_of(only.result), verdict="done")
    made = [one.result for one in done if one.result is not None]
    failed = [(one.path, one.problem) for one in done if one.problem is not None]
    lines: list[Any] = [line for result in made[:SHOWN] for line in lines_of(result)]
    if len(made) > SHOWN:
        lines.append(f" … and {len(made) - SHOWN} more bundles {word}")
    for path, problem in failed[:FAILED_SHOWN]:
        lines += [f"[bold red]NOT {word.upper()}[/] {plain(str(path))}", *finding_lines([Finding.from_error(problem)])]
    if len(failed) > FAILED_SHOWN:
        lines.append(f" … and {len(failed) - FAILED_SHOWN} more bundles that are not; --json has all")
    counted = [*((word, []) for _ in made), *((f"not-{word}", [problem.code]) for _, problem in failed)]
    totals = count_outcomes((word, f"not-{word}"), counted, others=len(found.others))
    told = [{"path": str(path), "code": problem.code, "message": problem.message} for path, problem in failed]
    findings = [*(Finding.from_error(problem) for _, problem in failed), *found.other_findings()]
    status = combined_status({problem.status for _, problem in failed}, found)
    return ended(
        {"bundles": [document_of(result) for result in made], "failed": told},
        [*lines, *other_lines(found)],
        findings,
        status,
        totals,
        verdict="" if status else "done",
    )


def _register_pack(app: typer.Typer) -> None:
    @verb(app, "pack", example="verifai pack evidence/000000 -o release.vbundle")
    def pack(
        bundles: BundlesArgument,
        output: Annotated[Path, typer.Option("--output", "-o", help="File to write; for several, a folder for them.")],
    ) -> Result:
        """Write a bundle as one file.

        The same bytes for the same bundle, on every machine.
        """
        found = find_distinct(bundles)
        check_output(output, Kind.NEW)  # a file, or a new folder
        targets = _targets(found, output, PACKED)
        with current().progress() as progress:
            done = each_bundle(found.paths, lambda path: pack_bundle(path, targets[path]), what="packing", progress=progress)
        result = _each_result(found, done, "packed", lambda one: [_written_line("Packed", one)], _written_document)
        if not _only(found):
            folder = output if len(bundles) > 1 else bundles[0]  # what was packed, or where it lay: one name either way
            told = f"One file of all, which audit, verify and gate take: `verifai handover {shell(folder)} --lock LOCK -o CASE`"
            result = replace(result, lines=[*result.lines, plain(told)])
        return result

    @verb(app, "unpack", example="verifai unpack release.vbundle -o unpacked")
    def unpack(
        bundle: BundleArgument,
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder to write."), Kind.FOLDER],
    ) -> Result:
        """Write a bundle as a folder."""
        written = unpack_bundle(bundle, output)
        return Result(_written_document(written), [_written_line("Unpacked", written)], verdict="done")


def _written_line(done: str, written: WrittenBundle) -> str:
    return f"{done} {plain(str(written.path))}  bundle {written.bundle_id}"


def _written_document(written: WrittenBundle) -> dict[str, Any]:
    return {"path": str(written.path), "bundle_id": written.bundle_id}


def _register_show(app: typer.Typer) -> None:
    @verb(app, "inspect", example="verifai inspect evidence/000000")
    def inspect(bundles: BundlesArgument) -> Result:
        """Show what a bundle says it holds, what a lock pins, or what any other file of verifai is.

        Nothing is verified but that it is well formed and complete. Of several bundles, one line each. Of a lock, or of the
        folder of a circuit, also its SHA-256, as a trust file names it. Of a case, a trust file, a key or a message of a round,
        the fingerprint for the telephone.
        """
        locks = [lock for path in bundles if (lock := lock_file(path)) is not None]
        if locks:
            return _locks_result(locks, len(bundles))
        shown = [one for path in bundles if (one := show_file(path)) is not None]
        if shown:
            if len(shown) != len(bundles):
                hint = "Name files of one kind in one command."
                raise UsageError("bad-option", "bundles and other files are named", hint=hint)
            return shown_result(shown)
        found = find_distinct(bundles)
        several = found.folders or len(found.paths) > 1
        with current().progress() as progress:
            done = each_bundle(found.paths, inspect_bundle, what="reading", progress=progress)
        in_short = several and not current().verbose
        return _each_result(found, done, "readable", _describe_short if in_short else _describe, BundleSummary.to_json)


def _locks_result(paths: Sequence[Path], named: int) -> Result:
    if len(paths) != named:
        raise UsageError("bad-option", "locks and bundles are named", hint="Name locks, or bundles, in one command.")
    found = [inspect_lock(path) for path in paths]
    lines = [line for one in found for line in lock_lines(one)]
    return Result({"locks": [one.to_json() for one in found]}, lines, verdict="done")


def _describe_short(summary: BundleSummary) -> list[Any]:
    said = next((one.words[0] for one in summary.attestations if one.words), "no circuit")
    circuit = plain(said) if summary.circuit is None else f"circuit {plain(summary.circuit.name)}"
    context = "" if summary.proof is None or not summary.proof.statement.context else summary.proof.statement.context
    told = f", context {plain(repr(context[:80]))}" if context else ""
    signed = f"signed by {len(summary.signers)}" if summary.signers else "not signed"
    return [
        f"{plain(str(summary.path))}  bundle {summary.bundle_id[:12]}…  {circuit}, written {summary.created}, {signed}{told}"
    ]


def _next(summary: BundleSummary) -> str:
    if summary.evaluation:
        return f"Next: verifai verify {plain(shell(summary.path))} --lock LOCK --data data.lock"
    if summary.proof is not None:
        return f"Next: verifai verify {plain(shell(summary.path))} --lock LOCK"
    return f"Next: verifai gate {plain(shell(summary.path))} --policy POLICY"


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
        statement = summary.proof.statement
        if summary.evaluation:
            lines.append("  of its first proof:")
        if statement.batch:
            lines.append(f"  {statement.inferences:,} inferences in one proof, of {statement.batch:,} that the circuit takes")
        for tensor in statement.tensors:
            shape = "×".join(str(size) for size in tensor.shape)
            digest = tensor.quantised_sha256
            where = "" if digest is None else f", values with SHA-256 {digest[:16]}… in the proof's files"
            lines.append(f"  {tensor.role.value} {plain(tensor.name)} ({shape}): {tensor.visibility.value}{where}")
        lines += [f"  {plain(one.words())}" for one in summary.proof.statement.openings]
        for head, *text in shown_blocks(summary.values):
            lines += [f"  As the bundle claims, not verified: {plain(head)}", *(f"    {plain(line)}" for line in text)]
        claim = statement.generation
        words = [weights_words(statement), *privacy_words(statement), *([] if claim is None else [claim.words()])]
        lines += ["  As the bundle claims, not verified:", *(f"    {plain(line)}" for line in words)]
    said = [line for one in summary.attestations for line in one.words]
    if said:
        lines += ["  As the bundle claims, not verified:", *(f"    {plain(line)}" for line in said)]
    if summary.log is not None:
        lines.append(f"  on log {plain(summary.log[0])}, checkpoint of {summary.log[1]} entries (not verified)")
    rows = [[one.id[:16], printable(one.predicate_type), str(len(one.signers))] for one in summary.attestations]
    lines.append(escaped_table(["attestation", "type", "signatures"], rows))
    lines.append(
        escaped_table(["file", "size", "sha256"], [[one.path, bytes_text(one.size), one.sha256[:16]] for one in summary.files])
    )
    lines.append(f"Nothing here was verified. {_next(summary)}")
    return lines
