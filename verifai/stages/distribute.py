"""push, pull, promote: evidence beside the model that it is about, in an OCI layout or registry, or in MLflow.

What is pulled is hostile: sizes are limited, digests compared, and only what reads as a bundle is kept, under a name of ours.
Whether it is true is for verify, audit or gate. ``promote`` asks a gate, and lets an alias name the version it lets through.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from verifai.bundle.archive import pack
from verifai.bundle.limits import DEFAULT
from verifai.bundle.reader import open_bundle
from verifai.domain.attestation.circuit import CircuitPredicate
from verifai.domain.attestation.envelope import Attestation
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256, short
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.verdict import GateVerdict
from verifai.domain.progress import SILENT, Progress
from verifai.errors import EvidenceRejected, PolicyNotMet, UsageError
from verifai.execution.files import cannot_write, new_beside, place_file
from verifai.execution.scratch import private_directory
from verifai.registries.layout import LayoutStore
from verifai.registries.mlflow import MlflowStore
from verifai.registries.oci import (
    ONNX_TYPE,
    Artifact,
    BlobStore,
    fetch_bundle,
    push_bundle,
    push_model,
    read_artifact,
    referrers,
)
from verifai.registries.reference import LayoutReference, ModelVersion, Reference, RemoteReference, parse_reference
from verifai.registries.remote import RemoteStore
from verifai.stages.gate.gate import gate
from verifai.stages.gate.load import LoadedPolicy

OTHER_MODEL, MISSING = "registry-other-model", "registry-missing"
_UNCLEAR = "the version is not one ONNX file that its MLmodel loads, so nothing says which model is served"
MAX_PACKED_BYTES = DEFAULT.total_bytes
MAX_PULLED_BYTES = 4 * MAX_PACKED_BYTES
"""Of one bundle, and of all that one pull fetches."""


@dataclass(frozen=True)
class Moved:
    """Bundles that were pushed or pulled: by path, with their identifiers. ``where``: the place."""

    where: str
    bundles: tuple[tuple[Path, Sha256], ...]


def push_bundles(bundles: Sequence[Path], reference: str, *, model: Path | None = None) -> Moved:
    """Put bundles beside the model that ``reference`` names.

    Args:
        model: put this file there first, under the reference's tag.

    Raises:
        EvidenceRejected: it is no bundle; ``registry-other-model``; ``registry-malformed``.
        PolicyNotMet: ``registry-missing``. UsageError: ``bad-reference``, ``extra-missing``, ``file-exists``.
        Undecided: ``registry-unavailable``.
    """
    place = parse_reference(reference)
    with private_directory() as scratch:
        packed = [_packed(path, scratch, number) for number, path in enumerate(bundles)]
        if isinstance(place, ModelVersion):
            if model is not None:
                raise UsageError("bad-option", "MLflow has the model already", where="--model", hint="Leave it out.")
            versions = MlflowStore(place)
            for one, _, _ in packed:
                versions.put(one)
            return Moved(versions.where, _moved(bundles, packed))
        store, tag = _store(place)
        if model is not None:
            push_model(store, tag, model, scratch)
        subject = read_artifact(store, tag)
        for path, (one, _, about) in zip(bundles, packed, strict=True):
            _require_about(subject, about, str(path))
            push_bundle(store, subject.described, one, scratch)
        return Moved(f"{store.where}:{tag}", _moved(bundles, packed))


def _moved(bundles: Sequence[Path], packed: Sequence[tuple[Path, Sha256, Sha256 | None]]) -> tuple[tuple[Path, Sha256], ...]:
    return tuple((path, found) for path, (_, found, _) in zip(bundles, packed, strict=True))


def _packed(path: Path, scratch: Path, number: int) -> tuple[Path, Sha256, Sha256 | None]:
    """A bundle as one file, its identifier, and the model that its circuit is of."""
    with open_bundle(path) as bundle:
        identifier, about = bundle.bundle_id, _model_of(bundle.of_type(CircuitPredicate.TYPE))
    folder = scratch / f"{number:06d}"
    folder.mkdir()
    target = folder / f"{identifier}.zip"
    pack(path, target)
    return target, identifier, about


def _model_of(circuits: Sequence[Attestation]) -> Sha256 | None:
    found = {one.predicate.model_sha256 for one in circuits if isinstance(one.predicate, CircuitPredicate)}
    return found.pop() if len(found) == 1 else None


def _require_about(subject: Artifact, about: Sha256 | None, where: str) -> None:
    """A bundle about a model is attached to that model, where the place shows which it is."""
    models = {layer.hex for layer in subject.layers if layer.media_type == ONNX_TYPE}
    if about is not None and models and about not in models:
        message = f"it is about model {short(about)}…, attached to {', '.join(short(one) for one in sorted(models))}…"
        raise EvidenceRejected(OTHER_MODEL, message, where=where, hint="Attach it to its own model.")


def _store(place: LayoutReference | RemoteReference) -> tuple[BlobStore, str]:
    return (LayoutStore(Path(place.folder)) if isinstance(place, LayoutReference) else RemoteStore(place)), place.tag


def pull_bundles(reference: str, output: Path, *, place: Reference | None = None) -> Moved:
    """Fetch all bundles beside a model into the folder ``output``, each as one file named by its own identifier.

    Nothing is kept unless all of it is well formed; whether it is true is not judged.

    Raises:
        EvidenceRejected: ``registry-malformed``, ``registry-other-model``, and why something is no bundle.
        PolicyNotMet: ``registry-missing``: no model, or no bundle of it. UsageError, Undecided: as :func:`push_bundles`.
    """
    place = place or parse_reference(reference)
    with private_directory() as scratch:
        fetched, where = _fetched(place, scratch)
        kept: dict[Sha256, Path] = {}
        for path, subject in fetched:
            with open_bundle(path) as bundle:
                if subject is not None:
                    _require_about(subject, _model_of(bundle.of_type(CircuitPredicate.TYPE)), reference)
                kept[bundle.bundle_id] = path
        if not kept:
            hint = "Push some: `verifai push BUNDLE REFERENCE`"
            raise PolicyNotMet(MISSING, "no bundle is attached to this model", where=where, hint=hint)
        output.mkdir(parents=True, exist_ok=True)
        written = [(_keep(path, identifier, output), identifier) for identifier, path in sorted(kept.items())]
    return Moved(where, tuple(sorted(written)))


def _keep(path: Path, identifier: Sha256, output: Path) -> Path:
    """Put a bundle into the folder, by its identifier; one that is there already has to be the same."""
    target = output / f"{identifier}.zip"
    if os.path.lexists(target):
        with open_bundle(target) as bundle:
            if bundle.bundle_id == identifier:
                return target
        raise UsageError("file-exists", "another bundle has this name", where=str(target), hint="Choose another folder.")
    copy: Path | None = None
    try:
        handle, copy = new_beside(target, 0o666)  # new, so that nobody's link is written through
        with path.open("rb") as reader, os.fdopen(handle, "wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
        place_file(copy, target)
    except OSError as problem:
        raise cannot_write(problem, target) from None
    finally:
        if copy is not None:
            copy.unlink(missing_ok=True)
    return target


def _fetched(place: Reference, scratch: Path) -> tuple[list[tuple[Path, Artifact | None]], str]:
    if isinstance(place, ModelVersion):
        versions = MlflowStore(place)
        return [(path, None) for path in versions.fetch(scratch, MAX_PACKED_BYTES)], versions.where
    store, tag = _store(place)
    subject = read_artifact(store, tag)
    found: list[tuple[Path, Artifact | None]] = []
    left = MAX_PULLED_BYTES
    for number, one in enumerate(referrers(store, subject.described)):
        target = scratch / f"{number:06d}.zip"
        fetch_bundle(store, one, subject.described, target, min(MAX_PACKED_BYTES, left))
        left -= target.stat().st_size
        found.append((target, subject))
    return found, f"{store.where}:{tag}"


@dataclass(frozen=True)
class Promotion:
    """What a gate said about a version of a model. ``promoted``: whether the alias names it now."""

    verdict: GateVerdict
    bundles: Moved
    model: Finding
    promoted: bool

    @property
    def status(self) -> int:
        """Exit status."""
        return self.verdict.status or (1 if self.model.outcome is Outcome.REJECTED else 0)


def promote_version(
    reference: str,
    alias: str,
    loaded: LoadedPolicy,
    output: Path,
    *,
    now: datetime,
    budget: Budget | None = None,
    progress: Progress = SILENT,
) -> Promotion:
    """Fetch a version's evidence, put it to a gate, and let ``alias`` name the version only when it is let through.

    The version's own ONNX file must be the model that the policy pins: evidence about another model lets nothing through.

    Args:
        output: folder for the bundles.

    Raises:
        UsageError: ``bad-reference``. EvidenceRejected, PolicyNotMet, Undecided: as :func:`pull_bundles`.
    """
    place = parse_reference(reference)
    if not isinstance(place, ModelVersion):
        hint = "Write models:/NAME/VERSION; a tag of a registry is moved by pushing."
        raise UsageError("bad-reference", "only a version in MLflow has aliases", where=reference, hint=hint)
    versions = MlflowStore(place)
    with private_directory() as scratch:
        model = _judge_model(versions.model_sha256(scratch), loaded)
    bundles = pull_bundles(reference, output, place=place)
    verdict = gate(loaded, [path for path, _ in bundles.bundles], now=now, budget=budget, progress=progress)
    found = Promotion(verdict, bundles, model, promoted=False)
    if found.status != 0:
        return found
    versions.set_alias(alias)
    return replace(found, promoted=True)


def _judge_model(digest: Sha256 | None, loaded: LoadedPolicy) -> Finding:
    if digest is None:
        hint = "Log the canonical model.onnx in the version, and no other .onnx beside it."
        raise PolicyNotMet(MISSING, _UNCLEAR, hint=hint)
    if digest in loaded.pins.values() and len(loaded.pins) == 1:
        message = "the version's model is the one that the policy pins"
        return Finding("release-matches", Outcome.HOLDS, message, evidence=digest)
    pinned = ", ".join(short(one) for one in loaded.pins.values())
    message = f"the version's model has SHA-256 {short(digest)}…, the policy pins {pinned}"
    return Finding("release-mismatch", Outcome.REJECTED, message, remedy="Do not release it: no evidence is about this file.")
