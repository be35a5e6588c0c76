"""``tee``: hardware attestation, from the bytes that a machine signs to the evidence in a bundle."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from verifai.bundle.keys import load_public_key
from verifai.cli.frame import Result, current, plain, verb
from verifai.domain.attestation.tee import About
from verifai.domain.hardware import NO_PROOF, HardwareFacts, HardwareKind
from verifai.domain.shell import shell
from verifai.domain.utc_time import format_utc, parse_utc
from verifai.errors import UsageError
from verifai.execution.files import read_limited, write_atomic
from verifai.execution.outputs import Kind
from verifai.stages.hardware import (
    AttachedBundle,
    attach_evidence,
    attach_receipt,
    claim_of_bundle,
    claim_of_voter,
    make_receipt,
    read_evidence,
    read_receipt,
    show_evidence,
    signed_bytes,
    trust_lines,
)

KindOption = Annotated[HardwareKind, typer.Option("--kind", help="Whose hardware it is.")]
CertificateOption = Annotated[
    Path | None, typer.Option("--certificate", help="sev-snp: the VCEK certificate of the chip, DER.")
]
CrlOption = Annotated[Path | None, typer.Option("--crl", help="sev-snp: AMD's revocation list for the product line, DER.")]
CollateralOption = Annotated[
    Path | None, typer.Option("--collateral", help="tdx: folder with tcb-info.json, qe-identity.json and the lists.")
]
TestRootsOption = Annotated[
    Path | None, typer.Option("--test-roots", help="INSECURE, for tests: PEM certificates in place of the maker's root.")
]
VoterOption = Annotated[Path | None, typer.Option("--voter", help="Public key of the verifier that the evidence is about.")]
MAX_ROOTS_BYTES = 65536


def register(group: typer.Typer) -> None:
    """Add the group's verbs."""
    _register_claim(group)
    _register_receipt(group)
    _register_show(group)
    _register_attach(group)


def _register_claim(group: typer.Typer) -> None:
    @verb(group, "claim", group="tee", example="verifai tee claim evidence/000000 -o report-data.bin")
    def claim(
        source: Annotated[Path, typer.Argument(help="A bundle, a receipt, or with --voter a round.", show_default=False)],
        voter: VoterOption = None,
        output: Annotated[Path | None, typer.Option("--output", "-o", help="File for the 64 bytes."), Kind.FILE] = None,
    ) -> Result:
        """Print the 64 bytes that a machine must sign about a bundle, a receipt or a voter.

        They are the SHA-512 of what the evidence will be about. Ask the guest's device for a report over exactly these bytes.
        """
        about = _about(source, voter)
        data = signed_bytes(about)
        if output is not None:
            write_atomic(output, data)
        lines = [data.hex(), *([f"Wrote {plain(str(output))}"] if output is not None else [])]
        found = {"about": about.to_json(), "report_data": data.hex(), "output": None if output is None else str(output)}
        return Result(found, lines, verdict="done")


def _about(source: Path, voter: Path | None) -> About:
    if voter is not None:
        return claim_of_voter(source, load_public_key(voter))
    if source.suffix == ".json":
        return read_receipt(source).about
    return claim_of_bundle(source)


def _register_receipt(group: typer.Typer) -> None:
    @verb(
        group,
        "receipt",
        group="tee",
        example="verifai tee receipt fixtures/digits-cnn/model.onnx inputs.npz outputs.npz --context order-17 -o receipt.json",
    )
    def receipt(
        model: Annotated[Path, typer.Argument(help="ONNX model.", show_default=False)],
        inputs: Annotated[Path, typer.Argument(help="The inputs, .npz.", show_default=False)],
        outputs: Annotated[Path, typer.Argument(help="The outputs, .npz.", show_default=False)],
        output: Annotated[Path, typer.Option("--output", "-o", help="Receipt to write, .json."), Kind.NEW],
        context: Annotated[str, typer.Option("--context", help="Text to bind, such as a nonce.")] = "",
    ) -> Result:
        """Write down one inference by digests, for models that are too large to prove.

        Nothing shows by itself that the outputs are the model's: the measured code that has it signed must be trusted for that.
        """
        if output.suffix != ".json":
            raise UsageError("bad-option", "a receipt is a .json file", where="--output", hint="Name it: -o receipt.json")
        made = make_receipt(model, inputs, outputs, context, output)
        lines = [
            f"Wrote {plain(str(output))}, and the encoded tensors beside it.",
            f"Next: verifai tee claim {plain(shell(output))} -o report-data.bin",
        ]
        return Result({"output": str(output), "receipt": made.about.to_json()}, lines, verdict="done")


def _register_show(group: typer.Typer) -> None:
    @verb(group, "show", group="tee", example="verifai tee show report.bin --kind sev-snp --certificate vcek.der")
    def show(
        report: Annotated[Path, typer.Argument(help="Report, quote or attestation document.", show_default=False)],
        kind: KindOption,
        certificate: CertificateOption = None,
        crl: CrlOption = None,
        collateral: CollateralOption = None,
        at: Annotated[str, typer.Option("--at", help="Moment to judge it for, such as 2026-01-31T23:59:59Z; now.")] = "",
        test_roots: TestRootsOption = None,
    ) -> Result:
        """Verify raw evidence and show what it establishes, with the lines for a trust file.

        Which code is behind a measurement nobody can tell you from here: review it before you trust it.
        """
        evidence, trimmed = read_evidence(kind, report, certificate, crl, collateral)
        moment = _moment(at)
        facts = show_evidence(evidence, moment, _roots(test_roots))
        _note_trimmed(trimmed)
        current_ = facts.valid_from <= parse_utc(moment) <= facts.valid_until
        lines: list[Any] = [
            f"[green]genuine[/] {plain(one)}" if index == 0 else f"  {plain(one)}" for index, one in enumerate(_facts(facts))
        ]
        if not current_:
            lines.append(f"  [yellow]not valid at {moment}[/]")
        lines += ["", "For a trust file, once the code was reviewed:", *(f"  {plain(one)}" for one in trust_lines(facts))]
        return Result({**_document(facts), "current": current_}, lines, verdict="done")


def _register_attach(group: typer.Typer) -> None:
    @verb(
        group,
        "attach",
        group="tee",
        example="verifai tee attach evidence/000000 report.bin --kind sev-snp --certificate vcek.der -o attested",
    )
    def attach(
        source: Annotated[Path, typer.Argument(help="A bundle, or a receipt.", show_default=False)],
        report: Annotated[Path, typer.Argument(help="Report, quote or attestation document.", show_default=False)],
        kind: KindOption,
        output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the new bundle."), Kind.FOLDER],
        certificate: CertificateOption = None,
        crl: CrlOption = None,
        collateral: CollateralOption = None,
        voter: VoterOption = None,
        show_inputs: Annotated[bool, typer.Option("--show-inputs", help="A receipt's inputs go into the bundle, too.")] = False,
        test_roots: TestRootsOption = None,
    ) -> Result:
        """Put a machine's evidence into a new bundle, once it holds and is about the right thing.

        Signatures on the old manifest do not carry over: seal the new bundle.
        """
        evidence, trimmed = read_evidence(kind, report, certificate, crl, collateral)
        roots = _roots(test_roots)
        if source.suffix == ".json":
            if voter is not None:
                raise UsageError("bad-option", "a receipt is about no verifier", where="--voter")
            done = attach_receipt(
                read_receipt(source), evidence, output, show_inputs=show_inputs, test_roots=roots, trimmed=trimmed
            )
        else:
            if show_inputs:
                raise UsageError("bad-option", "only a receipt has inputs to show", where="--show-inputs")
            key = None if voter is None else load_public_key(voter)
            done = attach_evidence(source, evidence, output, key=key, test_roots=roots, trimmed=trimmed)
        return _attached(done)


def _attached(done: AttachedBundle) -> Result:
    _note_trimmed(done.trimmed)
    lines = [
        f"Wrote {plain(str(done.path))}  bundle {done.bundle_id}",
        *(f"  {plain(one)}" for one in _facts(done.facts)),
        f"Next: verifai audit {plain(shell(done.path))} --trust trust.toml",
    ]
    found = {
        "path": str(done.path),
        "bundle_id": done.bundle_id,
        "attestation": done.attestation,
        "facts": _document(done.facts),
    }
    return Result(found, lines, verdict="done")


def _note_trimmed(count: int) -> None:
    if count:
        current().note(f"{count} bytes behind the quote were left out: no signature covers them.")


def _roots(path: Path | None) -> bytes:
    if path is None:
        return b""
    current().note("INSECURE: a test root stands in for the maker's; whoever holds its key can make any report.")
    return read_limited(path, limit=MAX_ROOTS_BYTES)


def _moment(at: str) -> str:
    try:
        return format_utc(parse_utc(at)) if at else format_utc(datetime.now(UTC))
    except ValueError as problem:
        raise UsageError("bad-option", str(problem), where="--at", hint="Write: --at 2026-01-31T23:59:59Z") from None


def _facts(facts: HardwareFacts) -> list[str]:
    lines = [f"{facts.kind.value} report of a {facts.product} machine, root {facts.root_sha256}"]
    lines += [f"{name} {value}" for name, value in facts.registers.items() if value.strip("0")]
    lines.append(f"report data {facts.report_data.hex() or 'none'}")
    if facts.debug:
        lines.append("INSECURE: the machine's owner could read what ran there, by debugging or by migrating it")
    if facts.test_root:
        lines.append("INSECURE: it leads to a test root")
    svns = ", ".join(f"{name} {value}" for name, value in sorted(facts.svns.items()))
    revoked = "checked" if facts.revocation_checked else "not checked"
    lines.append(f"firmware: {facts.tcb.value}{f' ({svns})' if svns else ''}; revocation {revoked}")
    lines.append(f"valid from {format_utc(facts.valid_from)} to {format_utc(facts.valid_until)}")
    return [*lines, *facts.words, NO_PROOF]


def _document(facts: HardwareFacts) -> dict[str, Any]:
    return {
        "kind": facts.kind.value,
        "product": facts.product,
        "report_data": facts.report_data.hex(),
        "registers": dict(facts.registers),
        "debug": facts.debug,
        "svns": dict(facts.svns),
        "tcb": facts.tcb.value,
        "advisories": list(facts.advisories),
        "revocation_checked": facts.revocation_checked,
        "valid_from": format_utc(facts.valid_from),
        "valid_until": format_utc(facts.valid_until),
        "made": None if facts.made is None else format_utc(facts.made),
        "platform": facts.platform,
        "root_sha256": facts.root_sha256,
        "test_root": facts.test_root,
        "words": list(facts.words),
    }
