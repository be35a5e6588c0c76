"""Load a policy and every file that it names: each is read once and hashed, before any evidence is read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from verifai.circuit_folder import read_lock, read_toml
from verifai.domain.circuit_lock import CircuitLock
from verifai.domain.circuit_spec import Budget
from verifai.domain.digest import Sha256, sha256, short
from verifai.domain.evaluation.data_lock import DataLock, parse_data_lock
from verifai.domain.findings import Finding, Outcome
from verifai.domain.policy.demands import EvidenceKind, ModelDemand, Policy
from verifai.domain.policy.evaluation import EvaluationDemand, unfit
from verifai.domain.policy.lines import line_of
from verifai.domain.policy.parse import parse_policy
from verifai.domain.policy.places import Places
from verifai.domain.policy.verdict import effective_digest
from verifai.domain.statement import EngineName
from verifai.domain.trust import Trust, TrustRole, parse_trust
from verifai.engines.interface import SectionSummary
from verifai.engines.registry import engine_for
from verifai.errors import UsageError
from verifai.execution.files import read_limited
from verifai.stages.origin import Derived, HeldRelease, derive

MAX_POLICY_BYTES = 1024 * 1024
MAX_ANCHOR_BYTES = 4 * 1024 * 1024
_LOCKS = ("circuit.lock", "circuit.local.lock")


@dataclass(frozen=True)
class LoadedPolicy:
    """A policy whose anchors were read. Everything a verdict rests on besides the evidence and the clock.

    Attributes:
        data: the policy file's bytes.
        locks: per model name.
        summaries: per model name and engine: what the lock's section says.
        data_locks: per model name, the pin of the data set that it must be evaluated on, where one is asked for.
        anchors: every file named, with its SHA-256.
        derived: per model name, what was derived here from a release that the policy names.
        lock_texts: per model name, path and text of its lock, for reports that point at its lines.
    """

    path: Path
    data: bytes
    policy: Policy
    locks: Mapping[str, CircuitLock]
    summaries: Mapping[str, Mapping[EngineName, SectionSummary]]
    data_locks: Mapping[str, DataLock]
    trust: Trust | None
    anchors: tuple[tuple[str, Sha256], ...]
    derived: Mapping[str, Derived] = field(default_factory=dict)
    lock_texts: Mapping[str, tuple[Path, str]] = field(default_factory=dict)

    def places(self, called: Callable[[Path], str] = str) -> Places:
        """Where findings are answered. ``called``: how a reader of the report finds a file."""
        locks = {name: (called(path), text) for name, (path, text) in self.lock_texts.items()}
        text = self.data.decode("utf-8", "replace")
        return Places(called(self.path), text, tuple(one.name for one in self.policy.models), locks)

    @property
    def pins(self) -> dict[str, Sha256]:
        """The pinned model digest per model name."""
        return {name: lock.model_sha256 for name, lock in self.locks.items()}

    @property
    def digest(self) -> Sha256:
        """Digest of the policy with all anchors."""
        return effective_digest(self.policy, self.anchors)

    def demand_for(self, model_sha256: str) -> ModelDemand | None:
        """The demand about a model, by the digest that its lock pins."""
        return next((one for one in self.policy.models if self.locks[one.name].model_sha256 == model_sha256), None)


def load_policy(path: Path) -> LoadedPolicy:
    """Read a policy and its anchors.

    Raises:
        UsageError: ``bad-policy`` or ``empty-policy`` with line and field; ``bad-lock``, ``bad-trust`` or ``file-missing`` for
            what it names. No evidence can cause any of these.
    """
    data = read_limited(path, limit=MAX_POLICY_BYTES)
    policy = parse_policy(data, str(path))
    folder = path.parent
    anchors: dict[str, Sha256] = {}
    locks: dict[str, CircuitLock] = {}
    summaries: dict[str, dict[EngineName, SectionSummary]] = {}
    data_locks: dict[str, DataLock] = {}
    texts: dict[str, tuple[Path, str]] = {}
    for index, demand in enumerate(policy.models):
        lock_path = folder / demand.lock
        for file in [lock_path / name for name in _LOCKS] if lock_path.is_dir() else [lock_path]:
            if file.is_file() or file == lock_path:
                name = demand.lock if file == lock_path else f"{demand.lock}/{file.name}"
                content = read_limited(file, limit=MAX_ANCHOR_BYTES)
                anchors[name] = sha256(content)
                texts.setdefault(demand.name, (file, content.decode("utf-8", "replace")))
        lock = locks[demand.name] = read_lock(lock_path)
        twin = next((name for name, other in locks.items() if other.model_sha256 == lock.model_sha256), demand.name)
        if twin != demand.name:
            raise _refuse(path, data, f"model[{index}].lock", f"it pins the same model as that of {twin!r}")
        summaries[demand.name] = _summaries(path, data, index, demand, lock)
        if demand.evaluation is not None:
            anchors[demand.evaluation.data] = sha256(read_limited(folder / demand.evaluation.data, limit=MAX_ANCHOR_BYTES))
            data_locks[demand.name] = _data_lock(path, data, index, demand.evaluation)
    trust = None
    if policy.trust is not None:
        trust_path = folder / policy.trust
        anchors[policy.trust] = sha256(read_limited(trust_path, limit=MAX_ANCHOR_BYTES))
        trust = parse_trust(read_toml(trust_path, code="bad-trust"), str(trust_path))
        for demand in policy.models:
            _check_pinned_lock(trust, trust_path, folder / demand.lock, locks[demand.name])
    for index, demand in enumerate(policy.models):
        _check_trust_suffices(path, data, index, demand, trust)
    rests_on = tuple(sorted(anchors.items()))
    return LoadedPolicy(path, data, policy, locks, summaries, data_locks, trust, rests_on, lock_texts=texts)


def _data_lock(path: Path, data: bytes, index: int, demand: EvaluationDemand) -> DataLock:
    """The pin of a data set, which must have what the policy asks about. Raises UsageError."""
    lock = parse_data_lock(read_toml(path.parent / demand.data, code="bad-data-lock"), str(path.parent / demand.data))
    wrong = unfit(demand, lock)
    if wrong is not None:
        field, message = wrong
        raise _refuse(path, data, f"model[{index}].evaluation.{field}", message, "No evaluation could meet it.")
    return lock


def _lock_file(path: Path) -> Path:
    """The tracked lock behind ``path``, which may be the folder that it lies in."""
    path = path.resolve()
    return path / _LOCKS[0] if path.is_dir() else path


def _check_pinned_lock(trust: Trust, trust_path: Path, path: Path, lock: CircuitLock) -> None:
    """A lock whose digest the trust file states, for its circuit's name or its place, must be that file alone."""
    file = _lock_file(path)
    for name, circuit in trust.circuits.items():
        there = bool(circuit.lock) and _lock_file(trust_path.parent / circuit.lock) == file
        meant = name == lock.name or there
        if circuit.lock_sha256 is None or not meant:
            continue
        local = path.is_dir() and (path / _LOCKS[1]).is_file()  # its sections come first, and no digest covers them
        digest = sha256(read_limited(file, limit=MAX_ANCHOR_BYTES))
        if digest != circuit.lock_sha256 or local:
            found = f"{_LOCKS[1]} beside it comes first" if local else f"this one is {short(digest)}"
            raise UsageError(
                "bad-lock",
                f"the trust file pins {short(circuit.lock_sha256)}… as the lock of {name!r}, {found}",
                where=str(file),
                hint="The lock or the trust file was changed: review both.",
            )


def _summaries(path: Path, data: bytes, index: int, demand: ModelDemand, lock: CircuitLock) -> dict[EngineName, SectionSummary]:
    for engine in demand.proof.engines if demand.proof is not None else ():
        if engine not in lock.engines:
            have = ", ".join(sorted(lock.engines)) or "none"
            raise _refuse(
                path,
                data,
                f"model[{index}].proof.engines",
                f"the lock pins no circuit of engine {engine.value!r} (pinned: {have})",
                f"Run: `verifai compile CIRCUIT --engine {engine.value}`, or leave that engine out.",
            )
    return {engine: engine_for(engine).summarise(section) for engine, section in lock.engines.items()}


def _check_trust_suffices(path: Path, data: bytes, index: int, demand: ModelDemand, trust: Trust | None) -> None:
    """Refuse a demand that no evidence could meet, or that an unsigned date would meet: the policy's author erred."""
    roles = trust.roles if trust is not None else {}
    consensus = demand.consensus
    needed = {
        TrustRole.RELEASE: ("signatures", demand.signatures),
        TrustRole.GATE: ("gate.signatures", demand.gate.signatures if demand.gate is not None else 0),
        TrustRole.VOTER: ("consensus.verifiers", consensus.verifiers if consensus is not None else 0),
        TrustRole.CONSENSUS: ("consensus", 1 if consensus is not None else 0),
    }
    for role, (place, count) in needed.items():
        known = len(roles[role].keys) if role in roles else 0
        if count > known:
            raise _refuse(
                path,
                data,
                f"model[{index}].{place}",
                f"{count} keys of role {role.value!r} are demanded, the trust file has {known}",
                f"Add them to [roles.{role.value}] in the trust file.",
            )
    if demand.log and (trust is None or trust.log is None):
        raise _refuse(path, data, f"model[{index}].log", "the trust file names no audit log", "Add [log] to the trust file.")
    attested = consensus is not None and consensus.attested
    if (demand.tee is not None or attested) and (trust is None or not trust.hardware):
        field = "tee" if demand.tee is not None else "consensus.attested"
        raise _refuse(
            path,
            data,
            f"model[{index}].{field}",
            "the trust file names no hardware",
            "Add [[hardware]] to the trust file; `verifai tee show` prints the lines for a report.",
        )
    if demand.provenance is not None:
        signers = {one.name for one in trust.model_signers} if trust is not None else set()
        for name in demand.provenance.signed_by:
            if name not in signers:
                hint = "Add it to [[model_signers]] in the trust file."
                message = f"the trust file names no signer of models {name[:80]!r}"
                raise _refuse(path, data, f"model[{index}].provenance.signed_by", message, hint)
        if demand.provenance.files is None and TrustRole.NOTARY not in roles:
            message = "without the release and without a notary to trust, no evidence could meet it"
            hint = "Name the release in `files`, or add [roles.notary] to the trust file."
            raise _refuse(path, data, f"model[{index}].provenance", message, hint)
    signs = TrustRole.PROVER in roles or TrustRole.RELEASE in roles
    proven = {EvidenceKind.PROOF, EvidenceKind.EVALUATION} & set(demand.evidence)
    if demand.max_age_seconds is not None and proven and not signs:
        raise _refuse(
            path,
            data,
            f"model[{index}].max_age",
            "it rests on a date that no trusted key has to sign, so the date could be written anew",
            "Name a trust file with a role `release` or `prover`.",
        )


def _refuse(path: Path, data: bytes, field: str, message: str, hint: str = "") -> UsageError:
    line = line_of(data.decode(), field)
    return UsageError("bad-policy", message, where=f"{path}:{line}: {field}", hint=hint)


def derive_models(loaded: LoadedPolicy, now: datetime, budget: Budget) -> LoadedPolicy:
    """The same policy, with what comes out of the releases that it names: once for all bundles.

    Raises:
        UsageError: ``file-missing``, ``bad-trust``.
    """
    found: dict[str, Derived] = {}
    folder = loaded.path.parent
    for demand in loaded.policy.models:
        asked = demand.provenance
        if asked is None or asked.files is None or loaded.trust is None:
            continue
        held = HeldRelease(
            folder / asked.files,
            None if asked.signature is None else folder / asked.signature,
            None if asked.circuit is None else folder / asked.circuit,
        )
        entries = [one for one in loaded.trust.model_signers if one.name in asked.signed_by]
        engines = demand.proof.engines if demand.proof is not None else ()
        made = derive(held, loaded.locks[demand.name], entries, now, engines=engines, budget=budget)
        found[demand.name] = replace(made, data=b"")
    return replace(loaded, derived=found)


def check_releases(loaded: LoadedPolicy) -> dict[str, Finding]:
    """Per model name, whether the file that is being released is the pinned model.

    Raises:
        UsageError: ``file-missing``, when such a file is not there.
    """
    folder = loaded.path.parent
    return {
        demand.name: _check_release(folder / demand.release, demand.release, loaded.pins[demand.name])
        for demand in loaded.policy.models
        if demand.release is not None
    }


def _check_release(path: Path, name: str, pin: Sha256) -> Finding:
    if not path.is_file():
        raise UsageError("file-missing", "the file to be released is not there", where=str(path))
    try:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as problem:
        raise UsageError("file-missing", f"cannot read: {problem.strerror}", where=str(path)) from None
    if digest == pin:
        return Finding("release-matches", Outcome.HOLDS, f"{name} is the pinned model", where=name, evidence=digest)
    return Finding(
        "release-mismatch",
        Outcome.REJECTED,
        f"{name} has SHA-256 {short(digest)}, the lock pins model {short(pin)}",
        where=name,
        evidence=f"{digest} != {pin}",
        remedy="Do not release it: no evidence is about this file.",
    )
