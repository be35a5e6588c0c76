"""The chain from a signed release to a circuit, checked: steps P1 to P3 of ``docs/provenance.md``.

``verify``, ``audit`` and ``gate`` all ask here, so that one rule decides everywhere. The chain rests on lock and trust file:
attestations in a bundle are compared with these, and what is derived here is derived from files that were compared with the
signed manifest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from verifai.bundle.dsse import check_signatures
from verifai.domain.attestation.predicate_types import DERIVATION_TYPE, RELEASE_TYPE
from verifai.domain.attestation.release import DerivationPredicate, ReleasePredicate, model_subject
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256, short
from verifai.domain.findings import Finding, Outcome, not_checked
from verifai.domain.model_signing import (
    MAX_SIGNATURE_BYTES,
    WHOLE,
    ProvenancePin,
    SignedRelease,
    TrustedModelSigner,
)
from verifai.domain.progress import SILENT, Progress
from verifai.domain.provenance import BROKEN_CODE, NOT_JUDGED_CODE, Link, LinkState, Origin
from verifai.domain.statement import EngineName, WeightVisibility
from verifai.domain.trust import Trust, TrustRole
from verifai.domain.trust_keys import PublicKey
from verifai.engines.interface import VerifyRequest
from verifai.engines.registry import engine_for
from verifai.errors import EvidenceRejected, PolicyNotMet, Undecided, UsageError, VerifaiError
from verifai.execution.child import Limits
from verifai.execution.files import read_limited
from verifai.execution.scratch import private_directory
from verifai.provenance.exporting import ExportedModel, export_fenced
from verifai.provenance.release_files import StagedRelease, stage_release
from verifai.provenance.verify import verify_release

if TYPE_CHECKING:
    from verifai.bundle.reader import OpenBundle
    from verifai.domain.attestation.circuit import CircuitPredicate
    from verifai.domain.attestation.envelope import Attestation
    from verifai.onnx_graph.model import OnnxModel

SIGNATURE_NAME = "model.sig"
MAX_CLAIMS = 16
"""Attestations of releases and derivations in one bundle; each of a release costs a process."""


@dataclass(frozen=True)
class HeldRelease:
    """A release that whoever judges holds.

    Attributes:
        files: its folder, or the file where it is one file.
        signature: its signature file; ``None`` for ``model.sig`` in the folder or beside the file.
        secrets: folder of the circuit whose private weights are to be committed to again; ``None`` where nobody may.
    """

    files: Path
    signature: Path | None = None
    secrets: Path | None = None

    @property
    def signature_path(self) -> Path:
        """Where the signature is."""
        if self.signature is not None:
            return self.signature
        return (self.files if self.files.is_dir() else self.files.parent) / SIGNATURE_NAME

    def secrets_dir(self, engine: EngineName) -> Path | None:
        """Where ``engine`` keeps the seeds of private weights."""
        return None if self.secrets is None else self.secrets.absolute() / "secrets" / engine.value

    def signature_bytes(self) -> bytes:
        """The signature file. Raises UsageError (``file-missing``)."""
        return read_limited(self.signature_path, limit=MAX_SIGNATURE_BYTES)


@dataclass(frozen=True)
class Derived:
    """What was derived here, once for a lock.

    Attributes:
        signature: the release's signature, as held here.
        release: its manifest, whose signature holds; ``None`` where it does not.
        model: whether its files give the pinned model.
        circuits: engines whose pinned circuit and weights the model gives.
        failed: what is wrong, or could not be looked at, by step.
        data: the model that came out, where it is the pinned one.
    """

    signature: bytes
    release: SignedRelease | None = None
    model: bool = False
    circuits: frozenset[EngineName] = frozenset()
    failed: tuple[Finding, ...] = ()
    data: bytes = field(default=b"", repr=False)

    def loaded(self, limits: Limits, progress: Progress = SILENT) -> OnnxModel:
        """The model, parsed in a fenced child. Raises UnsupportedModel, Undecided."""
        from verifai.onnx_graph.fenced import load_path_fenced

        with private_directory() as folder:
            path = folder / "model.onnx"
            path.write_bytes(self.data)
            return load_path_fenced(path, limits, progress)


def broken(message: str, where: str) -> EvidenceRejected:
    """The error for evidence of provenance that contradicts what it is shown for."""
    hint = "It was made for something else, or the model was exchanged: do not accept it."
    return EvidenceRejected(BROKEN_CODE, message, where=where, hint=hint)


def derive(
    held: HeldRelease,
    lock: CircuitLock,
    entries: Sequence[TrustedModelSigner],
    now: datetime,
    *,
    engines: Iterable[EngineName] = (),
    budget: Budget | None = None,
    setup_material: tuple[Path, ...] = (),
    progress: Progress = SILENT,
) -> Derived:
    """Verify a release that is held here, export it as the lock says, and compile it as the lock says.

    Args:
        engines: whose pinned circuits are derived from the model again.

    Returns:
        What holds; what is false or could not be done is in ``failed``, and later steps are left out then.

    Raises:
        UsageError: ``file-missing``, ``bad-trust``: the caller's own files.
    """
    signature = held.signature_bytes()
    step, release, budget = "P1", None, budget or Budget()
    try:
        release = verify_release(signature, entries, now, where=str(held.signature_path))
        pin = _require_pin(lock)
        require_pinned(pin, release)
        step = "P2"
        made = _model(held, pin, release, budget, progress)
        require_model(pin, made, lock.model_sha256)
        step = "P3"
        circuits = set()
        for engine in engines:
            found = rederive_circuit(
                lock,
                engine,
                made.data,
                secrets=held.secrets,
                budget=budget,
                setup_material=setup_material,
                progress=progress,
            )
            if _circuit_holds(found):
                circuits.add(engine)
    except VerifaiError as problem:
        if problem.status in (70, 130) or problem.code in ("file-missing", "bad-trust"):
            raise
        return Derived(signature, release, step == "P3", failed=(Finding.from_error(problem, step=step),))
    return Derived(signature, release, True, frozenset(circuits), data=made.data)


def _require_pin(lock: CircuitLock) -> ProvenancePin:
    if lock.provenance is None:
        hint = "Pin one: `verifai provenance CIRCUIT --model-signature model.sig --trust trust.toml`"
        raise PolicyNotMet("provenance-missing", "the lock pins no signed release", where="provenance", hint=hint)
    return lock.provenance


def require_pinned(pin: ProvenancePin, release: SignedRelease) -> None:
    """The signed manifest and its signer are those that the lock pins. Raises EvidenceRejected (``provenance-broken``)."""
    found = release.manifest
    if found.sha256 != pin.manifest_sha256:
        message = f"the signed manifest is {short(found.sha256)}…, the lock pins {short(pin.manifest_sha256)}…: another release"
        raise broken(message, "manifest_sha256")
    if release.signer != pin.signer:
        raise broken(f"it is signed by {release.signer[:120]}, the lock pins {pin.signer[:120]}", "signer")
    if pin.release != found.name:
        raise broken(f"the release is called {found.name[:80]!r}, the lock says {pin.release[:80]!r}", "release")
    if pin.source != WHOLE and pin.source not in found.files:
        raise broken(f"the lock says that {pin.source[:80]!r} was exported, which the release does not sign", "source")


def _model(held: HeldRelease, pin: ProvenancePin, release: SignedRelease, budget: Budget, progress: Progress) -> ExportedModel:
    with private_directory() as folder:
        progress.phase("compare release")
        staged = stage_release(held.files, release.manifest, folder, beside=(held.signature_path,))
        progress.phase("export")
        return export_staged(staged, pin, budget)


def export_staged(staged: StagedRelease, pin: ProvenancePin, budget: Budget) -> ExportedModel:
    """The model of a release whose files were compared. Raises what :func:`export_fenced` raises, as undecided or rejected."""
    limits = Limits(budget.memory_bytes, None, 600.0) if budget.memory_bytes else None
    try:
        return export_fenced(staged.path(pin.source), pin.options, limits)
    except UsageError as problem:  # of a release, not of the caller's own
        raise Undecided(problem.code, problem.message, where=pin.source, hint=problem.hint) from None


def require_model(pin: ProvenancePin, made: ExportedModel, wanted: Sha256) -> None:
    """The exported model is the pinned one.

    Raises:
        EvidenceRejected: ``provenance-broken``. Undecided: ``provenance-not-rederived``: other releases of the tools made it.
    """
    if made.sha256 == wanted:
        return
    message = f"{pin.source!r} of the release gives model {short(made.sha256)}…, the lock pins {short(wanted)}…"
    if made.exporter != pin.exporter or dict(made.versions) != dict(pin.versions):
        here = ", ".join(f"{name} {version}" for name, version in sorted(made.versions.items()))
        hint = f"Export it with what the lock names: {pin.how()}."
        raise Undecided("provenance-not-rederived", f"{message}; exported here with {here}", where=pin.source, hint=hint)
    raise broken(message, pin.source)


def rederive_circuit(
    lock: CircuitLock,
    engine: EngineName,
    model: bytes,
    *,
    secrets: Path | None = None,
    budget: Budget,
    setup_material: tuple[Path, ...] = (),
    progress: Progress = SILENT,
) -> tuple[Finding, ...]:
    """The pinned circuit and its weights, derived from the canonical model again: the engine's findings.

    Args:
        secrets: the circuit's folder, where private weights are to be committed to again.

    Raises:
        UsageError: ``weights-secret-missing``. Undecided: memory, deadline, or a crash.
    """
    loaded = Derived(b"", data=model).loaded(Limits(memory_bytes=budget.memory_bytes), progress)
    request = VerifyRequest(
        files={},
        section=lock.section(engine),
        model_sha256=lock.model_sha256,
        allow_test_material=True,  # whether a set-up is good enough is judged where the proof is
        setup_material=setup_material,
        secrets_dir=HeldRelease(Path(), secrets=secrets).secrets_dir(engine),
        budget=budget,
        progress=progress,
    )
    return tuple(engine_for(engine).rederive(request, loaded))


def _circuit_holds(findings: Sequence[Finding]) -> bool:
    """Whether all was derived; raises for what differs."""
    for one in findings:
        if one.outcome is Outcome.REJECTED:
            raise broken(f"the release's model does not give the pinned circuit: {one.message}", one.code)
    return bool(findings) and all(one.outcome is Outcome.HOLDS for one in findings)


def check_origin(
    bundle: OpenBundle,
    lock: CircuitLock,
    circuit: CircuitPredicate,
    trust: Trust | None,
    now: datetime,
    *,
    entries: Sequence[TrustedModelSigner] = (),
    derived: Derived | None = None,
    circuit_derived: bool = False,
) -> Origin:
    """The chain of a bundle's circuit.

    Args:
        trust: whose notaries count; ``None`` judges no signature.
        entries: signers of releases that count.
        derived: what was derived here from files.
        circuit_derived: whether the pinned circuit and weights were derived here from the pinned model.

    Raises:
        EvidenceRejected: ``provenance-broken``: attestations contradict the lock; ``signature-invalid``.
    """
    claims = [*bundle.of_type(RELEASE_TYPE), *bundle.of_type(DERIVATION_TYPE)]
    if len(claims) > MAX_CLAIMS:
        raise broken(f"{len(claims)} attestations of provenance in one bundle, more than {MAX_CLAIMS}", "attestations")
    pin = lock.provenance
    if pin is None:
        words = "the lock pins no signed release, so nothing ties this model to one that people know"
        return Origin((Link("P1", LinkState.MISSING, words),))
    for one in claims:
        _require_about(one, lock, circuit, pin)
    published, release = _published(bundle, pin, trust, entries, now, derived)
    names = _notaries(bundle, trust)
    exported = _exported(pin, names, derived)
    made = circuit_derived or (derived is not None and circuit.engine in derived.circuits)
    return Origin(
        (published, exported, _quantised(circuit, names, derived, made=made)), () if release is None else release.names
    )


def _require_about(one: Attestation, lock: CircuitLock, circuit: CircuitPredicate, pin: ProvenancePin) -> None:
    where = f"attestations/{one.id}.dsse.json"
    if one.subjects != model_subject(lock.model_sha256):
        raise broken("it is about another model than the lock's", where)
    predicate = one.predicate
    if isinstance(predicate, ReleasePredicate) and predicate.pin != pin:
        raise broken("it is about another release, or another export of it, than the lock pins", where)
    if isinstance(predicate, DerivationPredicate) and (field_ := predicate.differs_from(circuit, pin)):
        raise broken(f"the notary derived another circuit: {field_} is not the pinned one", where)


def _published(
    bundle: OpenBundle,
    pin: ProvenancePin,
    trust: Trust | None,
    entries: Sequence[TrustedModelSigner],
    now: datetime,
    derived: Derived | None,
) -> tuple[Link, SignedRelease | None]:
    """P1: somebody whom the trust file names signed the pinned manifest."""
    pinned = f"the lock pins release {pin.release!r} (manifest {short(pin.manifest_sha256)}…) signed by {pin.signer}"
    if derived is not None and (failed := _failed(derived, "P1")) is not None:
        return _broken("P1", failed), None
    signatures = [derived.signature] if derived is not None else []
    found = (one.predicate for one in bundle.of_type(RELEASE_TYPE))
    signatures += [one.signature for one in found if isinstance(one, ReleasePredicate)]
    if not signatures:
        return Link("P1", LinkState.MISSING, f"{pinned}; the signature itself is not here"), None
    if trust is None or not entries:
        why = "no trust file was given" if trust is None else "the trust file names no [[model_signers]] that count here"
        finding = not_checked(NOT_JUDGED_CODE, f"{pinned}; {why}, so the signature was not judged", "P1")
        return Link("P1", LinkState.MISSING, pinned, finding), None
    release: SignedRelease | None = None
    try:
        for signature in dict.fromkeys(signatures):
            release = verify_release(signature, entries, now)
            require_pinned(pin, release)
    except VerifaiError as problem:
        if problem.status in (2, 70, 130):
            raise
        return _broken("P1", Finding.from_error(problem, step="P1")), None
    assert release is not None
    words = "; ".join([release.sentence(), *release.words])
    return Link("P1", LinkState.SIGNED, words), release


def _failed(derived: Derived, step: str) -> Finding | None:
    return next((one for one in derived.failed if one.step == step), None)


def _broken(step: str, finding: Finding) -> Link:
    return Link(step, LinkState.BROKEN, finding.message, finding)


def _notaries(bundle: OpenBundle, trust: Trust | None) -> tuple[str, ...]:
    """Names of trusted notaries that derived this circuit, when there are enough. Raises EvidenceRejected."""
    rule = None if trust is None else trust.roles.get(TrustRole.NOTARY)
    if trust is None or rule is None:
        return ()
    signed: set[PublicKey] = set()
    for one in bundle.of_type(DERIVATION_TYPE):
        signed |= check_signatures(one.envelope, rule.keys, where=f"attestations/{one.id}.dsse.json").signers
    return tuple(sorted(trust.names[key] for key in signed)) if len(signed) >= rule.threshold else ()


def _exported(pin: ProvenancePin, notaries: tuple[str, ...], derived: Derived | None) -> Link:
    """P2."""
    how = f"{pin.how()} gives the pinned model"
    if derived is not None and (failed := _failed(derived, "P2")) is not None:
        return _broken("P2", failed)
    if derived is not None and derived.model:
        return Link("P2", LinkState.REDERIVED, how)
    if notaries:
        return Link("P2", LinkState.SIGNED, f"{how}, says notary {', '.join(map(repr, notaries))}")
    words = f"that {how} is the lock's word alone: the release was not exported here, and no notary that counts says so"
    return Link("P2", LinkState.MISSING, words)


def _quantised(circuit: CircuitPredicate, notaries: tuple[str, ...], derived: Derived | None, *, made: bool) -> Link:
    """P3."""
    root = circuit.pins.get("weights_sha256", circuit.circuit_sha256)
    bound = {
        WeightVisibility.PUBLIC: "its weights",
        WeightVisibility.WITHHELD: "the key that fixes its weights",
        WeightVisibility.COMMITTED: f"the root {short(root)}… of its weights",
        WeightVisibility.PRIVATE: f"the hiding root {short(root)}… of its weights",
    }[circuit.weights]
    how = f"the pinned model gives the pinned circuit and {bound}"
    if derived is not None and (failed := _failed(derived, "P3")) is not None:
        return _broken("P3", failed)
    if made:
        return Link("P3", LinkState.REDERIVED, how)
    if notaries:
        return Link("P3", LinkState.SIGNED, f"{how}, says notary {', '.join(map(repr, notaries))}")
    words = f"whether {how} is not shown: any weights could be behind it"
    return Link("P3", LinkState.MISSING, words)
