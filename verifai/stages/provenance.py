"""provenance: a lock is tied to a signed release; notarise: somebody who sees the weights derives the circuit again, and signs.

What is written lies in ``provenance/`` of the circuit's folder, and every later bundle carries it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from verifai.bundle import canonical
from verifai.bundle.dsse import attest
from verifai.circuit_folder import CircuitFolder, read_lock, render_lock
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.attestation.release import DerivationPredicate, ReleasePredicate, model_subject
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256, short
from verifai.domain.findings import Finding, Outcome
from verifai.domain.model_signing import WHOLE, ExportOptions, ModelManifest, ProvenancePin, SignedRelease
from verifai.domain.progress import SILENT, Progress
from verifai.domain.shell import shell
from verifai.domain.statement import EngineName
from verifai.domain.trust import Trust
from verifai.domain.trust_keys import Signer
from verifai.domain.utc_time import format_utc
from verifai.errors import EvidenceRejected, Undecided, UsageError
from verifai.execution.files import write_atomic
from verifai.execution.scratch import private_directory
from verifai.provenance.exporting import ExportedModel
from verifai.provenance.hub import HubReport, compare_claims, hub_claims
from verifai.provenance.release_files import StagedRelease, stage_release
from verifai.provenance.verify import verify_release
from verifai.stages.kept import FOLDER, described
from verifai.stages.origin import HeldRelease, broken, export_staged, rederive_circuit, require_model, require_pinned

_SUFFIXES = (".onnx", ".pt2", ".skops", ".gguf", ".ubj", ".cbm")
"""Of files that are models by their name alone."""


@dataclass(frozen=True)
class PinnedRelease:
    """A lock that was tied to a release.

    Attributes:
        lock_path: the lock. kept: the attestation that bundles will carry.
        staged: digests of the signed files, by path, SHA-256.
        hub: what a model hub left beside the files, compared with them.
    """

    pin: ProvenancePin
    release: SignedRelease
    lock_path: Path
    kept: Path
    staged: StagedRelease
    hub: HubReport


def pin_release(
    folder: CircuitFolder,
    held: HeldRelease,
    trust: Trust,
    *,
    source: str | None = None,
    options: ExportOptions | None = None,
    now: datetime | None = None,
    progress: Progress = SILENT,
) -> PinnedRelease:
    """Verify a release, export it again, and write into the lock that its model is this circuit's.

    Args:
        source: the signed file that was exported, or ``.`` for the whole release; found where only one is a model.
        options: how it was exported, beside the defaults.

    Raises:
        EvidenceRejected: ``model-signature-…``, ``release-files-differ``; ``provenance-broken``: it gives another model.
        PolicyNotMet: ``model-signer-not-trusted``, ``model-signature-not-current``.
        UsageError: nothing compiled; ``release-source-unclear``; the release's files cannot be exported.
    """
    lock = folder.lock()
    release = verify_release(
        held.signature_bytes(), trust.model_signers, now or datetime.now(UTC), where=str(held.signature_path)
    )
    with private_directory() as scratch:
        progress.phase("compare release")
        staged = stage_release(held.files, release.manifest, scratch, beside=(held.signature_path,))
        hub = compare_claims(hub_claims(held.files, staged.sha256) if held.files.is_dir() else (), staged)
        chosen = source or _only_model(release.manifest)
        if chosen != WHOLE and chosen not in release.manifest.files:
            hint = "Name a file that the release signs, or . for all of it."
            raise UsageError("bad-option", f"the release signs no file {chosen[:80]!r}", where="--source", hint=hint)
        progress.phase("export")
        pin = ProvenancePin(
            manifest_sha256=release.manifest.sha256,
            release=release.manifest.name,
            signer=release.signer,
            source=chosen,
            exporter="unknown",
            versions={},
            options=options or ExportOptions(),
        )
        made = export_staged(staged, pin, Budget())
    pin = replace(pin, exporter=made.exporter, versions=made.versions)
    _require_this_model(pin, made, lock, folder)
    # Both locks, where there are two: the local one comes before the tracked one, and its older pin would go on to count.
    paths = [one for one in (folder.lock_path, folder.local_lock_path) if one.is_file()]
    own = {path: read_lock(path) for path in paths}
    kept = _keep(folder, attest(ReleasePredicate(held.signature_bytes(), pin), model_subject(lock.model_sha256)), "release")
    for path, one in own.items():
        write_atomic(path, render_lock(replace(one, provenance=pin)))
    return PinnedRelease(pin, release, paths[0], kept, staged, hub)


def _require_this_model(pin: ProvenancePin, made: ExportedModel, lock: CircuitLock, folder: CircuitFolder) -> None:
    """Raises EvidenceRejected (``provenance-broken``), with what else could be wrong than the model."""
    if made.sha256 != lock.model_sha256:
        message = (
            f"{pin.source!r} of the release gives model {short(made.sha256)}…, {folder.spec.name!r} is compiled from "
            f"{short(lock.model_sha256)}…"
        )
        hint = "Give --dim, --shape, --select or --positions as for the export; else the release is of another model."
        raise EvidenceRejected("provenance-broken", message, where=str(folder.lock_path), hint=hint)


def _only_model(manifest: ModelManifest) -> str:
    names = sorted(manifest.files)
    if names == [WHOLE]:
        return WHOLE
    found = [name for name in names if name.lower().endswith(_SUFFIXES)]
    weights = [name for name in names if name.endswith(".safetensors")]
    if len(found) == 1:
        return found[0]
    if not found and weights and "config.json" in names:
        return WHOLE
    listed = ", ".join(repr(name[:60]) for name in (found or names)[:8])
    raise UsageError(
        "release-source-unclear",
        f"{len(found)} signed files are models by their name: {listed}",
        where="--source",
        hint="Name the one that was exported: --source FILE, or --source . for a folder of Hugging Face.",
    )


def _keep(folder: CircuitFolder, attestation: Attestation, kind: str) -> Path:
    path = folder.folder / FOLDER / f"{kind}-{short(attestation.id)}.dsse.json"
    path.parent.mkdir(exist_ok=True)
    if kind == "release":
        for old in path.parent.glob("release-*.dsse.json"):
            old.unlink()
    write_atomic(path, canonical.encode(attestation.envelope.to_json()))
    return path


@dataclass(frozen=True)
class Notarised:
    """A derivation that was repeated and signed. ``findings``: what was compared."""

    path: Path
    attestation: Sha256
    predicate: DerivationPredicate
    release: SignedRelease
    findings: tuple[Finding, ...]


def notarise(
    folder: CircuitFolder,
    held: HeldRelease,
    trust: Trust,
    signers: Sequence[Signer],
    *,
    engine: EngineName | None = None,
    output: Path | None = None,
    setup_material: tuple[Path, ...] = (),
    budget: Budget | None = None,
    now: datetime | None = None,
    progress: Progress = SILENT,
) -> Notarised:
    """Derive the pinned circuit and its weight root from the signed release again, and sign that it came out.

    Nothing of the circuit's folder is believed: its lock is what is compared, and of its secrets the seed of private weights is
    read, without which nobody can make their root again.

    Args:
        signers: the notary's keys.
        output: where to write the attestation; by default into the circuit's folder, for its bundles.

    Raises:
        EvidenceRejected: ``model-signature-…``, ``release-files-differ``; ``provenance-broken``: something else came out.
        PolicyNotMet: ``model-signer-not-trusted``. UsageError: ``provenance-not-pinned``, ``weights-secret-missing``.
        Undecided: ``provenance-not-rederived``: other releases of the tools, or the engine could not repeat all of it.
    """
    if not signers:
        raise UsageError(
            "bad-option", "a notary signs what was derived", where="--key", hint="Make a key: `verifai key new KEY`"
        )
    lock, budget, moment = folder.lock(), budget or Budget(), now or datetime.now(UTC)
    pin = lock.provenance
    if pin is None:
        hint = f"Pin one: `verifai provenance {shell(folder.folder)} --model-signature model.sig --trust trust.toml`"
        raise UsageError("provenance-not-pinned", "the lock pins no signed release", where=str(folder.lock_path), hint=hint)
    name = folder.engine(engine)
    release = verify_release(held.signature_bytes(), trust.model_signers, moment, where=str(held.signature_path))
    require_pinned(pin, release)
    with private_directory() as scratch:
        progress.phase("compare release")
        staged = stage_release(held.files, release.manifest, scratch, beside=(held.signature_path,))
        progress.phase("export")
        made = export_staged(staged, pin, budget)
    require_model(pin, made, lock.model_sha256)
    found = described(folder, lock, name)
    findings = rederive_circuit(
        lock,
        name,
        made.data,
        secrets=held.secrets or folder.folder,
        budget=budget,
        setup_material=setup_material,
        progress=progress,
    )
    _require_all(findings)
    predicate = DerivationPredicate.of(found, pin, format_utc(moment))
    signed = attest(predicate, model_subject(lock.model_sha256), signers)
    if output is None:
        path = _keep(folder, signed, "derivation")
    else:
        path = output
        write_atomic(path, canonical.encode(signed.envelope.to_json()))
    return Notarised(path, signed.id, predicate, release, findings)


def _require_all(findings: Sequence[Finding]) -> None:
    """Everything that the engine compares was compared, and is equal."""
    for one in findings:
        if one.outcome is Outcome.REJECTED:
            raise broken(f"the release's model does not give the pinned circuit: {one.message}", one.code)
    left = [one for one in findings if one.outcome is not Outcome.HOLDS]
    if left or not findings:
        message = left[0].message if left else "the engine compared nothing"
        raise Undecided("provenance-not-rederived", message, where="circuit", hint=left[0].remedy if left else "")
